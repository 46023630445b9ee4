"""Every model against conditioning one big Gaussian: means, covariances and likelihoods to 1e-8."""

from __future__ import annotations

from dataclasses import replace

import cv2
import dense_gaussian as dense
import numpy as np
import pytest
from eks_ensembles import SIDES, an_ensemble, calibrated_views, some_views

from adaptation.eks import (
    Ensemble,
    SmoothingOptions,
    ensemble_statistics,
    pose_pca,
    smooth_asynchronous,
    smooth_calibrated,
    smooth_mirrored,
    smooth_multicam,
    smooth_pupil,
    smooth_singlecam,
    triangulate,
)
from adaptation.eks.state_space import StateSpace

CLOSE = {"rtol": 1e-8, "atol": 1e-8}


def stack(views, options=None):
    """Centre and variance (T, K, 2V) of all views."""
    stats = [ensemble_statistics(view, options) for view in views]
    return np.concatenate([s.centre for s in stats], 2), np.concatenate([s.variance for s in stats], 2)


def the_space(centre, variance, n_latent=3, percent=95.0):
    """Mean, basis (N, P), spread and drift from the eigenvectors of the covariance."""
    complete = np.isfinite(centre).all(1)
    worst = np.where(complete, variance.max(1), np.inf)
    good = worst <= np.percentile(worst[complete], percent)
    mean = centre[good].mean(0)
    power, vectors = np.linalg.eigh(np.cov(centre[good].T))
    basis = vectors[:, np.argsort(power)[::-1][:n_latent]].T
    scores = (centre[good] - mean) @ basis.T
    drift = np.atleast_2d(np.cov(np.diff(scores, axis=0).T))
    return mean, basis, scores.var(0), drift / np.abs(drift).max()


def test_singlecam():
    rng = np.random.default_rng(1)
    ensemble = an_ensemble(np.cumsum(rng.normal(size=(30, 3, 2)), axis=0) + 100, rng)
    smoothed = smooth_singlecam(ensemble, s=0.7)
    stats = smoothed.statistics
    for k in range(3):
        total = 0.0
        for c in range(2):
            y, r = stats.centre[:, k, c], stats.variance[:, k, c]
            assert np.isnan(y).any()
            prior = dense.walk_prior([np.nanmean(y)], [[np.nanvar(y)]], [[0.7]], np.arange(30))
            mean, covariance, height = dense.smooth(prior, np.eye(1), y[:, None], r[:, None])
            np.testing.assert_allclose(smoothed.keypoints[:, k, c], mean[:, 0], **CLOSE)
            np.testing.assert_allclose(smoothed.variance[:, k, c], covariance[:, 0, 0], **CLOSE)
            total += height
        assert smoothed.choices[k].log_likelihood == pytest.approx(total, rel=1e-10)


def test_frame_ranges_keep_the_time_between_them():
    """The likelihood on two ranges is that of the frames in them, with the gap as a longer step."""
    rng = np.random.default_rng(2)
    ensemble = an_ensemble(np.cumsum(rng.normal(size=(40, 1, 2)), axis=0), rng)
    smoothed = smooth_singlecam(ensemble, options=SmoothingOptions(frame_ranges=((3, 12), (25, 38))))
    frames = np.r_[3:12, 25:38]
    (choice,) = smoothed.choices
    total = 0.0
    for c in range(2):
        y, r = smoothed.statistics.centre[:, 0, c], smoothed.statistics.variance[:, 0, c]
        prior = dense.walk_prior([np.nanmean(y)], [[np.nanvar(y)]], [[choice.value]], frames)
        total += dense.smooth(prior, np.eye(1), y[frames, None], r[frames, None])[2]
    assert choice.log_likelihood == pytest.approx(total, rel=1e-10)


