"""Keypoint matching: evidence, choice, refusals and files."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from data import need
from fakes import SIDE, K, fake_model, square_frame
from hypothesis import given, settings
from hypothesis import strategies as st

from adaptation import keypoint_choice
from adaptation.keypoint_choice import Weights, assign, load_weights, pose_problem, share
from adaptation.keypoint_evidence import Observations, no_images, observe, weigh
from adaptation.keypoint_files import draw_affinity, draw_previews, write_map, write_matching
from adaptation.keypoint_fitting import fit, platt
from adaptation.keypoint_matching import match_keypoints, paper_matching, percent, propose
from adaptation.keypoint_names import mirrored_pairs, understand
from superset_vocab import InputError, LabelRecord, LabelSet, Source, Visibility, load_map, load_vocabulary

MOUSE = load_vocabulary("superanimal_topviewmouse")


def animals(n: int = 40, seed: int = 0) -> np.ndarray:
    """(N, 27, 2) poses of a stylised mouse in all directions, 100 px long."""
    along = {"nose": 0, "head_midpoint": 13, "neck": 25, "mid_back": 38, "mouse_center": 52}
    along |= {"mid_backend": 64, "mid_backend2": 76, "mid_backend3": 88, "tail_base": 100, "tail1": 115}
    along |= {"tail2": 130, "tail3": 145, "tail4": 160, "tail5": 175, "tail_end": 190, "ear": 15}
    along |= {"ear_tip": 18, "eye": 8, "shoulder": 36, "midside": 57, "hip": 78}
    beside = {"ear": 9, "ear_tip": 15, "eye": 6, "shoulder": 12, "midside": 16, "hip": 15}
    points = []
    for name in MOUSE.keypoints:
        side = -1 if name.startswith("left") else 1
        stem = name.removeprefix("left_").removeprefix("right_")
        points.append((along[stem], side * beside.get(stem, 0)))
    rng = np.random.default_rng(seed)
    angle = rng.uniform(-np.pi, np.pi, n)
    # In an image (y down) the left of an animal that looks along -x from (0, 0) lies at larger y.
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]).transpose(2, 0, 1)
    centre = rng.uniform(200, 400, (n, 1, 2))
    return np.einsum("nij,kj->nki", turn, np.array(points, dtype=float)) + centre


def seen(truth: np.ndarray, predicted: np.ndarray) -> Observations:
    n = len(truth)
    return Observations(truth, predicted, np.full(n, 200.0), np.arange(n), n)


def evidence_for(
    names: list[str], targets: list[str | None], *, noise: float = 2.0, n: int = 40, mirrored=False
):
    """Evidence of a lab whose keypoints are these targets; None is a point far from all."""
    poses = animals(n)
    rng = np.random.default_rng(1)
    columns = [poses[:, MOUSE.index[t]] if t else poses[:, MOUSE.index["nose"]] + (90, 90) for t in targets]
    truth = np.stack(columns, axis=1) + rng.normal(0, noise, (n, len(targets), 2))
    predicted = poses + rng.normal(0, noise, poses.shape)
    predicted = predicted[:, MOUSE.flip_index] if mirrored else predicted
    meanings = understand(names)
    return meanings, weigh(seen(truth, predicted), MOUSE, mirrored_pairs(meanings))


def proposed(names: list[str], targets: list[str | None], **options) -> list[str | None]:
    meanings, evidence = evidence_for(names, targets, **options)
    return [p.target for p in propose(meanings, MOUSE, evidence)]


# -- evidence ---------------------------------------------------------------------------------------------


def test_only_annotated_keypoints_and_known_channels_count():
    truth = np.array([[[0.0, 0], [np.nan, np.nan]], [[0.0, 0], [50, 0]]])
    predicted = np.full((2, K, 2), np.nan)
    predicted[:, 0], predicted[:, 5] = (10, 0), (50, 0)
    evidence = weigh(seen(truth, predicted), MOUSE)
    assert evidence.annotated.tolist() == [2, 1]
    assert evidence.known.sum() == 2
    assert evidence.affinity[0, 0] == evidence.affinity[1, 5] == 1
    assert evidence.counts.sum() == 3
    np.testing.assert_allclose(evidence.distance[0, [0, 5]], [10 / 200, 50 / 200])
    assert np.isnan(evidence.distance[:, 1]).all()


def test_the_hungarian_assignment_is_one_to_one_in_every_animal():
    truth = np.array([[[0.0, 0], [1, 0]]])  # both nearest to channel 0, but only one can have it
    predicted = np.full((1, K, 2), np.nan)
    predicted[0, 0], predicted[0, 1] = (0, 0), (30, 0)
    evidence = weigh(seen(truth, predicted), MOUSE)
    assert evidence.counts[0, 0] == 1
    assert evidence.counts[1, 1] == 1


def test_more_keypoints_than_channels():
    truth = np.array([[[0.0, 0], [40, 0], [41, 0]]])
    predicted = np.full((1, K, 2), np.nan)
    predicted[0, 3] = (40, 0)
    evidence = weigh(seen(truth, predicted), MOUSE)
    assert evidence.counts.sum() == 1
    assert paper_matching(evidence).max() < K


def test_the_paper_s_procedure_always_proposes():
    _meanings, evidence = evidence_for(["a", "b", "c"], ["nose", "tail_base", None])
    found = paper_matching(evidence)
    assert [MOUSE.keypoints[k] for k in found[:2]] == ["nose", "tail_base"]
    assert found[2] >= 0


def test_side_votes():
    names, targets = ["ear L", "ear R", "hip L", "hip R"], ["left_ear", "right_ear", "left_hip", "right_hip"]
    assert evidence_for(names, targets)[1].side_votes == (40, 0)
    mirrored = evidence_for(names, targets, mirrored=True)[1]
    assert (mirrored.side_votes, mirrored.mirrored) == ((0, 40), True)
    few = evidence_for(names, targets, mirrored=True, n=5)[1]
    assert not few.mirrored  # five animals prove nothing


# -- proposals --------------------------------------------------------------------------------------------


def test_shuffled_foreign_names():
    names = ["queue base", "oreille droite", "museau", "oreille gauche", "milieu du corps"]
    targets = ["tail_base", "right_ear", "nose", "left_ear", "mouse_center"]
    assert proposed(names, targets) == targets


def test_hidden_names_go_by_the_images():
    targets = ["tail_base", "right_hip", "nose", "tail_end", "left_hip", "neck"]
    assert proposed([f"p{i}" for i in range(6)], targets) == targets


def test_a_point_without_a_counterpart_is_refused():
    names, targets = ["nose", "tailbase", "lamp", "left whisker"], ["nose", "tail_base", None, None]
    assert proposed(names, targets) == targets


def test_a_name_that_lies_is_not_believed():
    """Called a tail tip, but it lies at the nose in every image."""
    found = proposed(["tail tip", "p1"], ["nose", "tail_base"])
    assert found[0] in (None, "nose")


def test_spine1_means_what_its_own_images_say():
    """Daniel3Mouse's spine1 lies at mid_back, MackenzieMausHaus' at the neck: no alias decides."""
    for dataset in ("Daniel3Mouse", "MackenzieMausHaus"):
        truth = load_map(dataset).targets
        names = [name for name in truth if name.startswith(("spine", "nose", "snout", "tailbase"))]
        targets = [truth[name] for name in names]
        found = proposed(names, targets, noise=1.0)
        right = [f == t for f, t in zip(found, targets, strict=True)]
        assert all(f is None or ok for f, ok in zip(found, right, strict=True)), (dataset, found)
        assert found[names.index("spine1")] == truth["spine1"]
        assert sum(right) >= len(names) - 1


def test_names_alone_do_not_map_spine1():
    for dataset in ("Daniel3Mouse", "Mostafizur", "MackenzieMausHaus", "synthetic_spine"):
        names = list(load_map(dataset).targets)
        found = propose(understand(names), MOUSE, no_images(len(names), MOUSE))
        for proposal in found:
            if proposal.source.startswith("spine"):
                assert proposal.target is None
            elif proposal.target is not None:
                assert proposal.target == load_map(dataset).targets[proposal.source]


def test_left_and_right_go_together():
    """The left hip's labels are useless; with the right one's and their names both are right."""
    meanings, evidence = evidence_for(["hip L", "hip R"], ["left_hip", "right_hip"])
    counts = evidence.counts.copy()
    counts[0] = counts[0].sum() / K
    found = propose(meanings, MOUSE, replace(evidence, counts=counts))
    assert [p.target for p in found] == ["left_hip", "right_hip"]
    assert found[0].confidence == found[1].confidence


def test_without_names_one_side_alone_is_not_proposed():
    """The left one lies between eye and ear, so the right one's eye is doubtful as well."""
    poses = animals()
    eye, ear = (poses[:, MOUSE.index[f"left_{part}"]] for part in ("eye", "ear"))
    truth = np.stack([(eye + ear) / 2, poses[:, MOUSE.index["right_eye"]]], axis=1)
    noisy = poses + np.random.default_rng(4).normal(0, 2, poses.shape)
    found = propose(understand(["p0", "p1"]), MOUSE, weigh(seen(truth, noisy), MOUSE))
    assert [p.target for p in found] == [None, None]
    assert found[1].reason == "its mirror image left_eye may be p0, which is not sure enough"
    alone = propose(understand(["p1"]), MOUSE, weigh(seen(truth[:, 1:], noisy), MOUSE))
    assert alone[0].target == "right_eye"  # a lab that labels one side only, as a horse's "Eye"


