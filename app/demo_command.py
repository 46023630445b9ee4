"""`zoo demo`: poses on a video with the embedded weights, tables and labelled video, in one command."""

# ruff: noqa: T201 - printing is what a command line is for
from __future__ import annotations

import argparse
import os
from pathlib import Path

_VIDEO = "openfield-Pranav-2018-10-30/videos/m3v1mp4.mp4"
_FRAMES, _SEED = 300, 4


def add_to(commands: argparse._SubParsersAction) -> None:
    """Add the subcommand to the parser."""
    demo = commands.add_parser(
        "demo",
        help="predict poses on an example video",
        description="Takes the openfield video under $POSE_DATA or ../shared/data if it is there, or renders "
        "a synthetic mouse; then does what `zoo predict` does. Replaces the results of an earlier demo.",
    )
    demo.add_argument("--out", type=Path, required=True, help="folder for video, tables and labelled video")
    demo.set_defaults(run=run_demo)


def run_demo(arguments: argparse.Namespace) -> int:
    """Find or render a video, then predict."""
    from app.cli import main
    from superset_vocab.files import make_folder

    make_folder(arguments.out)
    real = Path(os.environ.get("POSE_DATA") or Path("..") / "shared" / "data") / _VIDEO
    video = real if real.is_file() else _render(arguments.out)
    print(f"zoo demo: predicting poses on {video}")
    embedded = ["--variant", "compact"]  # no download in a demo
    return main(["predict", str(video), *embedded, "--out", str(arguments.out / "poses"), "--overwrite"])


def _render(out: Path) -> Path:
    """Render a synthetic video, unless an earlier demo has."""
    from app.cli import main

    video = out / "synthetic_openfield.mp4"
    if not video.exists():
        print(f"zoo demo: no real video at hand, rendering {_FRAMES} frames of a synthetic mouse")
        options = ["--labs", "openfield", "--frames", str(_FRAMES), "--seed", str(_SEED), "--video"]
        code = main(["synthesize", "--out", str(out), *options])
        if code:
            raise SystemExit(code)
    return video
