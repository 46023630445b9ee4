"""The processes of a data-parallel run, as torchrun starts them on one machine or several.

Every process holds the whole network and sees its own part of each batch; gradients are averaged. With
`schedule.batch_norm = "synchronised"` batch normalisation too is over the whole batch, so that a run of
several processes takes the steps of a run of one, up to rounding.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, distributed, nn
from torch.distributed.nn.functional import all_reduce


@dataclass(frozen=True)
class Processes:
    """The processes of a data-parallel run; one of one without torchrun."""

    rank: int = 0
    count: int = 1
    local_rank: int = 0

    def device(self) -> torch.device:
        """This process's GPU, or the processor where there is none."""
        return torch.device("cuda", self.local_rank) if torch.cuda.is_available() else torch.device("cpu")

    def any(self, flag: bool) -> bool:
        """Whether the flag is set in any process; all get the same answer."""
        return self.sum([float(flag)])[0] > 0

    def mean(self, values: Sequence[float]) -> list[float]:
        """Mean over the processes of each value; all get the same answer."""
        return [total / self.count for total in self.sum(values)]

    def sum(self, values: Sequence[float]) -> list[float]:
        """Sum over the processes of each value; all get the same answer."""
        if self.count == 1 or not values:
            return list(values)
        device = "cuda" if distributed.get_backend() == "nccl" else "cpu"
        # NCCL and Gloo both know float64: counts stay exact, and a lone process gets what it gave.
        total = torch.tensor(list(values), dtype=torch.float64, device=device)
        distributed.all_reduce(total)
        return total.tolist()

    def gather(self, value: object) -> list[object]:
        """What each process gave, by rank; for small things of the run itself only."""
        if self.count == 1:
            return [value]
        gathered: list[object] = [None] * self.count
        distributed.all_gather_object(gathered, value)
        return gathered


@contextmanager
def join_processes() -> Iterator[Processes]:
    """Join the processes of torchrun, if it started this one; leave them at the end."""
    if "TORCHELASTIC_RUN_ID" not in os.environ or int(os.environ["WORLD_SIZE"]) == 1:
        yield Processes()
        return
    local_rank = int(os.environ["LOCAL_RANK"])
    if torch.cuda.is_available():
        torch.cuda.set_device(local_rank)
    joined = not distributed.is_initialized()
    if joined:
        distributed.init_process_group("nccl" if torch.cuda.is_available() else "gloo")
    try:
        yield Processes(distributed.get_rank(), distributed.get_world_size(), local_rank)
    finally:
        if joined:
            distributed.destroy_process_group()


class SynchronisedBatchNorm(nn.modules.batchnorm._BatchNorm):
    """Batch normalisation over the parts of all processes; PyTorch's own needs a GPU.

    Every process must have equally many samples. It has the parameters and the running statistics of the
    layer that it stands in for.
    """

    def _check_input_dim(self, input: Tensor) -> None:  # noqa: A002 - the name is torch's
        """Any (B, C, ...) will do."""

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002
        """(B, C, ...) -> same."""
        if not self.training:
            return super().forward(input)
        axes = [axis for axis in range(input.ndim) if axis != 1]
        count = input.numel() // input.shape[1] * distributed.get_world_size()
        shape = [1, -1, *[1] * (input.ndim - 2)]
        mean = all_reduce(input.sum(axes)) / count
        centred = input - mean.view(shape)
        variance = all_reduce(centred.square().sum(axes)) / count
        if self.running_mean is not None and self.running_var is not None:
            momentum = self.momentum if self.momentum is not None else 0.1
            with torch.no_grad():
                self.running_mean.lerp_(mean.detach(), momentum)
                self.running_var.lerp_(variance.detach() * count / max(count - 1, 1), momentum)
                if self.num_batches_tracked is not None:
                    self.num_batches_tracked.add_(1)
        normalised = centred * torch.rsqrt(variance + self.eps).view(shape)
        if self.affine:
            normalised = torch.addcmul(self.bias.view(shape), normalised, self.weight.view(shape))
        return normalised


def synchronise_batch_norm(network: nn.Module) -> None:
    """Make every batch normalisation of a network span all processes, in place.

    PyTorch's layer on GPUs, `SynchronisedBatchNorm` elsewhere. Parameters, buffers and their names stay.
    """
    for name, child in network.named_children():
        if not isinstance(child, nn.modules.batchnorm._BatchNorm):
            synchronise_batch_norm(child)
            continue
        if torch.cuda.is_available():
            layer: nn.Module = nn.SyncBatchNorm.convert_sync_batchnorm(child)
        else:
            layer = _like(child)
        network.add_module(name, layer)


def _like(layer: nn.modules.batchnorm._BatchNorm) -> SynchronisedBatchNorm:
    """A `SynchronisedBatchNorm` that holds the very tensors of a layer."""
    other = SynchronisedBatchNorm(
        layer.num_features,
        eps=layer.eps,
        momentum=layer.momentum,
        affine=layer.affine,
        track_running_stats=layer.track_running_stats,
    )
    for name, parameter in layer.named_parameters():
        setattr(other, name, parameter)
    for name, buffer in layer.named_buffers():
        setattr(other, name, buffer)
    return other.train(layer.training)
