"""Any timm backbone as a heatmap network, and the one place where timm backbones are made.

The backbone's features are brought to the wanted stride by the deconvolutions of "Simple Baselines for
Human Pose Estimation" (Xiao et al., ECCV 2018). The backbones are those of timm (Wightman, PyTorch Image
Models, https://github.com/huggingface/pytorch-image-models), taken through its `features_only` interface.
"""

from __future__ import annotations

import difflib
import logging
import math
from collections.abc import Mapping
from typing import Any

import timm
import torch
from huggingface_hub.errors import HfHubHTTPError
from torch import nn

from superset_vocab import InputError
from zoo.networks.heatmap_heads import (
    check_outputs,
    deconvolutions,
    freeze_unreached,
    n_doublings,
    pointwise_heads,
)

_LOG = logging.getLogger(__name__)

# Everything that a download can raise. The Hub's client changed its HTTP library twice (requests, httpx,
# httpx2); the base of its own error is that library's.
_DOWNLOAD_ERRORS: tuple[type[Exception], ...] = (OSError, *HfHubHTTPError.__bases__)  # pyright: ignore[reportAssignmentType]


def create_backbone(name: str, pretrained: bool = False, **options: Any) -> Any:
    """A timm model by name. Nothing is downloaded unless `pretrained`.

    Without weights it is initialised as timm does for that architecture: Kaiming normal for convolutions
    (He et al., ICCV 2015), truncated normal of standard deviation 0.02 for vision transformers.

    Args:
        name: Name in timm, with or without a tag, e.g. "resnet50_gn" or "resnet50_gn.a1h_in1k".
        pretrained: Load timm's weights (mostly ImageNet). If they cannot be downloaded, a warning is
            logged and the backbone keeps its random weights.
        **options: For `timm.create_model`.

    Returns:
        The model; Any, because timm's models carry attributes of their own.

    Raises:
        InputError: If timm has no such model or tag, no weights for it, or refuses the options.
    """
    _check_name(name, pretrained)
    try:
        if pretrained:
            try:
                return timm.create_model(name, pretrained=True, **options)
            except _DOWNLOAD_ERRORS as error:
                _LOG.warning(
                    "timm's weights of %s cannot be downloaded (%s: %s); its weights stay random",
                    name,
                    type(error).__name__,
                    str(error).split("\n")[0],
                )
        return timm.create_model(name, pretrained=False, **options)
    except (AssertionError, IndexError, RuntimeError, TypeError) as error:  # how timm refuses an option
        reason = str(error) or "refused by timm; check the option's value"
        raise InputError(f"timm backbone {name!r} with {options}: {reason}") from error


def _check_name(name: str, pretrained: bool) -> None:
    architecture, _, tag = name.partition(".")
    if not timm.is_model(architecture):
        near = difflib.get_close_matches(architecture, timm.list_models(), n=5, cutoff=0.5)
        hint = f"near names: {', '.join(near)}" if near else "timm.list_models() lists them"
        raise InputError(f"timm has no backbone {name!r}; {hint}")
    known = timm.list_pretrained(f"{architecture}.*")
    if tag and name not in known:
        there = f"it has: {', '.join(known)}" if known else "it has none"
        raise InputError(f"timm has no weights {name!r} of {architecture}; {there}")
    if pretrained and not known and not timm.is_model_pretrained(architecture):
        raise InputError(f"timm has no weights for {name!r}; leave out pretrained = true")


class TimmHeatmaps(nn.Module):
    """A timm backbone, deconvolutions up to a stride, and one 1x1 convolution per output.

    Parameters that the chosen features do not depend on are frozen. Plain vision transformers take their
    fixed size from `backbone_options = {img_size = 256}`, and are better served by
    `zoo.networks.token_pose.PlainViT`, which normalises their last features.

    Args:
        outputs: Name -> number of channels of each output, e.g. {"heatmaps": 27, "locref": 54}.
        backbone: Name in timm, e.g. "convnext_tiny".
        output_stride: Stride of the output maps; the features' stride divided by 1, 2, 4, ...
        head_width: Channels of the deconvolutions.
        feature_index: Which of timm's feature maps (`out_indices`); -1 for the deepest. Layers after it are
            not built.
        pretrained: Start from timm's weights (see `create_backbone`).
        backbone_options: For `timm.create_model`, e.g. {"drop_path_rate": 0.1}.

    Raises:
        InputError: If timm has no such backbone, or it cannot give such outputs.
    """

    def __init__(
        self,
        outputs: Mapping[str, int],
        backbone: str,
        output_stride: int = 4,
        head_width: int = 256,
        feature_index: int = -1,
        pretrained: bool = False,
        backbone_options: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__()
        outputs = check_outputs(outputs, f"timm_heatmap ({backbone})")
        self.backbone = create_backbone(
            backbone, pretrained, features_only=True, out_indices=(feature_index,), **(backbone_options or {})
        )
        self._name, self.output_stride = f"timm_heatmap ({backbone})", output_stride
        channels, self._feature_stride = (
            self.backbone.feature_info.channels()[0],
            self.backbone.feature_info.reduction()[0],
        )
        n_steps = n_doublings(self._feature_stride, output_stride, self._name)
        self.upsample = deconvolutions(channels, head_width, n_steps)
        self.heads = pointwise_heads(outputs, head_width if n_steps else channels)
        freeze_unreached(self, self._usual_size(backbone_options or {}))

    def _usual_size(self, options: Mapping[str, Any]) -> tuple[int, int]:
        settings, stride = self.backbone.pretrained_cfg, self._feature_stride
        size = options.get("img_size") or settings["input_size"][1:]
        height, width = (size, size) if isinstance(size, int) else size
        if settings.get("fixed_input_size"):
            return height, width
        return math.ceil(height / stride) * stride, math.ceil(width / stride) * stride

    def forward(self, images: torch.Tensor) -> dict[str, torch.Tensor]:
        """Normalised RGB images -> output maps.

        Args:
            images: (B, 3, H, W), both sides multiples of the features' stride.

        Returns:
            Name -> (B, n, H / output_stride, W / output_stride).

        Raises:
            InputError: If the features do not have the stride that timm promises, which would misplace every
                keypoint: images of another size, or a backbone without padding (Inception).
        """
        features = self.backbone(images)[-1]
        if getattr(self.backbone, "output_fmt", "NCHW") == "NHWC":
            features = features.permute(0, 3, 1, 2)
        stride = self._feature_stride
        if any(n * stride != side for n, side in zip(features.shape[-2:], images.shape[-2:], strict=True)):
            raise InputError(
                f"network {self._name}: features of {features.shape[-1]}x{features.shape[-2]} cells from "
                f"images of {images.shape[-1]}x{images.shape[-2]} pixels do not have stride {stride}; use "
                f"images whose sides are multiples of it, or another backbone"
            )
        features = self.upsample(features)
        return {name: head(features) for name, head in self.heads.items()}
