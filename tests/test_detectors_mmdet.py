"""mmdet's detectors: import without compiled operations, training step, boxes in pixels of the frame."""

from __future__ import annotations

import importlib.util
import socket
import sys
from dataclasses import asdict

import numpy as np
import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from safetensors.torch import load, save
from torch import nn

from superset_vocab import InputError
from zoo import mmdet_detectors
from zoo.mmdet_detectors import (
    FITS,
    MMDET_DETECTORS,
    FrameFit,
    MMDetDetector,
    build_mmdet_detector,
    load_mmdet,
    training_sample,
)

HAS_MMDET = all(importlib.util.find_spec(name) is not None for name in ("mmdet", "mmcv", "mmengine"))
needs_mmdet = pytest.mark.skipif(
    not HAS_MMDET, reason="mmdet is not installed: pip install 'superanimal-zoo[mmdet]'"
)
SMALL = {"short_side": 128, "long_side": 160}
PARAMETERS = {"rtmdet_tiny": 4_873_179, "faster_rcnn_r50_fpn": 41_348_181}


def network_of(name: str) -> nn.Module:
    """A random network that looks at some dozen proposals only, to be fast."""
    torch.manual_seed(0)
    network = build_mmdet_detector(name)
    if name == "faster_rcnn_r50_fpn":
        network.roi_head.bbox_sampler.num = 32  # type: ignore[union-attr]
        network.rpn_head.test_cfg.max_per_img = 32  # type: ignore[union-attr]
    return network


def give_boxes_a_size(network: nn.Module) -> None:
    """Make an untrained RTMDet's boxes reach one cell to every side."""
    with torch.no_grad():
        for layer in network.bbox_head.rtm_reg:  # type: ignore[union-attr]
            layer.bias.fill_(1.0)


def assert_inside(bbox_xywh: np.ndarray, size_wh: tuple[int, int]) -> None:
    assert (bbox_xywh[:, :2] >= 0).all()
    assert (bbox_xywh[:, :2] + bbox_xywh[:, 2:] <= np.array(size_wh) + 1e-3).all()
    assert (bbox_xywh[:, 2:] > 0).all()


@needs_mmdet
@pytest.mark.parametrize("name", sorted(MMDET_DETECTORS))
def test_training_step_save_and_load(name, monkeypatch, capfd):
    def offline(*_):
        raise AssertionError("building a network went to the internet")

    monkeypatch.setattr(socket.socket, "connect", offline)
    network: nn.Module = network_of(name).train()
    assert capfd.readouterr() == ("", "")
    assert sum(p.numel() for p in network.parameters()) == PARAMETERS[name]
    for module in network.modules():  # a residual starts as the identity; move off it to see all gradients
        if isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.weight, 1.0, 0.1)
    if name == "rtmdet_tiny":
        give_boxes_a_size(network)  # one without any overlaps with nothing and moves nothing
    boxes = np.array([[4, 8, 10, 12], [70, 30, 14, 11], [0, 0, 120, 90], [20, 40, 60, 50], [np.nan] * 4])
    samples = [training_sample(boxes, (128, 96)) for _ in range(2)]
    images = list(torch.randint(0, 256, (2, 3, 96, 128), dtype=torch.uint8))
    data = network.data_preprocessor({"inputs": images, "data_samples": samples}, True)  # type: ignore[operator]
    losses = network.loss(data["inputs"], data["data_samples"])  # type: ignore[operator]
    parts = [
        v
        for key, value in losses.items()
        if "loss" in key
        for v in (value if isinstance(value, list) else [value])
    ]
    sum(parts).backward()
    assert [n for n, p in network.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0] == []

    again = network_of(name)
    again.load_state_dict(load(save({k: v.clone() for k, v in network.state_dict().items()})))
    frames = [np.random.default_rng(0).integers(0, 256, (96, 128, 3), dtype=np.uint8)]
    options = {**SMALL, "square": FITS[name].square, "score_threshold": 0.001}
    (one,) = MMDetDetector(network.eval(), **options)(frames)
    (two,) = MMDetDetector(again.eval(), **options)(frames)
    assert len(one.confidence) > 0
    np.testing.assert_array_equal(one.bbox_xywh, two.bbox_xywh)
    assert_inside(one.bbox_xywh, (128, 96))


