"""Weight files of our own: safetensors, one tensor name space for each part of a model.

A file has the state of several networks, each under its own prefix ("pose.", "detector."). A network
takes its part completely or not at all. `zoo.official_weights` reads them and the published checkpoints.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors.torch import save as save_tensors

from superset_vocab.errors import all_problems
from superset_vocab.files import atomic_path


def save_weights(path: Path, parts: Mapping[str, torch.nn.Module], *, half: bool = True) -> str:
    """Write the weights of several networks into one file.

    Args:
        path: The .safetensors file, written atomically.
        parts: Prefix without its dot, e.g. "pose" -> the network.
        half: In half precision, for what is shipped with the package; else as the networks have them.

    Returns:
        SHA-256 of the file, hexadecimal, for the model's spec.

    Raises:
        InputError: If a weight is not finite (in half precision).
    """
    tensors = {
        f"{part}.{name}": _plain(tensor, half)
        for part, network in parts.items()
        for name, tensor in network.state_dict().items()
    }
    how = " in half precision" if half else ""
    problems = [f"{name} is not finite{how}" for name, t in tensors.items() if not _finite(t)]
    if problems:
        raise all_problems(f"{path}", problems)
    content = save_tensors(tensors)
    with atomic_path(path) as temporary:
        temporary.write_bytes(content)
    return hashlib.sha256(content).hexdigest()


def mismatches(network: torch.nn.Module, tensors: Mapping[str, torch.Tensor]) -> list[str]:
    """What keeps tensors from being a network's weights, one sentence each; empty if they fit.

    Args:
        network: Names and shapes count, not values: it may be on the meta device.
        tensors: Name in the network -> tensor.
    """
    wanted = network.state_dict()
    problems = [f"tensor {name!r} is missing" for name in sorted(set(wanted) - set(tensors))]
    problems += [f"tensor {name!r} is not in the network" for name in sorted(set(tensors) - set(wanted))]
    problems += [
        f"tensor {name!r} has shape {tuple(tensors[name].shape)}, the network {tuple(tensor.shape)}"
        for name, tensor in sorted(wanted.items())
        if name in tensors and tensors[name].shape != tensor.shape
    ]
    return problems


def _plain(tensor: torch.Tensor, half: bool) -> torch.Tensor:
    tensor = tensor.detach().cpu().contiguous()
    return tensor.half() if half and tensor.is_floating_point() else tensor


def _finite(tensor: torch.Tensor) -> bool:
    return not tensor.is_floating_point() or bool(torch.isfinite(tensor).all())
