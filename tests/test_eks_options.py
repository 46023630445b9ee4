"""Types and options of the smoothers: every mistake is named, all at once, with the remedy."""

from __future__ import annotations

import re

import numpy as np
import pytest
from eks_ensembles import a_pupil, a_track, calibrated_views, mirrored, synchronous_views

from adaptation.eks import (
    Ensemble,
    EnsembleStatistics,
    LikelihoodCurve,
    Smoothed,
    SmoothingChoice,
    SmoothingOptions,
    canonical_correlation,
    joined,
    pose_pca,
    smooth_asynchronous,
    smooth_calibrated,
    smooth_mirrored,
    smooth_multicam,
    smooth_pupil,
    smooth_singlecam,
)
from superset_vocab import InputError


def refused(*messages):
    """The error must hold all of the messages."""
    return pytest.raises(InputError, match="(?s)" + "".join(f"(?=.*{re.escape(m)})" for m in messages))


def test_an_ensemble_names_everything_wrong_with_it():
    with refused(
        "ensemble of top: 3 problems",
        "twice: a",
        "a coordinate is infinite",
        "confidences reach from -1 to 5",
    ):
        Ensemble(np.full((1, 2, 2, 2), np.inf), np.array([[[-1, 0], [0, 5]]]), ("a", "a"), "top")
    with refused("keypoints have shape (2, 3), want (members, frames, keypoints, 2)"):
        Ensemble(np.zeros((2, 3)), np.zeros((2, 3)), ("a",))
    with refused("0 members, 3 frames and 1 keypoints"):
        Ensemble(np.zeros((0, 3, 1, 2)), np.zeros((0, 3, 1)), ("a",))
    with refused("confidence has shape (1, 3, 2), want (1, 3, 1)", "2 names for 1 keypoints"):
        Ensemble(np.zeros((1, 3, 1, 2)), np.zeros((1, 3, 2)), ("a", "b"))
    assert repr(a_track(4, members=3)) == "Ensemble(3 members, 4 frames, 2 keypoints)"


def test_results_check_their_shapes():
    stats = EnsembleStatistics(np.zeros((3, 1, 2)), np.zeros((3, 1, 2)), np.zeros((3, 1)))
    with pytest.raises(ValueError, match=re.escape("variance has shape (3, 1), want (3, 1, 2)")):
        Smoothed(np.zeros((3, 1, 2)), np.zeros((3, 1)), stats, ("a",))
    with pytest.raises(ValueError, match="2 names for 1 keypoints"):
        Smoothed(np.zeros((3, 1, 2)), np.zeros((3, 1, 2)), stats, ("a", "b"))
    with pytest.raises(ValueError, match=re.escape("centre has shape (2, 1, 2)")):
        EnsembleStatistics(np.zeros((2, 1, 2)), np.zeros((3, 1, 2)), np.zeros((3, 1)))
    pair = SmoothingChoice(
        ("a",), {"x": 1.0, "y": 2.0}, 0.0, LikelihoodCurve(np.empty(0), np.empty(0)), "fixed"
    )
    with pytest.raises(ValueError, match="there are 2 parameters: x, y"):
        _ = pair.value


def test_options_name_everything_wrong_with_them():
    with refused(
        "s is -1", "'b' is named twice in blocks", "frame range 5:5 is empty", "s_bounds are (2, 1)",
        "good_frames is 0", "variance_floor is 0", "n_latent is 0", "centre is 'mode'; want one of median",
        "likelihood is 'guess'; want one of exact, constant_noise",
    ):  # fmt: skip
        SmoothingOptions(
            s=-1, blocks=(("a", "b"), ("b",)), frame_ranges=((5, 5),), s_bounds=(2, 1), good_frames=0,
            variance_floor=0, n_latent=0, centre="mode", likelihood="guess",
        )  # fmt: skip
    with refused("s is nan"):
        SmoothingOptions(s={"a": np.nan})
    with refused("s is an empty mapping"):
        SmoothingOptions(s={})


