"""Which weights `zoo.load` takes, and putting them into networks.

1. A file that the caller names, or a variant or a model's folder that the caller names, wins. If it cannot
   be had, that is an error.
2. Else the model's default variant, which lies on the Hugging Face Hub, if it is in the Hub's cache or
   can be downloaded.
3. Else the embedded compact variant, with one warning (`EmbeddedWeightsWarning`) that says what was
   loaded, what was not, and how to get it. `allow_embedded=False` or ZOO_STRICT=1 makes this an error.

A detector comes with its model; another of the model's detectors is chosen by name, "none" takes the
whole frame for the one animal's box, and a .json file gives boxes that any other detector found.
"""

from __future__ import annotations

import os
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from torch import nn

from superset_vocab import InputError, Vocabulary, load_vocabulary
from superset_vocab.errors import all_problems
from superset_vocab.files import sha256_of
from zoo.bottom_up import BottomUpPose
from zoo.catalogue import ModelSpec, NetworkSpec, WeightsSpec, find_model, suggest, variants_of
from zoo.detectors import Detector
from zoo.given_boxes import CocoBoxes, WholeFrame
from zoo.hub import NotReachableError, fetch
from zoo.model import Model
from zoo.official_weights import read_any
from zoo.pose import PoseInput, TopDownPose
from zoo.weight_files import mismatches

_NONE = "none"


class EmbeddedWeightsWarning(UserWarning):
    """The embedded compact weights were loaded in place of the published ones."""


@dataclass(frozen=True)
class Request:
    """What `zoo.load` was asked for; see there."""

    name: str
    variant: str | None = None
    device: str = "auto"
    weights: Path | None = None
    detector: str | None = None
    detector_weights: Path | None = None
    allow_embedded: bool | None = None
    folder_spec: ModelSpec | None = None
    box_category: int | str | None = None

    def __post_init__(self) -> None:
        if self.box_category is not None and not _boxes_file(self):
            raise InputError(
                "box_category has no effect unless detector= is a .json file of boxes; leave one out"
            )
        spec = self.folder_spec
        if spec is not None and self.variant not in (None, spec.variant):
            raise InputError(f"{self.name}: is the variant {spec.variant!r}, not {self.variant!r}")

    def variants(self) -> list[ModelSpec]:
        """What there is of this name: the one model of a folder, or the published variants."""
        return variants_of(self.name) if self.folder_spec is None else [self.folder_spec]

    def find(self) -> ModelSpec:
        """The model in the variant that was asked for, or the default one."""
        return find_model(self.name, self.variant) if self.folder_spec is None else self.folder_spec

    @property
    def strict(self) -> bool:
        """Whether the embedded weights may not stand in for the published ones."""
        if self.allow_embedded is not None:
            return not self.allow_embedded
        return os.environ.get("ZOO_STRICT", "0") not in ("", "0")


@dataclass(frozen=True)
class Part:
    """A network and the file with its weights."""

    spec: NetworkSpec
    file: Path
    name: str = ""

    def provenance(self) -> dict[str, str]:
        """File, hash and origin of the weights."""
        about = {"file": self.file.name, "sha256": sha256_of(self.file)}
        published = self.spec.weights
        if published.repository and published.file == self.file.name and "snapshots" in self.file.parts:
            # The Hub's cache names a file's folder after the commit that it is from.
            about |= {"repository": published.repository, "revision": self.file.parent.name}
        return about


def load_model(request: Request) -> Model:
    """Find the weights, build the networks, fill them and put them on a device; see `zoo.load`."""
    device = choose_device(request.device)
    files = Files()
    spec, pose = _choose_pose(request, files)
    detector = _choose_detector(request, spec, pose, files)
    vocabulary = load_vocabulary(spec.vocabulary)
    network = _filled(_build_pose(pose.spec), pose, "pose", device)
    weights = {"pose": pose.provenance()}
    if spec.bottom_up:
        runner = BottomUpPose(network, skeleton=vocabulary.bones, device=device, **pose.spec.input)
        name, found = "", None
    else:
        runner = _top_down(network, pose.spec, vocabulary, device)
        name, found = _load_detector(request, detector, device, weights)
    return Model(
        spec=spec,
        vocabulary=vocabulary,
        pose=runner,
        detector=found,
        detector_name=name,
        bbox_threshold=detector.spec.bbox_threshold if detector else 0.0,
        weights=weights,
        device=str(device),
    )