@pytest.mark.parametrize("inflate", [False, True])
def test_multicam(inflate):
    rng = np.random.default_rng(3)
    views = some_views(rng)
    options = SmoothingOptions(s=2.5, inflate=inflate)
    smoothed = smooth_multicam(views, options=options)
    centre, plain = stack(views)
    variance = np.concatenate([view.statistics.variance for view in smoothed], 2)
    assert (np.nan_to_num(variance) > np.nan_to_num(plain)).any() == inflate
    for k in range(2):
        mean, basis, spread, drift = the_space(centre[:, k], plain[:, k])
        prior = dense.walk_prior(np.zeros(3), np.diag(spread), 2.5 * drift, np.arange(len(centre)))
        state, covariance, height = dense.smooth(prior, basis.T, centre[:, k] - mean, variance[:, k])
        pixels = state @ basis + mean
        posterior = np.einsum("ap,tab,bp->tp", basis, covariance, basis)
        for v, view in enumerate(smoothed):
            np.testing.assert_allclose(view.keypoints[:, k], pixels[:, 2 * v : 2 * v + 2], **CLOSE)
            np.testing.assert_allclose(view.variance[:, k], posterior[:, 2 * v : 2 * v + 2], **CLOSE)
        assert smoothed[0].choices[k].log_likelihood == pytest.approx(height, rel=1e-10)


def test_variance_of_an_observation_adds_the_noise():
    views = some_views(np.random.default_rng(3))
    track = smooth_multicam(views, s=2.5)
    observation = smooth_multicam(views, options=SmoothingOptions(s=2.5, variance_of="observation"))
    for a, b in zip(track, observation, strict=True):
        np.testing.assert_allclose(b.variance, a.variance + np.nan_to_num(a.statistics.variance))


def test_mirrored_is_multicam_of_the_split_columns():
    rng = np.random.default_rng(4)
    views = some_views(rng, n_views=2)
    both = Ensemble(
        np.concatenate([view.keypoints for view in views], 2)[:, :, [2, 0, 1, 3]],
        np.concatenate([view.confidence for view in views], 2)[:, :, [2, 0, 1, 3]],
        ("left_paw_side", "left_paw_top", "nose_top", "nose_side"),
    )
    mirrored = smooth_mirrored(both, ("top", "side"), s=1.5)
    expected = smooth_multicam(views, s=1.5)
    assert [view.view for view in mirrored] == ["top", "side"]
    assert mirrored[0].names == ("left_paw", "nose")
    for a, b in zip(mirrored, expected, strict=True):
        np.testing.assert_allclose(a.keypoints, b.keypoints, **CLOSE)


def test_asynchronous():
    rng = np.random.default_rng(5)
    times = [np.cumsum(rng.uniform(0.5, 1.5, 22)), np.cumsum(rng.uniform(0.2, 0.5, 50))]
    times[1][7] = times[0][np.searchsorted(times[0], times[1][7])]  # one instant that both cameras see
    times[1].sort()
    times[1][8:] += 1e-3 * np.arange(len(times[1]) - 8)
    clock = np.linspace(0, 25, 500)
    wander = np.cumsum(rng.normal(size=(500, 1, 3)), axis=0)
    at = [np.stack([np.interp(t, clock, wander[:, 0, i]) for i in range(3)], -1)[:, None] for t in times]
    views = [
        an_ensemble(p @ rng.normal(size=(3, 2)), rng, view=f"cam{v}", missing=0.05) for v, p in enumerate(at)
    ]
    wanted = [np.array([4.321, 9.0, 30.0]), times[1][::7]]
    smoothed = smooth_asynchronous(views, times, s=0.9)
    predicted = smooth_asynchronous(views, times, s=0.9, at=wanted)

    # What both cameras see at the slow one's times, interpolated with numpy.
    stats = [ensemble_statistics(view) for view in views]
    together = []
    for values in ("centre", "variance"):
        parts = []
        for v in range(2):
            column = getattr(stats[v], values)[:, 0]
            full = np.stack(
                [np.interp(times[0], times[v], column[:, c], np.nan, np.nan) for c in range(2)], 1
            )
            parts.append(column if v == 0 else full)
        together.append(np.concatenate(parts, 1))
    mean, basis, spread, drift = the_space(*together)

    every = np.unique(np.concatenate([*times, *wanted]))
    observations, noise = np.full((len(every), 4), np.nan), np.full((len(every), 4), np.nan)
    for v in range(2):
        rows = np.searchsorted(every, times[v])
        observations[rows, 2 * v : 2 * v + 2] = stats[v].centre[:, 0]
        noise[rows, 2 * v : 2 * v + 2] = stats[v].variance[:, 0]
    unit = np.median(np.diff(times[0]))
    prior = dense.walk_prior(np.zeros(3), np.diag(spread), 0.9 * drift / unit, every)
    state, covariance, height = dense.smooth(prior, basis.T, observations - mean, noise)
    pixels = state @ basis + mean
    posterior = np.einsum("ap,tab,bp->tp", basis, covariance, basis)
    for result, moments in ((smoothed, times), (predicted, wanted)):
        for v, view in enumerate(result):
            rows = np.searchsorted(every, moments[v])
            np.testing.assert_allclose(view.keypoints[:, 0], pixels[rows, 2 * v : 2 * v + 2], **CLOSE)
            np.testing.assert_allclose(view.variance[:, 0], posterior[rows, 2 * v : 2 * v + 2], **CLOSE)
    assert predicted[0].choices[0].log_likelihood == pytest.approx(height, rel=1e-10)
    assert np.isnan(predicted[0].statistics.centre).all()


