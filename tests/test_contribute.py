"""`zoo match` and `zoo contribute`: the whole way, with and without somebody to ask."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
from fakes import SIDE, K, fake_model, square_frame

import hub_cards.dataset_cards
import zoo
from adaptation.keypoint_matching import MIN_CONFIDENCE
from app.cli import build_parser, main
from app.contribute_command import run as run_contribute
from app.contribution import Prompts
from converters import load_superset
from superset_vocab import InputError, load_map

NAMES = {"museau": 0, "base de la queue": 13, "coin <i>": None}


@pytest.fixture(autouse=True)
def _model(monkeypatch: pytest.MonkeyPatch) -> None:
    """The model that finds bright squares."""
    monkeypatch.setattr(zoo, "load", lambda *_, **__: fake_model())


def make_source(
    folder: Path,
    names: dict[str, int | None] | None = None,
    *,
    mirrored: bool = False,
    n: int = 10,
    licence: str = "",
) -> Path:
    """A foreign COCO file with images: a bright square each, keypoints where the fake model sees channels.

    With `mirrored`, the names of sides are exchanged against the model's.
    """
    names = NAMES if names is None else names
    folder.mkdir(parents=True)
    rng = np.random.default_rng(5)
    flip = fake_model().vocabulary.flip_index
    images, annotations = [], []
    for i in range(n):
        x, y = rng.integers(0, (128 - SIDE, 96 - SIDE)).tolist()
        noise = rng.integers(0, 9, (96, 128, 3))
        cv2.imwrite(str(folder / f"{i}.png"), (square_frame((x, y)) + noise).astype(np.uint8))
        triples: list[float] = []
        for k in names.values():
            k = None if k is None else int(flip[k]) if mirrored else k
            triples += [1, 2, 2] if k is None else [x + SIDE * k / K, y + SIDE * k / K, 2]
        images.append({"id": i, "file_name": f"{i}.png", "width": 128, "height": 96})
        box = {"bbox": [x, y, SIDE, SIDE], "area": SIDE**2, "iscrowd": 0}
        annotations.append(
            {
                "id": i + 1,
                "image_id": i,
                "category_id": 1,
                "keypoints": triples,
                "num_keypoints": len(names),
                **box,
            }
        )
    category = {"id": 1, "name": "mouse", "keypoints": list(names), "skeleton": []}
    document = {"images": images, "annotations": annotations, "categories": [category]}
    if licence:
        (folder / "LICENSE").write_text(licence)
    (folder / "labels.json").write_text(json.dumps(document))
    return folder / "labels.json"


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """Run `zoo ARGUMENT...`; gives (exit code, stdout, stderr)."""

    def call(*arguments: object) -> tuple[int, str, str]:
        code = main([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return call


def options(source: Path, out: Path, *more: object) -> list[object]:
    vocabulary = ["--vocabulary", "superanimal_topviewmouse"]
    return ["contribute", source, *vocabulary, "--out", out, "--quiet", *more]


CONTACT = ("--contact", "Ann Example <ann@lab.org>")


def answers(*said: str) -> tuple[Prompts, list[str]]:
    """Somebody who gives these answers, and what was said to them."""
    heard: list[str] = []
    replies: Iterator[str] = iter(said)

    def read(question: str) -> str:
        heard.append(question)
        return next(replies)

    return Prompts(True, read, heard.append), heard


def interactively(prompts: Prompts, *arguments: object) -> int:
    return run_contribute(build_parser().parse_args([str(a) for a in arguments]), prompts)


# -- without anybody to ask --------------------------------------------------------------------------------


def test_the_whole_way(run, tmp_path):
    source = make_source(tmp_path / "lab", licence="MIT License\n\nCopyright ...")
    out = tmp_path / "out"
    code, printed, errors = run(*options(source, out, "--yes", *CONTACT))
    assert (code, errors) == (0, "")
    assert "licence: MIT (from LICENSE)" in printed
    assert "contact: Ann Example <ann@lab.org> (from --contact)" in printed
    assert "museau -> nose" in printed
    assert "coin <i> -> (none)" in printed
    labels = load_superset(out / "dataset")
    assert (len(labels), labels.vocabulary) == (10, "superanimal_topviewmouse")
    assert labels.sources[0].licence == "MIT"
    assert labels.sources[0].keypoint_map == {
        "museau": "nose",
        "base de la queue": "tail_base",
        "coin <i>": None,
    }
    record = labels.records[3]
    assert np.flatnonzero(np.isfinite(record.keypoints[0, :, 0])).tolist() == [0, 13]
    done = [operation["name"] for operation in labels.operations]
    assert done[-4:] == ["read", "match_keypoints", "choose_keypoint_map", "project"]
    card = (out / "dataset" / "README.md").read_text()
    assert "license: mit" in card
    assert "Ann Example" in card
    for picture in re.findall(r"!\[[^]]*\]\(([^)]+)\)", card):
        assert (out / "dataset" / picture).is_file()
    assert len(list((out / "dataset" / "examples").iterdir())) == 3
    assert {"keypoint_map.toml", "matching.json", "affinity.png", "validation.html"} <= {
        p.name for p in out.iterdir()
    }


def test_the_page_is_whole_and_escaped(run, tmp_path):
    out = tmp_path / "out"
    run(*options(make_source(tmp_path / "lab"), out, "--yes", *CONTACT))
    page = (out / "index.html").read_text()
    assert "coin &lt;i&gt;" in page
    assert "coin <i>" not in page
    assert not re.findall(r'(?:src|href)="(?!data:image/)(?![\w.]+(?:html|json|toml)")', page)
    assert "<script" not in page
    assert page.count("data:image/jpeg;base64,") == 6
    assert page.count("data:image/png;base64,") == 1
    assert "the licence is unknown" in page
    assert "0 errors" in page
    assert "Keypoint coverage" in page


def test_without_a_yes_the_proposal_stays_and_nothing_is_converted(run, tmp_path):
    out = tmp_path / "out"
    code, _, errors = run(*options(make_source(tmp_path / "lab"), out, *CONTACT))
    assert code == 2
    assert "nobody to ask (no terminal) and no --yes" in errors
    assert f"--map {out / 'keypoint_map.toml'}" in errors
    assert (out / "index.html").is_file()
    assert not (out / "dataset").exists()


def test_an_edited_map_is_followed_and_kept(run, tmp_path):
    source, out = make_source(tmp_path / "lab"), tmp_path / "out"
    run(*options(source, out, *CONTACT))
    path = out / "keypoint_map.toml"
    edited = path.read_text().replace('"base de la queue" = "tail_base"', '"base de la queue" = "tail1"')
    path.write_text(edited)
    code, printed, _ = run(*options(source, out, *CONTACT, "--map", path))
    assert code == 0  # a map of one's own is a decision: no --yes needed
    assert path.read_text() == edited
    assert "warning: the map says base de la queue is tail1, the evidence says tail_base" in printed
    assert load_superset(out / "dataset").sources[0].keypoint_map["base de la queue"] == "tail1"
    assert "changed by hand" in (out / "index.html").read_text()


def test_a_map_of_the_wrong_keypoints_is_refused(run, tmp_path):
    code, _, errors = run(
        *options(make_source(tmp_path / "lab"), tmp_path / "out", *CONTACT, "--map", "dlc-openfield")
    )
    assert code == 2
    assert "source keypoint 'museau' is neither mapped nor dropped" in errors
    assert not (tmp_path / "out").exists()


def test_a_map_into_another_vocabulary_is_refused(run, tmp_path):
    code, _, errors = run(
        *options(make_source(tmp_path / "lab"), tmp_path / "out", *CONTACT, "--map", "ap10k")
    )
    assert (code, "is into superanimal_quadruped, not superanimal_topviewmouse" in errors) == (2, True)


def test_a_dataset_that_exists_is_not_touched(run, tmp_path):
    source, out = make_source(tmp_path / "lab"), tmp_path / "out"
    assert run(*options(source, out, "--yes", *CONTACT))[0] == 0
    code, _, errors = run(*options(source, out, "--yes", *CONTACT))
    assert (code, "remove it, or choose another --out" in errors) == (2, True)


def test_nothing_of_somebody_else_s_is_overwritten(run, tmp_path):
    source, out = make_source(tmp_path / "lab"), tmp_path / "out"
    out.mkdir()
    (out / "index.html").write_text("my page")
    code, _, errors = run(*options(source, out, "--yes", *CONTACT))
    assert (code, "has files that are no contribution's" in errors) == (2, True)
    assert (out / "index.html").read_text() == "my page"


def test_an_edited_map_is_not_overwritten(run, tmp_path):
    source, out = make_source(tmp_path / "lab"), tmp_path / "out"
    run(*options(source, out, *CONTACT))
    path = out / "keypoint_map.toml"
    proposed = path.read_text()
    path.write_text(proposed + "# mine\n")
    code, _, errors = run(*options(source, out, "--yes", *CONTACT))
    assert (code, "was edited; follow it with --map" in errors) == (2, True)
    path.write_text(proposed)
    assert run(*options(source, out, "--yes", *CONTACT))[0] == 0


def test_a_card_that_fails_leaves_no_dataset(run, tmp_path, monkeypatch):
    def fail(*_: object, **__: object) -> None:
        raise InputError("no card")

    monkeypatch.setattr(hub_cards.dataset_cards, "render", fail)
    code, _, errors = run(*options(make_source(tmp_path / "lab"), tmp_path / "out", "--yes", *CONTACT))
    assert (code, "no card" in errors) == (2, True)
    assert not (tmp_path / "out" / "dataset").exists()


def test_no_contact(run, tmp_path):
    code, _, errors = run(*options(make_source(tmp_path / "lab"), tmp_path / "out", "--yes"))
    assert (code, "contact is not known" in errors) == (2, True)
    assert not (tmp_path / "out").exists()


def test_contact_and_citation_are_found(run, tmp_path):
    source = make_source(tmp_path / "lab")
    (tmp_path / "lab" / "CITATION.cff").write_text(
        "title: Mice\nauthors:\n  - given-names: Ann\n    family-names: Example\n    email: ann@lab.org\n"
        "doi: 10.1/2\n"
    )
    code, printed, _ = run(*options(source, tmp_path / "out", "--yes"))
    assert code == 0
    assert "contact: Ann Example <ann@lab.org> (from CITATION.cff)" in printed
    assert load_superset(tmp_path / "out" / "dataset").sources[0].citation == "Ann Example. Mice. 10.1/2"


@pytest.mark.parametrize("text", ["a: [", "just text"])
def test_a_broken_citation_file(run, tmp_path, text):
    source = make_source(tmp_path / "lab")
    (tmp_path / "lab" / "CITATION.cff").write_text(text)
    code, _, errors = run(*options(source, tmp_path / "out", "--yes"))
    assert (code, "CITATION.cff" in errors) == (2, True)


@pytest.mark.parametrize(
    ("text", "licence"),
    [
        ("Apache License\n   Version 2.0, January 2004", "Apache-2.0"),
        ("Creative Commons Attribution-NonCommercial 4.0 International", "CC BY-NC 4.0"),
        ("Creative Commons Attribution 4.0 International", "CC BY 4.0"),
        ("All ours.", "see LICENSE"),
    ],
)
def test_licences_are_read(run, tmp_path, text, licence):
    _, printed, _ = run(*options(make_source(tmp_path / "lab", licence=text), tmp_path / "out", *CONTACT))
    assert f"licence: {licence} (from LICENSE)" in printed


def test_an_old_licence_is_no_obstacle(run, tmp_path):
    """Latin-1, as licences with a copyright sign often are."""
    source = make_source(tmp_path / "lab")
    (tmp_path / "lab" / "LICENSE").write_bytes(
        "MIT License\n\nCopyright \xa9 2011 M\xfcller".encode("latin-1")
    )
    _, printed, errors = run(*options(source, tmp_path / "out", *CONTACT))
    assert "licence: MIT (from LICENSE)" in printed
    assert "UTF-8" not in errors


def test_mirrored_labels_are_not_converted_unseen(run, tmp_path):
    sided = {"left ear": 1, "right ear": 2, "left shoulder": 19, "right shoulder": 22}
    names = {"nose": 0, **sided, "left hip": 21, "right hip": 24, "tail base": 13}
    source, out = make_source(tmp_path / "lab", names, mirrored=True, n=20), tmp_path / "out"
    code, _, errors = run(*options(source, out, "--yes", *CONTACT))
    assert code == 2
    assert "left and right are exchanged against the model in 20 of 20 animals" in errors
    assert not (out / "dataset").exists()
    proposal = load_map(str(out / "keypoint_map.toml")).targets
    assert proposal["left hip"] is None
    assert proposal["nose"] == "nose"
    code, printed, _ = run(*options(source, out, *CONTACT, "--map", out / "keypoint_map.toml"))
    assert code == 0  # who gives the map has decided: the midline only
    assert "warning: left and right are exchanged" in printed
    assert "left and right are exchanged" in (out / "dataset" / "README.md").read_text()


def test_nothing_to_map(run, tmp_path):
    source = make_source(tmp_path / "lab", {"coin a": None, "coin b": None})
    code, _, errors = run(*options(source, tmp_path / "out", "--yes", *CONTACT))
    assert (code, "has a counterpart that is sure enough" in errors) == (2, True)


def test_bad_images_refuse_or_are_left_out(run, tmp_path):
    source, out = make_source(tmp_path / "lab"), tmp_path / "out"
    (tmp_path / "lab" / "4.png").write_text("no image")
    code, _, errors = run(*options(source, out, "--yes", *CONTACT))
    assert code == 2
    assert "4.png" in errors
    assert not (out / "dataset").exists()
    assert "refused by the validation" in (out / "index.html").read_text()
    code, _, _ = run(*options(source, out, "--yes", *CONTACT, "--on-problem", "drop"))
    assert code == 0
    assert len(load_superset(out / "dataset")) == 9


def test_names_only_needs_no_model(run, tmp_path, monkeypatch):
    monkeypatch.setattr(zoo, "load", lambda *_, **__: pytest.fail("no model is wanted"))
    source, out = make_source(tmp_path / "lab"), tmp_path / "out"
    for unwanted in (["--model", "m"], ["--variant", "compact", "--strict"]):
        code, _, errors = run(*options(source, out, "--yes", "--names-only", *unwanted))
        assert code == 2
        assert f"{unwanted[0]}" in errors
        assert "has no effect with --names-only" in errors
    code, printed, _ = run(*options(source, out, "--yes", "--names-only", *CONTACT))
    assert code == 0
    assert "warning: no image evidence" in printed
    assert not (out / "affinity.png").exists()
    assert load_superset(out / "dataset").sources[0].keypoint_map["museau"] == "nose"


# -- with somebody to ask ----------------------------------------------------------------------------------


def test_only_what_cannot_be_found_out_is_asked(tmp_path):
    source = make_source(tmp_path / "lab", licence="MIT License")
    prompts, heard = answers("Ann <a@b.org>", "y")
    assert interactively(prompts, *options(source, tmp_path / "out")) == 0
    questions = [line for line in heard if line.endswith(": ")]
    assert [q.split()[0] for q in questions] == ["who", "convert"]
    assert "Ann" in (tmp_path / "out" / "dataset" / "README.md").read_text()


def test_a_no_stops_and_keeps_the_proposal(tmp_path, capsys):
    prompts, _ = answers("CC BY 4.0", "what?", "no")
    assert interactively(prompts, *options(make_source(tmp_path / "lab"), tmp_path / "out", *CONTACT)) == 0
    assert not (tmp_path / "out" / "dataset").exists()
    assert "not converted; the proposal is in" in capsys.readouterr().out
    assert 'licence = "CC BY 4.0"' in (tmp_path / "out" / "keypoint_map.toml").read_text()


def test_edit_and_look_again(tmp_path):
    source, out = make_source(tmp_path / "lab"), tmp_path / "out"
    path = out / "keypoint_map.toml"
    said = iter(["", "e", "break", "edit", "mend", "y"])

    def read(question: str) -> str:
        word = next(said)
        if word == "break":
            path.write_text(path.read_text().replace("tail_base", "tail_bone"))
        elif word == "mend":
            path.write_text(path.read_text().replace("tail_bone", "tail2"))
        return word

    heard: list[str] = []
    assert interactively(Prompts(True, read, heard.append), *options(source, out, *CONTACT)) == 0
    assert any("maps to 'tail_bone', which is not in superanimal_topviewmouse" in line for line in heard)
    assert load_superset(out / "dataset").sources[0].keypoint_map["base de la queue"] == "tail2"
    decided = next(o for o in load_superset(out / "dataset").operations if o["name"] == "choose_keypoint_map")
    assert decided["by"] == "a person"


def test_nobody_is_asked_off_a_terminal(monkeypatch):
    monkeypatch.setattr("sys.stdin.isatty", lambda: False, raising=False)
    assert not Prompts.of_terminal(yes=False).interactive
    assert Prompts(False).text("what", "default") == "default"


# -- zoo match ---------------------------------------------------------------------------------------------


def test_match(run, tmp_path):
    source, out = make_source(tmp_path / "lab"), tmp_path / "out"
    code, printed, errors = run("match", source, "--out", out, "--quiet")
    assert (code, errors) == (0, "")
    assert "museau -> nose" in printed
    assert "coin <i> -> none: " in printed
    assert load_map(str(out / "keypoint_map.toml")).targets["museau"] == "nose"
    code, _, errors = run("match", source, "--out", out, "--quiet")
    assert (code, "exists, perhaps edited; use --overwrite" in errors) == (2, True)
    assert run("match", source, "--out", out, "--quiet", "--overwrite")[0] == 0


def test_the_defaults_are_those_of_the_library():
    for command in (["match", "x", "--out", "y"], ["contribute", "x", "--vocabulary", "v", "--out", "y"]):
        assert build_parser().parse_args(command).min_confidence == MIN_CONFIDENCE


def test_match_checks_its_options(run, tmp_path):
    source = make_source(tmp_path / "lab")
    code, _, errors = run("match", source, "--out", tmp_path / "out", "--min-confidence", "3")
    assert (code, "want a probability in [0, 1]" in errors) == (2, True)
    with pytest.raises(InputError, match="exists"):
        interactively(Prompts(False), *options(source, _with_dataset(tmp_path / "taken"), "--yes", *CONTACT))


def _with_dataset(out: Path) -> Path:
    (out / "dataset").mkdir(parents=True)
    return out
