"""`zoo app`: the demo in a browser."""

# ruff: noqa: T201 - printing is what a command line is for
from __future__ import annotations

import argparse
import signal
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
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
        "--pool",
        metavar="SOURCE",
        help="pictures for the tab Annotate: a folder, or hf://OWNER/NAME@REVISION of a dataset on the Hub; "
        "goes with --annotations",
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
        "--contribute-to",
        default="",
        metavar="OWNER/NAME",
        help="dataset repository on the Hub to which the tab Contribute opens pull requests, with the token "
        "of `hf auth login` or HF_TOKEN",
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

    if arguments.contribute_to:
        from hub_cards.hub_errors import require_token

        require_token(arguments.contribute_to)
    pool, origin = _pool(arguments.pool)
    with _ended_by_signals(), tempfile.TemporaryDirectory(prefix="zoo-app-") as root:
        settings = Settings(
            root=Path(root),
            examples=arguments.examples,
            contribute_to=arguments.contribute_to,
            pool=pool,
            pool_origin=origin,
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


@contextmanager
def _ended_by_signals() -> Iterator[None]:
    """What ends a service or a container, or closes a terminal, is as Ctrl+C: visitors' files are removed."""
    numbers = [getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]
    before = [signal.signal(number, signal.default_int_handler) for number in numbers]
    try:
        yield
    finally:
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)


def _pool(source: str | None) -> tuple[Path | None, str]:
    """The folder of the pictures to annotate, downloaded if need be, and where they are from."""
    from zoo.published import SCHEME

    if source is None or not source.startswith(SCHEME):
        return (None if source is None else Path(source)), ""
    from app.web.guards import IMAGE_SUFFIXES
    from hub_cards import fetch_pictures

    return fetch_pictures(source, IMAGE_SUFFIXES)
