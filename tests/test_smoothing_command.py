"""`zoo smooth` and `zoo compare-smoothers`: what they write, print and refuse."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from ensembles import NAMES, frame_of, member, walk, write_members
from fakes import SPEC, fake_model, moving_square, write_video

import zoo
from adaptation.eks.comparison import (
    Comparison,
    Labels,
    arima_filtered,
    compare,
    median_filtered,
    read_labels,
)
from adaptation.eks.diagnosis import worst_rows
from adaptation.eks.ensemble import Ensemble
from adaptation.eks.files import read_poses
from adaptation.eks.members import Member, check_members, predict_members
from app.cli import main
from app.smoothing_commands import common_name
from superset_vocab import InputError

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    """Run `zoo ARGUMENT...`; gives (exit code, stdout, stderr)."""

    def call(*arguments: object) -> tuple[int, str, str]:
        code = main([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return call


def test_smooth_files(run: Run, tmp_path: Path) -> None:
    out = tmp_path / "out"
    code, said, err = run("smooth", *write_members(tmp_path), "--out", out, "--quiet", "--plot", "nose")
    assert (code, err) == (0, "")
    assert sorted(path.name for path in out.iterdir()) == [
        "smoothed.eks_singlecam.csv",
        "smoothed.eks_singlecam.h5",
        "smoothed.eks_singlecam.likelihood.png",
        "smoothed.eks_singlecam.nose.png",
        "smoothed.eks_singlecam.provenance.json",
    ]
    assert all(str(path) in said for path in out.iterdir())
    # the smoothed track is nearer to the truth than any network
    errors = [
        np.abs(read_poses(path).tracks[0].keypoints - walk()).mean() for path in write_members(tmp_path)
    ]
    assert np.abs(read_poses(out / "smoothed.eks_singlecam.csv").tracks[0].keypoints - walk()).mean() < min(
        errors
    )


def test_one_network_is_told_that_its_noise_is_a_guess(run: Run, tmp_path: Path) -> None:
    files = write_members(tmp_path)
    for some, told in ((files[:1], True), (files, False)):
        code, said, _ = run("smooth", *some, "--out", tmp_path / f"out{len(some)}", "--quiet")
        assert (code, "its noise is taken for 1 px over its confidence" in said) == (0, told)


def test_options_reach_the_smoother(run: Run, tmp_path: Path) -> None:
    files = write_members(tmp_path)
    options = [
        "--s",
        "nose=2",
        "tail=30",
        "--centre",
        "mean",
        "--variance",
        "plain",
        "--fps",
        "25",
        "--name",
        "a",
    ]
    code, _, _ = run("smooth", *files, "--out", tmp_path / "out", "--quiet", "--format", "csv", *options)
    assert code == 0
    about = json.loads((tmp_path / "out" / "a.eks_singlecam.provenance.json").read_text())
    assert [one["values"]["s"] for one in about["smoothing_parameters"]] == [2, 30]
    assert about["fps"] == "25"
    table = pd.read_csv(tmp_path / "out" / "a.eks_singlecam.csv", header=[0, 1, 2], index_col=0)
    members = np.stack([read_poses(path).tracks[0].keypoints for path in files])
    found = table.xs("x_ens_median", axis=1, level="coords").to_numpy()
    np.testing.assert_allclose(found, members.mean(0)[..., 0], rtol=1e-8)
    found = table.xs("y_ens_var", axis=1, level="coords").to_numpy()
    np.testing.assert_allclose(found, members.var(0)[..., 1], rtol=1e-8)


def test_s_on_some_frames_and_shared(run: Run, tmp_path: Path) -> None:
    files = write_members(tmp_path)
    code, _, _ = run(
        "smooth", *files, "--out", tmp_path, "--quiet", "--blocks", "nose,tail", "--s-frames", "0:20", "30:60"
    )
    assert code == 0
    about = json.loads((tmp_path / "smoothed.eks_singlecam.provenance.json").read_text())
    assert [one["keypoints"] for one in about["smoothing_parameters"]] == [["nose", "tail"]]
    (exact,) = (one["values"]["s"] for one in about["smoothing_parameters"])
    arguments = [
        "--likelihood",
        "constant_noise",
        "--variance-floor",
        "1",
        "--name",
        "b",
        "--blocks",
        "nose,tail",
    ]
    assert run("smooth", *files, "--out", tmp_path, "--quiet", *arguments)[0] == 0
    other = json.loads((tmp_path / "b.eks_singlecam.provenance.json").read_text())
    assert other["smoothing_parameters"][0]["values"]["s"] != pytest.approx(exact, rel=0.01)
    table = pd.read_csv(tmp_path / "b.eks_singlecam.csv", header=[0, 1, 2], index_col=0)
    assert table.xs("x_ens_var", axis=1, level="coords").to_numpy().min() == 1


TWO_CAMERAS = ("--model", "multicam", "--cameras", "top", "bot")


def test_two_cameras(run: Run, tmp_path: Path) -> None:
    truth = walk(n_frames=80)
    files = write_members(tmp_path, 2, "top", truth) + write_members(tmp_path, 2, "bot", 2 * truth)
    arguments = [*TWO_CAMERAS, "--out", tmp_path / "out", "--format", "csv"]
    code, said, _ = run("smooth", *files, *arguments, "--quiet", "--inflate", "--keypoints", "tail")
    assert code == 0
    assert "eks_multicam of top: 80 frames" in said
    names = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert names == [
        f"smoothed.{one}"
        for one in ("bot.eks_multicam.csv", "eks_multicam.provenance.json", "top.eks_multicam.csv")
    ]
    poses = read_poses(next((tmp_path / "out").glob("*.bot.eks_multicam.csv")))
    assert poses.tracks[0].names == ("tail",)
    assert np.abs(poses.tracks[0].keypoints - 2 * truth[:, 1:]).mean() < 2


def test_a_mistake_of_all_networks_is_found(run: Run, tmp_path: Path) -> None:
    """In one view all networks are wrong together: no variance shows it, the geometry does."""
    truth = walk(n_frames=200)
    lifted = 1.5 * truth
    lifted[90:95, 1] += 80
    files = write_members(tmp_path, 3, "top", truth) + write_members(tmp_path, 3, "bot", lifted)
    arguments = [*TWO_CAMERAS, "--out", tmp_path / "out", "--format", "csv"]
    code, said, _ = run("smooth", *files, *arguments, "--quiet", "--diagnose", "--s", 3, "--n-latent", 2)
    assert code == 0
    apart = pd.read_csv(tmp_path / "out" / "smoothed.top-bot.eks_multicam.cca.csv", index_col="frame")
    assert list(apart.columns) == ["nose", "tail"]
    assert apart["tail"].abs().idxmax() in range(90, 95)
    assert apart["tail"].abs().max() > 3 * apart["nose"].abs().max()
    assert (tmp_path / "out" / "smoothed.bot.eks_multicam.pose_pca.csv").exists()
    assert "canonical correlation of top and bot, nose: networks 0.9" in said
    assert run("smooth", *files, *arguments, "--quiet", "--diagnose", "--name", "b")[0] == 0


def test_rows_worth_a_look() -> None:
    distance = np.ones((100, 2))
    distance[30:34, 1], distance[70, 0], distance[5] = 9, 8, np.nan
    assert worst_rows(distance, 2) == [30, 70]
    assert worst_rows(np.full((3, 2), np.nan)) == []


MISTAKES = {
    "--s one": "holds something that is no number",
    "--s 1 2": "is neither one number nor KEYPOINT=NUMBER",
    "--s -1": "it must be a positive number",
    "--s ear=1": "ear",
    "--rename top": "is not CAMERA:KEYPOINT=KEYPOINT",
    "--format xls": "'xls' is no format",
    "--fps 0": "want a positive number",
    "--resume": "--resume has an effect with --members only",
    "--plot-frames 0:5": "--plot-frames has an effect with --plot only",
    "--members superanimal_topviewmouse": "--members take one video, not 3 inputs",
    "--model multicam": "needs two cameras or more",
    "--n-latent 2 --inflate": "2 problems:",
    "--variance-of observation": "--variance-of has no effect on singlecam; leave it out",
    "--model pupil --s 3": "s has no meaning for the pupil",
    "--cameras top": "has no camera's name in its own",
    "--keypoints ear": "has no ear",
    "--plot ear": "there is no keypoint ear",
    "--plot --plot-frames 90:99": "no frame in 90:99",
}


@pytest.mark.parametrize("options", MISTAKES)
def test_mistakes_are_told_in_one_line(run: Run, tmp_path: Path, options: str) -> None:
    files = write_members(tmp_path / "in")
    out = tmp_path / "out"
    code, said, err = run("smooth", *files, "--out", out, "--quiet", *options.split())
    assert code == 2
    assert MISTAKES[options] in err
    assert err.startswith("zoo: error: ")
    assert "Traceback" not in err
    assert said == ""
    assert not out.exists()


def test_an_animal_that_was_hardly_seen_does_not_cost_the_others_track(
    run: Run, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Its poses are too few to say which ones are usual."""
    files = []
    for i in range(2):
        tables = []
        for name, seen in (("here", 60), ("gone", 5)):
            truth = walk(seed=len(name))
            truth[seen:] = np.nan
            points, confidence = member(truth, seed=i)
            confidence[seen:] = np.nan
            tables.append(frame_of(points, confidence, individual=name))
        files.append(tmp_path / f"net{i}.csv")
        pd.concat(tables, axis=1).to_csv(files[-1])
    out = tmp_path / "out"
    assert run("smooth", *files, "--out", out, "--quiet", "--diagnose")[0] == 0
    assert "gone: no distances to usual poses" in caplog.text
    assert (out / "smoothed.eks_singlecam.csv").is_file()
    assert (out / "smoothed.eks_singlecam.here.pose_pca.csv").is_file()
    assert not list(out.glob("*gone*"))


