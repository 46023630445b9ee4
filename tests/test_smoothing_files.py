"""Ensembles from files: every format to the same numbers, and every mistake told."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import pytest
from data import need
from ensembles import NAMES, frame_of, member, walk, write_members
from fakes import predictions_of
from hypothesis import given
from hypothesis import strategies as st

from adaptation.eks.files import Poses, Track, from_predictions, read_poses
from adaptation.eks.recording import assemble, by_camera, read_recording, read_times
from superset_vocab import InputError

DEEPOF = "trajectories/deepof_tests/tests/test_examples"


def test_csv_of_one_animal(tmp_path: Path) -> None:
    keypoints, confidence = member(walk(), 0)
    frame_of(keypoints, confidence).to_csv(tmp_path / "a.csv")
    poses = read_poses(tmp_path / "a.csv")
    assert poses.individuals == ("animal0",)
    assert poses.tracks[0].names == NAMES
    np.testing.assert_array_equal(poses.tracks[0].keypoints, keypoints)
    np.testing.assert_array_equal(poses.tracks[0].confidence, confidence)
    np.testing.assert_array_equal(poses.frame_index, np.arange(60))
    assert len(poses.about["sha256"]) == 64


@pytest.mark.parametrize("first", [0, 37])
def test_a_trailing_set_column_is_passed_over(tmp_path: Path, first: int) -> None:
    keypoints, confidence = member(walk(), 0)
    table = frame_of(keypoints, confidence, first=first)
    table[("set", "", "")] = "unused"
    table.to_csv(tmp_path / "a.csv")
    poses = read_poses(tmp_path / "a.csv")
    np.testing.assert_array_equal(poses.tracks[0].keypoints, keypoints)
    assert poses.frame_index[0] == first


def test_empty_cells_windows_lines_and_a_byte_order_mark(tmp_path: Path) -> None:
    keypoints, confidence = member(walk(), 0)
    keypoints[3, 1], confidence[3, 1] = np.nan, np.nan
    keypoints[5, 0], confidence[5, 0] = 0, 0  # what other programs write for missing
    text = frame_of(keypoints, confidence).to_csv().replace("\n", "\r\n")
    (tmp_path / "a.csv").write_bytes(b"\xef\xbb\xbf" + text.encode())
    track = read_poses(tmp_path / "a.csv").tracks[0]
    gone = np.isnan(track.keypoints).all(-1)
    assert gone.sum() == 2
    assert gone[3, 1]
    assert gone[5, 0]
    np.testing.assert_array_equal(np.isnan(track.confidence), gone)
    np.testing.assert_array_equal(track.keypoints[~gone], keypoints[~gone])


@given(st.integers(1, 5), st.integers(1, 3), st.integers(0, 2**32 - 1))
def test_individuals_come_back_from_csv_and_h5(
    tmp_path_factory: pytest.TempPathFactory, t: int, n: int, seed: int
) -> None:
    folder = tmp_path_factory.mktemp("poses")
    predictions = predictions_of(t, n, seed)
    predictions.save(folder, "a", ["csv", "h5"])
    for poses in (*map(read_poses, [folder / "a.csv", folder / "a.h5"]), from_predictions(predictions)):
        assert len(poses.tracks) == n
        for i, track in enumerate(poses.tracks):
            np.testing.assert_allclose(track.keypoints, predictions.keypoints[:, i], rtol=1e-6)
            np.testing.assert_allclose(track.confidence, predictions.confidence[:, i], rtol=1e-6)


def test_individuals_may_have_their_own_keypoints(tmp_path: Path) -> None:
    first = frame_of(*member(walk(), 0), individual="mouse")
    second = frame_of(*member(walk(), 1), names=["corner", "lamp"], individual="single")
    pd.concat([first, second], axis=1).to_csv(tmp_path / "a.csv")
    poses = read_poses(tmp_path / "a.csv")
    assert poses.individuals == ("mouse", "single")
    assert poses.track("single").names == ("corner", "lamp")


@pytest.mark.parametrize("animals", ["single", "madlc", "multi"])
def test_deepof_h5_and_csv_hold_the_same(animals: str) -> None:
    # The csv of these tests lack the h5's first frames.
    folder = need(f"{DEEPOF}/test_{animals}_topview") / "Tables"
    csv, h5 = (read_poses(next(folder.glob(f"*.{suffix}"))) for suffix in ("csv", "h5"))
    assert csv.individuals == h5.individuals
    rows = np.searchsorted(h5.frame_index, csv.frame_index)
    for a, b in zip(csv.tracks, h5.tracks, strict=True):
        assert a.names == b.names
        same = np.isclose(a.keypoints, b.keypoints[rows], atol=2e-3, equal_nan=True).all((1, 2))
        assert same.mean() > 0.9 or animals == "single"  # that csv is another network's


def test_sleap_files_hold_the_same() -> None:
    pytest.importorskip("sleap_io", reason='pip install "superanimal-zoo[sleap]"')
    folder = need(f"{DEEPOF}/test_single_topview") / "Tables" / "SLEAP"
    slp, analysis = read_poses(folder / "testDLC_sleap.slp"), read_poses(folder / "testDLC_sleap.analysis.h5")
    assert slp.individuals == analysis.individuals == ("track_0",)
    assert slp.tracks[0].names == analysis.tracks[0].names
    np.testing.assert_allclose(slp.tracks[0].keypoints, analysis.tracks[0].keypoints)
    there = np.isfinite(slp.tracks[0].confidence)
    np.testing.assert_allclose(
        slp.tracks[0].confidence[there], analysis.tracks[0].confidence[there], atol=1e-6
    )


def test_three_real_networks() -> None:
    folder = need("trajectories/m3v1_three_networks")
    recording = read_recording(sorted(folder.glob("*.h5")))
    (ensemble,) = recording.ensembles["animal0"]
    assert ensemble.keypoints.shape == (3, 2330, 4, 2)
    expected = pd.read_hdf(sorted(folder.glob("*.h5"))[1])
    np.testing.assert_allclose(ensemble.keypoints[1, :, 2, 0], expected.iloc[:, 6])


BROKEN = {
    "bodyparts,a\ncoords,x\n": "has a header and no frames",
    "frame,a\n0,1\n": "has no header rows scorer, bodyparts, coords",
    "bodyparts,a,a,a\ncoords,x,y\n0,1,2,3\n": "header rows differ in length",
    "bodyparts,a,a\ncoords,x,y\n0,1,2\n": "has no likelihood: it holds labels, not predictions",
    "bodyparts,a,a,a\ncoords,x,x,y\n0,1,2,3\n": "has column animal0 a x twice",
    "bodyparts,a,a,a\ncoords,x,y,likelihood\n0,1,2,3\n2,1,2,3\n1,1,2,3\n": "frame 1 comes after 2",
    "bodyparts,a,a,a\ncoords,x,y,likelihood\n0.5,1,2,3\n": "first column is not the frame's number",
    "bodyparts,a,a,a\ncoords,x,y,likelihood\nlabeled-data/a/img1.png,1,2,3\n": "its rows are images",
}


@pytest.mark.parametrize("text", BROKEN)
def test_broken_csv(tmp_path: Path, text: str) -> None:
    (tmp_path / "a.csv").write_text(text)
    with pytest.raises(InputError, match=BROKEN[text]):
        read_poses(tmp_path / "a.csv")


def test_all_bad_rows_of_a_csv_are_named(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(
        "scorer,n,n,n\nbodyparts,a,a,a\ncoords,x,y,likelihood\n0,1,2,.5\n1,one,2,.5\n2,1,2\n3,1,2,high\n"
    )
    with pytest.raises(InputError) as told:
        read_poses(tmp_path / "a.csv")
    message = str(told.value)
    assert "3 problems" in message
    assert "line 5 has 'one'" in message
    assert "line 6 has 3 cells, the header 4" in message
    assert "line 7 has 'high'" in message


def test_other_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is no table of predictions"):
        read_poses(tmp_path / "a.mp4")
    with pytest.raises(InputError, match="no such file"):
        read_poses(tmp_path / "a.csv")
    (tmp_path / "a.h5").write_bytes(b"no")
    with pytest.raises(InputError, match="is no HDF5 file"):
        read_poses(tmp_path / "a.h5")
    with h5py.File(tmp_path / "b.h5", "w") as file:
        file["tracks"] = np.zeros((1, 2, 3, 4))
    with pytest.raises(InputError, match="is no complete SLEAP analysis file"):
        read_poses(tmp_path / "b.h5")
    labels = need("openfield-Pranav-2018-10-30") / "labeled-data" / "m4s1" / "CollectedData_Pranav.h5"
    with pytest.raises(InputError, match="its rows are images"):
        read_poses(labels)


def test_an_unreadable_slp(tmp_path: Path) -> None:
    pytest.importorskip("sleap_io", reason='pip install "superanimal-zoo[sleap]"')
    (tmp_path / "a.slp").write_bytes(b"no")
    with pytest.raises(InputError, match="sleap-io cannot read it"):
        read_poses(tmp_path / "a.slp")


def poses_of(
    seed: int, names: tuple[str, ...] = NAMES, frames: np.ndarray | None = None, **about: str
) -> Poses:
    keypoints, confidence = member(walk(60, len(names)), seed)
    index = np.arange(60) if frames is None else frames
    track = Track("animal0", names, keypoints[: len(index)], confidence[: len(index)])
    return Poses(f"net{seed}", (track,), index, {})


def test_members_are_stacked_by_name_and_gaps_become_missing() -> None:
    first = poses_of(0, frames=np.array([4, 5, 8]))
    second = poses_of(1, names=NAMES[::-1], frames=np.array([4, 5, 8]))
    recording = assemble({"": [first, second]}, fps=Fraction(25))
    (ensemble,) = recording.ensembles["animal0"]
    np.testing.assert_array_equal(recording.frame_index[0], np.arange(4, 9))
    assert np.isnan(ensemble.keypoints[:, [2, 3]]).all()
    np.testing.assert_array_equal(ensemble.keypoints[1, [0, 1, 4], 0], second.tracks[0].keypoints[:, 1])


def test_all_differences_between_members_are_told() -> None:
    others = [
        poses_of(1, names=("nose", "paw")),
        poses_of(2, frames=np.arange(1, 61)),
        poses_of(3),
        replace(poses_of(3), source="net4"),
        replace(poses_of(5), tracks=(replace(poses_of(5).tracks[0], individual="rat"),)),
    ]
    with pytest.raises(InputError) as told:
        assemble({"": [poses_of(0), *others]})
    message = str(told.value)
    assert "net1 lacks tail, which net0 has" in message
    assert "net1 has paw, which net0 lacks" in message
    assert "net2 has 60 frames (1 to 60), net0 60 frames (0 to 59)" in message
    assert "net4 holds the same predictions as net3" in message
    assert "net5 has individuals rat, net0 animal0" in message


def test_views_are_checked_too() -> None:
    views = {"top": [poses_of(0)], "side": [poses_of(1, names=("nose", "paw"), frames=np.arange(50))]}
    with pytest.raises(InputError) as told:
        assemble(views)
    assert "net1 lacks tail" in str(told.value)
    assert "camera side has 50 frames (0 to 49), camera top 60" in str(told.value)
    fine = {"top": views["top"], "side": [poses_of(1, frames=np.arange(50))]}
    with pytest.raises(InputError, match="camera side has 60 timestamps for 50 frames"):
        assemble(fine, times={"top": np.arange(60.0), "side": np.arange(60.0)})
    with pytest.raises(InputError, match="camera side has no timestamps"):
        assemble(fine, times={"top": np.arange(60.0)})
    assert assemble(fine, times={"top": np.arange(60.0), "side": np.arange(50.0)}).views == ("top", "side")


def test_absurd_frame_numbers_are_refused() -> None:
    with pytest.raises(InputError, match="nearly all frames between them are missing"):
        assemble({"": [poses_of(0, frames=np.array([0, 10**9]))]})


def test_renamed_keypoints() -> None:
    views = {"left": [poses_of(0)], "right": [poses_of(1)]}
    recording = assemble(views, rename={"right": {"nose": "tail", "tail": "nose"}})
    right = recording.ensembles["animal0"][1]
    assert right.names == ("tail", "nose")
    with pytest.raises(InputError, match="no keypoint ear to rename"):
        assemble(views, rename={"right": {"ear": "tail"}})
    with pytest.raises(InputError, match="two keypoints have one name"):
        assemble(views, rename={"right": {"nose": "tail"}})
    with pytest.raises(InputError, match="there is no camera top"):
        assemble(views, rename={"top": {"nose": "tail"}})


def test_individuals_of_trackers_are_matched_by_distance() -> None:
    here, there = walk(seed=1), walk(seed=2) + 300

    def poses(seed: int, swapped: slice) -> Poses:
        blocks = [member(truth, seed + i) for i, truth in enumerate((here, there))]
        for a, b in zip(*blocks, strict=True):
            a[swapped], b[swapped] = b[swapped].copy(), a[swapped].copy()
        tracks = [Track(f"animal{i}", NAMES, *block) for i, block in enumerate(blocks)]
        return Poses(f"net{seed}", tuple(tracks), np.arange(60), {})

    members = [poses(0, slice(0, 0)), poses(10, slice(0, 60)), poses(20, slice(20, 40))]
    matched = assemble({"": members}, match_individuals=True)
    for individual, truth in (("animal0", here), ("animal1", there)):
        (ensemble,) = matched.ensembles[individual]
        assert np.abs(ensemble.keypoints - truth).max() < 15
    assert np.abs(assemble({"": members}).ensembles["animal0"][0].keypoints - here).max() > 200


@pytest.mark.parametrize("first_sees", [(), ("here",)])
def test_an_individual_is_nobody_else_where_the_first_member_does_not_see_it(first_sees) -> None:
    """Its tracker and the next one's name the animals the other way round, it misses some in 20 frames."""
    here, there = walk(seed=1), walk(seed=2) + 300
    gap = slice(20, 40)

    def poses(seed: int, names: tuple[str, ...], lost: tuple[str, ...]) -> Poses:
        truths = {"here": here, "there": there}
        blocks = {name: member(truths[name], seed + i) for i, name in enumerate(names)}
        for name in lost:
            for values in blocks[name]:
                values[gap] = np.nan
        tracks = [Track(f"animal{i}", NAMES, *blocks[name]) for i, name in enumerate(names)]
        return Poses(f"net{seed}", tuple(tracks), np.arange(60), {})

    both = ("here", "there")
    members = [
        poses(0, both, tuple(name for name in both if name not in first_sees)),
        poses(10, both[::-1], first_sees),
        poses(20, both[::-1], ()),
    ]
    matched = assemble({"": members}, match_individuals=True)
    for individual, truth in (("animal0", here), ("animal1", there)):
        (ensemble,) = matched.ensembles[individual]
        assert np.nanmax(np.abs(ensemble.keypoints - truth)) < 15


