"""SLEAP projects and packages: made here with sleap-io, read with our conventions."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import cv2
import h5py
import numpy as np
import pytest
from label_sets import make_video

from app.cli import main
from converters import convert, load_superset, read_labels
from superset_vocab import InputError

sleap_io = pytest.importorskip("sleap_io", reason="needs the extra [sleap]")

NODES = ["nose", "ear", "tail"]
POINTS = np.array([[1.0, 2.0], [3.5, 4.25], [np.nan, np.nan]])


def make_labels(video, *, user: bool = True) -> sleap_io.Labels:
    """Frame 5 has two user instances with tracks, frame 7 a predicted one, frame 9 none by decision."""
    skeleton = sleap_io.Skeleton(list(NODES))  # it makes nodes of the list's items
    frames = []
    if user:
        pair = [
            sleap_io.Instance.from_numpy(POINTS + d, skeleton=skeleton, track=sleap_io.Track(f"m{d}"))
            for d in (0, 10)
        ]
        pair[1].points["visible"][0] = False
        frames.append(sleap_io.LabeledFrame(video=video, frame_idx=5, instances=pair))
        frames.append(sleap_io.LabeledFrame(video=video, frame_idx=9, instances=[], is_negative=True))
    predicted = sleap_io.PredictedInstance.from_numpy(POINTS + 20, skeleton=skeleton)
    frames.append(sleap_io.LabeledFrame(video=video, frame_idx=7, instances=[predicted]))
    labels = sleap_io.Labels(frames)
    labels.suggestions = [sleap_io.SuggestionFrame(video=video, frame_idx=2)]
    return labels


@pytest.fixture
def project(tmp_path) -> Path:
    """A .slp beside its video v.mp4."""
    video = sleap_io.load_video(str(make_video(tmp_path / "v.mp4")))
    make_labels(video).save(str(tmp_path / "p.slp"))
    return tmp_path / "p.slp"


def check_user_labels(labels) -> None:
    """What `make_labels` says of the user's frames."""
    assert labels.keypoints == tuple(NODES)
    first, negative = labels.records
    assert first.visibility.tolist() == [[2, 2, 0], [0, 2, 0]]
    np.testing.assert_array_equal(first.keypoints[0], POINTS)
    np.testing.assert_array_equal(first.keypoints[1, 1], [13.5, 14.25])
    assert (first.individuals, first.source_id, first.size_wh) == (("m0", "m10"), 5, (64, 48))
    assert (first.source_image, first.split_group) == ("v/img000005.png", "v")
    assert np.isnan(first.bbox_xywh).all()
    assert (len(negative), negative.source_id) == (0, 9)
    for record, grey in zip(labels.records, (100, 180), strict=True):
        assert abs(cv2.imread(str(record.image)).mean() - grey) < 8


def test_a_project_with_its_video(project, tmp_path):
    check_user_labels(read_labels(project, frames=tmp_path / "frames"))
    assert sorted(p.name for p in (tmp_path / "frames").rglob("*.png")) == ["img000005.png", "img000009.png"]


def test_a_project_whose_video_was_moved(project, tmp_path):
    moved = make_video(tmp_path / "films" / "v.mp4")
    (tmp_path / "v.mp4").unlink()
    with pytest.raises(
        InputError, match=r"neither there nor beside the \.slp; name it, .* --option video=PATH"
    ):
        read_labels(project, frames=tmp_path / "frames")
    for option in (moved, str(moved.parent)):
        check_user_labels(read_labels(project, frames=tmp_path / "frames", options={"video": option}))


@pytest.mark.parametrize("embed", [False, True])
def test_a_video_that_is_listed_twice_is_one_split_group(tmp_path, embed):
    """As in merged projects: a split must not put frames of one film on both sides."""
    film, other = make_video(tmp_path / "v.mp4"), make_video(tmp_path / "day2" / "v.mp4")
    videos = [sleap_io.load_video(str(path)) for path in (film, film, other)]
    skeleton = sleap_io.Skeleton(list(NODES))
    frames = [
        sleap_io.LabeledFrame(
            video=video, frame_idx=i, instances=[sleap_io.Instance.from_numpy(POINTS, skeleton=skeleton)]
        )
        for i, video in enumerate(videos)
    ]
    name = "p.pkg.slp" if embed else "p.slp"
    sleap_io.save_slp(
        sleap_io.Labels(frames, videos=videos), str(tmp_path / name), embed=embed, verbose=False
    )
    labels = read_labels(tmp_path / name, frames=tmp_path / "frames")
    assert [record.split_group for record in labels.records] == ["v", "v", "v__2"]
    assert [record.source_image for record in labels.records] == [
        "v/img000000.png", "v/img000001.png", "v__2/img000002.png"
    ]  # fmt: skip
    assert len({record.image for record in labels.records if record.image.is_file()}) == 3


def test_a_package_needs_no_video(tmp_path):
    video = sleap_io.load_video(str(make_video(tmp_path / "v.mp4")))
    make_labels(video).save(str(tmp_path / "p.pkg.slp"), embed="user+suggestions")
    (tmp_path / "v.mp4").unlink()
    user = read_labels(tmp_path / "p.pkg.slp", frames=tmp_path / "frames")
    first = user.records[0]
    assert (first.individuals, first.source_image) == (("m0", "m10"), "v/img000005.png")
    assert abs(cv2.imread(str(first.image)).mean() - 100) < 8
    with pytest.raises(
        InputError, match=r"v: the package does not hold the images of 1 labelled frames \(7\)"
    ):
        read_labels(tmp_path / "p.pkg.slp", frames=tmp_path / "frames", options={"instances": "predicted"})


