"""Where the real data lie: $POSE_DATA, else ../shared/data beside the checkout. Never copied in here."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

ROOT = Path(os.environ.get("POSE_DATA") or Path(__file__).resolve().parents[2] / "shared" / "data")


def need(name: str) -> Path:
    """Folder `name` of the real data, or skip the test with a reason."""
    path = ROOT / name
    if not path.exists():
        pytest.skip(f"real data not at hand: {path} (set POSE_DATA)")
    return path
