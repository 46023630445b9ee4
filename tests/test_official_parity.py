"""The published way from a picture to keypoints, worked out a second time from the measured facts.

Checkpoints in the published layout with random weights (seeded; statistics of normalisation calibrated on
the pictures) are written without DeepLabCut, loaded by `zoo.load(weights=...)`, and the poses compared with
a plain step by step computation on timm's own networks. That this computation is DeepLabCut 3.0.2's was
measured: docs/experiments.md, "Published weights".
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
import timm
import torch
from torch import nn

import zoo
from superset_vocab import InputError
from zoo.networks import build

GOLDEN = Path(__file__).parent / "golden"
BOXES = np.array(
    [
        [60, 40, 120, 90],  # ordinary
        [-50, -20, 130, 100],  # half outside of the picture
        [250, 200, 200, 150],  # beyond the right bottom corner
        [10, 100, 300, 8],  # very wide
        [100, 10.5, 7.3, 210.2],  # very tall, fractions
        [140.5, 99.5, 41, 41],  # corners that end in a half
    ],
    dtype=np.float32,
)
TIE = 2e-3
"""Maxima that differ by less than this share of a map's range: batches of other sizes round differently."""
MEAN, STD = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])


def picture() -> np.ndarray:
    image = cv2.imread(str(GOLDEN / "wild_4.png"))
    assert image is not None
    return image[..., ::-1].copy()


def crop_of(image: np.ndarray, box: np.ndarray) -> tuple[torch.Tensor, np.ndarray, np.ndarray]:
    """Input tensor, image pixels per crop pixel on each axis, and the corner, step by step from the facts."""
    x, y, w, h = (float(value) for value in box)
    side = max(w, h)
    x1, x2 = round(x + w / 2 - side / 2), round(x + w / 2 + side / 2)
    y1, y2 = round(y + h / 2 - side / 2), round(y + h / 2 + side / 2)
    padded = np.pad(image, ((500, 500), (500, 500), (0, 0)))
    crop = cv2.resize(padded[y1 + 500 : y2 + 500, x1 + 500 : x2 + 500], (256, 256))
    tensor = torch.from_numpy(((crop / 255 - MEAN) / STD).astype(np.float32)).permute(2, 0, 1)
    return tensor, np.array([x2 - x1, y2 - y1]) / 256, np.array([x1, y1])


def calibrated(network: nn.Module) -> nn.Module:
    """Statistics of normalisation as the pictures have them: activations neither vanish nor explode."""
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = None
            nn.init.normal_(module.weight, 1.0, 0.1)
    network.train()
    with torch.no_grad():
        network(torch.stack([crop_of(picture(), box)[0] for box in BOXES[:4]]))
    return network.eval()


def heatmap_reference(name: str, outputs: dict[str, int]) -> tuple[dict[str, torch.Tensor], Callable]:
    """State dict in the published layout, and the network as a function, from timm's parts."""
    if name == "hrnet_w32":
        backbone = timm.create_model(
            "hrnet_w32", features_only=True, feature_location="", out_indices=(1,), pretrained=False
        )
        heads = {"heatmap_head": nn.ConvTranspose2d(32, outputs["heatmaps"], 1)}
    else:
        backbone = timm.create_model(
            "resnet50_gn", output_stride=16, num_classes=0, global_pool="", pretrained=False
        )
        heads = {
            "heatmap_head": nn.ConvTranspose2d(2048, outputs["heatmaps"], 3, 2),
            "locref_head": nn.ConvTranspose2d(2048, outputs["locref"], 3, 2),
        }
    for part, head in heads.items():
        nn.init.normal_(head.weight, std=0.05 if part == "heatmap_head" else 0.005)  # type: ignore[arg-type]
        nn.init.uniform_(head.bias, 0.0, 0.6)  # type: ignore[arg-type]
    backbone = calibrated(backbone)
    state = {f"backbone.model.{key}": value for key, value in backbone.state_dict().items()}
    for part, head in heads.items():
        state |= {f"heads.bodypart.{part}.deconv_layers.0.{k}": v for k, v in head.state_dict().items()}

    def forward(images: torch.Tensor) -> tuple[np.ndarray, np.ndarray | None]:
        features = backbone(images)
        features = features[0] if isinstance(features, list) else features
        maps = [head(features).detach().numpy() for head in heads.values()]
        return maps[0], maps[1] if len(maps) > 1 else None

    return state, forward