def _top_down(
    network: nn.Module, spec: NetworkSpec, vocabulary: Vocabulary, device: torch.device
) -> TopDownPose:
    """What runs the network on crops; options that it does not know are an error."""
    try:
        pose_input = PoseInput(**spec.input)
    except TypeError as error:
        raise InputError(f"pose input: {error}") from error
    untrained = [vocabulary.index[name] for name in spec.untrained]
    return TopDownPose(
        network, pose_input, flip_index=vocabulary.flip_index, untrained=untrained, device=device
    )


def _choose_pose(request: Request, files: Files) -> tuple[ModelSpec, Part]:
    """The model's entry and its pose weights, by the order of the module's text."""
    if request.weights is not None:
        if not request.weights.is_file():
            raise InputError(f"{request.weights}: no such weights file")
        spec = _fitting_variant(request)
        return spec, Part(spec.pose, request.weights)
    spec = request.find()
    if request.variant is not None or request.folder_spec is not None:
        return spec, Part(spec.pose, files.locate(spec.pose.weights))
    try:
        for part in (spec.pose, *_wanted_detector(request, spec)):
            files.locate(part.weights)
        return spec, Part(spec.pose, files.locate(spec.pose.weights))
    except NotReachableError as error:
        stand_in = _stand_in(request, spec, error)
        return stand_in, Part(stand_in.pose, stand_in.pose.weights.path)


def _stand_in(request: Request, spec: ModelSpec, error: NotReachableError) -> ModelSpec:
    """The embedded variant in place of one that cannot be had, with the warning; or the error."""
    embedded = [other for other in variants_of(request.name) if other.embedded]
    file = spec.pose.weights.file
    how = f"connect to the internet once, or download {file} elsewhere and give it as weights="
    if not embedded:
        raise InputError(f"{spec.full_name}: {error}; {how} (there are no embedded weights)") from error
    variant = embedded[0].variant
    if request.strict:
        raise InputError(
            f"{spec.full_name}: {error}; {how}, or allow the embedded variant {variant!r}"
        ) from error
    warnings.warn(
        f"loaded the embedded {embedded[0].full_name}, a small and less accurate network, because "
        f"{spec.full_name} cannot be had ({error}). To get it, {how}. "
        f"To take the embedded one without this warning: variant={variant!r}",
        EmbeddedWeightsWarning,
        stacklevel=5,
    )
    return embedded[0]


class Files:
    """Where published weights are, asking the Hub for each at most once in a load."""

    def __init__(self) -> None:
        self._known: dict[WeightsSpec, Path] = {}

    def locate(self, weights: WeightsSpec) -> Path:
        """The file: in the package or its folder, in the Hub's cache, or downloaded now.

        Raises:
            NotReachableError: If it is neither in the cache nor to be had from the Hub now.
            InputError: If the file is damaged or not to be had for another reason.
        """
        if weights.is_local:
            return weights.path
        if weights not in self._known:
            found = fetch(weights.repository, weights.file, weights.revision, weights.sha256)
            self._known[weights] = found
        return self._known[weights]


def _fitting_variant(request: Request) -> ModelSpec:
    """The variant that a weights file is for: the one that was named, or the only one that it fits."""
    variants = request.variants()
    if request.variant is not None:
        return request.find()
    assert request.weights is not None
    tensors = read_any(request.weights, "pose")
    fits = []
    for spec in variants:
        with torch.device("meta"):
            network = _build_pose(spec.pose)
        if not mismatches(network, tensors):
            fits.append(spec)
    if len(fits) == 1:
        return fits[0]
    names = ", ".join(spec.variant for spec in fits or variants)
    what = "fits several variants" if fits else "fits none of the variants"
    raise InputError(f"{request.weights}: {what} of {request.name} ({names}); name the variant it is for")


def _wanted_detector(request: Request, spec: ModelSpec) -> list[NetworkSpec]:
    """The detector that has to be had for a request, none or one."""
    if request.detector_weights is not None or request.detector in (_NONE, *_boxes_file(request)):
        return []
    name = spec.default_detector if request.detector is None else request.detector
    return [spec.detectors[name]] if name in spec.detectors else []


