"""Validation: every kind of finding, the choice what to do, and the report."""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from data import need
from label_sets import small_set, write_image

from app.cli import main
from converters import convert, load_superset, read_for_validation, validate
from converters.images import look
from converters.near_duplicates import _alike
from converters.validation_report import Kind, Severity, ValidationReport
from superset_vocab import InputError, LabelRecord, LabelSet, Source, Visibility

NAMES = ("snout", "leftear", "rightear", "tailbase")


def kinds(report: ValidationReport) -> dict[str, int]:
    return {kind.value: count for kind, count in report.counts().items()}


def with_record(labels: LabelSet, i: int, **changes: object) -> LabelSet:
    records = list(labels.records)
    records[i] = replace(records[i], **changes)  # type: ignore[arg-type]
    return replace(labels, records=tuple(records))


def dlc_project(folder: Path, n: int = 4) -> Path:
    """A DeepLabCut project of n frames of one video."""
    (folder / "labeled-data" / "v1").mkdir(parents=True)
    (folder / "config.yaml").write_text("scorer: A\nbodyparts: [snout, leftear, rightear, tailbase]\n")
    rows = ["scorer" + ",A" * 8, "bodyparts" + "".join(f",{name},{name}" for name in NAMES)]
    rows += ["coords" + ",x,y" * 4]
    for i in range(n):
        name = f"labeled-data/v1/img{i}.png"
        write_image(folder / name, seed=i)
        rows.append(name + "".join(f",{k + i},{k + 0.5}" for k in range(4)))
    (folder / "labeled-data" / "v1" / "CollectedData_A.csv").write_text("\n".join(rows) + "\n")
    return folder


def test_good_labels_have_no_findings(tmp_path):
    labels = small_set(tmp_path, "lab", NAMES, n=3)
    report = validate(labels)
    assert report.findings == ()
    assert report.summary() == "0 errors, 0 suspicions"
    checks = {check.name: check.result for check in report.checks}
    assert checks["keypoints inside their image"] == "12 annotated keypoints of 3 animals"
    assert checks["left and right (lab)"].startswith("not made: no pair lies the same way")
    assert report.apply(labels, "refuse") is labels
    assert report.apply(labels, "drop") is labels


def test_images_that_are_missing_broken_or_of_another_size(tmp_path):
    labels = small_set(tmp_path, "lab", NAMES, n=4)
    labels.records[0].image.unlink()
    labels.records[1].image.write_text("no image")
    labels = with_record(labels, 2, size_wh=(64, 48))
    report = validate(labels)
    assert [(f.kind, f.severity, f.record, f.sentence) for f in report.findings] == [
        (Kind.MISSING_IMAGE, Severity.ERROR, 0, "no such image"),
        (Kind.UNREADABLE_IMAGE, Severity.ERROR, 1, "is not an image that OpenCV can decode"),
        (Kind.WRONG_SIZE, Severity.ERROR, 2, "is 32x24 pixels, the labels say 64x48"),
    ]
    assert [record.image.name for record in report.apply(labels, "drop").records] == ["3.png"]


def test_keypoints_outside_of_the_image(tmp_path):
    labels = small_set(tmp_path, "lab", NAMES)
    xy = labels.records[1].keypoints.copy()
    xy[0, 1], xy[0, 2], xy[0, 3] = (31.9, 23.9), (-1.4, 0), (32.6, 5)  # the first two are roundings
    (finding,) = validate(with_record(labels, 1, keypoints=xy, bbox_xywh=np.full((1, 4), np.nan))).findings
    assert (finding.kind, finding.instance, finding.keypoints) == (Kind.OUTSIDE_IMAGE, 0, ("tailbase",))
    assert finding.sentence == "animal 1: tailbase outside of the image, e.g. at (32.6, 5.0) in 32x24 pixels"
    assert finding.severity is Severity.ERROR


