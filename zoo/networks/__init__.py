"""All networks by name. Building one never downloads anything."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from torch import nn

from superset_vocab import InputError

# "module:class"; a network's module is imported when it is built, so that the compact one needs no timm.
NETWORKS: dict[str, str] = {
    "animal_token_pose": "zoo.networks.token_pose:AnimalTokenPose",
    "compact_unet": "zoo.networks.compact:CompactUNet",
    "dlcrnet": "zoo.networks.dlcrnet:DLCRNet",
    "hrnet": "zoo.networks.hrnet:HRNet",
    "resnet": "zoo.networks.resnet:ResNet",
    "rtmpose_s": "zoo.networks.rtmpose:RTMPose",
    "timm_heatmap": "zoo.networks.timm_heatmap:TimmHeatmaps",
    "vit": "zoo.networks.token_pose:PlainViT",
}


def network_class(name: str) -> type[nn.Module]:
    """The class of a network.

    Raises:
        InputError: If there is no such network.
    """
    if name not in NETWORKS:
        raise InputError(f"{name!r} is no network; there are: {', '.join(sorted(NETWORKS))}")
    module, _, attribute = NETWORKS[name].partition(":")
    return getattr(import_module(module), attribute)


def build(name: str, **options: Any) -> nn.Module:
    """Build a network with random weights.

    Args:
        name: One of `NETWORKS`.
        **options: Its constructor's arguments.

    Raises:
        InputError: If there is no such network, or it does not take these options.
    """
    chosen = network_class(name)
    try:
        return chosen(**options)
    except TypeError as error:
        raise InputError(f"network {name!r}: {error}") from error
    except (KeyError, IndexError, RuntimeError, ZeroDivisionError) as error:
        # Options come from data files, which strangers may have written.
        what = f"{type(error).__name__}: {error}"
        raise InputError(f"network {name!r} cannot be built with {options} ({what})") from error