def test_options_must_fit_the_keypoints():
    ensemble = a_track(20)
    with refused("blocks name 'nose', which is no keypoint; there are point0, point1"):
        smooth_singlecam(ensemble, options=SmoothingOptions(blocks=(("point0", "nose"),)))
    with refused("s names 'nose'", "s has no value for keypoint 'point1'"):
        smooth_singlecam(ensemble, s={"point0": 1.0, "nose": 2.0})
    with refused("the keypoints of block point0, point1 have different s"):
        smooth_singlecam(
            ensemble, options=SmoothingOptions(s={"point0": 1, "point1": 2}, blocks=(("point0", "point1"),))
        )
    with refused("frame range 5:21 reaches beyond the last of 20 frames"):
        smooth_singlecam(ensemble, options=SmoothingOptions(frame_ranges=((5, 21),)))
    with refused("frame range 5:21 reaches beyond"):
        smooth_multicam(synchronous_views(20), options=SmoothingOptions(frame_ranges=((5, 21),)))


def test_a_block_shares_one_s_and_a_mapping_gives_each_its_own():
    ensemble = a_track(60, 3)
    smoothed = smooth_singlecam(ensemble, options=SmoothingOptions(blocks=(("point2", "point0"),)))
    assert [choice.keypoints for choice in smoothed.choices] == [("point2", "point0"), ("point1",)]
    shared = smoothed.choices[0]
    curve = shared.curve
    assert shared.log_likelihood == pytest.approx(curve.log_likelihoods.max())
    alone = smooth_singlecam(ensemble).choices
    assert min(alone[0].value, alone[2].value) <= shared.value <= max(alone[0].value, alone[2].value)
    both = alone[0].log_likelihood + alone[2].log_likelihood
    assert shared.log_likelihood <= both
    mapping = {"point0": 0.1, "point1": 1.0, "point2": 10.0}
    each = smooth_singlecam(ensemble, s=mapping)
    for k, (name, s) in enumerate(mapping.items()):
        assert each.choices[k].values == {"s": s}
        np.testing.assert_array_equal(
            each.keypoints[:, k], smooth_singlecam(ensemble, s=s).keypoints[:, k], err_msg=name
        )


def test_constant_noise_chooses_by_the_median_variance():
    rng = np.random.default_rng(5)
    ensemble = a_track(200, 1)
    stats = smooth_singlecam(ensemble).statistics
    choice = smooth_singlecam(ensemble, options=SmoothingOptions(likelihood="constant_noise")).choices[0]
    # The same observations whose noise is that median in every frame: its exact likelihood is the same.
    half = np.sqrt(np.median(stats.variance[:, 0], axis=0))
    pair = np.stack([stats.centre + half, stats.centre - half])
    constant = Ensemble(pair, np.ones((2, 200, 1)), ("point0",))
    exact = smooth_singlecam(constant).choices[0]
    assert exact.value == pytest.approx(choice.value, rel=1e-6)
    assert exact.log_likelihood == pytest.approx(choice.log_likelihood, rel=1e-9)
    assert rng is not None


def test_views_must_fit_each_other():
    views = synchronous_views(20)
    with refused("1 view given; a model of several views needs at least two"):
        smooth_multicam(views[:1])
    short = Ensemble(views[1].keypoints[:, :15], views[1].confidence[:, :15], ("point0", "nose"), "cam1")
    with refused(
        "2 problems", "lacks point1; adds nose", "cam1 has 15 frames, cam0 20", "smooth_asynchronous"
    ):
        smooth_multicam([views[0], short])
    with refused("5 latent dimensions for 4 coordinates"):
        smooth_multicam(views, options=SmoothingOptions(n_latent=5))


