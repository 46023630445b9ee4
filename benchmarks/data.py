"""Where the real data lie: $POSE_DATA, else ../shared/data beside the checkout."""

from __future__ import annotations

import os
from pathlib import Path

DATA = Path(os.environ.get("POSE_DATA") or Path(__file__).resolve().parents[2] / "shared" / "data")
VIDEO = "openfield-Pranav-2018-10-30/videos/m3v1mp4.mp4"


def need(name: str) -> Path:
    """A folder or file of the real data.

    Raises:
        SystemExit: If it is not there; a benchmark without its data has nothing to say.
    """
    path = DATA / name
    if not path.exists():
        raise SystemExit(f"real data not at hand: {path} (set POSE_DATA)")
    return path