def test_mirrored_labs_get_no_sides():
    names = ["nose", "ear L", "ear R", "hip L", "hip R", "tailbase"]
    targets = ["nose", "left_ear", "right_ear", "left_hip", "right_hip", "tail_base"]
    meanings, evidence = evidence_for(names, targets, mirrored=True)
    found = propose(meanings, MOUSE, evidence)
    assert [p.target for p in found] == ["nose", None, None, None, None, "tail_base"]
    assert "left and right are exchanged against the model in 40 of 40 animals" in found[1].reason


def test_untrained_channels_have_no_image_evidence():
    poses = animals()
    predicted = poses.copy()
    predicted[:, MOUSE.index["tail_end"]] = np.nan
    truth = poses[:, [MOUSE.index["tail_end"], MOUSE.index["nose"]]]
    meanings = understand(["tail tip", "nose"])
    found = propose(meanings, MOUSE, weigh(seen(truth, predicted), MOUSE))
    assert found[0].best == "tail_end"
    assert np.isnan(found[0].affinity)
    assert np.isnan(found[0].distance)
    assert found[1].affinity == 1


@settings(deadline=None, max_examples=20)
@given(st.permutations(range(6)), st.integers(1, 30))
def test_the_order_of_keypoints_does_not_matter(order, n):
    names = ["snout", "ear L", "ear R", "spine 1", "tail tip", "lamp"]
    targets = ["nose", "left_ear", "right_ear", "neck", "tail_end", None]
    meanings, evidence = evidence_for(names, targets, n=n)
    index = list(order)
    shuffled = replace(
        evidence,
        counts=evidence.counts[index],
        annotated=evidence.annotated[index],
        distance=evidence.distance[index],
    )
    straight = {p.source: (p.target, round(p.confidence, 6)) for p in propose(meanings, MOUSE, evidence)}
    turned = propose([meanings[i] for i in index], MOUSE, shuffled)
    assert {p.source: (p.target, round(p.confidence, 6)) for p in turned} == straight
    used = [target for target, _ in straight.values() if target]
    assert len(used) == len(set(used))


