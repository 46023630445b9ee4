"""Every shipped recipe takes a step: its network small and its images few, everything else as it is."""

from __future__ import annotations

import importlib.util
import json
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from converters import write_superset
from superset_vocab import LabelRecord, LabelSet, Source, Visibility, load_vocabulary
from training.checkpoints import read_log
from training.from_recipe import build_network, train
from training.recipe import Recipe, list_recipes, load_recipe, parse_recipe
from training.resolve import resolve_network

HAS_MMDET = all(importlib.util.find_spec(name) is not None for name in ("mmdet", "mmcv", "mmengine"))

SMALLER = {
    "hrnet": ["network.options.variant=hrnet_w18_small", "batch.input_size=[64, 64]"],
    "animal_token_pose": [
        "network.options={outputs={heatmaps='K'}, variant='hrnet_w18_small', size_wh=[64, 64], depth=2, "
        "width=32, n_heads=4}",
        "batch.input_size=[64, 64]",
    ],
    "dlcrnet": [
        "network.options={outputs={heatmaps='K', locref='2K', pafs='2E'}, variant='resnet18', n_stages=3, "
        "width=16}",
        "batch.input_size=[80, 64]",
    ],
    "compact_unet": ["network.options.widths=[8, 8, 8, 8]"],
    "faster_rcnn_r50_fpn": ["batch.input_size=[128, 96]"],
    "rtmdet_tiny": ["batch.input_size=[96, 96]"],
}
"""Network -> overrides that make it fast; which kind of network, view and loss it is stays."""


@pytest.fixture(scope="module")
def labels(tmp_path_factory) -> Path:
    """Six pictures of noise for each vocabulary, all keypoints annotated, in six groups."""
    folder = tmp_path_factory.mktemp("labels")
    rng = np.random.default_rng(0)
    for name in ("superanimal_topviewmouse", "superanimal_quadruped"):
        vocabulary = load_vocabulary(name)
        records = []
        for number in range(6):
            path = folder / f"{name}{number}.png"
            cv2.imwrite(str(path), rng.integers(0, 255, (72, 96, 3), dtype=np.uint8))
            points = rng.uniform([10, 10], [80, 60], (1, len(vocabulary), 2))
            visibility = np.full((1, len(vocabulary)), Visibility.VISIBLE, np.int8)
            box = np.array([[8.0, 8, 74, 54]])
            records.append(LabelRecord(path, (96, 72), "noise", f"g{number}", points, visibility, box))
        source = Source("noise", vocabulary.keypoints)
        write_superset(LabelSet(vocabulary.keypoints, tuple(records), (source,), name), folder / name)
    return folder


def n_keypoints(recipe: Recipe) -> int | str:
    return recipe.network.options.get("outputs", {}).get("heatmaps", "K")


def adapted(name: str, labels: Path) -> list[str]:
    """Overrides: two samples from the tiny set of its vocabulary, one step, and nothing downloaded."""
    recipe = load_recipe(name)
    vocabulary = "superanimal_quadruped" if n_keypoints(recipe) == 39 else "superanimal_topviewmouse"
    held = "held_out=['g5']" if recipe.validation.asked else "held_out=[]"
    overrides = [
        f"data.sources=[{{path='{labels / vocabulary}', {held}}}]",
        "schedule.batch_size=2",
        "schedule.iterations=1" if not recipe.schedule.epochs else "schedule.epochs=0.3",
        "run.workers=0",
        *SMALLER[recipe.network.name],
    ]
    if recipe.network.options.get("pretrained"):
        overrides.append("network.options.pretrained=false")
    if name.endswith("_finetune"):
        pass  # from random weights
    elif recipe.network.init:
        overrides.append("network.init=''")
    return overrides


