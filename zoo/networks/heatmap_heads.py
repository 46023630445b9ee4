"""Parts that the heatmap networks share: output heads, upsampling, checks of sizes.

Two kinds of head stand on a backbone. The published SuperAnimal networks (Ye et al., Nature
Communications 2024) have one transposed convolution per output. All other backbones get the head of
"Simple Baselines for Human Pose Estimation" (Xiao et al., ECCV 2018), which ViTPose (Xu et al., NeurIPS
2022) uses as well: 4x4 transposed convolutions of stride 2 up to the wanted stride, then a 1x1
convolution per output. Both start from normal weights of standard deviation 0.001 and zero biases, as
there: heatmaps then begin near their mean, which is near zero.
"""

from __future__ import annotations

import copy
import logging
from collections.abc import Mapping, Sequence

import torch
from torch import nn

from superset_vocab import InputError
from superset_vocab.errors import all_problems

HEAD_STD = 0.001

_LOG = logging.getLogger(__name__)


def check_outputs(outputs: Mapping[str, int], network: str, allowed: Sequence[str] = ()) -> dict[str, int]:
    """Check the outputs that a network is asked for.

    Args:
        outputs: Name -> number of channels, e.g. {"heatmaps": 39, "locref": 78}.
        network: Its name, for messages.
        allowed: Names that it can give; empty for any.

    Returns:
        A copy of `outputs`.

    Raises:
        InputError: If there are none, a number is below 1 or a name is not allowed.
    """
    problems = [] if outputs else ["it has no outputs; give e.g. outputs = {heatmaps = 39}"]
    for name, n in outputs.items():
        if not isinstance(n, int) or isinstance(n, bool) or n < 1:
            problems.append(f"output {name!r} has {n!r} channels, it needs a number of 1 or more")
        if allowed and name not in allowed:
            problems.append(f"it gives no output {name!r}; there are: {', '.join(allowed)}")
    if problems:
        raise all_problems(f"network {network}", problems)
    return dict(outputs)


def check_multiple(images: torch.Tensor, factor: int, network: str) -> None:
    """Refuse images whose sides are no multiples of a network's coarsest stride.

    Args:
        images: (B, 3, H, W).
        factor: The stride, pixels.
        network: Its name, for messages.

    Raises:
        InputError: If height or width is no multiple of `factor`.
    """
    height, width = images.shape[-2:]
    if height % factor or width % factor:
        raise InputError(
            f"network {network}: images of {width}x{height} pixels; "
            f"both sides must be multiples of {factor}, so change the input size"
        )


def check_size(images: torch.Tensor, size_wh: tuple[int, int], network: str) -> None:
    """Refuse images of another size than a network was built for.

    Args:
        images: (B, 3, H, W).
        size_wh: The only size it takes, pixels.
        network: Its name, for messages.

    Raises:
        InputError: If the size differs.
    """
    height, width = images.shape[-2:]
    if (width, height) != size_wh:
        raise InputError(
            f"network {network} takes images of {size_wh[0]}x{size_wh[1]} pixels only, got {width}x{height}; "
            f"set its size_wh = [{width}, {height}] or change the input size"
        )


def size_of(size_wh: Sequence[int], factor: int, network: str) -> tuple[int, int]:
    """The fixed input size of a network, checked.

    Args:
        size_wh: Two numbers, pixels.
        factor: Both must be multiples of it.
        network: Its name, for messages.

    Raises:
        InputError: If these are not two positive multiples of `factor`.
    """
    if len(size_wh) != 2 or any(side < 1 or side % factor for side in size_wh):
        raise InputError(
            f"network {network}: size_wh = {list(size_wh)} must be two multiples of {factor}, e.g. "
            f"[{16 * factor}, {16 * factor}]"
        )
    return size_wh[0], size_wh[1]


def start_small(module: nn.Module) -> None:
    """Normal weights of standard deviation `HEAD_STD` and zero biases in all (transposed) convolutions."""
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
            nn.init.normal_(layer.weight, std=HEAD_STD)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)


def transposed_heads(
    outputs: Mapping[str, int], channels: int, kernel_size: int, stride: int
) -> nn.ModuleDict:
    """One transposed convolution per output, as in the published SuperAnimal networks.

    Args:
        outputs: Name -> number of channels.
        channels: Of the feature map.
        kernel_size: Without padding: n cells become (n - 1) * stride + kernel_size.
        stride: Upsampling factor.
    """
    heads = nn.ModuleDict(
        {name: nn.ConvTranspose2d(channels, n, kernel_size, stride) for name, n in outputs.items()}
    )
    start_small(heads)
    return heads


def pointwise_heads(outputs: Mapping[str, int], channels: int) -> nn.ModuleDict:
    """One 1x1 convolution per output.

    Args:
        outputs: Name -> number of channels.
        channels: Of the feature map.
    """
    heads = nn.ModuleDict({name: nn.Conv2d(channels, n, 1) for name, n in outputs.items()})
    start_small(heads)
    return heads


def deconvolutions(channels: int, width: int, n_steps: int) -> nn.Sequential:
    """Transposed convolutions of kernel 4 and stride 2, each with batch norm and ReLU.

    Args:
        channels: Of the feature map.
        width: Channels after every step.
        n_steps: How often the map is doubled; with 0 it stays as it is.
    """
    layers: list[nn.Module] = []
    for i in range(n_steps):
        inputs = width if i else channels
        layers += [
            nn.ConvTranspose2d(inputs, width, 4, 2, 1, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(inplace=True),
        ]
    upsample = nn.Sequential(*layers)
    start_small(upsample)
    return upsample


def n_doublings(feature_stride: int, output_stride: int, network: str) -> int:
    """How often a feature map is doubled to come from one stride to another.

    Raises:
        InputError: If the strides are not a power of two apart.
    """
    for n in range(7):
        if output_stride * 2**n == feature_stride:
            return n
    reachable = [str(feature_stride // 2**n) for n in range(6) if feature_stride % 2**n == 0]
    raise InputError(
        f"network {network}: its features have stride {feature_stride}; doubling them does not lead to "
        f"output_stride = {output_stride}; choose one of {', '.join(reachable)}"
    )


def freeze_unreached(network: nn.Module, size_hw: tuple[int, int]) -> list[str]:
    """Freeze the parameters that no output depends on.

    Some backbones keep layers that only their unused outputs need. An optimiser would let these decay, and
    training on several devices would wait for their gradients. They are found with one pass and its
    gradient on PyTorch's meta device, which computes shapes and no numbers.

    Args:
        network: Takes (B, 3, H, W), gives name -> tensor. Changed in place.
        size_hw: Size of images that it takes, pixels.

    Returns:
        Names of the frozen parameters.
    """
    memo: dict[int, object] = {
        id(p): nn.Parameter(p.to("meta"), p.requires_grad) for p in network.parameters()
    }
    memo |= {id(b): b.to("meta") for b in network.buffers()}
    probe = copy.deepcopy(network, memo)  # shares no number with the network, and copies none
    try:
        output = probe(torch.zeros(2, 3, *size_hw, device="meta"))
        torch.stack([value.sum() for value in output.values()]).sum().backward()
    except (
        RuntimeError
    ) as error:  # a backbone that looks at numbers: nothing can be said, so all stay trainable
        _LOG.debug("cannot tell which parameters of %s are used: %s", type(network).__name__, error)
        return []
    frozen = []
    for (name, parameter), twin in zip(network.named_parameters(), probe.parameters(), strict=True):
        if twin.grad is None and parameter.requires_grad:
            parameter.requires_grad_(False)
            frozen.append(name)
    return frozen
