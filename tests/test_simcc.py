"""Bins along each axis to keypoints."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from zoo.simcc import decode_simcc

W, H = 48, 32


def trained(at: np.ndarray, n_bins: int) -> torch.Tensor:
    """(..., n_bins) logits of a perfectly trained network: the published target up to a constant.

    A Gaussian of height 1 around the nearest bin, whose standard deviation is 5.66 bins.
    """
    steps = np.arange(n_bins) - np.rint(at)[..., None]
    return torch.from_numpy(np.exp(-0.5 * (steps / 5.66) ** 2) - 3.0)


@given(st.floats(0, W - 1), st.floats(0, H - 1), st.sampled_from([1, 2, 4]))
def test_the_taught_position_comes_back(px, py, split):
    x, y = trained(np.array([px * split]), W * split), trained(np.array([py * split]), H * split)
    positions, confidence = decode_simcc(x, y, split_ratio=split)
    np.testing.assert_allclose(positions[0].numpy(), [px, py], atol=0.5 / split + 1e-5)
    assert confidence[0] > 0.999


def test_a_batch_is_each_on_its_own():
    points = np.random.default_rng(0).uniform(0, 30, (2, 5, 2))
    x, y = trained(2 * points[..., 0], 2 * W), trained(2 * points[..., 1], 2 * H)
    together = decode_simcc(x, y)
    np.testing.assert_allclose(together[0].numpy(), points, atol=0.251)
    for b in range(2):
        for whole, alone in zip(together, decode_simcc(x[b], y[b]), strict=True):
            torch.testing.assert_close(whole[b], alone, rtol=0, atol=0)


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
    x, y = trained(np.array([40.0]), 2 * W), trained(np.array([30.0]), 2 * H)
    sure = decode_simcc(x, y)[1]
    unsure = decode_simcc(x * 0.02, y)[1]  # x hardly stands out; the smaller axis decides
    assert sure > 0.999
    assert unsure < 0.3