@pytest.mark.parametrize("about_mean", [True, False])
def test_pupil(about_mean):
    rng = np.random.default_rng(6)
    t = 30
    d = 20 + np.cumsum(rng.normal(size=t)) * 0.5
    x, y = 60 + rng.normal(size=t), 40 + rng.normal(size=t)
    corners = np.stack([[x, y - d / 2], [x + d / 2, y], [x, y + d / 2], [x - d / 2, y]]).transpose(2, 0, 1)
    ensemble = an_ensemble(corners, rng, SIDES)
    smoothed = smooth_pupil(ensemble, a_diameter=0.95, a_centre=0.8, about_mean=about_mean)
    stats = smoothed.statistics
    design = np.array(
        [[0, 1, 0], [-0.5, 0, 1], [0.5, 1, 0], [0, 0, 1], [0, 1, 0], [0.5, 0, 1], [-0.5, 1, 0], [0, 0, 1]]
    )
    crude = crude_circles(stats.centre)
    mean, spread = np.nanmean(crude, 0), np.nanvar(crude, 0)
    origin = mean if about_mean else mean * [0, 1, 1]
    prior = dense.decaying_prior(mean - origin, [0.95, 0.8, 0.8], spread, np.arange(t))
    state, covariance, height = dense.smooth(
        prior, design, stats.centre.reshape(t, 8) - design @ origin, stats.variance.reshape(t, 8)
    )
    np.testing.assert_allclose(smoothed.diameter, state[:, 0] + origin[0], **CLOSE)
    np.testing.assert_allclose(smoothed.centre, state[:, 1:] + origin[1:], **CLOSE)
    np.testing.assert_allclose(smoothed.diameter_variance, covariance[:, 0, 0], **CLOSE)
    np.testing.assert_allclose(smoothed.centre_variance[:, 1], covariance[:, 2, 2], **CLOSE)
    np.testing.assert_allclose(smoothed.keypoints.reshape(t, 8), (state + origin) @ design.T, **CLOSE)
    posterior = np.einsum("pa,tab,pb->tp", design, covariance, design)
    np.testing.assert_allclose(smoothed.variance.reshape(t, 8), posterior, **CLOSE)
    assert smoothed.choices[0].log_likelihood == pytest.approx(height, rel=1e-10)


def crude_circles(points):
    """Diameter and centre of each frame, one frame at a time; points are top, right, bottom, left."""
    rows = []
    for top, right, bottom, left in points:
        ways = [top - bottom, left - right]
        ways += [(a - b) * np.sqrt(2) for a in (top, bottom) for b in (left, right)]
        known = [w for w in (np.linalg.norm(w) for w in ways) if np.isfinite(w)]
        xs = (
            [
                v
                for v in (np.nanmedian([top[0], bottom[0], np.nan, np.nan]), (left[0] + right[0]) / 2)
                if np.isfinite(v)
            ]
            if np.isfinite([top[0], bottom[0]]).any()
            else [(left[0] + right[0]) / 2]
        )
        ys = (
            [
                v
                for v in (np.nanmedian([left[1], right[1], np.nan, np.nan]), (top[1] + bottom[1]) / 2)
                if np.isfinite(v)
            ]
            if np.isfinite([left[1], right[1]]).any()
            else [(top[1] + bottom[1]) / 2]
        )
        rows.append([np.median(known) if known else np.nan, np.median(xs), np.median(ys)])
    return np.array(rows)  # fmt: skip


