"""Model cards: every figure from a run record of the same weights, everything else from typed facts."""

from __future__ import annotations

import copy
import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from huggingface_hub import ModelCard
from loopback_hub_upload import metadata_problems

from hub_cards import ModelFacts, TrainingSet, export_model, model_card
from hub_cards.facts import read_model_facts
from hub_cards.model_cards import Place
from hub_cards.packaged import beside, embedded_models, packaged_card, packaged_facts, packaged_record
from hub_cards.run_record import read_record, with_evaluations
from hub_cards.skeletons import layout, skeleton_picture
from superset_vocab import InputError, Vocabulary, list_vocabularies, load_vocabulary
from zoo.catalogue import ModelSpec, find_model

MODELS = embedded_models()
MOUSE = find_model("superanimal_topviewmouse", "compact")
FACTS = ModelFacts("Ann <ann@lab.org>", ("Mice.",))


def record_of(spec: ModelSpec) -> dict[str, Any]:
    return json.loads(beside(spec, ".json").read_text())


def stage(**datasets: int) -> dict[str, Any]:
    return {"datasets": datasets, "iterations": 10, "samples": 80, "seconds": 120.0, "device": "cpu"}


@pytest.mark.parametrize("spec", MODELS, ids=lambda spec: spec.full_name)
def test_the_packages_cards_are_what_the_records_give(spec: ModelSpec) -> None:
    assert beside(spec, ".md").read_text() == packaged_card(spec), "run `python -m hub_cards.packaged`"


@pytest.mark.parametrize("spec", MODELS, ids=lambda spec: spec.full_name)
def test_metadata_are_valid_and_their_figures_the_records(spec: ModelSpec) -> None:
    card = ModelCard(packaged_card(spec))
    assert str(card) == packaged_card(spec)
    assert metadata_problems(card.data.to_dict(), "model") == []
    assert (card.data.pipeline_tag, card.data.license) == ("keypoint-detection", "other")
    assert card.data.license_name == "non-commercial-research-use"
    assert {"superanimal-zoo", spec.vocabulary} <= set(card.data.tags)
    evaluations = record_of(spec)["evaluations"]
    wanted = []
    for entry in evaluations:
        n = {"n_images": entry["n_images"], "n_instances": entry["n_instances"]}
        figures = (entry["errors"]["mean_distance"], entry["errors"]["median"], entry["precision"]["ap"])
        wanted += [(entry["split"], n, figure) for figure in figures]
    found = [(r.dataset_split, r.dataset_args, r.metric_value) for r in card.data.eval_results]
    assert len(found) == len(wanted) == 3 * len(evaluations) > 9
    for (split, n, value), (split_wanted, n_wanted, figure) in zip(found, wanted, strict=True):
        assert (split, n) == (split_wanted, n_wanted)
        assert value == pytest.approx(figure, abs=0.006)


@pytest.mark.parametrize("spec", MODELS, ids=lambda spec: spec.full_name)
def test_the_text_has_the_records_figures_with_n(spec: ModelSpec) -> None:
    text = packaged_card(spec)
    for entry in record_of(spec)["evaluations"]:
        errors = entry["errors"]
        boxes = "found by the model" if entry["bboxes"] == "model" else "made from the labels"
        row = f"| {entry['split']} | {entry['n_images']} | {entry['n_instances']} | {boxes} | "
        row += f"{errors['mean_distance']:.2f} | {errors['median']:.2f} | "
        row += f"{errors['n_missing']} of {errors['n']} |"
        assert row in text
    facts = packaged_facts(spec)
    for sentence in (*facts.limits, *facts.intended_use):
        assert f"- {sentence}\n" in text
        assert not re.search(r"\d\s*(px|%|of \d)", sentence), "a figure of the author's own"
    for name in ("alphatracker_train9",) if "mouse" in spec.name else ("animalpose", "tiger_pose"):
        assert re.search(rf"^\| {name} \| \d+ \| .*licence|AGPL.* \| \w+", text, re.MULTILINE)


def test_a_card_of_other_weights_is_refused() -> None:
    record = packaged_record(MOUSE)
    weights = replace(MOUSE.pose.weights, sha256="ab" * 32)
    other = replace(MOUSE, pose=replace(MOUSE.pose, weights=weights))
    with pytest.raises(
        InputError, match="run record is of weights 79536105d510, the model's are abababababab"
    ):
        model_card(other, record, FACTS)
    with pytest.raises(
        InputError, match=r"6 problems:(?s:.*)evaluation 1 \(openfield-Pranav, zero-shot\) was meas"
    ):
        read_record(record_of(MOUSE), "run.json", "ab" * 32)


