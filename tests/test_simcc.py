"""Keypoints to bins along each axis and back."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from zoo.simcc import decode_simcc, encode_simcc

W, H = 48, 32


def as_logits(*targets: np.ndarray) -> list[torch.Tensor]:
    """What a perfectly trained network answers: the targets, up to a constant."""
    return [torch.from_numpy(target) - 3.0 for target in targets]


@given(st.floats(0, W - 1), st.floats(0, H - 1), st.sampled_from([1, 2, 4]))
def test_encode_and_decode(px, py, split):
    x, y, present = encode_simcc(np.array([[px, py]]), np.ones(1, bool), (W, H), split_ratio=split)
    positions, confidence = decode_simcc(*as_logits(x, y), split_ratio=split)
    assert x.shape == (1, W * split)
    assert y.shape == (1, H * split)
    assert present.tolist() == [1]
    np.testing.assert_allclose(positions[0].numpy(), [px, py], atol=0.5 / split + 1e-5)
    assert confidence[0] > 0.999


@given(st.lists(st.tuples(st.floats(-20, 80), st.floats(-20, 80), st.booleans()), min_size=1, max_size=6))
def test_only_keypoints_on_the_input_have_a_target(points):
    xy = np.array([[a, b] if seen else [np.nan, np.nan] for a, b, seen in points])
    x, y, present = encode_simcc(xy, np.array([seen for *_, seen in points]), (W, H))
    for k, (a, b, seen) in enumerate(points):
        inside = seen and 0 <= round(2 * a) < 2 * W and 0 <= round(2 * b) < 2 * H
        assert present[k] == inside
        assert x[k].max() == y[k].max() == float(inside)


def test_a_visible_keypoint_without_a_position_has_no_target():
    x, y, present = encode_simcc(np.array([[np.nan, 3.0]]), np.ones(1, bool), (W, H))
    assert present[0] == x.max() == y.max() == 0


def test_targets_are_gaussians_in_bins():
    x, y, _ = encode_simcc(np.array([[10.2, 7.0]]), np.ones(1, bool), (W, H), sigma=3.0)
    np.testing.assert_allclose(x[0, [17, 20, 23]], [math.exp(-0.5), 1, math.exp(-0.5)], rtol=1e-6)
    np.testing.assert_allclose(y[0, 14 + 6], math.exp(-2), rtol=1e-6)


def test_a_batch_is_each_on_its_own():
    rng = np.random.default_rng(0)
    points, visible = rng.uniform(0, 30, (2, 5, 2)), rng.random((2, 5)) > 0.3
    together = encode_simcc(points, visible, (W, H))
    for b in range(2):
        for whole, alone in zip(together, encode_simcc(points[b], visible[b], (W, H)), strict=True):
            np.testing.assert_array_equal(whole[b], alone)
    decoded = decode_simcc(*as_logits(*together[:2]))[0].numpy()
    np.testing.assert_allclose(decoded[visible], points[visible], atol=0.251)


def test_decoding_is_the_published_formula():
    logits = torch.full((1, 1, 8), 0.1)
    logits[0, 0, 5] = 0.1 + 0.002
    flat = torch.zeros(1, 1, 6)
    flat[0, 0, 2] = 0.01
    positions, confidence = decode_simcc(logits, flat)
    e, f = math.exp(0.002 * 849), math.exp(0.01 * 849)  # 5.66 * 150
    assert positions.tolist() == [[[2.5, 1.0]]]
    assert confidence.item() == pytest.approx(min(e / (e + 7), f / (f + 5)), rel=1e-4)


def test_half_precision_does_not_overflow():
    logits = torch.zeros(1, 1, 10, dtype=torch.float16)
    logits[0, 0, 7] = 200  # times 849 is beyond the largest float16
    positions, confidence = decode_simcc(logits, logits)
    assert positions.tolist() == [[[3.5, 3.5]]]
    assert confidence.tolist() == [[1.0]]


def test_an_unsure_network_has_low_confidence():
    x, y, _ = encode_simcc(np.array([[20.0, 15.0]]), np.ones(1, bool), (W, H))
    sure = decode_simcc(*as_logits(x, y))[1]
    unsure = decode_simcc(*as_logits(x * 0.02, y))[1]  # x hardly stands out; the smaller axis decides
    assert sure > 0.999
    assert unsure < 0.3
