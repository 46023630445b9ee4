"""What the tabs hand to the worker, done here: predictions, labels, a keypoint map, a bundle, a model."""

from __future__ import annotations

import shutil
import zipfile
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest

pytest.importorskip("gradio", reason="the app's extra is not installed")

import zoo
from app.web import contribution_jobs, finetune_jobs, jobs
from app.web.correct_tab import write_labels
from converters import load_superset, read_labels
from converters.synthetic import LABS, synthesize
from converters.writers.registry import write_labels as write_project
from superset_vocab import InputError

GOLDEN = Path(__file__).parent / "golden"
MOUSE = {"model": "superanimal_topviewmouse", "variant": "compact"}


@pytest.fixture(scope="module")
def predicted(tmp_path_factory) -> dict:
    folder = tmp_path_factory.mktemp("predicted")
    return jobs.predict(
        [str(GOLDEN / "wild_11.png")],
        str(folder),
        **MOUSE,
        cutoff=0.3,
        max_individuals=None,
        video=False,
        smooth=False,
        max_frames=100,
    )


def test_predicting_gives_pictures_tables_and_labels_to_correct(predicted):
    assert "An animal in 1 of 1 images" in predicted["summary"]
    (picture,) = predicted["gallery"]
    original = cv2.imread(str(GOLDEN / "wild_11.png"))
    drawn = cv2.imread(picture)
    assert drawn.shape == original.shape
    assert (drawn != original).any()
    tables = {Path(file).suffix: file for file in predicted["files"]}
    table = pd.read_hdf(tables[".h5"])
    (labels,) = predicted["labels"]
    x, y, sure = labels["individuals"][0][labels["names"].index("nose")]
    row = table.iloc[0].xs("nose", level="bodyparts").iloc[:3].to_numpy(float)
    np.testing.assert_allclose([x, y, sure], row, atol=0.01)
    assert cv2.imread(predicted["plot"]) is not None


def test_two_pictures_of_one_name_are_told_apart_without_the_server_s_paths(tmp_path):
    pictures = []
    for n, golden in enumerate(("wild_11.png", "wild_4.png")):
        picture = tmp_path / "uploads" / str(n) / "mouse.png"
        picture.parent.mkdir(parents=True)
        picture.write_bytes((GOLDEN / golden).read_bytes())
        pictures.append(str(picture))
    options = {"cutoff": 0.3, "max_individuals": 1, "video": False, "smooth": False, "max_frames": 9}
    found = jobs.predict(pictures, str(tmp_path / "out"), **MOUSE, **options)
    assert [labels["file"] for labels in found["labels"]] == ["1_mouse.png", "2_mouse.png"]
    assert [Path(name).name for name in found["gallery"]] == ["1_mouse.labelled.png", "2_mouse.labelled.png"]
    for file in found["files"]:
        assert str(tmp_path).encode() not in Path(file).read_bytes(), file


def test_a_video_is_smoothed_and_drawn_for_a_browser(tmp_path):
    pytest.importorskip("numba", reason="the smoother's extra is not installed")
    image = cv2.imread(str(GOLDEN / "wild_11.png"))
    clip = tmp_path / f"{'clip ' * 39}.mp4"  # the longest name that an upload may have
    height, width = image.shape[:2]
    writer = cv2.VideoWriter(str(clip), cv2.VideoWriter.fourcc(*"mp4v"), 10, (width, height))
    for _ in range(6):
        writer.write(image)
    writer.release()
    options = {"cutoff": 0.3, "max_individuals": 1, "video": True, "smooth": True}
    found = jobs.predict([str(clip)], str(tmp_path / "out"), **MOUSE, **options, max_frames=100)
    assert Path(found["video"]).suffix == ".webm"
    played = cv2.VideoCapture(found["video"])
    n_frames = 0
    while played.read()[0]:
        n_frames += 1
    assert n_frames == 6
    assert any("eks_singlecam" in Path(file).name for file in found["files"])
    with pytest.raises(InputError, match=r"clip _?\.mp4 has 6 frames; at most 5 are taken here"):
        jobs.predict([str(clip)], str(tmp_path / "more"), **MOUSE, **options, max_frames=5)


