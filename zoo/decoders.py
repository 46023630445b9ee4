"""Network outputs to keypoints: one function for each way in which networks say where a keypoint is.

A decoder takes the outputs of a batch of crops by name and the stride, and returns positions (B, K, 2)
in the crop's coordinates and confidence (B, K) in [0, 1].
"""

from __future__ import annotations

from collections.abc import Callable

import torch

from zoo.codecs import decode_heatmaps
from zoo.simcc import decode_simcc

Outputs = dict[str, torch.Tensor]
Decoder = Callable[[Outputs, int], tuple[torch.Tensor, torch.Tensor]]

_LOCREF_SCALE = 7.2801  # published networks: location refinement is in units of this many crop pixels


def gaussian(outputs: Outputs, stride: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Heatmap logits of Gaussians, refined below the cell (`zoo.codecs.decode_heatmaps`)."""
    return decode_heatmaps(outputs["heatmaps"].sigmoid(), stride)


def argmax(outputs: Outputs, stride: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Raw heatmaps: the best cell's centre, moved by the location refinement there if there is one.

    As the published networks HRNet-w32 and ResNet-50 are decoded: confidence is the raw value at the
    maximum, clipped to [0, 1]; cell (i, j) stands for x = (j + 0.5) * stride, y = (i + 0.5) * stride.
    """
    heatmaps = outputs["heatmaps"]
    b, k, _, w = heatmaps.shape
    value, index = heatmaps.flatten(2).max(dim=2)
    positions = torch.stack([index % w, index // w], dim=-1).float().add(0.5) * stride
    if "locref" in outputs:
        locref = outputs["locref"].view(b, k, 2, -1)
        offset = locref.gather(3, index[:, :, None, None].expand(-1, -1, 2, 1))[..., 0]
        positions = positions + offset * _LOCREF_SCALE
    return positions, value.clamp(0, 1)


def simcc(outputs: Outputs, stride: int) -> tuple[torch.Tensor, torch.Tensor]:
    """One classification per axis; `stride` is the number of bins per crop pixel (the split ratio)."""
    return decode_simcc(outputs["simcc_x"], outputs["simcc_y"], split_ratio=float(stride))


def mirror_outputs(outputs: Outputs, flip_index: torch.Tensor, size: int, stride: int) -> Outputs:
    """Outputs for mirrored crops, mirrored back: what they say about the crops as they were.

    Args:
        outputs: Of a batch of mirrored crops.
        flip_index: (K,) what each keypoint becomes in a mirrored image.
        size: Side of the crop in pixels.
        stride: Crop pixels per heatmap cell.
    """
    mirrored: Outputs = {}
    for name, value in outputs.items():
        if name == "simcc_x":
            mirrored[name] = value[:, flip_index].flip(-1)
        elif name == "simcc_y":
            mirrored[name] = value[:, flip_index]
        elif name == "heatmaps":
            mirrored[name] = value[:, flip_index].flip(-1)
        elif name == "locref":
            b, channels, h, w = value.shape
            offsets = value.view(b, channels // 2, 2, h, w)[:, flip_index].flip(-1).clone()
            # Cells may cover more than the crop (33 of 8 px for 256 px): mirroring is about its middle.
            offsets[:, :, 0] = (size - w * stride) / _LOCREF_SCALE - offsets[:, :, 0]
            mirrored[name] = offsets.view(b, channels, h, w)
        else:
            raise ValueError(f"do not know how to mirror the output {name!r}")
    return mirrored


DECODERS: dict[str, Decoder] = {"gaussian": gaussian, "argmax": argmax, "simcc": simcc}
