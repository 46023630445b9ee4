"""Keypoint matching: how often proposals are right, how often refused, and whether the confidence is true.

    python -m benchmarks.matching [--plot FILE.svg]    the report: tables, and the calibration plot
    python -m benchmarks.matching --fit                makes adaptation/data/matching_weights.toml again

Real laboratories: openfield-Pranav (own names, and hidden), alphatracker (hidden), BrownHorse (Near/Off).
Invented ones: `benchmarks.matching_labs`, with frames, languages and name lists that the fit has not seen.
Beside the method stand the paper's procedure alone (which always proposes), images alone and names alone.
"""

from __future__ import annotations

import argparse
import tempfile
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from adaptation.keypoint_choice import (
    FEATURES,
    IMAGE,
    KINDS,
    NAMES,
    REFUSALS,
    WEIGHTS,
    Problem,
    Weights,
    assign,
    pose_problem,
    share,
)
from adaptation.keypoint_evidence import no_images, observe, weigh
from adaptation.keypoint_fitting import fit, platt
from adaptation.keypoint_matching import MIN_CONFIDENCE, paper_matching, propose
from adaptation.keypoint_names import mirrored_pairs, understand
from benchmarks.data import horse_project, need
from benchmarks.matching_labs import Lab, invent, mouse_pools, quadruped_pools
from superset_vocab import load_map

FIT_SEED, REPORT_SEED = 501, 601
N_FIT, N_PLATT, N_REPORT = 700, 500, 300
_KIND_FEATURES = {"both": FEATURES, "images": IMAGE, "names": NAMES}
_KIND_REFUSALS = {
    "both": REFUSALS,
    "images": ("none", "none_far", "none_no_images"),
    "names": ("none", "none_no_such_part", "none_name_unknown"),
}


@dataclass
class Tally:
    """Outcomes of keypoints: proposals right and wrong, refusals of what has none and of what has one."""

    right: int = 0
    wrong: int = 0
    refused_rightly: int = 0
    refused_though: int = 0

    def add(self, target: str | None, truth: str | None, also: Sequence[str] = ()) -> None:
        """Count one keypoint; `also` are counterparts that are no mistake either."""
        if target is None:
            self.refused_rightly += truth is None
            self.refused_though += truth is not None
        elif target == truth or target in also:
            self.right += 1
        else:
            self.wrong += 1

    def row(self) -> str:
        """Accuracy of the proposals, fraction refused, and the counts."""
        proposed = self.right + self.wrong
        refused = self.refused_rightly + self.refused_though
        accuracy = f"{self.right / proposed:6.1%}" if proposed else "     -"
        return (
            f"{accuracy} of {proposed:5d}   refused {refused / max(proposed + refused, 1):5.1%} "
            f"({self.refused_rightly} rightly, {self.refused_though} that have one)"
        )


def main() -> None:
    """Fit, or report."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--fit", action="store_true", help="fit the weights again and write them")
    parser.add_argument("--scratch", type=Path, help="keep what was predicted here, and take it from here")
    parser.add_argument(
        "--labs", choices=("real", "invented", "all"), default="all", help="which to report on"
    )
    parser.add_argument("--plot", type=Path, help="write the calibration plot (.svg, .png)")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        scratch = chosen.scratch or Path(temporary)
        if chosen.fit:
            write_weights(scratch)
        else:
            print(f"least confidence of a proposal {MIN_CONFIDENCE:.0%}\n")
            if chosen.labs != "invented":
                report_real()
            if chosen.labs != "real":
                report_invented(scratch, chosen.plot)


def labs_of(scratch: Path, calibration: bool, n: int, seed: int) -> list[Lab]:
    """Invented laboratories, two thirds of mice, a third of quadrupeds."""
    mice = mouse_pools(scratch, FIT_SEED if calibration else REPORT_SEED)
    quadrupeds = quadruped_pools(scratch, 0 if calibration else 1)
    rng = np.random.default_rng(seed)
    return [invent(mice if i % 3 else quadrupeds, calibration, rng) for i in range(n)]


def write_weights(scratch: Path) -> None:
    """Fit on some labs, calibrate on others, write the data file."""
    labs = labs_of(scratch, True, N_FIT + N_PLATT, FIT_SEED)
    text = (
        "# Fitted constants of adaptation/keypoint_choice.py. Not to be edited: made by\n"
        "#     python -m benchmarks.matching --fit\n"
        f"# on {N_FIT} invented laboratories (weights) and {N_PLATT} others (slope, intercept), "
        f"seed {FIT_SEED}.\n"
    )
    for kind in KINDS:
        problems = [problem_of(lab, kind) for lab in labs]
        answers = [truth_of(problem, lab) for problem, lab in zip(problems, labs, strict=True)]
        weights = fit(problems[:N_FIT], answers[:N_FIT], _KIND_FEATURES[kind], _KIND_REFUSALS[kind])
        probability, right = proposals_of(problems[N_FIT:], answers[N_FIT:], weights)
        slope, intercept = platt(probability, right)
        text += f"\n[{kind}]\nslope = {slope:.4f}\nintercept = {intercept:.4f}\n"
        for part, table in (("candidate", weights.candidate), ("refusal", weights.refusal)):
            text += f"[{kind}.{part}]\n" + "".join(f"{name} = {value:.4f}\n" for name, value in table.items())
    Path(str(WEIGHTS)).write_text(text, encoding="utf-8")
    print(text)


def problem_of(lab: Lab, kind: str = "both") -> Problem:
    """The lab's choice problem with one kind of evidence."""
    evidence = no_images(len(lab.names), lab.vocabulary) if kind == "names" else lab.evidence
    meanings = lab.meanings if kind != "images" else understand([f"k{i}" for i in range(len(lab.names))])
    return pose_problem(meanings, understand(lab.vocabulary.keypoints), lab.vocabulary, evidence)


