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


def horse_project(scratch: Path) -> Path:
    """The label file of BrownHorseinShadow with its video's frames beside it, as DeepLabCut keeps them.

    Args:
        scratch: Folder for the frames; the data hold the video only.
    """
    import shutil

    import cv2

    source = need("horse10_BrownHorseinShadow")
    folder = scratch / "labeled-data" / "BrownHorseinShadow"
    folder.mkdir(parents=True)
    reader = cv2.VideoCapture(str(source / "BrownHorseinShadow.mp4"))
    number = 50  # the labels name the first frame 0050.png
    while True:
        there, frame = reader.read()
        if not there:
            break
        cv2.imwrite(str(folder / f"{number:04d}.png"), frame)
        number += 1
    return Path(shutil.copy(source / "BrownHorseinShadow_gt.h5", folder / "CollectedData_human.h5"))
