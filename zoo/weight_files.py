"""Weight files: safetensors in half precision, one tensor name space for each part of a model.

A file has the state of several networks, each under its own prefix ("pose.", "detector."). It is
hashed before it is read, and a network takes its part completely or not at all.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors

from superset_vocab.errors import InputError, all_problems
from superset_vocab.files import atomic_path


def save_weights(path: Path, parts: Mapping[str, torch.nn.Module]) -> str:
    """Write the weights of several networks into one file, in half precision.

    Args:
        path: The .safetensors file, written atomically.
        parts: Prefix without its dot, e.g. "pose" -> the network.

    Returns:
        SHA-256 of the file, hexadecimal, for the model's spec.

    Raises:
        InputError: If a weight is not finite in half precision.
    """
    tensors = {
        f"{part}.{name}": _half(tensor)
        for part, network in parts.items()
        for name, tensor in network.state_dict().items()
    }
    problems = [f"{name} is not finite in half precision" for name, t in tensors.items() if not _finite(t)]
    if problems:
        raise all_problems(f"{path}", problems)
    content = save_tensors(tensors)
    with atomic_path(path) as temporary:
        temporary.write_bytes(content)
    return hashlib.sha256(content).hexdigest()


def read_weights(path: Path, sha256: str) -> dict[str, torch.Tensor]:
    """Read a weight file after checking its hash.

    Returns:
        Tensor name, with its part's prefix -> tensor, floating point ones as float32.

    Raises:
        InputError: If the file is missing, not the published one, or no safetensors file.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise InputError(
            f"{path}: cannot read the weights ({error.strerror or error}); install superanimal-zoo again"
        ) from error
    found = hashlib.sha256(content).hexdigest()
    if found != sha256:
        raise InputError(
            f"{path}: the weights are damaged or not the published ones (sha256 {found[:12]}…, "
            f"the model's spec says {sha256[:12]}…); install superanimal-zoo again"
        )
    try:
        tensors = load_tensors(content)
    except SafetensorError as error:
        raise InputError(f"{path}: not a safetensors file ({error})") from error
    return {name: t.float() if t.is_floating_point() else t for name, t in tensors.items()}


def fill(network: torch.nn.Module, tensors: Mapping[str, torch.Tensor], part: str, what: str) -> None:
    """Load one part's tensors into its network, all of them or none.

    Args:
        network: Gets the weights.
        tensors: Of the whole file, as `read_weights` gives them.
        part: Prefix without its dot.
        what: Name of the file, for messages.

    Raises:
        InputError: Lists every tensor that is missing, unexpected or of another shape.
    """
    prefix = f"{part}."
    given = {name.removeprefix(prefix): t for name, t in tensors.items() if name.startswith(prefix)}
    wanted = network.state_dict()
    problems = [f"tensor {prefix + name!r} is missing" for name in sorted(set(wanted) - set(given))]
    problems += [
        f"tensor {prefix + name!r} is not in the network" for name in sorted(set(given) - set(wanted))
    ]
    problems += [
        f"tensor {prefix + name!r} has shape {tuple(given[name].shape)}, the network {tuple(tensor.shape)}"
        for name, tensor in sorted(wanted.items())
        if name in given and given[name].shape != tensor.shape
    ]
    if problems:
        raise all_problems(f"{what} does not fit the network", problems)
    network.load_state_dict(given)


def check_parts(tensors: Mapping[str, torch.Tensor], parts: tuple[str, ...], what: str) -> None:
    """Check that a file has tensors of these parts only.

    Raises:
        InputError: Lists the tensors that belong to none of the parts.
    """
    stray = sorted(name for name in tensors if not name.startswith(tuple(f"{part}." for part in parts)))
    if stray:
        raise all_problems(what, [f"tensor {name!r} belongs to none of {', '.join(parts)}" for name in stray])


def _half(tensor: torch.Tensor) -> torch.Tensor:
    tensor = tensor.detach().cpu().contiguous()
    return tensor.half() if tensor.is_floating_point() else tensor


def _finite(tensor: torch.Tensor) -> bool:
    return not tensor.is_floating_point() or bool(torch.isfinite(tensor).all())
