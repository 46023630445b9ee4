"""All networks, by name. Building one never downloads anything."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import nn

from superset_vocab import InputError
from zoo.networks.compact import CompactUNet

NETWORKS: dict[str, Callable[..., nn.Module]] = {"compact_unet": CompactUNet}


def build(name: str, **options: Any) -> nn.Module:
    """Build a network with random weights.

    Args:
        name: One of `NETWORKS`.
        **options: Its constructor's arguments.

    Raises:
        InputError: If there is no such network, or it does not take these options.
    """
    if name not in NETWORKS:
        raise InputError(f"{name!r} is no network; there are: {', '.join(sorted(NETWORKS))}")
    try:
        return NETWORKS[name](**options)
    except TypeError as error:
        raise InputError(f"network {name!r}: {error}") from error
