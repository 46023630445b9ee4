"""Templates and metadata of cards.

A card is Markdown with a block of YAML metadata in front, as huggingface-hub's card classes read and check
it. What authors write goes into the templates as plain text: markup of theirs is not run.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from functools import lru_cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from huggingface_hub import CardData
    from jinja2 import Environment

TASK = "keypoint-detection"


def render(template: str, data: CardData, **content: Any) -> str:
    """A card: its metadata, and a template filled with its content.

    Args:
        template: Name of a file in `hub_cards/templates`.
        data: The metadata, as huggingface-hub's `ModelCardData` or `DatasetCardData`.
        content: What the template names; a name that is missing is an error, not an empty place.
    """
    body = _environment().get_template(template).render(**content)
    return f"---\n{data.to_yaml(line_break=chr(10))}\n---\n\n{body.strip()}\n"


@lru_cache
def _environment() -> Environment:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    # Markdown, not HTML: what strangers wrote passes through the filters `line` and `text`.
    environment = Environment(
        loader=PackageLoader("hub_cards"),
        undefined=StrictUndefined,
        autoescape=False,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {"line": line, "text": text, "row": row}
    return environment


def line(value: object) -> str:
    """Text in one line, for a heading, an entry of a list or a cell of a table."""
    plain = " ".join(str(value).split())
    return plain.replace("&", "&amp;").replace("<", "&lt;").replace("|", "\\|").replace("*", "\\*")


def text(value: object) -> str:
    """Text of several paragraphs, without the markup that could leave its place."""
    paragraphs = str(value).replace("\r\n", "\n").split("\n\n")
    return "\n\n".join(line(paragraph) for paragraph in paragraphs if paragraph.strip())


def row(cells: Iterable[object]) -> str:
    """One row of a table."""
    return f"| {' | '.join(line(cell) for cell in cells)} |"


def percent(share: float) -> str:
    """A share in whole percent; "-" for NaN."""
    return "-" if math.isnan(share) else f"{100 * share:.0f} %"
