"""Masked losses: what the paper's equations 1 to 3 promise, to the bit."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional

from superset_vocab import InputError
from training.losses import (
    RecipeLoss,
    keypoint_weight,
    masked_binary_cross_entropy,
    masked_cross_entropy,
    masked_huber,
    masked_l1,
    masked_mse,
    masked_spatial_cross_entropy,
)
from training.recipe import Loss

B, K, H, W = 2, 5, 6, 7
REGRESSIONS = [masked_mse, masked_l1, masked_huber]
PER_PIXEL = [*REGRESSIONS, masked_binary_cross_entropy]
SEPARATE = [*PER_PIXEL, masked_spatial_cross_entropy]  # a keypoint's loss depends on its own map alone


def maps(channels: int = K, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    prediction = torch.randn(B, channels, H, W, generator=generator)
    return prediction, torch.rand(B, channels, H, W, generator=generator)


def gradient(loss, prediction, target, weight) -> torch.Tensor:
    prediction = prediction.clone().requires_grad_()
    loss(prediction, target, weight).backward()
    assert prediction.grad is not None
    return prediction.grad


def mask() -> torch.Tensor:
    weight = torch.ones(B, K)
    weight[0, 1] = weight[0, 3] = weight[1, 1] = 0
    return weight


def test_weight_of_the_four_states():
    visibility = np.array([[-1, 0, 1, 2], [2, -1, -1, 0]], dtype=np.int8)
    weight = keypoint_weight(visibility)
    assert weight.dtype == np.float32
    assert weight.tolist() == [[0, 1, 1, 1], [1, 0, 0, 1]]
    assert keypoint_weight(visibility, masking=False).tolist() == [[1, 1, 1, 1], [1, 1, 1, 1]]


@pytest.mark.parametrize("loss", SEPARATE)
def test_undefined_has_exactly_zero_gradient_and_the_rest_its_full_one(loss):
    prediction, target = maps()
    weight = mask()
    masked = gradient(loss, prediction, target, weight)
    full = gradient(loss, prediction, target, torch.ones(B, K))
    assert (masked[weight == 0] == 0).all()
    assert torch.equal(masked[weight == 1], full[weight == 1])
    assert (masked[weight == 1] != 0).any(dim=(1, 2)).all()


@pytest.mark.parametrize("loss", SEPARATE)
def test_nan_of_an_undefined_keypoint_does_not_leak(loss):
    prediction, target = maps()
    weight = mask()
    clean = gradient(loss, prediction, target, weight)
    target[weight == 0] = prediction[weight == 0] = torch.nan
    assert loss(prediction, target, weight).isfinite()
    assert torch.equal(gradient(loss, prediction, target, weight), clean)


@pytest.mark.parametrize("loss", [*PER_PIXEL, masked_cross_entropy])
def test_nan_of_a_defined_keypoint_does_show(loss):
    prediction, target = maps()
    target[0, 0, 2, 2] = torch.nan
    assert loss(prediction, target, mask()).isnan()


@pytest.mark.parametrize(
    ("loss", "per_pixel"),
    [
        (masked_mse, lambda p, t: (p - t) ** 2),
        (masked_l1, lambda p, t: (p - t).abs()),
        (masked_huber, lambda p, t: functional.huber_loss(p, t, reduction="none")),
        (
            masked_binary_cross_entropy,
            lambda p, t: functional.binary_cross_entropy_with_logits(p, t, reduction="none"),
        ),
        (masked_cross_entropy, lambda p, t: -t * torch.log_softmax(p, 1)),
    ],
)
def test_value_is_the_sum_over_keypoints_of_mean_over_pixels_and_images(loss, per_pixel):
    prediction, target = maps()
    weight = mask()
    errors = per_pixel(3 * prediction, target)
    expected = sum(errors[b, k].mean() for b in range(B) for k in range(K) if weight[b, k]) / B
    torch.testing.assert_close(loss(3 * prediction, target, weight), torch.as_tensor(expected))


@pytest.mark.parametrize("loss", SEPARATE)
def test_widening_the_vocabulary_changes_nothing(loss):
    prediction, target = maps()
    extra = torch.full((B, 20, H, W), torch.nan)
    wide = loss(
        torch.cat([prediction, torch.randn_like(extra)], 1),
        torch.cat([target, extra], 1),
        torch.cat([torch.ones(B, K), torch.zeros(B, 20)], 1),
    )
    torch.testing.assert_close(wide, loss(prediction, target, torch.ones(B, K)))


@pytest.mark.parametrize("loss", [*SEPARATE, masked_cross_entropy])
def test_nothing_defined_is_zero_and_no_division_by_zero(loss):
    prediction, target = maps()
    assert loss(prediction, target, torch.zeros(B, K)) == 0
    assert (gradient(loss, prediction, target, torch.zeros(B, K)) == 0).all()


def test_cross_entropy_gradient_is_that_of_equations_2_and_3():
    """dL/dl_k = p_k S - n_k t_k with S the sum of n t: an undefined k is felt in the denominator only."""
    prediction, _ = maps()
    target = torch.zeros(B, K, H, W)
    target[:, 0, 2, 3] = 1  # defined
    target[:, 1, 4, 4] = 1  # undefined in both images: as if it were not there
    weight = mask()
    found = gradient(masked_cross_entropy, prediction, target, weight) * B * H * W
    p = prediction.softmax(1)
    seen = target * weight[:, :, None, None]
    torch.testing.assert_close(found, p * seen.sum(1, keepdim=True) - seen)
    assert (found[:, :, 4, 4] == 0).all()  # its own target teaches nobody anything
    assert (found[:, 1, 2, 3] > 0).all()  # and it is one more wrong answer where the nose is
    elsewhere = torch.ones(H, W, dtype=torch.bool)
    elsewhere[2, 3] = False
    assert (found[:, :, elsewhere] == 0).all()  # the background is not constrained


def test_cross_entropy_ignores_nan_targets_of_undefined_keypoints():
    prediction, target = maps()
    weight = mask()
    clean = gradient(masked_cross_entropy, prediction, target, weight)
    target[weight == 0] = torch.nan
    assert torch.equal(gradient(masked_cross_entropy, prediction, target, weight), clean)


@pytest.mark.parametrize("loss", REGRESSIONS)
def test_location_refinement_counts_the_weighted_pixels_of_each_keypoint(loss):
    prediction, target = maps(2 * K)
    weight = torch.zeros(B, K, H, W)
    weight[0, 2, 1:3, 1:4] = 1
    weight[1, 4, 5, 6] = 1
    found = gradient(loss, prediction, target, weight)
    touched = found != 0
    assert touched[0, 4:6, 1:3, 1:4].all()
    assert touched[1, 8:10, 5, 6].all()
    assert touched.sum() == 2 * 6 + 2 * 1
    if loss is masked_l1:
        torch.testing.assert_close(found[0, 4:6].abs().sum(), torch.tensor(2 / B))  # 2 channels, mean of 6
        torch.testing.assert_close(found[1, 8:10].abs().sum(), torch.tensor(2 / B))  # mean of 1


def test_spatial_cross_entropy_says_where_and_not_whether():
    target = torch.zeros(1, 3, 4, 4)
    target[0, 0, 1, 2] = 1  # annotated
    target[0, 1, 0, 0] = 0.3  # the flank of a keypoint outside
    logits = torch.zeros(1, 3, 4, 4)
    assert masked_spatial_cross_entropy(logits, target, torch.ones(1, 3)) == pytest.approx(1)  # a guess
    found = gradient(masked_spatial_cross_entropy, logits, target, torch.ones(1, 3)) * np.log(16)
    torch.testing.assert_close(found[0, 0], torch.full((4, 4), 1 / 16) - target[0, 0])
    assert (found[0, 1:] == 0).all()
    logits[0, 0, 1, 2] = 100
    assert masked_spatial_cross_entropy(logits, target, torch.ones(1, 3)) == pytest.approx(0)


@given(st.integers(0, 2**K - 1), st.integers(0, 100))
def test_a_keypoints_gradient_does_not_depend_on_what_else_is_defined(bits, seed):
    prediction, target = maps(seed=seed)
    weight = torch.tensor([[float(bits >> k & 1) for k in range(K)]] * B)
    weight[:, 0] = 1
    alone = torch.zeros(B, K)
    alone[:, 0] = 1
    for loss in SEPARATE:
        assert torch.equal(
            gradient(loss, prediction, target, weight)[:, 0], gradient(loss, prediction, target, alone)[:, 0]
        )


def test_weight_is_required_and_must_fit():
    prediction, target = maps()
    with pytest.raises(TypeError, match="weight"):
        masked_mse(prediction, target)  # pyright: ignore[reportCallIssue]
    with pytest.raises(ValueError, match="does not fit"):
        masked_mse(prediction, target, torch.ones(B, K + 1))


def test_recipe_loss_weighs_its_terms():
    prediction, target = maps()
    offsets, wanted = maps(2 * K, seed=1)
    batch = {
        "heatmaps": target,
        "keypoint_weight": mask(),
        "locref": wanted,
        "locref_weight": mask()[:, :, None, None].expand(B, K, H, W),
    }
    loss = RecipeLoss(Loss(heatmap_weight=2.0, locref="huber", locref_weight=0.5))
    terms = loss({"heatmaps": prediction, "locref": offsets}, batch)
    torch.testing.assert_close(terms["heatmaps"], 2 * masked_mse(prediction, target, mask()))
    torch.testing.assert_close(terms["locref"], 0.5 * masked_huber(offsets, wanted, mask()))
    with pytest.raises(InputError, match="'size' in the network's output"):
        RecipeLoss(Loss(size="l1"))({"heatmaps": prediction}, batch)
    with pytest.raises(InputError, match="'keypoint_weight' in the dataset's samples"):
        RecipeLoss(Loss())({"heatmaps": prediction}, {"heatmaps": target})
