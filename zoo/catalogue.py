"""The catalogue: one data file, `models/<name>.<variant>.toml`, for each published model.

A model's file carries all that is needed to run it and to judge it: networks with their options, where
the weights are and what they hash to, licence, citation, training data and evaluation. Its entries are
checked when it is read; an unknown entry is an error, so that a misspelt one is never silently without
effect.

    name = "superanimal_topviewmouse"
    variant = "compact"
    default = false                    # true for the variant that `zoo.load(name)` prefers
    vocabulary = "superanimal_topviewmouse"
    summary = "..."
    licence = "..."
    citation = "..."
    training_data = ["..."]

    [pose]
    network = "compact_unet"           # a name that zoo.networks.build knows
    options = {outputs = {heatmaps = 27}}                     # its keyword arguments
    input = {size = 128, stride = 2, context = 1.5}           # those of zoo.pose.TopDownPose
    weights = {file = "....safetensors", sha256 = "..."}      # embedded, or with `repository` on the Hub

    [detectors.compact]                # the first one is the default
    network = "compact_unet"           # a name that zoo.detector_networks.build_detector knows
    options = {outputs = {heatmaps = 1, size = 2}}
    input = {size_wh = [160, 128], stride = 4}                # keyword arguments of the detector's class
    weights = {file = "....safetensors", sha256 = "..."}
    bbox_threshold = 0.05              # detections below it are not looked at any further

    [inference]
    score_threshold = 0.03             # least box confidence times mean keypoint confidence; or 0
    detect_every = 1                   # frames between detections in a video, or "auto" (zoo.finders)
    replay_threshold = 0.7             # confidence above which fine-tuning replays a keypoint

    [parent]                           # of a model that was made from another one (zoo.model_folder)
    name = "..."
    variant = "..."
    sha256 = "..."                     # of the parent's pose weights
    method = "replay"

    [evaluation]                       # free: what was measured, on what
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import Any

from superset_vocab.errors import InputError, all_problems
from superset_vocab.toml_text import parse_toml, toml_names

_FOLDER = resources.files("zoo") / "models"
_WEIGHTS = resources.files("zoo") / "weights"


@dataclass(frozen=True)
class WeightsSpec:
    """Where weights are and what they must hash to.

    Attributes:
        file: Name of the file in the package's weights folder, or in the repository.
        sha256: Its SHA-256, hexadecimal; "" where the publisher does not state it.
        repository: The Hugging Face Hub repository, "owner/name"; "" for a file of the package or a folder.
        revision: Branch, tag or commit there.
        folder: Folder of the file, for a model that was read from one (`zoo.model_folder`).
    """

    file: str
    sha256: str = ""
    repository: str = ""
    revision: str = "main"
    folder: Path | None = None

    @property
    def embedded(self) -> bool:
        """Whether the file comes with the package."""
        return self.is_local and self.folder is None

    @property
    def is_local(self) -> bool:
        """Whether the file is here already, in the package or in a model's folder."""
        return not self.repository

    @property
    def path(self) -> Path:
        """Path of the file in its folder or in the installed package; for local weights only."""
        return Path(str(_WEIGHTS / self.file)) if self.folder is None else self.folder / self.file


@dataclass(frozen=True)
class NetworkSpec:
    """A network, its weights, and how images are fed to it.

    Attributes:
        network: A name that `zoo.networks.build` (pose) or `zoo.detector_networks` (detector) knows.
        options: Keyword arguments of the network.
        input: Keyword arguments of the class that runs it.
        weights: Its published weights.
        bbox_threshold: Of a detector: default confidence below which a detection is no animal, in [0, 1].
        untrained: Of a pose network: keypoints that none of its training data defined. It has a channel for
            them, which means nothing; they come out as missing.
    """

    network: str
    weights: WeightsSpec
    options: dict[str, Any] = field(default_factory=dict)
    input: dict[str, Any] = field(default_factory=dict)
    bbox_threshold: float = 0.0
    untrained: tuple[str, ...] = ()


@dataclass(frozen=True)
class Parent:
    """The model that a model was made from, e.g. by fine-tuning.

    Attributes:
        name, variant: Of the parent.
        sha256: Of the file with the parent's pose weights.
        method: How the child was made from it, e.g. "replay".
    """

    name: str
    variant: str
    sha256: str
    method: str


