"""The embedded weights still say what they said when they were published."""

from __future__ import annotations

import json

import numpy as np
import pytest
from data import need
from make_golden import FOLDER, predict

import zoo
from converters import convert
from training.evaluate import evaluate_model


def test_golden_poses():
    golden, now = json.loads((FOLDER / "poses.json").read_text()), predict()
    assert now["weights_sha256"] == golden["weights_sha256"], (
        "weights changed: PYTHONPATH=. python tests/make_golden.py"
    )
    assert now["images"] == golden["images"]
    then, found = np.array(golden["keypoints"]), np.array(now["keypoints"])
    assert then.shape == found.shape
    assert np.array_equal(then == -1, found == -1)
    # A confident keypoint may move by rounding only; an unsure one may jump between two equal peaks.
    sure = np.array(golden["confidence"]) > 0.2
    assert sure.sum() > 60
    np.testing.assert_allclose(found[sure], then[sure], atol=0.25)
    np.testing.assert_allclose(now["confidence"], golden["confidence"], atol=0.02)


@pytest.fixture(scope="module")
def openfield(tmp_path_factory):
    project = need("openfield-Pranav-2018-10-30")
    return convert(project, "dlc-openfield", tmp_path_factory.mktemp("openfield") / "coco")


def test_zero_shot_on_openfield(openfield):
    """The published figure, on data that was never trained on, with the animal found by the model."""
    model = zoo.load("superanimal_topviewmouse", "compact")
    report = evaluate_model(model, openfield, split="zero-shot")
    published = model.spec.evaluation["openfield_mean_distance_px"]
    assert report.errors.n == 464
    assert report.errors.n_missing == model.spec.evaluation["openfield_n_missing"]
    assert report.errors.mean_distance == pytest.approx(published, abs=0.05)
