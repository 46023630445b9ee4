"""Where files lay on somebody's disk is not published: the folders tell who they are, and help nobody."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from hub_cards.bundles import Content
from superset_vocab.files import read_json

_WHOLE = re.compile(r"(?:[A-Za-z]:)?[/\\].*[/\\](?P<name>[^/\\]+)[/\\]?", re.DOTALL)
_INSIDE = re.compile(r"(?<![^\s='\"(\[,])(?:[A-Za-z]:)?(?:[/\\][^\s/\\'\"]+)+[/\\](?P<name>[^\s/\\'\"]+)")


def without_local_paths(value: Any) -> Any:
    """A JSON value in which every absolute path is cut to its last part, also inside a sentence."""
    if isinstance(value, dict):
        return {key: without_local_paths(entry) for key, entry in value.items()}
    if isinstance(value, list):
        return [without_local_paths(entry) for entry in value]
    if not isinstance(value, str):
        return value
    whole = _WHOLE.fullmatch(value)
    return whole["name"] if whole else _INSIDE.sub(lambda found: found["name"], value)


def public_labels(path: Path) -> Content:
    """The annotations.json that is published: the file, or its content with the paths in its history cut."""
    document = read_json(path)
    info = without_local_paths(document["info"])
    if info == document["info"]:
        return path
    return json.dumps({**document, "info": info}, ensure_ascii=False, allow_nan=False).encode() + b"\n"
