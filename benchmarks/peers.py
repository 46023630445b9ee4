"""A package to compare with, from PyPI, in an environment of its own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path


def peer_python(workdir: Path, given: Path | None, package: str, version: str) -> Path:
    """The Python that has a package; installs it if none is given and none was made before.

    Args:
        workdir: Folder in which the environment is kept.
        given: Python that has it already, or None.
        package: Its name on PyPI.
        version: Exactly which.

    Raises:
        SystemExit: If it cannot be installed, or the given Python is not there.
    """
    if given is not None:
        if not given.exists():
            raise SystemExit(f"--their-python {given}: no such file")
        return given.absolute()
    folder = workdir / f"{package}-{version}"
    python, done = folder / "bin" / "python", folder / "complete"
    if not done.exists():
        print(f"installing {package} {version} into {folder} (some minutes)", flush=True)
        for command in (
            [sys.executable, "-m", "venv", "--clear", str(folder)],
            [str(python), "-m", "pip", "install", "--quiet", f"{package}=={version}"],
        ):
            result = subprocess.run(command, capture_output=True, text=True)
            if result.returncode:
                raise SystemExit(f"failed: {' '.join(command)}\n{(result.stdout + result.stderr)[-3000:]}")
        done.touch()
    return python
