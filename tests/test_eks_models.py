"""Search, inflation, canonical correlation, real recordings, and what importing and compiling cost."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from data import need
from eks_ensembles import a_track, synchronous_views
from scipy.optimize import minimize_scalar

from adaptation.eks import (
    Ensemble,
    SmoothingOptions,
    canonical_correlation,
    inflated,
    smooth_asynchronous,
    smooth_multicam,
    smooth_singlecam,
    synchronised,
)
from adaptation.eks.inflation import factor_analysis
from adaptation.eks.smoothing_parameter import most_likely


def read(folder: str, pattern: str, view: str = "", swap: bool = False) -> Ensemble:
    tables = [
        pd.read_csv(p, header=[0, 1, 2], index_col=0)
        for p in sorted((need("ensembles") / folder).glob(pattern))
    ]
    names = list(dict.fromkeys(tables[0].columns.get_level_values(1)))
    values = np.stack([t.to_numpy(float).reshape(len(t), len(names), 3) for t in tables])
    return Ensemble(values[..., :2], values[..., 2], tuple(names[::-1] if swap else names), view)


def paws() -> tuple[list[Ensemble], list[np.ndarray]]:
    """The left camera's left paw is the right camera's right paw."""
    views = [read("ibl-paw", f"*.{v}.rng*.csv", v, swap=v == "right") for v in ("left", "right")]
    folder = need("ensembles") / "ibl-paw"
    return views, [np.load(next(folder.glob(f"*timestamps.{v}.npy"))) for v in ("left", "right")]


@pytest.mark.parametrize("peak", [1e-7, 0.003, 1.0, 4321.0])
def test_the_search_finds_the_mode_of_a_skewed_function(peak):
    def heights(values):
        x = np.log(values / peak)
        return 100 * (x - np.expm1(x)) if peak < 1 else -50 * (np.expm1(-x) + x)

    value, height, curve, at_bound = most_likely(heights, (1e-8, 1e8))
    assert value == pytest.approx(peak, rel=1e-3)
    assert height == pytest.approx(0, abs=1e-3)
    assert not at_bound
    assert (np.diff(curve.values) > 0).all()
    assert height == curve.log_likelihoods.max()


def test_the_search_takes_the_higher_of_two_modes_and_reports_a_bound():
    def two(values):
        x = np.log10(values)
        return 5 * np.exp(-(((x + 4) / 1.0) ** 2)) + 6 * np.exp(-(((x - 3) / 1.0) ** 2))

    assert most_likely(two, (1e-8, 1e8))[0] == pytest.approx(1e3, rel=0.01)
    low, _, _, at_low = most_likely(lambda v: -np.log(v), (1e-3, 1e3))
    high, _, _, at_high = most_likely(np.log, (1e-3, 1e3))
    assert (low, high) == (pytest.approx(1e-3), pytest.approx(1e3))
    assert at_low
    assert at_high


def test_automatic_s_is_the_optimum_of_the_exact_likelihood_and_follows_the_truth():
    rng = np.random.default_rng(0)
    for s in (0.01, 1.0, 50.0):
        track = np.cumsum(rng.normal(size=(3000, 1, 2)) * np.sqrt(s), axis=0)
        spread = rng.gamma(2, 0.5, (3000, 1, 1)) + 0.1
        keypoints = track + spread * rng.normal(size=(30, 3000, 1, 2))
        ensemble = Ensemble(keypoints, np.ones((30, 3000, 1)), ("a",))
        options = SmoothingOptions(divide_by_members=True, centre="mean")
        (choice,) = smooth_singlecam(ensemble, options=options).choices
        assert choice.value == pytest.approx(s, rel=0.15)

        def loss(log_s, ensemble=ensemble):
            fixed = SmoothingOptions(divide_by_members=True, centre="mean", s=float(np.exp(log_s)))
            return -smooth_singlecam(ensemble, options=fixed).choices[0].log_likelihood

        best = minimize_scalar(loss, bounds=(np.log(s) - 1, np.log(s) + 1), method="bounded")
        assert choice.log_likelihood >= -best.fun - 1e-4


def test_the_posterior_variance_is_calibrated():
    """Errors of simulated tracks, over the variance that is claimed, have variance one."""
    rng = np.random.default_rng(1)
    track = np.cumsum(rng.normal(size=(4000, 2, 2)), axis=0)
    spread = rng.gamma(2, 1.0, (4000, 2, 1)) + 0.2
    keypoints = track + spread * rng.normal(size=(40, 4000, 2, 2))
    ensemble = Ensemble(keypoints, np.ones((40, 4000, 2)), ("a", "b"))
    smoothed = smooth_singlecam(ensemble, options=SmoothingOptions(divide_by_members=True, centre="mean"))
    score = (smoothed.keypoints - track) ** 2 / smoothed.variance
    assert score.mean() == pytest.approx(1, abs=0.08)
    error = np.abs(smoothed.keypoints - track).mean()
    assert error < np.abs(keypoints.mean(0) - track).mean()


def test_inflation_finds_the_view_that_is_wrong():
    rng = np.random.default_rng(2)
    points = np.cumsum(rng.normal(size=(400, 3)), axis=0)
    centre = points @ rng.normal(size=(3, 6)) + rng.normal(size=(400, 6)) * 0.3
    variance = np.full((400, 6), 0.09) * rng.uniform(0.8, 1.2, (400, 6))
    centre[100:110, 2:4] += 25
    variance[100:110] *= 2  # less certain than half of the frames, so nothing is learnt from them
    centre[50, 0] = variance[50, 0] = np.nan
    raised = inflated(centre, variance) / variance
    assert (raised[100:110, 2:4] >= 10).all()
    others = np.delete(raised, np.r_[100:110], axis=0)
    assert np.nanmean(others > 1) < 0.05
    assert np.isnan(raised[50, 0])
    two = inflated(centre[:, :4], variance[:, :4]) / variance[:, :4]
    assert (two[100:110] >= 10).all()  # of two views nobody knows which is wrong
    few = variance[:9].copy()
    np.testing.assert_array_equal(inflated(centre[:9], few), few)


def test_factor_analysis_recovers_the_covariance():
    rng = np.random.default_rng(3)
    loadings = rng.normal(size=(8, 2)) * 3
    data = rng.normal(size=(20_000, 2)) @ loadings.T + rng.normal(size=(20_000, 8)) * 0.5 + 7
    mean, found = factor_analysis(data, 2, tolerance=1e-8)
    np.testing.assert_allclose(mean, data.mean(0))
    np.testing.assert_allclose(found @ found.T, loadings @ loadings.T, rtol=0.05, atol=0.3)


def test_canonical_correlation_is_one_after_smoothing_and_points_at_outliers():
    views = synchronous_views(300)
    keypoints = views[0].keypoints.copy()
    keypoints[:, 150, 0] += 60  # a confident mistake
    views[0] = Ensemble(keypoints, views[0].confidence, views[0].names, "cam0")
    first, second = smooth_multicam(views)
    found = canonical_correlation(first, second)
    assert [one.keypoint for one in found] == ["point0", "point1"]
    for one in found:
        assert one.correlation > 1 - 1e-9
        assert one.before < one.correlation
        np.testing.assert_allclose(one.smoothed.std(0), 1, rtol=1e-6)
        np.testing.assert_allclose(one.smoothed[:, 0], one.smoothed[:, 1], atol=1e-6)
    assert np.nanargmax(np.abs(found[0].difference)) == 150


def test_the_real_paws_are_predicted_where_one_camera_is_blind():
    views, times = paws()
    keypoints = views[0].keypoints.copy()
    hidden = np.zeros(views[0].n_frames, bool)
    for start in range(100, 900, 80):
        hidden[start : start + 30] = True
    truth = np.median(keypoints, 0)
    keypoints[:, hidden] = np.nan
    blind = [Ensemble(keypoints, views[0].confidence, views[0].names, "left"), views[1]]
    predicted = smooth_asynchronous(blind, times, options=SmoothingOptions(n_latent=4))[0]
    alone = smooth_singlecam(blind[0])
    error = np.linalg.norm(predicted.keypoints - truth, axis=2)[hidden].mean()
    assert error < 0.85 * np.linalg.norm(alone.keypoints - truth, axis=2)[hidden].mean()
    assert np.isnan(predicted.statistics.centre[hidden]).all()


def test_the_interpolated_variant_gives_both_cameras_the_slow_ones_frames():
    views, times = paws()
    same, common = synchronised(views, times)
    assert len(common) < len(times[0])  # the last frames of the left camera come after the right one's last
    assert [view.n_frames for view in same] == [len(common)] * 2
    np.testing.assert_array_equal(same[0].keypoints, views[0].keypoints[:, : len(common)])
    for c in range(2):
        expected = np.interp(common, times[1], views[1].keypoints[2, :, 1, c])  # its second is the left paw
        np.testing.assert_allclose(same[1].keypoints[2, :, 0, c], expected)
    assert len(smooth_multicam(same)) == 2


def test_real_recordings_get_an_s_from_inside_the_range():
    for name in ("ibl-pupil", "mirror-mouse"):
        smoothed = smooth_singlecam(read(name, "*.csv"))
        assert not any(choice.at_bound for choice in smoothed.choices)
        # Frames of less ensemble variance are moved less.
        moved = np.abs(smoothed.keypoints - smoothed.statistics.centre)
        sure = smoothed.statistics.variance < np.median(smoothed.statistics.variance)
        assert moved[sure].mean() < 0.5 * moved[~sure].mean()


def test_provenance_says_what_was_done():
    smoothed = smooth_singlecam(a_track(20), s=2.0)
    (done,) = smoothed.operations
    assert done == {"name": "smooth_singlecam", "members": 3, "s": {"point0": 2.0, "point1": 2.0}}


def test_importing_is_light():
    code = (
        "import sys, adaptation, adaptation.eks as eks\n"
        "heavy = [m for m in ('torch', 'numba', 'scipy', 'pandas', 'cv2') if m in sys.modules]\n"
        "assert not heavy, heavy\n"
        "names = [getattr(eks, name) for name in eks.__all__]\n"
        "heavy = [m for m in ('torch', 'numba', 'cv2') if m in sys.modules]\n"
        "assert not heavy and all(names), heavy\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parents[1])


def test_compiled_code_is_cached_and_a_folder_that_cannot_be_written_does_no_harm(tmp_path, monkeypatch):
    """Second process: nothing is compiled. No writable folder at all: compiled in memory, the same answer."""
    package = tmp_path / "adaptation" / "eks"
    shutil.copytree(
        Path(__file__).parents[1] / "adaptation",
        tmp_path / "adaptation",
        ignore=shutil.ignore_patterns("__pycache__"),
    )
    shutil.copytree(Path(__file__).parents[1] / "superset_vocab", tmp_path / "superset_vocab")
    code = (
        "import numpy as np\n"
        "from adaptation.eks.kernels import walk_smooth as w\n"
        "m = np.empty(2); v = np.empty(2)\n"
        "w(np.array([1.0, 3.0]), np.ones(2), np.ones(2), np.array([0.0, 1.0]), 1.0, m, v)\n"
        "print(round(m[0], 6), sum(w.stats.cache_hits.values()) if hasattr(w, 'stats') else 0)\n"
    )
    environment = {"PYTHONPATH": str(tmp_path), "PATH": "/usr/bin:/bin", "HOME": str(tmp_path / "home")}

    def run(**more):
        command = [sys.executable, "-c", code]
        done = subprocess.run(
            command, check=True, capture_output=True, text=True, cwd=tmp_path, env={**environment, **more}
        )
        return done.stdout.split()

    first, second = run(), run()
    assert (first[1], second[1]) == ("0", "1")
    assert list((package / "__pycache__").glob("kernels.walk_smooth*.nbi"))
    shutil.rmtree(package / "__pycache__")
    # Root writes everywhere, so a plain file stands where numba would make its folders.
    (package / "__pycache__").write_text("")
    nowhere = run(HOME="/dev/null", XDG_CACHE_HOME="/dev/null/x", PYTHONDONTWRITEBYTECODE="1")
    assert nowhere[0] == first[0] == "1.0"