@pytest.mark.parametrize("fps", ["1/0", "abc"])
def test_a_frame_rate_that_is_none(run: Run, tmp_path: Path, fps: str, capsys) -> None:
    with pytest.raises(SystemExit):
        run("smooth", *write_members(tmp_path), "--out", tmp_path / "out", "--fps", fps)
    assert f"'{fps}' is no number such as 25 or 30000/1001" in capsys.readouterr().err


def test_results_are_not_replaced_unasked(run: Run, tmp_path: Path) -> None:
    arguments = ["smooth", *write_members(tmp_path / "in"), "--out", tmp_path / "out", "--quiet"]
    assert run(*arguments)[0] == 0
    code, _, err = run(*arguments)
    assert code == 2
    assert "smoothed.eks_singlecam.h5" in err
    assert run(*arguments, "--overwrite")[0] == 0


def test_names_of_results() -> None:
    def name(*files: str, cameras: tuple[str, ...] = ()) -> str:
        return common_name([Path(file) for file in files], list(cameras))

    assert name("180607_004.rng=0.csv", "180607_004.rng=1.csv") == "180607_004"
    assert name("m3v1DLC_shuffle1_100.h5", "m3v1DLC_shuffle2_100.h5") == "m3v1DLC"
    assert name("fly_Cam-A_r0.csv", "fly_Cam-B_r0.csv", cameras=("Cam-A", "Cam-B")) == "fly_r0"
    assert name("a.csv", "b.csv") == "smoothed"
    assert name("one.eks.csv") == "one.eks"