def truth_of(problem: Problem, lab: Lab) -> list[int | None]:
    """For each unit the right candidate, -1 for none, None where the truth is no choice it has."""
    answers: list[int | None] = []
    for unit in problem.units:
        truth = [lab.truth[s] for s in unit.members]
        if all(t is None for t in truth):
            answers.append(-1)
            continue
        wanted = tuple(-1 if t is None else lab.vocabulary.index[t] for t in truth)
        answers.append(unit.candidates.index(wanted) if wanted in unit.candidates else None)
    return answers


def proposals_of(
    problems: Sequence[Problem], answers: Sequence[Sequence[int | None]], weights: Weights
) -> tuple[np.ndarray, np.ndarray]:
    """Probability of every assigned unit, and whether it is right."""
    probability, right = [], []
    for problem, truth in zip(problems, answers, strict=True):
        shared = share(problem, weights.probabilities(problem))
        for u, c in enumerate(assign(problem, shared)):
            if c >= 0:
                probability.append(shared[u][c])
                right.append(truth[u] == c)
    return np.array(probability), np.array(right)


METHODS = ("names and images", "images alone", "names alone", "the paper's procedure")


def targets_by(method: str, lab: Lab) -> tuple[list[str | None], list[float]]:
    """What a method proposes for the lab's keypoints, and the confidence in each best candidate."""
    if method == METHODS[3]:
        found = paper_matching(lab.evidence)
        return [lab.vocabulary.keypoints[k] if k >= 0 else None for k in found], []
    evidence, names = lab.evidence, lab.names
    if method == METHODS[2]:
        evidence = no_images(len(names), lab.vocabulary)
    if method == METHODS[1]:
        names = tuple(f"k{i}" for i in range(len(names)))
    proposals = propose(understand(names), lab.vocabulary, evidence)
    return [p.target for p in proposals], [p.confidence for p in proposals]


def report_real() -> None:
    """Print the table and every proposal of the real laboratories."""
    with tempfile.TemporaryDirectory() as scratch:
        real = real_labs(Path(scratch))
    for title, (lab, also) in real.items():
        print(f"== {title}: {len(lab.names)} keypoints, {lab.evidence.n_animals} animals")
        for method in METHODS:
            targets, _ = targets_by(method, lab)
            print(f"  {method:<22} {_tally(lab, targets, also).row()}")
        for p in propose(lab.meanings, lab.vocabulary, lab.evidence):
            print(f"    {p.source} -> {p.target or 'none: ' + p.reason}  [{p.evidence}]")
        print()


def report_invented(scratch: Path, plot: Path | None) -> None:
    """Print the tables of the invented laboratories and the calibration; write the plot."""
    labs = labs_of(scratch, False, N_REPORT, REPORT_SEED)
    points: dict[str, list[tuple[float, bool]]] = defaultdict(list)
    tallies: dict[tuple[str, str], Tally] = defaultdict(Tally)
    for lab in labs:
        for method in METHODS:
            targets, confidence = targets_by(method, lab)
            for group in (lab.kind, "all"):
                tally = _tally(lab, targets)
                for name, value in vars(tally).items():
                    setattr(tallies[group, method], name, getattr(tallies[group, method], name) + value)
            if confidence:
                best = _best(method, lab)
                points[method] += [(c, b == t) for c, b, t in zip(confidence, best, lab.truth, strict=True)]
    for group in ("names", "language", "hidden", "shuffled", "all"):
        n = sum(group in (lab.kind, "all") for lab in labs)
        print(f"== invented laboratories, {group}: {n}")
        for method in METHODS:
            print(f"  {method:<22} {tallies[group, method].row()}")
        print()
    for method in METHODS[:3]:
        print(f"calibration, {method}: {calibration_line(points[method])}")
    if plot is not None:
        draw(points, plot)


