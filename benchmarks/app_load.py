"""Twenty visitors at once and 200 requests in a row against a running `zoo app`, over plain HTTP on loopback.

Run as `python -m benchmarks.app_load`; `--requests` and `--visitors` change the numbers, and `--make`
first times `make app` from a new virtual environment to the page's answer (minutes, wants a package index).
Tests use `RunningApp` and `Visitor` of here.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import httpx
import numpy as np

_ROOT = Path(__file__).resolve().parents[1]
_READY = re.compile(r"zoo app: (http://\S+?)/? \(after ([\d.]+) s")
MODEL, VARIANT = "superanimal_topviewmouse", "compact"


class RunningApp:
    """A `zoo app` in a process of its own, on a free port of this machine.

    Args:
        folder: Where its log and its temporary files go.
        examples: Folder of examples.
        command: What starts it; by default this interpreter.
        options: More of `zoo app`'s, where this interpreter starts it.
        patience: Seconds to wait for its address.

    Attributes:
        address: Of the page, without a slash at the end.
        process: The server; its children are the workers.
    """

    def __init__(
        self,
        folder: Path,
        examples: Path | None = None,
        command: Sequence[str] | None = None,
        options: Sequence[str] = (),
        patience: float = 90.0,
    ) -> None:
        self.log = folder / "app.log"
        self.temporary = folder / "temporary"
        self.temporary.mkdir(parents=True)
        started = [
            sys.executable,
            "-m",
            "app.cli",
            "app",
            *(["--examples", str(examples)] if examples else []),
            *options,
        ]
        environment = os.environ | {"TMPDIR": str(self.temporary), "OMP_NUM_THREADS": "1"}
        with self.log.open("w") as log:
            self.process = subprocess.Popen(
                command or started, cwd=_ROOT, stdout=log, stderr=log, env=environment, start_new_session=True
            )
        self.address = self._wait(patience)

    def _wait(self, patience: float) -> str:
        end = time.monotonic() + patience
        while time.monotonic() < end and self.process.poll() is None:
            if said := _READY.search(self.log.read_text()):
                return said.group(1)
            time.sleep(0.1)
        self.close()
        raise RuntimeError(f"the app did not start:\n{self.log.read_text()}")

    def close(self) -> None:
        """Interrupt it as Ctrl+C does, and end whatever is left."""
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGINT)
            try:
                self.process.wait(15)
            except subprocess.TimeoutExpired:
                os.killpg(self.process.pid, signal.SIGKILL)
                self.process.wait()

    def workers(self) -> list[int]:
        """Process ids of the workers: the server's children that were spawned to work."""
        children = Path(f"/proc/{self.process.pid}/task").glob("*/children")
        ids = [int(word) for file in children for word in file.read_text().split()]
        return [one for one in ids if b"spawn_main" in Path(f"/proc/{one}/cmdline").read_bytes()]

    def memory(self) -> float:
        """Resident memory of the server, MiB; the worker's is `memory_of(workers()[0])`."""
        return memory_of(self.process.pid)


def memory_of(process: int) -> float:
    """Resident memory of a process, MiB."""
    status = Path(f"/proc/{process}/status").read_text()
    return int(re.findall(r"VmRSS:\s+(\d+)", status)[0]) / 1024


@dataclass(frozen=True)
class Answer:
    """What one prediction led to.

    Attributes:
        message: The last sentence on the page, or the error.
        served: Whether there was a result.
        waited: Whether the visitor was told of jobs that come first.
        seconds: From asking to the end.
        files: Addresses of the result's files.
    """

    message: str
    served: bool
    waited: bool
    seconds: float
    files: tuple[str, ...] = ()


class Visitor:
    """One browser session, without a browser. A context manager: leaving it closes the page."""

    def __init__(self, app: RunningApp) -> None:
        self.session = secrets.token_hex(6)
        self._api = f"{app.address}/gradio_api"
        self._http = httpx.Client(timeout=120.0)
        config = self._http.get(f"{app.address}/config").json()
        self._functions = {d["api_name"]: d["id"] for d in config["dependencies"]}
        request = self._http.build_request("GET", f"{self._api}/heartbeat/{self.session}")
        self._heartbeat = self._http.send(request, stream=True)

    def __enter__(self) -> Visitor:
        return self

    def __exit__(self, *_: object) -> None:
        self._heartbeat.close()
        self._http.close()

    def upload(self, path: Path) -> dict[str, Any]:
        """Upload a file; what the page's component would hold afterwards."""
        with path.open("rb") as file:
            answer = self._http.post(f"{self._api}/upload", files=[("files", (path.name, file))])
        held = {
            "path": answer.raise_for_status().json()[0],
            "orig_name": path.name,
            "meta": {"_type": "gradio.FileData"},
        }
        self._at_once("remember", [[held]])
        return held

    def get(self, path: str) -> httpx.Response:
        """Ask for a file of the server's, or for any address given whole."""
        return self._http.get(path if path.startswith("http:") else f"{self._api}/file={path}")

    def cancel(self) -> str:
        """Press Cancel; what the page says."""
        return self._at_once("cancel", [])[0]

    def predict(self, upload: dict[str, Any]) -> Answer:
        """Press Predict, wait for the end."""
        start, waited = time.monotonic(), False
        arguments = [[upload], MODEL, VARIANT, 0.3, 0, "none", None]
        message: dict[str, Any] = {}
        for message in self._messages("predict", arguments):
            waited |= "In line" in json.dumps(message)
        seconds = time.monotonic() - start
        output = message.get("output", {})
        if not message.get("success"):
            return Answer(str(output.get("error")), False, waited, seconds)
        status, *rest = output["data"]
        files = tuple(re.findall(r'"url": "(http[^"]+)"', json.dumps(rest)))
        return Answer(status, bool(files), waited, seconds, files)  # none of a cancelled one

    def _at_once(self, function: str, arguments: list[Any]) -> list[Any]:
        """What an event answers that does not wait in the queue."""
        asked = {"data": arguments, "fn_index": self._functions[function], "session_hash": self.session}
        return self._http.post(f"{self._api}/run/predict", json=asked).raise_for_status().json()["data"]

    def _messages(self, function: str, arguments: list[Any], event: Any = None) -> Iterator[dict[str, Any]]:
        """What the server says of one event, to its end; `event` is what its component sends with it."""
        asked = {"data": arguments, "fn_index": self._functions[function], "session_hash": self.session}
        answer = self._http.post(f"{self._api}/queue/join", json={**asked, "event_data": event})
        number = answer.raise_for_status().json()["event_id"]
        with self._http.stream(
            "GET", f"{self._api}/queue/data", params={"session_hash": self.session}
        ) as stream:
            for line in stream.iter_lines():
                message = json.loads(line[6:]) if line.startswith("data: ") else {}
                if message.get("event_id") != number:
                    continue
                if message["msg"] in ("process_generating", "process_completed"):
                    yield message
                if message["msg"] == "process_completed":
                    return