def test_an_image_sequence_is_taken_as_it_is(tmp_path):
    names = [str(tmp_path / "seq" / f"{i}.png") for i in range(12)]
    (tmp_path / "seq").mkdir()
    for i, name in enumerate(names):
        cv2.imwrite(name, np.full((48, 64, 3), 20 * i, dtype=np.uint8))
    make_labels(sleap_io.load_video(names)).save(str(tmp_path / "p.slp"))
    labels = read_labels(tmp_path / "p.slp")
    assert [r.image for r in labels.records] == [tmp_path / "seq/5.png", tmp_path / "seq/9.png"]
    assert labels.records[0].split_group == "seq"
    Path(names[9]).unlink()
    with pytest.raises(InputError, match="seq: image 9 of the sequence is not at hand"):
        read_labels(tmp_path / "p.slp")


def test_predicted_instances_only_where_asked_for(tmp_path):
    video = sleap_io.load_video(str(make_video(tmp_path / "v.mp4")))
    make_labels(video, user=False).save(str(tmp_path / "p.slp"))
    with pytest.raises(
        InputError, match=r"no user instances, but 1 predicted .* --option instances=predicted"
    ):
        read_labels(tmp_path / "p.slp", frames=tmp_path)
    (record,) = read_labels(tmp_path / "p.slp", frames=tmp_path, options={"instances": "predicted"}).records
    np.testing.assert_array_equal(record.keypoints[0], POINTS + 20)
    assert (record.source_id, record.individuals) == (7, ())
    with pytest.raises(InputError, match="instances 'all' is none of user, predicted"):
        read_labels(tmp_path / "p.slp", frames=tmp_path, options={"instances": "all"})


def test_old_files_have_the_corner_of_the_pixel_at_zero(project, tmp_path):
    with h5py.File(project, "a") as file:
        file["metadata"].attrs["format_id"] = 1.0
        fields = [name for name in file["instances"].dtype.names if name != "tracking_score"]
        rows = file["instances"][:][fields].copy()
        del file["instances"]
        file["instances"] = np.array(rows.tolist(), dtype=[(n, rows.dtype[n]) for n in fields])
    (record, _) = read_labels(project, frames=tmp_path / "frames").records
    np.testing.assert_array_equal(record.keypoints[0], POINTS - 0.5)


def test_a_video_that_ends_too_early_and_frames_without_a_place(project, tmp_path):
    with pytest.raises(InputError, match=r"say where the frames of v may be written"):
        read_labels(project)
    make_video(tmp_path / "v.mp4", n_frames=6)
    with pytest.raises(InputError, match=r"v\.mp4: has no frame 9; is it the video that was labelled"):
        read_labels(project, frames=tmp_path / "frames")


def test_files_that_are_no_projects(tmp_path):
    (tmp_path / "p.slp").write_text("hello")
    with pytest.raises(InputError, match=r"p\.slp: is no SLEAP file that sleap-io .* can read"):
        read_labels(tmp_path / "p.slp", frames=tmp_path)
    sleap_io.Labels(skeletons=[sleap_io.Skeleton(list(NODES))]).save(str(tmp_path / "e.slp"))
    with pytest.raises(InputError, match=r"e\.slp: has no labelled instance; label some frames first"):
        read_labels(tmp_path / "e.slp", frames=tmp_path)


def test_converting_leaves_the_frames_in_the_dataset_only(project, tmp_path):
    text = 'dataset="m"\nvocabulary="superanimal_topviewmouse"\ndrop=["ear"]\n[map]\nnose="nose"\n'
    (tmp_path / "m.toml").write_text(text + 'tail="tail_base"\n')
    written = convert(project, str(tmp_path / "m.toml"), tmp_path / "new" / "out")
    assert [r.image.name for r in written.records] == ["m__v__img000005.png", "m__v__img000009.png"]
    assert [p.name for p in (tmp_path / "new").iterdir()] == ["out"]


def test_commands_take_projects_whose_images_are_in_videos(project, tmp_path, capsys):
    """They need a place for the frames, and the way to a video that was moved."""
    films = tmp_path / "films"
    films.mkdir()
    (tmp_path / "v.mp4").rename(films / "v.mp4")
    keypoint_map = tmp_path / "map.toml"
    keypoint_map.write_text(
        'dataset = "lab"\nvocabulary = "superanimal_topviewmouse"\n'
        '[map]\nnose = "nose"\near = "left_ear"\ntail = "tail_base"\n'
    )
    moved = ["--option", f"video={films}"]
    names = ["--names-only", "--quiet"]
    fast = [f"--set=schedule.{change}" for change in ("iterations=2", "batch_size=2", "warmup=0")]
    commands = [
        ["match", project, "--out", tmp_path / "m", *names],
        ["contribute", project, "--vocabulary", "superanimal_topviewmouse", "--out", tmp_path / "c", *names,
         "--map", keypoint_map, "--contact", "A <a@b.c>"],
        ["finetune", project, "--variant", "compact", "--out", tmp_path / "f", "--map", keypoint_map,
         "--method", "naive", *fast],
    ]  # fmt: skip
    for command in commands:
        arguments = [str(argument) for argument in command]
        assert main(arguments) == 2
        assert "--option video=PATH" in capsys.readouterr().err
        assert main([*arguments, *moved]) == 0, capsys.readouterr().err
    assert (tmp_path / "m" / "keypoint_map.toml").is_file()
    assert len(load_superset(tmp_path / "c" / "dataset")) == 2
    assert (tmp_path / "f" / "model.toml").is_file()
    assert not [path for path in tmp_path.iterdir() if "frames" in path.name]


def test_registering_the_format_does_not_import_sleap_io():
    code = "import sys, converters; converters.read_labels; print('sleap_io' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
