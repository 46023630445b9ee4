"""The catalogue: one data file, `models/<name>.<variant>.toml`, for each published model.

A model's file carries all that is needed to run it and to judge it: networks with their options, the
weights and their SHA-256, licence, citation, training data and evaluation. Its entries are checked
when it is read; an unknown entry is an error, so that a misspelt one is never silently without effect.

    name = "superanimal_topviewmouse"
    variant = "compact"
    default = true                     # the variant that `zoo.load(name)` takes
    vocabulary = "superanimal_topviewmouse"
    summary = "..."
    licence = "..."
    citation = "..."
    training_data = ["..."]

    [weights]
    file = "superanimal_topviewmouse.compact.safetensors"     # in zoo/weights
    sha256 = "..."

    [pose]
    network = "compact_unet"           # a name that zoo.networks.build knows
    options = {outputs = {heatmaps = 27}}                     # its keyword arguments
    input = {size = 128, stride = 2, context = 1.5}           # those of zoo.pose.TopDownPose

    [detector]
    network = "compact_unet"
    options = {outputs = {heatmaps = 1, size = 2}}
    input = {size_wh = [160, 128], stride = 4}                # those of zoo.detectors.HeatmapDetector

    [inference]
    bbox_threshold = 0.05              # detections below it are not looked at any further
    score_threshold = 0.03             # least box confidence times mean keypoint confidence; or 0

    [evaluation]                       # free: what was measured, on what
"""

from __future__ import annotations

import difflib
import tomllib
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import Any

from superset_vocab.errors import InputError, all_problems

_FOLDER = resources.files("zoo") / "models"
_WEIGHTS = resources.files("zoo") / "weights"


@dataclass(frozen=True)
class NetworkSpec:
    """A network and how images are fed to it.

    Attributes:
        network: A name that `zoo.networks.build` knows.
        options: Keyword arguments of the network.
        input: Keyword arguments of the class that runs it (`TopDownPose` or `HeatmapDetector`).
    """

    network: str
    options: dict[str, Any] = field(default_factory=dict)
    input: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class WeightsSpec:
    """Where the weights are and what they must hash to.

    Attributes:
        file: Name of the safetensors file in the package's weights folder.
        sha256: Its SHA-256, hexadecimal.
        repository, revision: Where the same file is published, where it is.
    """

    file: str
    sha256: str
    repository: str = ""
    revision: str = ""

    @property
    def path(self) -> Path:
        """Path of the file in the installed package."""
        return Path(str(_WEIGHTS / self.file))


@dataclass(frozen=True)
class ModelSpec:
    """One published model.

    Attributes:
        name, variant: Together they name the model.
        vocabulary: Name of the vocabulary of its output channels.
        summary: One line on what it is for.
        pose, detector: The two networks of the top-down model.
        weights: The file that has the weights of both.
        bbox_threshold: Default confidence below which a detection is no animal, in [0, 1].
        score_threshold: Box confidence times mean keypoint confidence below which it is none, in [0, 1].
        licence, citation, training_data: What a user has to know before using or publishing.
        evaluation: What was measured; free entries.
        default: True for the variant that is loaded when none is named.
    """

    name: str
    variant: str
    vocabulary: str
    summary: str
    pose: NetworkSpec
    detector: NetworkSpec
    weights: WeightsSpec
    bbox_threshold: float
    licence: str
    citation: str
    training_data: tuple[str, ...]
    evaluation: dict[str, Any] = field(default_factory=dict)
    default: bool = False
    score_threshold: float = 0.0

    @property
    def full_name(self) -> str:
        """Name and variant in one word, e.g. "superanimal_topviewmouse_compact"."""
        return f"{self.name}_{self.variant}"


def list_models() -> list[ModelSpec]:
    """Every published model, sorted by name and variant."""
    files = sorted(f.name for f in _FOLDER.iterdir() if f.name.endswith(".toml"))
    return [parse_spec(file, (_FOLDER / file).read_text(encoding="utf-8")) for file in files]