@settings(deadline=None, max_examples=25)
@given(st.data())
def test_assignments_never_share_a_counterpart(data):
    """Whatever the probabilities, pairs stay pairs and nothing is had twice."""
    names = ["a L hip", "a R hip", "ear L", "ear R", "x", "y"]
    meanings = understand(names)
    problem = pose_problem(meanings, understand(MOUSE.keypoints), MOUSE, no_images(6, MOUSE))
    seed = data.draw(st.integers(0, 10**6))
    rng = np.random.default_rng(seed)
    p = [rng.dirichlet(np.full(len(unit.candidates) + 1, 0.1)) for unit in problem.units]
    shared = share(problem, p)
    assert all(abs(q.sum() - 1) < 1e-9 for q in shared)
    taken: list[int] = []
    for unit, c in zip(problem.units, assign(problem, shared), strict=True):
        if c >= 0:
            taken += unit.candidates[c]
            if len(unit.members) == 2:
                left, right = unit.candidates[c]
                assert MOUSE.flip_index[left] == right
    assert len(taken) == len(set(taken))


def test_few_animals_say_less():
    names, targets = ["p0", "p1"], ["nose", "tail_base"]
    sure = [propose(*_swap(evidence_for(names, targets, n=n)))[0].confidence for n in (1, 3, 40)]
    assert sure == sorted(sure)
    assert sure[0] < sure[2]