def test_frame_ranges_that_do_not_show_a_keypoint_are_refused():
    """Every s is as likely there; the smallest was taken, and the track was its mean."""
    track = a_track(60)
    gone = track.keypoints.copy()
    gone[:, 10:30, 0] = np.nan
    ensemble = Ensemble(gone, track.confidence, track.names)
    ranges = SmoothingOptions(frame_ranges=((12, 28),))
    with refused(f"frame ranges: {track.names[0]} is observed in no frame of them"):
        smooth_singlecam(ensemble, options=ranges)
    views = synchronous_views(60)
    blind = views[0].keypoints.copy()
    blind[:, :, 0] = np.nan
    never = Ensemble(blind, views[0].confidence, views[0].names)
    assert np.isnan(smooth_singlecam(never, options=ranges).keypoints[:, 0]).all()  # seen nowhere at all
    away = [np.where(np.arange(60)[:, None, None] < 30, np.nan, v.keypoints) for v in views]
    lost = [Ensemble(a, v.confidence, v.names, v.view) for a, v in zip(away, views, strict=True)]
    with refused("frame ranges: ", "is observed in no frame of them"):
        smooth_multicam(lost, options=ranges)


def test_views_are_matched_by_keypoint_name():
    one, two = synchronous_views(30)
    turned = Ensemble(two.keypoints[:, :, ::-1], two.confidence[:, :, ::-1], two.names[::-1], two.view)
    for a, b in zip(smooth_multicam([one, two], s=1.0), smooth_multicam([one, turned], s=1.0), strict=True):
        np.testing.assert_array_equal(a.keypoints, b.keypoints)
        assert b.names == one.names


def test_mirrored_views_must_be_in_the_names():
    both = mirrored(synchronous_views(20))
    lone = Ensemble(both.keypoints, both.confidence, ("paw_cam0", "nose_cam0", "paw_cam1", "obstacle"))
    with refused(
        "'obstacle' does not end in any of _cam0, _cam1", "part 'nose' has no nose_cam1", "parts=..."
    ):
        smooth_mirrored(lone, ("cam0", "cam1"))
    chosen = smooth_mirrored(lone, ("cam0", "cam1"), parts=("paw",), s=1.0)
    assert joined(chosen).names == ("paw_cam0", "paw_cam1")
    np.testing.assert_array_equal(joined(chosen).keypoints[:, 1], chosen[1].keypoints[:, 0])


def test_times_must_fit_the_frames():
    views = synchronous_views(20)
    good = np.arange(20.0)
    with refused("1 lists of frame times for 2 views"):
        smooth_asynchronous(views, [good])
    still, broken = good.copy(), good.copy()
    still[7], broken[3] = still[6], np.nan
    with refused(
        "cam0: the time does not increase from frame 6 (6.0)",
        "cam1 has a time that is not finite, at frame 3",
    ):
        smooth_asynchronous(views, [still, broken])
    with refused("cam0 has 20 frames and times of shape (19,)"):
        smooth_asynchronous(views, [good[1:], good])
    with refused("at: want one list of finite times per view, 2 in all"):
        smooth_asynchronous(views, [good, good], at=[good])


def test_asynchronous_frame_ranges_count_the_slowest_cameras_frames():
    views = synchronous_views(40)
    fast = np.arange(40) * 0.5
    slow = Ensemble(views[0].keypoints[:, ::2], views[0].confidence[:, ::2], views[0].names, "cam0")
    times = [fast[::2], fast]
    part = smooth_asynchronous([slow, views[1]], times, options=SmoothingOptions(frame_ranges=((0, 20),)))
    everything = smooth_asynchronous([slow, views[1]], times)
    assert part[0].choices[0].value == pytest.approx(everything[0].choices[0].value)
    some = smooth_asynchronous([slow, views[1]], times, options=SmoothingOptions(frame_ranges=((0, 8),)))
    assert some[0].choices[0].value != pytest.approx(everything[0].choices[0].value)
    with refused("frame range 0:21 reaches beyond the last of 20 frames"):
        smooth_asynchronous([slow, views[1]], times, options=SmoothingOptions(frame_ranges=((0, 21),)))


