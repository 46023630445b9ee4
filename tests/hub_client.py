"""The command line in a process of its own, with the unmodified Hugging Face client.

The client reads most of its settings when it is imported; a process keeps them for many calls, which is
faster than one process for each. Warnings are errors in it, and everything is logged.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_DRIVER = """
import contextlib, io, json, logging, os, sys
import app.cli
logging.basicConfig(level=logging.DEBUG, stream=io.StringIO())
for line in sys.stdin:
    call = json.loads(line)
    os.environ.pop("HF_TOKEN", None)
    os.environ.update(call["environment"])
    out, err, log = io.StringIO(), io.StringIO(), io.StringIO()
    logging.getLogger().handlers[0].setStream(log)
    said = {}
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        if "code" in call:
            exec(call["code"], said)
        else:
            said["status"] = app.cli.main(call["argv"])
    print(json.dumps({
        "status": said.get("status", 0), "out": out.getvalue(), "err": err.getvalue(), "log": log.getvalue(),
        "result": said.get("result"),
    }), flush=True)
"""


@dataclass(frozen=True)
class Said:
    """What a call gave: exit status, what it printed and logged, and the `result` of a piece of code."""

    status: int
    out: str
    err: str
    log: str
    result: Any


class HubClient:
    """Runs the command line against one Hub, until the end of its `with` block.

    Args:
        endpoint: Of the Hub.
        home: Folder of the client's cache.
        settings: More environment variables.
    """

    def __init__(self, endpoint: str, home: Path, **settings: str) -> None:
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "HUGGING"))}
        client = {"HF_ENDPOINT": endpoint, "HF_HOME": str(home), "HF_HUB_DISABLE_XET": "1", **settings}
        self._process = subprocess.Popen(
            # The client itself uses what its HTTP library calls outdated.
            [sys.executable, "-W", "error", "-W", "ignore:Use 'content=", "-c", _DRIVER],
            env={**kept, **client, "OMP_NUM_THREADS": "1"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def __enter__(self) -> HubClient:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.communicate(timeout=60)

    def zoo(self, *argv: object, token: str = "") -> Said:
        """`zoo ARGV...`, logged in with a token or not at all."""
        return self._call({"argv": [str(word) for word in argv]}, token)

    def python(self, code: str, token: str = "") -> Said:
        """A piece of code, which may set `result`."""
        return self._call({"code": code}, token)

    def _call(self, call: dict[str, Any], token: str) -> Said:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        environment = {"HF_TOKEN": token} if token else {}
        print(json.dumps({**call, "environment": environment}), file=self._process.stdin, flush=True)
        line = self._process.stdout.readline()
        assert line, "the client's process died; its traceback is above"
        return Said(**json.loads(line))