@pytest.mark.parametrize(
    ("entry", "value", "words"),
    [
        (("split",), " ", "does not say on what part"),
        (("datasets",), {}, "does not say on what part"),
        (("n_instances",), 0, "was measured on nothing"),
        (("n_images",), True, "has a bool as 'n_images'"),
        (("n_extra",), None, "has a NoneType as 'n_extra'"),
        (("errors", "n"), None, "lacks n, n_missing"),
        (("per_keypoint", "nose"), 3.0, "lacks n, n_missing, mean_distance or median of 'nose'"),
        (("provenance",), {}, "was measured with weights that it does not name"),
        (("errors", "mean_distance"), "5.3", "else than numbers as mean_distance or median of 'errors'"),
        (("per_keypoint", "nose", "n"), "116", "else than counts as n or n_missing of 'nose'"),
        (("precision", "ap"), "high", "else than a number as ap"),
        (("normalised",), 3, "else than a number as the mean of 'normalised'"),
    ],
)
def test_figures_without_what_they_were_measured_on_are_refused(
    entry: tuple[str, ...], value: Any, words: str
) -> None:
    content = record_of(MOUSE)
    place = content["evaluations"][0]
    for key in entry[:-1]:
        place = place[key]
    if value is None and entry[0] == "errors":
        del place[entry[-1]]
    else:
        place[entry[-1]] = value
    with pytest.raises(InputError, match=f"(?s)run.json: the card has its figures from here.*{words}"):
        read_record(content, "run.json", MOUSE.pose.weights.sha256)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ([], "is no run record"),
        ({"runs": {"a": 3}}, "run 'a' is a int, want an object"),
        ({"runs": {"a": {**stage(), "iterations": "many"}}}, "run 'a' has a str as 'iterations'"),
        ({"runs": {}, "evaluations": 3}, "evaluations is a int, want a list"),
        ({"runs": {}, "evaluations": [3]}, "evaluation 1 is a int, want an object"),
        (with_evaluations({"runs": {}, "evaluations": 3}, [{}]), "evaluations is a int, want a list"),
        (with_evaluations({"runs": {}, "evaluations": [3]}, [{}]), "evaluation 1 is a int, want an object"),
        (stage(field="many"), "else than numbers of samples in 'datasets'"),
        ({**stage(), "versions": ["torch"]}, "the run has a list as 'versions'"),
    ],
)
def test_broken_records_are_refused(content: Any, words: str) -> None:
    with pytest.raises(InputError, match=words):
        read_record(content, "run.json", "")


def test_a_model_without_an_evaluation_says_so() -> None:
    content = {"command": "zoo train", **stage(alphatracker_train9=4)}
    record = read_record(content, "run.json", MOUSE.pose.weights.sha256)
    text = model_card(MOUSE, record, FACTS, Place("hf://ann/mouse@v1"))
    assert "None: these weights have not been evaluated" in text
    assert ModelCard(text).data.eval_results is None
    assert 'zoo.load("hf://ann/mouse@v1")' in text
    assert "| training | alphatracker_train9 4 | 10 | 80 | 2 | cpu | - | - |" in text


def test_the_licence_of_every_training_set_is_known() -> None:
    record = read_record(stage(field=4, ours=2), "run.json", MOUSE.pose.weights.sha256)
    with pytest.raises(InputError, match=r"2 problems:(?s:.*)'field' are not known; state them in card.toml"):
        model_card(MOUSE, record, FACTS)
    sets = {"field": TrainingSet("CC BY 4.0", "A | B"), "ours": TrainingSet("unknown")}
    text = model_card(MOUSE, record, replace(FACTS, training_sets=sets))
    assert "| field | 4 | CC BY 4.0 | A \\| B |" in text
    assert "| ours | 2 | unknown | - |" in text
    with pytest.raises(InputError, match=r"card.toml has \[training_sets.more\], which no run used"):
        model_card(MOUSE, record, replace(FACTS, training_sets={**sets, "more": TrainingSet("MIT")}))