def test_boxes(tmp_path):
    labels = small_set(tmp_path, "lab", NAMES, n=4)
    boxes = [[0, 0, 20, 10], [1.5, 0, 20, 10], [20, 15, 10, 8], [0, 0, 0, 10]]
    for i, box in enumerate(boxes):
        labels = with_record(labels, i, bbox_xywh=np.array([box], dtype=float))
    xy = labels.records[1].keypoints.copy()
    xy[0, 0] = (-0.9, 5)
    labels = with_record(labels, 1, keypoints=xy)
    far, empty, some = validate(labels).findings
    assert (far.record, far.kind, far.severity) == (2, Kind.BOX_ELSEWHERE, Severity.ERROR)
    assert far.sentence.endswith("(snout, leftear, rightear, tailbase); is it another animal's box?")
    assert (empty.record, empty.sentence) == (3, "animal 1: its box is 0 x 10 pixels")
    assert (some.record, some.kind, some.severity) == (1, Kind.BOX, Severity.SUSPICION)
    assert "1 of 4 annotated keypoints lie up to 2 pixels outside of its box (snout)" in some.sentence


def mice(n: int, swapped: set[int], *, mirror: bool = False, seed: int = 0) -> LabelSet:
    """Animals seen from above in all directions, a little bent; the ears of some are exchanged."""
    rng = np.random.default_rng(seed)
    body = np.array([[0, -40], [-12, -25], [12, -25], [0, 40]], dtype=float)
    if mirror:
        body[:, 0] *= -1
    records = []
    for i in range(n):
        turn, order = rng.uniform(0, 2 * np.pi), [0, 2, 1, 3] if i in swapped else [0, 1, 2, 3]
        rotation = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
        xy = (body[order] + rng.normal(0, 2, (4, 2))) @ rotation.T + 200
        state = np.full((1, 4), Visibility.VISIBLE, dtype=np.int8)
        image = Path(f"{i}.png")
        records.append(LabelRecord(image, (400, 400), "lab", "v", xy[None], state, np.full((1, 4), np.nan)))
    return LabelSet(NAMES, tuple(records), (Source("lab", NAMES),))


def swaps(report: ValidationReport) -> list[int | None]:
    return [finding.record for finding in report.findings if finding.kind is Kind.LEFT_RIGHT]


def test_exchanged_ears_are_found_by_the_other_animals():
    assert swaps(validate(mice(100, set()))) == []
    report = validate(mice(100, {3, 50, 99}))
    assert swaps(report) == [3, 50, 99]
    finding = next(f for f in report.findings if f.kind is Kind.LEFT_RIGHT)
    assert (
        finding.sentence == "animal 1: leftear and rightear lie the other way round than in the other animals"
    )
    assert finding.severity is Severity.SUSPICION
    assert {c.name: c.result for c in report.checks}[
        "left and right (lab)"
    ] == "100 animals, leftear/rightear"


def test_side_views_and_few_animals_are_not_tested():
    for labels in (mice(60, set(range(0, 60, 2))), mice(19, {3})):
        report = validate(labels)
        assert swaps(report) == []
        assert "not made: no pair lies the same way" in report.checks[-1].result


def test_a_dataset_seen_from_below_is_told_by_its_vocabulary():
    from superset_vocab import load_map, project

    for mirror in (False, True):
        report = validate(project(mice(40, set(), mirror=mirror), load_map("dlc-openfield")))
        assert swaps(report) == ([None] if mirror else [])
    assert "filmed from below, or are the names exchanged?" in report.findings[-1].sentence


@pytest.mark.parametrize(
    ("left", "right"),
    [
        ("leftear", "rightear"),
        ("L_Eye", "R_Eye"),
        ("earl", "earr"),
        ("Nearfrontfoot", "Offfrontfoot"),
        ("Ohr links", "Ohr rechts"),
        ("oreja_izquierda", "oreja_derecha"),
        ("oreille gauche", "oreille droite"),
        ("orelha_esquerda", "orelha_direita"),
        ("orecchio_sinistro", "orecchio_destro"),
        ("front.l.paw", "front.r.paw"),
    ],
)
def test_pairs_are_recognised_by_their_names(left, right):
    from converters.left_right import pairs_of

    assert pairs_of(["tail", right, "nose", left, "lamp"], None) == [(3, 1)]
    assert pairs_of(["tail", left, "nose"], None) == []


