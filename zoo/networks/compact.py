"""The compact network: a small U-Net that trains from scratch and runs in real time on two cores.

High-resolution convolutions with skip connections learn keypoints from a few hundred labelled images
without ImageNet weights, where backbones that go to 1/32 at once do not (docs/experiments.md). The
layout follows U-Net (Ronneberger et al., MICCAI 2015) with residual blocks (He et al., CVPR 2016) and
addition in place of concatenation.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn
from torch.nn import functional as F


def conv_block(inputs: int, outputs: int, stride: int = 1) -> nn.Sequential:
    """3x3 convolution, batch norm, ReLU."""
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU(inplace=True)
    )


class Residual(nn.Module):
    """Two 3x3 convolutions with a shortcut around them."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = conv_block(channels, channels)
        self.second = nn.Sequential(
            nn.Conv2d(channels, channels, 3, 1, 1, bias=False), nn.BatchNorm2d(channels)
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(B, C, H, W) -> same."""
        return F.relu(x + self.second(self.first(x)))


class CompactUNet(nn.Module):
    """U-Net with residual blocks and one output map per keypoint.

    Args:
        outputs: Name -> number of channels of each output, e.g. {"heatmaps": 27} or, for a detector,
            {"heatmaps": 1, "size": 2}.
        widths: Channels at strides 2, 4, 8, ...
        in_channels: 1 for grey input, 3 for RGB.
        output_stride: Stride of the output maps; 2 or a larger power of two.
    """

    def __init__(
        self,
        outputs: dict[str, int],
        widths: Sequence[int] = (24, 48, 96, 160),
        in_channels: int = 1,
        output_stride: int = 2,
    ) -> None:
        super().__init__()
        self.skip = {2**i: i - 1 for i in range(1, len(widths) + 1)}[output_stride]
        self.stem = conv_block(in_channels, widths[0], stride=2)
        self.down = nn.ModuleList()
        for i, width in enumerate(widths):
            first = nn.Identity() if i == 0 else conv_block(widths[i - 1], width, stride=2)
            self.down.append(nn.Sequential(first, *([Residual(width)] if i >= self.skip else [])))
        self.lateral = nn.ModuleList(
            nn.Conv2d(widths[i + 1], widths[i], 1) for i in range(self.skip, len(widths) - 1)
        )
        self.up = nn.ModuleList(Residual(widths[i]) for i in range(self.skip, len(widths) - 1))
        self.heads = nn.ModuleDict({name: nn.Conv2d(widths[self.skip], n, 1) for name, n in outputs.items()})
        self._initialise()

    def _initialise(self) -> None:
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        for residual in (m for m in self.modules() if isinstance(m, Residual)):
            # Start as the identity: deep stacks then train at the full rate from the first step.
            nn.init.zeros_(residual.second[1].weight)  # pyright: ignore[reportArgumentType]
        for head in self.heads.values():
            nn.init.normal_(head.weight, std=0.01)  # pyright: ignore[reportArgumentType]
            nn.init.zeros_(head.bias)  # pyright: ignore[reportArgumentType]

    def forward(self, images: torch.Tensor) -> dict[str, torch.Tensor]:
        """(B, C, H, W) standardised images -> name -> (B, n, H / stride, W / stride)."""
        x = self.stem(images)
        features = []
        for stage in self.down:
            x = stage(x)
            features.append(x)
        for i in reversed(range(len(self.up))):
            lateral = F.interpolate(self.lateral[i](x), scale_factor=2.0, mode="nearest")
            x = self.up[i](features[self.skip + i] + lateral)
        return {name: head(x) for name, head in self.heads.items()}
