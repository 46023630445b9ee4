"""Which weights `zoo.load` takes: files, the Hub, the embedded ones, and what it says about it."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from fakes import ABOUT

import zoo
from superset_vocab import InputError
from zoo.catalogue import ModelSpec, parse_spec
from zoo.hub import NotReachableError
from zoo.networks import build
from zoo.weight_files import save_weights

SPEC = (
    ABOUT
    + """
variant = "{variant}"
default = {default}
[pose]
network = "compact_unet"
options = {{widths = [4, 6, {last}], output_stride = 2, outputs = {{heatmaps = 27}}}}
input = {{size = 32, stride = 2, context = 1.5, grey = true}}
weights = {{file = "{file}", {where}}}
[detectors.{detector}]
network = "compact_unet"
options = {{widths = [4, 6, 8], output_stride = 2, outputs = {{heatmaps = 1, size = 2}}}}
input = {{size_wh = [64, 48], stride = 2, grey = true}}
weights = {{file = "{detector_file}", {where}}}
bbox_threshold = 0.0
"""
)

Catalogue = dict[str, ModelSpec]


def networks(last: int) -> dict[str, torch.nn.Module]:
    torch.manual_seed(last)
    shared = {"output_stride": 2}
    return {
        "pose": build("compact_unet", widths=[4, 6, last], outputs={"heatmaps": 27}, **shared),
        "detector": build("compact_unet", widths=[4, 6, 8], outputs={"heatmaps": 1, "size": 2}, **shared),
    }


@pytest.fixture
def models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Catalogue:
    """A catalogue with an embedded small variant, and a large default one on a Hub that holds its files."""
    monkeypatch.setattr("zoo.catalogue._WEIGHTS", tmp_path / "package")
    monkeypatch.delenv("ZOO_STRICT", raising=False)
    for name in ("package", "hub"):
        (tmp_path / name).mkdir()
    digest = save_weights(tmp_path / "package" / "small.safetensors", networks(8))
    for part, network in networks(10).items():
        save_weights(tmp_path / "hub" / f"large_{part}.safetensors", {part: network})
    small = SPEC.format(
        variant="small",
        default="false",
        last=8,
        file="small.safetensors",
        detector="tiny",
        detector_file="small.safetensors",
        where=f'sha256 = "{digest}"',
    )
    large = SPEC.format(
        variant="large",
        default="true",
        last=10,
        file="large_pose.safetensors",
        detector="big",
        detector_file="large_detector.safetensors",
        where='repository = "lab/m"',
    )
    specs = [parse_spec("small", small), parse_spec("large", large)]
    monkeypatch.setattr("zoo.catalogue.list_models", lambda: specs)
    return {spec.variant: spec for spec in specs}


@pytest.fixture
def hub(models: Catalogue, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Say which files the Hub has; without a call it cannot be reached."""
    there: set[str] = set()

    def fetch(repository: str, file: str, revision: str = "main", sha256: str = "") -> Path:
        assert (repository, revision, sha256) == ("lab/m", "main", "")
        if file not in there:
            raise NotReachableError(f"{file}: no network")
        return tmp_path / "hub" / file

    monkeypatch.setattr("zoo.loading.fetch", fetch)
    return lambda *files: there.update(files)


def frame() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 255, (48, 64, 3), dtype=np.uint8)


def test_the_published_weights_are_preferred(hub: Callable[..., None]) -> None:
    hub("large_pose.safetensors", "large_detector.safetensors")
    model = zoo.load("m", device="cpu")
    assert (model.spec.variant, model.detector_name, model.label) == ("large", "big", "m_large_big")
    poses = model.predict(frame(), max_individuals=1)
    assert poses.provenance["weights"]["pose"]["file"] == "large_pose.safetensors"
    assert poses.provenance["weights"]["detector"]["file"] == "large_detector.safetensors"
    assert len(poses.provenance["weights"]["pose"]["sha256"]) == 64


@pytest.mark.parametrize("there", [(), ("large_pose.safetensors",)])
def test_the_embedded_ones_stand_in_with_one_warning(
    hub: Callable[..., None], there: tuple[str, ...]
) -> None:
    hub(*there)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        model = zoo.load("m", device="cpu")
    assert (model.spec.variant, model.label) == ("small", "m_small_tiny")
    assert [one.category for one in caught] == [zoo.EmbeddedWeightsWarning]
    said = str(caught[0].message)
    for words in ("embedded m_small", "m_large cannot be had", "no network", "weights=", "variant='small'"):
        assert words in said
    assert "tests" in caught[0].filename  # it points at the caller's line


def test_strict_is_an_error(hub: Callable[..., None], monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match=r"m_large: large_pose\.safetensors: no network; connect to"):
        zoo.load("m", device="cpu", allow_embedded=False)
    monkeypatch.setenv("ZOO_STRICT", "1")
    with pytest.raises(InputError, match="no network"):
        zoo.load("m", device="cpu")
    with pytest.warns(zoo.EmbeddedWeightsWarning):
        assert zoo.load("m", device="cpu", allow_embedded=True).spec.variant == "small"


def test_a_named_variant_has_no_stand_in(hub: Callable[..., None]) -> None:
    with pytest.raises(InputError, match="no network"):
        zoo.load("m", "large", device="cpu")
    assert zoo.load("m", "small", device="cpu").spec.variant == "small"