def _best(method: str, lab: Lab) -> list[str]:
    """The likeliest counterpart of each keypoint, proposed or not."""
    names = lab.names if method != METHODS[1] else tuple(f"k{i}" for i in range(len(lab.names)))
    evidence = lab.evidence if method != METHODS[2] else no_images(len(names), lab.vocabulary)
    return [p.best for p in propose(understand(names), lab.vocabulary, evidence)]


def _tally(lab: Lab, targets: Sequence[str | None], also: dict[str, tuple[str, ...]] | None = None) -> Tally:
    tally = Tally()
    for name, target, truth in zip(lab.names, targets, lab.truth, strict=True):
        tally.add(target, truth, (also or {}).get(name, ()))
    return tally


def calibration_line(points: Sequence[tuple[float, bool]]) -> str:
    """Expected calibration error over ten bins, and what proposals at and above the threshold achieve."""
    confidence = np.array([c for c, _ in points])
    right = np.array([r for _, r in points])
    error = sum(
        abs(confidence[b].mean() - right[b].mean()) * b.sum() for b in _bins(confidence) if b.any()
    ) / len(points)
    high = confidence >= MIN_CONFIDENCE
    return (
        f"calibration error {error:.3f} over {len(points)} keypoints; {MIN_CONFIDENCE:.0%} or more: "
        f"mean confidence {confidence[high].mean():.1%}, right {right[high].mean():.1%} of {high.sum()}"
    )


def _bins(confidence: np.ndarray) -> list[np.ndarray]:
    place = np.minimum((confidence * 10).astype(int), 9)
    return [place == i for i in range(10)]


def draw(points: dict[str, list[tuple[float, bool]]], path: Path) -> None:
    """Reliability diagram: confidence of the best counterpart against how often it is right."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5, 5), layout="constrained")
    axes = figure.subplots()
    axes.plot([0, 1], [0, 1], color="0.7", linewidth=1)
    for method, found in points.items():
        confidence = np.array([c for c, _ in found])
        right = np.array([r for _, r in found])
        bins = [b for b in _bins(confidence) if b.sum() >= 10]
        x, y = [confidence[b].mean() for b in bins], [right[b].mean() for b in bins]
        spread = [np.sqrt(max(v * (1 - v), 0.01) / b.sum()) for v, b in zip(y, bins, strict=True)]
        axes.errorbar(x, y, yerr=spread, marker="o", label=f"{method} ({len(found)})", capsize=2)
    axes.set(xlabel="confidence", ylabel="right", xlim=(0, 1), ylim=(0, 1), aspect="equal")
    axes.legend(loc="upper left")
    figure.savefig(path, dpi=110, metadata={"Date": None} if path.suffix == ".svg" else None)


def real_labs(scratch: Path) -> dict[str, tuple[Lab, dict[str, tuple[str, ...]]]]:
    """The laboratories in shared/data, with the counterparts of their shipped maps."""
    import zoo
    from converters import read_labels

    mouse = zoo.load("superanimal_topviewmouse", "compact", "cpu")
    horse = zoo.load("superanimal_quadruped", "compact", "cpu")
    found = {}
    cases: list[tuple[str, Callable[[], Path], str, bool]] = [
        ("openfield, its own names", lambda: need("openfield-Pranav-2018-10-30"), "dlc-openfield", False),
        ("openfield, names hidden", lambda: need("openfield-Pranav-2018-10-30"), "dlc-openfield", True),
        ("alphatracker, names hidden", lambda: need("alphatracker_train9"), "alphatracker_train9", True),
        (
            "BrownHorse, Near and Off",
            lambda: horse_project(scratch / "h"),
            "horse10_BrownHorseinShadow",
            False,
        ),
    ]
    for title, where, map_name, hidden in cases:
        labels = read_labels(where())
        truth = load_map(map_name).targets
        names = tuple(f"point {i + 1}" for i in range(len(labels.keypoints))) if hidden else labels.keypoints
        model = horse if "Horse" in title else mouse
        meanings = understand(names)
        seen = observe(model, replace(labels, keypoints=names), meanings)
        evidence = weigh(seen, model.vocabulary, mirrored_pairs(meanings))
        answers = tuple(truth[name] for name in labels.keypoints)
        also = {}
        if map_name == "alphatracker_train9":  # its ears are the middle of the pinna: the map drops them
            for i, side in ((1, "left"), (2, "right")):
                also[names[i]] = (f"{side}_ear", f"{side}_ear_tip")
        found[title] = (Lab("real", names, answers, evidence, model.vocabulary), also)
    return found


if __name__ == "__main__":
    main()
