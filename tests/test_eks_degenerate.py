"""What real files contain: frames nobody saw, zero confidences, one network, still tracks, short clips."""

from __future__ import annotations

import re

import numpy as np
import pytest
from eks_ensembles import (
    a_pupil,
    a_track,
    an_ensemble,
    calibrated_views,
    mirrored,
    some_views,
    synchronous_views,
)

from adaptation.eks import (
    Ensemble,
    SmoothingOptions,
    canonical_correlation,
    ensemble_statistics,
    pose_pca,
    smooth_asynchronous,
    smooth_calibrated,
    smooth_mirrored,
    smooth_multicam,
    smooth_pupil,
    smooth_singlecam,
    synchronised,
)
from superset_vocab import InputError


def every_model(n_frames, change=lambda ensemble: ensemble):
    """(name, tracks) of every model on ensembles of so many frames, after a change to each of them."""
    views = [change(view) for view in synchronous_views(n_frames)]
    rng = np.random.default_rng(1)
    cameras, seen, _ = calibrated_views(rng, n_frames, missing=0)
    seen = [change(view) for view in seen]
    times = [np.arange(n_frames) * 1.0, np.arange(n_frames) * 1.0 + 0.4]
    return {
        "singlecam": lambda: [smooth_singlecam(change(a_track(n_frames)))],
        "multicam": lambda: smooth_multicam(views),
        "inflated": lambda: smooth_multicam(views, options=SmoothingOptions(inflate=True)),
        "mirrored": lambda: smooth_mirrored(mirrored(views), ("cam0", "cam1")),
        "asynchronous": lambda: smooth_asynchronous(views, times),
        "calibrated": lambda: smooth_calibrated(seen, cameras).views,
        "pupil": lambda: [smooth_pupil(change(a_pupil(n_frames)))],
        "pose": lambda: [pose_pca(change(a_track(n_frames))).smoothed],
    }


MODELS = tuple(every_model(5))


def hide(frames):
    """A change that takes all members' predictions away in some frames."""

    def change(ensemble):
        keypoints = ensemble.keypoints.copy()
        keypoints[:, frames] = np.nan
        return Ensemble(keypoints, ensemble.confidence, ensemble.names, ensemble.view)

    return change


def assert_sensible(tracks):
    for track in tracks:
        assert np.isfinite(track.keypoints).all()
        assert np.isfinite(track.variance).all()
        assert (track.variance >= 0).all()
        low, high = np.nanmin(track.statistics.centre, (0, 2)), np.nanmax(track.statistics.centre, (0, 2))
        room = 2 * (high - low)[:, None] + 20
        assert (track.keypoints.min((0,)) > low[:, None] - room).all()
        assert (track.keypoints.max((0,)) < high[:, None] + room).all()


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize(
    "frames", [[0], [17], [39], list(range(10, 25))], ids=["first", "one", "last", "gap"]
)
def test_frames_that_nobody_saw_are_bridged(model, frames):
    tracks = every_model(40, hide(frames))[model]()
    assert_sensible(tracks)
    shown = np.setdiff1d(np.arange(40), frames)
    for track in tracks:
        assert np.isnan(track.statistics.centre[frames]).all()
        if model != "asynchronous":  # where the other camera still sees half a frame away
            assert track.variance[frames].mean() > track.variance[shown].mean()


@pytest.mark.parametrize("model", MODELS)
def test_ten_frames(model):
    assert_sensible(every_model(10)[model]())


@pytest.mark.parametrize("model", MODELS)
def test_one_frame(model):
    run = every_model(1)[model]
    if model in ("singlecam", "pupil", "calibrated"):
        (track, *_) = tracks = run()
        assert_sensible(tracks)
        if model == "singlecam":
            np.testing.assert_allclose(track.keypoints, track.statistics.centre)
        assert (track.variance > 0).all()
    else:
        with pytest.raises(InputError, match=r"frames? have (all coordinates observed|the whole pose)"):
            run()


@pytest.mark.parametrize("model", MODELS)
def test_tracks_that_never_move_and_members_that_agree(model):
    def freeze(ensemble):
        still = np.broadcast_to(ensemble.keypoints[:1, :1], ensemble.keypoints.shape).copy()
        return Ensemble(still, ensemble.confidence, ensemble.names, ensemble.view)

    tracks = every_model(30, freeze)[model]()
    assert_sensible(tracks)
    for track in tracks:
        error = np.abs(track.keypoints - track.statistics.centre)
        if model == "calibrated":
            # Three cameras that contradict each other by a million standard deviations: float64 ends here.
            assert (np.ptp(track.keypoints, axis=0) < 0.3).all()
        else:
            # A pupil of frozen keypoints need not be a circle.
            assert error.max() < (3 if model == "pupil" else 1e-6)


