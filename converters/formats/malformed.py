"""Saying what is wrong with an entry of a label file that broke while it was read."""

from __future__ import annotations


def reason(error: KeyError | TypeError | ValueError) -> str:
    """What a user needs to know of an error: the missing entry, or the text."""
    return f"has no {error}" if isinstance(error, KeyError) else str(error)
