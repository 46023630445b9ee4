"""TOML read with errors that a user understands, and written, which the standard library does not do.

What is written has one line for each entry, and its tables in the given order.
"""

from __future__ import annotations

import json
import math
import re
import tomllib
from collections.abc import Mapping
from importlib.resources.abc import Traversable
from typing import Any

from superset_vocab.errors import InputError


def toml_names(folder: Traversable) -> list[str]:
    """The names of a folder's .toml files, without their ending, sorted."""
    return sorted(file.name.removesuffix(".toml") for file in folder.iterdir() if file.name.endswith(".toml"))


def parse_toml(text: str, what: str) -> dict[str, Any]:
    """The content of a TOML file.

    Args:
        text: Its text.
        what: Its name, for errors.

    Raises:
        InputError: If it is no TOML.
    """
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise InputError(f"{what}: not a TOML file: {error}") from error


def toml_table(name: str, entries: Mapping[str, Any]) -> str:
    """A table as text: its header, if it has a name, and a line for each entry.

    Args:
        name: Header of the table, e.g. "pose" or "detectors.compact"; "" for the entries at the top.
        entries: Values that TOML has: text, numbers, booleans, lists and mappings of such.
    """
    lines = [f"{toml_key(key)} = {toml_value(value)}" for key, value in entries.items()]
    return "\n".join([*([f"[{name}]"] if name else []), *lines]) + "\n"


def toml_key(key: str) -> str:
    """A TOML key, quoted where needed."""
    return key if re.fullmatch(r"[A-Za-z0-9_-]+", key) else toml_value(key)


def toml_value(value: Any) -> str:
    """A TOML value on one line."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float) and not math.isfinite(value):
        return "nan" if math.isnan(value) else ("inf" if value > 0 else "-inf")
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{toml_key(k)} = {toml_value(v)}" for k, v in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(toml_value(v) for v in value) + "]"
    if isinstance(value, str):  # a JSON string is a TOML basic string, but for DEL
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    return repr(value)
