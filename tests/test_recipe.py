"""Recipes: every entry checked, all problems at once, written back without loss."""

from __future__ import annotations

import string
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from superset_vocab import InputError
from training.recipe import Schedule, list_recipes, load_recipe, parse_recipe

TEXT = """
[network]
name = "compact_unet"
options = {heads = {heatmaps = 27}}
[data]
sources = [{path = "$POSE_DATA/a", held_out = ["day3"]}, {path = "b", weight = 0.5}]
[schedule]
lr = 1e-3
"""

VALUES = st.recursive(
    st.booleans() | st.integers(-(2**60), 2**60) | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


def test_defaults_and_types():
    recipe = parse_recipe(TEXT)
    assert recipe.network.options == {"heads": {"heatmaps": 27}}
    assert [source.weight for source in recipe.data.sources] == [1.0, 0.5]
    assert recipe.data.sources[0].held_out == ("day3",)
    assert recipe.run.masking is True
    assert recipe.batch.input_size == (256, 256)


@given(st.dictionaries(st.text(string.printable, max_size=6), VALUES, max_size=4), st.floats(1e-9, 1.0))
def test_written_and_read_back_it_is_the_same(options, lr):
    recipe = parse_recipe(TEXT)
    network = replace(recipe.network, options=options)
    recipe = replace(recipe, network=network, schedule=replace(recipe.schedule, lr=lr))
    assert parse_recipe(recipe.to_toml()) == recipe


def test_overrides():
    recipe = parse_recipe(
        TEXT,
        overrides=[
            "schedule.lr=2e-4",
            "schedule.optimiser=sgd",
            "batch.view=frame",
            "batch.input_size=[128, 96]",
            "run.masking=false",
            "augmentation.rotate=90",
            "network.options.heads.heatmaps=4",
        ],
    )
    assert (recipe.schedule.lr, recipe.schedule.optimiser, recipe.run.masking) == (2e-4, "sgd", False)
    assert recipe.batch.input_size == (128, 96)
    assert recipe.augmentation.rotate == 90.0
    assert recipe.network.options == {"heads": {"heatmaps": 4}}


def test_all_problems_at_once():
    text = (
        TEXT
        + "[run]\nsed = 1\nworkers = 'two'\nmasking = 1\n"
        + "[extra]\n[batch]\ninput_size = [130, 128]\nview = 'x'"
    )
    with pytest.raises(InputError) as raised:
        parse_recipe(
            text, what="my.toml", overrides=["lr=1", "schedule.lr=,", "schedule.ema=1.5", "network.name.x=1"]
        )
    message = str(raised.value)
    assert message.startswith("my.toml: 10 problems:")
    for part in (
        "unknown entry 'extra'",
        "unknown entry 'sed'",
        "run.workers = 'two' is not a whole number",
        "run.masking = 1 is not true or false",
        "view 'x' is none of crop, frame, detector",
        "input_size [130, 128] is not a multiple of stride 4",
        "override 'lr=1' is not of the form",
        "',' is no TOML value",
        "ema 1.5",
        "'name' is not a table",
    ):
        assert part in message, message


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("x", "not a TOML file"),
        ("[network]\nname = 'a'", r"lacks the entry 'data'"),
        ("[network]\nname = 'a'\n[data]\nsources = []", r"\[data\]: sources is empty"),
        (
            "[network]\n[data]\nsources = [{}]",
            r"(?s)network\] lacks.*data.sources.0\] lacks the entry 'path'",
        ),
        (TEXT + "decay = 'multistep'", "milestones and decay = 'multistep' go together"),
        (TEXT + "decay = 'onecycle'\nwarmup = 5", "leave warmup at 0"),
        (TEXT + "[augmentation]\nrotate = nan", r"augmentation.rotate = nan is not a finite number"),
        (TEXT + "[run]\nseed = 4294967296", r"seed 4294967296 is above 4294967295"),
        (TEXT + "[batch]\ninput_size = [256, 192]", r"input_size \[256, 192\] is not square, as crops"),
        (TEXT.replace("heatmaps = 27", "a = [{b = 2024-01-01}]"), "holds a date"),
        (TEXT + "[augmentation]\nflip = 2\nscale = [2, 1]", "(?s)flip 2 is no probability.*scale"),
    ],
)
def test_broken_recipes(text, message):
    with pytest.raises(InputError, match=message):
        parse_recipe(text)


def test_unknown_name_lists_the_recipes(tmp_path):
    with pytest.raises(InputError, match="no such recipe"):
        load_recipe("nothing")
    file = tmp_path / "mine.toml"
    file.write_text(TEXT)
    assert load_recipe(file) == parse_recipe(TEXT)
    file.write_bytes("# Größe\n".encode("latin-1") + TEXT.encode())
    with pytest.raises(InputError, match=r"mine\.toml: is not UTF-8 text"):
        load_recipe(file)


@pytest.mark.parametrize("name", list_recipes())
def test_shipped_recipes_are_valid(name):
    assert load_recipe(name).network.name


def test_data_paths(monkeypatch):
    first, second = parse_recipe(TEXT).data.sources
    monkeypatch.setenv("POSE_DATA", "/somewhere")
    assert str(first.folder()) == "/somewhere/a"
    assert str(second.folder()) == "b"
    monkeypatch.delenv("POSE_DATA")
    with pytest.raises(InputError, match="environment variable"):
        first.folder()


def test_learning_rates():
    cosine = Schedule(lr=1.0, iterations=110, warmup=10, final_factor=0.1)
    assert [cosine.learning_rate(s) for s in (0, 4, 9, 10)] == pytest.approx([0.1, 0.5, 1.0, 1.0])
    assert cosine.learning_rate(60) == pytest.approx(0.55)
    assert cosine.learning_rate(110) == pytest.approx(0.1)
    steps = Schedule(lr=1.0, decay="multistep", milestones=(5, 8), gamma=0.1)
    assert [steps.learning_rate(s) for s in (4, 5, 7, 8)] == pytest.approx([1, 0.1, 0.1, 0.01])
    cycle = Schedule(lr=1.0, decay="onecycle", iterations=100, final_factor=0.01)
    assert [cycle.learning_rate(s) for s in (0, 30, 100)] == pytest.approx([0.04, 1.0, 0.01])
    assert max(range(100), key=cycle.learning_rate) == 30
    assert Schedule(lr=0.3, decay="constant").learning_rate(77) == 0.3
