"""COCO: exact round trips of superset files, foreign files, broken ones."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from foreign_files import COCO_NAMES, broken_coco, make_coco
from hypothesis import given
from hypothesis import strategies as st
from label_sets import assert_same, label_sets, small_set
from pycocotools.coco import COCO

from converters import convert_labels, load_superset, read_labels, validate, write_superset
from converters.formats import coco
from superset_vocab import InputError, KeypointMap, Visibility, load_vocabulary, project

BIRD = load_vocabulary("superanimal_bird")


@given(label_sets(COCO_NAMES, states=(-1, 0, 1, 2)), st.booleans())
def test_document_and_back_is_the_identity(labels, in_vocabulary):
    """Through JSON text: order, all four states, coordinates to the last bit, groups, sources."""
    if in_vocabulary:
        labels = _into_bird(labels)
    document = json.loads(
        json.dumps(coco.to_document(labels, [str(r.image) for r in labels.records]), allow_nan=False)
    )
    back = coco.from_document(document, Path("labels.json"), dataset="other", location="elsewhere")
    assert_same(back, labels)
    assert back.operations == labels.operations
    assert [image["id"] for image in document["images"]] == list(range(1, len(labels) + 1))
    assert [a["id"] for a in document["annotations"]] == list(range(1, labels.n_instances + 1))


def _into_bird(labels):
    """Project a set without undefined keypoints; those become not annotated first."""
    records = tuple(replace(r, visibility=np.maximum(r.visibility, 0)) for r in labels.records)
    targets = dict(zip(COCO_NAMES, ("left_eye", None, "bill"), strict=True))
    return project(replace(labels, records=records), KeypointMap("lab", BIRD, targets))


def test_a_written_dataset_is_coco_that_pycocotools_reads(tmp_path, capsys):
    keypoint_map = KeypointMap("lab", BIRD, dict(zip(COCO_NAMES, ("left_eye", None, "bill"), strict=True)))
    written = write_superset(project(small_set(tmp_path, "lab", COCO_NAMES), keypoint_map), tmp_path / "out")
    assert_same(load_superset(tmp_path / "out"), written)
    read = COCO(str(tmp_path / "out" / "annotations.json"))
    capsys.readouterr()
    (image, _), (annotation, _) = read.imgs.values(), read.anns.values()
    assert (image["file_name"], image["dataset"]) == ("images/lab__raw__0.png", "lab")
    assert (image["split_group"], image["source_image"]) == ("day0", "raw/0.png")
    assert read.dataset["licenses"][image["license"] - 1]["name"] == "licence of lab"
    flat = np.reshape(annotation["keypoints"], (42, 3))
    np.testing.assert_array_equal(flat[BIRD.index["bill"]], [2, 2.5, 2])
    np.testing.assert_array_equal(flat[BIRD.index["nape"]], [0, 0, -1])
    assert (annotation["num_keypoints"], annotation["area"], annotation["bbox"]) == (2, 200, [0, 0, 20, 10])
    category = read.cats[1]
    assert category["keypoints"] == list(BIRD.keypoints)
    first = [category["keypoints"][k - 1] for k in category["skeleton"][0]]
    assert tuple(first) == BIRD.skeleton[0]
    source = read.dataset["info"]["sources"][0]
    assert source["keypoint_map"] == {"a": "left_eye", "b": None, "c": "bill"}
    assert read.dataset["info"]["operations"][0]["name"] == "project"
    assert read.dataset["info"]["version"]


def test_a_box_is_drawn_for_coco_but_not_read_back(tmp_path):
    labels = small_set(tmp_path, "lab", COCO_NAMES, n=1)
    record = replace(labels.records[0], bbox_xywh=np.full((1, 4), np.nan))
    document = coco.to_document(replace(labels, records=(record,)), ["a.png"])
    assert document["annotations"][0]["bbox"] == [0, 0.5, 2, 2]
    assert document["annotations"][0]["bbox_source"] == "keypoints"
    back = coco.from_document(document, Path("labels.json"), dataset="d", location="")
    assert np.isnan(back.records[0].bbox_xywh).all()


def test_a_box_of_zeros_is_none(tmp_path):
    """As annotation tools without boxes write them: no reason to refuse the keypoints."""
    document = broken_coco(lambda d: d["annotations"][0].update(bbox=[0, 0, 0.0, 0]))
    labels = read_labels(make_coco(tmp_path / "foreign", document))
    assert np.isnan(labels.records[0].bbox_xywh[0]).all()
    assert not validate(labels).errors


def test_a_foreign_file(tmp_path):
    labels = read_labels(make_coco(tmp_path), dataset="theirs")
    first, second = labels.records
    assert (labels.keypoints, labels.vocabulary) == (COCO_NAMES, None)
    assert (first.source_image, first.image) == ("x.png", tmp_path / "images" / "x.png")
    assert first.visibility.tolist() == [[2, 0, 1], [0, 0, 0]]
    np.testing.assert_array_equal(first.keypoints[0], [[1, 2], [np.nan, np.nan], [5.5, 6]])
    np.testing.assert_array_equal(first.bbox_xywh, [[0, 1, 8, 7], [2, 2, 3, 3]])
    assert (len(second), second.source_image, second.split_group) == (0, "y.png", "theirs")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d: d["annotations"][0].update(image_id=9), "annotation 1 is of image 9"),
        (
            lambda d: d["annotations"][0].update(category_id=9),
            "annotation 1 is of category 9, which is not listed",
        ),
        (lambda d: d["annotations"][0].update(keypoints=[1, 2]), r"x\.png: .* has 2 numbers, not 9"),
        (lambda d: d["annotations"][0]["keypoints"].__setitem__(2, 3), r"x\.png: .* visibility other than"),
        (lambda d: d["annotations"][0]["keypoints"].__setitem__(0, None), r"x\.png: .*finite"),
        (lambda d: d["annotations"][0].update(bbox=[1, 2]), r"x\.png: "),
        (lambda d: d["images"][1].update(id=7), "several images have the id 7"),
        (lambda d: d["images"][1].update(file_name="x.png"), r"image x\.png is listed 2 times"),
        (lambda d: d["images"][1].update(file_name="../y.png"), "leads out of"),
        (lambda d: d["images"][1].update(width=33), r"y\.png: is 32x24 pixels, the labels say 33x24"),
        (lambda d: d["images"][1].update(file_name="z.png"), r"z\.png: no such image"),
        (lambda d: d["images"][1].pop("height"), r"y\.png: its width and height are 32 and None"),
        (lambda d: d["categories"][1].update(keypoints=["a", "a", "c"]), "'a' is listed more than once"),
        (lambda d: d.update(info={"sources": [{"name": 3}]}), r"info\.sources"),
        (lambda d: d["annotations"][0].pop("category_id"), "annotation 1 has no image_id or no category_id"),
    ],
)
def test_a_broken_file_names_its_fault(tmp_path, change, message):
    with pytest.raises(InputError, match=message) as error:
        read_labels(make_coco(tmp_path, broken_coco(change)))
    assert "labels.json" in str(error.value) or ".png" in str(error.value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d: d["info"].update(vocabulary=1.5), r"its info\.vocabulary was not written by this package"),
        (lambda d: d["info"].update(operations=1.5), r"its info\.operations was not written by this package"),
        (lambda d: d["info"].update(sources={"a": 1}), r"its info\.sources was not written by this package"),
        (
            lambda d: d["info"]["sources"][0].update(dataset=[]),
            r"info\.sources were not written by this package",
        ),
        (lambda d: d["images"][0].update(width=1e400), "its width and height are inf and 24"),
    ],
)
def test_a_superset_file_that_was_changed_by_hand(tmp_path, change, message):
    labels = small_set(tmp_path / "raw", "lab", ("snout", "leftear", "rightear", "tailbase"))
    convert_labels(labels, "dlc-openfield", tmp_path / "out")
    document = json.loads((tmp_path / "out" / "annotations.json").read_text())
    change(document)
    (tmp_path / "out" / "annotations.json").write_text(json.dumps(document))
    with pytest.raises(InputError, match=message):
        read_labels(tmp_path / "out")


def test_a_keypoint_without_a_name_can_be_validated(tmp_path):
    document = broken_coco(lambda d: d["categories"][1]["keypoints"].__setitem__(2, ""))
    assert not validate(read_labels(make_coco(tmp_path / "foreign", document))).errors


def test_all_missing_images_are_listed(tmp_path):
    file = make_coco(tmp_path)
    for image in (tmp_path / "images").iterdir():
        image.unlink()
    with pytest.raises(InputError, match=r"(?s)2 problems.*x\.png.*y\.png"):
        read_labels(file)


def test_a_truncated_file(tmp_path):
    file = make_coco(tmp_path)
    file.write_text(file.read_text()[:50])
    with pytest.raises(InputError, match=r"labels\.json: is not JSON"):
        read_labels(file, format="coco")


def test_a_foreign_file_is_no_superset_dataset(tmp_path):
    with pytest.raises(InputError, match="zoo convert"):
        load_superset(make_coco(tmp_path))


def test_a_superset_file_with_other_channels_is_refused(tmp_path):
    labels = _into_bird(small_set(tmp_path, "lab", COCO_NAMES, n=1))
    write_superset(labels, tmp_path / "out")
    file = tmp_path / "out/annotations.json"
    document = json.loads(file.read_text())
    names = document["categories"][0]["keypoints"]
    names[0], names[1] = names[1], names[0]
    file.write_text(json.dumps(document))
    with pytest.raises(InputError, match="not those of superanimal_bird in their order"):
        load_superset(tmp_path / "out")


def test_names_that_flatten_to_the_same_stay_apart(tmp_path):
    labels = small_set(tmp_path, "lab", COCO_NAMES, n=3)
    names = ("a/b.png", "a__b.png", "A__b.png")
    records = tuple(replace(r, source_image=name) for r, name in zip(labels.records, names, strict=True))
    written = write_superset(replace(labels, records=records), tmp_path / "out")
    found = [r.image.name for r in written.records]
    assert found == ["lab__a__b.png", "lab__a__b__2.png", "lab__A__b__3.png"]
    for before, after in zip(labels.records, written.records, strict=True):
        assert before.image.read_bytes() == after.image.read_bytes()


def test_long_names_in_any_script_fit_the_disk(tmp_path):
    """80 Chinese characters are 240 bytes, and a file name has 255 at most."""
    labels = _into_bird(small_set(tmp_path / "raw", "lab", COCO_NAMES, n=2))
    names = [f"labeled-data/{'实验' * 40}/{'影像' * 10}{i}.png" for i in range(2)]
    records = [replace(r, source_image=name) for r, name in zip(labels.records, names, strict=True)]
    written = write_superset(replace(labels, records=tuple(records)), tmp_path / "out")
    assert [len(r.image.name.encode()) < 200 for r in written.records] == [True, True]
    assert_same(load_superset(tmp_path / "out"), written)


def test_four_states_survive_the_disk(tmp_path):
    labels = small_set(tmp_path, "lab", COCO_NAMES, n=1)
    state = np.array([[Visibility.UNDEFINED, Visibility.NOT_ANNOTATED, Visibility.OCCLUDED]], dtype=np.int8)
    xy = np.where(state[..., None] > 0, labels.records[0].keypoints, np.nan)
    record = replace(labels.records[0], visibility=state, keypoints=xy)
    write_superset(replace(labels, records=(record,)), tmp_path / "out")
    (back,) = read_labels(tmp_path / "out").records
    assert back.visibility.tolist() == [[-1, 0, 1]]
