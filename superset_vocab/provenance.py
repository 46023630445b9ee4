"""Where a result came from: the version of this package and the operations applied.

An operation is a plain dict, `{"name": ..., **parameters}`, so that it goes into JSON as it is.
"""

from __future__ import annotations

import tomllib
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

DISTRIBUTION = "superanimal-zoo"


def package_version() -> str:
    """Version of this package; in a checkout that is not installed, pyproject's with "+source".

    "0+unknown" where neither an installed distribution nor a pyproject.toml is found.
    """
    try:
        return metadata.version(DISTRIBUTION)
    except metadata.PackageNotFoundError:
        return _source_version(Path(__file__).parents[1] / "pyproject.toml")


def _source_version(pyproject: Path) -> str:
    """Version stated in a checkout's pyproject.toml."""
    try:
        project = tomllib.loads(pyproject.read_text(encoding="utf-8"))["project"]
    except (OSError, tomllib.TOMLDecodeError, KeyError):
        return "0+unknown"
    return f"{project['version']}+source" if project.get("name") == DISTRIBUTION else "0+unknown"


def operation(name: str, **parameters: Any) -> dict[str, Any]:
    """One applied operation with its parameters, as JSON can hold them.

    Args:
        name: What was done, e.g. "project".
        parameters: Its options; paths become text, arrays and tuples become lists.
    """
    return {"name": name, **{key: _plain(value) for key, value in parameters.items()}}


def _plain(value: Any) -> Any:
    """A JSON value that says the same."""
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, np.ndarray | np.generic):
        return value.tolist()
    return value if value is None or isinstance(value, bool | int | float | str) else str(value)
