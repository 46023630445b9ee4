"""Two processes under torchrun take the steps of one, batch normalisation included."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import load_file
from tiny import tiny_recipe
from torch import nn
from torch.utils.data import Dataset

from superset_vocab import InputError
from training.checkpoints import read_log
from training.fit import fit
from training.processes import Processes, SynchronisedBatchNorm, synchronise_batch_norm
from zoo.networks import build

ROOT = Path(__file__).parents[1]
SGD = ("schedule.optimiser=sgd", "schedule.lr=0.02", "schedule.accumulate=2", "schedule.clip_norm=1.0")


class Images(Dataset):
    """Twelve samples for the compact network, functions of their index."""

    groups = ("a",) * 12

    def __len__(self) -> int:
        return 12

    def __getitem__(self, key: tuple[int, int]) -> dict[str, torch.Tensor]:
        generator = torch.Generator().manual_seed(key[0])
        image = torch.randn(1, 32, 32, generator=generator)
        return {
            "image": image,
            "heatmaps": torch.sigmoid(image[:, ::2, ::2]),
            "keypoint_weight": torch.ones(1),
        }


def network() -> nn.Module:
    torch.manual_seed(0)
    return build("compact_unet", outputs={"heatmaps": 1}, widths=[4, 8])


def run(out: Path, batch_norm: str) -> None:
    torch.set_num_threads(1)
    fit(network(), Images(), tiny_recipe(*SGD, f"schedule.batch_norm={batch_norm}"), out, resume=True)


def two_processes(out: Path, batch_norm: str) -> None:
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    command = [*launcher, str(Path(__file__)), str(out), batch_norm]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
def test_two_processes_are_one(tmp_path):
    two_processes(tmp_path / "two", "synchronised")
    run(tmp_path / "one", "synchronised")
    record = json.loads((tmp_path / "two" / "run.json").read_text())
    assert record["processes"] == 2
    assert record["samples"] == 12 * 2 * 4
    one, two = (read_log(tmp_path / name / "log.csv") for name in ("one", "two"))
    assert one[-1]["loss"] < 0.7 * one[0]["loss"]
    for mine, theirs in zip(one, two, strict=True):
        assert theirs["loss"] == pytest.approx(mine["loss"], rel=1e-4)
    start, weights = network().state_dict(), load_file(tmp_path / "one" / "weights.safetensors")
    others = load_file(tmp_path / "two" / "weights.safetensors")
    assert weights.keys() == others.keys()
    for name, tensor in weights.items():
        torch.testing.assert_close(
            others[name], tensor, atol=2e-5, rtol=2e-4, msg=lambda m, n=name: f"{n}: {m}"
        )
    assert not torch.allclose(weights["stem.0.weight"], start["stem.0.weight"], atol=1e-3)
    assert not torch.allclose(weights["stem.1.running_mean"], start["stem.1.running_mean"])


def test_synchronised_batch_norm_is_batch_norm(monkeypatch):
    """In one process, with its own layer: output, gradient and running statistics are torch's."""
    monkeypatch.setattr(torch.distributed, "get_world_size", lambda: 1)
    monkeypatch.setattr("training.processes.all_reduce", lambda tensor: tensor)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    plain, ours = (nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4)) for _ in range(2))
    ours.load_state_dict(plain.state_dict())
    scale = ours[1].weight
    synchronise_batch_norm(ours)
    assert isinstance(ours[1], SynchronisedBatchNorm)
    assert ours[1].weight is scale
    images = torch.randn(6, 1, 8, 8) * 3 + 5
    for _ in range(3):
        wanted, found = plain(images), ours(images)
        torch.testing.assert_close(found, wanted, atol=1e-5, rtol=1e-5)
    for model, output in ((plain, wanted), (ours, found)):
        output.square().mean().backward(retain_graph=True)
        model.zero_grad()
        output.sigmoid().mean().backward()
    for (name, a), (_, b) in zip(plain.named_parameters(), ours.named_parameters(), strict=True):
        torch.testing.assert_close(b.grad, a.grad, atol=1e-6, rtol=1e-4, msg=name)
    for name, tensor in plain.state_dict().items():
        torch.testing.assert_close(ours.state_dict()[name], tensor, msg=name)
    torch.testing.assert_close(ours.eval()(images), plain.eval()(images))


def test_batches_that_cannot_be_shared(tmp_path, monkeypatch):
    from training import fit as module

    recipe = tiny_recipe("schedule.batch_size=3")
    state = SimpleNamespace(recipe=recipe, processes=Processes(0, 2, 0), device=torch.device("cpu"))
    with pytest.raises(InputError, match="batch_size 3 cannot be shared among 2 processes"):
        module._loader(Images(), module.objective_of(recipe), state, None)


def test_alone_there_is_nothing_to_share():
    alone = Processes()
    assert alone.sum([1.5, 2]) == alone.mean([1.5, 2]) == [1.5, 2]
    assert alone.gather("x") == ["x"]
    assert alone.any(True)
    assert not alone.any(False)


if __name__ == "__main__":
    run(Path(sys.argv[1]), sys.argv[2])
