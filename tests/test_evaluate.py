"""Evaluation against values worked out by hand, and against what a careless evaluation would hide."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from superset_vocab import InputError, LabelRecord, LabelSet, Source, Visibility, Vocabulary
from training.comparison import comparison_table, forgetting, target_keypoints
from training.evaluate import evaluate_model, evaluate_predictions, extent
from training.metrics import (
    CorrectKeypoints,
    Dropping,
    PixelErrors,
    match_individuals,
    mean_interval,
    oks,
)
from zoo.catalogue import find_model
from zoo.results import Predictions

NAMES = ("nose", "left_ear", "right_ear", "tail")
VOCABULARY = Vocabulary(
    name="four",
    keypoints=NAMES,
    skeleton=(),
    flip_index=np.array([0, 2, 1, 3]),
    sigmas=np.full(4, 0.1),
    colours=np.zeros((4, 3), np.uint8),
    sigma_source="made up",
)
ANIMAL = np.array([[10.0, 10], [0, 20], [20, 20], [10, 50]])  # extent 20 x 40: area 800


def moved(x: float, y: float) -> np.ndarray:
    return ANIMAL + np.array([x, y])


def record(
    *animals: np.ndarray, undefined: tuple[int, ...] = (), box=None, name: str = "i.png"
) -> LabelRecord:
    points = np.array(animals, dtype=float).reshape(-1, 4, 2)
    visibility = np.where(np.isfinite(points).all(-1), Visibility.VISIBLE, Visibility.NOT_ANNOTATED)
    visibility[:, list(undefined)] = Visibility.UNDEFINED
    points[:, list(undefined)] = np.nan
    boxes = np.full((len(points), 4), np.nan) if box is None else np.array([box] * len(points), dtype=float)
    return LabelRecord(Path(name), (100, 100), "lab", "g", points, visibility.astype(np.int8), boxes)


def label_set(*records: LabelRecord) -> LabelSet:
    return LabelSet(NAMES, records, (Source("lab", NAMES),), "four")


def predictions(*frames: list[np.ndarray], confidence: list[list[float]] | None = None) -> Predictions:
    n = max([len(frame) for frame in frames] + [1])
    points = np.full((len(frames), n, 4, 2), np.nan, np.float32)
    sure = np.full((len(frames), n, 4), np.nan, np.float32)
    for t, frame in enumerate(frames):
        for i, pose in enumerate(frame):
            points[t, i] = pose
            sure[t, i] = 0.9 if confidence is None else confidence[t][i]
    return Predictions(
        keypoints=points,
        confidence=sure,
        bbox_xywh=np.full((len(frames), n, 4), np.nan, np.float32),
        bbox_confidence=np.full((len(frames), n), np.nan, np.float32),
        frame_index=np.arange(len(frames)),
        size_wh=np.full((len(frames), 2), 100),
        vocabulary=VOCABULARY,
        individuals=tuple(f"animal{i}" for i in range(n)),
        provenance={"model": "test"},
    )


def test_the_two_figures_that_are_called_rmse():
    truth = np.zeros((2, 2, 2))
    predicted = np.array([[[3.0, 4], [0, 0]], [[0, 1], [6, 8]]])  # distances 5, 0, 1, 10
    errors = PixelErrors.of(predicted, truth)
    assert errors == PixelErrors(4, 0, 4.0, pytest.approx(np.sqrt(126 / 4)), 3.0)


def test_missing_predictions_are_counted_and_unannotated_keypoints_are_not():
    truth = np.array([[[0.0, 0], [0, 0], [np.nan, np.nan]]])
    predicted = np.array([[[3.0, 4], [np.nan, np.nan], [7, 7]]])
    assert PixelErrors.of(predicted, truth) == PixelErrors(2, 1, 5.0, 5.0, 5.0)
    nothing = PixelErrors.of(np.full_like(truth, np.nan), truth)
    assert (nothing.n, nothing.n_missing) == (2, 2)
    assert np.isnan(nothing.mean_distance)


def test_oks_by_hand():
    shifted = moved(3, 4)  # every keypoint 5 px away: exp(-25 / (2 * 800 * 0.2 ** 2))
    found = oks(np.stack([ANIMAL, shifted]), ANIMAL[None], np.array([800.0]), VOCABULARY.sigmas)
    assert found[:, 0] == pytest.approx([1.0, np.exp(-25 / 64)])
    partial = shifted.copy()
    partial[:2] = np.nan  # missing: no similarity, though it counts
    assert oks(partial[None], ANIMAL[None], np.array([800.0]), VOCABULARY.sigmas)[0, 0] == pytest.approx(
        np.exp(-25 / 64) / 2
    )


@given(st.permutations(range(4)))
def test_individuals_are_assigned_whatever_their_order(order):
    truth = np.stack([moved(60 * i, 0) for i in range(4)])
    match = match_individuals(truth[list(order)] + 1.5, truth, np.full(4, 800.0), VOCABULARY.sigmas)
    assert [order[m] for m in match] == [0, 1, 2, 3]


def test_hopeless_poses_are_errors_not_missing_animals():
    truth = np.stack([ANIMAL, ANIMAL + 1000])
    far = np.stack([ANIMAL + 600, ANIMAL + 300])  # all OKS are 0
    assert match_individuals(far, truth, np.full(2, 800.0), VOCABULARY.sigmas).tolist() == [1, 0]
    assert match_individuals(far[:1], truth, np.full(2, 800.0), VOCABULARY.sigmas).tolist() == [-1, 0]


def test_report_of_a_perfect_model():
    report = evaluate_predictions(
        predictions([ANIMAL + 50, ANIMAL], [ANIMAL]),
        label_set(record(ANIMAL, ANIMAL + 50), record(ANIMAL)),
        split="test",
    )
    assert report.errors.mean_distance == 0
    assert (report.n_images, report.n_instances, report.errors.n, report.n_extra) == (2, 3, 12, 0)
    assert report.precision.ap == report.precision.ar == pytest.approx(1.0)
    assert report.sigmas == dict.fromkeys(NAMES, 0.1)


def test_average_precision_by_hand():
    """OKS 0.677 passes the thresholds 0.50 to 0.65: 4 of 10."""
    report = evaluate_predictions(predictions([moved(3, 4)]), label_set(record(ANIMAL)), split="test")
    assert np.exp(-25 / 64) == pytest.approx(0.6766, abs=1e-4)
    assert report.precision.ap == pytest.approx(0.4)
    assert (report.precision.ap_50, report.precision.ap_75) == (pytest.approx(1.0), 0.0)
    wide = evaluate_predictions(
        predictions([moved(3, 4)]), label_set(record(ANIMAL, box=[0, 0, 40, 80])), split="test"
    )
    assert wide.precision.ap == pytest.approx(0.9)  # the label's own box has four times the area: OKS 0.907


def test_undefined_keypoints_are_not_scored():
    wrong = ANIMAL.copy()
    wrong[3] += 40
    report = evaluate_predictions(
        predictions([wrong]), label_set(record(ANIMAL, undefined=(3,), box=[0, 0, 20, 40])), split="test"
    )
    assert report.errors.mean_distance == 0
    assert report.precision.ap == pytest.approx(1.0)
    assert set(report.per_keypoint) == set(report.sigmas) == {"nose", "left_ear", "right_ear"}


def test_missing_keypoint_lowers_oks_and_missing_animal_is_counted():
    half = ANIMAL.copy()
    half[2:] = np.nan
    report = evaluate_predictions(
        predictions([half], []), label_set(record(ANIMAL), record(ANIMAL)), split="t"
    )
    assert (report.errors.n, report.errors.n_missing, report.errors.mean_distance) == (8, 6, 0.0)
    assert report.per_keypoint["tail"].n_missing == 2
    assert report.precision.ar == pytest.approx(0.1 / 2)  # OKS 0.5 passes one threshold of ten
    assert "      6 " in report.table()


def test_no_animal_found_at_all():
    report = evaluate_predictions(predictions([], []), label_set(record(ANIMAL), record(ANIMAL)), split="t")
    assert report.precision.ap == report.precision.ar == 0
    assert report.errors.n == report.errors.n_missing == 8
    assert json.loads(json.dumps(report.to_dict()))["errors"]["mean_distance"] is None


def test_too_many_individuals_are_no_advantage():
    """The more confident pose counts, though the other one fits; and precision falls."""
    labels = label_set(record(ANIMAL))
    sure = predictions([moved(30, 40), ANIMAL], confidence=[[0.9, 0.3]])
    report = evaluate_predictions(sure, labels, split="t")
    assert report.errors.mean_distance == pytest.approx(50)
    assert report.n_extra == 1
    assert report.precision.ap == pytest.approx(0.5)
    assert evaluate_predictions(sure, label_set(record(ANIMAL, moved(30, 40))), split="t").n_extra == 0


def test_false_alarm_in_an_empty_image_costs_precision():
    frames = predictions([ANIMAL], [ANIMAL], confidence=[[0.5], [0.9]])
    report = evaluate_predictions(frames, label_set(record(ANIMAL), record()), split="t")
    assert report.precision.ap == pytest.approx(0.5)
    assert report.n_extra == 1


def test_finding_an_animal_whose_keypoints_nobody_annotated_is_no_mistake():
    """COCO's rule for instances with only a box, whatever the pose lacks; far from it a pose is a mistake."""
    half = ANIMAL.copy()
    half[2:] = np.nan
    labels = label_set(record(ANIMAL), record(np.full((4, 2), np.nan), box=[0, 0, 20, 40]))

    def precision(second: np.ndarray) -> float:
        frames = predictions([ANIMAL], [second], confidence=[[0.5], [0.9]])
        return evaluate_predictions(frames, labels, split="t").precision.ap

    assert precision(ANIMAL) == pytest.approx(1.0)
    assert precision(half) == pytest.approx(1.0)
    assert precision(half + 90) == pytest.approx(0.5)


