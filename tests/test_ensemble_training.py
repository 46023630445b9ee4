"""Ensembles from one command: what differs, what does not, and going on after an interruption."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from training_files import ONE_DATASET, write_labels

import training.from_recipe
from app.cli import main
from superset_vocab import InputError
from training.ensemble import VARIES, member_recipes, train_ensemble
from training.recipe import load_recipe

RECIPE = (
    ONE_DATASET
    + """
seed = 3
[schedule]
iterations = 2
batch_size = 4
lr = 1e-12
"""
)


@pytest.fixture
def recipe_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    write_labels(tmp_path, "one", ["day1"] * 10)
    monkeypatch.setenv("POSE_DATA", str(tmp_path))
    file = tmp_path / "recipe.toml"
    file.write_text(RECIPE)
    return file


def weights(folder: Path) -> torch.Tensor:
    return load_file(folder / "weights.safetensors")["heads.heatmaps.weight"]


@pytest.mark.parametrize("vary", sorted(VARIES))
def test_members_differ_in_what_they_should(recipe_file, vary):
    recipe = load_recipe(recipe_file)
    members = member_recipes(recipe, 3, vary)
    assert len(set(map(str, members))) == 3
    initial, order = ({getattr(m.run, n) for m in members} for n in ("seed_of_weights", "seed_of_order"))
    subsets = {(m.data.subset, m.data.subset_seed) for m in members}
    assert len(initial) == (1 if vary == "order" else 3)
    assert len(order) == (1 if vary == "heads" else 3)
    assert subsets == ({(0.8, 0), (0.8, 1), (0.8, 2)} if vary == "subset" else {(1.0, 0)})
    assert {m.schedule for m in members} == {recipe.schedule}
    assert {(members[0].run.seed_of_weights, members[0].run.seed_of_order)} == {(3, 3)}


def test_networks_and_samples_differ_accordingly(recipe_file, tmp_path):
    by = {
        vary: train_ensemble(recipe_file, tmp_path / vary, members=2, vary=vary)
        for vary in ("order", "heads", "subset")
    }
    same, other = (weights(member.folder) for member in by["order"])
    torch.testing.assert_close(same, other, atol=1e-9, rtol=0)  # hardly trained: the start
    first, second = (weights(member.folder) for member in by["heads"])
    torch.testing.assert_close(first, same, atol=1e-9, rtol=0)
    assert not torch.allclose(first, second)
    losses = [member.folder / "run.json" for vary in ("order", "subset") for member in by[vary]]
    records = [json.loads(path.read_text()) for path in losses]
    assert len({record["loss_curve"][0][1] for record in records}) == 4  # other samples
    assert [record["datasets"]["one"] for record in records] == [10, 10, 8, 8]
    assert records[2]["data_sha256"] != records[3]["data_sha256"]


def test_command_resumes_member_by_member(recipe_file, tmp_path, monkeypatch, capsys):
    out = tmp_path / "ensemble"
    command = ["train", str(recipe_file), "--out", str(out), "--members", "3", "--vary", "seed"]
    train, calls = training.from_recipe.train, []

    def interrupted(recipe, folder, **options):
        calls.append(folder.name)
        if folder.name == "member_1" and len(calls) == 2:
            raise KeyboardInterrupt
        return train(recipe, folder, **options)

    monkeypatch.setattr(training.from_recipe, "train", interrupted)
    assert main(command) == 130
    first = (out / "member_0" / "weights.safetensors").stat().st_mtime_ns
    record = json.loads((out / "ensemble.json").read_text())
    assert [m["folder"] for m in record["members"]] == ["member_0"]
    assert main(command) == 2
    assert "holds an ensemble already" in capsys.readouterr().err
    assert main([*command, "--resume"]) == 0
    lines = capsys.readouterr().out.split()
    assert lines == [str(out / f"member_{i}" / "weights.safetensors") for i in range(3)]
    assert len({m["weights_sha256"] for m in json.loads((out / "ensemble.json").read_text())["members"]}) == 3
    straight = train_ensemble(recipe_file, tmp_path / "straight", members=3)
    ours = json.loads((out / "ensemble.json").read_text())["members"]
    assert [m.weights_sha256 for m in straight] == [m["weights_sha256"] for m in ours]
    assert (out / "member_0" / "weights.safetensors").stat().st_mtime_ns == first
    larger = train_ensemble(recipe_file, out, members=4, resume=True)
    assert [m.weights_sha256 for m in larger[:3]] == [m.weights_sha256 for m in straight]


def test_what_is_no_ensemble(recipe_file, tmp_path, capsys):
    recipe = load_recipe(recipe_file)
    with pytest.raises(
        InputError, match=r"(?s)members is 0.*vary is 'x', none of seed, heads, order, subset"
    ):
        member_recipes(recipe, 0, "x")
    started = load_recipe(recipe_file, ["network.init=weights.safetensors"])
    with pytest.raises(InputError, match="there are no heads to vary"):
        member_recipes(started, 2, "heads")
    out = tmp_path / "out"
    train_ensemble(recipe_file, out, members=1)
    with pytest.raises(InputError, match="is of another ensemble"):
        train_ensemble(recipe_file, out, members=1, vary="order", resume=True)
    with pytest.raises(InputError, match="is of another ensemble"):
        train_ensemble(recipe_file, out, members=1, overrides=["schedule.lr=1"], resume=True)
    with pytest.raises(InputError, match="is not empty and holds no ensemble"):
        train_ensemble(recipe_file, tmp_path, members=1)
    assert main(["train", str(recipe_file), "--out", str(tmp_path / "z"), "--vary", "order"]) == 2
    assert "--vary goes with --members" in capsys.readouterr().err
