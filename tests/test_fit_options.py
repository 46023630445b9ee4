"""A disk that fills up, and the options on speed: each must act, and none may change what is learned."""

from __future__ import annotations

import errno
import resource
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from tiny import TinyDataset, tiny_network, tiny_recipe
from torch import nn

from app.cli import main
from superset_vocab import InputError
from training.checkpoints import Checkpoint, save_network
from training.fit import fit

ROOT = Path(__file__).parents[1]


def fit_with_limit(out: Path, limit: int) -> subprocess.CompletedProcess:
    """The tiny run in a process of its own in which no file can become larger than so many bytes."""

    def limited() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

    program = (
        "import argparse, sys\nfrom pathlib import Path\nsys.path[:0] = sys.argv[1:3]\n"
        "from app import cli\nfrom tiny import TinyDataset, fit, tiny_network, tiny_recipe\n"
        "def run(_):\n"
        "    fit(tiny_network(), TinyDataset(), tiny_recipe(), Path(sys.argv[3]), resume=True)\n"
        "    return 0\n"
        "parser = argparse.ArgumentParser()\nparser.set_defaults(run=run)\n"
        "cli.build_parser = lambda: parser\n"
        "raise SystemExit(cli.main([]))\n"
    )
    command = [sys.executable, "-c", program, str(ROOT), str(ROOT / "tests"), str(out)]
    return subprocess.run(command, preexec_fn=limited, capture_output=True, text=True, timeout=120)


def test_a_full_disk_leaves_the_last_good_checkpoint(tmp_path):
    """The second checkpoint does not fit: the first stays, the error is one line, and the run can go on."""
    straight = fit(tiny_network(), TinyDataset(), tiny_recipe(), tmp_path / "straight")
    out = tmp_path / "run"
    fit_first = tiny_recipe("run.checkpoint_every=7")

    class Stops(TinyDataset):
        def __getitem__(self, key):
            if key[1] >= 60:  # after the checkpoint of step 7
                raise InputError("stop here")
            return super().__getitem__(key)

    with pytest.raises(InputError, match="stop here"):
        fit(tiny_network(), Stops(), fit_first, out)
    good = (out / "checkpoint.pt").read_bytes()
    assert Checkpoint.load(out / "checkpoint.pt").iteration == 14
    done = fit_with_limit(out, limit=len(good) - 1000)
    assert done.returncode == 1, done.stderr
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("zoo: error")]
    assert "checkpoint.pt: cannot be written" in line
    assert "what was there before is kept" in line
    assert "Traceback" not in done.stderr
    assert (out / "checkpoint.pt").read_bytes() == good
    assert not [path for path in out.iterdir() if path.name.startswith(".")]  # nothing half written
    fit(tiny_network(), TinyDataset(), tiny_recipe(), out, resume=True)
    weights = load_file(out / "weights.safetensors")
    assert all(torch.equal(weights[name], t) for name, t in load_file(straight.weights).items())


def test_refusals_of_the_writers_are_errors_of_the_system(tmp_path, monkeypatch):
    def full(*_, **__):
        raise RuntimeError("[enforce fail at inline_container.cc:664] . unexpected pos 1 vs 2")

    monkeypatch.setattr("training.checkpoints.save_file", full)
    monkeypatch.setattr("shutil.disk_usage", lambda _: type("U", (), {"free": 0}))
    path = tmp_path / "weights.safetensors"
    path.write_bytes(b"before")
    with pytest.raises(OSError, match=r"cannot be written \(.*0 MB free\)") as raised:
        save_network(nn.Linear(1, 1), path, tiny_recipe())
    assert (raised.value.errno, raised.value.filename) == (errno.ENOSPC, str(path))
    assert path.read_bytes() == b"before"


def test_compiled_it_learns_the_same_and_comes_back_plain(tmp_path):
    plain = fit(tiny_network(), TinyDataset(), tiny_recipe(), tmp_path / "plain")
    network, calls = tiny_network(), []
    compiled = network.compile
    network.compile = lambda **options: (calls.append(options), compiled(**options))  # type: ignore[method-assign]
    result = fit(network, TinyDataset(), tiny_recipe("run.compile=aot_eager"), tmp_path / "compiled")
    assert calls == [{"backend": "aot_eager"}]
    assert network._compiled_call_impl is None
    for name, tensor in plain.network.state_dict().items():
        torch.testing.assert_close(result.network.state_dict()[name], tensor, atol=2e-3, rtol=2e-2)


def test_compiling_needs_a_compiler(tmp_path, monkeypatch):
    monkeypatch.setattr("shutil.which", lambda _: None)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(InputError, match=r"needs a C\+\+ compiler here; install g\+\+"):
        fit(tiny_network(), TinyDataset(), tiny_recipe("run.compile=inductor"), tmp_path)


@pytest.mark.parametrize("last", [True, False])
def test_memory_layout(tmp_path, last):
    seen = []
    network = tiny_network()
    network.norm.register_forward_hook(
        lambda *given: seen.append(given[2].is_contiguous(memory_format=torch.channels_last))
    )
    recipe = tiny_recipe(f"run.channels_last={str(last).lower()}", "schedule.iterations=2")
    fit(network, TinyDataset(), recipe, tmp_path)
    assert seen
    assert set(seen) == {last}


def test_the_order_has_a_seed_of_its_own(tmp_path):
    def losses(*overrides: str) -> list[float]:
        out = tmp_path / "_".join(["run", *overrides])
        fit(tiny_network(), TinyDataset(), tiny_recipe("schedule.iterations=4", *overrides), out)
        return [line.split(",")[1] for line in (out / "log.csv").read_text().splitlines()]

    plain = losses()  # the seed is 5, and the network is given
    assert losses("run.order_seed=5") == losses("run.weights_seed=9") == plain
    assert losses("run.order_seed=6") != plain


def test_a_wrong_command_line_says_what_recipes_there_are(capsys, tmp_path):
    assert main(["train", "nothing", "--out", str(tmp_path / "x")]) == 2
    assert "hrnet_w32" in capsys.readouterr().err
    assert not (tmp_path / "x").exists()