def test_only_some_keypoints():
    wrong = ANIMAL.copy()
    wrong[3] += [30, 40]
    labels = label_set(record(ANIMAL))
    assert evaluate_predictions(predictions([wrong]), labels, split="t").errors.mean_distance == 12.5
    report = evaluate_predictions(predictions([wrong]), labels, split="t", keypoints=NAMES[:3])
    assert (report.errors.n, report.errors.mean_distance) == (3, 0)
    with pytest.raises(InputError, match="beak: no keypoint of four"):
        evaluate_predictions(predictions([wrong]), labels, split="t", keypoints=["beak"])


def test_extent_of_an_instance():
    one_point = np.full((4, 2), np.nan)
    one_point[0] = 7
    boxes = extent(record(ANIMAL, one_point))
    assert boxes[0].tolist() == [0, 10, 20, 40]
    assert np.isnan(boxes[1]).all()
    assert extent(record(one_point, box=[1, 2, 3, 4]))[0].tolist() == [1, 2, 3, 4]


class FakeModel:
    """Predicts a fixed pose, or with boxes one in the centre of each."""

    spec = find_model("superanimal_topviewmouse", "compact")

    def __init__(self) -> None:
        self.images: list[str] = []

    def predict(self, source, *, bboxes_xywh=None) -> Predictions:
        self.images = list(source)
        if bboxes_xywh is None:
            return predictions(*([ANIMAL] for _ in source))
        return predictions(*([np.tile(b[:2] + b[2:] / 2, (4, 1)) for b in boxes] for boxes in bboxes_xywh))


