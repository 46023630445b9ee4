"""RTMPose: a CSPNeXt backbone and a head that classifies where on each axis every keypoint lies.

SimCC (Li et al., ECCV 2022) cuts each axis into bins finer than a pixel and takes the position for a
classification; no map needs to be upsampled, which makes the network small and fast. RTMPose (Jiang et
al., 2023, arXiv:2303.07399) puts it on the backbone of RTMDet (Lyu et al., 2022, arXiv:2212.07784) and
lets the keypoints exchange what they know through one gated attention unit (Hua et al., ICML 2022).

The names of the parameters are those of published checkpoints, so that these map by prefix only:
`backbone.*` is the same, `head.*` is published as `heads.bodypart.*` (SuperAnimal, `rtmpose_s`).
Where the papers leave a constant open it is the published one, because the output depends on it: batch
norm eps 1e-5, scale norm eps 1e-5, hard sigmoid clip(x / 6 + 1 / 2, 0, 1).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn
from torch.nn import functional as F

from zoo.networks.heatmap_heads import check_outputs, check_size, size_of

# The four stages at full width and depth (P5): channels, blocks, shortcut in a block, pyramid pooling.
_STAGES = ((128, 3, True, False), (256, 6, True, False), (512, 6, True, False), (1024, 3, False, True))
_STEM_CHANNELS = 64
_STRIDE = 32


class ConvNorm(nn.Module):
    """Convolution that keeps the size but for its stride, batch norm, SiLU."""

    def __init__(self, inputs: int, outputs: int, kernel: int = 1, stride: int = 1, groups: int = 1) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False)
        self.norm = nn.BatchNorm2d(outputs)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(B, inputs, H, W) -> (B, outputs, H / stride, W / stride)."""
        return F.silu(self.norm(self.conv(x)))


class SeparableConv(nn.Module):
    """A depthwise convolution, then a pointwise one, each with batch norm and SiLU."""

    def __init__(self, channels: int, kernel: int) -> None:
        super().__init__()
        self.depthwise_conv = ConvNorm(channels, channels, kernel, groups=channels)
        self.pointwise_conv = ConvNorm(channels, channels)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(B, C, H, W) -> same."""
        return self.pointwise_conv(self.depthwise_conv(x))


class Block(nn.Module):
    """CSPNeXt's basic block: 3x3 convolution, then 5x5 separable convolution (RTMDet, fig. 3)."""

    def __init__(self, channels: int, shortcut: bool) -> None:
        super().__init__()
        self.conv1 = ConvNorm(channels, channels, 3)
        self.conv2 = SeparableConv(channels, 5)
        self.shortcut = shortcut

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(B, C, H, W) -> same."""
        y = self.conv2(self.conv1(x))
        return x + y if self.shortcut else y


class ChannelAttention(nn.Module):
    """Weighs each channel by a hard sigmoid of a linear map of all channels' means."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.fc = nn.Conv2d(channels, channels, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(B, C, H, W) -> same."""
        return x * F.hardsigmoid(self.fc(x.mean((2, 3), keepdim=True)))


