"""The curves of a run as a picture, curves.png: losses, what was measured, and the learning rate.

matplotlib is imported when a picture is drawn, and without a display; where it is not installed there is no
picture, and the tables (log.csv, validation.csv) have all that would be on it.
"""

from __future__ import annotations

import importlib.util
import logging
from pathlib import Path
from typing import Any

from superset_vocab.files import atomic_path
from training.checkpoints import read_log

_log = logging.getLogger(__name__)
_ASIDE = ("step", "learning_rate", "samples_per_second", "seconds")


def draw_curves(folder: Path) -> Path | None:
    """Draw curves.png from the tables in the folder of a run.

    Args:
        folder: With log.csv, and validation.csv if there was validation.

    Returns:
        The picture; None if there is nothing to draw yet, or matplotlib is not installed.
    """
    rows = read_log(folder / "log.csv")
    measured = folder / "validation.csv"
    measurements = read_log(measured) if measured.is_file() else []
    if not rows:
        return None
    if importlib.util.find_spec("matplotlib") is None:
        _log.info("no curves.png: matplotlib is not installed")
        return None
    from matplotlib.figure import Figure  # without pyplot: no global state, no display

    panels = _panels(rows, measurements)
    figure = Figure(figsize=(4.5 * len(panels), 3.2), layout="constrained")
    for axes, (title, curves, logarithmic) in zip(
        figure.subplots(1, len(panels), squeeze=False)[0], panels, strict=True
    ):
        _draw(axes, title, curves, logarithmic)
    target = folder / "curves.png"
    with atomic_path(target) as temporary:
        figure.savefig(temporary, dpi=110)
    return target


_Curves = dict[str, tuple[list[float], list[float]]]


def _panels(
    rows: list[dict[str, float]], measurements: list[dict[str, float]]
) -> list[tuple[str, _Curves, bool]]:
    """Title, curves by name as (steps, values), and whether the axis is logarithmic."""
    losses = {name: _curve(rows, name) for name in rows[0] if name not in _ASIDE}
    others: list[tuple[str, _Curves, bool]] = []
    for name in measurements[0] if measurements else ():
        if name == "loss":
            losses["validation loss"] = _curve(measurements, name)
        elif name != "step":
            others.append((f"validation: {name}", {name: _curve(measurements, name)}, False))
    rate = {"learning rate": _curve(rows, "learning_rate")}
    return [("loss", losses, True), *others, ("learning rate", rate, False)]


def _curve(rows: list[dict[str, float]], name: str) -> tuple[list[float], list[float]]:
    return [row["step"] for row in rows], [row[name] for row in rows]


def _draw(axes: Any, title: str, curves: _Curves, logarithmic: bool) -> None:
    for name, (steps, values) in curves.items():
        axes.plot(steps, values, label=name, marker="." if len(steps) < 30 else None, linewidth=1.2)
    if logarithmic and all(value > 0 for _, values in curves.values() for value in values):
        axes.set_yscale("log")
    axes.set_title(title, fontsize=10)
    axes.set_xlabel("step")
    axes.grid(alpha=0.3)
    if len(curves) > 1:
        axes.legend(fontsize=7)