def find_model(name: str, variant: str | None = None, models: list[ModelSpec] | None = None) -> ModelSpec:
    """The published model of that name, in that variant or in its default one.

    Args:
        name: Model name.
        variant: Variant, or None for the default.
        models: Where to look; None looks in the package's catalogue.

    Raises:
        InputError: If there is none; names those that come nearest.
    """
    models = list_models() if models is None else models
    named = [spec for spec in models if spec.name == name]
    if not named:
        raise InputError(f"{name!r} is no published model; {_suggest(name, {m.name for m in models})}")
    if variant is None:
        named = [spec for spec in named if spec.default] or named[:1]
        return named[0]
    for spec in named:
        if spec.variant == variant:
            return spec
    raise InputError(f"{name} has no variant {variant!r}; {_suggest(variant, {m.variant for m in named})}")


def _suggest(word: str, known: set[str]) -> str:
    """Say which known words are near, and which there are."""
    if not known:
        return "there are none"
    near = difflib.get_close_matches(word, sorted(known), n=3, cutoff=0.4)
    guess = f"did you mean {' or '.join(map(repr, near))}? " if near else ""
    return f"{guess}there are: {', '.join(sorted(known))}"


def parse_spec(what: str, text: str) -> ModelSpec:
    """Build a spec from the text of its data file.

    Args:
        what: Name of the file, for messages.
        text: TOML.

    Raises:
        InputError: Lists every entry that is missing, unknown or of the wrong kind.
    """
    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise InputError(f"{what}: not a TOML file: {error}") from error
    problems = list(_problems(data))
    if problems:
        raise all_problems(what, problems)
    return ModelSpec(
        name=data["name"],
        variant=data["variant"],
        vocabulary=data["vocabulary"],
        summary=data["summary"],
        pose=NetworkSpec(**data["pose"]),
        detector=NetworkSpec(**data["detector"]),
        weights=WeightsSpec(**data["weights"]),
        bbox_threshold=float(data["inference"]["bbox_threshold"]),
        score_threshold=float(data["inference"].get("score_threshold", 0.0)),
        licence=data["licence"],
        citation=data["citation"],
        training_data=tuple(data["training_data"]),
        evaluation=data.get("evaluation", {}),
        default=data.get("default", False),
    )


_NETWORK = {"network": str, "options": dict, "input": dict}
_ENTRIES: dict[str, dict[str, type | tuple[type, ...]]] = {
    "": {
        "name": str,
        "variant": str,
        "vocabulary": str,
        "summary": str,
        "licence": str,
        "citation": str,
        "training_data": list,
        "pose": dict,
        "detector": dict,
        "weights": dict,
        "inference": dict,
        "evaluation": dict,
        "default": bool,
    },
    "pose": _NETWORK,
    "detector": _NETWORK,
    "weights": {"file": str, "sha256": str, "repository": str, "revision": str},
    "inference": {"bbox_threshold": (int, float), "score_threshold": (int, float)},
}
_OPTIONAL = {"options", "input", "repository", "revision", "evaluation", "default", "score_threshold"}


def _problems(data: dict[str, Any]):
    """Everything that is wrong with a spec's entries, one sentence each."""
    for table, entries in _ENTRIES.items():
        found = data if table == "" else data.get(table, {})
        if not isinstance(found, dict):
            continue  # said by the check of the table that it stands in
        prefix = f"{table}." if table else ""
        for name in sorted(set(found) - set(entries)):
            yield f"unknown entry {prefix + name!r}"
        for name, kind in entries.items():
            if name not in found:
                if name not in _OPTIONAL:
                    yield f"lacks the entry {prefix + name!r}"
            elif not isinstance(found[name], kind):
                yield f"entry {prefix + name!r} is a {type(found[name]).__name__}, not a {_kind(kind)}"
    inference = data.get("inference")
    for name, value in (inference if isinstance(inference, dict) else {}).items():
        if isinstance(value, int | float) and not 0 <= value <= 1:
            yield f"inference.{name} is {value}, which is not in [0, 1]"


def _kind(kind: type | tuple[type, ...]) -> str:
    kinds = kind if isinstance(kind, tuple) else (kind,)
    return " or ".join(k.__name__ for k in kinds)
