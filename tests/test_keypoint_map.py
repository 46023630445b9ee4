"""Keypoint maps: each within its own dataset, projection and back, errors that list everything."""

from __future__ import annotations

import json

import numpy as np
import pytest
import yaml
from data import need
from hypothesis import given
from hypothesis import strategies as st
from label_sets import assert_same, label_sets

from converters.synthetic import LABS
from superset_vocab import (
    InputError,
    KeypointMap,
    LabelSet,
    Source,
    Visibility,
    list_maps,
    load_map,
    load_vocabulary,
    project,
    pull_back,
)

MOUSE = load_vocabulary("superanimal_topviewmouse")
PUBLIC_MOUSE = {
    "3CSI", "BM", "ChanLab", "Daniel3Mouse", "EPM", "FST", "LBD", "MackenzieMausHaus", "Mostafizur", "OFT",
    "TwoWhiteMice", "dlc-openfield", "openfield_ole", "swimming_ole", "treadmill_ole",
}  # fmt: skip
PUBLIC_QUADRUPED = {"animalpose", "ap10k", "cheetah", "horse", "stanforddogs", "webapp"}
HERE = {
    "alphatracker_train9", "animalpose_mmpose", "deepof", "dlulab_bottomview", "horse10_BrownHorseinShadow",
    "horses_roboflow_v5", "inscopix_bottomview", "mirror-mouse-example", "tiger_pose",
}  # fmt: skip


def test_all_datasets_have_a_map():
    synthetic = {lab.dataset for lab in LABS.values()}
    assert set(list_maps()) == PUBLIC_MOUSE | PUBLIC_QUADRUPED | HERE | synthetic


@pytest.mark.parametrize("name", list_maps())
def test_every_map_loads_under_its_own_name(name):
    keypoint_map = load_map(name)
    assert keypoint_map.dataset == name
    assert any(target is not None for target in keypoint_map.targets.values())
    assert keypoint_map.citation


def test_the_public_maps_are_the_facts_verbatim():
    facts = yaml.safe_load((need("..") / "reference" / "conversion_facts.yaml").read_text())
    assert len(facts) == 2
    for vocabulary, content in facts.items():
        assert load_vocabulary(vocabulary).keypoints == tuple(content["keypoints"])
        for dataset, expected in content["datasets"].items():
            keypoint_map = load_map(dataset)
            assert {s: t for s, t in keypoint_map.targets.items() if t is not None} == expected
            assert keypoint_map.vocabulary.name == vocabulary


def test_a_name_means_what_its_own_dataset_says():
    targets = {name: load_map(name).targets["spine1"] for name in ("Daniel3Mouse", "MackenzieMausHaus")}
    assert targets == {"Daniel3Mouse": "mid_back", "MackenzieMausHaus": "neck"}
    assert load_map("Mostafizur").targets["spine1"] == "mid_back"


@pytest.mark.parametrize("name", list_maps())
def test_no_map_exchanges_left_and_right(name):
    keypoint_map = load_map(name)
    for source, target in keypoint_map.targets.items():
        for side, other in (("left", "right"), ("right", "left")):
            if side in source.lower():
                assert target is None or other not in target.split("_")


def test_near_is_left_and_off_is_right_in_the_horse_map():
    targets = load_map("horse10_BrownHorseinShadow").targets
    assert targets["Nearfrontfoot"] == "front_left_paw"
    assert targets["Offhindhock"] == "back_right_knee"
    assert all("right" not in (t or "") for s, t in targets.items() if s.startswith("Near"))


def test_views_from_below_map_nothing_with_a_side():
    for name in ("dlulab_bottomview", "inscopix_bottomview", "mirror-mouse-example"):
        mapped = [target for target in load_map(name).targets.values() if target is not None]
        assert not [target for target in mapped if "left" in target or "right" in target]


def test_the_animalpose_map_fits_the_animal_pose_file():
    categories = json.loads((need("animal_pose") / "keypoints.json").read_text())["categories"]
    for category in categories:
        load_map("animalpose").check(category["keypoints"])


@pytest.mark.parametrize("folder", ["horses_roboflow_v5", "tiger_pose"])
def test_the_yolo_maps_fit_the_inferred_names(folder):
    names = json.loads((need(folder) / "keypoint_names_inferred.json").read_text())["inferred_keypoint_names"]
    load_map(folder).check(names)


def test_check_lists_all_problems():
    with pytest.raises(InputError) as error:
        load_map("dlc-openfield").check(["snout", "snout", "leftear", "whisker", "rightear"])
    message = str(error.value)
    assert "3 problems" in message
    for part in (
        "'snout' occurs 2 times",
        "'whisker' is neither mapped nor dropped",
        "'tailbase' is in the map",
    ):
        assert part in message


def test_a_map_of_ones_own_lists_all_problems(tmp_path):
    file = tmp_path / "mine.toml"
    file.write_text(
        'dataset = "mine"\nvocabulary = "superanimal_topviewmouse"\nlicense = "MIT"\ndrop = ["a", "b", "b"]\n'
        '[map]\na = "nose"\n'
    )
    with pytest.raises(InputError) as error:
        load_map(str(file))
    for part in (
        "mine.toml",
        "3 problems",
        "unknown entry 'license'",
        "'a' is both",
        "'b' is dropped 2 times",
    ):
        assert part in str(error.value)


