"""Merging superset datasets: what every record keeps, and what is refused."""

from __future__ import annotations

import errno
import json
import shutil
from dataclasses import replace

import cv2
import numpy as np
import pandas as pd
import pytest
from label_sets import assert_same, small_set

from app.cli import main
from converters import (
    convert,
    convert_labels,
    dataset_statistics,
    leave_one_out,
    leave_out,
    load_superset,
    merge,
    merge_to,
    only,
)
from converters.formats import coco
from superset_vocab import InputError, KeypointMap, LabelSet, load_map, load_vocabulary, project

OPENFIELD = ("snout", "leftear", "rightear", "tailbase")
HAUS = tuple(load_map("MackenzieMausHaus").targets)


@pytest.fixture
def two(tmp_path) -> tuple[LabelSet, LabelSet]:
    """Two converted datasets, in the folders a/ and b/."""
    a = convert_labels(
        small_set(tmp_path / "raw", "lab_a", OPENFIELD, seed=1), "dlc-openfield", tmp_path / "a"
    )
    b = convert_labels(
        small_set(tmp_path / "raw", "lab_b", HAUS, seed=11), "MackenzieMausHaus", tmp_path / "b"
    )
    return a, b


def test_every_record_keeps_what_it_was(two, tmp_path):
    a, b = two
    merged = merge_to(tmp_path / "all", [tmp_path / "a", tmp_path / "b"])
    assert_same(load_superset(tmp_path / "all"), merged)
    assert [(r.dataset, r.split_group, r.source_image) for r in merged.records] == [
        ("lab_a", "day0", "raw/0.png"),
        ("lab_a", "day1", "raw/1.png"),
        ("lab_b", "day0", "raw/0.png"),
        ("lab_b", "day1", "raw/1.png"),
    ]
    assert [r.image.name for r in merged.records] == [r.image.name for r in (*a.records, *b.records)]
    for before, after in zip((*a.records, *b.records), merged.records, strict=True):
        assert before.image.read_bytes() == after.image.read_bytes()
    assert [(s.dataset, s.licence, s.keypoints) for s in merged.sources] == [
        ("lab_a", "licence of lab_a", OPENFIELD),
        ("lab_b", "licence of lab_b", HAUS),
    ]
    assert merged.sources[1].keypoint_map["spine1"] == "neck"


def test_states_stay_those_of_each_dataset(two):
    a, b = two
    merged = merge([a, b])
    assert [(r.visibility >= 0).sum() for r in merged.records] == [4, 4, 25, 25]


def test_history_is_kept(two):
    merged = merge(two)
    assert [done["name"] for done in merged.operations] == ["project", "project", "merge"]
    assert merged.operations[-1]["datasets"] == ["lab_a", "lab_b"]


def test_a_merge_can_be_merged_again(two, tmp_path):
    third = convert_labels(
        small_set(tmp_path / "raw", "c", OPENFIELD, seed=21), "dlc-openfield", tmp_path / "c"
    )
    assert_same(merge([merge(two), third]), merge([*two, third]))


def test_the_same_image_twice_is_refused_whatever_its_name(two, tmp_path):
    a, _ = two
    raw = small_set(tmp_path / "raw", "lab_c", OPENFIELD, seed=31)
    shutil.copyfile(a.records[1].image, raw.records[0].image)
    c = convert_labels(raw, "dlc-openfield", tmp_path / "c")
    with pytest.raises(InputError) as error:
        merge_to(tmp_path / "all", [a, c])
    assert "the same image 2 times" in str(error.value)
    assert a.records[1].image.name in str(error.value)
    assert c.records[0].image.name in str(error.value)
    assert not (tmp_path / "all").exists()


def test_two_datasets_of_one_name_are_refused(two):
    with pytest.raises(InputError, match=r"2 sources have the dataset name 'lab_a'; convert with another"):
        merge([two[0], two[0]])


def test_a_dataset_is_given_another_name_as_the_error_says(two, tmp_path, capsys):
    """`zoo convert --dataset` on what is in the superset already had no effect."""
    shutil.copytree(tmp_path / "b", tmp_path / "c")
    for path in (tmp_path / "c" / "images").iterdir():
        image = cv2.imread(str(path))
        cv2.imwrite(str(path), 255 - image)
    with pytest.raises(InputError, match=r"^cannot merge: 2 sources have the dataset name 'lab_b'"):
        merge([tmp_path / "b", tmp_path / "c"])
    command = ["convert", str(tmp_path / "c"), "--out", str(tmp_path / "d"), "--dataset", "lab_c"]
    assert main(command) == 0
    assert "lab_c: 2 images" in capsys.readouterr().out
    merged = merge([tmp_path / "b", tmp_path / "d"])
    assert [source.dataset for source in merged.sources] == ["lab_b", "lab_c"]
    assert merged.sources[1].licence == "licence of lab_b"
    assert {"name": "rename_dataset", "old": "lab_b", "new": "lab_c"} in merged.operations
    merge_to(tmp_path / "both", [tmp_path / "a", tmp_path / "b"])
    with pytest.raises(InputError, match=r"--dataset x: there are 2 datasets in it \(lab_a, lab_b\)"):
        convert(tmp_path / "both", None, tmp_path / "e", dataset="x")


def test_different_vocabularies_are_refused_with_everything_else(two, tmp_path):
    raw = small_set(tmp_path / "raw", "lab_a", ("x",), seed=41)
    bird = project(raw, KeypointMap("lab_a", load_vocabulary("superanimal_bird"), {"x": "bill"}))
    with pytest.raises(InputError) as error:
        merge([two[0], bird, replace(raw, sources=(replace(raw.sources[0]),))])
    assert "the vocabularies differ: superanimal_bird, superanimal_topviewmouse" in str(error.value)
    assert "lab_a is in no superset vocabulary" in str(error.value)
    assert "3 sources have the dataset name 'lab_a'" in str(error.value)


