"""HRNet-w32, the top-down network of the published SuperAnimal models.

High-Resolution Net (Sun et al., CVPR 2019; Wang et al., TPAMI 2020) keeps a branch at stride 4 from the
first stage to the last. The published SuperAnimal-Quadruped and -TopViewMouse models (Ye et al., Nature
Communications 2024) read their heatmaps off that branch: timm's hrnet_w32 without its classification
head, then a transposed convolution of kernel 1. A published state dict fits after renaming two prefixes:
`backbone.model.` to `backbone.`, `heads.bodypart.heatmap_head.deconv_layers.0.` to `heads.heatmaps.`.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import nn

from superset_vocab import InputError
from zoo.networks.heatmap_heads import check_multiple, check_outputs, transposed_heads
from zoo.networks.timm_heatmap import create_backbone

COARSEST_STRIDE = 32


class HRNet(nn.Module):
    """HRNet with one map per output at stride 4.

    The published parameter count (29,306,823 for 39 keypoints) includes 769,984 parameters that nothing
    depends on: the last module of stage 4 also mixes the branches at strides 8, 16 and 32, which are not
    read. They exist here too, so that published weights load strictly, but they are frozen: no gradient
    ever reaches them.

    Args:
        outputs: Name -> number of channels of each output, e.g. {"heatmaps": 39}.
        variant: Name in timm of an HRNet.
        pretrained: Start from timm's ImageNet weights (see `zoo.networks.timm_heatmap.create_backbone`).

    Raises:
        InputError: If `variant` is no HRNet of timm.
    """

    def __init__(
        self, outputs: Mapping[str, int], variant: str = "hrnet_w32", pretrained: bool = False
    ) -> None:
        super().__init__()
        if not variant.startswith("hrnet_"):
            raise InputError(f"network hrnet: {variant!r} is no HRNet; use e.g. variant = 'hrnet_w32'")
        outputs = check_outputs(outputs, "hrnet")
        self.backbone = create_backbone(
            variant, pretrained, features_only=True, feature_location="", out_indices=(1,)
        )
        for mixing in self.backbone.stage4[-1].fuse_layers[1:]:
            mixing.requires_grad_(False)
        self.heads = transposed_heads(
            outputs, self.backbone.feature_info.channels()[0], kernel_size=1, stride=1
        )

    def forward(self, images: torch.Tensor) -> dict[str, torch.Tensor]:
        """Normalised RGB images -> output maps.

        Args:
            images: (B, 3, H, W), both sides multiples of 32.

        Returns:
            Name -> (B, n, H / 4, W / 4).
        """
        check_multiple(images, COARSEST_STRIDE, "hrnet")
        features = self.backbone(images)[0]
        return {name: head(features) for name, head in self.heads.items()}
