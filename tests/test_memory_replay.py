"""Memory replay: the paper's pseudo-code, with several animals, from predictions that never change."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from fakes import fake_model
from hypothesis import given
from hypothesis import strategies as st
from label_sets import assert_same, write_image
from safetensors.numpy import save

from adaptation.memory_replay import Replay, ZeroShot, ZeroShotStore, replay_keypoints, replayed_labels
from superset_vocab import InputError, LabelRecord, LabelSet, Source, Visibility, load_vocabulary
from training.batches import build_dataset
from training.evaluate import label_boxes
from training.recipe import parse_recipe

VOCABULARY = load_vocabulary("superanimal_topviewmouse")
K = len(VOCABULARY)
DEFINED = [VOCABULARY.index[name] for name in ("nose", "left_ear", "right_ear", "tail_base")]
ANIMAL = np.array([[20.0, 5], [14, 12], [26, 12], [20, 50]])


def labelled(*corners: tuple[float, float], image: Path = Path("a.png")) -> LabelRecord:
    """Animals with the four openfield keypoints, the others undefined."""
    points = np.full((len(corners), K, 2), np.nan)
    state = np.full((len(corners), K), Visibility.UNDEFINED, np.int8)
    for n, corner in enumerate(corners):
        points[n, DEFINED] = ANIMAL + corner
        state[n, DEFINED] = Visibility.VISIBLE
    box = np.full((len(corners), 4), np.nan)
    return LabelRecord(image, (160, 120), "lab", "day", points, state, box)


def label_set(*records: LabelRecord) -> LabelSet:
    return LabelSet(VOCABULARY.keypoints, records, (Source("lab", ()),), VOCABULARY.name)


def predicted(*corners: tuple[float, float], confidence: float | np.ndarray = 0.9) -> ZeroShot:
    """Each animal where it is, keypoint k of the undefined ones at (k, 2 k) from its corner."""
    points = np.stack([np.arange(K), 2 * np.arange(K)], 1)[None] + np.array(corners, float)[:, None]
    points[:, DEFINED] = ANIMAL + np.array(corners)[:, None]
    return ZeroShot(
        points.astype(np.float32), np.broadcast_to(confidence, (len(corners), K)).astype(np.float32)
    )


def fill(record: LabelRecord, zero_shot: ZeroShot, threshold: float = 0.7):
    return replay_keypoints(label_set(record), [zero_shot], VOCABULARY, threshold=threshold)


def test_undefined_keypoints_come_from_the_prediction_and_labels_stay() -> None:
    confidence = np.full(K, 0.9)
    confidence[5], confidence[7], confidence[8] = 0.7, 0.71, np.nan  # the threshold itself is not above it
    record = labelled((10, 10))
    off = predicted((12, 12), confidence=confidence)
    found = fill(record, off)
    new = found.labels.records[0]
    np.testing.assert_array_equal(new.keypoints[0, DEFINED], record.keypoints[0, DEFINED])
    others = [k for k in range(K) if k not in (*DEFINED, 5, 8)]
    np.testing.assert_allclose(new.keypoints[0, others], off.keypoints[0, others])
    assert (new.visibility[0, others] == Visibility.VISIBLE).all()
    assert (new.visibility[0, [5, 8]] == Visibility.UNDEFINED).all()
    assert np.isnan(new.keypoints[0, [5, 8]]).all()
    assert (found.n_animals, found.n_matched, found.n_undefined, found.n_replayed) == (1, 1, 23, 21)
    assert found.per_keypoint == {VOCABULARY.keypoints[k]: 1 for k in others}
    assert "21 of their 23" in str(found)


def test_what_the_annotator_left_out_is_not_replayed() -> None:
    """Not annotated means "not to be seen"; only undefined means "nobody was asked"."""
    record = labelled((10, 10))
    state, points = record.visibility.copy(), record.keypoints.copy()
    state[0, DEFINED[1]], points[0, DEFINED[1]] = Visibility.NOT_ANNOTATED, np.nan
    new = fill(replace(record, visibility=state, keypoints=points), predicted((10, 10))).labels.records[0]
    assert new.visibility[0, DEFINED[1]] == Visibility.NOT_ANNOTATED


@given(st.permutations(range(3)), st.floats(0.69, 0.71))
def test_each_animal_gets_its_own_keypoints(order: list[int], threshold: float) -> None:
    """Whatever the order in which the animals were predicted (Hungarian assignment by OKS)."""
    corners = [(0, 0), (60, 10), (110, 60)]
    found = fill(labelled(*corners), predicted(*(corners[i] for i in order)), threshold)
    k = VOCABULARY.index["mid_back"]
    expected = np.array(corners, float) + np.array([k, 2 * k])
    np.testing.assert_allclose(found.labels.records[0].keypoints[:, k], expected)


def test_the_assignment_is_optimal_not_greedy() -> None:
    """The first labelled animal is nearest to the prediction that the second one needs."""
    found = fill(labelled((0, 0), (12, 0)), predicted((7, 0), (-16, 0)))
    k = VOCABULARY.index["mid_back"]
    assert found.labels.records[0].keypoints[:, k, 0] == pytest.approx([k - 16, k + 7])


def test_another_animal_is_no_stand_in() -> None:
    """One labelled animal, which the model did not find, and a far one that nobody labelled."""
    found = fill(labelled((0, 0)), predicted((110, 60)))
    assert (found.n_matched, found.n_replayed) == (0, 0)
    assert_same(found.labels, label_set(labelled((0, 0))))
    nothing = ZeroShot(np.zeros((0, K, 2), np.float32), np.zeros((0, K), np.float32))
    assert fill(labelled((0, 0)), nothing).n_replayed == 0


def test_labels_of_another_vocabulary_are_refused() -> None:
    foreign = LabelSet(("a",), (), ())
    with pytest.raises(InputError, match="the labels are in no vocabulary, not in superanimal_topviewmouse"):
        replay_keypoints(foreign, [], VOCABULARY, threshold=0.5)


RECIPE = """
    network = {name = "compact_unet"}
    data = {sources = [{path = "nowhere"}]}
    [batch]
    input_size = [64, 64]
    stride = 4
