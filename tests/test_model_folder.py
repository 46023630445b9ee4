"""A model as a folder: written, read back, moved, and refused where something is wrong with it."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

import zoo
from superset_vocab import InputError
from zoo.catalogue import Parent, find_model, list_models, parse_spec
from zoo.model_folder import folder_of, read_model_folder, spec_to_toml, write_model_folder

PARENT = Parent("superanimal_topviewmouse", "compact", "ab" * 32, "replay")


@pytest.fixture(scope="module")
def model() -> zoo.Model:
    return zoo.load("superanimal_topviewmouse", "compact", "cpu")


@pytest.fixture
def folder(tmp_path: Path, model: zoo.Model) -> Path:
    spec = replace(model.spec, variant="compact-ours", parent=PARENT, evaluation={"rmse_px": 1.5})
    networks = {"pose": model.pose.network, "detector": model.detector.network}
    preview = np.full((8, 12, 3), (250, 0, 0), np.uint8)
    write_model_folder(tmp_path / "m", spec, networks, record={"seed": 3}, preview=preview)
    return tmp_path / "m"


def test_a_folder_predicts_what_the_model_did(folder: Path, model: zoo.Model, tmp_path: Path) -> None:
    """Also after it was moved: nothing in it depends on where it is."""
    moved = Path(shutil.move(folder, tmp_path / "elsewhere"))
    ours = zoo.load(moved, device="cpu")
    image = np.random.default_rng(0).integers(0, 255, (96, 128, 3), dtype=np.uint8)
    box = np.array([[20.0, 10, 60, 70]])
    a, b = (m.predict(image, bboxes_xywh=box) for m in (model, ours))
    np.testing.assert_array_equal(a.keypoints, b.keypoints)
    a, b = (m.predict(image) for m in (model, ours))
    np.testing.assert_array_equal(a.bbox_xywh, b.bbox_xywh)
    assert b.provenance["parent"] == {
        "name": PARENT.name,
        "variant": PARENT.variant,
        "sha256": PARENT.sha256,
        "method": "replay",
    }
    assert "parent" not in a.provenance
    assert b.provenance["variant"] == "compact-ours"
    assert ours.spec.evaluation == {"rmse_px": 1.5}
    assert ours.label.startswith("superanimal_topviewmouse_compact-ours")
    assert json.loads((moved / "run.json").read_text()) == {"seed": 3}
    assert "compact-ours" in (moved / "README.md").read_text()
    assert cv2.imread(str(moved / "preview.png"))[0, 0].tolist() == [0, 0, 250]


def test_text_with_a_slash_or_a_models_folder_is_a_path(folder: Path, monkeypatch) -> None:
    monkeypatch.chdir(folder.parent)
    assert zoo.load("m", device="cpu").spec.variant == "compact-ours"
    assert zoo.load("./m", "compact-ours", device="cpu").spec.variant == "compact-ours"
    assert folder_of("superanimal_topviewmouse") is None
    assert folder_of("hf://lab/model") is None
    (folder.parent / "superanimal_topviewmouse").mkdir()  # a folder of that name which is no model
    assert folder_of("superanimal_topviewmouse") is None
    with pytest.raises(InputError, match="is the variant 'compact-ours', not 'compact'"):
        zoo.load("./m", "compact")


@pytest.mark.parametrize("spec", list_models(), ids=lambda spec: spec.full_name)
def test_a_spec_as_text_reads_back_equal(spec) -> None:
    spec = replace(spec, parent=PARENT)
    assert parse_spec("again", spec_to_toml(spec)) == spec


@pytest.mark.parametrize("name", ["rtmdet v2", "rtmdet.v2", "détecteur"])
def test_a_detector_of_any_name_survives(name: str) -> None:
    """A model with such a detector could be fine-tuned, but not read when that was done."""
    spec = find_model("superanimal_topviewmouse", "compact")
    spec = replace(spec, detectors={name: spec.detectors["compact"]})
    assert parse_spec("again", spec_to_toml(spec)) == spec


def test_weights_keep_single_precision(tmp_path: Path, model: zoo.Model) -> None:
    """The shipped files are in half precision; what a user trained is not rounded."""
    spec = replace(find_model("superanimal_topviewmouse", "compact"), variant="x")
    network = torch.nn.Sequential(torch.nn.Conv2d(1, 2, 1))
    network[0].weight.data[:] = 1 / 3
    written = write_model_folder(
        tmp_path / "x", spec, {"pose": network, "detector": model.detector.network}, record={}
    )
    from zoo.official_weights import read_any

    tensors = read_any(written.pose.weights.path, "pose", written.pose.weights.sha256)
    assert torch.equal(tensors["0.weight"], network[0].weight)


def test_an_embedded_detector_must_come_along(tmp_path: Path, model: zoo.Model) -> None:
    with pytest.raises(InputError, match="detector 'compact' has to go into the folder"):
        write_model_folder(tmp_path / "x", model.spec, {"pose": model.pose.network}, record={})
    assert not (tmp_path / "x" / "model.toml").exists()


def test_a_folder_is_not_written_twice(folder: Path, model: zoo.Model) -> None:
    before = (folder / "weights.safetensors").read_bytes()
    networks = {"pose": torch.nn.Conv2d(1, 1, 1), "detector": model.detector.network}
    with pytest.raises(InputError, match="holds a model already"):
        write_model_folder(folder, model.spec, networks, record={})
    assert (folder / "weights.safetensors").read_bytes() == before


def test_names_that_cannot_be_file_names_are_refused(tmp_path: Path, model: zoo.Model) -> None:
    networks = {"pose": model.pose.network, "detector": model.detector.network}
    with pytest.raises(InputError, match="use letters, digits"):
        write_model_folder(tmp_path / "x", replace(model.spec, variant="a/b"), networks, record={})


@pytest.mark.parametrize(
    ("break_it", "words"),
    [
        (lambda f: (f / "model.toml").unlink(), "has no model.toml"),
        (lambda f: shutil.rmtree(f), "no such folder"),
        (lambda f: (f / "weights.safetensors").unlink(), "is missing; copy the folder again"),
        (lambda f: (f / "weights.safetensors").write_bytes(b"xx"), "damaged, or not the published weights"),
        (lambda f: _edit(f, 'file = "weights.', 'file = "../m/weights.'), "is a path"),
        (lambda f: _edit(f, "[parent]\n", "[parent]\nage = 3\n"), "unknown entry 'parent.age'"),
    ],
    ids=["no spec", "no folder", "no weights", "damaged", "path out of it", "unknown entry"],
)
def test_a_broken_folder_is_refused(folder: Path, break_it, words: str) -> None:
    break_it(folder)
    with pytest.raises(InputError, match=words):
        zoo.load(folder, device="cpu")


def _edit(folder: Path, old: str, new: str) -> None:
    path = folder / "model.toml"
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def test_reading_imports_no_torch(folder: Path) -> None:
    """A misspelt path is said at once, not after seconds of imports."""
    import subprocess
    import sys

    code = (
        "import sys; from pathlib import Path; from zoo.model_folder import read_model_folder;"
        f"read_model_folder(Path({str(folder)!r})); assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
    assert read_model_folder(folder).parent == PARENT