def test_real_labels_with_a_known_exchange():
    """In openfield's img0102 the left ear is on the right of the mouse; nobody had noticed."""
    labels, looked = read_for_validation(need("openfield-Pranav-2018-10-30"))
    report = validate(labels, looked=looked)
    assert kinds(report) == {"left_right_swapped": 1}
    assert report.findings[0].source_image == "labeled-data/m4s1/img0102.png"


def test_the_same_image_in_one_group_and_in_two(tmp_path):
    labels = small_set(tmp_path, "lab", NAMES, n=4)
    for copy, original in ((1, 0), (3, 2)):
        shutil.copyfile(labels.records[original].image, labels.records[copy].image)
    labels = with_record(labels, 3, split_group="day2")
    error, suspicion = validate(labels).findings
    assert (error.kind, error.record) == (Kind.SAME_IMAGE_APART, 1)
    assert (
        error.sentence
        == "is the same image as raw/0.png, which is in group lab/day0 and not in group lab/day1"
    )
    assert (suspicion.kind, suspicion.severity, suspicion.record) == (Kind.SAME_IMAGE, Severity.SUSPICION, 3)
    assert suspicion.related == (labels.records[2].image,)


def test_the_same_image_in_two_splits(tmp_path):
    labels = small_set(tmp_path, "lab", NAMES, n=3)
    shutil.copyfile(labels.records[0].image, labels.records[2].image)
    labels = with_record(labels, 2, split_group="day0")
    parts = {
        "train": replace(labels, records=labels.records[:2]),
        "test": replace(labels, records=labels.records[2:]),
    }
    assert kinds(validate(labels)) == {"same_image_twice": 1}
    (finding,) = validate(labels, None, parts).findings
    assert finding.kind is Kind.SAME_IMAGE_APART
    assert finding.sentence.endswith("which is in split train and not in split test")


def scene(at: tuple[int, int], seed: int = 0) -> np.ndarray:
    """A mouse in a box, from a fixed camera with some noise."""
    image = np.full((240, 320, 3), 190, dtype=np.uint8)
    cv2.rectangle(image, (20, 20), (300, 220), (225, 225, 225), -1)
    cv2.ellipse(image, at, (18, 9), 30, 0, 360, (40, 40, 40), -1)
    noise = np.random.default_rng(seed).normal(0, 3, image.shape)
    return np.clip(image + noise, 0, 255).astype(np.uint8)


def scenes(folder: Path, images: list[np.ndarray], suffixes: list[str]) -> LabelSet:
    """Labels without any keypoint annotated."""
    records = []
    for i, (pixels, suffix) in enumerate(zip(images, suffixes, strict=True)):
        path = folder / f"{i}{suffix}"
        assert cv2.imwrite(str(path), pixels)
        state = np.zeros((1, 4), dtype=np.int8)
        size = (pixels.shape[1], pixels.shape[0])
        nowhere = np.full((1, 4, 2), np.nan)
        records.append(
            LabelRecord(path, size, "lab", "v", nowhere, state, np.full((1, 4), np.nan), path.name)
        )
    return LabelSet(NAMES, tuple(records), (Source("lab", NAMES),))


def test_copies_in_other_bytes_are_near_duplicates_and_moved_mice_are_not(tmp_path):
    first = scene((100, 100))
    images = [first, first, cv2.resize(first, (160, 120)), scene((100, 100), seed=1), scene((130, 110))]
    labels = scenes(tmp_path, images, [".png", ".jpg", ".png", ".png", ".png"])
    found = validate(labels).findings
    assert [(finding.record, finding.kind) for finding in found] == [
        (i, Kind.NEAR_DUPLICATE) for i in (1, 2, 3)
    ]
    assert {finding.related for finding in found} == {(labels.records[0].image,)}