def test_pose_pca():
    rng = np.random.default_rng(7)
    pose = np.cumsum(rng.normal(size=(40, 4)), 0) @ rng.normal(size=(4, 10)) + 80
    ensemble = an_ensemble(pose.reshape(40, 5, 2), rng, missing=0.01)
    found = pose_pca(ensemble, explained=0.9, s=1.2)
    stats = found.smoothed.statistics
    centre, variance = stats.centre.reshape(40, 10), stats.variance.reshape(40, 10)
    n = found.latent.shape[1]
    mean, basis, spread, drift = the_space(centre, variance, n)
    prior = dense.walk_prior(np.zeros(n), np.diag(spread), 1.2 * drift, np.arange(40))
    state, covariance, height = dense.smooth(prior, basis.T, centre - mean, variance)
    np.testing.assert_allclose(found.smoothed.keypoints.reshape(40, 10), state @ basis + mean, **CLOSE)
    posterior = np.einsum("ap,tab,bp->tp", basis, covariance, basis)
    np.testing.assert_allclose(found.smoothed.variance.reshape(40, 10), posterior, **CLOSE)
    assert found.smoothed.choices[0].log_likelihood == pytest.approx(height, rel=1e-10)
    power = np.sort(np.linalg.eigvalsh(np.cov(good_frames(centre, variance).T)))[::-1]
    assert np.cumsum(power)[n - 1] >= 0.9 * power.sum() > np.cumsum(power)[n - 2]


def good_frames(centre, variance):
    """The complete frames whose largest variance lies at or below the 95th percentile."""
    complete = np.isfinite(centre).all(1)
    worst = variance[complete].max(1)
    return centre[complete][worst <= np.percentile(worst, 95)]


def opencv_views(cameras, point):
    """Pixels (2V,) and derivatives (2V, 3) by OpenCV; its derivatives are of rotation, translation, ..."""
    pixels, jacobians = [], []
    for camera in cameras:
        xy, j = cv2.projectPoints(
            point[None], camera.rotation, camera.translation, camera.matrix, camera.distortions
        )
        pixels.append(xy.ravel())
        jacobians.append(j[:, 3:6] @ cv2.Rodrigues(camera.rotation)[0])  # d/dt, and X enters as R X + t
    return np.concatenate(pixels), np.concatenate(jacobians)


def calibrated_prior(cameras, views, s, n_frames):
    """Prior of the track as the module documents it, from its own triangulations."""
    members = triangulate(cameras, np.stack([view.keypoints[:, :, 0] for view in views]))
    start = np.array([m[np.isfinite(m).all(1)].mean(0) if np.isfinite(m).all(1).any() else [np.nan] * 3
                      for m in np.moveaxis(members, 1, 0)])  # fmt: skip
    known = np.isfinite(start).all(1)
    steps = np.diff(start, axis=0)
    steps = steps[np.isfinite(steps).all(1)]
    mad = np.median(np.abs(steps - np.median(steps, 0)), 0)
    drift = np.diag(np.maximum((1.4826 * mad) ** 2, 1e-8))
    first = start[:10][known[:10]].mean(0)
    spread = np.diag(start[known].var(0) + 1e-4)
    return first, spread, s * drift, dense.walk_prior(first, spread, s * drift, np.arange(n_frames))


def test_calibrated_extended_filter():
    """Linearised about the mean of each state given the observations before it, found densely as well."""
    rng = np.random.default_rng(8)
    cameras, views, _ = calibrated_views(rng)
    smoothed = smooth_calibrated(views, cameras[::-1], s=1.7)
    observations, noise = (a[:, 0] for a in stack(views))
    first, spread, drift, _ = calibrated_prior(cameras, views, 1.7, 20)
    designs, offsets, total = [], [], 0.0
    for t in range(20):
        prior = dense.walk_prior(first, spread, drift, np.arange(t + 1))
        predicted = prior[0]
        if t:
            big = block_diagonal(designs)
            big = np.hstack([big, np.zeros((len(big), 3))])
            seen = np.concatenate([observations[i] - offsets[i] for i in range(t)])
            predicted = dense.condition(*prior, big, seen, noise[:t].ravel())[0]
        point = predicted.reshape(-1, 3)[-1]
        pixels, jacobian = opencv_views(cameras, point)
        designs.append(jacobian)
        offsets.append(pixels - jacobian @ point)
    prior = dense.walk_prior(first, spread, drift, np.arange(20))
    mean, covariance, total = dense.condition(
        *prior, block_diagonal(designs), (observations - np.array(offsets)).ravel(), noise.ravel()
    )
    np.testing.assert_allclose(smoothed.points[:, 0], mean.reshape(20, 3), **CLOSE)
    blocks = covariance.reshape(20, 3, 20, 3)
    np.testing.assert_allclose(
        smoothed.covariance[:, 0], np.stack([blocks[i, :, i] for i in range(20)]), **CLOSE
    )
    assert smoothed.views[0].choices[0].log_likelihood == pytest.approx(total, rel=1e-9)
    for t in range(20):
        pixels, jacobian = opencv_views(cameras, smoothed.points[t, 0])
        spread2 = np.diag(jacobian @ smoothed.covariance[t, 0] @ jacobian.T)
        for v, view in enumerate(smoothed.views):
            np.testing.assert_allclose(view.keypoints[t, 0], pixels[2 * v : 2 * v + 2], rtol=1e-9)
            np.testing.assert_allclose(view.variance[t, 0], spread2[2 * v : 2 * v + 2], rtol=1e-6)