def test_a_newer_evaluation_of_the_same_split_replaces_the_older() -> None:
    content = record_of(MOUSE)
    newer = copy.deepcopy(content["evaluations"][0])
    newer["errors"]["mean_distance"] = 1.0
    newer["provenance"]["input"] = {"files": ["/home/ann/secret.png"]}
    other = {**copy.deepcopy(newer), "split": "another"}
    changed = with_evaluations(content, [newer, other])
    assert len(changed["evaluations"]) == len(content["evaluations"]) + 1
    assert [e["errors"]["mean_distance"] for e in changed["evaluations"]].count(1.0) == 2
    assert "secret" not in json.dumps(changed)
    assert len(content["evaluations"]) == 6


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("contact = ", "not a TOML file"),
        ('intended_use = ["a"]', "lacks the entry 'contact'"),
        ('contact = "a"\nintended_use = []', "intended_use is empty"),
        ('contact = ""\nintended_use = ["a"]', "contact is empty"),
        ('contact = 3\nintended_use = "a"', "(?s)'contact' is a int, not a str.*'intended_use' is no list"),
        ('contact = "a"\nintended_use = ["a"]\nlimit = []', "unknown entry 'limit'; there are: contact, "),
        (
            'contact = "a"\nintended_use = ["a"]\n[training_sets]\nx = "MIT"',
            "training_sets.x is a str, want a",
        ),
        (
            'contact = "a"\nintended_use = ["a"]\n[training_sets.x]\nlicense = "MIT"',
            "(?s)2 problems.*unknown entry 'training_sets.x.license'.*lacks the entry 'training_sets.x.licen",
        ),
    ],
)
def test_wrong_card_files_are_refused(tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / "card.toml").write_text(text)
    with pytest.raises(InputError, match=words):
        read_model_facts(tmp_path / "card.toml")


@pytest.mark.parametrize("name", list_vocabularies())
def test_every_vocabulary_is_drawn(name: str) -> None:
    """Each keypoint in its colour, at its place, and no two on top of each other."""
    vocabulary = load_vocabulary(name)
    points = layout(vocabulary)
    assert points.shape == (len(vocabulary), 2)
    paired = vocabulary.flip_index != np.arange(len(vocabulary))
    mirrored = points[vocabulary.flip_index] * np.array([-1, 1])
    np.testing.assert_array_equal(points[paired], mirrored[paired])
    lefts = [k for n, k in vocabulary.index.items() if "left" in n and paired[k]]
    assert (points[lefts, 0] < 0).all()
    apart = np.linalg.norm(points[:, None] - points, axis=-1) + 9 * np.eye(len(points))
    assert apart.min() > 0.42  # discs of 13 pixels, 62 pixels to the unit
    picture = skeleton_picture(vocabulary, (vocabulary.keypoints[0],))
    for k, colour in enumerate(vocabulary.colours):
        n_pixels = (picture == colour).all(-1).sum()
        assert n_pixels > (100 if k else 20)  # the first is a ring
    first = (picture == vocabulary.colours[0]).all(-1).sum()
    assert first < (skeleton_picture(vocabulary) == vocabulary.colours[0]).all(-1).sum()


def test_a_vocabulary_without_a_layout_is_refused() -> None:
    known = load_vocabulary("superanimal_bird")
    with pytest.raises(InputError, match="vocabulary own has no layout to draw it by; add "):
        layout(replace(known, name="own"))
    fewer = Vocabulary(
        "superanimal_bird", ("bill", "back", "own"), (), np.arange(3), np.ones(3), known.colours[:3], ""
    )
    with pytest.raises(InputError, match=r"30 problems(?s:.*)'own' has no place"):
        layout(fewer)


def test_export_of_what_is_not_in_the_package(tmp_path: Path) -> None:
    with pytest.raises(
        InputError, match="its weights are not in the package; those of superanimal_quadruped"
    ):
        export_model("superanimal_topviewmouse", "hrnet_w32", tmp_path / "m")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "x").touch()
    with pytest.raises(InputError, match="is not empty"):
        export_model("superanimal_quadruped", "compact", tmp_path / "full")
    assert not (tmp_path / "m").exists()


def test_export_draws_on_the_example(tmp_path: Path) -> None:
    golden = Path(__file__).parent / "golden" / "wild_11.png"
    export_model("superanimal_topviewmouse", "compact", tmp_path / "m", golden)
    drawn, plain = cv2.imread(str(tmp_path / "m" / "preview.png")), cv2.imread(str(golden))
    assert drawn.shape == plain.shape
    assert 50 < (drawn != plain).any(-1).sum() < plain.shape[0] * plain.shape[1] / 2
    blank = tmp_path / "blank.png"
    cv2.imwrite(str(blank), np.full((120, 160, 3), 128, np.uint8))
    with pytest.raises(InputError, match=r"blank\.png: the model finds no animal in it that could be drawn"):
        export_model("superanimal_topviewmouse", "compact", tmp_path / "n", blank)
    assert not (tmp_path / "n").exists()