"""


@pytest.fixture
def images(tmp_path: Path) -> LabelSet:
    paths = [write_image(tmp_path / f"{i}.png", (160, 120), seed=i) for i in range(3)]
    return label_set(*(labelled((10, 10), (80, 40), image=path) for path in paths))


def test_threshold_one_is_naive_fine_tuning(images: LabelSet) -> None:
    """The very same batches, augmentation included, even from a model that is sure of everything."""
    recipe = parse_recipe(RECIPE)
    zero_shot = [predicted((10, 10), (80, 40), confidence=1.0)] * 3
    boxes = {r.image: b for r, b in zip(images.records, label_boxes(images), strict=True)}
    one, below = (replay_keypoints(images, zero_shot, VOCABULARY, threshold=t).labels for t in (1.0, 0.999))
    naive, with_one, with_less = (
        build_dataset(recipe, labels, seed=3, boxes=boxes) for labels in (images, one, below)
    )
    for position in range(6):
        a, b, c = (dataset[position, position] for dataset in (naive, with_one, with_less))
        assert all(np.array_equal(a[name], b[name]) for name in a)
        # below 1 the image is the same, too: only what is asked of the network differs
        assert np.array_equal(a["image"], c["image"])
        assert int(a["keypoint_weight"].sum()) == 4
        assert int(c["keypoint_weight"].sum()) == K


def test_predictions_are_made_once_and_then_fixed(images: LabelSet, tmp_path: Path) -> None:
    """Another run reads them, though the model has changed meanwhile; a renamed copy is the same image."""
    model = fake_model()
    store = ZeroShotStore(tmp_path / "store", model, "labels")
    first = store.predict(images)
    calls = []
    changed = replace(model, pose=lambda frames, boxes: calls.append(frames))
    again = ZeroShotStore(tmp_path / "store", changed, "labels").predict(images)
    assert calls == []
    for a, b in zip(first, again, strict=True):
        np.testing.assert_array_equal(a.keypoints, b.keypoints)
    copy = tmp_path / "copy.png"
    copy.write_bytes(images.records[0].image.read_bytes())
    renamed = label_set(replace(images.records[0], image=copy))
    ZeroShotStore(tmp_path / "store", changed, "labels").predict(renamed)
    assert calls == []
    about = json.loads((tmp_path / "store" / store.key / "predictor.json").read_text())
    assert about["weights"] == {"pose": "0" * 64}


def test_other_content_boxes_or_weights_are_predicted_anew(images: LabelSet, tmp_path: Path) -> None:
    def n_files() -> int:
        return len(list((tmp_path / "store").rglob("*.safetensors")))

    model = fake_model()
    ZeroShotStore(tmp_path / "store", model, "labels").predict(images)
    assert n_files() == 3
    write_image(images.records[0].image, (160, 120), seed=9)  # same name, other content
    ZeroShotStore(tmp_path / "store", model, "labels").predict(images)
    assert n_files() == 4
    moved = label_set(replace(images.records[1], keypoints=images.records[1].keypoints + 3))
    ZeroShotStore(tmp_path / "store", model, "labels").predict(moved)
    assert n_files() == 5
    other = replace(model, weights={"pose": {"file": "x", "sha256": "1" * 64}})
    ZeroShotStore(tmp_path / "store", other, "labels").predict(images)
    assert n_files() == 8
    ZeroShotStore(tmp_path / "store", model, "model").predict(images)
    assert n_files() == 11
    assert len(list((tmp_path / "store").iterdir())) == 3  # predictors


def test_a_damaged_prediction_is_named(images: LabelSet, tmp_path: Path) -> None:
    store = ZeroShotStore(tmp_path / "store", fake_model(), "labels")
    store.predict(images)
    file = next((tmp_path / "store").rglob("*.safetensors"))
    file.write_bytes(file.read_bytes()[:100])
    with pytest.raises(InputError, match=f"{file.name}: is no stored prediction"):
        store.predict(images)
    file.write_bytes(save({"keypoints": np.zeros((1, 2, 2)), "confidence": np.zeros((1, 2))}))
    with pytest.raises(InputError, match="has predictions of shape"):
        store.predict(images)
    file.write_bytes(save({"keypoints": np.zeros((1, K, 2))}))
    with pytest.raises(InputError, match="is no stored prediction"):
        store.predict(images)


def test_the_models_own_threshold_and_a_warning_where_nothing_is_replayed(
    images: LabelSet, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The fake model is 0.9 sure of every keypoint."""
    model = fake_model()
    found, _ = replayed_labels(model, images, tmp_path / "s", Replay(bboxes="labels", min_oks=0))
    assert found.share == 1
    assert not caplog.records
    strict = replace(model, spec=replace(model.spec, replay_threshold=0.95))
    found, _ = replayed_labels(strict, images, tmp_path / "s", Replay(bboxes="labels", min_oks=0))
    assert found.n_replayed == 0
    assert "hardly more than naive fine-tuning" in caplog.text


@pytest.mark.parametrize(
    ("options", "words"),
    [({"threshold": 1.5}, "threshold of memory replay is 1.5"), ({"bboxes": "mine"}, "must be 'model' or")],
)
def test_wrong_options_are_refused(options: dict, words: str) -> None:
    with pytest.raises(InputError, match=words):
        Replay(**options)
