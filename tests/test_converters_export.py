"""`zoo export-labels` and the options of `zoo convert`, on the command line."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from foreign_files import make_ap10k, make_project
from label_sets import small_set

from app.cli import main
from app.export_command import with_validation
from converters import convert_labels, load_superset, read_labels
from superset_vocab import InputError

NAMES = ("snout", "leftear", "rightear", "tailbase")


@pytest.fixture
def superset(tmp_path) -> Path:
    """A superset dataset of twelve images, each a group of its own."""
    convert_labels(small_set(tmp_path / "raw", "lab", NAMES, n=12), "dlc-openfield", tmp_path / "superset")
    return tmp_path / "superset"


def test_a_superset_dataset_in_every_format(superset, tmp_path, capsys):
    for name, more in (
        ("deeplabcut", ["--option", "scorer=Ann"]),
        ("yolo-pose", ["--validation", "0.3"]),
        ("coco", []),
    ):
        out = tmp_path / name
        assert main(["export-labels", str(superset), "--format", name, "--out", str(out), *more]) == 0
        assert f"{out}: 12 images, 12 instances, {name}" in capsys.readouterr().out
        back = read_labels(out)
        assert back.sources[0].format in (name, "")
        for record in back.records:
            annotated = {k for k, s in zip(back.keypoints, record.visibility[0], strict=True) if s == 2}
            assert annotated == {"nose", "left_ear", "right_ear", "tail_base"}
    assert (tmp_path / "deeplabcut/labeled-data/lab/CollectedData_Ann.csv").is_file()
    parts = [r.source_split for r in read_labels(tmp_path / "yolo-pose").records]
    assert set(parts) == {"train", "val"}
    config = yaml.safe_load((tmp_path / "yolo-pose/data.yaml").read_text())
    assert (config["val"], config["license"]) == ("val/images", "lab: licence of lab")
    provenance = json.loads((tmp_path / "yolo-pose/provenance.json").read_text())
    assert [done["name"] for done in provenance["operations"]] == ["project", "read", "split", "export"]
    assert provenance["operations"][2] == {"name": "split", "method": "hold_out", "validation": 0.3}


def test_the_test_part_is_not_dealt_out_for_validation(tmp_path):
    """Training on what a dataset's authors test on makes every later figure worthless."""
    labels = small_set(tmp_path / "raw", "lab", NAMES, n=12)
    parts = ["test", "val", "test", *["train"] * 9]
    groups = ["a", "b", "c", "c", *map(str, range(8))]  # one image to train on is of a group to test on
    records = [
        replace(record, source_split=part, split_group=group)
        for record, part, group in zip(labels.records, parts, groups, strict=True)
    ]
    split = with_validation(replace(labels, records=tuple(records)), 0.3)
    found = [record.source_split for record in split.records]
    assert [i for i, part in enumerate(found) if part == "test"] == [0, 2, 3]
    assert set(found) == {"train", "val", "test"}
    with pytest.raises(InputError, match="all images are of the source's test part"):
        with_validation(replace(labels, records=tuple(records[:1])), 0.3)


def test_a_foreign_source_needs_no_superset(tmp_path, capsys):
    project = make_project(tmp_path)
    assert main(["export-labels", str(project), "--format", "yolo-pose", "--out", str(tmp_path / "y")]) == 0
    assert read_labels(tmp_path / "y").keypoints == ("snout", "leftear", "tail base")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--format", "csv"], "'csv' is no format to write; there are: coco, deeplabcut, yolo-pose"),
        (["--format", "coco", "--option", "scorer"], "--option 'scorer' is not NAME=VALUE"),
        (["--format", "coco", "--option", "scorer=a"], "format coco: has no option 'scorer' (nor any other)"),
        (["--format", "deeplabcut", *["--option", "scorer=a"] * 2], "--option scorer is given twice"),
        (
            ["--format", "yolo-pose", "--validation", "1"],
            "--validation is 1, want a fraction between 0 and 1",
        ),
        (
            ["--format", "yolo-pose", "--validation", "1e-9"],
            "--validation 1e-09 of 12 split groups is none of them, and a group is never cut",
        ),
    ],
)
def test_mistakes_are_told_in_one_line_and_nothing_is_written(superset, tmp_path, capsys, arguments, message):
    assert main(["export-labels", str(superset), "--out", str(tmp_path / "out"), *arguments]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_an_output_folder_with_content_is_left_alone(superset, tmp_path, capsys):
    for name in ("coco", "deeplabcut", "yolo-pose"):
        assert main(["export-labels", str(superset), "--out", str(superset), "--format", name]) == 2
        assert "superset: is not empty; choose a new output folder" in capsys.readouterr().err
    assert sorted(p.name for p in superset.iterdir()) == ["annotations.json", "images"]


def test_convert_takes_options_of_the_format(tmp_path, capsys):
    folder, out = make_ap10k(tmp_path / "ap10k"), tmp_path / "out"
    command = ["convert", str(folder), "--map", "ap10k", "--out", str(out), "--on-problem", "keep"]
    assert main([*command, "--option", "categories=dog", "--option", "split=2"]) == 0
    back = load_superset(out)
    assert [r.source_id for r in back.records] == [55, 9001, 7]
    assert back.operations[0]["options"] == {"categories": "dog", "split": "2"}
    assert main([*command, "--option", "species=dog"]) == 2
    error = capsys.readouterr().err
    assert "format coco-parts: has no option 'species' (split: number of the official split" in error


def test_convert_without_a_map_says_what_is_missing(tmp_path, capsys):
    assert main(["convert", str(make_project(tmp_path)), "--out", str(tmp_path / "out")]) == 2
    error = capsys.readouterr().err
    assert "give a keypoint map with --map (they are snout, leftear, tail base)" in error
    assert not (tmp_path / "out").exists()
