"""ResNet-50 with group norm, the smaller network of the published SuperAnimal models.

A ResNet (He et al., CVPR 2016) with group norm (Wu & He, ECCV 2018), whose last stage is dilated to stay
at stride 16, and one transposed convolution of kernel 3 and stride 2 per output: heatmaps and, as in
DeepLabCut (Mathis et al., Nature Neuroscience 2018), location refinement, the offset of the keypoint from
the cell. A published state dict fits after renaming prefixes: `backbone.model.` to `backbone.`,
`heads.bodypart.heatmap_head.deconv_layers.0.` to `heads.heatmaps.` and
`heads.bodypart.locref_head.deconv_layers.0.` to `heads.locref.`.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from timm.models.resnet import ResNet as TimmResNet
from torch import nn

from superset_vocab import InputError
from zoo.networks.heatmap_heads import check_outputs, transposed_heads
from zoo.networks.timm_heatmap import create_backbone


class ResNet(nn.Module):
    """ResNet with one map per output at half the backbone's stride.

    Args:
        outputs: Name -> number of channels of each output, e.g. {"heatmaps": 39, "locref": 78}.
        variant: Name in timm of a ResNet.
        backbone_stride: 8, 16 or 32; the maps have half of it.
        pretrained: Start from timm's ImageNet weights (see `zoo.networks.timm_heatmap.create_backbone`).

    Raises:
        InputError: If `variant` is no ResNet of timm, or cannot have that stride.
    """

    def __init__(
        self,
        outputs: Mapping[str, int],
        variant: str = "resnet50_gn",
        backbone_stride: int = 16,
        pretrained: bool = False,
    ) -> None:
        super().__init__()
        outputs = check_outputs(outputs, "resnet")
        self.backbone = create_backbone(
            variant, pretrained, output_stride=backbone_stride, num_classes=0, global_pool=""
        )
        if not isinstance(self.backbone, TimmResNet):
            raise InputError(f"network resnet: {variant!r} is no ResNet; use e.g. variant = 'resnet50_gn'")
        self.heads = transposed_heads(outputs, int(self.backbone.num_features), kernel_size=3, stride=2)

    def forward(self, images: torch.Tensor) -> dict[str, torch.Tensor]:
        """Normalised RGB images -> output maps.

        Args:
            images: (B, 3, H, W).

        Returns:
            Name -> (B, n, 2h + 1, 2w + 1), where h = ceil(H / 16) and w = ceil(W / 16) for a backbone of
            stride 16. The published models decode cell (row, column) as pixel (8 * column + 4, 8 * row + 4).
        """
        features = self.backbone(images)
        return {name: head(features) for name, head in self.heads.items()}
