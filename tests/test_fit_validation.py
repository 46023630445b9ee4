"""Validation in the loop: figures, the best weights, early stopping, resuming, and what is written."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import nn
from training_files import STILL

from converters import convert_labels, load_superset, write_superset
from converters.synthetic import LABS, synthesize
from superset_vocab import InputError
from training.batches import build_dataset, without_augmentation
from training.checkpoints import Best, Checkpoint, read_log
from training.curves import draw_curves
from training.fit import fit
from training.from_recipe import build_network, load_sources, train, validation_labels
from training.metrics import oks
from training.objectives import MapObjective
from training.processes import Processes
from training.recipe import Recipe, load_recipe, parse_recipe
from training.validation import OKS_THRESHOLDS, MapValidator

RECIPE = """
[network]
name = "compact_unet"
options = {outputs = {heatmaps = 27}, widths = [8, 8]}
[data]
sources = [{path = "$POSE_DATA/mice", held_out = ['day3']}]
[batch]
input_size = [64, 64]
stride = 2
sigma = 2.5
context = 1.25
grey = true
[loss]
heatmap = "binary_cross_entropy"
heatmap_weight = 8.0
[schedule]
iterations = 8
batch_size = 4
lr = 3e-3
ema = 0.5
decay = "constant"
[validation]
held_out = true
metric = "rmse"
every = 2
[run]
workers = 0
log_every = 2
checkpoint_every = 3
"""


VALIDATION = ("[validation]", "held_out = true", 'metric = "rmse"', "every = 2")


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("mice")
    labels = synthesize(LABS["homecage"], 8, out / "raw", seed=3)
    labels = convert_labels(labels, "synthetic_homecage", out / "converted")
    records = tuple(replace(r, split_group=f"day{i % 4}") for i, r in enumerate(labels.records))
    write_superset(replace(labels, records=records), out / "mice")
    return out


@pytest.fixture
def recipe_file(folder, tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("POSE_DATA", str(folder))
    file = tmp_path / "recipe.toml"
    file.write_text(RECIPE)
    return file


def data_of(recipe: Recipe):
    labels, _ = load_sources(recipe)
    held = validation_labels(recipe)
    assert held is not None
    return build_dataset(recipe, labels, seed=0), build_dataset(without_augmentation(recipe), held, seed=0)


class Oracle(nn.Module):
    """Knows the targets, and says them shifted by some cells."""

    def __init__(self, heatmaps: torch.Tensor, shift: int) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(1))
        self.maps, self.shift, self.place = heatmaps, shift, 0

    def forward(self, images: torch.Tensor) -> dict[str, torch.Tensor]:
        part = self.maps[self.place : self.place + len(images)].clamp(1e-6, 1 - 1e-6)
        self.place += len(images)
        return {"heatmaps": torch.logit(part.roll(self.shift, dims=3)) + self.bias}


def test_what_is_held_out_is_measured_and_not_trained_on(recipe_file):
    trained, measured = data_of(load_recipe(recipe_file))
    assert not {r.image for r in trained.records} & {r.image for r in measured.records}
    assert len(trained.records) + len(measured.records) == 8
    with pytest.raises(InputError, match="hold nothing out"):
        validation_labels(load_recipe(recipe_file, ["data.sources=[{path='$POSE_DATA/mice'}]"]))
    other = load_recipe(
        recipe_file, ["validation.sources=[{path='$POSE_DATA/mice'}]", "validation.held_out=false"]
    )
    labels = validation_labels(other)
    assert labels is not None
    assert len(labels) == 8


@pytest.mark.parametrize("crop", ["square", "published"])
@pytest.mark.parametrize("shift", [0, 3])
def test_figures_are_distances_in_image_pixels(recipe_file, shift, crop):
    recipe = load_recipe(recipe_file, [f"batch.crop={crop}", "batch.context=4.0"])  # with all of the tail
    _, dataset = data_of(recipe)
    maps = torch.stack([dataset[(i, 0)]["heatmaps"] for i in range(len(dataset))])
    values = MapValidator(recipe, dataset, MapObjective(recipe), Processes())(Oracle(maps, shift))
    truths = [dataset.truth(i) for i in range(len(dataset))]
    counts = [np.isfinite(truth.keypoints).all(-1).sum() for truth in truths]
    away = [2 * shift * truth.pixel_size for truth in truths]  # two pixels a cell
    assert values["rmse"] == pytest.approx(np.average(away, weights=counts), abs=0.15)
    assert (values["oks_recall"] > 0.95) == (shift == 0)
    assert values["loss"] > 0


def test_recall_is_over_the_thresholds():
    assert len(OKS_THRESHOLDS) == 10
    truth = np.zeros((1, 1, 2))
    similarity = oks(np.array([[[1.0, 0.0]]]), truth, np.array([100.0]), np.array([0.1]))[0, 0]
    assert similarity == pytest.approx(np.exp(-1 / (2 * 100 * 0.04)))


def test_best_counts_what_came_after_it():
    best, improved = Best().after(3.0, 10, larger=False)
    assert (best, improved) == (Best(3.0, 10, 0), True)
    best, improved = best.after(4.0, 20, larger=False)
    assert (best, improved) == (Best(3.0, 10, 1), False)
    assert best.after(4.0, 30, larger=True) == (Best(4.0, 30, 0), True)
    assert best.after(float("nan"), 30, larger=True) == (Best(3.0, 10, 2), False)


def test_best_weights_are_published_and_everything_is_written(recipe_file, tmp_path):
    result = train(recipe_file, tmp_path / "run", overrides=["run.log_every=1"])
    rows = read_log(tmp_path / "run" / "validation.csv")
    assert [row["step"] for row in rows] == [2, 4, 6, 8]
    assert set(rows[0]) == {"step", "loss", "rmse", "oks_recall"}
    best = min(rows, key=lambda row: row["rmse"])
    record = json.loads(result.record.read_text())["validation"]
    assert (record["best"], record["best_step"]) == (best["rmse"], best["step"])
    assert (record["published"], record["ended_early"]) == ("best", False)
    weights, kept = (load_file(tmp_path / "run" / f"{n}.safetensors") for n in ("weights", "best"))
    assert all(torch.equal(weights[name], kept[name]) for name in kept)
    state = result.network.state_dict()
    assert all(torch.equal(weights[name], state[name]) for name in weights)
    recipe = load_recipe(recipe_file)
    values = MapValidator(recipe, data_of(recipe)[1], MapObjective(recipe), Processes())(result.network)
    assert values["rmse"] == pytest.approx(best["rmse"], rel=1e-5)
    last = train(recipe_file, tmp_path / "last", overrides=["run.log_every=1", "validation.publish=last"])
    average = Checkpoint.load(tmp_path / "last" / "checkpoint.pt").average
    assert torch.equal(last.network.state_dict()["stem.0.weight"], average["stem.0.weight"])
    picture = cv2.imread(str(tmp_path / "run" / "curves.png"))
    assert picture.shape[1] > 3.5 * picture.shape[0]  # loss, rmse, recall, learning rate side by side
    events = list((tmp_path / "run" / "tensorboard").iterdir())
    assert any(b"validation/rmse" in path.read_bytes() for path in events)


def test_validation_leaves_the_training_as_it_is(recipe_file, tmp_path):
    measured = train(recipe_file, tmp_path / "a", overrides=["validation.publish=last"])
    plain = train(recipe_file, tmp_path / "b", overrides=["validation.held_out=false"])
    one, two = (load_file(result.weights) for result in (measured, plain))
    assert all(torch.equal(one[name], two[name]) for name in one)
    assert not (tmp_path / "b" / "validation.csv").exists()


def test_a_run_that_gets_no_better_ends_and_stays_ended(recipe_file, tmp_path):
    options = ["validation.patience=2", "schedule.lr=1e-12", "schedule.ema=0", "schedule.iterations=40"]
    options += ["network.options.widths=[8]", "schedule.batch_norm=fixed", "validation.every=1"]
    result = train(recipe_file, tmp_path / "run", overrides=options)
    assert result.steps < 20
    record = json.loads(result.record.read_text())
    assert record["validation"]["ended_early"]
    assert record["iterations"] == result.steps == record["validation"]["best_step"] + 2
    before = load_file(result.weights)
    again = train(recipe_file, tmp_path / "run", overrides=options, resume=True)
    assert again.steps == result.steps
    assert all(torch.equal(before[name], t) for name, t in load_file(again.weights).items())


def test_resumed_validation_is_that_of_a_straight_run(recipe_file, tmp_path, monkeypatch):
    straight = train(recipe_file, tmp_path / "straight")
    save, saved = Checkpoint.save, []

    def save_and_die(checkpoint, path):
        save(checkpoint, path)
        saved.append(checkpoint.iteration)
        if checkpoint.iteration >= 4:
            raise KeyboardInterrupt

    monkeypatch.setattr(Checkpoint, "save", save_and_die)
    with pytest.raises(KeyboardInterrupt):
        train(recipe_file, tmp_path / "killed")
    monkeypatch.setattr(Checkpoint, "save", save)
    resumed = train(recipe_file, tmp_path / "killed", resume=True)
    files = [tmp_path / name / "validation.csv" for name in ("straight", "killed")]
    assert files[0].read_text() == files[1].read_text()
    one, two = load_file(straight.weights), load_file(resumed.weights)
    assert all(torch.equal(one[name], two[name]) for name in one)


def test_checkpoints_before_there_was_validation_can_be_resumed(recipe_file, tmp_path):
    first = train(recipe_file, tmp_path / "run", overrides=["validation.held_out=false"])
    before = load_file(first.weights)
    path = tmp_path / "run" / "checkpoint.pt"
    content = torch.load(path, weights_only=True)
    del content["best"]
    recipe = json.loads(content["recipe"])
    del recipe["validation"], recipe["run"]["compile"], recipe["schedule"]["batch_norm"]
    torch.save({**content, "recipe": json.dumps(recipe)}, path)
    plain = [line for line in RECIPE.splitlines() if line not in VALIDATION]
    recipe_file.write_text("\n".join(plain))
    after = load_file(train(recipe_file, tmp_path / "run", resume=True).weights)
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_asking_without_data_is_a_mistake_of_the_program(recipe_file, tmp_path):
    recipe = load_recipe(recipe_file)
    with pytest.raises(ValueError, match=r"give fit\(\) its dataset"):
        fit(build_network(recipe), data_of(recipe)[0], recipe, tmp_path)


def test_curves_without_anything_to_draw(tmp_path, monkeypatch):
    (tmp_path / "log.csv").write_text("")
    assert draw_curves(tmp_path) is None
    (tmp_path / "log.csv").write_text("step,loss,learning_rate\n1,0.5,0.1\n2,-0.25,0.1\n")
    assert draw_curves(tmp_path) == tmp_path / "curves.png"
    (tmp_path / "curves.png").unlink()
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    assert draw_curves(tmp_path) is None
    assert not (tmp_path / "curves.png").exists()


def test_published_targets_lie_where_the_published_runtime_reads_them(folder):
    """Cell (j + 0.5) * stride of the published decoder, through the inverse of its crop, is the keypoint."""
    from zoo.crops import published_crop
    from zoo.transforms import apply_matrix, invert_matrix

    text = (
        "[network]\nname = 'hrnet'\n[data]\nsources = [{path = 'x'}]\n[batch]\ninput_size = [64, 64]\n"
        "stride = 1\nsigma = 2.0\ncontext = 1.25\ncrop = 'published'\n" + STILL
    )
    dataset = build_dataset(parse_recipe(text), load_superset(folder / "mice"), seed=0)
    for i, (r, n) in enumerate(dataset.items):
        record, box = dataset.records[r], dataset.boxes[r][n]
        truth = dataset.truth(i).keypoints
        _, matrix = published_crop(dataset.frame(r), box, 64, 1.25)
        found = apply_matrix(truth + 0.5, invert_matrix(matrix))  # cells of one pixel: (j + 0.5) * 1
        known = np.isfinite(found).all(-1)
        scale = dataset.truth(i).pixel_size
        # The published crop rounds its corners to whole pixels: at most half a pixel on each side.
        assert np.abs(found - record.keypoints[n])[known].max() < 1.1 + scale * 0.01
        heat = dataset[(i, 0)]["heatmaps"].numpy()
        for k in np.flatnonzero(known & (truth > 1).all(-1) & (truth < 62).all(-1)):
            row, column = np.unravel_index(heat[k].argmax(), heat[k].shape)
            assert abs(column - truth[k, 0]) < 0.51
            assert abs(row - truth[k, 1]) < 0.51