class CrossStage(nn.Module):
    """Half of the channels go through the blocks, half around them; attention weighs both (CSPNet)."""

    def __init__(self, channels: int, blocks: int, shortcut: bool) -> None:
        super().__init__()
        half = channels // 2
        self.main_conv = ConvNorm(channels, half)
        self.short_conv = ConvNorm(channels, half)
        self.final_conv = ConvNorm(2 * half, channels)
        self.blocks = nn.Sequential(*(Block(half, shortcut) for _ in range(blocks)))
        self.attention = ChannelAttention(2 * half)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(B, C, H, W) -> same."""
        both = torch.cat([self.blocks(self.main_conv(x)), self.short_conv(x)], dim=1)
        return self.final_conv(self.attention(both))


class PyramidPooling(nn.Module):
    """Concatenates maxima over windows of 1, 5, 9 and 13 cells: a large receptive field at little cost."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = ConvNorm(channels, channels // 2)
        self.conv2 = ConvNorm(channels // 2 * 4, channels)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(B, C, H, W) -> same."""
        x = self.conv1(x)
        return self.conv2(torch.cat([x, *(F.max_pool2d(x, k, 1, k // 2) for k in (5, 9, 13))], dim=1))


class CSPNeXt(nn.Module):
    """CSPNeXt-P5, the convolutional backbone of RTMDet and RTMPose.

    Args:
        deepen: Factor on the number of blocks (3, 6, 6, 3) of the four stages.
        widen: Factor on the channels (64 in the stem, then 128, 256, 512, 1024).

    Attributes:
        channels: Channels of the output.
    """

    def __init__(self, deepen: float = 0.33, widen: float = 0.5) -> None:
        super().__init__()
        stem = int(_STEM_CHANNELS * widen)
        half = stem // 2
        self.stem = nn.Sequential(
            ConvNorm(3, half, 3, stride=2), ConvNorm(half, half, 3), ConvNorm(half, stem, 3)
        )
        self.channels = stem
        for number, (full_width, full_depth, shortcut, pooling) in enumerate(_STAGES, start=1):
            width, depth = int(full_width * widen), max(round(full_depth * deepen), 1)
            layers = [ConvNorm(self.channels, width, 3, stride=2), CrossStage(width, depth, shortcut)]
            if pooling:
                layers.insert(1, PyramidPooling(width))
            self.add_module(f"stage{number}", nn.Sequential(*layers))
            self.channels = width

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """(B, 3, H, W) -> (B, channels, H / 32, W / 32)."""
        x = self.stem(images)
        for number in range(1, len(_STAGES) + 1):
            x = getattr(self, f"stage{number}")(x)
        return x


class ScaleNorm(nn.Module):
    """Scales each vector to root mean square g, one learned number (Nguyen and Salazar, 2019)."""

    def __init__(self, eps: float = 1e-5) -> None:
        super().__init__()
        self.g = nn.Parameter(torch.ones(1))
        self.eps = eps

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(..., D) -> same."""
        size = torch.linalg.vector_norm(x, dim=-1, keepdim=True) * x.shape[-1] ** -0.5
        return x / size.clamp(min=self.eps) * self.g


class Scale(nn.Module):
    """One learned factor per channel."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(channels))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(..., channels) -> same."""
        return x * self.scale


class GatedAttention(nn.Module):
    """Gated attention unit: attention and a gated feed-forward layer in one (Hua et al., eqs 3 to 5).

    Each keypoint is a token. One shared projection of size `s`, scaled and shifted twice, gives queries
    and keys; the squared ReLU of their product is the attention.

    Args:
        hidden: Size of a token.
        expansion: The gate and the values have expansion * hidden channels.
        s: Size of queries and keys.
    """

    def __init__(self, hidden: int, expansion: int = 2, s: int = 128) -> None:
        super().__init__()
        self.sizes = [expansion * hidden, expansion * hidden, s]
        self.ln = ScaleNorm()
        self.uv = nn.Linear(hidden, sum(self.sizes), bias=False)
        self.gamma = nn.Parameter(torch.rand(2, s))
        self.beta = nn.Parameter(torch.rand(2, s))
        self.o = nn.Linear(expansion * hidden, hidden, bias=False)
        self.res_scale = Scale(hidden)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(B, K, hidden) -> same."""
        gate, values, base = F.silu(self.uv(self.ln(x))).split(self.sizes, dim=-1)
        queries, keys = (base[:, :, None] * self.gamma + self.beta).unbind(2)
        weights = F.relu(queries @ keys.transpose(1, 2) / self.sizes[-1] ** 0.5).square()
        return self.res_scale(x) + self.o(gate * (weights @ values))


class SimCCHead(nn.Module):
    """RTMPose's head: one map per keypoint, made a token, refined, and classified along x and along y.

    Args:
        inputs: Channels of the feature map.
        n_keypoints: K.
        cells_wh: Width and height of the feature map.
        bins_wh: Number of bins along x and y.
        hidden: Size of a token.
        expansion, s: Those of `GatedAttention`.
    """

    def __init__(
        self,
        inputs: int,
        n_keypoints: int,
        cells_wh: tuple[int, int],
        bins_wh: tuple[int, int],
        hidden: int,
        expansion: int,
        s: int,
    ) -> None:
        super().__init__()
        self.final_layer = nn.Conv2d(inputs, n_keypoints, 7, 1, 3)
        self.mlp = nn.Sequential(ScaleNorm(), nn.Linear(cells_wh[0] * cells_wh[1], hidden, bias=False))
        self.gau = GatedAttention(hidden, expansion, s)
        self.cls_x = nn.Linear(hidden, bins_wh[0], bias=False)
        self.cls_y = nn.Linear(hidden, bins_wh[1], bias=False)

    def forward(self, features: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """(B, inputs, h, w) -> logits (B, K, bins of x) and (B, K, bins of y)."""
        tokens = self.gau(self.mlp(self.final_layer(features).flatten(2)))
        return self.cls_x(tokens), self.cls_y(tokens)


class RTMPose(nn.Module):
    """RTMPose; the defaults are the size s at 256 x 256, the published SuperAnimal-Quadruped network.

    Args:
        n_keypoints: K.
        size_wh: The only image size it takes, pixels; multiples of 32.
        split_ratio: Bins of each axis per pixel of the input (SimCC's splitting factor).
        deepen, widen: Those of `CSPNeXt`.
        hidden, expansion, s: Sizes in the head, see `GatedAttention`.

    Raises:
        InputError: If there are no keypoints or the image size is not in multiples of 32.
    """

    def __init__(
        self,
        n_keypoints: int,
        size_wh: Sequence[int] = (256, 256),
        split_ratio: int = 2,
        deepen: float = 0.33,
        widen: float = 0.5,
        hidden: int = 256,
        expansion: int = 2,
        s: int = 128,
    ) -> None:
        super().__init__()
        check_outputs({"keypoints": n_keypoints}, "rtmpose")
        width, height = self.size_wh = size_of(size_wh, _STRIDE, "rtmpose")
        self.backbone = CSPNeXt(deepen, widen)
        bins_wh = (width * split_ratio, height * split_ratio)
        cells_wh = (width // _STRIDE, height // _STRIDE)
        channels = self.backbone.channels
        self.head = SimCCHead(channels, n_keypoints, cells_wh, bins_wh, hidden, expansion, s)
        self._initialise()

    def _initialise(self) -> None:
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            elif isinstance(module, nn.Linear):
                nn.init.xavier_uniform_(module.weight)
        for classifier in (self.head.cls_x, self.head.cls_y):
            # Small logits: the first steps learn from the targets and not from chance.
            nn.init.normal_(classifier.weight, std=0.01)
        nn.init.zeros_(self.head.final_layer.bias)  # pyright: ignore[reportArgumentType]

    def forward(self, images: torch.Tensor) -> dict[str, torch.Tensor]:
        """Classify the position of every keypoint.

        Args:
            images: (B, 3, H, W) RGB, standardised, of the size that the network was made for.

        Returns:
            "simcc_x": (B, K, W * split_ratio) and "simcc_y": (B, K, H * split_ratio) logits; bin i
            stands for i / split_ratio pixels (`zoo.simcc`).

        Raises:
            InputError: If the images have another size.
        """
        check_size(images, self.size_wh, "rtmpose")
        x, y = self.head(self.backbone(images))
        return {"simcc_x": x, "simcc_y": y}