def save(path: Path, state: dict[str, torch.Tensor]) -> Path:
    torch.save({"metadata": {"epoch": 1, "metrics": {}, "losses": {}}, "model": state}, path)
    return path


@pytest.mark.parametrize(("name", "stride"), [("hrnet_w32", 4), ("resnet_50", 8)])
def test_heatmap_networks(name: str, stride: int, tmp_path: Path) -> None:
    torch.manual_seed(3)
    k = 39
    state, forward = heatmap_reference(name, {"heatmaps": k, "locref": 2 * k})
    file = save(tmp_path / "w.pt", state)
    model = zoo.load("superanimal_quadruped", weights=file, detector="none", device="cpu")
    assert model.spec.variant == name  # the file's tensors say which network it is
    found = model.predict(picture(), bboxes_xywh=BOXES)
    compared = 0
    for n, box in enumerate(BOXES):
        image, scale, corner = crop_of(picture(), box)
        with torch.no_grad():
            heatmaps, locref = forward(image[None])
        for i in range(k):
            top = np.sort(heatmaps[0, i].ravel())
            if top[-1] - top[-2] < TIE * (top[-1] - top[0]):
                continue  # two equal maxima: which one is chosen is arithmetic noise
            row, column = np.unravel_index(heatmaps[0, i].argmax(), heatmaps[0, i].shape)
            x, y = (column + 0.5) * stride, (row + 0.5) * stride
            if locref is not None:
                x += 7.2801 * locref[0, 2 * i, row, column]
                y += 7.2801 * locref[0, 2 * i + 1, row, column]
            wanted = np.array([x, y]) * scale + corner
            np.testing.assert_allclose(found.keypoints[0, n, i], wanted, atol=0.01, rtol=0)
            assert found.confidence[0, n, i] == pytest.approx(np.clip(top[-1], 0, 1), abs=1e-3)
            compared += 1
    assert compared > 100
    assert len(np.unique(found.keypoints[0, 0, :, 0])) > 10  # not one place for everything


def test_simcc_network(tmp_path: Path) -> None:
    torch.manual_seed(4)
    network = calibrated(build("rtmpose_s", n_keypoints=39))
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if "cls_" in name:
                nn.init.normal_(parameter, std=0.5)
    state = {
        key if key.startswith("backbone.") else key.replace("head.", "heads.bodypart.", 1): value
        for key, value in network.state_dict().items()
    }
    file = save(tmp_path / "w.pt", state)
    model = zoo.load("superanimal_quadruped", weights=file, detector="none", device="cpu")
    assert model.spec.variant == "rtmpose_s"
    found = model.predict(picture(), bboxes_xywh=BOXES)
    compared = 0
    for n, box in enumerate(BOXES):
        image, scale, corner = crop_of(picture(), box)
        with torch.no_grad():
            outputs = network(image[None])
        bins = [outputs[axis][0].double() for axis in ("simcc_x", "simcc_y")]
        share = [(logits * 5.66 * 150).softmax(-1).max(-1) for logits in bins]
        for i in range(39):
            if any(v[i].topk(2).values.diff().abs() < TIE * (v[i].max() - v[i].min()) for v in bins):
                continue
            place = [float(axis.indices[i]) / 2 for axis in share]
            wanted = np.array(place) * scale + corner
            np.testing.assert_allclose(found.keypoints[0, n, i], wanted, atol=0.01, rtol=0)
            sure = min(float(axis.values[i]) for axis in share)
            assert found.confidence[0, n, i] == pytest.approx(sure, abs=0.02)
            compared += 1
    assert compared > 100


def test_the_vocabulary_decides_what_fits(tmp_path: Path) -> None:
    """A quadruped checkpoint is no mouse model."""
    torch.manual_seed(5)
    state, _ = heatmap_reference("resnet_50", {"heatmaps": 39, "locref": 78})
    file = save(tmp_path / "w.pt", state)
    with pytest.raises(InputError, match="fits none of the variants of superanimal_topviewmouse"):
        zoo.load("superanimal_topviewmouse", weights=file, detector="none", device="cpu")
