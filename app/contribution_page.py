"""The page of a contribution: map, evidence, previews, validation and card in one HTML file.

Nothing is loaded from elsewhere: pictures stand in the page itself, and its policy forbids scripts. Every
text is escaped by the template: names come from strangers.
"""

from __future__ import annotations

import base64
import math
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from adaptation.keypoint_files import AFFINITY, EVIDENCE, MAP, PREVIEWS
from adaptation.keypoint_matching import percent
from superset_vocab.files import atomic_path

if TYPE_CHECKING:
    from jinja2 import Template

    from app.contribution import Story

_FINDINGS = 20  # on this page; validation.html has all, with pictures


def write_page(story: Story, out: Path) -> Path:
    """Write `out`/index.html, atomically.

    Args:
        story: What there is to tell.
        out: The folder with the pictures of `adaptation.keypoint_files.write_matching`.
    """
    affinity = out / AFFINITY
    text = _template().render(
        story=story,
        matching=story.matching,
        rows=[_row(story, i) for i in range(len(story.matching.proposals))],
        untrained=_untrained(story),
        affinity=_data(affinity, "png") if story.matching.evidence.n_animals and affinity.is_file() else "",
        previews=[_data(path, "jpeg") for path in sorted((out / PREVIEWS).glob("*.jpg"))],
        findings=list(story.validation.findings[:_FINDINGS]) if story.validation else [],
        files=[
            name for name in (MAP, EVIDENCE, "validation.html", "validation.json") if (out / name).exists()
        ],
        dataset=(out / "dataset").is_dir(),
    )
    target = out / "index.html"
    with atomic_path(target) as temporary:
        temporary.write_text(text, encoding="utf-8")
    return target


@lru_cache
def _template() -> Template:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("app"),
        undefined=StrictUndefined,
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("contribution.html.jinja")


def _row(story: Story, i: int) -> dict[str, Any]:
    """One keypoint: what the map says, and the evidence, in words."""
    proposal = story.matching.proposals[i]
    target = story.targets[proposal.source]
    colours, index = story.matching.vocabulary.colours, story.matching.vocabulary.index
    return {
        "source": proposal.source,
        "target": target,
        "colour": "#{:02x}{:02x}{:02x}".format(*colours[index[target]]) if target else "",
        "changed": target != proposal.target,
        "best": proposal.best,
        "confidence": percent(proposal.confidence),
        "width": round(100 * proposal.confidence),
        "images": f"{proposal.affinity:.0%} of {proposal.n_animals}"
        if math.isfinite(proposal.affinity)
        else "none",
        "distance": f"{proposal.distance:.1%}" if math.isfinite(proposal.distance) else "-",
        "names": proposal.relation.words,
        "next": f"{proposal.runner_up} ({percent(proposal.runner_up_probability)})",
        "reason": proposal.reason,
    }


def _untrained(story: Story) -> list[str]:
    """Channels that the model never learned, where it looked at images at all."""
    evidence = story.matching.evidence
    if not evidence.n_animals:
        return []
    names = story.matching.vocabulary.keypoints
    return [name for name, known in zip(names, evidence.known, strict=True) if not known]


def _data(path: Path, kind: str) -> str:
    """A picture as an address that holds it."""
    return f"data:image/{kind};base64,{base64.b64encode(path.read_bytes()).decode('ascii')}"