@dataclass(frozen=True)
class ModelSpec:
    """One published model.

    Attributes:
        name, variant: Together they name the model.
        vocabulary: Name of the vocabulary of its output channels.
        summary: One line on what it is for.
        pose: The network that finds keypoints.
        detectors: Name -> a network that finds animals; the first is the default. Empty for bottom-up.
        licence, citation, training_data: What a user has to know before using or publishing.
        evaluation: What was measured; free entries.
        default: True for the variant that is preferred when none is named.
        score_threshold: Box confidence times mean keypoint confidence below which it is none, in [0, 1].
        detect_every: Frames between detections in a video, or "auto" (`zoo.finders`).
        parent: What it was fine-tuned from; None for a model that was trained from the beginning.
        replay_threshold: Confidence above which memory replay trusts a prediction of this model. The paper
            has 0.7; where confidence is another quantity it is another (`adaptation.memory_replay`).
    """

    name: str
    variant: str
    vocabulary: str
    summary: str
    pose: NetworkSpec
    detectors: dict[str, NetworkSpec]
    licence: str
    citation: str
    training_data: tuple[str, ...]
    evaluation: dict[str, Any] = field(default_factory=dict)
    default: bool = False
    score_threshold: float = 0.0
    detect_every: int | str = 1
    parent: Parent | None = None
    replay_threshold: float = 0.7

    @property
    def full_name(self) -> str:
        """Name and variant in one word, e.g. "superanimal_topviewmouse_compact"."""
        return f"{self.name}_{self.variant}"

    @property
    def embedded(self) -> bool:
        """Whether the model runs from the installed package alone."""
        return all(part.weights.embedded for part in (self.pose, *self.detectors.values()))

    @property
    def bottom_up(self) -> bool:
        """Whether one network finds the keypoints of all animals, without a detector."""
        return not self.detectors

    @property
    def default_detector(self) -> str:
        """Name of the first detector, "" if there is none."""
        return next(iter(self.detectors), "")


def list_models() -> list[ModelSpec]:
    """Every published model, sorted by name and variant."""
    files = [f"{name}.toml" for name in toml_names(_FOLDER)]
    return [parse_spec(file, (_FOLDER / file).read_text(encoding="utf-8")) for file in files]


def variants_of(name: str, models: list[ModelSpec] | None = None) -> list[ModelSpec]:
    """The variants of a model, the default one first.

    Raises:
        InputError: If there is no such model; names those that come nearest.
    """
    models = list_models() if models is None else models
    named = [spec for spec in models if spec.name == name]
    if not named:
        raise InputError(f"{name!r} is no published model; {suggest(name, {m.name for m in models})}")
    return sorted(named, key=lambda spec: not spec.default)


def find_model(name: str, variant: str | None = None, models: list[ModelSpec] | None = None) -> ModelSpec:
    """The published model of that name, in that variant or in its default one.

    Args:
        name: Model name.
        variant: Variant, or None for the default.
        models: Where to look; None looks in the package's catalogue.

    Raises:
        InputError: If there is none; names those that come nearest.
    """
    named = variants_of(name, models)
    if variant is None:
        return named[0]
    for spec in named:
        if spec.variant == variant:
            return spec
    raise InputError(f"{name} has no variant {variant!r}; {suggest(variant, {m.variant for m in named})}")


def suggest(word: str, known: set[str]) -> str:
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
    data = parse_toml(text, what)
    problems = list(_problems(data))
    if problems:
        raise all_problems(what, problems)
    return ModelSpec(
        name=data["name"],
        variant=data["variant"],
        vocabulary=data["vocabulary"],
        summary=data["summary"],
        pose=_network(data["pose"]),
        detectors={key: _network(table) for key, table in data.get("detectors", {}).items()},
        score_threshold=float(data.get("inference", {}).get("score_threshold", 0.0)),
        detect_every=data.get("inference", {}).get("detect_every", 1),
        licence=data["licence"],
        citation=data["citation"],
        training_data=tuple(data["training_data"]),
        evaluation=data.get("evaluation", {}),
        default=data.get("default", False),
        parent=Parent(**data["parent"]) if "parent" in data else None,
        replay_threshold=float(data.get("inference", {}).get("replay_threshold", 0.7)),
    )


