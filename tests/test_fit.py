"""The optimisation loop: exact resuming after a kill or Ctrl-C, processes, results, refusals."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from tiny import TinyDataset, TinyNetwork, tiny_network, tiny_recipe

from superset_vocab import InputError
from training.checkpoints import Checkpoint, CsvLog, loss_curve, read_log
from training.fit import FitResult, fit

ROOT = Path(__file__).parents[1]


@pytest.fixture(autouse=True)
def _one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def straight(tmp_path_factory: pytest.TempPathFactory) -> FitResult:
    """A run of twelve steps that nothing disturbed."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    result = fit(tiny_network(), TinyDataset(), tiny_recipe(), tmp_path_factory.mktemp("straight"))
    torch.set_num_threads(threads)
    return result


def start(out: Path, pause: float, *overrides: str) -> subprocess.Popen:
    """The same run in a process of its own."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    command = [sys.executable, str(ROOT / "tests" / "tiny.py"), str(out), str(pause), *overrides]
    return subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


def wait_for(condition, process: subprocess.Popen) -> None:
    end = time.monotonic() + 60
    while not condition():
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < end, "nothing happened"
        time.sleep(0.01)


def assert_same_weights(out: Path, result: FitResult) -> None:
    ours, theirs = load_file(out / "weights.safetensors"), load_file(result.weights)
    assert ours.keys() == theirs.keys()
    for name, tensor in ours.items():
        assert torch.equal(tensor, theirs[name]), name


def test_it_learns_and_says_what_it_did(straight: FitResult):
    rows = read_log(straight.weights.parent / "log.csv")
    assert [row["step"] for row in rows] == [2, 4, 6, 8, 10, 12]
    assert rows[-1]["loss"] < rows[0]["loss"] / 4
    assert straight.loss == pytest.approx(rows[-1]["loss"])
    record = json.loads(straight.record.read_text())
    assert record["iterations"] == straight.steps == 12
    assert record["samples"] == 12 * 2 * 4
    assert record["datasets"] == {"a": 9, "b": 3}
    assert record["resumed_at"] == []
    assert record["parameters"] == sum(p.numel() for p in TinyNetwork().parameters())
    network = TinyNetwork()
    network.load_state_dict(load_file(straight.weights))
    assert not straight.network.training
    image = torch.rand(1, 1, 16, 16)
    torch.testing.assert_close(network.eval()(image), straight.network(image))


def test_the_folder_has_only_the_run_and_the_process_is_left_alone(tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    former = signal.getsignal(signal.SIGINT)
    fit(tiny_network(), TinyDataset(), tiny_recipe("schedule.iterations=2"), tmp_path / "run")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["run"]
    assert {p.name for p in (tmp_path / "run").iterdir()} == {
        "checkpoint.pt", "curves.png", "log.csv", "recipe.toml", "run.json", "tensorboard",
        "weights.safetensors",
    }  # fmt: skip
    assert capfd.readouterr() == ("", "")
    assert signal.getsignal(signal.SIGINT) is former


def test_workers_change_nothing(straight: FitResult, tmp_path):
    fit(tiny_network(), TinyDataset(), tiny_recipe("run.workers=2"), tmp_path)
    assert_same_weights(tmp_path, straight)


def test_killed_and_resumed_is_the_same_to_the_bit(straight: FitResult, tmp_path):
    process = start(tmp_path, 0.02)
    wait_for((tmp_path / "checkpoint.pt").exists, process)
    process.kill()
    process.communicate()
    assert not (tmp_path / "weights.safetensors").exists()
    done = Checkpoint.load(tmp_path / "checkpoint.pt").iteration
    assert done == 14  # step 7, two iterations each
    fit(tiny_network(), TinyDataset(), tiny_recipe(), tmp_path, resume=True)
    assert_same_weights(tmp_path, straight)
    assert json.loads((tmp_path / "run.json").read_text())["resumed_at"] == [7]
    assert [row["step"] for row in read_log(tmp_path / "log.csv")] == [2, 4, 6, 8, 10, 12]


class Interrupted(TinyDataset):
    """Sends this process a signal in the middle of the first half of step 6."""

    def __init__(self, number: signal.Signals) -> None:
        super().__init__()
        self.number = number

    def __getitem__(self, key):
        if key[1] == 41:
            os.kill(os.getpid(), self.number)
        return super().__getitem__(key)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_and_resumed_is_the_same_to_the_bit(straight: FitResult, tmp_path, number, caplog):
    with pytest.raises((KeyboardInterrupt, SystemExit)) as ended:
        fit(tiny_network(), Interrupted(number), tiny_recipe(), tmp_path)
    assert isinstance(ended.value, KeyboardInterrupt if number == signal.SIGINT else SystemExit)
    told = str(ended.value) if number == signal.SIGINT else caplog.text
    assert "step 6 of 12 is kept, --resume goes on from it" in told
    if isinstance(ended.value, SystemExit):
        assert ended.value.code == 128 + signal.SIGTERM
    assert Checkpoint.load(tmp_path / "checkpoint.pt").iteration == 12  # the step was finished first
    fit(tiny_network(), TinyDataset(), tiny_recipe(), tmp_path, resume=True)
    assert_same_weights(tmp_path, straight)


def test_finished_run_can_be_resumed_to_no_effect(straight: FitResult, tmp_path):
    for _ in range(2):
        result = fit(tiny_network(), TinyDataset(), tiny_recipe(), tmp_path, resume=True)
        assert result.steps == 12
        assert_same_weights(tmp_path, straight)


def test_a_folder_with_a_run_is_not_overwritten(straight: FitResult, tmp_path):
    folder = straight.weights.parent
    with pytest.raises(InputError, match=r"holds a run already .*; go on with it \(--resume\) or choose"):
        fit(tiny_network(), TinyDataset(), tiny_recipe(), folder)
    with pytest.raises(InputError, match=r"schedule.lr was 0.02 and is now 0.5"):
        fit(tiny_network(), TinyDataset(), tiny_recipe("schedule.lr=0.5"), folder, resume=True)
    with pytest.raises(InputError, match="the labels have changed"):
        fit(tiny_network(), TinyDataset(), tiny_recipe(), folder, resume=True, data_sha256="other")
    (tmp_path / "weights.safetensors").write_bytes(b"somebody's")
    with pytest.raises(InputError, match="holds a run already"):
        fit(tiny_network(), TinyDataset(), tiny_recipe(), tmp_path, resume=True)
    assert (tmp_path / "weights.safetensors").read_bytes() == b"somebody's"


def test_a_checkpoint_never_runs_code(tmp_path):
    class Trap:
        def __reduce__(self):
            return (os.mkdir, (str(tmp_path / "sprung"),))

    torch.save({"format": 1, "network": Trap()}, tmp_path / "checkpoint.pt")
    with pytest.raises(InputError, match="not a readable checkpoint"):
        fit(tiny_network(), TinyDataset(), tiny_recipe(), tmp_path, resume=True)
    assert not (tmp_path / "sprung").exists()


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 cut", b"text"])
def test_a_broken_checkpoint_is_one_clear_error(tmp_path, content):
    (tmp_path / "checkpoint.pt").write_bytes(content)
    with pytest.raises(InputError, match=r"checkpoint.pt: not a readable checkpoint"):
        Checkpoint.load(tmp_path / "checkpoint.pt")


def test_a_checkpoint_with_a_changed_byte_is_not_gone_on_with(straight: FitResult, tmp_path):
    """A bad disk or a bad copy: the weights would be other ones, without a word."""
    content = bytearray((straight.weights.parent / "checkpoint.pt").read_bytes())
    with zipfile.ZipFile(straight.weights.parent / "checkpoint.pt") as archive:
        largest = max(archive.infolist(), key=lambda part: part.file_size)
    content[largest.header_offset + 200 + largest.file_size // 2] ^= 64
    (tmp_path / "checkpoint.pt").write_bytes(content)
    with pytest.raises(InputError, match="not a readable checkpoint, or damaged"):
        fit(tiny_network(), TinyDataset(), tiny_recipe(), tmp_path, resume=True)


def test_a_loss_that_explodes_keeps_the_last_good_checkpoint(tmp_path):
    class Exploding(TinyDataset):
        def __getitem__(self, key):
            sample = super().__getitem__(key)
            if key[1] >= 80:
                sample["image"] = sample["image"] * float("nan")
            return sample

    with pytest.raises(InputError, match=r"no longer finite by step 12.*schedule.lr"):
        fit(tiny_network(), Exploding(), tiny_recipe("run.log_every=12"), tmp_path)
    checkpoint = Checkpoint.load(tmp_path / "checkpoint.pt")
    assert checkpoint.iteration == 14
    assert all(bool(tensor.isfinite().all()) for tensor in checkpoint.network.values())
    assert not (tmp_path / "weights.safetensors").exists()


def test_what_the_machine_or_the_network_lacks(tmp_path):
    if not torch.cuda.is_available():
        with pytest.raises(InputError, match="needs a GPU"):
            fit(tiny_network(), TinyDataset(), tiny_recipe("schedule.amp=float16"), tmp_path / "a")
    with pytest.raises(InputError, match="needs 'locref' in the network's output"):
        fit(tiny_network(), TinyDataset(), tiny_recipe("loss.locref=l1"), tmp_path / "b")
    with pytest.raises(InputError, match=r"network's heatmaps have shape \(4, 5, 16, 16\)"):
        fit(TinyNetwork(5), TinyDataset(), tiny_recipe(), tmp_path / "c")


def test_it_trains_where_it_is_told_to(straight: FitResult, tmp_path, monkeypatch):
    """Not on the GPU that there is, which may be somebody else's; mmengine would move every model there."""
    monkeypatch.setattr("training.processes.Processes.device", lambda _: torch.device("meta"))
    monkeypatch.setattr("mmengine.runner.runner.get_device", lambda: "meta")
    fit(tiny_network(), TinyDataset(), tiny_recipe(), tmp_path / "cpu", device=torch.device("cpu"))
    assert_same_weights(tmp_path / "cpu", straight)
    with pytest.raises(RuntimeError, match="meta"):
        fit(tiny_network(), TinyDataset(), tiny_recipe(), tmp_path / "gpu")


