"""Round trips of generated datasets: COCO, DeepLabCut and YOLO-pose, there and back, and what each loses."""

from __future__ import annotations

import json
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from label_sets import assert_same, label_sets, small_set, write_image

from converters import read_labels, write_labels
from converters.formats import coco
from superset_vocab import InputError, LabelRecord, LabelSet, Source, Visibility, load_vocabulary

WIDTH, HEIGHT = 64, 48
NAME = st.text(alphabet="abcXYZ_ äß1", min_size=1, max_size=4).filter(lambda s: s.strip() == s)
NAMES = st.lists(NAME, min_size=1, max_size=4, unique=True)
SMALL = settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def coordinates() -> st.SearchStrategy[tuple[float, float]]:
    """Places in the image."""
    return st.tuples(st.floats(0, WIDTH - 1, allow_nan=False), st.floats(0, HEIGHT - 1, allow_nan=False))


@st.composite
def coco_documents(draw: st.DrawFn) -> dict[str, Any]:
    """COCO as it is found: any ids, categories with different keypoints, missing entries, RLE."""
    categories = [
        {"id": draw(st.integers(1, 9)) + 10 * i, "name": f"species {i}", "keypoints": draw(NAMES)}
        for i in range(draw(st.integers(1, 3)))
    ]
    ids = draw(st.lists(st.integers(0, 10**9), min_size=1, max_size=4, unique=True))
    folders = st.sampled_from(["", "a/", "b/c/"])
    images = [
        {"id": i, "file_name": f"{draw(folders)}{i}.jpg", "width": WIDTH, "height": HEIGHT} for i in ids
    ]
    annotations = []
    for _ in range(draw(st.integers(0, 6))):
        category = draw(st.sampled_from(categories))
        points = []
        for _ in category["keypoints"]:
            flag = draw(st.sampled_from([0, 1, 2]))
            points += [*(draw(coordinates()) if flag else (0, 0)), flag]
        annotation = {
            "image_id": draw(st.sampled_from(ids)),
            "category_id": category["id"],
            "keypoints": points,
        }
        annotation |= draw(st.sampled_from([{}, {"id": len(annotations)}, {"iscrowd": 0}]))
        annotation |= draw(
            st.sampled_from(
                [{}, {"segmentation": {"counts": "aB3", "size": [HEIGHT, WIDTH]}}, {"num_keypoints": 99}]
            )
        )
        if draw(st.booleans()):
            annotation["bbox"] = [*draw(coordinates()), 1.5, 2]
        annotations.append(annotation)
    return {"images": images, "annotations": annotations, "categories": categories}


@given(coco_documents())
def test_coco_there_and_back(document):
    """Foreign COCO -> records: what the document says; -> COCO -> records: the same records."""
    first = coco.from_document(document, Path("x.json"), dataset="lab", location="x.json")
    categories = {c["id"]: c for c in document["categories"]}
    used = {a["category_id"] for a in document["annotations"]} or set(categories)
    expected_names = list(
        dict.fromkeys(k for key, c in categories.items() if key in used for k in c["keypoints"])
    )
    assert list(first.keypoints) == expected_names
    for record, image in zip(first.records, document["images"], strict=True):
        assert (record.source_image, record.source_id) == (image["file_name"], image["id"])
        own = [a for a in document["annotations"] if a["image_id"] == image["id"]]
        assert record.categories == tuple(categories[a["category_id"]]["name"] for a in own)
        for n, annotation in enumerate(own):
            names = categories[annotation["category_id"]]["keypoints"]
            said = dict(zip(names, np.reshape(annotation["keypoints"], (-1, 3)).tolist(), strict=True))
            for k, name in enumerate(first.keypoints):
                x, y, flag = said.get(name, (0, 0, -1))
                assert record.visibility[n, k] == flag
                np.testing.assert_allclose(
                    record.keypoints[n, k], [x, y] if flag > 0 else [np.nan, np.nan], atol=1e-3
                )
    written = json.loads(json.dumps(coco.to_document(first, [str(r.image) for r in first.records])))
    assert [image["id"] for image in written["images"]] == [image["id"] for image in document["images"]]
    second = coco.from_document(written, Path("x.json"), dataset="other", location="elsewhere")
    assert_same(second, first, paths=False)


