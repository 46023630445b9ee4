"""What names of keypoints say, and what they must not be taken to say."""

from __future__ import annotations

import re
import tomllib
from importlib import resources

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from adaptation.keypoint_names import Relation, Sides, mirrored_pairs, relations, understand
from superset_vocab import list_vocabularies, load_map, load_vocabulary

MOUSE = load_vocabulary("superanimal_topviewmouse")


def meaning(name: str, *others: str):
    return understand([name, *others])[0]


def compare(name: str, target: str, *others: str) -> tuple[Relation, Sides]:
    """Relation and sides of a lab's name and a name of the mouse vocabulary."""
    relation, sides = relations(understand([name, *others]), understand(MOUSE.keypoints))
    k = MOUSE.index[target]
    return Relation(relation[0, k]), Sides(sides[0, k])


@pytest.mark.parametrize(
    ("names", "parts", "side", "places"),
    [
        (
            ["leftear", "Ear_left", "L_Ear", "earL", "earl", "lear", "left ear", "EAR-LEFT"],
            {"ear"},
            "left",
            set(),
        ),
        (["Ohr links", "LinkesOhr", "ohr_li", "linkes_ohr"], {"ear"}, "left", set()),
        (["oreille gauche", "l'oreille gauche", "oreilleGauche"], {"ear"}, "left", set()),
        (["oreja izquierda", "OrejaIzq"], {"ear"}, "left", set()),
        (["orelha esquerda", "orelha_esq"], {"ear"}, "left", set()),
        (["orecchio sinistro", "orecchio_sx"], {"ear"}, "left", set()),
        (
            ["righteartip", "R_EarTip", "Ohrspitze rechts", "bout de l'oreille droite"],
            {"ear"},
            "right",
            {"tip"},
        ),
        (
            ["punta de la oreja derecha", "ponta da orelha direita", "punta orecchio dx"],
            {"ear"},
            "right",
            {"tip"},
        ),
        (["tailbase", "Tail_base", "tailset", "Schwanzwurzel", "Schwanz-Ansatz"], {"tail"}, "", {"base"}),
        (["base de la queue", "BaseDeLaCola", "base da cauda", "radice_della_coda"], {"tail"}, "", {"base"}),
        (
            ["bodycentre", "Koerpermitte", "KÖRPERMITTE", "centro del cuerpo", "mouse_center"],
            {"body"},
            "",
            {"middle"},
        ),
        (["Center", "middle", "milieu"], {"body"}, "", {"middle"}),
        (["hüfteRechts", "hipr", "R_hip", "cadera derecha"], {"hip"}, "right", set()),
        (["œil gauche", "oeil_gauche", "left eye"], {"eye"}, "left", set()),
    ],
)
def test_words_of_six_languages(names, parts, side, places):
    for name in names:
        found = meaning(name, "ohr_re")
        assert (found.parts, found.side, found.places) == (parts, side, places), name


@pytest.mark.parametrize(
    ("name", "part", "side", "limb"),
    [
        ("L_F_Paw", "paw", "left", "front"),
        ("paw4RH_top", "paw", "right", "hind"),
        ("back_left_paw", "paw", "left", "hind"),
        ("patte arrière droite", "paw", "right", "hind"),
        ("zampa anteriore sinistra", "paw", "left", "front"),
        ("Offhindhock", "hock", "", "hind"),  # no side without its "Nearhindhock"
        ("left_elbow", "elbow", "left", "front"),
        ("back_base", "back", "", ""),
    ],
)
def test_limbs(name, part, side, limb):
    found = meaning(name)
    assert (found.parts, found.side, found.limb) == ({part}, side, limb)


def test_near_and_off_are_sides_together_only():
    near, off = understand(["Nearknee", "Offknee"])
    assert (near.side, off.side) == ("left", "right")
    near, far = understand(["near_hind_paw", "far_hind_paw"])
    assert (near.side, far.side) == ("", "")


def test_french_letters_are_sides_together_only():
    assert [m.side for m in understand(["oreille_g", "oreille_d"])] == ["left", "right"]
    assert meaning("oreille_g").side == ""


