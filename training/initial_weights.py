"""Where a network's weights start: from an earlier run, a published file, or its encoder alone.

The paper's transfer learning keeps the encoder and starts the decoder anew; its fine-tuning keeps both
(Ye et al. 2024, "we tested two ways to train the architectures"). The encoder is what ImageNet or a
superset has taught to see; where it ends is said by `encoder_names`.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from superset_vocab import InputError
from superset_vocab.errors import all_problems
from zoo.official_weights import read_any
from zoo.weight_files import mismatches

_ENCODERS = (("backbone.",), ("stem.", "down."))
"""Beginnings of the encoder's names: in networks on a backbone, and in the compact U-Net."""


def start_from(network: nn.Module, weights: Path, *, parts: str = "all") -> None:
    """Fill a network, or its encoder alone, with weights from a file.

    Args:
        network: Changed in place.
        weights: weights.safetensors of a run, or whatever `zoo.load` takes as pose weights.
        parts: "all", or "encoder" (`load_encoder`).

    Raises:
        InputError: If the file is missing, damaged, or of another network.
    """
    tensors = read_weights(weights)
    if parts == "encoder":
        load_encoder(network, tensors, what=f"{weights}")
        return
    problems = mismatches(network, tensors)
    if problems:
        raise all_problems(
            f"{weights}: cannot start from these weights; network.init wants those of the same network "
            '(or init_parts = "encoder")',
            problems[:8],
        )
    network.load_state_dict(tensors)


def load_encoder(network: nn.Module, tensors: Mapping[str, Tensor], *, what: str = "weights") -> list[str]:
    """Fill the encoder of a network and leave its decoder as it is.

    Args:
        network: Changed in place.
        tensors: State of a network with the same encoder; what else it has does not matter.
        what: Where they are from, for the message.

    Returns:
        Names of the tensors that were filled.

    Raises:
        InputError: If the network has no encoder of its own, or the tensors are of another one.
    """
    names = encoder_names(network)
    state = network.state_dict()
    problems = [f"tensor {name!r} is missing" for name in names if name not in tensors]
    problems += [
        f"tensor {name!r} has shape {tuple(tensors[name].shape)}, the network {tuple(state[name].shape)}"
        for name in names
        if name in tensors and tensors[name].shape != state[name].shape
    ]
    if problems:
        raise all_problems(f"{what}: not of a network with this encoder", problems[:8])
    network.load_state_dict({name: tensors[name] for name in names}, strict=False)
    return names


def encoder_names(network: nn.Module) -> list[str]:
    """Names of the tensors of a network's encoder.

    Raises:
        InputError: If it has none that could be told from its decoder.
    """
    for beginnings in _ENCODERS:
        names = [name for name in network.state_dict() if name.startswith(beginnings)]
        if names:
            return names
    raise InputError(f"a {type(network).__name__} has no encoder that could be loaded by itself")


def read_weights(path: Path, part: Literal["pose", "detector"] = "pose") -> dict[str, Tensor]:
    """The tensors of one network: of a run of ours, of an embedded weights file, or of a published one.

    Raises:
        InputError: If the file is missing or damaged, or no such file.
    """
    if path.suffix != ".safetensors":
        return dict(read_any(path, part))
    try:
        tensors = load_file(path)
    except (OSError, SafetensorError) as error:
        raise InputError(
            f"{path}: cannot start from these weights ({str(error).splitlines()[0]}); network.init wants the "
            "weights.safetensors of a run of the same network"
        ) from error
    if any(name.startswith(("pose.", "detector.")) for name in tensors):
        return dict(read_any(path, part))
    return tensors
