"""Predictions as NWB files, read back by pynwb."""

from __future__ import annotations

import json
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("ndx_pose", reason="the extra nwb is not installed")

import zoo
import zoo.nwb
from app.cli import main
from superset_vocab import InputError, load_vocabulary

MOUSE = load_vocabulary("superanimal_topviewmouse")


def predictions(n_individuals: int, n_frames: int = 5) -> zoo.Predictions:
    """Random poses; the last individual is absent in the second frame."""
    random = np.random.default_rng(n_individuals)
    shape = (n_frames, n_individuals, len(MOUSE))
    keypoints = random.uniform(0, 60, (*shape, 2)).astype(np.float32)
    keypoints[1, -1] = np.nan
    confidence = random.uniform(0, 1, shape).astype(np.float32)
    confidence[1, -1] = np.nan
    return zoo.Predictions(
        keypoints=keypoints,
        confidence=confidence,
        bbox_xywh=np.ones((*shape[:2], 4), np.float32),
        bbox_confidence=np.ones(shape[:2], np.float32),
        frame_index=np.arange(n_frames),
        size_wh=np.full((n_frames, 2), (64, 48)),
        vocabulary=MOUSE,
        individuals=tuple(f"animal{n}" for n in range(n_individuals)),
        fps=Fraction(30000, 1001),
        provenance={"model": "m", "variant": "v", "detector": "v", "input": {"name": "day 1.mp4"}},
    )


@pytest.mark.parametrize("n_individuals", [1, 3])
def test_every_number_is_read_back(tmp_path: Path, n_individuals: int) -> None:
    from pynwb import NWBHDF5IO

    written = predictions(n_individuals)
    written.save(tmp_path, "poses", ["nwb"])
    with NWBHDF5IO(str(tmp_path / "poses.nwb"), "r") as io:
        file = io.read()
        behaviour = file.processing["behavior"].data_interfaces
        names = {f"PoseEstimation_animal{n}" for n in range(3)} if n_individuals == 3 else {"PoseEstimation"}
        assert set(behaviour) == {"Skeletons", *names}
        for n in range(n_individuals):
            found = behaviour["PoseEstimation" if n_individuals == 1 else f"PoseEstimation_animal{n}"]
            assert (found.scorer, found.source_software) == ("m_v", "superanimal-zoo")
            assert set(found.pose_estimation_series) == set(MOUSE.keypoints)
            for k, name in enumerate(MOUSE.keypoints):
                series = found[name]
                np.testing.assert_array_equal(series.data[:], written.keypoints[:, n, k])
                np.testing.assert_array_equal(series.confidence[:], written.confidence[:, n, k])
                assert series.rate == pytest.approx(30000 / 1001)
                assert series.starting_time == 0
            assert tuple(found.skeleton.nodes[:]) == MOUSE.keypoints
            assert {tuple(edge) for edge in found.skeleton.edges[:]} == {tuple(b) for b in MOUSE.bones}
            assert found.source_video.external_file[0] == "day 1.mp4"
            assert list(found.source_video.dimension[:]) == [64, 48]
        assert json.loads(file.notes) == written.provenance
        assert "placeholder" in file.session_description
    assert not list(tmp_path.glob(".*"))


def test_frames_that_are_left_out_keep_their_times(tmp_path: Path) -> None:
    from pynwb import NWBHDF5IO

    every = replace(predictions(1), frame_index=np.array([0, 2, 3, 7, 9]))
    zoo.nwb.write_nwb(every, tmp_path / "poses.nwb")
    with NWBHDF5IO(str(tmp_path / "poses.nwb"), "r") as io:
        series = io.read().processing["behavior"]["PoseEstimation"]["nose"]
        np.testing.assert_allclose(series.timestamps[:], np.array([0, 2, 3, 7, 9]) * 1001 / 30000)


def test_images_have_no_time(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="images have none"):
        replace(predictions(1), fps=None).save(tmp_path, "poses", ["nwb"])
    assert not (tmp_path / "poses.nwb").exists()


def test_what_is_missing_is_said_before_any_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(zoo.nwb, "is_installed", lambda: False)
    golden = Path(__file__).parent / "golden" / "wild_11.png"
    assert main(["predict", str(golden), "--out", str(tmp_path / "out"), "--format", "csv,nwb"]) == 2
    assert 'pip install "superanimal-zoo[nwb]"' in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