def test_third_animals_that_the_first_member_never_sees_are_the_same_one() -> None:
    """Padded members (`adaptation.eks.members`): two networks saw four animals, the first one only two."""
    truths = [walk(seed=i) + 300 * i for i in range(4)]

    def poses(seed: int, order: tuple[int, ...]) -> Poses:
        blocks = [
            member(truths[i], seed + i) if i >= 0 else (np.full((60, len(NAMES), 2), np.nan),) for i in order
        ]
        tracks = [
            Track(f"animal{i}", NAMES, block[0], block[-1] if len(block) > 1 else block[0][..., 0])
            for i, block in enumerate(blocks)
        ]
        return Poses(f"net{seed}", tuple(tracks), np.arange(60), {})

    members = [poses(0, (0, 1, -1, -1)), poses(10, (0, 1, 2, 3)), poses(20, (3, 1, 2, 0))]
    matched = assemble({"": members}, match_individuals=True)
    for ensembles in matched.ensembles.values():
        spread = np.ptp(ensembles[0].keypoints[1:], axis=0)
        assert spread.max() < 30


def test_cameras_by_name() -> None:
    files = [Path(f"a/fly_{camera}_net{i}.csv") for i in (1, 0) for camera in ("Cam-B", "Cam-A")]
    groups = by_camera(files, ["Cam-A", "Cam-B"])
    assert [path.name for path in groups["Cam-A"]] == ["fly_Cam-A_net0.csv", "fly_Cam-A_net1.csv"]
    # "stop" is no name of the camera "top"; "vidtop2.csv" has nothing better
    alone = by_camera([Path("stop_top.csv"), Path("vidbot2.csv")], ["top", "bot"])
    assert alone == {"top": [Path("stop_top.csv")], "bot": [Path("vidbot2.csv")]}
    with pytest.raises(InputError) as told:
        by_camera([Path("x.csv"), Path("top_bot.csv"), Path("x.csv")], ["top", "bot"])
    for text in (
        "x.csv is given twice",
        "x.csv has no camera's name",
        "cameras top and bot",
        "none of camera top",
    ):
        assert text in str(told.value)
    with pytest.raises(InputError, match="there is none"):
        by_camera([], [])