def test_a_file_finds_its_variant(hub: Callable[..., None], tmp_path: Path) -> None:
    file = tmp_path / "hub" / "large_pose.safetensors"
    model = zoo.load("m", device="cpu", weights=file, detector="none")
    assert (model.spec.variant, model.label) == ("large", "m_large_whole_frame")
    assert model.predict(frame()).bbox_xywh[0, 0].tolist() == [0, 0, 64, 48]
    with pytest.warns(zoo.EmbeddedWeightsWarning, match="embedded detector 'tiny' in place of 'big'"):
        assert zoo.load("m", device="cpu", weights=file).detector_name == "tiny"
    detector = tmp_path / "hub" / "large_detector.safetensors"
    both = zoo.load("m", device="cpu", weights=file, detector_weights=detector)
    assert both.weights["detector"]["file"] == "large_detector.safetensors"
    copy = tmp_path / "mine.safetensors"
    copy.write_bytes((tmp_path / "package" / "small.safetensors").read_bytes())
    whole = zoo.load("m", device="cpu", weights=copy)  # has both networks
    assert (whole.spec.variant, whole.weights["detector"]["file"]) == ("small", "mine.safetensors")


def test_files_that_do_not_fit(hub: Callable[..., None], models: Catalogue, tmp_path: Path) -> None:
    detector = tmp_path / "hub" / "large_detector.safetensors"
    with pytest.raises(InputError, match="has no pose network"):
        zoo.load("m", device="cpu", weights=detector)
    other = tmp_path / "other.safetensors"
    save_weights(other, {"pose": build("compact_unet", widths=[4, 6], outputs={"heatmaps": 27})})
    with pytest.raises(
        InputError, match=r"other\.safetensors: fits none of the variants of m \(large, small\)"
    ):
        zoo.load("m", device="cpu", weights=other)
    with pytest.raises(InputError, match=r"other\.safetensors does not fit the network"):
        zoo.load("m", "large", device="cpu", weights=other, detector="none")
    with pytest.raises(InputError, match="no such weights file"):
        zoo.load("m", device="cpu", weights=tmp_path / "none.pt")


def test_detectors_by_name(hub: Callable[..., None], tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"m_small has no detector 'tyni'; did you mean 'tiny'\?"):
        zoo.load("m", "small", device="cpu", detector="tyni")
    with pytest.raises(InputError, match="detector_weights has no effect with detector='none'"):
        zoo.load("m", "small", device="cpu", detector="none", detector_weights=tmp_path / "x.pt")
    hub("large_pose.safetensors")
    assert zoo.load("m", "large", device="cpu", detector="tiny").label == "m_large_tiny"


def test_damaged_embedded_weights_are_refused(models: Catalogue, tmp_path: Path) -> None:
    path = tmp_path / "package" / "small.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"small\.safetensors: .*not the published"):
        zoo.load("m", "small", device="cpu")


def test_a_loaded_model_gives_the_same_twice(models: Catalogue) -> None:
    clip = np.stack([frame(), frame()[::-1]])
    boxes = [np.array([[10, 10, 20, 20]])] * 2
    first, second = (zoo.load("m", "small", "cpu").predict(clip, bboxes_xywh=boxes) for _ in range(2))
    np.testing.assert_array_equal(first.keypoints, second.keypoints)
    assert np.abs(first.keypoints - (19.5, 19.5)).max() <= 15.5  # inside the square that the crop shows
    assert not np.array_equal(first.keypoints[0], first.keypoints[1])


def test_options_of_the_crop_act(models: Catalogue) -> None:
    model, boxes = zoo.load("m", "small", "cpu"), np.array([[10.0, 10, 20, 20]])
    plain, wide, flipped = (
        model.predict(frame(), bboxes_xywh=boxes, **options)
        for options in ({}, {"context": 1.25}, {"flip_test": True})
    )
    assert not np.array_equal(plain.keypoints, wide.keypoints)
    assert not np.array_equal(plain.confidence, flipped.confidence)
    done = flipped.provenance["operations"][-1]
    assert (done["name"], done["flip_test"]) == ("pose", True)
    with pytest.raises(InputError, match="context is 0"):
        model.predict(frame(), bboxes_xywh=boxes, context=0)


def test_unknown_networks_are_named(models: Catalogue, monkeypatch: pytest.MonkeyPatch) -> None:
    small = models["small"]
    wrong = replace(small, pose=replace(small.pose, network="unet9"))
    monkeypatch.setattr("zoo.catalogue.list_models", lambda: [wrong])
    with pytest.raises(InputError, match="'unet9' is no network"):
        zoo.load("m", "small", device="cpu")


def test_a_load_asks_for_each_file_once(hub: Callable[..., None], monkeypatch: pytest.MonkeyPatch) -> None:
    hub("large_pose.safetensors", "large_detector.safetensors")
    import zoo.loading

    asked: list[str] = []
    fetch = zoo.loading.fetch

    def counted(repository: str, file: str, *rest: str) -> Path:
        asked.append(file)
        return fetch(repository, file, *rest)

    monkeypatch.setattr("zoo.loading.fetch", counted)
    zoo.load("m", device="cpu")
    assert sorted(asked) == ["large_detector.safetensors", "large_pose.safetensors"]
