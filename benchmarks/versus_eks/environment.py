"""The public package's environment, and processes of either side with their time and peak memory."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.peers import peer_python

VERSION = "4.6.2"
ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Cost:
    """What a process took.

    Attributes:
        seconds: From its start to its end.
        processor: Processor seconds, of all its threads: what a busy machine changes least.
        peak_mib: The most memory it held, MiB.
    """

    seconds: float
    processor: float
    peak_mib: float


def their_python(workdir: Path, given: Path | None) -> Path:
    """The Python that has ensemble-kalman-smoother; see `benchmarks.peers`."""
    return peer_python(workdir, given, "ensemble-kalman-smoother", VERSION)


def run(command: Sequence[str]) -> Cost:
    """Run a command to its end.

    Raises:
        SystemExit: If it fails, with the end of what it said.
    """
    variables = {**os.environ, "PYTHONPATH": str(ROOT), "MPLBACKEND": "Agg"}
    with tempfile.TemporaryFile() as said:
        start = time.perf_counter()
        process = subprocess.Popen(list(command), stdout=said, stderr=subprocess.STDOUT, env=variables)
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - start
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            said.seek(0)
            end = said.read()[-3000:].decode("utf-8", "replace")
            raise SystemExit(f"failed: {' '.join(command[:8])} ...\n{end}")
    return Cost(seconds, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024)


def job(python: Path | str, side: str, workdir: Path, **entries: Any) -> dict[str, Any]:
    """Let one side do a job in a process of its own.

    Args:
        python: Its Python.
        side: "our_side" or "their_side".
        workdir: Folder for the job and its answer.
        **entries: The job, for JSON.

    Returns:
        What it measured, and "peak_mib" of the process.
    """
    path, answer = workdir / f"{side}.job.json", workdir / f"{side}.answer.json"
    path.write_text(json.dumps({**entries, "answer": str(answer)}))
    answer.unlink(missing_ok=True)
    cost = run([str(python), "-m", f"benchmarks.versus_eks.{side}", str(path)])
    return {**json.loads(answer.read_text()), "peak_mib": cost.peak_mib}


def import_seconds(python: Path | str, statement: str, times: int = 5) -> float:
    """Median seconds of an import, each in a process of its own."""
    code = f"import time; start = time.perf_counter(); {statement}; print(time.perf_counter() - start)"
    variables = {**os.environ, "PYTHONPATH": str(ROOT), "MPLBACKEND": "Agg"}
    outputs = [
        subprocess.run([str(python), "-c", code], capture_output=True, text=True, check=True, env=variables)
        for _ in range(times)
    ]
    return statistics.median(float(one.stdout.split()[-1]) for one in outputs)
