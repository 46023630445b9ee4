"""Merging superset datasets: what every record keeps, and what is refused."""

from __future__ import annotations

import shutil
from dataclasses import replace

import pytest
from label_sets import assert_same, small_set

from converters import convert_labels, load_superset, merge, merge_to
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