@st.composite
def dlc_projects(draw: st.DrawFn) -> dict[str, Any]:
    """Contents of a project: single- or multi-animal, unique bodyparts, equal frame names, gaps."""
    names = draw(NAMES)
    multi = draw(st.booleans())
    unique = [f"corner{i}" for i in range(draw(st.integers(0, 2)))] if multi else []
    individuals = draw(st.sampled_from([["m1"], ["m2", "m1"], ["b", "a", "c"]])) if multi else [""]
    columns = [(i, name) for i in individuals for name in names] + [("single", name) for name in unique]
    videos = {}
    for video in draw(st.sampled_from([["v1"], ["day 2", "v1"], ["a.b", "c"]])):
        n_frames = draw(st.integers(1, 3))
        cells = st.one_of(st.none(), coordinates())
        videos[video] = [[draw(cells) for _ in columns] for _ in range(n_frames)]
    return {
        "names": names, "unique": unique, "multi": multi, "columns": columns, "videos": videos,
        "individuals": individuals, "levels": draw(st.sampled_from([1, 3])), "h5": draw(st.booleans()),
    }  # fmt: skip


def write_dlc(project: dict[str, Any], folder: Path) -> Path:
    """The project on disk, by plain pandas."""
    for v, (video, rows) in enumerate(project["videos"].items()):
        place = folder / "labeled-data" / video
        names = [("labeled-data", video, f"img{f}.png") for f in range(len(rows))]
        for f in range(len(rows)):
            write_image(place / f"img{f}.png", (WIDTH, HEIGHT), seed=10 * v + f)
        index = pd.MultiIndex.from_tuples(names) if project["levels"] == 3 else ["/".join(n) for n in names]
        columns = [("Ann", i, name, c) for i, name in project["columns"] for c in "xy"]
        levels = ["scorer", "individuals", "bodyparts", "coords"]
        if not project["multi"]:
            columns, levels = [(s, name, c) for s, _, name, c in columns], ["scorer", "bodyparts", "coords"]
        values = [[v for cell in row for v in (cell or (np.nan, np.nan))] for row in rows]
        table = pd.DataFrame(values, index=index, columns=pd.MultiIndex.from_tuples(columns, names=levels))
        table = table.astype(float)
        if project["h5"]:
            table.to_hdf(place / "CollectedData_Ann.h5", key="df_with_missing", mode="w")
        else:
            table.to_csv(place / "CollectedData_Ann.csv")
    config: dict[str, Any] = {"scorer": "Ann", "multianimalproject": project["multi"]}
    if project["multi"]:
        config |= {"multianimalbodyparts": project["names"], "uniquebodyparts": project["unique"]}
        config |= {"individuals": project["individuals"], "bodyparts": "MULTI!"}
    else:
        config["bodyparts"] = project["names"]
    (folder / "config.yaml").write_text(yaml.safe_dump(config), "utf-8")
    return folder


def _instances(project: dict[str, Any], row: list) -> list[tuple[str, dict]]:
    """Individual and its labels, of those that a frame has."""
    people = dict.fromkeys(i for i, _ in project["columns"])
    found = [
        (i, {name: cell for (j, name), cell in zip(project["columns"], row, strict=True) if j == i})
        for i in people
    ]
    return [(i, cells) for i, cells in found if not project["multi"] or any(cells.values())]


