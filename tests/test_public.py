"""The public surface, the shipped recipes, and what a checkout must not contain."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
import torch

import adaptation
import adaptation.eks
import converters
import hub_cards
import superset_vocab
import training
import zoo
from superset_vocab import load_vocabulary
from training.from_recipe import build_network
from training.recipe import list_recipes, load_recipe
from training.resolve import resolve_network

ROOT = Path(__file__).parents[1]


@pytest.mark.parametrize(
    "package", [adaptation, adaptation.eks, converters, hub_cards, superset_vocab, training, zoo]
)
def test_public_names_exist(package):
    assert len(set(package.__all__)) == len(package.__all__) > 0
    for name in package.__all__:
        assert getattr(package, name) is not None
    with pytest.raises(AttributeError, match=f"module '{package.__name__}' has no attribute 'no_such_name'"):
        _ = package.no_such_name
    assert dir(package) == sorted(package.__all__)


def test_public_surface_of_zoo():
    assert set(zoo.__all__) == {
        "PAPER", "EmbeddedWeightsWarning", "InputError", "Model", "ModelSpec", "Predictions", "Tracking",
        "list_models", "load",
    }  # fmt: skip


@pytest.mark.parametrize("name", list_recipes())
def test_every_shipped_recipe_parses_and_builds(name):
    recipe = resolve_network(load_recipe(name), load_vocabulary("superanimal_quadruped")).recipe
    # mmdet copies weights while it builds, which tensors without data cannot do.
    with torch.device("cpu" if recipe.batch.view == "boxes" else "meta"):
        network = build_network(recipe)
    assert sum(p.numel() for p in network.parameters()) > 1e5


def test_embedded_weights_are_small_and_no_data_is_committed():
    weights = sum(f.stat().st_size for f in (ROOT / "zoo" / "weights").glob("*.safetensors"))
    assert 0 < weights <= 8e6 + 10e6 + 8e6
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False)
    if listed.returncode:
        pytest.skip("not a git checkout")
    files = listed.stdout.splitlines()
    pictures = [f for f in files if f.endswith((".jpg", ".mp4", ".avi", ".h5", ".png"))]
    assert [f for f in pictures if not f.startswith("tests/golden/")] == []
