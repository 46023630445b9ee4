"""The torchvision detectors of the official weights: tensors, pixels in, boxes out."""

from __future__ import annotations

import hashlib
import socket

import numpy as np
import pytest
import torch
from torch import nn
from torchvision.models import detection

from superset_vocab import InputError
from zoo.torchvision_detectors import (
    TORCHVISION_DETECTORS,
    TorchvisionDetector,
    build_torchvision_detector,
    equal_sized,
)

# Number of tensors, and SHA-256 of their names, shapes and types, in detectors of DeepLabCut 3.0.2 (less
# the prefix "model."), written with random weights by DeepLabCut itself.
OFFICIAL = {
    "fasterrcnn_resnet50_fpn_v2": (404, "8481c3fbb94f51fd7b5fcada50d0b4a2b82767932dc4feea29748ec8fc35eae5"),
    "fasterrcnn_mobilenet_v3_large_fpn": (
        284,
        "4454979365403add504dbd5c4081ff49b566b6b10cc68687bfaf3b1c77ad36a1",
    ),
    "ssdlite320_mobilenet_v3_large": (
        476,
        "fb5c3cd28790b6d7666acbd097a99f283af38c3a198ae4128cdd57f6a7cedf61",
    ),
}
SMALL = {"short_side": 96, "long_side": 160}


def options(name: str) -> dict[str, int]:
    return {} if name.startswith("ssd") else SMALL


def noise(*size_wh: tuple[int, int]) -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    return [rng.integers(0, 256, (h, w, 3), dtype=np.uint8) for w, h in size_wh]


def settled(name: str) -> nn.Module:
    """A random network whose confidences spread on both sides of the threshold of 0.6."""
    torch.manual_seed(0)
    network = build_torchvision_detector(name, **options(name))
    heads = (
        [network.roi_heads.box_predictor.cls_score]  # type: ignore[union-attr]
        if name.startswith("faster")
        else [block[-1] for block in network.head.classification_head.module_list]  # type: ignore[union-attr]
    )
    with torch.no_grad():
        for head in heads:
            head.weight.mul_(4)
            head.bias.view(-1, 2)[:, 1] += 0.4
    return network.eval()


@pytest.mark.parametrize("name", sorted(TORCHVISION_DETECTORS))
def test_tensors_are_those_of_the_official_files(name, monkeypatch):
    def offline(*_):
        raise AssertionError("building a network went to the internet")

    monkeypatch.setattr(socket.socket, "connect", offline)
    monkeypatch.setattr(torch.hub, "download_url_to_file", offline)
    state = build_torchvision_detector(name).state_dict()
    lines = sorted(f"{key} {tuple(tensor.shape)} {tensor.dtype}" for key, tensor in state.items())
    assert (len(lines), hashlib.sha256("\n".join(lines).encode()).hexdigest()) == OFFICIAL[name]


def test_parameters_of_the_published_runtime():
    for name in ("fasterrcnn_resnet50_fpn_v2", "fasterrcnn_mobilenet_v3_large_fpn"):
        with torch.device("meta"):
            network = build_torchvision_detector(name)
        transform, roi = network.transform, network.roi_heads
        assert (transform.min_size, transform.max_size) == ((800,), 1333)
        assert transform.image_mean == [0.485, 0.456, 0.406]  # a second time
        assert (roi.nms_thresh, roi.detections_per_img) == (0.5, 100)
    ssd = build_torchvision_detector("ssdlite320_mobilenet_v3_large")
    assert ssd.transform.fixed_size == (320, 320)
    assert ssd.transform.image_mean == ssd.transform.image_std == [0.5, 0.5, 0.5]
    assert ssd.nms_thresh == 0.55


def test_normalisation_of_mobilenet_is_constant_with_torchvisions_epsilon():
    network = build_torchvision_detector("fasterrcnn_mobilenet_v3_large_fpn", **SMALL)
    norms = [m for m in network.modules() if type(m).__name__ == "FrozenBatchNorm2d"]
    assert {norm.eps for norm in norms} == {1e-5}
    assert len(norms) == 46
    assert not any(isinstance(m, nn.BatchNorm2d) for m in network.modules())


class Scripted(nn.Module):
    """Keeps what it sees and finds the same boxes everywhere."""

    def __init__(self, boxes: list[list[float]], scores: list[float]) -> None:
        super().__init__()
        self.boxes, self.scores = torch.tensor(boxes), torch.tensor(scores)
        self.seen: list[list[torch.Tensor]] = []

    def forward(self, images):
        self.seen.append([image.clone() for image in images])
        return [{"boxes": self.boxes, "scores": self.scores} for _ in images]


BOXES = [[0.0, 0.0, 64.0, 48.0], [10.5, 20.0, 30.0, 21.25], [1.0, 2.0, 3.0, 4.0]]


def test_boxes_are_handed_on_without_half_pixels_and_above_the_threshold():
    network = Scripted(BOXES, [0.9, 0.75, 0.5])
    (found,) = TorchvisionDetector(network)(noise((64, 48)))
    assert found.bbox_xywh.tolist() == [[0, 0, 64, 48], [10.5, 20, 19.5, 1.25]]
    assert found.confidence.tolist() == pytest.approx([0.9, 0.75])
    assert found.bbox_xywh.dtype == found.confidence.dtype == np.float32
    (found,) = TorchvisionDetector(network, score_threshold=0.75)(noise((64, 48)))
    assert len(found.confidence) == 1  # above, not at
    (found,) = TorchvisionDetector(network, score_threshold=0.0, max_detections=2)(noise((64, 48)))
    assert found.confidence.tolist() == pytest.approx([0.9, 0.75])
    (found,) = TorchvisionDetector(network, score_threshold=0.95)(noise((64, 48)))
    assert found.bbox_xywh.shape == (0, 4)