@SMALL
@given(dlc_projects())
def test_deeplabcut_there_and_back(project):
    """Plain pandas -> records: what pandas wrote; -> DeepLabCut, csv and h5 -> records: the same."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        source = write_dlc(project, folder / "in")
        if not any(cell for rows in project["videos"].values() for row in rows for cell in row):
            with pytest.raises(InputError, match="none of its"):
                read_labels(source)
            return
        first = read_labels(source, dataset="lab")
        assert first.keypoints == (*project["names"], *project["unique"])
        rows = [row for video in sorted(project["videos"]) for row in project["videos"][video]]
        for record, row in zip(first.records, rows, strict=True):
            expected = _instances(project, row)
            assert record.individuals == (tuple(i for i, _ in expected) if project["multi"] else ())
            for n, (_, cells) in enumerate(expected):
                for k, keypoint in enumerate(first.keypoints):
                    state = -1 if keypoint not in cells else 2 if cells[keypoint] else 0
                    assert record.visibility[n, k] == state
                    xy = cells.get(keypoint) or (np.nan, np.nan)
                    np.testing.assert_allclose(record.keypoints[n, k], xy, atol=1e-3)
        write_labels(first, folder / "out", format="deeplabcut", options={"multi_animal": project["multi"]})
        for _ in range(2):  # the csv, then the h5
            second = read_labels(folder / "out", dataset="lab")
            assert_same(second, _known_in(first), paths=False, sources=False)
            for table in (folder / "out").rglob("*.csv"):
                table.unlink()


def _known_in(labels: LabelSet) -> LabelSet:
    """The keypoints that some instance defines: others have no column in a project."""
    defined = [
        k
        for k in range(len(labels.keypoints))
        if any((r.visibility[:, k] >= 0).any() for r in labels.records)
    ]
    records = tuple(
        replace(r, keypoints=r.keypoints[:, defined], visibility=r.visibility[:, defined])
        for r in labels.records
    )
    return replace(labels, keypoints=tuple(labels.keypoints[k] for k in defined), records=records)


def _labelled(
    folder: Path, state: list[list[int]], names: tuple[str, ...] = ("a", "b", "c"), **more: Any
) -> LabelSet:
    """One image with instances whose keypoint k of instance n is at (10 n + k + 0.25, 2 k)."""
    visibility = np.array(state, dtype=np.int8).reshape(-1, len(names))
    n, k = np.mgrid[: len(visibility), : len(names)]
    xy = np.where(visibility[..., None] > 0, np.stack([10 * n + k + 0.25, 2.0 * k], axis=-1), np.nan)
    image = write_image(folder / "raw" / "x.png", (WIDTH, HEIGHT))
    boxes = more.pop("boxes", np.full((len(visibility), 4), np.nan))
    record = LabelRecord(image, (WIDTH, HEIGHT), "lab", "day1", xy, visibility, boxes, "x.png", **more)
    return LabelSet(names, (record,), (Source("lab", names),))


def test_what_deeplabcut_loses_is_said(tmp_path, caplog):
    boxes = np.array([[0.0, 0, 5, 5], [np.nan] * 4])
    labels = _labelled(tmp_path, [[2, 1, -1], [0, 0, 2]], boxes=boxes, source_id=7, categories=("dog", "cat"))
    write_labels(labels, tmp_path / "out", format="deeplabcut")
    (back,) = read_labels(tmp_path / "out").records
    assert back.visibility.tolist() == [[2, 2, 0], [0, 0, 2]]
    np.testing.assert_array_equal(
        np.isfinite(back.keypoints).all(-1), labels.records[0].visibility >= Visibility.OCCLUDED
    )
    assert (back.source_id, back.categories, np.isnan(back.bbox_xywh).all()) == (None, (), True)
    assert back.individuals == ("individual1", "individual2")
    assert "1 occluded keypoints become visible ones" in caplog.text
    assert "1 boxes are not written" in caplog.text


def test_an_unlabelled_animal_is_absent_from_a_multi_animal_project(tmp_path):
    labels = _labelled(tmp_path, [[2, 2, 2], [0, 0, 0]])
    write_labels(labels, tmp_path / "out", format="deeplabcut")
    (back,) = read_labels(tmp_path / "out").records
    assert back.individuals == ("individual1",)


def test_an_image_without_animals_in_a_single_animal_project(tmp_path):
    two = small_set(tmp_path, "lab", ("a", "b"))
    empty = replace(
        two.records[1],
        keypoints=np.empty((0, 2, 2)),
        visibility=np.empty((0, 2), np.int8),
        bbox_xywh=np.empty((0, 4)),
    )
    write_labels(replace(two, records=(two.records[0], empty)), tmp_path / "out", format="deeplabcut")
    assert [r.visibility.tolist() for r in read_labels(tmp_path / "out").records] == [[[2, 2]], [[0, 0]]]


def test_a_superset_becomes_a_project_of_what_it_defines(tmp_path):
    bird = load_vocabulary("superanimal_bird")
    state = np.full(len(bird), -1)
    bone = bird.skeleton[0]
    state[[bird.index[bone[0]], bird.index[bone[1]], 5]] = 2
    labels = replace(_labelled(tmp_path, [state.tolist()], bird.keypoints), vocabulary=bird.name)
    write_labels(labels, tmp_path / "out", format="deeplabcut", options={"scorer": "Ann"})
    config = yaml.safe_load((tmp_path / "out/config.yaml").read_text())
    defined = [k for k, s in zip(bird.keypoints, state, strict=True) if s == 2]
    assert config["bodyparts"] == defined
    assert list(bone) in config["skeleton"]
    assert (config["multianimalproject"], config["scorer"]) == (False, "Ann")
    assert [Path(v).stem for v in config["video_sets"]] == ["lab"]
    assert (tmp_path / "out/labeled-data/lab/CollectedData_Ann.h5").is_file()
    provenance = json.loads((tmp_path / "out/provenance.json").read_text())
    assert provenance["operations"][-1]["name"] == "export"
    assert provenance["sources"][0]["dataset"] == "lab"


def test_projects_that_cannot_be_written(tmp_path):
    twice = _labelled(tmp_path, [[2, 2, 2], [2, 2, 2]], individuals=("m1", "m1"))
    with pytest.raises(InputError, match=r"x\.png has 2 individuals called 'm1'"):
        write_labels(twice, tmp_path / "out", format="deeplabcut")
    with pytest.raises(InputError, match=r"x\.png has 2 instances; write a multi-animal project"):
        write_labels(twice, tmp_path / "out", format="deeplabcut", options={"multi_animal": "no"})
    single = _labelled(tmp_path, [[2, 2, 2], [2, 2, 2]], individuals=("m1", "single"))
    with pytest.raises(
        InputError, match="called 'single', the name that DeepLabCut keeps for unique bodyparts"
    ):
        write_labels(single, tmp_path / "out", format="deeplabcut")
    with pytest.raises(InputError, match="scorer 'a/b' becomes part of file names"):
        write_labels(single, tmp_path / "out", format="deeplabcut", options={"scorer": "a/b"})
    with pytest.raises(InputError, match=r"option multi_animal cannot be 'perhaps' \(yes or no"):
        write_labels(single, tmp_path / "out", format="deeplabcut", options={"multi_animal": "perhaps"})
    with pytest.raises(InputError, match="format yolo-pose: has no option 'scorer'"):
        write_labels(single, tmp_path / "out", format="yolo-pose", options={"scorer": "a"})
    with pytest.raises(
        InputError, match="'sleap' is no format to write; there are: coco, deeplabcut, yolo-pose"
    ):
        write_labels(single, tmp_path / "out", format="sleap")
    with pytest.raises(InputError, match="there is no image to write"):
        write_labels(replace(single, records=()), tmp_path / "out", format="coco")
    single.records[0].image.unlink()
    with pytest.raises(InputError, match=r"out is not written: .*x\.png: no such image"):
        write_labels(single, tmp_path / "out", format="yolo-pose")
    assert not (tmp_path / "out").exists()


def test_two_datasets_with_the_same_folders_stay_apart(tmp_path):
    a, b = small_set(tmp_path, "lab_a", ("a",)), small_set(tmp_path, "lab_b", ("a",), seed=5)
    both = replace(a, records=a.records + b.records, sources=a.sources + b.sources)
    records = tuple(
        replace(r, source_image="labeled-data/v1/img0.png" if i % 2 else "labeled-data/v1/IMG0.png")
        for i, r in enumerate(both.records)
    )
    write_labels(replace(both, records=records), tmp_path / "out", format="deeplabcut")
    back = read_labels(tmp_path / "out")
    assert [r.source_image for r in back.records] == [
        "labeled-data/lab_a__v1/IMG0.png", "labeled-data/lab_a__v1/img0__2.png",
        "labeled-data/lab_b__v1/IMG0.png", "labeled-data/lab_b__v1/img0__2.png",
    ]  # fmt: skip
    for before, after in zip(records, back.records, strict=True):
        assert before.image.read_bytes() == after.image.read_bytes()


@SMALL
@given(label_sets(("a", "b"), states=(0, 1, 2)), st.randoms())
def test_yolo_there_and_back(labels, random):
    """States 0, 1, 2, coordinates to 1e-3 px, boxes, parts and categories; in an image of any size."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        records = []
        for i, record in enumerate(labels.records):
            image = write_image(folder / f"{i}.png", (WIDTH, HEIGHT), seed=i)
            n = len(record)
            xy = np.array(
                [
                    [[random.uniform(-0.5, WIDTH - 0.5), random.uniform(-0.5, HEIGHT - 0.5)] for _ in "ab"]
                    for _ in range(n)
                ]
            )
            xy = np.where(record.visibility[..., None] > 0, xy.reshape(n, 2, 2), np.nan)
            boxes = np.array([[1.5, 2.25, 30, 20 + j] for j in range(n)]).reshape(n, 4)
            part = random.choice(["train", "val", "test"])
            categories = tuple(random.choice(["dog", "cat"]) for _ in range(n))
            record = LabelRecord(
                image, (WIDTH, HEIGHT), "lab", str(i), xy, record.visibility, boxes, f"{i}.png",
                source_split=part, categories=categories,
            )  # fmt: skip
            records.append(record)
        labels = replace(labels, records=tuple(records))
        write_labels(labels, folder / "out", format="yolo-pose")
        if not any((r.visibility > 0).any() for r in records):
            return
        back = read_labels(folder / "out", dataset="lab")
        assert back.keypoints == labels.keypoints
        by_name = {Path(r.source_image).name: r for r in back.records}
        for record in labels.records:
            after = by_name[record.source_image]
            assert (after.source_split, after.categories) == (record.source_split, record.categories)
            np.testing.assert_array_equal(after.visibility, record.visibility)
            np.testing.assert_allclose(after.keypoints, record.keypoints, atol=1e-3)
            np.testing.assert_allclose(after.bbox_xywh, record.bbox_xywh, atol=1e-3)


