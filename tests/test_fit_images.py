"""Damaged images in a training set are named, and refused or left out as asked."""

from __future__ import annotations

import dataclasses
import json
import logging
from pathlib import Path

import cv2
import numpy as np
import pytest
from training_files import ONE_DATASET, write_labels

from converters import load_superset
from superset_vocab import InputError
from training.from_recipe import train
from training.images import ImageStore, read_image
from training.recipe import load_recipe

RECIPE = (
    ONE_DATASET
    + """
[schedule]
iterations = 3
batch_size = 4
"""
)


@pytest.fixture
def recipe_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    write_labels(tmp_path, "one", ["day1"] * 5)
    monkeypatch.setenv("POSE_DATA", str(tmp_path))
    file = tmp_path / "recipe.toml"
    file.write_text(RECIPE)
    return file


def images(tmp_path: Path) -> list[Path]:
    return [record.image for record in load_superset(tmp_path / "one").records]


def damage(paths: list[Path]) -> None:
    """Cut one short, empty one, and make one larger than its labels know."""
    paths[0].write_bytes(paths[0].read_bytes()[:-900])
    paths[1].write_bytes(b"")
    cv2.imwrite(str(paths[2]), np.zeros((30, 40), np.uint8))


def test_refused_with_all_their_names_before_anything_is_trained(recipe_file, tmp_path):
    damage(images(tmp_path))
    with pytest.raises(InputError) as raised:
        train(recipe_file, tmp_path / "run")
    message = str(raised.value)
    for path, reason in zip(
        images(tmp_path),
        ("cut short", "cannot be read as an image", "is 40x30 pixels, its labels are for 80x60"),
        strict=False,
    ):
        assert any(path.name in line and reason in line for line in message.splitlines()), message
    assert "3 problems" in message
    assert 'data.bad_images = "skip"' in message
    assert not (tmp_path / "run").exists()


def test_skipped_when_asked_and_said(recipe_file, tmp_path, caplog):
    damage(images(tmp_path))
    with caplog.at_level(logging.WARNING):
        result = train(recipe_file, tmp_path / "run", overrides=["data.bad_images=skip"])
    names = [path.name for path in images(tmp_path)[:3]]
    assert all(any(name in line for line in caplog.messages) for name in names)
    record = json.loads(result.record.read_text())
    assert record["datasets"] == {"one": 2}
    assert len(record["skipped_images"]) == 3
    assert all(name in str(record["skipped_images"]) for name in names)
    images(tmp_path)[3].write_bytes(b"")
    with pytest.raises(InputError, match="the labels have changed"):
        train(recipe_file, tmp_path / "run", overrides=["data.bad_images=skip"], resume=True)
    for path in images(tmp_path):
        path.write_bytes(b"")
    with pytest.raises(InputError, match="none is left"):
        train(recipe_file, tmp_path / "x", overrides=["data.bad_images=skip"])


@pytest.mark.parametrize("workers", [0, 1])
def test_one_that_breaks_while_training_ends_the_run_with_its_name(
    recipe_file, tmp_path, monkeypatch, workers
):
    checked = ImageStore.check

    def check_then_break(store, labels, *, on_bad):
        result = checked(store, labels, on_bad=on_bad)
        images(tmp_path)[4].write_bytes(b"")
        return result

    monkeypatch.setattr(ImageStore, "check", check_then_break)
    options = [f"run.workers={workers}", "run.cache_mb=0", "schedule.iterations=6", "run.checkpoint_every=1"]
    with pytest.raises(InputError) as raised:
        train(recipe_file, tmp_path / "run", overrides=options)
    assert str(raised.value).startswith(str(images(tmp_path)[4]))
    assert "Traceback" not in str(raised.value)
    assert not (tmp_path / "run" / "weights.safetensors").exists()


def test_what_is_kept_is_what_fits(tmp_path):
    write_labels(tmp_path, "one", ["day1"] * 5)
    labels = load_superset(tmp_path / "one")
    one = 60 * 80 * 3 / 1e6
    store = ImageStore(grey=False, cache_mb=0)
    store._free = 2.5 * one * 1e6
    store.check(labels, on_bad="refuse")
    assert len(store._kept) == 2
    for record in labels.records:
        assert np.array_equal(store(record.image), read_image(record.image, grey=False))
    assert len(store._kept) == 2
    kept = next(iter(store._kept))
    kept.unlink()
    store(kept)  # from memory


@pytest.mark.parametrize("suffix", [".jpg", ".png"])
def test_files_cut_short_are_found_where_opencv_says_nothing(tmp_path, suffix):
    path = tmp_path / f"a{suffix}"
    cv2.imwrite(str(path), np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8))
    whole = path.read_bytes()
    assert read_image(path, grey=True).shape == (64, 64)
    path.write_bytes(whole + b"trailing bytes of a camera")
    assert read_image(path, grey=False).shape == (64, 64, 3)
    path.write_bytes(whole[: len(whole) * 2 // 3])
    with pytest.raises(InputError, match="cut short"):
        read_image(path, grey=True)
    path.unlink()
    with pytest.raises(InputError, match="cannot be read"):
        read_image(path, grey=True)


def test_a_subset_is_drawn_from_every_dataset(recipe_file, tmp_path):
    write_labels(tmp_path, "two", ["day1"] * 3)
    sources = "data.sources=[{path='$POSE_DATA/one'}, {path='$POSE_DATA/two'}]"

    def names(*overrides: str) -> list[str]:
        from training.from_recipe import load_sources

        labels, _ = load_sources(load_recipe(recipe_file, [sources, *overrides]))
        return [record.image.name for record in labels.records]

    half, again = names("data.subset=0.5"), names("data.subset=0.5")
    other = names("data.subset=0.5", "data.subset_seed=1")
    assert half == again != other
    assert sorted(name[:3] for name in half) == ["one", "one", "two", "two"]
    assert len(names("data.subset=0.01")) == 2
    assert len(names()) == 8
    with pytest.raises(InputError, match="subset 0 is not above 0"):
        dataclasses.replace(load_recipe(recipe_file), data=load_recipe(recipe_file, ["data.subset=0"]).data)