def _network(table: dict[str, Any]) -> NetworkSpec:
    """A network's table, checked before, as a spec."""
    untrained = tuple(table.get("untrained", ()))
    return NetworkSpec(**{**table, "weights": WeightsSpec(**table["weights"]), "untrained": untrained})


_Kinds = dict[str, type | tuple[type, ...]]
_MODEL: _Kinds = {
    "name": str,
    "variant": str,
    "vocabulary": str,
    "summary": str,
    "licence": str,
    "citation": str,
    "training_data": list,
    "pose": dict,
    "detectors": dict,
    "inference": dict,
    "evaluation": dict,
    "default": bool,
    "parent": dict,
}
_NETWORK: _Kinds = {"network": str, "options": dict, "input": dict, "weights": dict}
_POSE: _Kinds = {**_NETWORK, "untrained": list}
_DETECTOR: _Kinds = {**_NETWORK, "bbox_threshold": (int, float)}
_WEIGHTS_FILE: _Kinds = {"file": str, "sha256": str, "repository": str, "revision": str}
_PARENT: _Kinds = {"name": str, "variant": str, "sha256": str, "method": str}
_INFERENCE: _Kinds = {
    "score_threshold": (int, float),
    "detect_every": (int, str),
    "replay_threshold": (int, float),
}
_OPTIONAL = {
    "options",
    "input",
    "sha256",
    "repository",
    "revision",
    "evaluation",
    "default",
    "detectors",
    "inference",
    "untrained",
    "score_threshold",
    "detect_every",
    "replay_threshold",
    "parent",
}


def _problems(data: dict[str, Any]) -> Iterator[str]:
    """Everything that is wrong with a spec's entries, one sentence each."""
    yield from _table(data, _MODEL, "")
    networks = {"pose": (data.get("pose"), _POSE)}
    detectors = data.get("detectors")
    for name, table in (detectors if isinstance(detectors, dict) else {}).items():
        networks[f"detectors.{name}"] = (table, _DETECTOR)
        if not isinstance(table, dict):
            yield f"entry 'detectors.{name}' is a {type(table).__name__}, not a dict"
    for name, (table, kinds) in networks.items():
        if isinstance(table, dict):
            yield from _table(table, kinds, f"{name}.")
            if isinstance(table.get("weights"), dict):
                yield from _table(table["weights"], _WEIGHTS_FILE, f"{name}.weights.")
                yield from _unhashed(table["weights"], name)
            yield from _fractions(table, f"{name}.", ("bbox_threshold",))
    if isinstance(data.get("parent"), dict):
        yield from _table(data["parent"], _PARENT, "parent.")
    inference = data.get("inference")
    if isinstance(inference, dict):
        yield from _table(inference, _INFERENCE, "inference.")
        yield from _fractions(inference, "inference.", ("score_threshold", "replay_threshold"))
        every = inference.get("detect_every", 1)
        if every != "auto" and not (isinstance(every, int) and every >= 1):
            yield f"inference.detect_every is {every!r}, want 'auto' or 1 or more"


def _table(found: dict[str, Any], entries: _Kinds, prefix: str) -> Iterator[str]:
    """Unknown, missing and mistyped entries of one table."""
    for name in sorted(set(found) - set(entries)):
        yield f"unknown entry {prefix + name!r}"
    for name, kind in entries.items():
        if name not in found:
            if name not in _OPTIONAL:
                yield f"lacks the entry {prefix + name!r}"
        elif not isinstance(found[name], kind):
            yield f"entry {prefix + name!r} is a {type(found[name]).__name__}, not a {_kind(kind)}"


def _unhashed(weights: dict[str, Any], name: str) -> Iterator[str]:
    if not weights.get("repository") and not weights.get("sha256"):
        yield f"{name}.weights without a repository need their sha256"


def _fractions(table: dict[str, Any], prefix: str, names: tuple[str, ...]) -> Iterator[str]:
    for name in names:
        value = table.get(name)
        if isinstance(value, int | float) and not 0 <= value <= 1:
            yield f"{prefix}{name} is {value}, which is not in [0, 1]"


def _kind(kind: type | tuple[type, ...]) -> str:
    kinds = kind if isinstance(kind, tuple) else (kind,)
    return " or ".join(k.__name__ for k in kinds)
