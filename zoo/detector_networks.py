"""All detectors by name: which network, and which class runs it. Building one never downloads anything."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from superset_vocab.errors import InputError
from zoo.catalogue import NetworkSpec
from zoo.detectors import Detector, HeatmapDetector

Runner = Callable[[nn.Module, torch.device], Detector]

_TORCHVISION = (
    "fasterrcnn_resnet50_fpn_v2",
    "fasterrcnn_mobilenet_v3_large_fpn",
    "ssdlite320_mobilenet_v3_large",
)
_MMDET = ("rtmdet_tiny", "faster_rcnn_r50_fpn")
DETECTOR_NETWORKS = ("compact_unet", *_TORCHVISION, *_MMDET)


def build_detector(spec: NetworkSpec) -> tuple[nn.Module, Runner]:
    """Build a detector's network with random weights, and say what runs it.

    Thresholds are the caller's (`zoo.finders`): the detectors give out all that they find, best first.

    Returns:
        The network, and a function (network with its weights, device) -> detector.

    Raises:
        InputError: If there is no such detector, or it does not take these options.
    """
    if spec.network in _TORCHVISION:
        from zoo.torchvision_detectors import TorchvisionDetector, build_torchvision_detector

        network = build_torchvision_detector(spec.network, **spec.options)
        return network, _runner(TorchvisionDetector, {"score_threshold": 0.0, **spec.input})
    if spec.network in _MMDET:
        from zoo.mmdet_detectors import FITS, LOWEST_SCORE, MMDetDetector, build_mmdet_detector

        fit = FITS[spec.network]
        seen = {"short_side": fit.short_side, "long_side": fit.long_side, "square": fit.square}
        network = build_mmdet_detector(spec.network, **spec.options)
        return network, _runner(MMDetDetector, {"score_threshold": LOWEST_SCORE, **seen, **spec.input})
    if spec.network == "compact_unet":
        from zoo.networks import build

        return build(spec.network, **spec.options), _runner(HeatmapDetector, spec.input)
    raise InputError(f"{spec.network!r} is no detector; there are: {', '.join(DETECTOR_NETWORKS)}")


def _runner(kind: Callable[..., Detector], options: dict[str, Any]) -> Runner:
    """A function that puts the detector together; options that it does not know are an error."""

    def make(network: nn.Module, device: torch.device) -> Detector:
        try:
            return kind(network, device=device, **options)
        except TypeError as error:
            raise InputError(f"detector input: {error}") from error

    return make
