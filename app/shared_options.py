"""Options that several subcommands have, and what becomes of them."""

# ruff: noqa: T201 - printing is what a command line is for
from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from superset_vocab.errors import InputError

if TYPE_CHECKING:
    from zoo import Model

DEFAULT_MODEL = "superanimal_topviewmouse"


def add_model_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that choose a model's networks and weights; `load_chosen` reads them."""
    parser.add_argument("--variant", help="which network of the model; default: the model's own")
    parser.add_argument("--weights", type=Path, help="file to take the pose network's weights from")
    parser.add_argument(
        "--detector", help="which detector; 'none' for the whole frame, or a .json of boxes (COCO results)"
    )
    parser.add_argument("--detector-weights", type=Path, help="file to take the detector's weights from")
    parser.add_argument(
        "--box-category", help="of a .json of boxes only this category: its number, or its name in the file"
    )
    parser.add_argument(
        "--strict",
        action="store_true",
        help="fail rather than take the embedded weights where the published ones cannot be had",
    )
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N; default: %(default)s")


def load_chosen(arguments: argparse.Namespace) -> Model:
    """The model that the command line names; tells on stderr if the embedded one stands in."""
    import warnings

    import zoo

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", zoo.EmbeddedWeightsWarning)
        model = zoo.load(
            arguments.model,
            arguments.variant,
            arguments.device,
            weights=arguments.weights,
            detector=arguments.detector,
            detector_weights=arguments.detector_weights,
            box_category=number_or_word(arguments.box_category),
            allow_embedded=False if arguments.strict else None,
        )
    for one in caught:
        print(f"zoo: warning: {one.message}", file=sys.stderr)
    return model


def load_unless_names_only(arguments: argparse.Namespace) -> Model | None:
    """The model whose poses help to match keypoints; None with `--names-only`.

    Raises:
        InputError: If no model is wanted and yet one is described.
    """
    if not arguments.names_only:
        return load_chosen(arguments)
    described = ("variant", "weights", "detector", "detector_weights", "box_category", "strict")
    given = [f"--{name.replace('_', '-')}" for name in described if getattr(arguments, name)]
    if given:
        raise InputError(f"{', '.join(given)} has no effect with --names-only; leave one out")
    return None


def number_or_word(text: str | None) -> int | str | None:
    """The number that was given, or the word, which the library checks."""
    return int(text) if text is not None and text.isdecimal() else text


def add_preset(parser: argparse.ArgumentParser) -> None:
    """Add `--preset`; `preset_options` has its meaning."""
    parser.add_argument(
        "--preset", choices=("paper",), help="paper: crops with a context of 1.25, and flip test"
    )


def preset_options(preset: str | None) -> dict[str, Any]:
    """What a preset says to `Model.predict`."""
    from zoo.model import PAPER

    return PAPER if preset == "paper" else {}


def add_matching_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of keypoint matching."""
    parser.add_argument("--names-only", action="store_true", help="use no model: match by the names alone")
    parser.add_argument(
        "--min-confidence", type=float, default=0.8, help="below it no pair is proposed; default: %(default)s"
    )
    parser.add_argument("--max-images", type=int, default=200, help="to match by; default: %(default)s")
    parser.add_argument("--quiet", action="store_true", help="no progress bar")


def add_option_argument(parser: argparse.ArgumentParser, what: str) -> None:
    """Add `--option NAME=VALUE`, which may be given several times."""
    parser.add_argument(
        "--option", action="append", default=[], metavar="NAME=VALUE", help=f"an option {what}; repeatable"
    )


def parse_options(texts: Sequence[str]) -> dict[str, str]:
    """The options by name.

    Raises:
        InputError: If one has no "=" or is given twice.
    """
    options: dict[str, str] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals or not name:
            raise InputError(f"--option {text!r} is not NAME=VALUE")
        if name in options:
            raise InputError(f"--option {name} is given twice")
        options[name] = value
    return options


def add_overrides(parser: argparse.ArgumentParser, what: str) -> None:
    """Add `--set TABLE.ENTRY=VALUE`, which may be given several times; `arguments.overrides` has them."""
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="TABLE.ENTRY=VALUE",
        dest="overrides",
        help=f"change the {what}; may be repeated",
    )