def test_evaluate_model_with_its_own_boxes_and_with_those_of_the_labels(tmp_path):
    labels = label_set(record(ANIMAL, name="a.png"), record(ANIMAL + 10, ANIMAL, name="b.png"))
    model = FakeModel()
    report = evaluate_model(model, labels, split="test")  # pyright: ignore[reportArgumentType]
    assert model.images == ["a.png", "b.png"]
    assert (report.errors.n_missing, report.bboxes) == (4, "model")
    given = evaluate_model(model, labels, split="test", bboxes="labels")  # pyright: ignore[reportArgumentType]
    expected = np.linalg.norm(ANIMAL - [10, 30], axis=-1).mean()
    assert given.errors.mean_distance == pytest.approx(expected)  # instance n is individual n
    assert (given.errors.n_missing, given.bboxes) == (0, "labels")
    given.write(tmp_path / "report.json")
    assert json.loads((tmp_path / "report.json").read_text())["errors"]["n"] == 12
    with pytest.raises(InputError, match="bboxes is 'mine'"):
        evaluate_model(model, labels, split="test", bboxes="mine")  # pyright: ignore[reportArgumentType]


def test_refusals():
    with pytest.raises(InputError, match="1 predicted images for 2 labelled"):
        evaluate_predictions(predictions([ANIMAL]), label_set(record(ANIMAL), record(ANIMAL)), split="t")
    with pytest.raises(InputError, match="no keypoint is annotated"):
        evaluate_predictions(predictions([ANIMAL]), label_set(record(np.full((4, 2), np.nan))), split="t")
    foreign = LabelSet(NAMES[::-1], (record(ANIMAL),), (Source("lab", NAMES),))
    with pytest.raises(InputError, match="labels are in no vocabulary, the predictions in four"):
        evaluate_predictions(predictions([ANIMAL]), foreign, split="t")


