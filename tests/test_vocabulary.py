"""The vocabularies: names, order, flips, sigmas, colours; errors of broken files."""

from __future__ import annotations

import colorsys
from pathlib import Path

import numpy as np
import pytest

from superset_vocab import InputError, list_vocabularies, load_vocabulary

TEXT = """
name = "tiny"
keypoints = ["nose", "left_ear", "right_ear"]
skeleton = [["nose", "left_ear"]]
flip_pairs = [["left_ear", "right_ear"]]
[sigmas]
source = "made up"
default = 0.1
nose = 0.2
[colours]
nose = "#00ff00"
left_ear = "#0000ff"
right_ear = "#ff0010"
"""


def _write(folder: Path, text: str) -> str:
    (folder / "v.toml").write_text(text, encoding="utf-8")
    return str(folder / "v.toml")


def test_three_vocabularies_with_their_published_sizes():
    assert {name: len(load_vocabulary(name)) for name in list_vocabularies()} == {
        "superanimal_bird": 42,
        "superanimal_quadruped": 39,
        "superanimal_topviewmouse": 27,
    }


def test_channel_order_is_the_published_one():
    mouse = load_vocabulary("superanimal_topviewmouse")
    assert mouse.keypoints[:4] == ("nose", "left_ear", "right_ear", "left_ear_tip")
    assert (mouse.index["tail_base"], mouse.index["tail_end"], mouse.keypoints[26]) == (
        13,
        25,
        "head_midpoint",
    )
    quadruped = load_vocabulary("superanimal_quadruped")
    assert quadruped.keypoints[24:32] == (
        "front_left_thai", "front_left_knee", "front_left_paw", "front_right_thai",
        "front_right_knee", "front_right_paw", "back_left_paw", "back_left_thai",
    )  # fmt: skip
    bird = load_vocabulary("superanimal_bird")
    assert (bird.keypoints[0], bird.keypoints[15], bird.keypoints[41]) == ("back", "tail_tip", "lower_cere")


@pytest.mark.parametrize("name", list_vocabularies())
def test_flip_exchanges_every_left_with_its_right(name):
    vocabulary = load_vocabulary(name)
    for k, keypoint in enumerate(vocabulary.keypoints):
        parts = keypoint.split("_")
        swapped = [{"left": "right", "right": "left"}.get(part, part) for part in parts]
        assert vocabulary.keypoints[vocabulary.flip_index[k]] == "_".join(swapped)
    np.testing.assert_array_equal(vocabulary.flip_index[vocabulary.flip_index], np.arange(len(vocabulary)))


@pytest.mark.parametrize("name", list_vocabularies())
def test_skeleton_has_no_double_bone_and_mirrors_onto_itself(name):
    vocabulary = load_vocabulary(name)
    bones = {frozenset(bone) for bone in vocabulary.bones.tolist()}
    assert len(bones) == len(vocabulary.bones)
    assert all(len(bone) == 2 for bone in bones)
    assert bones == {frozenset(vocabulary.flip_index[list(bone)].tolist()) for bone in bones}


@pytest.mark.parametrize("name", list_vocabularies())
def test_skeleton_reaches_every_keypoint(name):
    vocabulary = load_vocabulary(name)
    assert set(vocabulary.bones.ravel().tolist()) == set(range(len(vocabulary)))


@pytest.mark.parametrize("name", list_vocabularies())
def test_colours_are_distinct_and_tell_left_from_right(name):
    vocabulary = load_vocabulary(name)
    assert len({tuple(c) for c in vocabulary.colours.tolist()}) == len(vocabulary)
    hues: dict[str, list[float]] = {"left": [], "right": []}
    for keypoint, rgb in zip(vocabulary.keypoints, vocabulary.colours, strict=True):
        for side in set(hues) & set(keypoint.split("_")):
            hue = 360 * colorsys.rgb_to_hsv(*(rgb / 255))[0]
            hues[side].append((hue + 60) % 360)  # reds lie around 0: turn the wheel so that they do not wrap
    assert max(hues["right"]) < 120 < 230 < min(hues["left"])


def test_sigmas_are_the_papers():
    assert set(load_vocabulary("superanimal_topviewmouse").sigmas) == {0.1}
    quadruped = load_vocabulary("superanimal_quadruped")
    expected = {"nose": 0.026, "tail_end": 0.079, "front_right_thai": 0.072, "front_right_paw": 0.089,
                "back_left_thai": 0.107, "back_right_thai": 0.087, "back_right_paw": 0.067}  # fmt: skip
    assert {name: quadruped.sigmas[quadruped.index[name]] for name in expected} == expected
    assert "as printed" in quadruped.sigma_source
    bird = load_vocabulary("superanimal_bird")
    assert set(bird.sigmas) == {0.067}
    assert "No published values" in bird.sigma_source


def test_arrays_are_read_only():
    with pytest.raises(ValueError, match="read-only"):
        load_vocabulary("superanimal_bird").sigmas[0] = 1.0


def test_a_file_of_ones_own(tmp_path):
    vocabulary = load_vocabulary(_write(tmp_path, TEXT))
    assert vocabulary.flip_index.tolist() == [0, 2, 1]
    assert vocabulary.sigmas.tolist() == [0.2, 0.1, 0.1]
    assert vocabulary.colours.tolist() == [[0, 255, 0], [0, 0, 255], [255, 0, 16]]


def test_an_edited_file_is_read_again(tmp_path):
    load_vocabulary(_write(tmp_path, TEXT))
    assert load_vocabulary(_write(tmp_path, TEXT.replace("0.2", "0.3"))).sigmas[0] == 0.3


def test_all_problems_of_a_file_are_listed(tmp_path):
    text = TEXT.replace('"left_ear", "right_ear"]]', '"left_ear", "tail"]]').replace(
        "nose = 0.2", "wing = 0.2"
    )
    text = text.replace('right_ear = "#ff0010"', "").replace('name = "tiny"', 'name = "tiny"\nsize = 3')
    with pytest.raises(InputError) as error:
        load_vocabulary(_write(tmp_path, text))
    for part in (
        "4 problems",
        "'size'",
        "flip pair for 'tail'",
        "sigma for 'wing'",
        "'right_ear' has no colour",
    ):
        assert part in str(error.value)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('name = "tiny"', "name = ", "not a TOML file"),
        ("[colours]", "[colors]", "lacks the entry 'colours'"),
        ('"#00ff00"', '"green"', "#rrggbb"),
        ('[["nose", "left_ear"]]', '[["nose", "tail"]]', "skeleton names 'tail'"),
        ("default = 0.1", "default = -0.1", "positive sigmas"),
    ],
)
def test_a_broken_file_names_its_fault(tmp_path, old, new, message):
    assert old in TEXT
    with pytest.raises(InputError) as error:
        load_vocabulary(_write(tmp_path, TEXT.replace(old, new)))
    assert message in str(error.value)
    assert "v.toml" in str(error.value) or "vocabulary tiny" in str(error.value)


def test_a_duplicated_keypoint_is_refused(tmp_path):
    text = TEXT.replace('keypoints = ["nose",', 'keypoints = ["nose", "nose",')
    with pytest.raises(InputError, match="'nose' is listed 2 times"):
        load_vocabulary(_write(tmp_path, text))


def test_an_unknown_name_lists_the_known_ones():
    with pytest.raises(InputError, match="superanimal_bird, superanimal_quadruped, superanimal_topviewmouse"):
        load_vocabulary("superanimal_fish")