# --- an ensemble of zoo models on a video -------------------------------------------------------------------


@pytest.fixture
def squares(monkeypatch: pytest.MonkeyPatch) -> list[tuple]:
    """`zoo.load` gives a model that finds squares; lists what was loaded."""
    loaded: list[tuple] = []

    def load(name: str, variant: str | None = None, **options: object) -> SimpleNamespace:
        weights = options["weights"]
        loaded.append((name, variant, weights))
        model = replace(fake_model(), spec=replace(SPEC, name=name, variant=f"{variant} {weights}"))

        def predict(*arguments: Any, **options: Any) -> zoo.Predictions:
            found = model.predict(*arguments, **options)
            return replace(found, keypoints=found.keypoints + np.float32(weights is not None))

        return SimpleNamespace(spec=model.spec, weights=model.weights, predict=predict)

    monkeypatch.setattr(zoo, "load", load)
    return loaded


def test_smooth_a_video_with_several_models(run: Run, squares: list[tuple], tmp_path: Path) -> None:
    video = write_video(tmp_path / "mouse.mp4", moving_square(20))
    other = tmp_path / "seed1.safetensors"
    other.touch()
    members = ["superanimal_topviewmouse:compact", f"superanimal_topviewmouse:compact:{other}"]
    arguments = ["smooth", video, "--members", *members, "--out", tmp_path / "out", "--quiet"]
    code, said, err = run(*arguments)
    assert (code, err) == (0, "")
    assert squares == [
        ("superanimal_topviewmouse", "compact", None),
        ("superanimal_topviewmouse", "compact", other),
    ]
    assert "eks_singlecam: 20 frames" in said
    track = read_poses(tmp_path / "out" / "mouse.eks_singlecam.csv").tracks[0]
    truth = read_poses(tmp_path / "out" / "mouse.member0.superanimal_topviewmouse.h5").tracks[0]
    there = np.isfinite(truth.keypoints)
    # One member is right, the other is off by one.
    np.testing.assert_allclose((track.keypoints - truth.keypoints)[there], 0.5, atol=0.3)
    about = json.loads((tmp_path / "out" / "mouse.eks_singlecam.provenance.json").read_text())
    assert about["fps"] == "25"
    assert [one["variant"] for one in about["members"][""]] == ["compact None", f"compact {other}"]
    code, _, err = run(*arguments)
    assert code == 2
    assert "exists; use --overwrite" in err