def _boxes_file(request: Request) -> list[str]:
    """The detector argument, if it names a file of boxes."""
    return [request.detector] if request.detector is not None and request.detector.endswith(".json") else []


def _choose_detector(request: Request, spec: ModelSpec, pose: Part, files: Files) -> Part | None:
    """The detector's entry and weights; None for bottom-up, and where boxes or the whole frame are wanted."""
    if spec.bottom_up:
        if request.detector is not None or request.detector_weights is not None:
            raise InputError(f"{spec.full_name} is a bottom-up model, which needs no detector; name none")
        return None
    if request.detector == _NONE or _boxes_file(request):
        if request.detector_weights is not None:
            raise InputError(
                f"detector_weights has no effect with detector={request.detector!r}; leave one out"
            )
        return None
    detectors = dict(spec.detectors)
    for other in request.variants():  # an embedded detector serves every variant of its model
        if other.embedded:
            detectors |= {n: d for n, d in other.detectors.items() if n not in detectors}
    name = request.detector or spec.default_detector
    if name not in detectors:
        raise InputError(f"{spec.full_name} has no detector {name!r}; {suggest(name, {*detectors, _NONE})}")
    if request.detector_weights is not None:
        if not request.detector_weights.is_file():
            raise InputError(f"{request.detector_weights}: no such weights file")
        return Part(detectors[name], request.detector_weights, name)
    if request.weights is not None and detectors[name].weights.file == spec.pose.weights.file:
        return Part(detectors[name], pose.file, name)  # one file with both networks
    try:
        return Part(detectors[name], files.locate(detectors[name].weights), name)
    except NotReachableError as error:
        stand_in = next((n for n, d in detectors.items() if d.weights.embedded), "")
        if request.detector is not None or request.strict or not stand_in:
            raise
        warnings.warn(
            f"loaded the embedded detector {stand_in!r} in place of {name!r}, which cannot be had ({error}); "
            f"give its file as detector_weights=, or choose detector={stand_in!r}",
            EmbeddedWeightsWarning,
            stacklevel=4,
        )
        return Part(detectors[stand_in], detectors[stand_in].weights.path, stand_in)


def _load_detector(
    request: Request, part: Part | None, device: torch.device, weights: dict[str, dict[str, str]]
) -> tuple[str, Detector | CocoBoxes]:
    """Name and detector; adds its weights to the provenance."""
    from zoo.detector_networks import build_detector

    if part is None:
        assert request.detector is not None
        if request.detector == _NONE:
            return "whole_frame", WholeFrame()
        boxes, category = Path(request.detector), request.box_category
        found = CocoBoxes.from_file(boxes, category=category)
        weights["detector"] = {"file": boxes.name, "sha256": sha256_of(boxes)}
        weights["detector"] |= {"category": str(category)} if category is not None else {}
        return "given_boxes", found
    network, make = build_detector(part.spec)
    weights["detector"] = part.provenance()
    return part.name, make(_filled(network, part, "detector", device), device)


def _build_pose(spec: NetworkSpec) -> nn.Module:
    from zoo.networks import build

    return build(spec.network, **spec.options)


def _filled(
    network: nn.Module, part: Part, which: Literal["pose", "detector"], device: torch.device
) -> nn.Module:
    """The network with its weights, on the device, in the memory layout that is fastest for convolutions."""
    expected = part.spec.weights.sha256 if part.file.name == part.spec.weights.file else ""
    tensors = read_any(part.file, which, expected)
    problems = mismatches(network, tensors)
    if problems:
        raise all_problems(f"{part.file} does not fit the network {part.spec.network}", problems)
    network.load_state_dict(tensors)
    return network.eval().to(device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]


def choose_device(device: str) -> torch.device:
    """The device of that name; "auto" is the first CUDA device if there is one, else the processor.

    Raises:
        InputError: If there is no such device here.
    """
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        chosen = torch.device(device)
        torch.empty(0, device=chosen)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise InputError(f"device {device!r} cannot be used here; try 'auto', 'cpu' or 'cuda'") from error
    return chosen