def test_targets_must_be_different_keypoints_of_the_vocabulary():
    with pytest.raises(InputError) as error:
        KeypointMap("lab", MOUSE, {"a": "nose", "b": "nose", "c": "wing"})
    assert "'wing', which is not in superanimal_topviewmouse" in str(error.value)
    assert "a, b all map to 'nose'" in str(error.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('[map]\na = "nose"\na = "neck"', "listed twice"),
        ('vocabulary = "superanimal_topviewmouse"\n[map]\na = "nose"', "lacks the entry 'dataset'"),
        ('dataset = "d"\nvocabulary = "superanimal_topviewmouse"\nmap = 3', r"\[map\] must be a table"),
        ('dataset = "d"\nvocabulary = "v"\n[map]\na = "nose"', "'v' is no vocabulary"),
    ],
)
def test_a_broken_map_names_its_fault(tmp_path, text, message):
    (tmp_path / "m.toml").write_text(text)
    with pytest.raises(InputError, match=message):
        load_map(str(tmp_path / "m.toml"))


def test_an_unknown_map_lists_the_known_ones():
    with pytest.raises(InputError, match="ChanLab, Daniel3Mouse"):
        load_map("nobody")


@st.composite
def maps_with_labels(draw: st.DrawFn) -> tuple[KeypointMap, LabelSet]:
    """A random map of up to six keypoints, some dropped, and labels that it fits."""
    sources = draw(st.lists(st.text(min_size=1, max_size=4), min_size=1, max_size=6, unique=True))
    targets = draw(st.permutations(MOUSE.keypoints))[: len(sources)]
    chosen = [target if draw(st.booleans()) else None for target in targets]
    labels = draw(label_sets(tuple(sources), states=(0, 1, 2)))
    return KeypointMap("lab", MOUSE, dict(zip(sources, chosen, strict=True))), labels


@given(maps_with_labels())
def test_project_and_pull_back_is_the_identity_but_for_what_is_dropped(given_pair):
    keypoint_map, labels = given_pair
    projected = project(labels, keypoint_map)
    kept = np.array([keypoint_map.targets[name] is not None for name in labels.keypoints])
    back = pull_back(projected, keypoint_map, labels.keypoints)
    for before, after in zip(labels.records, back.records, strict=True):
        np.testing.assert_array_equal(after.keypoints[:, kept], before.keypoints[:, kept])
        np.testing.assert_array_equal(after.visibility[:, kept], before.visibility[:, kept])
        assert (after.visibility[:, ~kept] == Visibility.NOT_ANNOTATED).all()
    if kept.all():
        assert_same(back, labels)


@given(maps_with_labels())
def test_projection_leaves_exactly_the_unmapped_undefined(given_pair):
    keypoint_map, labels = given_pair
    projected = project(labels, keypoint_map)
    mapped = {target for target in keypoint_map.targets.values() if target is not None}
    defined = np.array([name in mapped for name in MOUSE.keypoints])
    assert projected.keypoints == MOUSE.keypoints
    for before, after in zip(labels.records, projected.records, strict=True):
        assert (after.visibility[:, ~defined] == Visibility.UNDEFINED).all()
        assert (after.visibility[:, defined] >= Visibility.NOT_ANNOTATED).all()
        for s, name in enumerate(labels.keypoints):
            target = keypoint_map.targets[name]
            if target is not None:
                k = MOUSE.index[target]
                np.testing.assert_array_equal(after.keypoints[:, k], before.keypoints[:, s])
                np.testing.assert_array_equal(after.visibility[:, k], before.visibility[:, s])


@given(maps_with_labels())
def test_projection_remembers_where_it_came_from(given_pair):
    keypoint_map, labels = given_pair
    (source,) = project(labels, keypoint_map).sources
    assert source.keypoints == labels.keypoints
    assert source.keypoint_map == keypoint_map.targets
    assert source.licence == labels.sources[0].licence


def test_licence_of_the_map_fills_an_unknown_one():
    keypoint_map = load_map("inscopix_bottomview")
    labels = LabelSet(
        ("nose", "center", "tail"), (), (_source("inscopix_bottomview", ("nose", "center", "tail")),)
    )
    assert project(labels, keypoint_map).sources[0].licence == "CC BY-NC 4.0"


def _source(dataset, keypoints):
    return Source(dataset, keypoints)


def test_projecting_twice_is_refused():
    keypoint_map = load_map("dlc-openfield")
    names = ("snout", "leftear", "rightear", "tailbase")
    once = project(LabelSet(names, (), (_source("x", names),)), keypoint_map)
    assert [done["name"] for done in once.operations] == ["project"]
    with pytest.raises(InputError, match="in the vocabulary superanimal_topviewmouse already"):
        project(once, keypoint_map)
    with pytest.raises(InputError, match="in no vocabulary"):
        pull_back(LabelSet(names, (), (_source("x", names),)), keypoint_map, names)