def test_nothing_to_merge():
    with pytest.raises(InputError, match="nothing to merge"):
        merge([])


def test_of_twins_the_first_can_be_kept(two, tmp_path, caplog):
    a, _ = two
    raw = small_set(tmp_path / "raw", "lab_c", OPENFIELD, seed=31)
    shutil.copyfile(a.records[1].image, raw.records[0].image)
    c = convert_labels(raw, "dlc-openfield", tmp_path / "c")
    merged = merge([a, c], twins="first")
    assert [r.image for r in merged.records] == [r.image for r in (*a.records, *c.records[1:])]
    assert c.records[0].image.name in caplog.text
    assert merged.operations[-1]["images"] == [c.records[0].image.name]
    with pytest.raises(InputError, match="twins 'last' is none of"):
        merge([a, c], twins="last")


def test_an_image_file_that_two_sets_share_stays_once(two):
    a, _ = two
    records = tuple(replace(record, dataset="again") for record in a.records)
    other = replace(a, records=records, sources=(replace(a.sources[0], dataset="again"),))
    assert [r.dataset for r in merge([a, other], twins="first").records] == ["lab_a", "lab_a"]


def test_images_can_be_linked(two, tmp_path, monkeypatch):
    a, _ = two
    merged = merge_to(tmp_path / "linked", [*two], images="link")
    assert merged.records[0].image.samefile(a.records[0].image)
    assert_same(load_superset(tmp_path / "linked"), merged)
    assert not merge_to(tmp_path / "copied", [*two]).records[0].image.samefile(a.records[0].image)
    with pytest.raises(InputError, match="images 'move' is none of copy, link"):
        merge_to(tmp_path / "moved", [*two], images="move")  # type: ignore[arg-type]

    def no_links(*_: object) -> None:
        raise OSError(errno.EXDEV, "Invalid cross-device link")

    monkeypatch.setattr("os.link", no_links)
    with pytest.raises(InputError, match=r"Invalid cross-device link\); links need one file system .* copy"):
        merge_to(tmp_path / "elsewhere", [*two], images="link")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b", "copied", "linked", "raw"]


def test_the_file_written_in_pieces_is_the_document(two, tmp_path):
    merged = merge_to(tmp_path / "all", [*two])
    names = [f"images/{record.image.name}" for record in merged.records]
    written = json.loads((tmp_path / "all" / "annotations.json").read_text(encoding="utf-8"))
    assert written == json.loads(json.dumps(coco.to_document(merged, names)))


def test_statistics_count_what_is_there(two, tmp_path, capsys):
    assert (
        main(["merge", str(tmp_path / "a"), str(tmp_path / "b"), "--out", str(tmp_path / "all"), "--quiet"])
        == 0
    )
    printed = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert printed[2] == ["lab_a", "2", "2", "2", "2", "4", "8", "licence", "of", "lab_a"]
    assert printed[3] == ["lab_b", "2", "2", "2", "2", "25", "50", "licence", "of", "lab_b"]
    assert printed[4] == ["all", "4", "4", "4", "4", "25", "58"]
    content = json.loads((tmp_path / "all" / "statistics.json").read_text(encoding="utf-8"))
    assert content["datasets"][0]["keypoints"] == {
        name: {"not_annotated": 0, "occluded": 0, "visible": 2}
        for name in ("nose", "left_ear", "right_ear", "tail_base")
    }
    table = pd.read_csv(tmp_path / "all" / "statistics.csv")
    assert table.groupby("dataset")["visible"].sum().to_dict() == {"lab_a": 8, "lab_b": 50}
    assert set(table["licence"]) == {"licence of lab_a", "licence of lab_b"}


def test_statistics_tell_the_states_apart(two):
    a, _ = two
    state = a.records[0].visibility.copy()
    state[0, 0], state[0, 1] = 0, 1
    xy = np.where(state[..., None] > 0, a.records[0].keypoints, np.nan)
    changed = replace(a, records=(replace(a.records[0], visibility=state, keypoints=xy), a.records[1]))
    (entry,) = dataset_statistics(changed)
    assert entry.states[:3].tolist() == [[0, 1, 0, 1], [0, 0, 1, 1], [0, 0, 0, 2]]
    assert entry.states[7].tolist() == [2, 0, 0, 0]


def test_a_view_leaves_a_dataset_out_without_a_copy(two):
    merged = merge(two)
    view = leave_out(merged, "lab_a")
    assert [record.dataset for record in view.records] == ["lab_b", "lab_b"]
    assert all(record is merged.records[2 + i] for i, record in enumerate(view.records))
    assert [source.licence for source in view.sources] == ["licence of lab_b"]
    assert view.operations[-1] == {"name": "leave_out", "datasets": ["lab_a"]}
    assert [record.dataset for record in only(merged, "lab_a").records] == ["lab_a", "lab_a"]
    views = {name: (len(train), len(test)) for name, train, test in leave_one_out(merged)}
    assert views == {"lab_a": (2, 2), "lab_b": (2, 2)}


def test_views_of_what_is_not_there(two):
    merged = merge(two)
    with pytest.raises(InputError, match=r"it has the datasets lab_a, lab_b\): 'lab_c' is none of them"):
        leave_out(merged, "lab_c")
    with pytest.raises(InputError, match="leaving out lab_a, lab_b leaves no record"):
        leave_out(merged, "lab_a", "lab_b")
    with pytest.raises(InputError, match="name at least one dataset of lab_a, lab_b"):
        only(merged)