@pytest.mark.parametrize("model", MODELS)
def test_one_network(model):
    def alone(ensemble):
        return Ensemble(ensemble.keypoints[:1], ensemble.confidence[:1], ensemble.names, ensemble.view)

    assert_sensible(every_model(40, alone)[model]())


def test_one_networks_variance_is_its_inverse_confidence():
    one = Ensemble(np.full((1, 2, 1, 2), 5.0), np.array([[[0.25], [1.0]]]), ("a",))
    np.testing.assert_allclose(ensemble_statistics(one).variance[:, 0, 0], [4, 1])
    plain = ensemble_statistics(one, SmoothingOptions(variance="plain"))
    np.testing.assert_allclose(plain.variance, 1)


@pytest.mark.parametrize("model", MODELS)
def test_zero_confidence_in_some_frames_is_a_missing_observation(model):
    def doubt(ensemble):
        confidence = ensemble.confidence.copy()
        confidence[:, 5:9] = 0
        keypoints = ensemble.keypoints.copy()
        keypoints[:, 5:9] = 1e4  # what such a frame says must not matter
        return Ensemble(keypoints, confidence, ensemble.names, ensemble.view)

    if model == "calibrated":
        tracks = every_model(40, doubt)[model]()
        assert_sensible(tracks)
        return
    for one, other in zip(
        every_model(40, doubt)[model](), every_model(40, hide(slice(5, 9)))[model](), strict=True
    ):
        np.testing.assert_allclose(one.keypoints, other.keypoints)


@pytest.mark.parametrize("model", MODELS)
def test_zero_confidence_everywhere_is_refused_with_the_remedy(model):
    def doubt(ensemble):
        return Ensemble(ensemble.keypoints, ensemble.confidence * 0, ensemble.names, ensemble.view)

    remedy = 'is 0 in every frame, so the variance cannot be weighted by it; use variance="plain"'
    with pytest.raises(InputError, match=re.escape(remedy)):
        every_model(20, doubt)[model]()
    plain = smooth_singlecam(doubt(a_track(20)), options=SmoothingOptions(variance="plain"))
    assert_sensible([plain])


def test_a_keypoint_that_no_network_ever_saw_stays_missing_and_harms_no_other():
    ensemble = a_track(30)
    keypoints = ensemble.keypoints.copy()
    keypoints[:, :, 1] = np.nan
    smoothed = smooth_singlecam(Ensemble(keypoints, ensemble.confidence, ensemble.names))
    assert np.isnan(smoothed.keypoints[:, 1]).all()
    assert np.isnan(smoothed.variance[:, 1]).all()
    np.testing.assert_allclose(smoothed.keypoints[:, 0], smooth_singlecam(ensemble).keypoints[:, 0])
    assert smoothed.choices[1].at_bound


def test_a_keypoint_that_no_view_ever_saw_stays_missing():
    views = []
    for view in synchronous_views(30):
        keypoints = view.keypoints.copy()
        keypoints[:, :, 1] = np.nan
        views.append(Ensemble(keypoints, view.confidence, view.names, view.view))
    for tracks in (
        smooth_multicam(views, options=SmoothingOptions(inflate=True)),
        smooth_asynchronous(views, [np.arange(30.0), np.arange(30.0) + 0.5]),
    ):
        for track in tracks:
            assert np.isnan(track.keypoints[:, 1]).all()
            assert np.isfinite(track.keypoints[:, 0]).all()


def test_one_member_of_several_is_not_believed_for_agreeing_with_itself():
    ensemble = a_track(50, 1, members=4)
    keypoints = ensemble.keypoints.copy()
    keypoints[1:, 20] = np.nan
    stats = ensemble_statistics(Ensemble(keypoints, ensemble.confidence, ensemble.names))
    usual = np.delete(stats.variance[:, 0], 20, axis=0)
    assert (stats.variance[20, 0] >= np.median(usual, axis=0)).all()
    assert stats.variance[20, 0].min() >= 1 / stats.confidence[20, 0]