def test_frames_are_normalised_in_the_order_red_green_blue():
    network = Scripted(BOXES, [0.9, 0.8, 0.7])
    (frame,) = noise((20, 10))
    TorchvisionDetector(network)([frame])
    wanted = (frame / 255 - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]
    np.testing.assert_allclose(network.seen[0][0], wanted.transpose(2, 0, 1), atol=2e-6)
    assert network.seen[0][0].dtype == torch.float32


def test_only_frames_of_one_size_go_together():
    sizes = [(20, 10), (30, 10), (20, 10), (20, 10), (30, 10)]
    frames = noise(*sizes)
    assert list(equal_sized(frames, 2)) == [[0, 2], [3], [1, 4]]
    network = Scripted(BOXES, [0.9, 0.8, 0.7])
    found = TorchvisionDetector(network, frames_per_pass=2)(frames)
    assert [[tuple(image.shape[1:]) for image in images] for images in network.seen] == [
        [(10, 20)] * 2,
        [(10, 20)],
        [(10, 30)] * 2,
    ]
    assert len(found) == 5
    assert TorchvisionDetector(network)([]) == []


def test_frames_keep_their_places():
    network = settled("ssdlite320_mobilenet_v3_large")
    frames = noise((64, 48), (80, 48), (64, 48))
    together = TorchvisionDetector(network, score_threshold=0.1, frames_per_pass=8)(frames)
    for frame, found in zip(frames, together, strict=True):
        (alone,) = TorchvisionDetector(network, score_threshold=0.1)([frame])
        assert len(alone.confidence) > 5
        np.testing.assert_allclose(found.confidence, alone.confidence, atol=1e-4)
    assert not np.allclose(together[0].confidence, together[2].confidence, atol=1e-3)


@pytest.mark.parametrize("name", sorted(TORCHVISION_DETECTORS))
def test_the_threshold_after_suppression_finds_what_torchvision_finds_before_it(name):
    network = settled(name)
    (frame,) = noise((120, 90))
    (every,) = TorchvisionDetector(network, score_threshold=0.0)([frame])
    (found,) = TorchvisionDetector(network)([frame])
    assert 0 < len(found.confidence) < len(every.confidence)
    assert (found.confidence > 0.6).all()
    (network if name.startswith("ssd") else network.roi_heads).score_thresh = 0.6
    (wanted,) = TorchvisionDetector(network, score_threshold=0.0)([frame])
    np.testing.assert_array_equal(found.bbox_xywh, wanted.bbox_xywh)
    np.testing.assert_array_equal(found.confidence, wanted.confidence)
    assert (np.diff(found.confidence) <= 0).all()
    corners = found.bbox_xywh[:, :2] + found.bbox_xywh[:, 2:]
    assert (found.bbox_xywh[:, :2] >= 0).all()
    assert (corners <= [120.001, 90.001]).all()


def test_ssdlite_in_torchvision_takes_no_notice_of_the_published_threshold():
    """Why ours applies it afterwards: the name under which it is published is swallowed."""
    name = "ssdlite320_mobilenet_v3_large"
    published = detection.ssdlite320_mobilenet_v3_large(
        weights=None, weights_backbone=None, num_classes=2, box_score_thresh=0.6
    )
    published.load_state_dict(settled(name).state_dict())
    frames = noise((120, 90))
    (theirs,) = TorchvisionDetector(published.eval(), score_threshold=0.001)(frames)
    (ours,) = TorchvisionDetector(settled(name))(frames)
    assert (theirs.confidence < 0.6).any()
    certain = theirs.confidence > 0.6
    np.testing.assert_array_equal(ours.bbox_xywh, theirs.bbox_xywh[certain])


@pytest.mark.parametrize("name", sorted(TORCHVISION_DETECTORS))
def test_a_training_step_moves_every_parameter(name):
    torch.manual_seed(0)
    network = build_torchvision_detector(name, **options(name)).train()
    images = list(torch.randn(2, 3, 96, 128))
    boxes = torch.tensor([[4.0, 8, 60, 50], [70.0, 30, 120, 90], [0, 0, 127, 95], [50, 50, 62, 60]])
    target = {"boxes": boxes, "labels": torch.ones(len(boxes), dtype=torch.long)}
    losses = network(images, [target, target])
    sum(losses.values()).backward()
    assert [n for n, p in network.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0] == []


def test_wrong_names_and_options_are_named():
    with pytest.raises(InputError, match=r"'yolo' is no torchvision detector; there are: fasterrcnn_mobile"):
        build_torchvision_detector("yolo")
    with pytest.raises(InputError, match=r"'ssdlite320_mobilenet_v3_large'.*short_side"):
        build_torchvision_detector("ssdlite320_mobilenet_v3_large", short_side=100)
    with pytest.raises(InputError, match=r"short_side 900, long_side 300: want 32 <= short_side"):
        build_torchvision_detector("fasterrcnn_resnet50_fpn_v2", short_side=900, long_side=300)
    for option in ({"score_threshold": 1.0}, {"max_detections": 101}, {"max_detections": 0}):
        with pytest.raises(InputError, match=next(iter(option))):
            TorchvisionDetector(nn.Identity(), **option)