def test_labels_can_show_that_an_animal_moved(tmp_path):
    labels = scenes(tmp_path, [scene((100, 100)), scene((100, 100), seed=1)], [".png", ".png"])
    xy = np.array([[[90.0, 95.0], [92.0, 99.0], [95.0, 93.0], [115.0, 110.0]]])
    state = np.full((1, 4), Visibility.VISIBLE, dtype=np.int8)
    for shift, expected in ((0.5, 1), (6.0, 0)):
        moved = with_record(labels, 0, keypoints=xy, visibility=state)
        moved = with_record(moved, 1, keypoints=xy + shift, visibility=state)
        assert len(validate(moved).findings) == expected


def test_near_duplicates_agree_with_comparing_all_pairs():
    rng = np.random.default_rng(0)
    centres = rng.integers(0, 256, (30, 256))
    amplitude = rng.choice([1, 4, 6], (120, 1))
    noise = np.rint(rng.uniform(-1, 1, (120, 256)) * amplitude).astype(int)
    blocks = np.clip(np.repeat(centres, 4, axis=0) + noise, 0, 255).astype(np.uint8)
    members = rng.permutation(120)
    far = np.abs(blocks[:, None].astype(int) - blocks[None]).max(-1)
    expected = {(i, j) for i in range(120) for j in range(i + 1, 120) if far[i, j] <= 8}
    assert 50 < len(expected) < 180
    assert set(_alike(members, blocks)) == expected


def test_a_hash_changes_little_with_brightness_and_much_with_the_picture(tmp_path):
    a, b, c = (
        look(path).hash
        for path in (
            _written(tmp_path / "a.png", scene((100, 100))),
            _written(tmp_path / "b.png", cv2.convertScaleAbs(scene((100, 100)), alpha=0.9, beta=5)),
            write_image(tmp_path / "c.png", (320, 240)),
        )
    )
    assert (a ^ b).bit_count() <= 6
    assert (a ^ c).bit_count() > 16


def _written(path: Path, pixels: np.ndarray) -> Path:
    assert cv2.imwrite(str(path), pixels)
    return path


def test_refuse_drop_and_keep(tmp_path, caplog):
    labels = small_set(tmp_path, "lab", NAMES, n=3)
    labels.records[1].image.unlink()
    report = validate(labels)
    with pytest.raises(
        InputError, match=r"lab \(correct the labels, or leave .* --on-problem drop\): .*1.png: no such"
    ):
        report.apply(labels, "refuse")
    dropped = report.apply(labels, "drop")
    assert [record.source_image for record in dropped.records] == ["raw/0.png", "raw/2.png"]
    assert dropped.operations[-1] == {"name": "drop_problems", "images": {"raw/1.png": "missing_image"}}
    assert "1 images are left out: raw/1.png" in caplog.text
    assert report.apply(labels, "keep") is labels
    assert "1 errors are left in the labels" in caplog.text
    with pytest.raises(InputError, match="'mend' is none of refuse, drop, keep"):
        report.apply(labels, "mend")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="about other records"):
        report.apply(dropped, "drop")
    for record in dropped.records:
        record.image.unlink()
    with pytest.raises(InputError, match="all 3 records have errors"):
        validate(labels).apply(labels, "drop")


def test_validation_changes_no_label(tmp_path):
    labels = small_set(tmp_path, "lab", NAMES)
    before = [(r.keypoints.copy(), r.visibility.copy(), r.bbox_xywh.copy()) for r in labels.records]
    validate(labels)
    for record, (xy, state, box) in zip(labels.records, before, strict=True):
        np.testing.assert_array_equal(record.keypoints, xy)
        np.testing.assert_array_equal(record.visibility, state)
        np.testing.assert_array_equal(record.bbox_xywh, box)