@needs_mmdet
def test_rtmdet_boxes_are_in_pixels_of_the_frame():
    """The network sees the same of a frame enlarged by repeating pixels: its boxes must grow with it."""
    small = np.random.default_rng(0).integers(0, 256, (96, 160, 3), dtype=np.uint8)
    large = small.repeat(4, axis=0).repeat(4, axis=1)
    tall = np.ascontiguousarray(small.transpose(1, 0, 2))
    network = network_of("rtmdet_tiny")
    give_boxes_a_size(network)
    with torch.no_grad():
        for layer in network.bbox_head.rtm_cls:  # type: ignore[union-attr]
            layer.weight.mul_(5)  # different confidences
        for module in network.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.momentum = 1.0  # the statistics of the next pass
        fitted = [torch.from_numpy(FrameFit(160, 160, True)(f)[0]).permute(2, 0, 1) for f in (small, tall)]
        network.train()(network.data_preprocessor({"inputs": fitted}, False)["inputs"])  # type: ignore[operator]
    network.eval()
    detector = MMDetDetector(
        network, short_side=160, long_side=160, square=True, score_threshold=0.001, frames_per_pass=2
    )
    found, grown, upright, _ = detector([small, large, tall, large])
    (alone,) = detector([large])
    assert len(found.confidence) > 10
    np.testing.assert_allclose(grown.bbox_xywh, 4 * found.bbox_xywh, atol=0.05)
    np.testing.assert_allclose(grown.bbox_xywh, alone.bbox_xywh, atol=0.05)
    assert (np.diff(found.confidence) <= 0).all()
    assert np.ptp(found.confidence) > 1e-4
    assert_inside(found.bbox_xywh, (160, 96))  # never in the grey filling
    assert_inside(upright.bbox_xywh, (96, 160))
    threshold = float(np.median(found.confidence))
    strict = MMDetDetector(network, **SMALL | {"short_side": 160}, square=True, score_threshold=threshold)
    (best,) = strict([small])
    np.testing.assert_array_equal(best.bbox_xywh, found.bbox_xywh[found.confidence > threshold])
    strict.max_detections = 3
    np.testing.assert_array_equal(strict([small])[0].confidence, found.confidence[:3])
    assert detector([]) == []


@needs_mmdet
def test_networks_see_colours_as_their_published_weights_do():
    red = torch.zeros(3, 32, 32, dtype=torch.uint8)
    red[0] = 255
    for name, place in {"rtmdet_tiny": 2, "faster_rcnn_r50_fpn": 0}.items():
        network = network_of(name)
        seen = network.data_preprocessor({"inputs": [red]}, False)["inputs"][0]  # type: ignore[operator]
        wanted = [(0 - m) / s for m, s in ((123.675, 58.395), (116.28, 57.12), (103.53, 57.375))]
        wanted[0] = (255 - 123.675) / 58.395
        np.testing.assert_allclose(seen[:, 0, 0], wanted if place == 0 else wanted[::-1], rtol=1e-4)


@needs_mmdet
def test_networks_are_built_the_same_inside_another_program_of_mmengine():
    from mmengine.registry import DefaultScope

    with DefaultScope.overwrite_default_scope("mmengine"):
        assert type(network_of("rtmdet_tiny")).__name__ == "RTMDet"


