"""The label formats that can be read. A new format is a module in `formats/` and one line here."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from converters.formats import animal_pose, coco, deeplabcut, sloth, yolo_pose
from superset_vocab import InputError, LabelSet, Visibility


class Reader(Protocol):
    """Reads one source; every image of the result exists, decodes and has the size it is said to have."""

    def __call__(self, source: Path, *, dataset: str) -> LabelSet:
        """Records of `source` under the dataset name `dataset`, in the source's own keypoint names."""
        ...


@dataclass(frozen=True)
class Format:
    """A foreign label format.

    Attributes:
        name: As given to `--format`.
        description: What a source of this format is, for messages.
        detect: Whether a path looks like this format; must not raise on a path of another format.
        read: The reader.
    """

    name: str
    description: str
    detect: Callable[[Path], bool]
    read: Reader


FORMATS: dict[str, Format] = {
    fmt.name: fmt
    for fmt in (
        Format("coco", "a COCO keypoint .json, or a folder with annotations.json", coco.detect, coco.read),
        Format(
            "deeplabcut",
            "a DeepLabCut project folder with config.yaml, or one CollectedData .csv or .h5 (single animal)",
            deeplabcut.detect,
            deeplabcut.read,
        ),
        Format("sloth", "an AlphaTracker sloth .json, or the folder of one", sloth.detect, sloth.read),
        Format(
            "animal-pose",
            "an Animal-Pose .json, or the folder with its keypoints.json",
            animal_pose.detect,
            animal_pose.read,
        ),
        Format(
            "yolo-pose",
            "a YOLO-pose folder with train, valid or test, and data.yaml or keypoint_names_inferred.json",
            yolo_pose.detect,
            yolo_pose.read,
        ),
    )
}


def detect_format(path: Path) -> Format:
    """The format of a source.

    Raises:
        InputError: If the path does not exist, or no format or several recognise it.
    """
    if not path.exists():
        raise InputError(f"{path}: no such file or folder")
    found = [fmt for fmt in FORMATS.values() if fmt.detect(path)]
    if len(found) == 1:
        return found[0]
    if found:
        raise InputError(
            f"{path}: could be {' or '.join(fmt.name for fmt in found)}; say which with --format"
        )
    known = "".join(f"\n  - {fmt.name}: {fmt.description}" for fmt in FORMATS.values())
    raise InputError(f"{path}: is of no known label format; known are:{known}")


def read_labels(source: Path, *, format: str | None = None, dataset: str | None = None) -> LabelSet:  # noqa: A002
    """Read a source of any known format, in its own keypoint names.

    Args:
        source: File or folder.
        format: Name of the format; None detects it.
        dataset: Dataset name of the records; None takes the source's own file or folder name.

    Raises:
        InputError: If the format is unknown, the source is broken, or nothing in it is annotated.
    """
    if format is not None and format not in FORMATS:
        raise InputError(f"{format!r} is no label format; there are: {', '.join(FORMATS)}")
    if not source.exists():
        raise InputError(f"{source}: no such file or folder")
    chosen = FORMATS[format] if format is not None else detect_format(source)
    labels = chosen.read(source, dataset=dataset or source.resolve().stem)
    if not labels.records:
        raise InputError(f"{source}: has no labelled image ({chosen.name}); is it the right file?")
    if not any((record.visibility >= Visibility.OCCLUDED).any() for record in labels.records):
        raise InputError(
            f"{source}: none of its {len(labels)} images has an annotated keypoint (all are empty or NaN); "
            "label some first"
        )
    return labels
