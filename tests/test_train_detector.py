"""mmdet's detectors trained through the loop: samples, one step of each, a network that learns, figures."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from converters import write_superset
from superset_vocab import InputError, LabelRecord, LabelSet, Source, Visibility, load_vocabulary
from training.batches import build_dataset, without_augmentation
from training.checkpoints import read_log
from training.from_recipe import load_sources, train
from training.recipe import load_recipe
from zoo.detectors import Detections

HAS_MMDET = all(importlib.util.find_spec(name) is not None for name in ("mmdet", "mmcv", "mmengine"))
needs_mmdet = pytest.mark.skipif(
    not HAS_MMDET, reason="mmdet is not installed: pip install 'superanimal-zoo[mmdet]'"
)
VOCABULARY = load_vocabulary("superanimal_topviewmouse")
RECIPE = """
[network]
name = "rtmdet_tiny"
[data]
sources = [{path = "$POSE_DATA/boxes", held_out = ["day2"]}]
[batch]
view = "boxes"
input_size = [96, 96]
[augmentation]
rotate = 0
scale = [1.0, 1.0]
shift = 0
flip = 0.5
light = 0
blur = 0
noise = 0
occlude = 0
[schedule]
optimiser = "adamw"
lr = 2e-3
iterations = 2
batch_size = 4
decay = "constant"
[validation]
held_out = true
metric = "map"
[run]
workers = 0
log_every = 1
"""


def write_boxes(folder: Path, n: int = 10) -> None:
    """Dark pictures 96 x 72, each with one bright ellipse as the animal, keypoints at its four ends."""
    rng = np.random.default_rng(0)
    records = []
    for number in range(n):
        centre, half = rng.uniform([30, 25], [66, 47]), rng.uniform(12, 20, 2)
        image = rng.integers(0, 40, (72, 96, 3), dtype=np.uint8)
        cv2.ellipse(image, centre.astype(int).tolist(), half.astype(int).tolist(), 0, 0, 360, (240,) * 3, -1)
        path = folder / f"{number}.png"
        cv2.imwrite(str(path), image)
        points = np.full((1, len(VOCABULARY), 2), np.nan)
        points[0, :4] = centre + half * np.array([[-1, 0], [1, 0], [0, -1], [0, 1]])
        visibility = np.full((1, len(VOCABULARY)), Visibility.UNDEFINED, np.int8)
        visibility[0, :4] = Visibility.VISIBLE
        group = "day2" if number % 5 == 4 else "day1"
        records.append(
            LabelRecord(path, (96, 72), "boxes", group, points, visibility, np.full((1, 4), np.nan))
        )
    sources = (Source("boxes", VOCABULARY.keypoints[:4]),)
    write_superset(LabelSet(VOCABULARY.keypoints, tuple(records), sources, VOCABULARY.name), folder / "boxes")


@pytest.fixture
def recipe_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    write_boxes(tmp_path)
    monkeypatch.setenv("POSE_DATA", str(tmp_path))
    file = tmp_path / "recipe.toml"
    file.write_text(RECIPE)
    return file


@pytest.mark.parametrize("size", ["[96, 96]", "[192, 144]", "[200, 80]"])
def test_boxes_lie_around_the_animal_at_every_size(recipe_file, size):
    for flip in (0, 1):
        recipe = load_recipe(recipe_file, [f"batch.input_size={size}", f"augmentation.flip={flip}"])
        dataset = build_dataset(recipe, load_sources(recipe)[0], seed=0)
        assert len(dataset) == 8
        for i in range(len(dataset)):
            sample = dataset[(i, i)]
            image, (box,) = sample["image"].numpy(), sample["boxes"].numpy()
            w, h = sample["shown_wh"].tolist()
            assert (w / h) == pytest.approx(96 / 72, rel=0.05)
            rows, columns = np.nonzero(image[0, :h, :w] > 140)
            found = np.array([columns.min(), rows.min(), np.ptp(columns) + 1, np.ptp(rows) + 1])
            wide = max(found[2:])
            grown = found + 0.1 * wide * np.array([-1, -1, 2, 2])
            np.testing.assert_allclose(box, grown, atol=0.08 * wide)
            assert (image[:, h:] == 114).all()
            assert image.shape[1:] == ((96, 96) if size == "[96, 96]" else (h, w))


@needs_mmdet
@pytest.mark.parametrize("name", ["rtmdet_tiny", "faster_rcnn_r50_fpn"])
def test_a_step_of_each_with_validation_and_resume(recipe_file, tmp_path, name):
    size = "[96, 96]" if name == "rtmdet_tiny" else "[128, 96]"
    options = [f"network.name={name}", f"batch.input_size={size}", "schedule.batch_size=2"]
    one = train(recipe_file, tmp_path / "one", overrides=[*options, "schedule.iterations=1"])
    rows = read_log(tmp_path / "one" / "log.csv")
    parts = {"loss", "loss_cls", "loss_bbox"} | (
        {"loss_rpn_cls", "loss_rpn_bbox"} if "rcnn" in name else set()
    )
    assert parts <= set(rows[0])
    assert all(np.isfinite(rows[0][part]) for part in parts)
    assert set(read_log(tmp_path / "one" / "validation.csv")[0]) == {"step", "map", "ap_50"}
    record = json.loads(one.record.read_text())
    assert record["datasets"] == {"boxes": 8}
    assert record["validation"]["metric"] == "map"
    network = one.network.state_dict()
    start = train(
        recipe_file,
        tmp_path / "start",
        overrides=[*options, f"network.init='{one.weights}'", "schedule.lr=1e-12", "schedule.iterations=1"],
    )
    name = "backbone.stem.0.conv.weight" if name == "rtmdet_tiny" else "backbone.conv1.weight"
    torch.testing.assert_close(start.network.state_dict()[name], network[name])


@needs_mmdet
@pytest.mark.slow
def test_it_learns_where_the_animals_are(recipe_file, tmp_path):
    options = ["schedule.iterations=50", "validation.every=50", "schedule.warmup=5"]
    result = train(recipe_file, tmp_path / "run", overrides=options)
    rows = read_log(tmp_path / "run" / "log.csv")
    # From the fifth step on: an untrained RTMDet's boxes overlap with nothing, which costs it nothing.
    assert np.mean([row["loss"] for row in rows[-5:]]) < 0.6 * np.mean([row["loss"] for row in rows[4:9]])
    assert json.loads(result.record.read_text())["validation"]["best"] > 0.2


@needs_mmdet
@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("network.name=compact_unet", "trains faster_rcnn_r50_fpn and rtmdet_tiny, not 'compact_unet'"),
        ("schedule.amp=bfloat16", "knows no bfloat16"),
        ("run.compile=aot_eager", "its loss is not compiled"),
        ("network.options={pretrained=true}", "no pretrained weights for its backbone"),
        ("validation.metric=rmse", "metric 'rmse' is not of the view 'boxes'; use map"),
        ("batch.input_size=[80, 96]", "is not .longest, shortest side. of a frame"),
    ],
)
def test_what_a_detector_cannot_do(recipe_file, tmp_path, override, message):
    with pytest.raises(InputError, match=message):
        train(recipe_file, tmp_path / "run", overrides=[override])


def found(*boxes: tuple[float, ...]) -> Detections:
    table = np.array(boxes, np.float32).reshape(-1, 5)
    return Detections(table[:, :4], table[:, 4])


def test_precision_of_boxes():
    from training.detector import box_precision

    truth = [np.array([[0.0, 0, 10, 10]]), np.array([[20.0, 20, 10, 10]]), np.zeros((0, 4))]
    perfect = [found((0, 0, 10, 10, 0.9)), found((20, 20, 10, 10, 0.8)), found()]
    assert box_precision(truth, perfect) == {"map": pytest.approx(1), "ap_50": pytest.approx(1)}
    loose = [found((0, 0, 10, 13, 0.9)), found((20, 20, 10, 13, 0.8)), found()]  # IoU 10 / 13
    assert box_precision(truth, loose) == {"map": pytest.approx(0.6), "ap_50": pytest.approx(1)}
    half = [found((0, 0, 10, 10, 0.9)), found(), found((5, 5, 5, 5, 0.95))]
    assert box_precision(truth, half)["map"] < 0.6
    assert box_precision(truth, [found()] * 3) == {"map": 0, "ap_50": 0}
    assert np.isnan(box_precision([np.zeros((0, 4))], [found()])["map"])


def test_frames_for_measuring_are_as_they_are(recipe_file):
    recipe = load_recipe(recipe_file)
    dataset = build_dataset(without_augmentation(recipe), load_sources(recipe)[0], seed=0)
    first, again = dataset[(0, 0)], dataset[(0, 5)]
    assert torch.equal(first["image"], again["image"])
    assert dataset.frame(0).shape == (72, 96, 3)