def test_calibrated_relinearised_is_the_most_probable_track():
    """A stationary point of the joint density: Gauss-Newton on all frames at once does not move it."""
    rng = np.random.default_rng(9)
    cameras, views, _ = calibrated_views(rng)
    smoothed = smooth_calibrated(views, cameras, s=1.7, relinearise=12)
    observations, noise = (a[:, 0] for a in stack(views))
    prior = calibrated_prior(cameras, views, 1.7, 20)[3]
    path = smoothed.points[:, 0].ravel() + 0.01
    for _ in range(20):
        parts = [opencv_views(cameras, point) for point in path.reshape(-1, 3)]
        offsets = np.concatenate([p - j @ x for (p, j), x in zip(parts, path.reshape(-1, 3), strict=True)])
        path = dense.condition(
            *prior, block_diagonal([j for _, j in parts]), observations.ravel() - offsets, noise.ravel()
        )[0]
    np.testing.assert_allclose(smoothed.points[:, 0], path.reshape(-1, 3), **CLOSE)


def block_diagonal(blocks):
    """Blocks of equal shape down the diagonal."""
    p, n = blocks[0].shape
    big = np.zeros((len(blocks), p, len(blocks), n))
    for i, block in enumerate(blocks):
        big[i, :, i] = block
    return big.reshape(len(blocks) * p, len(blocks) * n)


def test_irregular_steps_and_decay_together():
    """The core recursion itself: correlated drift, AR(1) and walk mixed, uneven time, missing data."""
    rng = np.random.default_rng(10)
    t, p, n = 25, 5, 3
    times = np.cumsum(rng.uniform(0, 3, t))
    times[6] = times[5]
    observations = rng.normal(size=(t, p)) * 3
    observations[rng.random((t, p)) < 0.3] = np.nan
    observations[12] = np.nan
    noise = rng.gamma(1, 1, (t, p)) + 1e-3
    design = rng.normal(size=(p, n))
    root = rng.normal(size=(2, 2))
    drift = np.zeros((n, n))
    drift[:2, :2] = root @ root.T
    mean, start = rng.normal(size=n), np.diag([2.0, 3.0, 1.5])
    model = StateSpace(
        observations, noise, np.diff(times, prepend=0), design, np.array([1, 1, 0.7]), drift,
        np.array([0, 0, 1.5]), mean, start,
    )  # fmt: skip
    walk = dense.walk_prior(mean[:2], start[:2, :2], 0.4 * drift[:2, :2], times)
    decay = dense.decaying_prior(mean[2:], [0.7], [1.5], times)
    joint_mean = np.concatenate([walk[0].reshape(t, 2), decay[0].reshape(t, 1)], 1).ravel()
    joint = np.zeros((t, n, t, n))
    joint[:, :2, :, :2] = walk[1].reshape(t, 2, t, 2)
    joint[:, 2:, :, 2:] = decay[1].reshape(t, 1, t, 1)
    expected = dense.smooth((joint_mean, joint.reshape(t * n, -1)), design, observations, noise)
    means, covariances = model.smooth(0.4)
    np.testing.assert_allclose(means, expected[0], **CLOSE)
    np.testing.assert_allclose(covariances, expected[1], **CLOSE)
    assert model.log_likelihood(0.4) == pytest.approx(expected[2], rel=1e-10)
    part = np.array([2, 3, 9, 20])
    some = model.at(part)
    moved = replace(some, observations=observations[part])
    np.testing.assert_allclose(np.cumsum(moved.steps), times[part] - times[2])
