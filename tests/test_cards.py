"""Cards: what they say comes from facts, counted labels and run records; the Hub reads their metadata."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from huggingface_hub import DatasetCard
from label_sets import small_set

from hub_cards import DatasetFacts, dataset_card
from hub_cards.licences import licence_identifier, licence_identifiers
from superset_vocab import InputError, KeypointMap, LabelSet, Source, Visibility, load_vocabulary, project

FACTS = DatasetFacts("Field", "A mouse.\n\nFilmed from above.", "Ann <ann@lab.org>", "CC BY 4.0")
MOUSE = "superanimal_topviewmouse"


def labelled(folder: Path) -> LabelSet:
    """Two sources: one of three keypoints with one dropped and one occluded, one of a single keypoint."""
    vocabulary = load_vocabulary(MOUSE)
    first = small_set(folder, "lab-a", ("snout", "tail", "lamp"), n=3)
    first.records[0].visibility[0, 1] = Visibility.OCCLUDED
    first.records[1].visibility[0, 1] = Visibility.NOT_ANNOTATED
    first.records[1].keypoints[0, 1] = float("nan")
    targets: dict[str, str | None] = {"snout": "nose", "tail": "tail_base", "lamp": None}
    a = project(first, KeypointMap("lab-a", vocabulary, targets, citation="A. et al. | 2020"))
    second = small_set(folder, "lab-b", ("n",), n=1)
    second = replace(second, sources=(Source("lab-b", ("n",)),))
    b = project(second, KeypointMap("lab-b", vocabulary, {"n": "nose"}, "MIT"))
    return replace(a, records=a.records + b.records, sources=a.sources + b.sources)


def table_row(card: str, first: str) -> list[str]:
    [found] = [line for line in card.splitlines() if line.startswith(f"| {first} |")]
    return [cell.strip() for cell in found.strip("|").split(" | ")]


def test_a_dataset_card_counts_its_labels(tmp_path: Path) -> None:
    card = dataset_card(labelled(tmp_path), FACTS)
    assert table_row(card, "nose") == ["nose", "100 %", "100 %"]
    assert table_row(card, "tail_base") == ["tail_base", "67 %", "-"]
    assert table_row(card, "neck") == ["neck", "-", "-"]
    assert table_row(card, "lab-a") == ["lab-a", "3", "3", "3", "2", "-", "licence of lab-a"]
    assert table_row(card, "keypoints")[1].startswith("2 of the 27")
    assert "lab-a: snout → nose, tail → tail_base, lamp → dropped" in card
    assert "lab-a: A. et al. \\| 2020" in card
    assert "lab-b: no citation is known" in card
    assert "Ann &lt;ann@lab.org>" in card


def test_the_hub_reads_a_dataset_cards_metadata(tmp_path: Path) -> None:
    card = dataset_card(labelled(tmp_path), replace(FACTS, examples=("previews/a b.png",)))
    read = DatasetCard(card)
    assert str(read) == card
    assert read.data.to_dict() == {
        "license": "cc-by-4.0",
        "task_categories": ["keypoint-detection"],
        "size_categories": ["n<1K"],
        "pretty_name": "Field",
        "tags": ["superanimal-zoo", "animal-pose", "pose-estimation", MOUSE],
    }
    assert "](previews/a%20b.png)" in card
    sources = DatasetCard(dataset_card(labelled(tmp_path), replace(FACTS, licence="")))
    assert sources.data.license == ["mit", "other"]


def test_markup_of_authors_stays_text(tmp_path: Path) -> None:
    card = dataset_card(
        labelled(tmp_path),
        replace(FACTS, name="a: <script>\n# b | {{ 1 }}", summary="---\nlicense: mit\n---\n\n| x |"),
    )
    assert "# a: &lt;script> # b \\| {{ 1 }}\n" in card
    assert "--- license: mit ---" in card
    assert DatasetCard(card).data.to_dict()["pretty_name"] == "a: <script> # b | {{ 1 }}"


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"contact": " "}, "contact is empty"),
        ({"name": "", "summary": ""}, "2 problems"),
        ({"examples": ("../a.png",)}, r"picture '\.\./a\.png' is not a name below"),
        ({"examples": ("a.exe",)}, r"picture 'a\.exe' does not end in \.png"),
        ({"limits": "one"}, "limits is a str, want a tuple"),
    ],
)
def test_wrong_facts_are_refused(wrong: dict[str, object], words: str) -> None:
    with pytest.raises(InputError, match=f"(?s)facts of the dataset card: .*{words}"):
        replace(FACTS, **wrong)


def test_labels_that_make_no_dataset_are_refused(tmp_path: Path) -> None:
    foreign = small_set(tmp_path, "lab", ("snout",))
    with pytest.raises(InputError, match="Field: is not in a superset vocabulary; run `zoo convert`"):
        dataset_card(foreign, FACTS)
    empty = LabelSet(load_vocabulary(MOUSE).keypoints, (), (Source("lab", ()),), MOUSE)
    with pytest.raises(InputError, match="Field: no animal is labelled"):
        dataset_card(empty, FACTS)


@pytest.mark.parametrize(
    ("words", "identifier"),
    [
        ("CC BY-NC 4.0 (Horse-10)", "cc-by-nc-4.0"),
        ("cc-by-4.0", "cc-by-4.0"),
        ("Apache-2.0 license", "apache-2.0"),
        ("CC BY 4.0, images as PASCAL VOC", "other"),
        ("MIT; images: none stated", "other"),
        ("non-commercial research use (trained on Animal-Pose)", "other"),
        ("none stated; mostly PASCAL VOC", "unknown"),
        ("no licence file; AlphaTracker code is ...", "unknown"),
        ("", "unknown"),
    ],
)
def test_licences_are_never_freer_than_their_words(words: str, identifier: str) -> None:
    assert licence_identifier(words) == identifier


def test_several_licences_are_listed_once() -> None:
    assert licence_identifiers(["MIT", "mit", "unknown", "own"]) == ["mit", "other", "unknown"]
