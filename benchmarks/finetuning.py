"""Fine-tuning on real data: how many labels it saves, and what it forgets.

    python -m benchmarks.finetuning WHAT --out runs/finetuning [--minutes 4]

WHAT is openfield, openfield_long, horse, forgetting, or all.

openfield and horse run the paper's protocol (`zoo benchmark`) on openfield-Pranav with the embedded mouse
model and on BrownHorseinShadow with the embedded quadruped model, neither of which has seen them. The
schedules are short, and the same for every way. What is done is kept: start it again and it goes on.
forgetting fine-tunes on ten openfield frames and looks at the other 23 keypoints elsewhere.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from benchmarks.data import horse_project, need

SPECS = Path(__file__).parent / "finetuning_specs"
# lab -> frames, seed: rendered mice that no training has seen
LABS = {"wild": (150, 77), "spine": (100, 78)}
METHODS = ("naive", "replay")


def protocol(name: str, out: Path, minutes: float | None) -> None:
    """One benchmark, as far as the time goes, and its report."""
    from adaptation.benchmark_protocol import run_benchmark
    from adaptation.benchmark_report import write_report
    from adaptation.benchmark_spec import load_benchmark

    if name.startswith("openfield"):
        source = need("openfield-Pranav-2018-10-30")
    else:
        source = out / "horse_project" / "labeled-data" / "BrownHorseinShadow" / "CollectedData_human.h5"
        if not source.exists():
            horse_project(out / "horse_project")
    benchmark = load_benchmark(SPECS / f"{name}.toml", [f"data.source={json.dumps(str(source))}"])
    folder = out / name
    write_report(benchmark, run_benchmark(benchmark, folder, minutes=minutes), folder)
    print((folder / "benchmark.md").read_text())


def forgetting(out: Path) -> None:
    """Naive and replayed fine-tuning on ten openfield frames: the other keypoints, elsewhere."""
    import zoo
    from adaptation.fine_tuning import choose_frames, fine_tune
    from adaptation.memory_replay import Replay
    from training.comparison import forgetting, target_keypoints

    data, model = elsewhere(out / "data"), zoo.load("superanimal_topviewmouse", "compact")
    used, rest = choose_frames(data["openfield"], 10, seed=1)
    data["openfield"] = rest
    defined = target_keypoints(used)
    lines = []
    for method in METHODS:
        folder = out / "forgetting" / method
        replay = Replay(bboxes="labels") if method == "replay" else None
        tuned = fine_tune(model, used, folder, method=method, replay=replay, resume=True)
        for name, labels in data.items():
            found = forgetting(model, tuned, labels, defined, split=f"{method}, {name}")
            (out / "forgetting" / f"{method}_{name}.json").write_text(json.dumps(found.to_dict(), indent=1))
            lines.append(found.table())
    text = "\n".join(lines)
    (out / "forgetting.txt").write_text(text + "\n")
    print(text)


def elsewhere(folder: Path) -> dict:
    """Name -> labels: the target, rendered mice with all keypoints, and alphatracker with four."""
    from converters import convert, convert_labels, load_superset
    from converters.synthetic import LABS as ALL_LABS
    from converters.synthetic import synthesize
    from training.splits import select_groups

    folder.mkdir(parents=True, exist_ok=True)
    found = {}
    for name, (n_frames, seed) in LABS.items():
        target = folder / f"rendered_{name}"
        if not target.exists():
            raw = synthesize(ALL_LABS[name], n_frames, folder / f"raw_{name}", seed=seed)
            convert_labels(raw, ALL_LABS[name].dataset, target)
        found[f"rendered {name}"] = load_superset(target)
    for name, source, used_map in (
        ("openfield", "openfield-Pranav-2018-10-30", "dlc-openfield"),
        ("alphatracker", "alphatracker_train9", "alphatracker_train9"),
    ):
        if not (folder / name).exists():
            convert(need(source), used_map, folder / name)
        found[name] = load_superset(folder / name)
    found["alphatracker"] = select_groups(found["alphatracker"], ("2019-11-04",))  # never trained on
    return found


def main() -> None:
    """Run what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=("all", "openfield", "openfield_long", "horse", "forgetting"))
    parser.add_argument("--out", type=Path, default=Path("runs/finetuning"))
    parser.add_argument("--minutes", type=float, help="begin no further run after this time")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    for name in ("openfield", "openfield_long", "horse"):
        if arguments.what in ("all", name):
            protocol(name, arguments.out, arguments.minutes)
    if arguments.what in ("all", "forgetting"):
        forgetting(arguments.out)


if __name__ == "__main__":
    main()