def _swap(pair):
    return pair[0], MOUSE, pair[1]


def test_least_confidence():
    meanings, evidence = evidence_for(["p0"], ["nose"])
    assert propose(meanings, MOUSE, evidence, 1.0)[0].reason.startswith("not sure enough")
    assert propose(meanings, MOUSE, evidence, 0.0)[0].target == "nose"


# -- fitting ----------------------------------------------------------------------------------------------


def test_the_shipped_weights_are_complete_and_sensible():
    for kind in keypoint_choice.KINDS:
        weights = load_weights(kind)
        assert set(weights.candidate) <= set(keypoint_choice.FEATURES)
        assert weights.slope > 0
    both = load_weights("both")
    assert set(both.candidate) == set(keypoint_choice.FEATURES)
    assert both.candidate["affinity"] > 0 > both.candidate["distance"]
    assert both.candidate["same"] > both.candidate["region"] > both.candidate["other"]
    assert both.candidate["sides_conflict"] < both.candidate["sides_agree"]


def test_fitting_finds_what_decides():
    """In these labs the right counterpart has the same name; the fit must find that, and use nothing else."""
    problems, truths = [], []
    for seed in range(12):
        rng = np.random.default_rng(seed)
        targets = [
            str(t)
            for t in rng.choice(["nose", "neck", "tail_base", "tail_end", "mouse_center"], 3, replace=False)
        ]
        meanings = understand(targets)
        problem = pose_problem(meanings, understand(MOUSE.keypoints), MOUSE, no_images(3, MOUSE))
        problems.append(problem)
        truths.append([problem.units[u].candidates.index((MOUSE.index[t],)) for u, t in enumerate(targets)])
    weights = fit(problems, truths, ("same", "other"), ("none",))
    assert weights.candidate["same"] > 2
    assert weights.refusal["none"] < 0
    p = weights.probabilities(problems[0])
    assert [int(q.argmax()) for q in p] == truths[0]


def test_platt_calibrates():
    rng = np.random.default_rng(0)
    claimed = rng.uniform(0.02, 0.98, 4000)
    odds = np.log(claimed / (1 - claimed))
    true = 1 / (1 + np.exp(-(0.5 * odds - 1)))  # overconfident
    slope, intercept = platt(claimed, rng.random(4000) < true)
    assert abs(slope - 0.5) < 0.06
    assert abs(intercept + 1) < 0.12
    confidence = Weights({}, {}, slope, intercept).confidence
    assert confidence(0.99) < 0.85
    assert confidence(0.0) < confidence(0.5) < confidence(1.0) < 1


# -- a model and images -----------------------------------------------------------------------------------