@pytest.mark.parametrize("form", ["coco", "deeplabcut"])
def test_corrected_labels_come_home_as_they_were_set(predicted, form, tmp_path):
    (picture,) = predicted["labels"]
    nose = picture["names"].index("nose")
    moved = [list(points) for points in picture["individuals"]]
    moved[0][nose] = [12.5, 34.25, 1.0]
    folder = tmp_path / "labels-x1"
    folder.mkdir()
    path = write_labels([{**picture, "individuals": moved}], folder, form, 0.3)
    names_no_folder_of(path, tmp_path)
    with zipfile.ZipFile(path) as archive:
        archive.extractall(tmp_path / "unpacked")
    home = tmp_path / "unpacked" / "corrected"
    labels = load_superset(home) if form == "coco" else read_labels(home)
    (record,) = labels.records
    np.testing.assert_allclose(record.keypoints[0, labels.keypoints.index("nose")], [12.5, 34.25], atol=1e-6)
    with pytest.raises(InputError, match="there are no pictures to save"):
        write_labels([], tmp_path, form, 0.3)


@pytest.fixture(scope="module")
def uploaded(tmp_path_factory) -> Path:
    """Rendered mice as a DeepLabCut project of somebody's own."""
    folder = tmp_path_factory.mktemp("project")
    labels = synthesize(LABS["openfield"], 6, folder / "images", seed=3)
    write_project(labels, folder / "mine", format="deeplabcut")
    return folder / "mine"


@pytest.fixture
def project(uploaded, tmp_path) -> Path:
    """The project in a visitor's folder, which is `tmp_path`."""
    return Path(shutil.copytree(uploaded, tmp_path / "project-1a" / "mine"))


def names_no_folder_of(path: str | Path, visitor: Path) -> list[str]:
    """The entries of a zip file, none of which tells where on the server it was made."""
    with zipfile.ZipFile(path) as archive:
        for name in archive.namelist():
            assert str(visitor).encode() not in archive.read(name), name
        return archive.namelist()


def test_a_contribution_goes_from_a_project_to_a_bundle(project, tmp_path):
    vocabulary = "superanimal_topviewmouse"
    found = contribution_jobs.propose_map(
        str(project), str(tmp_path / "proposal"), model="", variant="", vocabulary=vocabulary
    )
    targets = {row[0]: row[1] or None for row in found["table"]}
    assert targets["nose" if "nose" in targets else "snout"] == "nose"
    done = contribution_jobs.make_bundle(
        str(project),
        str(tmp_path / "bundle"),
        model="",
        variant="",
        vocabulary=vocabulary,
        dataset="mine",
        targets=targets,
        card={"licence": "CC BY 4.0", "contact": "me@example.org", "citation": "", "summary": "Six mice."},
        species=["mouse"],
        leave_out=False,
    )
    names = names_no_folder_of(done["zip"], tmp_path)
    assert any(name.endswith("annotations.json") for name in names)
    assert any(name.endswith("README.md") for name in names)


def test_a_fine_tuned_model_can_be_taken_home_and_loaded(project, tmp_path):
    pytest.importorskip("mmengine", reason="the training extra is not installed")
    done = finetune_jobs.fine_tune(
        str(project),
        str(tmp_path / "tuned"),
        **MOUSE,
        keypoint_map="",
        frames=4,
        steps=2,
        seed=0,
        max_images=10,
        max_test_images=2,
    )
    assert (done["n_images"], done["n_test"]) == (4, 2)
    names_no_folder_of(done["zip"], tmp_path)
    with zipfile.ZipFile(done["zip"]) as archive:
        archive.extractall(tmp_path / "home")
    (spec,) = (tmp_path / "home").rglob("model.toml")
    model = zoo.load(spec.parent, device="cpu")
    assert model.vocabulary.name == "superanimal_topviewmouse"
    image = cv2.imread(str(GOLDEN / "wild_11.png"))[..., ::-1].copy()
    poses = model.predict(image, bboxes_xywh=np.array([[0.0, 0.0, *image.shape[1::-1]]]))
    assert np.isfinite(poses.keypoints).all()
