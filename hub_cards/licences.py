"""Licences as the Hub's metadata name them.

Sources state their licences in words ("CC BY 4.0", "no licence file; ..."). The Hub knows a list of
identifiers (https://huggingface.co/docs/hub/repositories-licenses). Words that are a licence of that list,
with at most a remark in brackets, become its identifier; where none is stated it is "unknown", all else is
"other". The words themselves stand in the card's text: metadata never make a licence freer than it is.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from superset_vocab.records import UNKNOWN_LICENCE

# Words, normalised -> identifier. What only resembles one of these is "other".
_IDENTIFIERS = {
    "cc0": "cc0-1.0",
    "cc0 1.0": "cc0-1.0",
    "cc by 3.0": "cc-by-3.0",
    "cc by 4.0": "cc-by-4.0",
    "cc by sa 3.0": "cc-by-sa-3.0",
    "cc by sa 4.0": "cc-by-sa-4.0",
    "cc by nc 3.0": "cc-by-nc-3.0",
    "cc by nc 4.0": "cc-by-nc-4.0",
    "cc by nd 4.0": "cc-by-nd-4.0",
    "cc by nc nd 4.0": "cc-by-nc-nd-4.0",
    "cc by nc sa 4.0": "cc-by-nc-sa-4.0",
    "apache 2.0": "apache-2.0",
    "mit": "mit",
    "bsd 3 clause": "bsd-3-clause",
    "gpl 3.0": "gpl-3.0",
    "lgpl 3.0": "lgpl-3.0",
    "agpl 3.0": "agpl-3.0",
    "odbl": "odbl",
    "pddl": "pddl",
}
_NONE_STATED = re.compile(r"(|unknown|(none|not) stated\b.*|no licen[cs]e( file)?\b.*)", re.DOTALL)


def licence_identifier(words: str) -> str:
    """The Hub's identifier for a licence in words: one of its list, "unknown" or "other".

    One remark in brackets at the end does not count: "CC BY-NC 4.0 (Horse-10)" is cc-by-nc-4.0.
    """
    if _NONE_STATED.fullmatch(words.strip().lower()):
        return UNKNOWN_LICENCE
    bare = re.sub(r"\([^()]*\)\s*$", "", words.lower())
    plain = " ".join(re.sub(r"[-_\s]+", " ", bare).split())
    return _IDENTIFIERS.get(re.sub(r" licen[cs]e$", "", plain), "other")


def licence_identifiers(licences: Iterable[str]) -> list[str]:
    """The identifiers of several licences, each once, sorted."""
    return sorted({licence_identifier(words) for words in licences})
