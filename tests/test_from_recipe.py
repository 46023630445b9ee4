"""From label sets on disk and a recipe file to weights, in two steps of optimisation."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from training_files import write_labels

import zoo
from converters import load_superset, merge_to, write_superset
from superset_vocab import InputError, LabelSet, Source, load_vocabulary
from training.from_recipe import load_sources, train, validation_labels
from training.initial_weights import load_encoder, start_from
from training.recipe import load_recipe
from zoo.catalogue import find_model
from zoo.networks import build

VOCABULARY = load_vocabulary("superanimal_topviewmouse")

RECIPE = """
[network]
name = "compact_unet"
options = {outputs = {heatmaps = 27}, widths = [8, 8, 8]}
[data]
sources = [{path = "$POSE_DATA/one", held_out = ["day2"]}, {path = "$POSE_DATA/two", weight = 3.0}]
[batch]
input_size = [32, 32]
stride = 2
sigma = 2.0
grey = true
[schedule]
iterations = 2
batch_size = 4
[run]
workers = 0
"""


@pytest.fixture
def recipe_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    write_labels(tmp_path, "one", ["day1", "day1", "day2"])
    write_labels(tmp_path, "two", ["day1", "day2"])
    monkeypatch.setenv("POSE_DATA", str(tmp_path))
    file = tmp_path / "recipe.toml"
    file.write_text(RECIPE)
    return file


def test_train_from_a_recipe_file(recipe_file, tmp_path):
    result = train(recipe_file, tmp_path / "run", overrides=["schedule.lr=1e-4"])
    record = json.loads(result.record.read_text())
    assert record["datasets"] == {"one": 2, "two": 2}
    assert record["recipe"]["schedule"]["lr"] == 1e-4
    assert len(record["data_sha256"]) == 64
    assert record["command"] == "zoo train recipe.toml --out NEW_FOLDER"
    again = train(tmp_path / "run" / "recipe.toml", tmp_path / "again")  # the folder makes itself again
    first, second = load_file(result.weights), load_file(again.weights)
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert json.loads(again.record.read_text())["weights_sha256"] == record["weights_sha256"]


def test_sources_bring_their_groups_and_weights(recipe_file):
    labels, weights = load_sources(load_recipe(recipe_file))
    assert weights == {"one": 1.0, "two": 3.0}
    assert [(r.dataset, r.split_group) for r in labels.records] == [
        ("one", "day1"), ("one", "day1"), ("two", "day1"), ("two", "day2"),
    ]  # fmt: skip


def test_what_validation_measures_on_is_not_trained_on(recipe_file, tmp_path, caplog):
    """Under whatever name: the best weights would be those that know it by heart."""
    write_labels(tmp_path, "three", ["day1"])
    shutil.copy(tmp_path / "one0.png", tmp_path / "three0.png")
    labels = replace(load_superset(tmp_path / "three"), records=())
    first = load_superset(tmp_path / "one").records[0]
    copied = replace(first, image=tmp_path / "three0.png", dataset="three")
    write_superset(replace(labels, records=(copied,)), tmp_path / "copied")
    recipe = load_recipe(recipe_file, ["validation.sources=[{path='$POSE_DATA/copied'}]"])
    trained, _ = load_sources(recipe)
    assert [(r.dataset, r.split_group) for r in trained.records] == [
        ("one", "day1"), ("two", "day1"), ("two", "day2"),
    ]  # fmt: skip
    assert "are copies of images held out" in caplog.text
    same = ["data.sources=[{path='$POSE_DATA/one'}]", "validation.sources=[{path='$POSE_DATA/one'}]"]
    with pytest.raises(InputError, match="every training image is held out or measured on"):
        train(recipe_file, tmp_path / "run", overrides=same)
    assert not (tmp_path / "run").exists()


def test_a_dataset_that_has_nothing_new_has_no_weight(recipe_file, tmp_path):
    """All its images are in an earlier source; the sampler refused a weight without samples."""
    copies = [replace(r, dataset="again") for r in load_superset(tmp_path / "two").records]
    source = (Source("again", VOCABULARY.keypoints[:2]),)
    write_superset(LabelSet(VOCABULARY.keypoints, tuple(copies), source, VOCABULARY.name), tmp_path / "again")
    sources = "data.sources=[{path='$POSE_DATA/two'}, {path='$POSE_DATA/again'}]"
    result = train(recipe_file, tmp_path / "run", overrides=[sources])
    assert json.loads(result.record.read_text())["datasets"] == {"two": 2}


def test_a_dataset_of_a_merged_set_can_be_left_out(recipe_file, tmp_path):
    merge_to(tmp_path / "all", [tmp_path / "one", tmp_path / "two"])
    recipe = load_recipe(recipe_file)
    source = replace(recipe.data.sources[0], path=str(tmp_path / "all"), held_out=(), leave_out=("one",))
    labels, weights = load_sources(replace(recipe, data=replace(recipe.data, sources=(source,))))
    assert {record.dataset for record in labels.records} == {"two"}
    assert list(weights) == ["two"]


def test_starting_from_earlier_weights(recipe_file, tmp_path):
    first = train(recipe_file, tmp_path / "first")
    start = f"network.init='{first.weights}'"
    still = train(recipe_file, tmp_path / "still", overrides=[start, "schedule.lr=1e-12"])
    weights = load_file(first.weights)
    torch.testing.assert_close(still.network.state_dict()["stem.0.weight"], weights["stem.0.weight"])
    with pytest.raises(InputError, match=r"weights.safetensors: cannot start from these weights"):
        train(recipe_file, tmp_path / "x", overrides=[start, "network.options.widths=[8, 16, 8]"])


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (["batch.input_size=[30, 30]"], "does not take input of 30 x 30 pixels with 1 channel "),
        (["batch.grey=false"], "does not take input of 32 x 32 pixels with 3 channels"),
    ],
)
def test_a_network_that_cannot_take_the_input_is_refused(recipe_file, tmp_path, change, words):
    with pytest.raises(InputError, match=f"the network compact_unet {words}"):
        train(recipe_file, tmp_path / "run", overrides=change)
    assert not (tmp_path / "run").exists()


def test_a_data_source_that_is_not_there_is_told_so(recipe_file, tmp_path):
    with pytest.raises(InputError, match="nowhere: no such file or folder"):
        train(recipe_file, tmp_path / "run", overrides=["data.sources=[{path='nowhere'}]"])


def test_labels_that_changed_cannot_be_resumed(recipe_file, tmp_path):
    train(recipe_file, tmp_path / "run")
    file = tmp_path / "two" / "annotations.json"
    content = json.loads(file.read_text())
    content["annotations"][0]["keypoints"][0] += 1
    file.write_text(json.dumps(content))
    with pytest.raises(InputError, match="the labels have changed"):
        train(recipe_file, tmp_path / "run", resume=True)


def test_encoder_alone_keeps_the_decoder_random(recipe_file, tmp_path):
    first = train(recipe_file, tmp_path / "first", overrides=["run.seed=1"])
    weights = load_file(first.weights)
    rate = ["schedule.lr=1e-12", "schedule.iterations=1"]
    plain = train(recipe_file, tmp_path / "plain", overrides=rate)
    encoder = [f"network.init='{first.weights}'", "network.init_parts=encoder"]
    wider = ["network.options.outputs={heatmaps=27,size=2}"]  # another decoder is no obstacle
    moved = train(recipe_file, tmp_path / "moved", overrides=[*rate, *encoder]).network.state_dict()
    torch.testing.assert_close(moved["stem.0.weight"], weights["stem.0.weight"])
    torch.testing.assert_close(moved["down.1.0.0.weight"], weights["down.1.0.0.weight"])
    for name in ("lateral.0.weight", "heads.heatmaps.weight"):
        torch.testing.assert_close(moved[name], plain.network.state_dict()[name])
        assert not torch.equal(moved[name], weights[name])
    train(recipe_file, tmp_path / "wider", overrides=[*rate, *encoder, *wider])
    with pytest.raises(InputError, match=r"(?s)not of a network with this encoder.*shape"):
        train(recipe_file, tmp_path / "x", overrides=[*encoder, "network.options.widths=[16, 8, 8]"])


def test_channels_may_be_left_to_the_vocabulary(recipe_file, tmp_path):
    result = train(recipe_file, tmp_path / "run", overrides=["network.options.outputs={heatmaps='K'}"])
    assert result.network.state_dict()["heads.heatmaps.bias"].shape == (27,)
    text = (tmp_path / "run" / "recipe.toml").read_text()
    assert text.startswith("# superanimal_topviewmouse has 27 keypoints")
    assert "outputs = {heatmaps = 27}" in text


def test_embedded_weights_are_a_start_too(tmp_path):
    spec = find_model("superanimal_topviewmouse", "compact").pose
    network = build(spec.network, **spec.options)
    start_from(network, spec.weights.path)
    model = zoo.load("superanimal_topviewmouse", "compact")
    assert torch.equal(
        network.state_dict()["stem.0.weight"], model.pose.network.state_dict()["stem.0.weight"]
    )
    with pytest.raises(InputError, match="has no encoder"):
        load_encoder(torch.nn.Linear(2, 2), {})
    (tmp_path / "x.safetensors").write_bytes(b"no tensors")
    with pytest.raises(InputError, match="cannot start from these weights"):
        start_from(network, tmp_path / "x.safetensors")


def test_an_image_that_one_source_holds_out_is_not_trained_on_in_another(recipe_file, tmp_path, caplog):
    held_out = next(
        image for image in (tmp_path / "one" / "images").iterdir() if image.name.endswith("one2.png")
    )
    copied = sorted((tmp_path / "two" / "images").iterdir())[0]
    shutil.copyfile(held_out, copied)
    labels, _ = load_sources(load_recipe(recipe_file))
    names = {record.image.name for record in labels.records}
    assert len(names) == 3  # two of the first day of "one", one of "two"
    assert not {held_out.name, copied.name} & names
    assert f"1 images are copies of images held out; left out: {copied.name}" in caplog.text
    held = validation_labels(load_recipe(recipe_file, ["validation.held_out=true"]))
    assert {record.image.name for record in held.records} == {held_out.name}