def test_nothing_is_printed(capsys):
    evaluate_predictions(predictions([ANIMAL]), label_set(record(ANIMAL)), split="t")
    assert capsys.readouterr() == ("", "")


def test_normalised_error_is_in_units_of_the_animal():
    """Nose to tail are 40 px on the first animal; the second, twice as large, has no nose annotated."""
    large = 2 * ANIMAL
    large[0] = np.nan
    off = [moved(4, 0)], [2 * ANIMAL + (0, 8)]
    report = evaluate_predictions(
        predictions(*off), label_set(record(ANIMAL), record(large)), split="s", normalise_by=("nose", "tail")
    )
    found = report.normalised
    assert found is not None
    assert (found.n, found.n_own, found.n_median) == (7, 1, 1)
    assert found.mean == pytest.approx((4 * 4 / 40 + 3 * 8 / 40) / 7)  # the median unit is 40 px
    assert "over the distance nose - tail: 0.143 (n 7)" in report.table()
    assert report.to_dict()["normalised"]["mean"] == found.mean
    with pytest.raises(InputError, match="not among the scored keypoints"):
        evaluate_predictions(
            predictions(*off),
            label_set(record(ANIMAL), record(large)),
            split="s",
            keypoints=["nose"],
            normalise_by=("nose", "tail"),
        )


def test_pck_counts_what_is_missing_as_wrong():
    truth = np.array([[[0.0, 0], [10, 0], [20, 0], [np.nan, np.nan]]])
    predicted = np.array([[[4.0, 0], [18, 0], [np.nan, np.nan], [0, 0]]])
    pck = CorrectKeypoints.of(predicted, truth, np.array([40.0]), (0.1, 0.2))
    assert pck == CorrectKeypoints(3, {"0.1": pytest.approx(1 / 3), "0.2": pytest.approx(2 / 3)})
    report = evaluate_predictions(predictions([moved(3, 4)]), label_set(record(ANIMAL)), split="t")
    assert report.correct.share == {"0.05": 0.0, "0.1": 0.0, "0.2": 1.0}  # 5 of 40 px: 0.125


def test_dropping_by_hand():
    """Two animals and one that was not found; the cutoff itself is not dropped."""
    confidence = np.array([[0.9, 0.05, 0.01, 0.9], [0.9, 0.9, 0.049, 0.9], [np.nan] * 4])
    found = Dropping.of(confidence, NAMES, 0.05)
    assert (found.n_animals, found.n_keypoints, found.mean_dropped) == (3, 4, pytest.approx(2.0))
    assert found.per_keypoint == pytest.approx(
        {"nose": 1 / 3, "left_ear": 1 / 3, "right_ear": 1, "tail": 1 / 3}
    )


def test_report_counts_dropped_keypoints_of_all_that_the_model_predicts():
    """Undefined keypoints can be dropped, they need no label; untrained ones cannot."""
    frames = predictions([ANIMAL], [], confidence=[[[0.9, 0.9, 0.01, 0.02]]])
    labels = label_set(record(ANIMAL, undefined=(2, 3)), record(ANIMAL, undefined=(2, 3)))
    report = evaluate_predictions(frames, labels, split="t")
    assert (report.dropping.n_keypoints, report.dropping.n_animals) == (4, 2)
    assert report.dropping.mean_dropped == pytest.approx((2 + 4) / 2)
    some = evaluate_predictions(frames, labels, split="t", untrained=["tail"], drop_cutoff=0.95)
    assert (some.dropping.n_keypoints, some.dropping.mean_dropped) == (3, 3.0)
    assert "dropped (confidence below 0.95): 3.00 of 3 keypoints" in some.table()