def test_a_stopped_ensemble_goes_on(squares: list[tuple], tmp_path: Path) -> None:
    video = write_video(tmp_path / "mouse.mp4", moving_square(20))
    members = [Member("superanimal_topviewmouse", "compact"), Member("superanimal_topviewmouse", "hrnet_w32")]
    first = predict_members(video, members[:1], tmp_path / "out")
    path = Path(first[0].source)
    before = path.stat().st_mtime_ns
    both = predict_members(video, members, tmp_path / "out", resume=True)
    assert path.stat().st_mtime_ns == before
    assert len(both) == 2
    with pytest.raises(InputError, match="its max_individuals was None, not 2"):
        predict_members(video, members, tmp_path / "out", resume=True, predict={"max_individuals": 2})
    (tmp_path / "other").mkdir()
    other = write_video(tmp_path / "other" / "mouse.mp4", moving_square(21))
    with pytest.raises(InputError, match="cannot be resumed from"):
        predict_members(other, members, tmp_path / "out", resume=True)
    beside = path.with_suffix(".provenance.json")
    beside.write_text(beside.read_text()[:50])
    with pytest.raises(InputError, match=r"provenance\.json: is not JSON"):
        predict_members(video, members, tmp_path / "out", resume=True)


def test_members_from_words(tmp_path: Path) -> None:
    assert Member.parse("a") == Member("a")
    assert Member.parse("a:compact") == Member("a", "compact")
    assert Member.parse("a:runs/w.safetensors") == Member("a", None, Path("runs/w.safetensors"))
    assert Member.parse("a:compact:w.pt") == Member("a", "compact", Path("w.pt"))
    assert Member.parse("a:C:/w.pt") == Member("a", None, Path("C:/w.pt"))
    assert Member.parse("hf://lab/mouse@v1") == Member("hf://lab/mouse@v1")
    assert Member.parse(str(tmp_path)) == Member(str(tmp_path))
    for text in ("", ":compact", "a:b:c"):
        with pytest.raises(InputError, match="is none of MODEL"):
            Member.parse(text)
    mouse = Member("superanimal_topviewmouse")
    with pytest.raises(InputError) as told:
        check_members([mouse, mouse, Member("superanimal_cat"), Member(mouse.model, None, tmp_path / "w.pt")])
    for text in ("is there twice", "superanimal_cat", "no such file of weights"):
        assert text in str(told.value)


# --- post-processors against labels -------------------------------------------------------------------------


def write_labels(path: Path, truth: np.ndarray, frames: list[int], video: str = "net") -> Path:
    """A label table of some frames."""
    table = frame_of(truth[frames], np.ones((len(frames), 2)))
    table = table.loc[:, table.columns.get_level_values("coords") != "likelihood"]
    table.index = pd.Index([f"labeled-data/{video}/img{frame:04d}.png" for frame in frames])
    table.to_csv(path)
    return path


