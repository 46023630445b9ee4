"""Smoothing by one call, and what it writes: tables that other programs read, figures, provenance."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from data import need
from ensembles import NAMES, member, walk, write_members
from fakes import predictions_of

import adaptation
from adaptation.eks.ensemble import Ensemble, SmoothingOptions
from adaptation.eks.files import read_poses
from adaptation.eks.plots import plot_likelihood, restless_window
from adaptation.eks.singlecam import smooth_singlecam
from adaptation.eks.writers import COLUMNS, POINT_COLUMNS, PUPIL_COLUMNS
from superset_vocab import InputError
from zoo.exports import read_h5_provenance

FIXED = SmoothingOptions(s=3.0)


def test_files_predictions_and_ensembles_give_the_same(tmp_path: Path) -> None:
    paths = write_members(tmp_path)
    from_files = adaptation.smooth(paths, options=FIXED).only
    blocks = [member(walk(), i) for i in range(3)]
    ensemble = Ensemble(np.stack([a for a, _ in blocks]), np.stack([b for _, b in blocks]), NAMES)
    direct = smooth_singlecam(ensemble, options=FIXED)
    np.testing.assert_allclose(from_files.keypoints, direct.keypoints, rtol=1e-12)
    for inputs in (ensemble, [ensemble], adaptation.read_recording(paths)):
        np.testing.assert_array_equal(
            adaptation.smooth(inputs, options=FIXED).only.keypoints, direct.keypoints
        )


def test_predictions_of_zoo_models() -> None:
    members = [predictions_of(40, 2, seed) for seed in range(3)]
    smoothed = adaptation.smooth(members, options=FIXED)
    assert smoothed.individuals == ("animal0", "animal1")
    assert smoothed.tables[""]["animal1"].keypoints.shape == (40, 27, 2)
    np.testing.assert_allclose(smoothed.time("")[1], 1001 / 30000)
    assert smoothed.provenance["members"][""][0]["model"] == "superanimal_topviewmouse"
    with pytest.raises(ValueError, match="there are 2 tracks"):
        _ = smoothed.only
    with pytest.raises(InputError, match="which predictions are of top, side"):
        adaptation.smooth(members, cameras=["top", "side"])
    images = replace(members[0], images=tuple(f"{i}.png" for i in range(40)))
    with pytest.raises(InputError, match="holds images, not a video"):
        adaptation.smooth([images])


def test_the_public_column_layout(tmp_path: Path) -> None:
    smoothed = adaptation.smooth(write_members(tmp_path / "in"), options=FIXED)
    written = smoothed.save(tmp_path / "out", "mouse", ["csv"])
    assert [path.name for path in written] == [
        "mouse.eks_singlecam.csv",
        "mouse.eks_singlecam.provenance.json",
    ]
    table = pd.read_csv(written[0], header=[0, 1, 2], index_col=0)
    assert list(table.columns) == [("eks_singlecam", name, coord) for name in NAMES for coord in COLUMNS]
    track = smoothed.only
    parts = {
        "x": track.keypoints[..., 0],
        "likelihood": track.statistics.confidence,
        "y_ens_median": track.statistics.centre[..., 1],
        "x_ens_var": track.statistics.variance[..., 0],
        "y_posterior_var": track.variance[..., 1],
    }
    for coord, values in parts.items():
        found = table.xs(coord, axis=1, level="coords").to_numpy()
        np.testing.assert_allclose(found, values, rtol=1e-8)
    again = read_poses(written[0])  # a smoothed table is a table of predictions
    np.testing.assert_allclose(again.tracks[0].keypoints, track.keypoints, rtol=1e-8)


def test_h5_and_provenance(tmp_path: Path) -> None:
    smoothed = adaptation.smooth(write_members(tmp_path / "in"))
    written = smoothed.save(tmp_path / "out", "mouse", ["h5"])
    table = pd.read_hdf(written[0])
    assert isinstance(table, pd.DataFrame)
    assert list(table.columns.get_level_values("coords")[:3]) == ["x", "y", "likelihood"]
    np.testing.assert_array_equal(table.to_numpy().reshape(60, 2, 3)[..., :2], smoothed.only.keypoints)
    about = json.loads(written[-1].read_text())
    assert about == json.loads(json.dumps(smoothed.provenance)) == read_h5_provenance(written[0])
    assert [Path(one["source"]).name for one in about["members"][""]] == ["net0.csv", "net1.csv", "net2.csv"]
    nose = about["smoothing_parameters"][0]
    assert nose["keypoints"] == ["nose"]
    curve = nose["curve"]
    best = int(np.argmax(curve["log_likelihoods"]))
    assert curve["values"][best] == pytest.approx(nose["values"]["s"], rel=0.05)
    assert nose["log_likelihood"] >= max(curve["log_likelihoods"]) - 1e-6
    assert about["operations"][0]["name"] == "smooth_singlecam"


def test_missing_stays_missing_in_every_file(tmp_path: Path) -> None:
    members = []
    for seed in range(2):
        one = predictions_of(30, 2, seed, absent=0)
        one.keypoints[:, 1, 4], one.confidence[:, 1, 4] = np.nan, np.nan
        members.append(one.save(tmp_path / "in", f"net{seed}", ["h5"])[0])
    smoothed = adaptation.smooth(members, options=FIXED)
    csv_path, h5_path, nc_path, _ = smoothed.save(tmp_path, "two", ["csv", "h5", "netcdf"])
    table = pd.read_csv(csv_path, header=[0, 1, 2, 3], index_col=0)
    assert "nan" not in csv_path.read_text()
    lost = table.xs("animal1", axis=1, level="individuals").isna().to_numpy().reshape(30, 27, 9)
    assert lost[:, 4].all()
    assert not lost[:, :4].any()
    assert np.isnan(read_poses(h5_path).track("animal1").keypoints[:, 4]).all()
    with xarray().open_dataset(nc_path, engine="h5netcdf") as poses:
        assert np.isnan(poses.position.sel(individuals="animal1").isel(keypoints=4)).all()


def xarray():
    return pytest.importorskip("xarray", reason='pip install "superanimal-zoo[smooth]"')


def test_movements_dataset(tmp_path: Path) -> None:
    xr = xarray()
    smoothed = adaptation.smooth([predictions_of(30, 2, seed) for seed in range(2)], options=FIXED)
    path = smoothed.save(tmp_path, "mice", ["netcdf"])[0]
    with xr.open_dataset(path, engine="h5netcdf") as poses:
        assert poses.position.dims == ("time", "space", "keypoints", "individuals")
        assert poses.confidence.dims == ("time", "keypoints", "individuals")
        assert list(poses.space.values) == ["x", "y"]
        assert list(poses.individuals.values) == ["animal0", "animal1"]
        assert poses.attrs["ds_type"] == "poses"
        assert poses.attrs["time_unit"] == "seconds"
        assert poses.attrs["fps"] == pytest.approx(30000 / 1001)
        np.testing.assert_allclose(poses.time, np.arange(30) * 1001 / 30000)
        for name, individual in (("animal0", 0), ("animal1", 1)):
            expected = smoothed.tables[""][name].keypoints.transpose(0, 2, 1)
            np.testing.assert_array_equal(poses.position[..., individual], expected)
        assert json.loads(poses.attrs["provenance"])["variant"] == "singlecam"


def test_nothing_is_overwritten_unasked(tmp_path: Path) -> None:
    smoothed = adaptation.smooth(write_members(tmp_path / "in"), options=FIXED)
    out = tmp_path / "out"
    first = smoothed.save(out, "mouse")
    before = first[0].read_bytes()
    first[0].write_bytes(b"mine")
    with pytest.raises(InputError, match=r"mouse\.eks_singlecam\.csv, .*h5, .* exists; use --overwrite"):
        smoothed.save(out, "mouse")
    assert first[0].read_bytes() == b"mine"
    smoothed.save(out, "mouse", overwrite=True)
    assert first[0].read_bytes() == before
    assert sorted(out.iterdir()) == sorted(first)


@pytest.mark.parametrize(("formats", "what"), [((), "none is named"), (("csv", "xls"), "'xls' is no format")])
def test_formats_are_checked(tmp_path: Path, formats: tuple[str, ...], what: str) -> None:
    smoothed = adaptation.smooth(write_members(tmp_path / "in"), options=FIXED)
    with pytest.raises(InputError, match=what):
        smoothed.save(tmp_path / "out", "mouse", formats)
    assert not (tmp_path / "out").exists()


def test_netcdf_without_xarray(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    smoothed = adaptation.smooth(write_members(tmp_path / "in"), options=FIXED)
    with pytest.raises(InputError, match=r'netcdf needs xarray; pip install "superanimal-zoo\[smooth\]"'):
        smoothed.save(tmp_path / "out", "mouse", ["netcdf"])


@pytest.mark.parametrize(
    ("model", "details", "what"),
    [
        ("kalman", {}, "there is no model 'kalman', only singlecam"),
        ("multicam", {"cameras": ["top"]}, "needs two cameras or more; got top"),
        ("multicam", {}, "needs two cameras or more; name them"),
        ("mirrored", {"cameras": ["top"]}, "needs the names of two views"),
        ("calibrated", {}, "needs a calibration.toml"),
        ("singlecam", {"calibration": "a.toml", "a_centre": 0.9}, "2 problems"),
        (
            "singlecam",
            {"timestamps": ["a.npy"]},
            "timestamps has no effect on singlecam, only on asynchronous, multicam",
        ),
        ("asynchronous", {}, "asynchronous needs the times"),
        ("singlecam", {"keypoints": ["ear"]}, "has no ear"),
        ("mirrored", {"cameras": ["a", "b"]}, "'nose' does not end in any of _a, _b"),
    ],
)
def test_what_does_not_fit_the_model_is_refused(tmp_path: Path, model: str, details: dict, what: str) -> None:
    with pytest.raises(InputError, match=what):
        adaptation.smooth(write_members(tmp_path), model, **details)


def test_a_misspelt_argument(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match="unexpected arguments: callibration"):
        adaptation.smooth(write_members(tmp_path), callibration="a.toml")  # pyright: ignore[reportCallIssue]


def test_predictions_by_camera(tmp_path: Path) -> None:
    files = {view: write_members(tmp_path, 2, view) for view in ("top", "bot")}
    by_mapping = adaptation.smooth(files, "multicam", FIXED)
    by_name = adaptation.smooth(files["top"] + files["bot"], "multicam", FIXED, cameras=["top", "bot"])
    for view in ("top", "bot"):
        np.testing.assert_array_equal(
            by_mapping.tables[view]["animal0"].keypoints, by_name.tables[view]["animal0"].keypoints
        )
    for view, n in (("top", 60), ("bot", 50)):
        np.save(tmp_path / f"times.{view}.npy", np.arange(n) / n)
    ensembles = by_name.recording.ensembles["animal0"]
    with pytest.raises(InputError, match="camera bot has 50 timestamps for 60 frames"):
        adaptation.smooth(ensembles, "asynchronous", FIXED, timestamps=sorted(tmp_path.glob("*.npy")))


def test_ensembles_of_one_view_twice() -> None:
    keypoints, confidence = member(walk(), 0)
    ensemble = Ensemble(keypoints[None], confidence[None], NAMES)
    with pytest.raises(InputError, match="need different views"):
        adaptation.smooth([ensemble, ensemble], "multicam")


def test_calibrated_cameras_of_the_fly(tmp_path: Path) -> None:
    folder = need("ensembles/fly")
    options = replace(FIXED, s=4.0)
    smoothed = adaptation.smooth(
        sorted(folder.glob("*.csv")),
        "calibrated",
        options,
        keypoints=["L1A", "R3B"],
        calibration=folder / "calibration.toml",
    )
    assert list(smoothed.tables) == ["Cam-A", "Cam-B", "Cam-C"]
    written = smoothed.save(tmp_path, "fly", ["csv"])
    (points,) = [path for path in written if path.name == "fly.eks_calibrated.3d.csv"]
    table = pd.read_csv(points, header=[0, 1, 2], index_col=0)
    assert list(table.columns.get_level_values("coords")[:9]) == list(POINT_COLUMNS)
    track = smoothed.points["animal0"]
    np.testing.assert_allclose(table.iloc[:, :3], track.points[:, 0], rtol=1e-7)
    np.testing.assert_allclose(table.iloc[:, 9 + 8], track.covariance[:, 1, 1, 2], rtol=1e-7)
    assert all(path.exists() for path in written)


def test_pupil_of_a_mouse(tmp_path: Path) -> None:
    files = sorted(need("ensembles/ibl-pupil").glob("*.csv"))
    smoothed = adaptation.smooth(files, "pupil", a_diameter=0.99, a_centre=0.98)
    written = smoothed.save(tmp_path, "eye", ["csv"])
    with (tmp_path / "eye.eks_pupil.diameter.csv").open() as file:
        rows = list(csv.reader(file))
    assert rows[0] == ["frame", *PUPIL_COLUMNS]
    track = smoothed.only
    right, left = (track.names.index(f"pupil_{side}_r") for side in ("right", "left"))
    width = track.keypoints[:, right, 0] - track.keypoints[:, left, 0]
    np.testing.assert_allclose([float(row[1]) for row in rows[1:]], width, rtol=1e-7)
    assert len(written) == 3


def test_mirrored_views_stay_in_one_table(tmp_path: Path) -> None:
    files = sorted(need("ensembles/mirror-mouse").glob("*.csv"))
    smoothed = adaptation.smooth(
        files, "mirrored", FIXED, cameras=["top", "bot"], keypoints=["paw1LH", "paw2LF"]
    )
    assert set(smoothed.only.names) == {"paw1LH_top", "paw2LF_top", "paw1LH_bot", "paw2LF_bot"}
    shared = smoothed.provenance["smoothing_parameters"][0]
    assert shared["keypoints"] == ["paw1LH_top", "paw1LH_bot"]


def test_two_clocks_of_the_paws(tmp_path: Path) -> None:
    folder = need("ensembles/ibl-paw")
    recording = adaptation.read_recording(
        sorted(folder.glob("*.csv")),
        ["left", "right"],
        timestamps=sorted(folder.glob("*.npy")),
        rename={"right": {"paw_l": "paw_r", "paw_r": "paw_l"}},
    )
    smoothed = adaptation.smooth(recording, "asynchronous", FIXED)
    written = smoothed.save(tmp_path, "paws", ["csv"])
    assert [len(read_poses(path).frame_index) for path in written[:2]] == [1000, 2500]
    assert smoothed.time("right")[0] == pytest.approx(180.56538062)
    assert smoothed.provenance["operations"][0]["name"] == "rename_keypoints"
    together = adaptation.smooth(recording, "multicam", FIXED)
    left, right = (together.tables[camera]["animal0"] for camera in ("left", "right"))
    assert left.n_frames == right.n_frames == len(together.time("right")) <= 1000
    assert together.provenance["operations"][1]["to_frames_of"] == "left"
    frames = read_poses(together.save(tmp_path / "two", "paws", ["csv"])[1]).frame_index
    np.testing.assert_array_equal(recording.times[0][frames], together.time("right"))


def test_figures(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason='pip install "superanimal-zoo[smooth]"')
    import matplotlib.image

    smoothed = adaptation.smooth(write_members(tmp_path / "in"))
    written = smoothed.plot(tmp_path / "out", "mouse")
    assert [path.name for path in written] == [
        "mouse.eks_singlecam.nose.png",
        "mouse.eks_singlecam.tail.png",
        "mouse.eks_singlecam.likelihood.png",
    ]
    pictures = [matplotlib.image.imread(path) for path in written]
    assert all(picture[..., :3].std() > 0.03 for picture in pictures)  # something is drawn
    assert not np.array_equal(pictures[0], pictures[1])
    with pytest.raises(InputError, match=r"nose\.png.* exists"):
        smoothed.plot(tmp_path / "out", "mouse", ["nose"])
    fixed = adaptation.smooth(write_members(tmp_path / "in"), options=FIXED)
    assert [path.name for path in fixed.plot(tmp_path / "two", "a", ["tail"], frames=(10, 20))] == [
        "a.eks_singlecam.tail.png"
    ]
    assert not plot_likelihood(tmp_path / "none.png", fixed.only.choices)
    for arguments, what in (
        ({"keypoints": ["ear"]}, "there is no keypoint ear"),
        ({"frames": (90, 99)}, "no frame in"),
    ):
        with pytest.raises(InputError, match=what):
            smoothed.plot(tmp_path / "three", "a", **arguments)


def test_the_window_shown_is_the_most_restless() -> None:
    sd = np.ones(2000)
    sd[1200:1300] = np.nan
    sd[1400:1450] = 9
    window = restless_window(sd, 500)
    assert window.stop - window.start == 500
    assert window.start <= 1400 < 1450 <= window.stop
    assert restless_window(sd[:300], 500) == slice(0, 300)


def test_time_of_files_can_be_given(tmp_path: Path) -> None:
    recording = replace(adaptation.read_recording(write_members(tmp_path)), fps=Fraction(50))
    np.testing.assert_allclose(adaptation.smooth(recording, options=FIXED).time("")[-1], 59 / 50)


def test_importing_is_light() -> None:
    import subprocess
    import sys

    code = (
        "import sys, adaptation, adaptation.eks, adaptation.smoothing, adaptation.eks.files; "
        "heavy = {'torch', 'pandas', 'numba', 'matplotlib', 'xarray', 'cv2', 'scipy'} & set(sys.modules); "
        "sys.exit(', '.join(sorted(heavy)) or 0)"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