def test_interval_draws_groups_not_images():
    """Errors differ between animals and not within: pretending that images are independent narrows it."""
    rng = np.random.default_rng(1)
    groups = np.repeat(np.arange(12), 40)
    values = (5 + rng.normal(0, 2, 12)[groups])[:, None] + rng.normal(0, 0.2, (480, 3))
    over_groups = mean_interval(values, groups.tolist(), range(480))
    over_images = mean_interval(values, ["one"] * 480, range(480))
    assert (over_groups.over, over_groups.n, over_images.over, over_images.n) == ("groups", 12, "images", 480)
    assert over_groups.low < values.mean() < over_groups.high
    expected = 2 * 1.96 * values.reshape(12, -1).mean(1).std() / np.sqrt(12)
    assert over_groups.high - over_groups.low == pytest.approx(expected, rel=0.15)
    assert over_images.high - over_images.low < 0.4 * (over_groups.high - over_groups.low)
    assert over_groups == mean_interval(values, groups.tolist(), range(480))  # seeded


def test_interval_needs_two_images():
    one = mean_interval(np.array([[3.0, np.nan]]), ["g"], [0])
    assert one.n == 1
    assert np.isnan([one.low, one.high]).all()


def test_figures_of_each_dataset():
    near, far = record(ANIMAL), replace(record(ANIMAL), dataset="other", split_group="h")
    labels = LabelSet(NAMES, (near, far), (Source("lab", NAMES), Source("other", NAMES)), "four")
    report = evaluate_predictions(predictions([moved(0, 5)], [moved(30, 40)]), labels, split="t")
    assert {name: s.errors.mean_distance for name, s in report.per_dataset.items()} == {"lab": 5, "other": 50}
    assert report.errors.mean_distance == 27.5
    assert [report.per_dataset[name].precision.ap_50 for name in ("lab", "other")] == pytest.approx([1, 0])
    assert report.interval.over == "images"
    assert "other                4       0   50.00" in report.table()


class Forgetful(FakeModel):
    """Predicts the animal; the tail with little confidence and off by 30 px, if it has forgotten it."""

    def __init__(self, forgot: bool) -> None:
        super().__init__()
        self.forgot, self.vocabulary = forgot, VOCABULARY

    def predict(self, source, *, bboxes_xywh=None) -> Predictions:
        pose, sure = ANIMAL.copy(), [0.9, 0.9, 0.9, 0.9]
        if self.forgot:
            pose[3, 1] += 30
            sure[3] = 0.01
        frames = [[pose for _ in boxes] for boxes in bboxes_xywh]
        return predictions(*frames, confidence=[[sure for _ in boxes] for boxes in bboxes_xywh])


def test_forgetting_looks_at_what_the_target_does_not_define():
    elsewhere = label_set(record(ANIMAL), record(ANIMAL))
    found = forgetting(Forgetful(False), Forgetful(True), elsewhere, ["nose"], split="other lab")
    assert found.keypoints == ("left_ear", "right_ear", "tail")
    assert (found.errors_before.mean_distance, found.errors_after.mean_distance) == (0, 10)
    assert found.per_keypoint["tail"] == (0, 30)
    assert (found.dropping_before.mean_dropped, found.dropping_after.mean_dropped) == (0, 1)
    assert "0.00 -> 10.00 px" in found.table()
    # on the target itself the tail has no label, but is seen to be dropped
    target = label_set(record(ANIMAL, undefined=(1, 2, 3)))
    assert target_keypoints(target) == ["nose"]
    found = forgetting(Forgetful(False), Forgetful(True), target, target_keypoints(target), split="target")
    assert found.errors_before is None
    assert found.dropping_after.per_keypoint == {"left_ear": 0, "right_ear": 0, "tail": 1}
    assert json.loads(json.dumps(found.to_dict()))["errors_after"] is None
    with pytest.raises(InputError, match="no keypoint is left"):
        forgetting(Forgetful(False), Forgetful(True), elsewhere, NAMES, split="s")


def test_comparison_has_a_line_for_each():
    labels = label_set(record(ANIMAL), record(ANIMAL))
    reports = {
        name: evaluate_predictions(predictions([moved(0, d)], [moved(0, d)]), labels, split="t")
        for name, d in (("zero-shot", 6), ("fine-tuned", 2))
    }
    lines = comparison_table(reports).splitlines()
    assert [line.split()[:4] for line in lines[1:]] == [
        ["zero-shot", "8", "0", "6.00"],
        ["fine-tuned", "8", "0", "2.00"],
    ]
