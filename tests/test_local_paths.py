"""What is cut out of what is published."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from hub_cards.local_paths import public_labels, without_local_paths


@pytest.mark.parametrize(
    ("said", "published"),
    [
        ("/home/ann/my data/mice", "mice"),
        ("/home/ann/mice/", "mice"),
        (r"C:\Users\Ann\mice", "mice"),
        (r"\\server\ann\mice.h5", "mice.h5"),
        ("zoo finetune /home/ann/mice --out /data/x/tuned", "zoo finetune mice --out tuned"),
        ("--set run.path='/home/ann/mice'", "--set run.path='mice'"),
        ("https://example.org/ann/mice", "https://example.org/ann/mice"),
        ("hf://datasets/ann/mice@v1", "hf://datasets/ann/mice@v1"),
        ("doi:10.1/2/3, male and/or female", "doi:10.1/2/3, male and/or female"),
        ("runs/data/horses", "runs/data/horses"),
        ("mice", "mice"),
    ],
)
def test_paths_are_cut_to_their_last_part(said: str, published: str) -> None:
    assert without_local_paths(said) == published
    assert without_local_paths({"a": [said, 1, None], said: True}) == {"a": [published, 1, None], said: True}
    assert without_local_paths(published) == published


def test_labels_without_a_local_path_are_published_as_they_are(tmp_path: Path) -> None:
    file = tmp_path / "annotations.json"
    document = {"info": {"sources": [{"location": "mice"}]}, "annotations": [{"keypoints": [1.5, 2.25, 2]}]}
    file.write_text(json.dumps(document))
    assert public_labels(file) == file
    document["info"] = {"sources": [{"location": "/home/ann/mice"}]}
    file.write_text(json.dumps(document))
    content = public_labels(file)
    assert isinstance(content, bytes)
    assert json.loads(content) == {**document, "info": {"sources": [{"location": "mice"}]}}
