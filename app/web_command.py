"""`zoo app`: the demo in a browser."""

# ruff: noqa: T201 - printing is what a command line is for
from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path


def add_to(commands: argparse._SubParsersAction) -> None:
    """Add the subcommand to the parser."""
    app = commands.add_parser(
        "app",
        help="the demo in a browser",
        description="Serves a page on which visitors try models and correct what they say. Their files live "
        "in a temporary folder and are removed.",
    )
    app.add_argument(
        "--host", default="127.0.0.1", help="address to listen on; default: %(default)s, this machine only"
    )
    app.add_argument("--port", type=int, help="default: the first free one from 7860 on")
    app.add_argument(
        "--examples", type=Path, help="folder of images and videos that visitors can choose from"
    )
    app.add_argument(
        "--pool", type=Path, help="folder of pictures for the tab Annotate; goes with --annotations"
    )
    app.add_argument("--annotations", type=Path, help="folder in which the pool's annotations are kept")
    app.add_argument(
        "--vocabulary",
        default="superanimal_topviewmouse",
        help="vocabulary of the pool's keypoints; default: %(default)s",
    )
    app.add_argument(
        "--keypoints",
        default="",
        help="those of them that the pool's view shows, comma-separated; default: all",
    )
    app.add_argument(
        "--merge-annotations",
        type=Path,
        metavar="DIR",
        help="write what was annotated so far as a superset dataset with agreement.json, and end",
    )
    app.add_argument("--max-seconds", type=float, default=120.0, help="longest video; default: %(default)s")
    app.add_argument(
        "--max-waiting", type=int, default=20, help="visitors that may wait; default: %(default)s"
    )
    app.set_defaults(run=run_app)


def run_app(arguments: argparse.Namespace) -> int:
    """Serve until interrupted."""
    start = time.monotonic()
    import gradio  # noqa: F401 - a missing extra is said before anything is prepared

    from app.web.annotations import Pool
    from app.web.main import serve
    from app.web.settings import Settings

    with tempfile.TemporaryDirectory(prefix="zoo-app-") as root:
        settings = Settings(
            root=Path(root),
            examples=arguments.examples,
            pool=arguments.pool,
            annotations=arguments.annotations,
            pool_vocabulary=arguments.vocabulary,
            pool_keypoints=tuple(name.strip() for name in arguments.keypoints.split(",") if name.strip()),
            max_seconds=arguments.max_seconds,
            max_waiting=arguments.max_waiting,
        )
        if arguments.merge_annotations is not None:
            labels = Pool.of(settings).merge(arguments.merge_annotations)
            print(f"{arguments.merge_annotations}: {len(labels)} labelled pictures")
            return 0
        serve(
            settings,
            host=arguments.host,
            port=arguments.port,
            on_ready=lambda address: print(
                f"zoo app: {address} (after {time.monotonic() - start:.1f} s; Ctrl+C ends it)", flush=True
            ),
        )
    return 0