def test_what_yolo_loses_is_said(tmp_path, caplog):
    boxes = np.array([[-5.0, -5, 20, 20], [np.nan] * 4, [np.nan] * 4])
    labels = _labelled(tmp_path, [[2, 1, -1], [0, 2, 0], [0, 0, 0]], boxes=boxes)
    xy = labels.records[0].keypoints.copy()
    xy[0, 0] = [WIDTH + 3, 5]
    labels = replace(labels, records=(replace(labels.records[0], keypoints=xy),))
    write_labels(labels, tmp_path / "out", format="yolo-pose")
    (back,) = read_labels(tmp_path / "out").records
    assert back.visibility.tolist() == [[0, 1, 0], [0, 2, 0]]
    # Cut off at the edge of the image, and a pixel around the only keypoint, at (11.25, 2).
    np.testing.assert_allclose(back.bbox_xywh, [[-0.5, -0.5, 15.5, 15.5], [10.75, 1.5, 1, 1]], atol=1e-6)
    for text in (
        "1 instances have neither a box nor a keypoint",
        "1 keypoints lie outside of their image",
        "no image is in the part val",
    ):
        assert text in caplog.text


def test_a_superset_keeps_its_channels_and_mirror_pairs_in_yolo(tmp_path):
    bird = load_vocabulary("superanimal_bird")
    labels = replace(_labelled(tmp_path, [[2] + [-1] * 41], bird.keypoints), vocabulary=bird.name)
    write_labels(labels, tmp_path / "out", format="yolo-pose")
    config = yaml.safe_load((tmp_path / "out/data.yaml").read_text())
    assert config["kpt_shape"] == [42, 3]
    assert config["kpt_names"] == {0: list(bird.keypoints)}
    mirrored = [bird.keypoints[k] for k in config["flip_idx"]]
    assert mirrored[bird.index["left_eye"]] == "right_eye"
    assert (config["train"], config["names"], "path" in config) == ("train/images", {0: "animal"}, False)


def test_images_that_differ_in_their_ending_only_get_label_files_of_their_own(tmp_path):
    two = small_set(tmp_path, "lab", ("a",))
    records = tuple(
        replace(r, source_image=f"x.{end}") for r, end in zip(two.records, ("png", "jpg"), strict=True)
    )
    write_labels(replace(two, records=records), tmp_path / "out", format="yolo-pose")
    assert sorted(p.name for p in (tmp_path / "out/train/labels").iterdir()) == ["x.txt", "x__2.txt"]
    assert len(read_labels(tmp_path / "out")) == 2