def test_recording_of_two_cameras(tmp_path: Path) -> None:
    paths = write_members(tmp_path, 2, "top") + write_members(tmp_path, 2, "bot")
    recording = read_recording(paths[::-1], ["top", "bot"])
    assert recording.views == ("top", "bot")
    assert [one["source"] for one in recording.members[0]] == [str(path) for path in paths[:2]]
    assert recording.select(["tail"]).ensembles["animal0"][1].names == ("tail",)
    with pytest.raises(InputError, match="animal0 has no ear, only nose, tail"):
        recording.select(["ear"])


@pytest.mark.parametrize(
    ("values", "what"),
    [([0.0, 2, 1], "time 2 is not after"), ([[0.0, 1]], "has shape"), ([0, np.nan], "has shape")],
)
def test_bad_frame_times(tmp_path: Path, values: list, what: str) -> None:
    np.save(tmp_path / "t.npy", values)
    with pytest.raises(InputError, match=what):
        read_times(tmp_path / "t.npy")


def test_frame_times_from_text_and_no_pickles(tmp_path: Path) -> None:
    (tmp_path / "t.txt").write_text("0.0\n0.1\n0.25\n")
    np.testing.assert_array_equal(read_times(tmp_path / "t.txt"), [0, 0.1, 0.25])
    (tmp_path / "bad.txt").write_text("zero\n")
    np.save(tmp_path / "t.npy", np.array([{}]), allow_pickle=True)
    for name in ("bad.txt", "t.npy"):
        with pytest.raises(InputError, match="holds no frame times"):
            read_times(tmp_path / name)
    with pytest.raises(InputError, match="cannot be read"):
        read_times(tmp_path / "none.npy")
