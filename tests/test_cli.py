"""The command line: exit codes, one-line errors, and nothing half written."""

from __future__ import annotations

import errno
import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
from data import need
from fakes import SPEC, fake_model, moving_square, square_frame, write_video

import zoo
from app.cli import main
from superset_vocab import InputError
from zoo.detectors import Detections
from zoo.given_boxes import CocoBoxes
from zoo.video import VideoReader


@pytest.fixture
def run(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., tuple[int, str, list[str]]]:
    """Run `zoo ARGUMENT...` with the model that finds squares; gives (exit code, stdout, stderr lines)."""
    monkeypatch.setattr(zoo, "load", lambda *_, **__: fake_model())
    monkeypatch.setattr(zoo, "list_models", lambda: [replace(SPEC, evaluation={"rmse_px": 1.5})])

    def call(*arguments: object) -> tuple[int, str, list[str]]:
        code = main([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        return code, captured.out, captured.err.splitlines()

    return call


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_predict_a_video(run, tmp_path: Path) -> None:
    video = write_video(tmp_path / "mouse.mp4", moving_square(20))
    code, out, err = run("predict", video, "--out", tmp_path / "out", "--quiet")
    assert (code, err) == (0, [])
    written = [
        "mouse.fake_squares.coco.json",
        "mouse.fake_squares.csv",
        "mouse.fake_squares.h5",
        "mouse.fake_squares.labelled.mp4",
        "mouse.fake_squares.provenance.json",
    ]
    assert names(tmp_path / "out") == written
    assert "20 frames at 25 frames/s, 20 with an animal, 1 individuals" in out
    assert all(str(tmp_path / "out" / name) in out for name in written)
    table = pd.read_hdf(tmp_path / "out" / "mouse.fake_squares.h5")
    assert isinstance(table, pd.DataFrame)
    assert len(table) == 20
    assert np.abs(table["fake_squares"]["nose"]["x"] - 2 * np.arange(20)).max() <= 1.5
    reader = VideoReader(tmp_path / "out" / "mouse.fake_squares.labelled.mp4")
    assert sum(len(batch) for batch in reader.batches(8)) == 20
    assert names(tmp_path) == ["mouse.mp4", "out"]


def test_boxes_of_one_video_are_not_taken_for_another_s(run, tmp_path: Path, monkeypatch) -> None:
    boxes = CocoBoxes(
        "boxes.json", {0: Detections(np.array([[4, 4, 20, 20]], np.float32), np.ones(1, np.float32))}
    )
    monkeypatch.setattr(zoo, "load", lambda *_, **__: replace(fake_model(), detector=boxes))
    videos = [write_video(tmp_path / name, moving_square(5)) for name in ("a.mp4", "b.mp4")]
    options = ("--out", tmp_path / "out", "--no-video", "--quiet", "--format", "csv")
    code, _, err = run("predict", *videos, *options)
    assert code == 2
    assert "boxes.json: its boxes are of the frames of one input, and 2 are given" in err[0]
    assert not (tmp_path / "out").exists()
    assert run("predict", videos[0], *options)[0] == 0


def test_predict_shows_progress_on_stderr_only(run, tmp_path: Path) -> None:
    video = write_video(tmp_path / "mouse.mp4", moving_square(5))
    code, out, err = run("predict", video, "--out", tmp_path / "out", "--no-video", "--format", "csv")
    assert code == 0
    assert "mouse.mp4" in err[-1]
    assert "5/5" in err[-1]
    assert "5/5" not in out
    assert names(tmp_path / "out") == ["mouse.fake_squares.csv", "mouse.fake_squares.provenance.json"]


def test_images_as_nwb_are_refused_before_any_work(run, tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "a.png"), square_frame((5, 5)))
    code, out, err = run("predict", tmp_path / "a.png", "--out", tmp_path / "out", "--format", "csv,nwb")
    assert (code, out) == (2, "")
    assert "a.png: NWB keeps poses by time, and images have none" in err[0]
    assert not (tmp_path / "out").exists()
    with pytest.raises(InputError, match="images have none"):
        fake_model().predict(tmp_path / "a.png").save(tmp_path / "out", "a", ["csv", "nwb"])
    assert not (tmp_path / "out").exists()


def test_predict_a_folder_of_images(run, tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    for i in (2, 10):
        cv2.imwrite(str(tmp_path / "images" / f"{i}.png"), square_frame((i, 5)))
    code, _, _ = run("predict", tmp_path / "images", "--out", tmp_path / "out", "--format", "coco", "--quiet")
    assert code == 0
    assert names(tmp_path / "out") == [
        "images.fake_squares.coco.json",
        "images.fake_squares.labelled",
        "images.fake_squares.provenance.json",
    ]
    assert names(tmp_path / "out" / "images.fake_squares.labelled") == ["10.labelled.png", "2.labelled.png"]
    results = json.loads((tmp_path / "out" / "images.fake_squares.coco.json").read_text())
    assert [(r["image_id"], r["keypoints"][0]) for r in results] == [(0, 2), (1, 10)]
    assert json.loads((tmp_path / "out" / "images.fake_squares.provenance.json").read_text())["images"] == [
        "2.png",
        "10.png",
    ]


def test_one_bad_input_does_not_stop_the_others(run, tmp_path: Path) -> None:
    good = write_video(tmp_path / "good.mp4", moving_square(5))
    bad = tmp_path / "bad.mp4"
    bad.write_text("hello")
    last = write_video(tmp_path / "last.mp4", moving_square(5))
    code, _, err = run("predict", good, bad, last, "--out", tmp_path / "out", "--no-video", "--quiet")
    assert code == 1
    assert err[0].startswith(f"zoo: error: {bad}: not a video")
    assert err[1] == "zoo: 2 of 3 inputs done, 1 failed"
    assert len(err) == 2
    assert len(names(tmp_path / "out")) == 8


def truncated_avi(path: Path) -> Path:
    content = write_video(path.with_name("whole.avi"), moving_square(100), codec="MJPG").read_bytes()
    path.write_bytes(content[: len(content) // 2])
    return path


def text_video(path: Path) -> Path:
    path.write_text("hello")
    return path


def empty_image(path: Path) -> Path:
    path.with_suffix(".png").touch()
    return path.with_suffix(".png")


@pytest.mark.parametrize(
    ("make", "remedy"),
    [
        (truncated_avi, "--allow-truncated"),
        (text_video, "ffmpeg"),
        (empty_image, "copy it again"),
        (Path, "no such file"),
    ],
)
def test_broken_input_is_one_line_and_leaves_nothing(run, tmp_path: Path, make, remedy: str) -> None:
    path = make(tmp_path / "broken.avi")
    code, out, err = run("predict", path, "--out", tmp_path / "out", "--quiet")
    assert code == 2
    assert out == ""
    assert len(err) == 1
    assert err[0].startswith(f"zoo: error: {path}: ")
    assert remedy in err[0]
    assert names(tmp_path / "out") == []


def test_truncated_video_can_be_taken(run, tmp_path: Path) -> None:
    path = truncated_avi(tmp_path / "cut.avi")
    code, _, _ = run("predict", path, "--out", tmp_path / "out", "--allow-truncated", "--quiet")
    assert code == 0
    about = json.loads((tmp_path / "out" / "cut.fake_squares.provenance.json").read_text())
    assert about["operations"][0]["name"] == "allow_truncated"
    assert about["n_frames"] < 70


def test_output_folder_that_cannot_be_written(run, tmp_path: Path) -> None:
    video = write_video(tmp_path / "a.mp4", moving_square(3))
    (tmp_path / "out").write_text("mine")
    for out in (tmp_path / "out", tmp_path / "out" / "below"):
        code, _, err = run("predict", video, "--out", out, "--quiet")
        assert code == 2
        assert len(err) == 1
        assert f"{out}: cannot write into this output folder" in err[0]
    assert (tmp_path / "out").read_text() == "mine"


def test_results_are_not_overwritten_unasked(run, tmp_path: Path) -> None:
    video = write_video(tmp_path / "a.mp4", moving_square(3))
    ask = ("predict", video, "--out", tmp_path / "out", "--format", "csv", "--no-video", "--quiet")
    assert run(*ask)[0] == 0
    (tmp_path / "out" / "a.fake_squares.csv").write_text("mine")
    code, _, err = run(*ask)
    assert code == 2
    assert "a.fake_squares.csv" in err[0]
    assert "--overwrite" in err[0]
    assert (tmp_path / "out" / "a.fake_squares.csv").read_text() == "mine"
    assert run(*ask, "--overwrite")[0] == 0
    assert (tmp_path / "out" / "a.fake_squares.csv").read_text().startswith("scorer,")


def test_two_inputs_of_one_name(run, tmp_path: Path) -> None:
    (tmp_path / "b").mkdir()
    videos = [write_video(folder / "a.mp4", moving_square(3)) for folder in (tmp_path, tmp_path / "b")]
    code, _, err = run("predict", *videos, "--out", tmp_path / "out")
    assert code == 2
    assert "2 inputs are called 'a'" in err[0]
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--format", "h5,slp"), "'slp' is no format"),
        (("--cutoff", "0.5", "--no-video"), "--cutoff has no effect"),
        (("--cutoff", "5"), "cutoff is 5.0"),
        (("--batch-size", "0"), "batch_size is 0"),
    ],
)
def test_wrong_options_are_one_line_and_write_nothing(
    run, tmp_path: Path, options: tuple, words: str
) -> None:
    video = write_video(tmp_path / "a.mp4", moving_square(3))
    code, _, err = run("predict", video, "--out", tmp_path / "out", "--quiet", *options)
    assert code == 2
    assert len(err) == 1
    assert words in err[0]
    assert list(tmp_path.glob("out/*")) == []


def test_unknown_model(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["predict", "a.mp4", "--model", "superanimal_topmouse", "--out", str(tmp_path / "o")]) == 2
    assert "'superanimal_topmouse' is no published model" in capsys.readouterr().err


def test_interrupted_run(run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    def keep(_: object) -> int:
        raise KeyboardInterrupt("step 5 is kept")

    video = write_video(tmp_path / "a.mp4", moving_square(3))
    monkeypatch.setattr("zoo.drawing.write_labelled_video", interrupt)
    code, _, err = run("predict", video, "--out", tmp_path / "out", "--quiet")
    assert code == 130
    assert err[0] == "zoo: interrupted; nothing unfinished was left behind"
    monkeypatch.setattr("app.predict_command.run_predict", keep)
    code, _, err = run("predict", video, "--out", tmp_path / "out", "--quiet")
    assert (code, err) == (130, ["zoo: interrupted; step 5 is kept"])


def test_missing_extra_says_what_to_install(run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(_: object) -> int:
        raise ModuleNotFoundError("No module named 'mmengine'", name="mmengine.runner")

    monkeypatch.setattr("app.training_commands.run_train", absent)
    code, _, err = run("train", "recipe", "--out", tmp_path)
    assert code == 2
    assert 'pip install "superanimal-zoo[train]"' in err[0]


def test_full_disk_is_one_line(run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", str(tmp_path / "a.fake_squares.csv"))

    monkeypatch.setattr("zoo.results.Predictions.save", full)
    video = write_video(tmp_path / "a.mp4", moving_square(3))
    code, _, err = run("predict", video, "--out", tmp_path / "out", "--quiet")
    assert code == 1
    assert err == [f"zoo: error: {tmp_path / 'a.fake_squares.csv'}: No space left on device"]


def test_models_lists_the_catalogue(run) -> None:
    code, out, _ = run("models")
    assert code == 0
    assert out == "fake  squares (default)  finds bright squares\n"
    _, out, _ = run("models", "--long")
    assert "licence: none" in out
    assert "rmse_px: 1.5" in out


def test_synthesize_merge_and_evaluate(run, tmp_path: Path) -> None:
    made = tmp_path / "made"
    code, out, _ = run("synthesize", "--out", made, "--labs", "openfield,tail", "--frames", 2)
    assert code == 0
    assert names(made) == ["synthetic_openfield", "synthetic_tail"]
    assert "synthetic_tail: 2 images, 2 instances, superanimal_topviewmouse" in out
    code, out, _ = run(
        "merge", made / "synthetic_openfield", made / "synthetic_tail", "--out", tmp_path / "all"
    )
    assert code == 0
    assert f"{tmp_path / 'all'}: 4 images" in out
    ask = ("evaluate", "fake", tmp_path / "all", "--out", tmp_path / "report", "--boxes", "labels")
    code, out, _ = run(*ask)
    assert code == 0
    report = json.loads((tmp_path / "report" / "evaluation.json").read_text())
    assert report["n_images"] == 4
    assert report["split"] == "all"
    assert report["errors"]["mean_distance"] > 5  # keypoints on a diagonal are no mouse
    assert "mAP" in out
    code, _, err = run(*ask)
    assert code == 2
    assert "--overwrite" in err[0]


def test_convert_reports_what_it_wrote_and_errors_are_one_line(run, tmp_path: Path) -> None:
    source = need("openfield-Pranav-2018-10-30")
    code, out, _ = run("convert", source, "--map", "dlc-openfield", "--out", tmp_path / "out")
    assert code == 0
    assert f"{tmp_path / 'out'}: 116 images, 116 instances" in out
    code, _, err = run("convert", source, "--map", "no-such-map", "--out", tmp_path / "other")
    assert code == 2
    assert len(err) == 1
    assert not (tmp_path / "other").exists()


def test_synthetic_video(run, tmp_path: Path) -> None:
    ask = ("synthesize", "--out", tmp_path / "v", "--labs", "openfield", "--frames", 3, "--video")
    assert run(*ask)[0] == 0
    assert sum(len(b) for b in VideoReader(tmp_path / "v" / "synthetic_openfield.mp4").batches(2)) == 3
    code, _, err = run(*ask, "--workers", 2)
    assert code == 2
    assert "2 problems" in err[0]


def test_help_is_quick_and_imports_nothing_heavy() -> None:
    code = (
        "import sys; from app.cli import build_parser; text = build_parser().format_help();"
        "commands = ('predict', 'models', 'convert', 'merge', 'synthesize', 'train', 'evaluate');"
        "print(*[c for c in commands if c not in text],"
        "*({'torch', 'pandas', 'cv2', 'scipy'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""


def test_broken_video_in_a_process_of_its_own_says_one_line(tmp_path: Path) -> None:
    """Libav and OpenCV write to stderr themselves; only a real process shows whether they are quiet."""
    path = tmp_path / "text.mp4"
    path.write_text("hello")
    code = (
        "import sys, zoo; from app.cli import main;"
        "zoo.load = lambda *_, **__: __import__('fakes').fake_model(); sys.exit(main(sys.argv[1:]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, "predict", str(path), "--out", str(tmp_path / "out")],
        capture_output=True,
        text=True,
        check=False,
        env={"PYTHONPATH": f"{Path(__file__).parent}:{Path(__file__).parents[1]}", "PATH": ""},
    )
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.startswith(f"zoo: error: {path}: not a video")
    assert len(done.stderr.splitlines()) == 1, done.stderr
