"""What a recipe leaves to the data: epochs, channels, the rule for small sets."""

from __future__ import annotations

import pytest
import torch
from safetensors.torch import load_file
from tiny import TinyDataset, tiny_network, tiny_recipe

from superset_vocab import InputError, load_vocabulary
from training.fit import fit
from training.recipe import parse_recipe
from training.resolve import resolve_network, resolve_schedule

EPOCHS = """
[network]
name = "hrnet"
options = {outputs = {heatmaps = "K", pafs = "2E"}, variant = "hrnet_w32"}
[data]
sources = [{path = "x"}]
[schedule]
epochs = 210
decay = "multistep"
milestone_epochs = [170, 200]
batch_size = 64
"""


def test_epochs_become_steps_of_this_data():
    resolved = resolve_schedule(parse_recipe(EPOCHS), n_samples=1000, n_images=900)
    schedule = resolved.recipe.schedule
    assert schedule.iterations == 3282  # 210 * 1000 / 64, rounded up
    assert schedule.milestones == (2656, 3125)
    assert resolved.notes == ("210 epochs of 1000 samples are 3282 iterations; milestones at 2656, 3125",)
    again = resolve_schedule(resolved.recipe, n_samples=7, n_images=7)
    assert again.recipe == resolved.recipe
    assert again.notes == ()
    text = resolved.recipe.to_toml(resolved.notes)
    assert text.startswith("# 210 epochs of 1000 samples")
    assert parse_recipe(text) == resolved.recipe
    accumulated = parse_recipe(EPOCHS, overrides=["schedule.accumulate=2"])
    assert resolve_schedule(accumulated, n_samples=1000, n_images=1).recipe.schedule.iterations == 1641


def test_channels_are_those_of_the_vocabulary():
    resolved = resolve_network(parse_recipe(EPOCHS), load_vocabulary("superanimal_topviewmouse"))
    assert resolved.recipe.network.options == {
        "outputs": {"heatmaps": 27, "pafs": 60},
        "variant": "hrnet_w32",
    }
    assert "27 keypoints and 30 limbs" in resolved.notes[0]
    assert resolve_network(resolved.recipe, load_vocabulary("superanimal_quadruped")).notes == ()
    wrong = parse_recipe(EPOCHS, overrides=["network.options.outputs.heatmaps=J"])
    with pytest.raises(InputError, match="'J' is neither a number nor one of"):
        resolve_network(wrong, load_vocabulary("superanimal_topviewmouse"))


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("schedule.iterations=5", "iterations and epochs are both given"),
        ("schedule.milestones=[5]", "give milestone_epochs in place of milestones"),
        ("schedule.epochs=0", "milestone_epochs needs epochs"),
        ("network.init_parts=encoder", "init_parts has no effect without init"),
        ("schedule.batch_norm=none", "batch_norm 'none' is none of batch, synchronised, fixed"),
        ("validation.patience=3", "patience needs something to measure on"),
    ],
)
def test_what_contradicts_itself(override, message):
    with pytest.raises(InputError, match=message):
        parse_recipe(EPOCHS, overrides=[override])


def small(n_images: int, limit: int = 64):
    recipe = tiny_recipe(f"schedule.small_set_images={limit}", "schedule.small_set_lr=3e-4")
    return resolve_schedule(recipe, n_samples=500, n_images=n_images)


def test_small_sets_are_those_of_few_different_images():
    assert small(64).recipe.schedule.batch_norm == "batch"
    assert small(64).notes == ()
    schedule = small(63).recipe.schedule
    assert (schedule.batch_norm, schedule.lr, schedule.small_set_images) == ("fixed", 3e-4, 0)
    assert "63 images are fewer than 64" in small(63).notes[0]
    assert small(63, limit=0).notes == ()


def test_a_small_set_keeps_the_running_statistics(tmp_path):
    network = tiny_network()
    torch.nn.init.normal_(network.norm.running_mean)
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    recipe = tiny_recipe("schedule.small_set_images=13", "schedule.small_set_lr=1e-3")
    result = fit(network, TinyDataset(), recipe, tmp_path)
    after = load_file(result.weights)
    assert torch.equal(after["norm.running_mean"], before["norm.running_mean"])
    assert torch.equal(after["norm.running_var"], before["norm.running_var"])
    assert not torch.equal(after["norm.weight"], before["norm.weight"])  # scale and shift are trained
    text = (tmp_path / "recipe.toml").read_text()
    assert text.startswith("# 12 images are fewer than 13")
    assert 'batch_norm = "fixed"' in text
    assert "lr = 0.001" in text
    larger = tiny_network()
    fit(larger, TinyDataset(), tiny_recipe("schedule.small_set_images=12"), tmp_path / "larger")
    assert not torch.equal(larger.norm.running_mean, tiny_network().norm.running_mean)