def lab(folder: Path, names: dict[str, int | None], n: int = 12, *, box: bool = False) -> LabelSet:
    """Frames with a bright square; keypoint -> channel of the fake model, None is a fixed corner."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(3)
    records = []
    for i in range(n):
        corner = rng.integers(0, (128 - SIDE, 96 - SIDE)).astype(float)
        path = folder / f"{i}.png"
        cv2.imwrite(str(path), square_frame((corner[0], corner[1])))
        points = [corner + SIDE * k / K if k is not None else np.array([1.0, 2.0]) for k in names.values()]
        xy = np.array(points)[None]
        boxes = np.array([[*corner, SIDE, SIDE]]) if box else np.full((1, 4), np.nan)
        state = np.full(xy.shape[:2], Visibility.VISIBLE, dtype=np.int8)
        records.append(LabelRecord(path, (128, 96), "lab", f"day{i % 2}", xy, state, boxes, path.name))
    return LabelSet(tuple(names), tuple(records), (Source("lab", tuple(names)),))


@pytest.mark.parametrize("box", [True, False])
def test_match_with_a_model(tmp_path, box):
    names = {"museau": 0, "base de la queue": 13, "coin": None}
    labels = lab(tmp_path, names, box=box)
    matching = match_keypoints(labels, fake_model())
    assert matching.targets == {"museau": "nose", "base de la queue": "tail_base", "coin": None}
    assert matching.evidence.n_animals == 12
    assert matching.proposals[0].affinity > 0.9
    done = matching.operations[0]
    assert done["boxes"] == ({"labels": 12, "model": 0} if box else {"labels": 0, "model": 12})
    assert done["weights"]["pose"]["sha256"] == "0" * 64
    assert matching.keypoint_map().source_index(labels.keypoints)[13] == 1


def test_images_are_thinned_out(tmp_path):
    seen_ = observe(fake_model(), lab(tmp_path, {"a": 0, "b": 20}), understand(["a", "b"]), max_images=5)
    assert seen_.n_images == 5
    assert seen_.record.tolist() == sorted(set(seen_.record.tolist()))
    assert seen_.record[-1] == 11


def test_animals_that_are_not_found_are_counted(tmp_path):
    labels = lab(tmp_path, {"a": 0}, n=3)
    cv2.imwrite(str(tmp_path / "1.png"), square_frame())
    seen_ = observe(fake_model(), labels, understand(["a"]))
    assert (len(seen_.length), seen_.n_missed) == (2, 1)


def test_a_model_that_finds_nothing_leaves_the_names(tmp_path):
    labels = lab(tmp_path, {"museau": 0, "x": 5}, n=3)
    for record in labels.records:
        cv2.imwrite(str(record.image), square_frame())
    hidden = np.full((1, 2), Visibility.NOT_ANNOTATED, dtype=np.int8)
    blank = {"keypoints": np.full((1, 2, 2), np.nan), "visibility": hidden}
    for records in (labels.records, tuple(replace(record, **blank) for record in labels.records)):
        single = tuple(_one_point(record) for record in records)
        matching = match_keypoints(replace(labels, records=single), fake_model())
        assert matching.evidence.n_animals == 0
        assert matching.targets == {"museau": "nose", "x": None}


def _one_point(record: LabelRecord) -> LabelRecord:
    """Without its second keypoint, so that no box can be made of the labels."""
    keypoints, visibility = record.keypoints.copy(), record.visibility.copy()
    keypoints[:, 1], visibility[:, 1] = np.nan, Visibility.NOT_ANNOTATED
    return replace(record, keypoints=keypoints, visibility=visibility)


def test_what_is_refused_before_any_work(tmp_path):
    labels = lab(tmp_path, {"a": 0})
    with pytest.raises(InputError, match="want a probability"):
        match_keypoints(labels, fake_model(), min_confidence=2)
    with pytest.raises(InputError, match="max_images is 0"):
        match_keypoints(labels, fake_model(), max_images=0)
    with pytest.raises(InputError, match="needs a model or a vocabulary"):
        match_keypoints(labels, None)
    with pytest.raises(InputError, match="predicts superanimal_topviewmouse, not superanimal_bird"):
        match_keypoints(labels, fake_model(), vocabulary=load_vocabulary("superanimal_bird"))
    with pytest.raises(InputError, match="nothing to match"):
        match_keypoints(replace(labels, vocabulary="superanimal_bird"), fake_model())


def test_openfield_with_the_embedded_model():
    import zoo
    from converters import read_labels

    labels = read_labels(need("openfield-Pranav-2018-10-30"))
    matching = match_keypoints(labels, zoo.load("superanimal_topviewmouse", "compact", "cpu"), max_images=30)
    assert matching.targets == load_map("dlc-openfield").targets
    assert not matching.mirrored
    assert min(p.confidence for p in matching.proposals) > 0.8


# -- files ------------------------------------------------------------------------------------------------


def test_the_map_is_read_back_with_its_reasons(tmp_path):
    labels = lab(tmp_path / "images", {"museau": 0, "coin": None, "base de la queue": 13})
    matching = match_keypoints(labels, fake_model())
    written = write_matching(matching, labels, tmp_path / "out", licence="CC0-1.0", citation='A "B"\n')
    loaded = load_map(str(tmp_path / "out" / "keypoint_map.toml"))
    assert loaded.targets == {"museau": "nose", "base de la queue": "tail_base", "coin": None}
    assert (loaded.dataset, loaded.licence, loaded.citation) == ("lab", "CC0-1.0", 'A "B"\n')
    text = (tmp_path / "out" / "keypoint_map.toml").read_text()
    reason = next(p.reason for p in matching.proposals if p.source == "coin")
    assert f"# {reason}" in text
    assert "images agree in" in text
    content = json.loads((tmp_path / "out" / "matching.json").read_text())
    assert [p["target"] for p in content["proposals"]] == ["nose", None, "tail_base"]
    assert content["operations"][0]["n_images"] == 12
    assert all(path.is_file() for path in written)


@settings(deadline=None, max_examples=30)
@given(st.lists(st.text(min_size=1, max_size=8), min_size=1, max_size=4, unique=True), st.text(max_size=8))
def test_any_names_make_a_map_that_loads(tmp_path_factory, names, dataset):
    folder = tmp_path_factory.mktemp("map")
    labels = LabelSet(tuple(names), (), (Source(dataset, tuple(names)),))
    matching = match_keypoints(labels, None, vocabulary=MOUSE)
    path = write_map(matching, folder / "m.toml")
    loaded = load_map(str(path))
    assert (loaded.targets, loaded.dataset) == (matching.targets, dataset)


def test_pictures(tmp_path):
    labels = lab(tmp_path / "images", {"Nase\n<b>": 0, "Schwanzspitze": 25, "Ecke $": None})
    matching = match_keypoints(labels, fake_model())
    picture = cv2.imread(str(draw_affinity(matching, tmp_path / "a.png")))
    assert picture.std() > 5
    previews = draw_previews(matching, labels, tmp_path / "p", n=3)
    assert [p.name for p in previews] == ["preview_0.jpg", "preview_1.jpg", "preview_2.jpg"]
    mapped = cv2.imread(str(previews[0])).astype(int)
    dropped = draw_previews(matching, labels, tmp_path / "q", targets=dict.fromkeys(labels.keypoints), n=3)
    assert np.abs(mapped - cv2.imread(str(dropped[0]))).max() > 60  # the disc and the line are gone


def test_an_unsuitable_path(tmp_path):
    matching = match_keypoints(lab(tmp_path, {"a": 0}), None, vocabulary=MOUSE)
    with pytest.raises(InputError, match=r"a keypoint map is a \.toml file"):
        write_map(matching, tmp_path / "map.txt")


def test_percent():
    assert [percent(p) for p in (0.999, 0.5, 0.001)] == [">99%", "50%", "<1%"]


def test_the_package_stays_light():
    code = (
        "import sys, adaptation; assert not {'torch', 'cv2', 'scipy'} & set(sys.modules), sys.modules.keys()"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parents[1])


def test_public_names():
    import adaptation

    assert adaptation.match_keypoints is match_keypoints
    assert set(dir(adaptation)) >= {"Matching", "Proposal", "match_keypoints", "write_matching"}
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = adaptation.nothing
