"""Whole frames to animals: maps with known truth through grouping and back to image pixels."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from fakes import ABOUT
from torch import nn

import zoo
from superset_vocab import InputError, load_vocabulary
from zoo.bottom_up import BottomUpPose
from zoo.catalogue import parse_spec
from zoo.codecs import encode_heatmaps, encode_locref
from zoo.grouping import encode_pafs
from zoo.networks import build
from zoo.weight_files import save_weights

BONES = np.array([[0, 1], [0, 2], [1, 2], [2, 3], [1, 3]])
SIZE = (320, 160)  # of the network's input
ANIMAL = np.array([[0, 0], [-12, 14], [12, 14], [0, 60]], float)


class Drawn(nn.Module):
    """Says what a trained network would: the maps of given animals."""

    def __init__(self, keypoints: np.ndarray) -> None:
        super().__init__()
        there = np.isfinite(keypoints).all(-1)
        points = np.nan_to_num(keypoints)
        heat = encode_heatmaps(points, there, SIZE, 8, 12.0)
        locref, _ = encode_locref(points, there, SIZE, 8, 24.0)
        pafs = encode_pafs(points, there, BONES, SIZE, 8, 8.0)
        self.maps = {"heatmaps": np.log((heat + 1e-4) / (1.0001 - heat)), "locref": locref, "pafs": pafs}

    def forward(self, images: torch.Tensor) -> dict[str, torch.Tensor]:
        assert images.shape[1:] == (3, SIZE[1], SIZE[0])
        return {k: torch.from_numpy(v)[None].repeat(len(images), 1, 1, 1) for k, v in self.maps.items()}


def test_animals_come_out_in_image_pixels() -> None:
    truth = np.stack([ANIMAL + np.array([60, 40]), ANIMAL + np.array([200, 60])])
    truth[1, 1] = np.nan
    pose = BottomUpPose(Drawn(truth), skeleton=BONES, size_wh=SIZE, stride=8)
    frame = np.zeros((320, 640, 3), np.uint8)  # twice the input's size
    for animals in pose([frame, frame]):
        order = np.argsort(animals.bbox_xywh[:, 0])
        found = animals.take(order)
        np.testing.assert_allclose(found.keypoints, 2 * truth + 0.5, atol=0.5)
        assert found.confidence[1, 1] == 0
        assert (np.delete(found.confidence[1], 1) > 0.5).all()
        low, high = np.nanmin(found.keypoints, 1), np.nanmax(found.keypoints, 1)
        assert (found.bbox_xywh[:, :2] < low).all()
        assert (found.bbox_xywh[:, :2] + found.bbox_xywh[:, 2:] > high).all()
    assert pose([]) == []


def test_wrong_options_are_named() -> None:
    with pytest.raises(InputError, match="normalisation 'x' is none of"):
        BottomUpPose(nn.Identity(), skeleton=BONES, size_wh=SIZE, stride=8, normalisation="x")
    with pytest.raises(InputError, match=r"grouping: .*radius"):
        BottomUpPose(nn.Identity(), skeleton=BONES, size_wh=SIZE, stride=8, grouping={"radius": 2})


SPEC = (
    ABOUT
    + """
variant = "bottom_up"
[pose]
network = "dlcrnet"
weights = {{file = "b.safetensors", sha256 = "{sha256}"}}
[pose.options]
variant = "resnet18"
n_stages = 2
width = 16
outputs = {{heatmaps = 27, locref = 54, pafs = {pafs}}}
[pose.input]
size_wh = [96, 64]
stride = 8
grouping = {{keypoint_threshold = 0.0, limb_threshold = 0.0, limb_support = 0.0, min_keypoints = 1}}
"""
)


def test_a_published_bottom_up_model_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    limbs = 2 * len(load_vocabulary("superanimal_topviewmouse").bones)
    outputs = {"heatmaps": 27, "locref": 54, "pafs": limbs}
    network = build("dlcrnet", outputs=outputs, variant="resnet18", n_stages=2, width=16)
    for module in network.modules():
        if isinstance(module, nn.ConvTranspose2d):
            nn.init.normal_(module.weight, std=0.3)
    digest = save_weights(tmp_path / "b.safetensors", {"pose": network})
    spec = parse_spec("b", SPEC.format(pafs=limbs, sha256=digest))
    assert spec.bottom_up
    monkeypatch.setattr("zoo.catalogue._WEIGHTS", tmp_path)
    monkeypatch.setattr("zoo.catalogue.list_models", lambda: [spec])
    model = zoo.load("m", "bottom_up", device="cpu")
    clip = np.random.default_rng(0).integers(0, 255, (3, 60, 90, 3), dtype=np.uint8)
    poses = model.predict(clip, max_individuals=2)
    assert np.isfinite(poses.keypoints).any()
    assert [done["name"] for done in poses.provenance["operations"]] == ["drop_unlikely", "pose", "track"]
    assert model.label == "m_bottom_up"
    for options in ({"bboxes_xywh": np.ones((1, 4))}, {"detect_every": 2}, {"flip_test": True}):
        with pytest.raises(InputError, match=r"top-down models|on a model without a detector"):
            model.predict(clip, **options)
    with pytest.raises(InputError, match="is a bottom-up model, which needs no detector"):
        zoo.load("m", "bottom_up", device="cpu", detector="none")
