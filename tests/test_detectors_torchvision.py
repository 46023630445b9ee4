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
SMALL = {"short_side": 64, "long_side": 128}


def options(name: str) -> dict[str, int]:
    return {} if name.startswith("ssd") else SMALL


def noise(*size_wh: tuple[int, int]) -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    return [rng.integers(0, 256, (h, w, 3), dtype=np.uint8) for w, h in size_wh]


def few_proposals(name: str) -> nn.Module:
    """A random network that looks at some dozen proposals only, to be fast."""
    torch.manual_seed(0)
    network = build_torchvision_detector(name, **options(name))
    if name.startswith("faster"):
        network.rpn._post_nms_top_n = {"training": 24, "testing": 24}  # type: ignore[union-attr]
        network.roi_heads.fg_bg_sampler.batch_size_per_image = 16  # type: ignore[union-attr]
    return network


class Dice(nn.Module):
    """In the place of a last layer: the same random margins between animal and background every time."""

    def __init__(self, mean: float, n_boxes: int) -> None:
        super().__init__()
        self.mean, self.n_boxes = mean, n_boxes

    def rolled(self, *shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=torch.Generator().manual_seed(1))

    def logits(self, *shape: int) -> torch.Tensor:
        return torch.stack([torch.zeros(shape), self.mean + 3 * self.rolled(*shape)], dim=-1)


class DiceAfterRoi(Dice):
    def forward(self, features):
        return self.logits(len(features)), self.rolled(len(features), 8)


class DiceAfterMaps(Dice):
    def forward(self, maps):
        return self.logits(1, self.n_boxes)


def diced(network: nn.Module) -> nn.Module:
    """A network some of whose confidences are above the threshold of 0.6 and some below."""
    if isinstance(network, detection.FasterRCNN):
        network.roi_heads.box_predictor = DiceAfterRoi(0.0, 24)
    else:
        network.head.classification_head = DiceAfterMaps(-8.0, 3234)  # type: ignore[union-attr]
    return network.eval()


@pytest.mark.parametrize("name", sorted(TORCHVISION_DETECTORS))
def test_tensors_are_those_of_the_official_files(name, monkeypatch):
    def offline(*_):
        raise AssertionError("building a network went to the internet")

    monkeypatch.setattr(socket.socket, "connect", offline)
    monkeypatch.setattr(torch.hub, "download_url_to_file", offline)
    with torch.device("meta" if name.startswith("faster") else "cpu"):
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
    seen = network.seen[0][0].permute(1, 2, 0).numpy()
    wanted = (frame / 255 - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]
    np.testing.assert_allclose(seen, wanted, atol=2e-6)
    mean, std = (np.array(v, np.float32) for v in ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]))
    wanted = (frame.astype(np.float32) - mean * 255) * (1 / (std * 255))  # the published runtime's roundings
    np.testing.assert_array_equal(seen, wanted)
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


class MeanScore(nn.Module):
    """One box, as wide as the image; its confidence grows with the image's brightness."""

    def forward(self, images):
        return [
            {"boxes": torch.tensor([[0.0, 0, image.shape[2], 5]]), "scores": image.mean()[None].sigmoid()}
            for image in images
        ]


def test_frames_keep_their_places():
    sizes = [(20, 10), (30, 10), (20, 12), (20, 10), (30, 10)]
    frames = [np.full((h, w, 3), 140 + 10 * i, np.uint8) for i, (w, h) in enumerate(sizes)]
    found = TorchvisionDetector(MeanScore(), score_threshold=0.1, frames_per_pass=8)(frames)
    assert [detections.bbox_xywh[0, 2] for detections in found] == [20, 30, 20, 20, 30]
    assert (np.diff([detections.confidence[0] for detections in found]) > 0.01).all()


@pytest.mark.parametrize("name", ["fasterrcnn_mobilenet_v3_large_fpn", "ssdlite320_mobilenet_v3_large"])
def test_the_threshold_after_suppression_finds_what_torchvision_finds_before_it(name):
    frames = noise((120, 90))
    network = diced(few_proposals(name))
    (every,) = TorchvisionDetector(network, score_threshold=0.0)(frames)
    (found,) = TorchvisionDetector(network)(frames)
    assert 2 < len(found.confidence) < len(every.confidence)
    assert (found.confidence > 0.6).all()
    (network if name.startswith("ssd") else network.roi_heads).score_thresh = 0.6
    (wanted,) = TorchvisionDetector(network, score_threshold=0.0)(frames)
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
    ours_network = build_torchvision_detector(name)
    published.load_state_dict(ours_network.state_dict())
    frames = noise((120, 90))
    (theirs,) = TorchvisionDetector(diced(published), score_threshold=0.001)(frames)
    (ours,) = TorchvisionDetector(diced(ours_network))(frames)
    assert (theirs.confidence < 0.6).any()
    certain = theirs.confidence > 0.6
    np.testing.assert_array_equal(ours.bbox_xywh, theirs.bbox_xywh[certain])


@pytest.mark.parametrize("name", sorted(TORCHVISION_DETECTORS))
def test_a_training_step_moves_every_parameter(name):
    network = few_proposals(name).train()
    images = list(torch.randn(2, 3, 64, 96))
    boxes = torch.tensor([[4.0, 8, 60, 50], [50.0, 20, 90, 60], [0, 0, 95, 63], [50, 50, 62, 60]])
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
