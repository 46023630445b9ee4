"""DeepLabCut's environment, and processes of either side."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.peers import peer_python

VERSION = "3.0.2"

_ROOT = Path(__file__).parents[2]
_BACKBONE = """
import os, pathlib, torch, torchvision
from torchvision.models import ResNet50_Weights as weights
folder = pathlib.Path(os.environ["TORCH_HOME"]) / "hub" / "checkpoints"
folder.mkdir(parents=True, exist_ok=True)
for one in weights:
    torch.save(torchvision.models.resnet50().state_dict(), folder / pathlib.Path(one.url).name)
"""


def their_python(workdir: Path, given: Path | None) -> Path:
    """The Python that has DeepLabCut (6 GB); see `benchmarks.peers`."""
    return peer_python(workdir, given, "deeplabcut", VERSION)


def their_environment(workdir: Path, python: Path) -> dict[str, str]:
    """Environment variables of their processes.

    It builds its detector with torchvision's ImageNet weights, downloaded, before it loads its own on top.
    So that nothing is downloaded, a file of that name with random weights stands in for them.
    """
    home = workdir / "torch_home"
    variables = {"TORCH_HOME": str(home), "DLCLight": "True"}
    if not (home / "complete").exists():
        _checked([str(python), "-c", _BACKBONE], variables)
        (home / "complete").touch()
    return variables


def measure(
    python: Path | str,
    module: str,
    arguments: list[str],
    job: Path,
    variables: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """Run a module of this package in a process of its own and read its answer.

    Args:
        python: Which Python.
        module: Name of the module in this package.
        arguments: What it is told before the job's path.
        job: JSON file that says what to do, "answer" being the file that it writes.
        variables: Environment variables besides ours.

    Raises:
        SystemExit: If it fails.
    """
    answer = Path(json.loads(job.read_text())["answer"])
    answer.unlink(missing_ok=True)
    name = f"benchmarks.versus_deeplabcut.{module}"
    _checked([str(python), "-m", name, *arguments, str(job)], {"PYTHONPATH": str(_ROOT), **(variables or {})})
    return json.loads(answer.read_text())


def import_seconds(python: Path | str, statement: str, times: int = 3) -> list[float]:
    """Seconds that an import takes, each in a process of its own, sorted."""
    code = (
        f"import time; start = time.perf_counter(); {statement}; print('took', time.perf_counter() - start)"
    )
    outputs = [_checked([str(python), "-c", code], {"PYTHONPATH": str(_ROOT)}) for _ in range(times)]
    return sorted(float(output.rsplit("took", 1)[1]) for output in outputs)


def _checked(command: list[str], variables: Mapping[str, str] | None = None) -> str:
    """Run a command; its output.

    Raises:
        SystemExit: If it fails, with the end of what it said.
    """
    result = subprocess.run(command, capture_output=True, text=True, env={**os.environ, **(variables or {})})
    if result.returncode:
        said = (result.stdout + result.stderr)[-3000:]
        raise SystemExit(f"failed: {' '.join(command[:6])} ...\n{said}")
    return result.stdout