@pytest.mark.parametrize("name", list_recipes())
def test_a_step(name, labels, tmp_path):
    recipe = load_recipe(name)
    if recipe.batch.view == "boxes" and not HAS_MMDET:
        pytest.skip("mmdet is not installed")
    result = train(name, tmp_path, overrides=adapted(name, labels))
    assert result.steps == 1
    row = read_log(tmp_path / "log.csv")[0]
    assert np.isfinite(row["loss"])
    resolved = parse_recipe((tmp_path / "recipe.toml").read_text())
    assert json.loads(result.record.read_text())["recipe"] == resolved.to_dict()
    assert resolved.schedule.epochs == 0
    assert isinstance(n_keypoints(resolved) if resolved.batch.view != "boxes" else 0, int)
    torch.manual_seed(resolved.run.seed)
    before = build_network(resolved).state_dict()
    after = load_file(tmp_path / "weights.safetensors")
    trained = {n for n, p in build_network(resolved).named_parameters() if p.requires_grad}
    moved = [n for n in trained if not torch.equal(before[n], after[n])]
    assert len(moved) > 0.5 * len(trained)
    terms = {name for name in row if name.startswith("loss_")}
    if recipe.batch.view != "boxes":
        wanted = {"heatmaps": True, "spatial": recipe.loss.spatial_weight > 0}
        wanted |= {n: getattr(recipe.loss, n) != "none" for n in ("locref", "size", "pafs")}
        wanted["stages"] = recipe.network.name == "dlcrnet"
        assert terms == {f"loss_{n}" for n, there in wanted.items() if there}


def schedule_of(name: str, n_samples: int = 6400):
    from training.resolve import resolve_schedule

    return resolve_schedule(load_recipe(name), n_samples=n_samples, n_images=n_samples).recipe.schedule


@pytest.mark.parametrize("name", ["hrnet_w32", "animal_token_pose"])
def test_top_down_recipes_are_the_papers(name):
    schedule, augmentation = schedule_of(name), load_recipe(name).augmentation
    assert (schedule.optimiser, schedule.batch_size, schedule.iterations) == ("adam", 64, 21000)
    steps = [0, 16999, 17000, 19999, 20000, 20999]
    rates = [replace(schedule, warmup=0).learning_rate(step) for step in steps]
    assert rates == pytest.approx([5e-4, 5e-4, 5e-5, 5e-5, 5e-6, 5e-6])
    assert augmentation.flip == 0.5
    assert augmentation.half_body > 0
    assert augmentation.rotate > 0
    assert augmentation.scale[0] < 1 < augmentation.scale[1]


def test_bottom_up_and_detector_recipes_are_the_papers():
    for name, iterations in (("dlcrnet", 750_000), ("dlcrnet_finetune", 70_000)):
        schedule = schedule_of(name)
        assert (schedule.optimiser, schedule.batch_size, schedule.iterations) == ("adam", 8, iterations)
        assert len(schedule.milestones) == 3
        ends = [schedule.learning_rate(0), schedule.learning_rate(iterations - 1)]
        assert ends == pytest.approx([1e-4, 1e-5])
    schedule, batch = schedule_of("faster_rcnn_r50_fpn", 400), load_recipe("faster_rcnn_r50_fpn").batch
    assert (schedule.optimiser, schedule.batch_size, schedule.iterations) == ("adamw", 4, 10_000)
    rates = [schedule.learning_rate(step) for step in (0, 8999, 9000, 9999)]
    assert rates == pytest.approx([1e-4, 1e-4, 1e-5, 1e-5])
    assert batch.input_size == (1333, 800)
    few = schedule_of("hrnet_w32_finetune", 63)
    assert (few.batch_norm, few.lr) == ("fixed", 5e-5)
    many = schedule_of("hrnet_w32_finetune", 64)
    assert (many.batch_norm, many.lr) == ("batch", 5e-4)


@pytest.mark.parametrize("name", ["hrnet_w32", "hrnet_w32_finetune"])
def test_the_networks_of_the_recipes_are_the_published_ones(name):
    overrides = [] if "finetune" in name else ["network.options.pretrained=false"]
    recipe = resolve_network(load_recipe(name, overrides), load_vocabulary("superanimal_quadruped")).recipe
    with torch.device("meta"):
        assert sum(p.numel() for p in build_network(recipe).parameters()) == 29_306_823


def test_fine_tuning_starts_from_the_weights_it_is_given(labels, tmp_path):
    overrides = [*adapted("hrnet_w32_finetune", labels), "schedule.lr=1e-12", "schedule.small_set_images=0"]
    recipe = load_recipe("hrnet_w32_finetune", overrides)
    resolved = resolve_network(recipe, load_vocabulary("superanimal_topviewmouse")).recipe
    torch.manual_seed(7)
    given = build_network(resolved).state_dict()
    save_file(given, tmp_path / "given.safetensors")
    init = f"network.init='{tmp_path / 'given.safetensors'}'"
    result = train("hrnet_w32_finetune", tmp_path / "run", overrides=[*overrides, init])
    name = "backbone.conv1.weight"
    torch.testing.assert_close(result.network.state_dict()[name], given[name])