def test_compare_smoothers(run: Run, tmp_path: Path) -> None:
    truth = walk(n_frames=200)
    files = write_members(tmp_path / "in", 4, truth=truth, sd=4)
    frames = list(range(3, 198, 5))
    labels = write_labels(tmp_path / "labels.csv", truth, frames)
    out = tmp_path / "out"
    code, said, err = run("compare-smoothers", *files, "--labels", labels, "--out", out, "--quiet")
    assert (code, err) == (0, "")
    summary = json.loads((out / "comparison.json").read_text())
    assert summary["n_labelled_keypoints"] == 2 * len(frames)
    errors = summary["mean_pixel_error"]["100 %"]
    single = np.mean(
        [np.linalg.norm((read_poses(path).tracks[0].keypoints - truth)[frames], axis=-1) for path in files]
    )
    assert errors["single network"] == pytest.approx(single, rel=1e-6)
    assert errors["eks singlecam"] < errors["ensemble mean"] < errors["single network"]
    assert errors["median filter"] < errors["single network"]
    table = pd.read_csv(out / "comparison.csv")
    assert len(table) == 2 * len(frames)
    assert table["ensemble mean"].mean() == pytest.approx(errors["ensemble mean"], rel=1e-4)
    assert (out / "comparison.png").stat().st_size > 10_000
    assert f"mean pixel error of {2 * len(frames)} labelled keypoints" in said


def test_cameras_that_are_not_in_step_are_compared_at_their_own_frames(run: Run, tmp_path: Path) -> None:
    """Labels of the fast camera count its frames, which the slow one has fewer of."""
    rng = np.random.default_rng(3)
    files, labels, times = [], [], []
    for view, clock in {"fast": np.arange(0, 6, 1 / 50), "slow": np.arange(0.003, 5.9, 1 / 20)}.items():
        place = np.stack([np.sin(clock), np.cos(1.3 * clock), np.sin(0.7 * clock)], axis=-1)
        truth = np.stack([place @ (60 * rng.normal(size=(3, 2))) + 200 for _ in NAMES], axis=1)
        files += write_members(tmp_path / "in", view=view, truth=truth, sd=1)
        path = tmp_path / f"labels.{view}.csv"
        labels.append(write_labels(path, truth, list(range(10, len(clock) - 10, 7)), "net"))
        times.append(tmp_path / f"times.{view}.npy")
        np.save(times[-1], clock)
    how = ["--cameras", "fast", "slow", "--timestamps", *times, "--labels", *labels, "--quiet"]
    out = tmp_path / "out"
    code, _, err = run("compare-smoothers", *files, "--model", "multicam", *how, "--out", out)
    assert (code, err) == (0, "")
    table = pd.read_csv(out / "comparison.csv")
    assert set(table["view"]) == {"fast", "slow"}
    assert table["eks multicam"].groupby(table["view"]).mean().max() < table["ensemble mean"].mean()


def test_parts_of_mirrored_views_are_compared(run: Run, tmp_path: Path) -> None:
    """As in `zoo smooth`, a part is named without the view."""
    names = ("nose_top", "nose_bot", "tail_top", "tail_bot")
    truth = walk(n_frames=80, n_keypoints=4)
    truth[:, 1::2, 0] = truth[:, ::2, 0]  # both views see one x
    files = []
    for i in range(3):
        files.append(tmp_path / f"net{i}.csv")
        frame_of(*member(truth, i), names).to_csv(files[-1])
    table = frame_of(truth[:60:3], np.ones((20, 4)), names)
    table = table.loc[:, table.columns.get_level_values("coords") != "likelihood"]
    table.index = pd.Index([f"labeled-data/net/img{frame:04d}.png" for frame in range(0, 60, 3)])
    table.to_csv(tmp_path / "labels.csv")
    ask = ["compare-smoothers", *files, "--labels", tmp_path / "labels.csv", "--quiet", "--n-latent", 3]
    how = ["--model", "mirrored", "--cameras", "top", "bot", "--keypoints", "tail"]
    code, _, err = run(*ask, *how, "--out", tmp_path / "out")
    assert (code, err) == (0, "")
    assert set(pd.read_csv(tmp_path / "out" / "comparison.csv")["keypoint"]) == {"tail_top", "tail_bot"}


def test_labels_of_another_video_are_refused(run: Run, tmp_path: Path) -> None:
    truth = walk(n_frames=60)
    files = write_members(tmp_path / "in", truth=truth)
    labels = write_labels(tmp_path / "labels.csv", truth, [1, 2], "m4s1")
    arguments = ["compare-smoothers", *files, "--labels", labels, "--out", tmp_path / "out", "--quiet"]
    code, _, err = run(*arguments)
    assert code == 2
    assert "is not known to label this video: its images are of 'm4s1'" in err
    assert run(*arguments, "--video", "m4s1")[0] == 0
    with pytest.raises(InputError, match="has no images of 'm1', only of 'm4s1'"):
        read_labels(labels, "m1", ["net0.csv"])
    beyond = write_labels(tmp_path / "more.csv", walk(n_frames=90), [1, 80])
    code, _, err = run(*arguments[:-4], beyond, *arguments[-3:], "--overwrite")
    assert code == 2
    assert "labels frames [80] that the predictions have not" in err
    code, _, _ = run(*arguments[:-4], beyond, *arguments[-3:], "--overwrite", "--first", "-1")
    assert code == 2
    assert read_labels(beyond, None, ["net0.csv"], 1).frames.tolist() == [0, 79]