def test_bfloat16_trains_on_a_cpu(straight: FitResult, tmp_path):
    result = fit(tiny_network(), TinyDataset(), tiny_recipe("schedule.amp=bfloat16"), tmp_path)
    assert result.network.state_dict()["stem.weight"].dtype == torch.float32
    assert result.loss == pytest.approx(straight.loss, rel=0.1)
    assert result.loss != straight.loss


def test_initial_weights_are_those_of_the_network(tmp_path):
    """Mmengine calls any init_weights() that it finds; a pretrained network must survive."""

    class Pretrained(TinyNetwork):
        def init_weights(self):
            raise AssertionError("the weights were drawn anew")

    torch.manual_seed(0)
    network = Pretrained()
    before = network.stem.weight.detach().clone()
    tiny_step = tiny_recipe("schedule.iterations=1", "schedule.lr=1e-9", "schedule.warmup=0")
    fit(network, TinyDataset(), tiny_step, tmp_path)
    torch.testing.assert_close(network.stem.weight, before, atol=1e-6, rtol=0)


def test_average_is_what_is_published(tmp_path):
    recipe = tiny_recipe("schedule.iterations=1", "schedule.warmup=0", "schedule.decay=constant")
    network = tiny_network()
    before = network.head.weight.detach().clone()
    result = fit(network, TinyDataset(), recipe, tmp_path)
    assert result.network is not network
    decay = 2 / 11  # after one step
    expected = before * decay + network.head.weight.detach() * (1 - decay)
    torch.testing.assert_close(result.network.state_dict()["head.weight"], expected)


def test_log_of_a_killed_session_is_cut_back(tmp_path):
    path = tmp_path / "log.csv"
    log = CsvLog(path, start=0)
    for step in (10, 20, 30):
        log.write({"step": step, "loss": 1 / step})
    with path.open("a") as file:
        file.write("40,0.0")  # killed in the middle of the line
        file.write("\n50")
    CsvLog(path, start=20).write({"step": 30, "loss": 0.25})
    assert read_log(path) == [
        {"step": 10.0, "loss": 0.1}, {"step": 20.0, "loss": 0.05}, {"step": 30.0, "loss": 0.25},
    ]  # fmt: skip


def test_loss_curve_is_short_and_keeps_the_end():
    rows = [{"step": float(s), "loss": float(s)} for s in range(1, 1001)]
    curve = loss_curve(rows)
    assert len(curve) == 50
    assert curve[0] == [20.0, pytest.approx(np.mean(range(1, 21)))]
    assert curve[-1][0] == 1000.0
