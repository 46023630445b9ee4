"""Fine-tuning on somebody's own project: its labels in the model's vocabulary, and the test afterwards.

`zoo finetune` and the demo's tab Fine-tune do the same with them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from superset_vocab import KeypointMap, LabelSet
    from training.comparison import Forgetting
    from training.evaluate import Report
    from zoo.model import Model

_MATCHING = "keypoint_map"


@dataclass(frozen=True)
class Project:
    """A labelled project, and how to take it.

    Attributes:
        path: File or folder of a known label format, or a superset dataset.
        map_name: A keypoint map's name or file; None takes that of the dataset, or proposes one.
        dataset: Name of the dataset; "" takes the map's, or the project's.
        format: None detects it.
        options: Of the format.
        accept_map: Go on with a proposed map that nobody has looked at.
    """

    path: Path
    map_name: str | None = None
    dataset: str = ""
    format: str | None = None
    options: Mapping[str, str] = field(default_factory=dict)
    accept_map: bool = False


def project_labels(
    project: Project,
    model: Model,
    out: Path,
    images: ExitStack | None = None,
    say: Callable[[str], None] = lambda _: None,
) -> LabelSet:
    """The project's labels in the model's vocabulary.

    The map is the one that was given; else that of the dataset, by its name; else a proposed one, which
    has to be looked at or accepted first. Superset datasets need none.

    Args:
        project: The project.
        model: Whose vocabulary it is, and whose poses help to propose a map.
        out: Folder in which a proposed map is written.
        images: Images that are inside videos or packages (SLEAP) are at hand as long as it is open; without
            it such projects are refused.
        say: Told what was proposed and accepted.

    Raises:
        InputError: If there is no map yet, or anything about the project is wrong.
    """
    from converters import load_superset, read_labels, reading
    from superset_vocab import InputError, load_map
    from superset_vocab import project as projected

    path = project.path
    if is_superset(path):
        if project.map_name is not None:
            raise InputError(f"{path}: is in a superset vocabulary already, --map has no effect")
        return load_superset(path)
    given = None if project.map_name is None else load_map(project.map_name)
    name = project.dataset or (given.dataset if given else path.resolve().stem)
    if images is None:
        labels = read_labels(path, format=project.format, dataset=name)
    else:
        found = reading(path, out, format=project.format, dataset=name, options=project.options)
        labels = images.enter_context(found)
    keypoint_map = given or _shipped(labels, name, model) or _proposed(project, labels, model, out, say)
    if keypoint_map.vocabulary.name != model.vocabulary.name:
        raise InputError(
            f"the keypoint map {keypoint_map.dataset} is into {keypoint_map.vocabulary.name}, "
            f"{model.spec.full_name} predicts {model.vocabulary.name}; choose another map or model"
        )
    return projected(labels, keypoint_map)


def is_superset(path: Path) -> bool:
    """Whether `zoo convert` wrote it; anything that cannot be read is left to the readers, who say why."""
    import json

    file = path / "annotations.json" if path.is_dir() else path
    if file.suffix != ".json" or not file.is_file():
        return False
    try:
        content = json.loads(file.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError):
        return False
    info = content.get("info") if isinstance(content, dict) else None
    return isinstance(info, dict) and bool(info.get("vocabulary"))


def _shipped(labels: LabelSet, name: str, model: Model) -> KeypointMap | None:
    """The package's map of a dataset of this name; a map speaks for its own dataset only."""
    from superset_vocab import list_maps, load_map

    if name not in list_maps():
        return None
    found = load_map(name)
    fits = set(found.targets) == set(labels.keypoints) and found.vocabulary.name == model.vocabulary.name
    return found if fits else None


def _proposed(
    project: Project, labels: LabelSet, model: Model, out: Path, say: Callable[[str], None]
) -> KeypointMap:
    """A map proposed from names and images, if it may be used unseen; else it is written and the run ends.

    Raises:
        InputError: If it has to be looked at first.
    """
    from adaptation.keypoint_files import write_matching
    from adaptation.keypoint_matching import match_keypoints
    from superset_vocab.errors import InputError
    from superset_vocab.files import make_folder

    matching = match_keypoints(labels, model, progress=True)
    folder = make_folder(out) / _MATCHING
    written = write_matching(matching, labels, folder)
    pairs = [f"{source} -> {target or 'none'}" for source, target in matching.targets.items()]
    if project.accept_map:
        say(f"{written[0]}: proposed and accepted: {', '.join(pairs)}")
        return matching.keypoint_map()
    raise InputError(
        f"{project.path}: has no keypoint map. One is proposed in {written[0]}: {', '.join(pairs)}. "
        f"Look at the pictures beside it, correct it, and run again with --map {written[0]}; or --accept-map"
    )


@dataclass(frozen=True)
class HeldOut:
    """Two models on labelled frames that neither was fine-tuned on.

    Attributes:
        reports: "zero-shot" and the name of the method -> figures.
        lost: What was forgotten; None for methods that start with a new decoder.
        n_known: Frames left out because one of them, or what it was made from, was fine-tuned on them.
    """

    reports: dict[str, Report]
    lost: Forgetting | None
    n_known: int = 0

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        content = {name: report.to_dict() for name, report in self.reports.items()}
        return content if self.lost is None else {**content, "forgetting": self.lost.to_dict()}


def compare_on_rest(
    model: Model, tuned: Model, used: LabelSet, rest: LabelSet, *, method: str, boxes: str
) -> HeldOut | None:
    """Test a model before and after fine-tuning.

    Args:
        model: Before.
        tuned: After.
        used: What it was fine-tuned on.
        rest: To test on; images without an annotated keypoint are left out, and those (or copies of those)
            that the models were fine-tuned on.
        method: One of `adaptation.fine_tuning.METHODS`.
        boxes: "labels" or "model", as in `training.evaluate.evaluate_model`.

    Returns:
        The figures; None if nothing is left to test on.
    """
    from adaptation.fine_tuning import image_key, trained_images
    from training.comparison import forgetting, target_keypoints
    from training.evaluate import evaluate_model

    annotated = [r for r in rest.records if r.annotated.any()]
    known = trained_images(tuned)
    fresh = [r for r in annotated if image_key(r.image) not in known]
    if not fresh:
        return None
    rest = replace(rest, records=tuple(fresh))
    reports = {
        name: evaluate_model(which, rest, split="labelled frames not used", bboxes=boxes)
        for name, which in (("zero-shot", model), (method, tuned))
    }
    lost = None
    if method in ("replay", "naive"):
        lost = forgetting(model, tuned, rest, target_keypoints(used), split="the same frames")
    return HeldOut(reports, lost, len(annotated) - len(fresh))