def picture(folder: Path, n: int) -> Path:
    """A picture of its own name and size for visitor n."""
    path = folder / f"visitor_{n:03d}.png"
    noise = np.random.default_rng(n).integers(0, 255, (64 + n, 80 + 2 * n, 3), dtype=np.uint8)
    cv2.imwrite(str(path), noise)
    return path


def is_own(visitor: Visitor, answer: Answer, path: Path) -> bool:
    """Whether every file of an answer is named after the picture, and the drawn one has its size."""
    names = [address.rsplit("/", 1)[-1] for address in answer.files]
    drawn = next(address for address in answer.files if address.endswith(".labelled.png"))
    content = np.frombuffer(visitor.get(drawn).content, np.uint8)
    got, own = cv2.imdecode(content, cv2.IMREAD_COLOR), cv2.imread(str(path))
    same_size = got is not None and own is not None and got.shape == own.shape
    return len(names) >= 4 and all(name.startswith(path.stem) for name in names) and same_size


def visit(app: RunningApp, folder: Path, n: int) -> tuple[Answer, bool]:
    """One visitor from the first look to the last; the answer, and whether the files were their own."""
    with Visitor(app) as visitor:
        path = picture(folder, n)
        answer = visitor.predict(visitor.upload(path))
        return answer, not answer.served or is_own(visitor, answer, path)


def at_once(app: RunningApp, folder: Path, n_visitors: int) -> list[tuple[Answer, bool]]:
    """So many visitors at the same time."""
    with ThreadPoolExecutor(n_visitors) as pool:
        return list(pool.map(lambda n: visit(app, folder, n), range(n_visitors)))


def in_a_row(app: RunningApp, folder: Path, n_requests: int, every: int) -> list[tuple[int, float, float]]:
    """Many short predictions; requests so far with the memory of server and worker in MiB."""
    curve = []
    for n in range(n_requests + 1):
        if n % every == 0:
            curve.append((n, app.memory(), memory_of(app.workers()[0])))
        if n < n_requests and not visit(app, folder, n % 5)[0].served:
            raise RuntimeError(f"request {n} was not served")
    return curve


def _make(folder: Path) -> None:
    """`make app` in a copy of the checkout that has no virtual environment yet."""
    copy = folder / "checkout"
    subprocess.run(["git", "clone", "-q", str(_ROOT), str(copy)], check=True)
    start = time.monotonic()
    app = RunningApp(folder / "make", command=["make", "-C", str(copy), "app"], patience=1_800.0)
    answers = httpx.get(app.address).status_code
    print(f"make app: {time.monotonic() - start:.0f} s from a clone to the page's answer ({answers})")
    app.close()


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--visitors", type=int, default=20)
    parser.add_argument("--requests", type=int, default=200)
    parser.add_argument("--make", action="store_true", help="time `make app` from a new clone too")
    arguments = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="app-load-"))
    try:
        if arguments.make:
            _make(folder)
        app = RunningApp(folder / "app")
        print(f"started: {_READY.search(app.log.read_text()).group(2)} s")  # type: ignore[union-attr]
        start = time.monotonic()
        answers = at_once(app, folder, arguments.visitors)
        seconds = sorted(answer.seconds for answer, _ in answers)
        served, waited = (
            sum(getattr(answer, what) for answer, _ in answers) for what in ("served", "waited")
        )
        print(
            f"{len(answers)} visitors at once: {served} served, {waited} told their "
            f"place in line, {len(answers) - served} refused, {sum(not own for _, own in answers)} mixed up; "
            f"{time.monotonic() - start:.1f} s in all, each {seconds[0]:.1f} to {seconds[-1]:.1f} s "
            f"(median {seconds[len(seconds) // 2]:.1f})"
        )
        start = time.monotonic()
        curve = in_a_row(app, folder, arguments.requests, max(arguments.requests // 10, 1))
        each = (time.monotonic() - start) / arguments.requests
        print(f"{arguments.requests} requests in a row: {each:.2f} s each; memory in MiB:")
        for n, server, worker in curve:
            print(f"  {n:4d}  server {server:6.1f}  worker {worker:6.1f}")
        app.close()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