def test_the_pupil_refuses_what_has_no_meaning_for_it():
    pupil = a_pupil(20)
    with refused(
        "a_diameter is 1.0; an AR(1)", "s has no meaning", "inflate has no meaning", "n_latent has no"
    ):
        smooth_pupil(pupil, a_diameter=1.0, options=SmoothingOptions(s=1, inflate=True, n_latent=2))
    with refused("0 keypoint names contain 'left'", "2 keypoint names contain 'right'"):
        names = ("top", "right_a", "bottom", "right_b")
        smooth_pupil(Ensemble(pupil.keypoints, pupil.confidence, names))
    empty = Ensemble(np.full_like(pupil.keypoints, np.nan), pupil.confidence, pupil.names)
    with refused("no frame shows enough of it"):
        smooth_pupil(empty)


def test_the_pupils_search_beats_a_grid_and_keeps_a_given_coefficient():
    pupil = a_pupil(300)
    found = smooth_pupil(pupil).choices[0]
    for a in (0.5, 0.9, 0.99, 0.999):
        for b in (0.01, 0.3, 0.9):
            fixed = smooth_pupil(pupil, a_diameter=a, a_centre=b).choices[0]
            assert fixed.chosen == "fixed"
            assert fixed.log_likelihood <= found.log_likelihood
    half = smooth_pupil(pupil, a_centre=0.3).choices[0]
    assert half.values["a_centre"] == 0.3
    assert half.chosen == "likelihood"
    assert half.curve.values.shape == (len(half.curve.log_likelihoods), 2)


def test_pose_pca_refuses_what_it_cannot_use():
    ensemble = a_track(30)
    with refused("explained is 0"):
        pose_pca(ensemble, explained=0)
    with refused("one s for all keypoints"):
        pose_pca(ensemble, options=SmoothingOptions(blocks=(("point0",),)))
    with refused("no keypoint is observed"):
        pose_pca(Ensemble(np.full_like(ensemble.keypoints, np.nan), ensemble.confidence, ensemble.names))


def test_pose_pca_leaves_rare_keypoints_out_and_points_at_what_does_not_fit():
    rng = np.random.default_rng(2)
    pose = np.cumsum(rng.normal(size=(120, 2)), 0) @ rng.normal(size=(2, 10)) * 5 + 300
    keypoints = (pose.reshape(120, 5, 2) + 0.1 * rng.normal(size=(4, 120, 5, 2))).copy()
    keypoints[:, 60, 1] += 40  # all members agree, and are wrong
    keypoints[:, 30:, 4] = np.nan
    ensemble = Ensemble(keypoints, np.ones((4, 120, 5)), tuple("abcde"))
    found = pose_pca(ensemble, explained=0.95)
    assert found.used.tolist() == [True, True, True, True, False]
    assert np.isnan(found.smoothed.keypoints[:, 4]).all()
    assert np.nanargmax(found.distance[:, :4].max(1)) == 60
    assert np.nanargmax(found.distance[60]) == 1
    assert (found.components[:, 4] == 0).all()
    assert found.explained.sum() >= 0.95


def test_calibrated_views_need_their_cameras():
    cameras, views, _ = calibrated_views(np.random.default_rng(0))
    with refused("view 'cam2' has no camera in the calibration; there are cam0, cam1"):
        smooth_calibrated(views, cameras[:2])
    with refused("two views are called 'cam0'"):
        smooth_calibrated([views[0], views[0]], cameras)
    with refused("relinearise is -1"):
        smooth_calibrated(views, cameras, relinearise=-1)
    blind = [
        Ensemble(np.where(np.arange(20)[:, None, None] % 3 == v, view.keypoints, np.nan), view.confidence,
                 view.names, view.view)
        for v, view in enumerate(views)
    ]  # fmt: skip
    with refused("no two of them see point0 in the same frame"):
        smooth_calibrated(blind, cameras)


def test_canonical_correlation_needs_frames_and_names_in_common():
    one, two = smooth_multicam(synchronous_views(30))
    short = smooth_multicam(synchronous_views(20))[0]
    with refused("cam0 has 30 frames, cam0 20", "at=..."):
        canonical_correlation(one, short)
    other = Smoothed(two.keypoints, two.variance, two.statistics, ("x", "y"), "cam1")
    with refused("no keypoint in common"):
        canonical_correlation(one, other)