def test_statistics_are_those_of_numpy_over_the_members_that_observed():
    rng = np.random.default_rng(3)
    ensemble = an_ensemble(rng.normal(size=(200, 3, 2)) * 10, rng, members=5, missing=0.2)
    seen = np.isfinite(ensemble.keypoints).all(-1)
    n = seen.sum(0)
    several = n > 1
    members = ensemble.keypoints[:, several]
    for centre, function in (("median", np.nanmedian), ("mean", np.nanmean)):
        plain = ensemble_statistics(ensemble, SmoothingOptions(centre=centre, variance="plain"))
        np.testing.assert_allclose(plain.centre[several], function(members, 0))
        np.testing.assert_allclose(plain.variance[several], np.nanvar(members, 0))
    confidence = np.nanmean(np.where(seen, ensemble.confidence, np.nan)[:, several], 0)
    np.testing.assert_allclose(plain.confidence[several], confidence)
    weighted = ensemble_statistics(ensemble)
    np.testing.assert_allclose(weighted.variance[several], plain.variance[several] / confidence[:, None])
    divided = ensemble_statistics(ensemble, SmoothingOptions(divide_by_members=True))
    np.testing.assert_allclose(divided.variance[several], weighted.variance[several] / n[several][:, None])
    assert np.isnan(weighted.centre[n == 0]).all()
    assert (n == 0).any()


def test_a_confidence_that_is_unknown_does_not_hide_the_prediction():
    ensemble = a_track(10)
    unknown = Ensemble(ensemble.keypoints, np.full_like(ensemble.confidence, np.nan), ensemble.names)
    stats = ensemble_statistics(unknown)
    plain = ensemble_statistics(ensemble, SmoothingOptions(variance="plain"))
    np.testing.assert_allclose(stats.variance, plain.variance)
    assert np.isnan(stats.confidence).all()


def test_a_view_that_sees_nothing_for_a_while_is_predicted_from_the_other():
    views = synchronous_views(200, n_views=3)
    truth = smooth_multicam(views)[0].keypoints
    keypoints = views[0].keypoints.copy()
    keypoints[:, 50:90] = np.nan
    blind = smooth_multicam([Ensemble(keypoints, views[0].confidence, views[0].names, "cam0"), *views[1:]])[0]
    error = np.abs(blind.keypoints - truth)[50:90]
    straight = np.linspace(0, 1, 42)[1:-1, None, None]
    bridge = truth[49] * (1 - straight) + truth[90] * straight
    assert error.mean() < 0.25 * np.abs(bridge - truth[50:90]).mean()


def test_times_need_not_overlap_for_smoothing_but_for_learning():
    views = synchronous_views(20)
    with pytest.raises(InputError, match="0 of 20 frames have all coordinates observed"):
        smooth_asynchronous(views, [np.arange(20.0), np.arange(20.0) + 1000])
    with pytest.raises(InputError, match="recordings do not overlap"):
        synchronised(views, [np.arange(20.0), np.arange(20.0) + 1000])


def test_canonical_correlation_of_a_point_that_never_moves_is_none():
    views = []
    for view in some_views(np.random.default_rng(0)):
        still = np.broadcast_to(view.keypoints[:, :1] * 0 + 7, view.keypoints.shape).copy()
        still[np.isnan(still)] = 7
        views.append(Ensemble(still, view.confidence, view.names, view.view))
    first, second, _ = smooth_multicam(views)
    for found in canonical_correlation(first, second):
        assert np.isfinite(found.directions).all()
        assert 0 <= found.correlation <= 1


def test_the_noise_of_one_network_is_a_guess_that_variance_floor_corrects():
    """The likeliest s takes noise beyond the guess for movement; docs/smoothing.md has these figures."""
    rng = np.random.default_rng(0)
    truth = 100 + np.cumsum(rng.normal(0, 0.2, (3000, 2, 2)), axis=0)
    seen = truth + rng.normal(0, 8, truth.shape)
    ensemble = Ensemble(seen[None], np.full((1, 3000, 2), 0.9), ("a", "b"))

    def error(floor: float) -> float:
        smoothed = smooth_singlecam(ensemble, options=SmoothingOptions(variance_floor=floor))
        return float(np.linalg.norm(smoothed.keypoints - truth, axis=-1).mean())

    assert error(1e-12) > 9
    assert error(64.0) < 1.5
