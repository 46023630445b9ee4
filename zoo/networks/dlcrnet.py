"""DLCRNet: heatmaps, location refinement and part affinity fields of all animals of an image at once.

The bottom-up network of multi-animal DeepLabCut (Lauer et al., Nature Methods 2022) and of
SuperAnimal-TopViewMouse (Ye et al., Nature Communications 2024, "DLCRNet_ms5"); `zoo.grouping` makes
animals of its outputs.

From Lauer et al., fig. 1c: the ResNet-50; conv2 and conv3 (strides 4 and 8) brought to the resolution of
conv5 by two and one 3x3 convolutions of stride 2; all three reduced by 1x1 convolutions and concatenated;
stacked 3x3 deconvolutions of stride 2 after that; a first decoder stage of 3x3 deconvolutions of stride 2
that gives heatmaps, part affinity fields and an upsampled feature map; later stages that take these three
concatenated; a shortcut from the heatmaps of one stage to those of the next; five stages ("ms5").

Our choices, where the figure leaves it open: conv5 is dilated to stride 16, as "two and one" convolutions
imply; none of the stacked deconvolutions by default, which gives maps of stride 8, that of DeepLabCut's
other networks, at a sixteenth of the cost of the figure's stride 2 (`output_stride` adds them); one width
throughout; batch norm and ReLU; two 3x3 convolutions in each later stage; location refinement once, from the
upsampled features, because it is local and needs no context of other keypoints.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import nn

from superset_vocab.errors import all_problems
from zoo.networks.heatmap_heads import check_multiple, check_outputs, n_doublings, start_small
from zoo.networks.timm_heatmap import create_backbone

_STRIDE = 16  # of conv5, and of the fused features


class DLCRNet(nn.Module):
    """ResNet with fused scales and a decoder of several stages.

    Args:
        outputs: {"heatmaps": K, "locref": 2K, "pafs": 2E} for K keypoints and E limbs; locref and pafs may
            be left out.
        variant: Name in timm of a ResNet.
        output_stride: Stride of the maps: 8, or with deconvolutions stacked on the fused features 4 or 2.
        n_stages: Number of decoder stages.
        width: Channels of every layer between backbone and outputs.
        pretrained: Start from timm's ImageNet weights (see `zoo.networks.timm_heatmap.create_backbone`).

    Raises:
        InputError: If the outputs do not fit each other, or timm has no such ResNet.
    """

    def __init__(
        self,
        outputs: Mapping[str, int],
        variant: str = "resnet50",
        output_stride: int = 8,
        n_stages: int = 5,
        width: int = 256,
        pretrained: bool = False,
    ) -> None:
        super().__init__()
        self.outputs = _checked(outputs, n_stages, output_stride)
        self.backbone = create_backbone(
            variant, pretrained, features_only=True, out_indices=(1, 2, 4), output_stride=_STRIDE
        )
        self.fusion = Fusion(self.backbone.feature_info.channels(), width)
        steps = n_doublings(_STRIDE // 2, output_stride, "dlcrnet")
        inputs = self.fusion.channels
        self.upsample = nn.Sequential(*(_deconvolution(width if i else inputs, width) for i in range(steps)))
        inputs = width if steps else inputs
        self.features = _deconvolution(inputs, width)
        self.first = nn.ModuleDict({name: _doubling(inputs, n) for name, n in self.outputs.items()})
        start_small(self.first)
        refined = {name: n for name, n in self.outputs.items() if name != "locref"}
        self.stages = nn.ModuleList(Stage(refined, width) for _ in range(n_stages - 1))

    def forward(self, images: torch.Tensor) -> dict[str, torch.Tensor]:
        """Find the keypoints and limbs of all animals.

        Args:
            images: (B, 3, H, W) RGB, standardised; H and W multiples of 16.

        Returns:
            Name -> (B, n, H / output_stride, W / output_stride): "heatmaps" logits, "locref" offsets from
            the cell in strides (x0, y0, x1, y1, ...), "pafs" vectors along the limbs (x0, y0, ...). When
            training also "heatmaps_stages" and "pafs_stages" (B, n_stages - 1, n, h, w), the same of the
            earlier stages, so that a loss can supervise these.

        Raises:
            InputError: If a side is no multiple of 16.
        """
        check_multiple(images, _STRIDE, "dlcrnet")
        fused = self.upsample(self.fusion(self.backbone(images)))
        features = self.features(fused)
        maps = {name: head(fused) for name, head in self.first.items()}
        locref = {"locref": maps.pop("locref")} if "locref" in maps else {}
        stages = [maps]
        for stage in self.stages:
            stages.append(stage(features, stages[-1]))
        output = {**stages[-1], **locref}
        if self.training and len(stages) > 1:
            for name in maps:
                output[f"{name}_stages"] = torch.stack([earlier[name] for earlier in stages[:-1]], dim=1)
        return output


class Fusion(nn.Module):
    """Features of strides 4, 8 and 16 as one map of stride 16.

    Args:
        inputs: Channels of the three.
        width: Channels of each after reduction.

    Attributes:
        channels: Channels of the result.
    """

    def __init__(self, inputs: list[int], width: int) -> None:
        super().__init__()
        fine, middle, coarse = inputs
        self.conv2 = nn.Sequential(
            _convolution(fine, width, 3, 2), _convolution(width, width, 3, 2), _convolution(width, width, 1)
        )
        self.conv3 = nn.Sequential(_convolution(middle, width, 3, 2), _convolution(width, width, 1))
        self.conv5 = _convolution(coarse, width, 1)
        self.channels = 3 * width

    def forward(self, features: list[torch.Tensor]) -> torch.Tensor:
        """Three (B, n, H / s, W / s), s = 4, 8, 16 -> (B, channels, H / 16, W / 16)."""
        fine, middle, coarse = features
        return torch.cat([self.conv2(fine), self.conv3(middle), self.conv5(coarse)], dim=1)


class Stage(nn.Module):
    """One refinement of the maps, seeing those of the stage before beside the features.

    Args:
        outputs: Name -> number of channels of the maps; must have "heatmaps".
        width: Channels of the features and between the layers.
    """

    def __init__(self, outputs: Mapping[str, int], width: int) -> None:
        super().__init__()
        self.trunk = nn.Sequential(
            _convolution(width + sum(outputs.values()), width, 3), _convolution(width, width, 3)
        )
        self.heads = nn.ModuleDict({name: nn.Conv2d(width, n, 1) for name, n in outputs.items()})
        start_small(self.heads)

    def forward(self, features: torch.Tensor, before: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """(B, width, h, w) and name -> (B, n, h, w) -> the maps refined."""
        x = self.trunk(torch.cat([features, *(before[name] for name in self.heads)], dim=1))
        maps = {name: head(x) for name, head in self.heads.items()}
        maps["heatmaps"] = maps["heatmaps"] + before["heatmaps"]
        return maps


def _convolution(inputs: int, outputs: int, kernel: int, stride: int = 1) -> nn.Sequential:
    """Convolution that keeps the size but for its stride, batch norm, ReLU."""
    convolution = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False)
    nn.init.kaiming_normal_(convolution.weight, mode="fan_out", nonlinearity="relu")
    return nn.Sequential(convolution, nn.BatchNorm2d(outputs), nn.ReLU(inplace=True))


def _doubling(inputs: int, outputs: int) -> nn.ConvTranspose2d:
    """The 3x3 deconvolution of stride 2 that exactly doubles both sides."""
    return nn.ConvTranspose2d(inputs, outputs, 3, 2, padding=1, output_padding=1)


def _deconvolution(inputs: int, outputs: int) -> nn.Sequential:
    """`_doubling`, batch norm, ReLU."""
    return nn.Sequential(_doubling(inputs, outputs), nn.BatchNorm2d(outputs), nn.ReLU(inplace=True))


def _checked(outputs: Mapping[str, int], n_stages: int, output_stride: int) -> dict[str, int]:
    """The outputs, if they and the numbers fit each other."""
    checked = check_outputs(outputs, "dlcrnet", allowed=("heatmaps", "locref", "pafs"))
    k = checked.get("heatmaps", 0)
    problems = []
    if not k:
        problems.append("it needs the output 'heatmaps'")
    elif checked.get("locref", 2 * k) != 2 * k:
        problems.append(f"'locref' has {checked['locref']} channels, {k} keypoints need {2 * k}")
    if checked.get("pafs", 0) % 2:
        problems.append(f"'pafs' has {checked['pafs']} channels, it needs two for each limb")
    if n_stages < 1:
        problems.append(f"n_stages is {n_stages}, it needs at least 1")
    if output_stride not in (2, 4, 8):
        problems.append(f"output_stride is {output_stride}, it must be 2, 4 or 8")
    if problems:
        raise all_problems("network dlcrnet", problems)
    return checked