def test_rear_is_an_ear_beside_lear():
    assert meaning("rear", "lear").parts == {"ear"}
    assert (meaning("rearpaw").parts, meaning("rearpaw").limb) == ({"paw"}, "hind")


@pytest.mark.parametrize("name", ["bcl", "k17", "obsHigh_bot", "", "ß", "点", "x y z"])
def test_what_is_not_understood_says_nothing(name):
    assert meaning(name).parts == frozenset()
    relation, _ = relations([meaning(name)], understand(MOUSE.keypoints))
    assert (relation == Relation.UNKNOWN).all()


@pytest.mark.parametrize("name", list_vocabularies())
def test_mirrored_pairs_of_the_vocabularies_are_their_flip_pairs(name):
    vocabulary = load_vocabulary(name)
    flip = np.arange(len(vocabulary))
    for left, right in mirrored_pairs(understand(vocabulary.keypoints)):
        flip[left], flip[right] = right, left
        assert "left" in vocabulary.keypoints[left]
    np.testing.assert_array_equal(flip, vocabulary.flip_index)


def test_relations():
    assert compare("snout", "nose") == (Relation.SAME, Sides.NEITHER)
    assert compare("Ohr links", "left_ear") == (Relation.SAME, Sides.AGREE)
    assert compare("Ohr links", "right_ear") == (Relation.SAME, Sides.CONFLICT)
    assert compare("ear", "left_ear") == (Relation.SAME, Sides.OPEN)
    assert compare("earbase_l", "left_ear")[0] == Relation.OPEN
    assert compare("earbase_l", "left_ear_tip")[0] == Relation.CONFLICT
    assert compare("tail", "tail_base")[0] == Relation.OPEN
    assert compare("head", "nose")[0] == Relation.REGION
    assert compare("nose", "tail_end")[0] == Relation.OTHER
    assert compare("left front paw", "left_hip")[0] == Relation.OTHER


def test_a_number_means_nothing_elsewhere():
    """Daniel3Mouse's spine1 is mid_back, MackenzieMausHaus' is neck: the name alone settles neither."""
    for dataset in ("Daniel3Mouse", "MackenzieMausHaus"):
        names = tuple(load_map(dataset).targets)
        relation, _ = relations(understand(names), understand(MOUSE.keypoints))
        for s in (s for s, name in enumerate(names) if name.startswith("spine")):
            assert Relation.SAME not in relation[s]
            assert len({relation[t].tobytes() for t, n in enumerate(names) if n.startswith("spine")}) == 1


def test_a_whole_series_means_the_vocabulary_s():
    tails = [f"tail{i}" for i in range(1, 6)]
    assert compare("tail1", "tail1", *tails[1:])[0] == Relation.SAME
    assert compare("tail1", "tail3", *tails[1:])[0] == Relation.CONFLICT
    assert compare("tail1", "tail1", "tail2")[0] == Relation.OPEN  # Daniel3Mouse has two


def test_the_words_are_anatomy_and_no_alias():
    """A name that only one dataset uses must not be in the word list."""
    text = (resources.files("adaptation") / "data" / "anatomy_words.toml").read_text(encoding="utf-8")
    data = tomllib.loads(text)
    words = {
        w
        for part in data["part"].values()
        for language in part.values()
        if isinstance(language, list)
        for w in language
    }
    assert not {word for word in words if re.search(r"\d", word)}
    assert not words & {"bcl", "bcr", "tb", "earl", "hipl", "spine1", "obs", "t1"}
    assert {"en", "de", "fr", "es", "pt", "it"} <= set(data["part"]["tail"])
    for name, part in data["part"].items():
        assert part["regions"], name


@given(st.lists(st.text(max_size=12), max_size=8))
def test_any_names_are_read(names):
    meanings = understand(names)
    assert [m.name for m in meanings] == names
    relation, sides = relations(meanings, understand(MOUSE.keypoints))
    assert relation.shape == sides.shape == (len(names), len(MOUSE))
    for left, right in mirrored_pairs(meanings):
        assert (meanings[left].side, meanings[right].side) == ("left", "right")


def test_every_relation_has_words():
    assert len({relation.words for relation in Relation}) == len(Relation)
