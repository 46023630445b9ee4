"""The label formats that can be read. A new format is a module in `formats/` and one entry here."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from converters.formats import (
    animal_pose,
    coco,
    coco_parts,
    deeplabcut,
    frames,
    lightning_pose,
    sleap,
    sloth,
    stanford_extra,
    yolo_pose,
)
from superset_vocab import InputError, LabelSet
from superset_vocab.errors import all_problems


@dataclass(frozen=True)
class Option:
    """Something that the reader of a format can be told.

    Attributes:
        name: Of the reader's parameter, as given to `--option NAME=VALUE`.
        parse: Makes the parameter's value of a text; raises ValueError.
        description: What it does, for messages.
    """

    name: str
    parse: Callable[[str], Any]
    description: str


@dataclass(frozen=True)
class Format:
    """A foreign label format.

    Attributes:
        name: As given to `--format`.
        description: What a source of this format is, for messages.
        detect: Whether a path looks like this format; must not raise on a path of another format.
        read: The reader: `read(source, *, dataset, **options) -> LabelSet`, in the source's own keypoint
            names; every image of the result exists, decodes and has the size it is said to have.
        options: What the reader takes besides.
        writes_frames: Whether the images are inside videos or packages: then the reader takes `frames`, a
            folder to write them into.
        labelled: Whether sources have labels at all.
    """

    name: str
    description: str
    detect: Callable[[Path], bool]
    read: Callable[..., LabelSet]
    options: tuple[Option, ...] = ()
    writes_frames: bool = False
    labelled: bool = True


def _names(text: str) -> tuple[str, ...]:
    """Names separated by commas."""
    return tuple(name.strip() for name in text.split(",") if name.strip())


_CATEGORIES = Option("categories", _names, "categories to read, separated by commas; default: all")

FORMATS: dict[str, Format] = {
    fmt.name: fmt
    for fmt in (
        Format(
            "coco",
            "a COCO keypoint .json, or a folder with annotations.json",
            coco.detect,
            coco.read,
            (_CATEGORIES,),
        ),
        Format(
            "coco-parts",
            "a folder whose annotations/ has COCO files for train, val and test (AP-10K, APT-36K, mmpose)",
            coco_parts.detect,
            coco_parts.read,
            (Option("split", int, "number of the official split; default: the first"), _CATEGORIES),
        ),
        Format(
            "deeplabcut",
            "a DeepLabCut project folder, single- or multi-animal, or one CollectedData .csv or .h5",
            deeplabcut.detect,
            deeplabcut.read,
        ),
        Format(
            "lightning-pose",
            "a Lightning Pose project: CollectedData*.csv beside labeled-data, or one of these csv",
            lightning_pose.detect,
            lightning_pose.read,
        ),
        Format("sloth", "an AlphaTracker sloth .json, or the folder of one", sloth.detect, sloth.read),
        Format(
            "animal-pose",
            "an Animal-Pose .json, or the folder with its keypoints.json",
            animal_pose.detect,
            animal_pose.read,
        ),
        Format(
            "stanford-extra",
            "a StanfordExtra .json, or the folder with it",
            stanford_extra.detect,
            stanford_extra.read,
        ),
        Format(
            "yolo-pose",
            "a YOLO-pose folder with train, valid or test, and data.yaml or keypoint_names_inferred.json",
            yolo_pose.detect,
            yolo_pose.read,
        ),
        Format(
            "sleap",
            "a SLEAP .slp or .pkg.slp",
            sleap.detect,
            sleap.read,
            (
                Option("instances", str, "user (labelled) or predicted; default: user"),
                Option("video", Path, "the video, or a folder of videos, where they were moved"),
            ),
            writes_frames=True,
        ),
        Format(
            "frames",
            "a video or a folder of images, without labels (for pseudo-labels)",
            frames.detect,
            frames.read,
            (
                Option("vocabulary", str, "superset vocabulary that the frames are for"),
                Option("count", int, "number of frames; default: 200 of a video, all of a folder"),
            ),
            writes_frames=True,
            labelled=False,
        ),
    )
}


def format_named(name: str) -> Format:
    """A format by its name.

    Raises:
        InputError: If there is none; lists all.
    """
    if name not in FORMATS:
        raise InputError(f"{name!r} is no label format; there are: {', '.join(FORMATS)}")
    return FORMATS[name]


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


def read_labels(
    source: Path,
    *,
    format: str | None = None,  # noqa: A002
    dataset: str | None = None,
    frames: Path | None = None,
    options: Mapping[str, Any] | None = None,
) -> LabelSet:
    """Read a source of any known format, in its own keypoint names.

    Args:
        source: File or folder.
        format: Name of the format; None detects it.
        dataset: Dataset name of the records; None takes the source's own file or folder name.
        frames: Folder for the images of formats that keep them in videos or packages (`writes_frames`).
        options: Options of the format by name (`Format.options`); texts are parsed.

    Raises:
        InputError: If the format is unknown, an option does not fit, the source is broken, or nothing in
            it is annotated.
    """
    chosen = format_named(format) if format is not None else None
    if not source.exists():
        raise InputError(f"{source}: no such file or folder")
    chosen = chosen or detect_format(source)
    arguments = option_values(f"format {chosen.name}", chosen.options, options or {})
    if chosen.writes_frames:
        arguments["frames"] = frames
    labels = chosen.read(source, dataset=dataset or source.resolve().stem, **arguments)
    if not labels.records:
        raise InputError(f"{source}: has no labelled image ({chosen.name}); is it the right file?")
    annotated = any(record.annotated.any() for record in labels.records)
    if chosen.labelled and not annotated:
        raise InputError(
            f"{source}: none of its {len(labels)} images has an annotated keypoint (all are empty or NaN); "
            "label some first"
        )
    return labels


def option_values(what: str, known: Sequence[Option], given: Mapping[str, Any]) -> dict[str, Any]:
    """The values of options; texts are parsed.

    Args:
        what: Whose options they are, for messages.
        known: The options there are.
        given: Those given, by name.

    Raises:
        InputError: If an option is unknown or its text cannot be parsed; all are listed.
    """
    by_name = {option.name: option for option in known}
    values, problems = {}, []
    for name, value in given.items():
        if name not in by_name:
            listed = "; ".join(f"{option.name}: {option.description}" for option in known)
            problems.append(f"has no option {name!r}" + (f" ({listed})" if listed else " (nor any other)"))
            continue
        try:
            values[name] = by_name[name].parse(value) if isinstance(value, str) else value
        except ValueError:
            problems.append(f"option {name} cannot be {value!r} ({by_name[name].description})")
    if problems:
        raise all_problems(what, problems)
    return values
