"""Evaluation against values worked out by hand, and against what a careless evaluation would hide."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from superset_vocab import InputError, LabelRecord, LabelSet, Source, Visibility, Vocabulary
from training.evaluate import evaluate_model, evaluate_predictions, extent
from training.metrics import PixelErrors, match_individuals, oks
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