def test_the_page_shows_everything_escaped_and_loads_nothing(tmp_path):
    evil = "<script>alert('x')</script>&\"'"
    labels = small_set(tmp_path, "lab", (evil, "leftear", "rightear", "tailbase"))
    xy = labels.records[0].keypoints.copy()
    xy[0, 0] = (99, 99)
    labels = replace(labels, sources=(*labels.sources, Source(evil, labels.keypoints)))
    labels = with_record(labels, 0, keypoints=xy, source_image=evil, dataset=evil)
    report = validate(labels)
    report.write_html(tmp_path / "page.html")
    html = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert "<script" not in html
    assert "&lt;script&gt;alert(&#x27;x&#x27;)&lt;/script&gt;&amp;&quot;" in html
    assert "default-src &#x27;none&#x27;" in html or "default-src 'none'" in html
    assert not re.search(r"https?://|@import|url\(", html)
    assert html.count("data:image/jpeg;base64,") == len(report.findings)
    report.write_json(tmp_path / "report.json")
    content = json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))
    assert content["counts"] == kinds(report)
    assert content["findings"][0]["keypoints"] == [evil]
    assert content["n_errors"] == len(report.errors)


def test_a_page_of_images_that_cannot_be_shown(tmp_path):
    labels = small_set(tmp_path, "lab", NAMES)
    labels.records[0].image.unlink()
    validate(labels).write_html(tmp_path / "page.html")
    html = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert "Missing images: 1" in html
    assert "<img" not in html


def test_a_reader_leaves_bad_images_to_the_validation(tmp_path):
    project = dlc_project(tmp_path / "p")
    (project / "labeled-data/v1/img1.png").unlink()
    (project / "labeled-data/v1/img2.png").write_bytes(b"")
    labels, looked = read_for_validation(project)
    assert len(labels) == 2
    report = validate(labels, looked=looked)
    assert [(f.kind, f.image.name, f.record) for f in report.errors] == [
        (Kind.MISSING_IMAGE, "img1.png", None),
        (Kind.UNREADABLE_IMAGE, "img2.png", None),
    ]
    for path in (project / "labeled-data/v1").glob("*.png"):
        path.unlink()
    with pytest.raises(InputError, match=r"none of its 4 images can be read, e\.g\. .*no such image"):
        read_for_validation(project)


def test_convert_refuses_or_drops(tmp_path, capsys):
    project = dlc_project(tmp_path / "p")
    (project / "labeled-data/v1/img1.png").unlink()
    arguments = ["convert", str(project), "--map", "dlc-openfield", "--out", str(tmp_path / "out")]
    assert main([*arguments, "--report", str(tmp_path / "report")]) == 2
    assert "img1.png: no such image" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
    assert sorted(path.name for path in (tmp_path / "report").iterdir()) == [
        "validation.html",
        "validation.json",
    ]
    assert main([*arguments, "--on-problem", "drop"]) == 0
    written = load_superset(tmp_path / "out")
    assert [record.source_image[-8:] for record in written.records] == ["img0.png", "img2.png", "img3.png"]
    assert written.operations[-1]["images"] == {"img1.png": "missing_image"}


def test_a_conversion_counts_its_suspicions(tmp_path, caplog):
    convert(need("openfield-Pranav-2018-10-30"), "dlc-openfield", tmp_path / "out")
    assert "dlc-openfield: 0 errors, 1 suspicions (1 left right swapped); look at them" in caplog.text


def test_check_prints_and_writes_what_it_found(tmp_path, capsys):
    project = dlc_project(tmp_path / "p")
    assert main(["check", str(project), "--quiet"]) == 0
    assert "0 errors, 0 suspicions" in capsys.readouterr().out
    table = project / "labeled-data/v1/CollectedData_A.csv"
    table.write_text(table.read_text().replace("img3.png,3,", "img3.png,300,"))
    assert (
        main(["check", str(project), "--map", "dlc-openfield", "--out", str(tmp_path / "r"), "--quiet"]) == 2
    )
    out = capsys.readouterr().out
    assert "1 keypoints outside image (error)" in out
    assert "labeled-data/v1/img3.png: animal 1: nose outside of the image, e.g. at (300.0, 0.5)" in out
    assert str(tmp_path / "r" / "validation.html") in out
    assert json.loads((tmp_path / "r" / "validation.json").read_text())["n_errors"] == 1