@needs_mmdet
@given(
    st.lists(st.tuples(*[st.integers(0, 40)] * 2, *[st.integers(1, 30)] * 2), min_size=1, max_size=12),
    st.sampled_from([0, 1]),
    st.floats(0.1, 0.9),
)
def test_suppression_keeps_what_its_definition_keeps(boxes, offset, threshold):
    load_mmdet()
    from mmcv.ops import nms

    xyxy = torch.tensor([[x, y, x + w, y + h] for x, y, w, h in boxes], dtype=torch.float32)
    scores = torch.arange(len(boxes), 0, -1, dtype=torch.float32) / len(boxes)
    kept: list[int] = []
    for i, (x, y, w, h) in enumerate(boxes):
        for j in kept:
            u, v, a, b = boxes[j]
            wide = max(0, min(x + w, u + a) - max(x, u) + offset)
            high = max(0, min(y + h, v + b) - max(y, v) + offset)
            union = (w + offset) * (h + offset) + (a + offset) * (b + offset) - wide * high
            assume(abs(wide * high - threshold * union) > 1e-4 * union)  # at the threshold float32 decides
            if wide * high > threshold * union:
                break
        else:
            kept.append(i)
    _, places = nms(xyxy, scores, threshold, offset=offset)
    assert places.tolist() == kept


@needs_mmdet
def test_other_compiled_operations_raise_when_they_are_called():
    load_mmdet()
    extension = sys.modules["mmcv._ext"]
    if getattr(extension, "__file__", None):
        pytest.skip("mmcv is compiled here")
    assert callable(extension.softnms)
    with pytest.raises(NotImplementedError, match="'softnms' is not in the pure Python mmcv"):
        extension.softnms(torch.zeros(1, 4), torch.zeros(1))
    with pytest.raises(AttributeError):
        extension.__wrapped__  # noqa: B018


@pytest.mark.parametrize("missing", ["mmdet", "mmcv"])
def test_without_mmdet_the_error_says_what_to_install(missing, monkeypatch):
    monkeypatch.delitem(sys.modules, "mmdet.models", raising=False)
    if missing == "mmcv":
        monkeypatch.delitem(sys.modules, "mmcv._ext", raising=False)
    monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(InputError, match=rf"{missing}.*pip install 'superanimal-zoo\[mmdet\]'"):
        build_mmdet_detector("rtmdet_tiny")


def test_importing_the_module_does_not_import_mmdet(monkeypatch):
    for name in ("mmdet", "mmcv", "mmengine"):
        monkeypatch.setitem(sys.modules, name, None)  # an import of it raises
    spec = importlib.util.spec_from_file_location("copy_of_mmdet_detectors", mmdet_detectors.__file__)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, spec.name, module)
    spec.loader.exec_module(module)
    assert module.FITS.keys() == module.MMDET_DETECTORS.keys() == FITS.keys()


def test_wrong_names_and_options_are_named():
    with pytest.raises(
        InputError, match=r"'yolo' is no mmdet detector; there are: faster_rcnn_r50_fpn, rtmdet"
    ):
        build_mmdet_detector("yolo")
    with pytest.raises(InputError, match=r"'rtmdet_tiny'.*frozen_stages"):
        build_mmdet_detector("rtmdet_tiny", frozen_stages=1)
    for option in ({"score_threshold": 0.0}, {"max_detections": 301}, {"max_detections": 0}):
        with pytest.raises(InputError, match=next(iter(option))):
            MMDetDetector(nn.Identity(), **asdict(FITS["rtmdet_tiny"]), **option)
    with pytest.raises(InputError, match="short_side 900, long_side 300"):
        FrameFit(900, 300, square=False)


@pytest.mark.parametrize("square", [True, False])
@pytest.mark.parametrize("size_wh", [(640, 480), (333, 500), (100, 100), (2000, 90)])
def test_frames_are_fitted_whole_with_their_aspect_ratio(size_wh, square):
    width, height = size_wh
    frame = np.full((height, width, 3), 255, np.uint8)
    image, scale = FrameFit(200, 320, square)(frame)
    shown = (image == 255).all(axis=-1)
    w, h = round(width * scale[0]), round(height * scale[1])
    assert shown[:h, :w].all()
    assert shown.sum() == w * h
    assert image.shape == ((320, 320, 3) if square else (h, w, 3))
    assert max(w, h) == 320 or min(w, h) == 200
    assert scale[0] == pytest.approx(scale[1], abs=0.5 / min(size_wh))
