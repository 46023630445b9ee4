"""What making an embedded model has in common: trainings in stages, packing what came out, its record.

Every training that is done already is skipped and a stopped one goes on, so that a script which uses
this can be started again after a kill.
"""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from hub_cards.run_record import with_evaluations
from superset_vocab.files import write_json

if TYPE_CHECKING:
    from training.evaluate import Report

ROOT = Path(__file__).parents[1]


def arguments(description: str | None) -> argparse.Namespace:
    """The command line: --out, the folder of data and runs."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--out", type=Path, default=Path("runs"), help="folder for data and runs")
    parsed = parser.parse_args()
    if parsed.out != Path("runs"):
        parser.error("the recipes name runs/...; run from the project folder with --out runs")
    return parsed


def train_stages(out: Path, stages: Mapping[str, str]) -> None:
    """Train run name -> recipe name, one after the other, each resumed where it stopped."""
    from training.from_recipe import train

    for run, recipe in stages.items():
        folder = out / run
        if not (folder / "run.json").exists():
            train(recipe, folder, resume=(folder / "checkpoint.pt").exists())


def pack(out: Path, name: str, parts: Mapping[str, str], stages: Iterable[str], made_by: str) -> str:
    """Put trained networks into one weights file, its hash into the model's spec, and write the record.

    Args:
        out: Folder of the runs.
        name: "<model>.<variant>", the stem of the spec and the weights.
        parts: "pose" and "detector" -> name of the run that has its weights.
        stages: All runs that led there; their run.json goes into the record.
        made_by: The command, for the record.

    Returns:
        SHA-256 of the weights file.
    """
    from safetensors.torch import load_file

    from zoo.networks import build
    from zoo.weight_files import save_weights

    networks = {}
    for part, run in parts.items():
        network = json.loads((out / run / "run.json").read_text())["recipe"]["network"]
        networks[part] = build(network["name"], **network["options"])
        networks[part].load_state_dict(load_file(out / run / "weights.safetensors"))
    runs = {run: json.loads((out / run / "run.json").read_text()) for run in stages}
    sha256 = save_weights(ROOT / "zoo" / "weights" / f"{name}.safetensors", networks)
    spec = ROOT / "zoo" / "models" / f"{name}.toml"
    spec.write_text(re.sub(r'sha256 = "[0-9a-f]*"', f'sha256 = "{sha256}"', spec.read_text()))
    write_json(_record(name), {"sha256": sha256, "made_by": made_by, "runs": runs})
    return sha256


def record_evaluations(name: str, reports: Sequence[Report]) -> None:
    """Put evaluations of an embedded model into its run record, from where its card has all figures.

    Args:
        name: "<model>.<variant>".
        reports: Of these weights; each replaces an older one of the same split and boxes.
    """
    content = json.loads(_record(name).read_text())
    content = with_evaluations(content, [report.to_dict() for report in reports])
    write_json(_record(name), content)


def _record(name: str) -> Path:
    return ROOT / "zoo" / "weights" / f"{name}.json"
