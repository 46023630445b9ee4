"""Every network: forward, a gradient in every parameter, save and load; the classes that run them."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from safetensors.torch import load, save
from torch import nn

from superset_vocab import InputError
from zoo.detectors import HeatmapDetector
from zoo.networks import build
from zoo.pose import PoseInput, TopDownPose


def test_forward_backward_save_load():
    """The compact network; the others are in test_networks_*.py."""
    torch.manual_seed(0)
    options = {"outputs": {"heatmaps": 5, "size": 2}, "widths": [8, 16, 24]}
    network = build("compact_unet", **options)
    images = torch.randn(2, 1, 64, 48)
    for module in network.modules():  # a residual starts as the identity; move off it to see all gradients
        if isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.weight, 1.0, 0.1)
    output = network(images)
    assert output["heatmaps"].shape == (2, 5, 32, 24)
    assert output["size"].shape == (2, 2, 32, 24)
    sum(value.square().mean() for value in output.values()).backward()
    assert [n for n, p in network.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0] == []
    again = build("compact_unet", **options)
    again.load_state_dict(load(save({k: v.contiguous() for k, v in network.state_dict().items()})))
    network.eval(), again.eval()
    assert torch.equal(network(images)["heatmaps"], again(images)["heatmaps"])


def test_unknown_networks_and_options_are_named():
    with pytest.raises(InputError, match=r"'unet' is no network; there are: animal_token_pose, compact_unet"):
        build("unet")
    with pytest.raises(InputError, match=r"network 'compact_unet'.*colour"):
        build("compact_unet", outputs={"heatmaps": 1}, colour=True)


class Spots(nn.Module):
    """Takes every bright pixel block for what it looks for."""

    def __init__(self, maps: int, log_size: float) -> None:
        super().__init__()
        self.maps, self.log_size = maps, log_size
        self.heads = nn.ModuleDict({"heatmaps": nn.Conv2d(1, maps, 1)})

    def forward(self, images):
        pooled = torch.nn.functional.avg_pool2d(images, 4)
        heat = (pooled - 1.0).repeat(1, self.maps, 1, 1)
        return {"heatmaps": heat, "size": torch.full_like(heat[:, :1].repeat(1, 2, 1, 1), self.log_size)}


def square_frame(x: int, y: int, side: int = 24, size_wh: tuple[int, int] = (320, 160)) -> np.ndarray:
    frame = np.zeros((size_wh[1], size_wh[0], 3), np.uint8)
    frame[y - side // 2 : y + side // 2, x - side // 2 : x + side // 2] = 255
    return frame


def test_detector_finds_boxes_in_image_pixels():
    detector = HeatmapDetector(Spots(1, float(np.log(30 / 160))), size_wh=(160, 120), stride=4, grey=True)
    (first, nothing) = detector([square_frame(100, 60), np.zeros((160, 320, 3), np.uint8)])
    box = first.bbox_xywh[0]
    np.testing.assert_allclose(box[:2] + box[2:] / 2, [99.5, 59.5], atol=9)  # a cell is 8 image pixels
    np.testing.assert_allclose(box[2:], 60, rtol=1e-4)  # 30 pixels of the input, at scale 1/2
    assert (np.diff(first.confidence) <= 0).all()
    assert (nothing.confidence < 0.5).all()
    assert detector([]) == []


def test_pose_goes_from_the_crop_back_to_the_image():
    pose = TopDownPose(Spots(3, 0.0), PoseInput(64, 4, 1.5, grey=True), flip_index=np.arange(3))
    frames = [square_frame(100, 60), square_frame(250, 90), square_frame(40, 40)]
    boxes = [np.array([[70.0, 30, 60, 60]]), np.zeros((0, 4)), np.array([[10.0, 10, 60, 60], [np.nan] * 4])]
    (found, confidence), (none, _), (two, second) = pose(frames, boxes)
    assert found.shape == (1, 3, 2)
    np.testing.assert_allclose(found[0], np.full((3, 2), [99.5, 59.5]), atol=6)
    assert ((confidence >= 0) & (confidence <= 1)).all()
    assert none.shape == (0, 3, 2)
    np.testing.assert_allclose(two[0, 0], [39.5, 39.5], atol=6)
    assert np.isnan(two[1]).all()
    assert np.isnan(second[1]).all()


def test_batches_do_not_change_the_result():
    torch.manual_seed(1)
    network = build("compact_unet", outputs={"heatmaps": 4}, widths=[8, 16]).eval()
    pose = TopDownPose(network, PoseInput(32, 2, 1.25, grey=True), flip_index=np.arange(4))
    rng = np.random.default_rng(0)
    frames = [rng.integers(0, 255, (60, 80, 3), dtype=np.uint8) for _ in range(20)]
    boxes = [np.array([[10.0, 10, 30, 30], [30.0, 20, 20, 30]])] * 20
    together = pose(frames, boxes)
    for i in (0, 9, 19):
        alone = pose(frames[i : i + 1], boxes[i : i + 1])[0]
        np.testing.assert_allclose(together[i][0], alone[0], atol=1e-3)
        np.testing.assert_allclose(together[i][1], alone[1], atol=1e-5)
