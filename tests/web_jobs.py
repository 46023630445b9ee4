"""Jobs for the tests of the worker process."""

from __future__ import annotations

import importlib
import os
import sys
import time
from pathlib import Path
from typing import Any

from superset_vocab.errors import InputError


def note(file: str, word: str) -> dict[str, Any]:
    """Append a word to a file."""
    with Path(file).open("a") as out:
        out.write(f"{word}\n")
    return {"word": word, "process": os.getpid()}


def sleep(seconds: float) -> dict[str, Any]:
    """Take a while."""
    time.sleep(seconds)
    return {"slept": seconds}


def wait_for(file: str) -> dict[str, Any]:
    """Wait until a file is there."""
    while not Path(file).exists():
        time.sleep(0.02)
    return {"process": os.getpid()}


def count(n: int) -> dict[str, Any]:
    """Show a progress bar."""
    from tqdm import tqdm

    for _ in tqdm(range(n), "counting", disable=True):
        time.sleep(0.15)
    return {"n": n}


def refuse(text: str) -> dict[str, Any]:
    """Not like the input."""
    raise InputError(text)


def die() -> dict[str, Any]:
    """End without a word, as after an error in native code."""
    os._exit(9)


def fail() -> dict[str, Any]:
    """An error of the program."""
    raise ZeroDivisionError("not foreseen")


def need(module: str) -> dict[str, Any]:
    """Import what is not installed."""
    sys.modules[module] = None  # type: ignore[assignment] - as the import system marks what there is not
    importlib.import_module(module)
    return {}


def eat(mib: int) -> dict[str, Any]:
    """Take memory."""
    eaten = [bytearray(2**20) for _ in range(mib)]
    return {"mib": len(eaten)}