def test_unknown_methods(run: Run, tmp_path: Path) -> None:
    truth = walk(n_frames=60)
    files = write_members(tmp_path / "in", truth=truth)
    labels = write_labels(tmp_path / "labels.csv", truth, [1, 2])
    arguments = ["compare-smoothers", *files, "--labels", labels, "--out", tmp_path / "out", "--quiet"]
    code, _, err = run(*arguments, "--methods", "magic")
    assert code == 2
    assert "there is no magic, only single network" in err
    assert not (tmp_path / "out").exists()


def test_errors_are_ordered_by_the_ensembles_spread() -> None:
    sd = np.array([1.0, 4, 2, 3])
    same = np.array(["a"] * 4)
    comparison = Comparison(
        ("x", "y"), np.array([[1.0, 8, 2, 4], [1, 1, 1, 1]]), sd, same, np.arange(4), same
    )
    at_half, errors = comparison.at_share(50)
    assert at_half == 3
    np.testing.assert_array_equal(errors, [6, 1])
    sds, curve = comparison.curve(points=10, fewest=1)
    np.testing.assert_array_equal(sds, [1, 2, 3, 4])
    np.testing.assert_allclose(curve[0], [15 / 4, 14 / 3, 6, 8])


def test_keypoints_without_predictions_are_left_out() -> None:
    keypoints, confidence = member(walk(), 0)
    keypoints[5, 0] = np.nan
    ensemble = Ensemble(np.stack([keypoints] * 2), np.stack([confidence] * 2), NAMES)
    labels = Labels(NAMES, np.array([5, 6]), walk()[5:7])
    result = compare([ensemble], [labels], [np.arange(60)], {}, ["single network"])
    assert list(zip(result.frames, result.names, strict=True)) == [(5, "tail"), (6, "nose"), (6, "tail")]
    nothing = Labels(NAMES, np.array([5]), np.full((1, 2, 2), np.nan))
    with pytest.raises(InputError, match="no labelled keypoint has a prediction"):
        compare([ensemble], [nothing], [np.arange(60)], {}, ["single network"])
    with pytest.raises(InputError, match="labels ear, the ensemble has nose, tail"):
        compare([ensemble], [Labels(("ear",), np.array([5]), np.zeros((1, 1, 2)))], [np.arange(60)], {})


def test_the_median_filter_removes_an_outlier() -> None:
    track = np.tile(np.arange(50.0)[:, None, None], (1, 2, 2))
    spoilt = track.copy()
    spoilt[20, 1, 0] = 900
    np.testing.assert_allclose(median_filtered(spoilt)[5:-5], track[5:-5], atol=1)


def test_arima_follows_an_autoregression() -> None:
    pytest.importorskip("statsmodels", reason='pip install "superanimal-zoo[smooth]"')
    rng = np.random.default_rng(0)
    x = np.zeros(120)
    for t in range(1, 120):
        x[t] = 0.9 * x[t - 1] + rng.normal()
    keypoints = np.stack([x, np.full(120, np.nan)], axis=-1)[:, None]
    out = arima_filtered(keypoints, np.ones((120, 1)))
    residual = (out[1:, 0, 0] - x[1:]).std()
    assert 0.75 < residual < 1.25  # the one-step prediction leaves the innovation
    assert out[0, 0, 0] == x[0]
    assert np.isnan(out[:, 0, 1]).all()


def test_what_is_not_installed_is_named(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.slp").touch()
    monkeypatch.setitem(sys.modules, "sleap_io", None)
    monkeypatch.setitem(sys.modules, "sleap_io.io.main", None)
    code, _, err = run("smooth", tmp_path / "a.slp", "--out", tmp_path / "out", "--quiet")
    assert (code, err.count("\n")) == (2, 1)
    assert 'pip install "superanimal-zoo[sleap]"' in err
