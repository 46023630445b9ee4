"""Transformers: AnimalTokenPose and the plain vision transformer of the SuperAnimal paper.

Ye et al. (Nature Communications 2024, Methods, "AnimalTokenPose") adapt TokenPose (Li et al., ICCV 2021):
every keypoint is a learned token that attends, through all layers, to the image's patches and to the other
keypoints; a small network turns the token into the keypoint's heatmap. Sizes from both papers: 256x256
pixels, the first three stages of HRNet-w32 and two residual blocks, patches of 4x4 cells (each 4 pixels),
12 layers of width 192, 8 heads, hidden width 3 x 192, heatmaps of 64x64. The paper does not say where the
two residual blocks stand; here they follow the third stage, on its branch of stride 4.

The plain vision transformer there has 224x224 pixels, patches of 16x16, 12 layers of width 768 and 12 heads
(Dosovitskiy et al., ICLR 2021). It did not converge without pretraining. Its head here is ViTPose's
classic decoder (Xu et al., NeurIPS 2022): two deconvolutions and a 1x1 convolution, at stride 4.

All transformer code is timm's.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch
from timm.layers.patch_embed import PatchEmbed
from timm.layers.pos_embed_sincos import build_sincos2d_pos_embed
from timm.models.resnet import BasicBlock
from timm.models.vision_transformer import Block, VisionTransformer
from torch import nn

from superset_vocab import InputError
from zoo.networks.heatmap_heads import (
    check_outputs,
    check_size,
    deconvolutions,
    n_doublings,
    pointwise_heads,
    size_of,
    start_small,
)
from zoo.networks.timm_heatmap import create_backbone

STEM_STRIDE = 4


def hrnet_three_stages(variant: str, pretrained: bool = False) -> nn.Module:
    """The first three stages of a timm HRNet, giving the list of its one feature map, at stride 4.

    timm's forward pass stays in use: the fourth stage becomes the identity on the branch of stride 4,
    and the last module of the third no longer mixes the branches that are not read.

    Args:
        variant: Name in timm, e.g. "hrnet_w32".
        pretrained: Start from timm's ImageNet weights.

    Raises:
        InputError: If it is no HRNet of timm.
    """
    if not variant.startswith("hrnet_"):
        raise InputError(
            f"network animal_token_pose: {variant!r} is no HRNet; use e.g. variant = 'hrnet_w32'"
        )
    backbone = create_backbone(variant, pretrained, features_only=True, feature_location="", out_indices=(1,))
    last = backbone.stage3[-1]
    last.fuse_layers = last.fuse_layers[:1]
    backbone.transition3 = nn.ModuleList([nn.Identity()])
    backbone.stage4 = nn.Identity()
    return backbone


class AnimalTokenPose(nn.Module):
    """HRNet features, keypoint tokens, transformer, one heatmap per token.

    The sine position embedding is added to the image's tokens before every layer, as TokenPose's base
    model does; keypoint tokens have no position. Initialisation: timm's for HRNet and the residual
    blocks (whose last norm starts at 0), truncated normal of standard deviation 0.02 for tokens and
    transformer (as in the paper), normal of standard deviation 0.001 for the last layer.

    Args:
        outputs: {"heatmaps": K}; a token gives no other output.
        variant: Name in timm of the HRNet, e.g. "hrnet_w32".
        size_wh: The only image size it takes, pixels; multiples of 32.
        patch_size: Side of a patch in cells of the stride 4 features.
        width: Of the tokens, a multiple of 4 and of `n_heads`.
        depth: Transformer layers.
        n_heads: Attention heads.
        residual_blocks: After the HRNet stages.
        pretrained: Start HRNet from timm's ImageNet weights (`zoo.networks.timm_heatmap.create_backbone`).

    Raises:
        InputError: If the options do not go together.
    """

    position: torch.Tensor

    def __init__(
        self,
        outputs: Mapping[str, int],
        variant: str = "hrnet_w32",
        size_wh: Sequence[int] = (256, 256),
        patch_size: int = 4,
        width: int = 192,
        depth: int = 12,
        n_heads: int = 8,
        residual_blocks: int = 2,
        pretrained: bool = False,
    ) -> None:
        super().__init__()
        n_keypoints = check_outputs(outputs, "animal_token_pose", allowed=("heatmaps",))["heatmaps"]
        if width % 4 or width % n_heads:
            raise InputError(
                f"network animal_token_pose: width = {width} is no multiple of 4 and of n_heads = {n_heads}"
            )
        # 16: the coarsest stride of HRNet's third stage.
        self.size_wh = size_of(size_wh, math.lcm(16, STEM_STRIDE * patch_size), "animal_token_pose")
        self.map_hw = (self.size_wh[1] // STEM_STRIDE, self.size_wh[0] // STEM_STRIDE)
        self.backbone = hrnet_three_stages(variant, pretrained)
        channels = self.backbone.feature_info.channels()[0]  # pyright: ignore
        self.residuals = nn.Sequential(*(BasicBlock(channels, channels) for _ in range(residual_blocks)))
        self.patches = PatchEmbed(self.map_hw, patch_size, channels, width)  # pyright: ignore[reportArgumentType]
        self.keypoint_tokens = nn.Parameter(torch.zeros(1, n_keypoints, width))
        self.layers = nn.ModuleList(Block(width, n_heads, mlp_ratio=3.0) for _ in range(depth))
        self.heads = nn.ModuleDict({"heatmaps": _token_head(width, self.map_hw[0] * self.map_hw[1])})
        grid = [n // patch_size for n in self.map_hw]
        self.register_buffer("position", build_sincos2d_pos_embed(grid, width)[None], persistent=False)
        self._initialise()

    def _initialise(self) -> None:
        for block in self.residuals:
            nn.init.zeros_(block.bn2.weight)  # pyright: ignore
        nn.init.trunc_normal_(self.keypoint_tokens, std=0.02)
        for part in (self.patches, self.layers, self.heads):
            for module in part.modules():
                if isinstance(module, nn.Linear | nn.Conv2d):
                    nn.init.trunc_normal_(module.weight, std=0.02)
                    if module.bias is not None:
                        nn.init.zeros_(module.bias)
        start_small(self.heads["heatmaps"][-1])  # pyright: ignore

    def forward(self, images: torch.Tensor) -> dict[str, torch.Tensor]:
        """Normalised RGB images -> heatmaps.

        Args:
            images: (B, 3, H, W) of the size it was built for.

        Returns:
            "heatmaps" -> (B, K, H / 4, W / 4).
        """
        check_size(images, self.size_wh, "animal_token_pose")
        visual = self.patches(self.residuals(self.backbone(images)[0]))
        n = self.keypoint_tokens.shape[1]
        tokens = torch.cat([self.keypoint_tokens.expand(len(images), -1, -1), visual], dim=1)
        for layer in self.layers:
            tokens = layer(torch.cat([tokens[:, :n], tokens[:, n:] + self.position], dim=1))
        return {"heatmaps": self.heads["heatmaps"](tokens[:, :n]).unflatten(2, self.map_hw)}


class PlainViT(nn.Module):
    """A plain vision transformer of timm with ViTPose's classic decoder.

    Args:
        outputs: Name -> number of channels of each output, e.g. {"heatmaps": 39}.
        variant: Name in timm of a plain vision transformer, with a tag to choose its weights: the paper tried
            masked auto-encoding ("vit_base_patch16_224.mae") and DeiT ("deit_base_patch16_224").
        size_wh: The only image size it takes, pixels; multiples of the patch size. Pretrained position
            embeddings are resampled to it.
        output_stride: Stride of the output maps; the patch size divided by 1, 2, 4, ...
        head_width: Channels of the deconvolutions.
        pretrained: Start from timm's weights (see `zoo.networks.timm_heatmap.create_backbone`).

    Raises:
        InputError: If `variant` is no plain vision transformer, or the options do not go together.
    """

    def __init__(
        self,
        outputs: Mapping[str, int],
        variant: str = "vit_base_patch16_224",
        size_wh: Sequence[int] = (224, 224),
        output_stride: int = 4,
        head_width: int = 256,
        pretrained: bool = False,
    ) -> None:
        super().__init__()
        outputs = check_outputs(outputs, "vit")
        width, height = size_of(size_wh, 1, "vit")
        self.backbone = create_backbone(
            variant, pretrained, num_classes=0, global_pool="", img_size=(height, width)
        )
        if not isinstance(self.backbone, VisionTransformer):
            raise InputError(
                f"network vit: {variant!r} is no plain vision transformer; use e.g. "
                f"variant = 'vit_base_patch16_224', or the network timm_heatmap"
            )
        patch = self.backbone.patch_embed.patch_size[0]
        self.size_wh = size_of(size_wh, patch, "vit")
        n_steps = n_doublings(patch, output_stride, "vit")
        self.upsample = deconvolutions(self.backbone.embed_dim, head_width, n_steps)
        self.heads = pointwise_heads(outputs, head_width if n_steps else self.backbone.embed_dim)

    def forward(self, images: torch.Tensor) -> dict[str, torch.Tensor]:
        """Normalised RGB images -> output maps.

        Args:
            images: (B, 3, H, W) of the size it was built for.

        Returns:
            Name -> (B, n, H / output_stride, W / output_stride).
        """
        check_size(images, self.size_wh, "vit")
        patches = self.backbone.forward_features(images)[:, self.backbone.num_prefix_tokens :]
        features = self.upsample(patches.transpose(1, 2).unflatten(2, self.backbone.patch_embed.grid_size))
        return {name: head(features) for name, head in self.heads.items()}


def _token_head(width: int, n_cells: int) -> nn.Sequential:
    """Keypoint token -> its heatmap. TokenPose's rule: a hidden layer where it does not pinch the token."""
    hidden = n_cells // 8
    if 2 * width > hidden:
        return nn.Sequential(nn.LayerNorm(width), nn.Linear(width, n_cells))
    return nn.Sequential(
        nn.LayerNorm(width), nn.Linear(width, hidden), nn.LayerNorm(hidden), nn.Linear(hidden, n_cells)
    )
