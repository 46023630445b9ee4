"""Fine-tuning: what each way takes over and learns, the folder it leaves, and a kill half way."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from data import need
from fakes import fake_model
from label_sets import assert_same

import adaptation
import zoo
from adaptation.eks.members import Member, check_members, member_paths
from adaptation.fine_tuning import METHODS, choose_frames, fine_tune, fine_tuning_recipe, starting_network
from adaptation.memory_replay import Replay
from app.cli import build_parser, main
from app.finetune_command import compare_on_rest, project_labels
from converters import convert_labels, load_superset
from converters.synthetic import lab_named, synthesize
from superset_vocab import InputError, LabelSet, Visibility, load_vocabulary
from training.evaluate import evaluate_model
from training.initial_weights import encoder_names
from zoo.catalogue import find_model
from zoo.given_boxes import WholeFrame
from zoo.model_folder import read_model_folder
from zoo.networks import build
from zoo.pose import PoseInput, TopDownPose

FAST = ("schedule.iterations=4", "schedule.batch_size=2", "run.checkpoint_every=2", "schedule.warmup=0")
DEFINED = ("nose", "left_ear", "right_ear", "tail_base")


@pytest.fixture(scope="module")
def model() -> zoo.Model:
    return zoo.load("superanimal_topviewmouse", "compact", "cpu")


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A superset dataset of rendered mice that define the four openfield keypoints only."""
    folder = tmp_path_factory.mktemp("project")
    raw = synthesize(lab_named("openfield"), 8, folder / "raw", seed=5)
    convert_labels(raw, "synthetic_openfield", folder / "all")
    return folder / "all"


@pytest.fixture(scope="module")
def labels(project: Path) -> LabelSet:
    return load_superset(project)


def tensors(network: torch.nn.Module) -> dict[str, torch.Tensor]:
    return {name: tensor.float() for name, tensor in network.state_dict().items()}


def test_the_public_name_is_the_function_whatever_was_imported_before() -> None:
    """A module of the same name would take its place once it is imported."""
    assert adaptation.fine_tune is fine_tune


def test_the_rendered_project_is_like_openfield(labels: LabelSet) -> None:
    defined = (labels.records[0].visibility != Visibility.UNDEFINED).any(0)
    assert [n for n, d in zip(labels.keypoints, defined, strict=True) if d] == list(DEFINED)


@pytest.mark.parametrize("method", METHODS)
def test_what_each_way_takes_over(model: zoo.Model, labels: LabelSet, method: str) -> None:
    torch.manual_seed(0)
    new = tensors(starting_network(model, fine_tuning_recipe(model.spec, labels, method), method))
    old, encoder = tensors(model.pose.network), encoder_names(model.pose.network)
    weights = [n for n in old if n.endswith("weight") and old[n].ndim == 4]
    same = {n for n in weights if torch.equal(old[n], new[n])}
    expected = {"replay": set(weights), "naive": set(weights), "scratch": set()}
    expected["transfer"] = set(weights) & set(encoder)
    assert same == expected[method]
    assert 0 < len(expected["transfer"]) < len(weights)


def test_small_sets_keep_their_statistics_where_a_network_goes_on(model: zoo.Model, labels: LabelSet) -> None:
    recipes = {m: fine_tuning_recipe(model.spec, labels, m).schedule for m in METHODS}
    assert {m: s.small_set_images for m, s in recipes.items()} == {
        "replay": 64,
        "naive": 64,
        "transfer": 0,
        "scratch": 0,
    }
    published = find_model("superanimal_quadruped", "hrnet_w32")
    recipe = fine_tuning_recipe(published, labels, "replay")
    assert recipe.schedule.small_set_lr == 5e-5  # the paper's
    assert (recipe.batch.normalisation, recipe.loss.heatmap, recipe.augmentation.rotate) == (
        "imagenet",
        "mse",
        30,
    )
    resnet = fine_tuning_recipe(find_model("superanimal_bird", "resnet_50"), labels, "naive")
    assert resnet.loss.locref != "none"
    changed = fine_tuning_recipe(model.spec, labels, "naive", ["schedule.lr=1e-5"])
    assert changed.schedule.lr == 1e-5
    with pytest.raises(InputError, match="unknown entry 'speed'"):
        fine_tuning_recipe(model.spec, labels, "naive", ["schedule.speed=1"])


@pytest.fixture(scope="module")
def tuned(
    model: zoo.Model, labels: LabelSet, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, zoo.Model]:
    folder = tmp_path_factory.mktemp("tuned")
    return {
        method: fine_tune(
            model,
            labels,
            folder / method,
            method=method,
            replay=Replay(bboxes="labels") if method == "replay" else None,
            overrides=FAST,
        )
        for method in METHODS
    }


def test_the_result_is_a_model_that_names_its_parent(
    model: zoo.Model, tuned: dict[str, zoo.Model], labels: LabelSet
) -> None:
    child = tuned["replay"]
    assert child.vocabulary.keypoints == model.vocabulary.keypoints
    parent = child.spec.parent
    assert (parent.name, parent.variant, parent.method) == ("superanimal_topviewmouse", "compact", "replay")
    assert parent.sha256 == model.weights["pose"]["sha256"]
    found = child.predict(str(labels.records[0].image))
    assert found.provenance["parent"]["sha256"] == parent.sha256
    assert found.provenance["weights"]["pose"]["sha256"] == child.spec.pose.weights.sha256
    folder = child.spec.pose.weights.folder
    record = json.loads((folder / "run.json").read_text())
    assert record["replay"]["n_replayed"] > 0
    assert record["training"]["iterations"] == 4
    assert record["training"]["recipe"]["schedule"]["batch_norm"] == "fixed"
    assert record["training"]["command"] == ""  # no single `zoo train` makes it again
    assert [op["name"] for op in record["operations"]][-2:] == ["project", "fine_tune"]
    assert (folder / "preview.png").stat().st_size > 1000
    assert "replay" in (folder / "README.md").read_text()
    assert "synthetic_openfield: 8 images" in child.spec.training_data[-1]
    assert child.spec.evaluation == {}  # the parent's figures are not the child's
    network, old = tensors(child.pose.network), tensors(model.pose.network)
    assert any(not torch.equal(network[n], old[n]) for n in network)
    assert all(torch.equal(network[n], old[n]) for n in network if "running" in n)  # batch norm was fixed
    detector, old = tensors(child.detector.network), tensors(model.detector.network)
    assert all(torch.equal(detector[n], old[n]) for n in old)


def test_keypoints_that_were_never_learned_are_missing(
    model: zoo.Model, tuned: dict[str, zoo.Model], labels: LabelSet
) -> None:
    """A new decoder knows the labelled keypoints only; going on keeps all, as good as they may be."""
    image = str(labels.records[0].image)
    for method, child in tuned.items():
        points = child.predict(image, bboxes_xywh=[[0, 0, 200, 200]]).keypoints[0, 0]
        there = [n for n, ok in zip(labels.keypoints, np.isfinite(points).all(-1), strict=True) if ok]
        assert there == (list(labels.keypoints) if method in ("replay", "naive") else list(DEFINED))
    assert set(tuned["scratch"].spec.pose.untrained) == set(labels.keypoints) - set(DEFINED)
    assert tuned["scratch"].spec.training_data[0].startswith("synthetic_openfield")


def test_threshold_one_gives_the_weights_of_naive_fine_tuning(
    model: zoo.Model, tuned: dict[str, zoo.Model], labels: LabelSet, tmp_path: Path
) -> None:
    one = fine_tune(model, labels, tmp_path / "one", replay=Replay(1.0, "labels"), overrides=FAST)
    a, b, c = (tensors(m.pose.network) for m in (one, tuned["naive"], tuned["replay"]))
    assert all(torch.equal(a[name], b[name]) for name in a)
    assert any(not torch.equal(a[name], c[name]) for name in a)


def test_the_parent_is_left_as_it_was(model: zoo.Model, tuned: dict[str, zoo.Model]) -> None:
    again = zoo.load("superanimal_topviewmouse", "compact", "cpu")
    old, new = tensors(again.pose.network), tensors(model.pose.network)
    assert all(torch.equal(old[name], new[name]) for name in old)


def test_a_fine_tuned_model_can_be_fine_tuned(
    tuned: dict[str, zoo.Model], labels: LabelSet, tmp_path: Path
) -> None:
    child = tuned["naive"]
    grandchild = fine_tune(child, labels, tmp_path / "g", method="naive", overrides=FAST)
    assert grandchild.spec.parent.variant == child.spec.variant
    assert grandchild.spec.parent.sha256 == child.spec.pose.weights.sha256


def test_without_a_detector_the_models_own_goes_along(labels: LabelSet, tmp_path: Path) -> None:
    whole = zoo.load("superanimal_topviewmouse", "compact", "cpu", detector="none")
    child = fine_tune(whole, labels, tmp_path / "m", method="naive", overrides=FAST)
    assert child.detector_name == "compact"
    assert child.predict(str(labels.records[0].image)).n_individuals >= 1


def test_a_published_network_whose_detector_is_on_the_hub(labels: LabelSet, tmp_path: Path) -> None:
    """A small HRNet with random weights: colours, ImageNet's normalisation, crops as published."""
    published = find_model("superanimal_topviewmouse", "hrnet_w32")
    small = {**published.pose.options, "variant": "hrnet_w18_small"}
    pose = replace(published.pose, options=small, input={**published.pose.input, "size": 64})
    spec, labels = replace(published, pose=pose), choose_frames(labels, 2)[0]
    vocabulary = load_vocabulary(spec.vocabulary)
    network = build(spec.pose.network, **spec.pose.options).eval()
    pose = TopDownPose(network, PoseInput(**spec.pose.input), flip_index=vocabulary.flip_index)
    weights = {"pose": {"file": "x.pt", "sha256": "12" * 32}}
    parent = zoo.Model(spec, vocabulary, pose, WholeFrame(), "whole_frame", weights=weights)
    child = fine_tune(parent, labels, tmp_path / "m", overrides=(*FAST, "schedule.iterations=1"))
    assert child.spec.detectors == published.detectors  # still where they are published
    assert child.detector_name == "whole_frame"
    recipe = json.loads((tmp_path / "m" / "run.json").read_text())["training"]["recipe"]
    assert (recipe["batch"]["crop"], recipe["batch"]["sigma"]) == ("published", 8.0)
    old, new = tensors(network), tensors(child.pose.network)
    assert set(old) == set(new)
    assert not torch.equal(old["heads.heatmaps.weight"], new["heads.heatmaps.weight"])


def test_fine_tuning_learns(model: zoo.Model, labels: LabelSet, tmp_path: Path) -> None:
    """Labels moved 6 px to the right: the model follows them, on images that it has not seen."""
    moved = replace(
        labels, records=tuple(replace(r, keypoints=r.keypoints + np.array([6.0, 0])) for r in labels.records)
    )
    train, test = choose_frames(moved, 5, seed=0)
    more = ("schedule.iterations=40", "schedule.batch_size=8", "augmentation.flip=0", "augmentation.rotate=0")
    child = fine_tune(model, train, tmp_path / "m", method="naive", overrides=(*FAST, *more))
    before, after = (
        evaluate_model(m, test, split="s", bboxes="labels").errors.mean_distance for m in (model, child)
    )
    assert after < 0.7 * before


def test_frames_are_drawn_by_seed_and_nested(labels: LabelSet) -> None:
    few, rest = choose_frames(labels, 3, seed=1)
    more, _ = choose_frames(labels, 5, seed=1)
    other, _ = choose_frames(labels, 3, seed=2)
    names = [{r.image.name for r in part.records} for part in (few, rest, more, other)]
    assert (len(names[0]), len(names[1]), names[0] & names[1]) == (3, 5, set())
    assert names[0] < names[2]
    assert names[0] != names[3]
    assert_same(choose_frames(labels, 3, seed=1)[0], few)
    with pytest.raises(InputError, match="20 frames asked for, and 8 are labelled"):
        choose_frames(labels, 20)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"method": "magic"}, "'magic' is no way of fine-tuning; there are: replay, naive"),
        ({"method": "naive", "replay": Replay()}, "no effect with method 'naive'"),
        ({"overrides": ["schedule.lr"]}, "is not of the form"),
        ({"overrides": ["batch.context=3.0"]}, "batch.context is 1.25, as the parent's"),
        ({"overrides": ["batch.view=frame"]}, "batch.view is 'crop', as the parent's"),
        ({"overrides": ["data.subset=0.5"]}, "data.sources and data.subset have no effect"),
        ({"overrides": ["validation.held_out=true"]}, "validation. has no effect"),
    ],
)
def test_mistakes_are_told_before_any_work(
    model: zoo.Model, labels: LabelSet, tmp_path: Path, change: dict, words: str
) -> None:
    with pytest.raises(InputError, match=words):
        fine_tune(model, labels, tmp_path / "m", **change)
    assert not (tmp_path / "m" / "training").exists()


def test_models_that_cannot_be_fine_tuned(model: zoo.Model, labels: LabelSet, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is bottom-up"):
        fine_tune(fake_model(), labels, tmp_path / "m")
    simcc = replace(model, spec=find_model("superanimal_quadruped", "rtmpose_s"))
    with pytest.raises(InputError, match="classifies positions by axis"):
        fine_tune(simcc, labels, tmp_path / "m")
    foreign = LabelSet(("a",), (), ())
    with pytest.raises(InputError, match="the labels are in no vocabulary"):
        fine_tune(model, foreign, tmp_path / "m")


def test_several_processes_are_refused(
    model: zoo.Model, labels: LabelSet, tmp_path: Path, monkeypatch
) -> None:
    """Each of them would write the result."""
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(InputError, match="start it without torchrun"):
        fine_tune(model, labels, tmp_path / "m")


def test_a_finished_folder_is_loaded_or_refused(
    model: zoo.Model, tuned: dict[str, zoo.Model], labels: LabelSet
) -> None:
    folder = tuned["naive"].spec.pose.weights.folder
    with pytest.raises(InputError, match="holds a model already"):
        fine_tune(model, labels, folder, method="naive", overrides=FAST)
    again = fine_tune(model, labels, folder, method="naive", overrides=FAST, resume=True)
    assert again.weights["pose"] == tuned["naive"].weights["pose"]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"method": "naive"}, "it was made by another method"),
        ({"labels": slice(4)}, "the labels, or the frames drawn from them, have changed"),
        ({"replay": Replay(threshold=0.9)}, "memory replay was done in another way"),
        ({"overrides": [*FAST, "schedule.lr=1e-5"]}, "schedule.lr was 0.001 and is now 1e-05"),
    ],
)
def test_a_finished_model_is_not_taken_for_one_that_was_asked_for_otherwise(
    model: zoo.Model, tuned: dict[str, zoo.Model], labels: LabelSet, change: dict, words: str
) -> None:
    """Its frames left over would be tested on, and they may be frames that it was trained on."""
    folder = tuned["replay"].spec.pose.weights.folder
    few = replace(labels, records=labels.records[change.pop("labels", slice(None))])
    asked = {"method": "replay", "overrides": FAST, **change}
    with pytest.raises(InputError, match=f"(?s)holds another model already.*{words}"):
        fine_tune(model, few, folder, **asked, resume=True)


KILLED = (
    "--set=schedule.iterations=12",
    "--set=schedule.batch_size=4",
    "--set=run.checkpoint_every=2",
    "--set=run.log_every=2",
)


def test_killed_and_resumed_to_the_same_weights(project: Path, tmp_path: Path) -> None:
    """SIGKILL after the first checkpoint, when zero-shot predictions and half of the steps are done."""
    command = ["finetune", str(project), "--variant", "compact", "--frames", "4", "--device", "cpu", *KILLED]
    assert main([*command, "--out", str(tmp_path / "whole")]) == 0
    out = tmp_path / "killed"
    environment = {**os.environ, "OMP_NUM_THREADS": str(torch.get_num_threads())}
    process = subprocess.Popen(
        [sys.executable, "-m", "app.cli", *command, "--out", str(out)],
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    deadline = time.monotonic() + 120
    while not (out / "training" / "checkpoint.pt").exists() and time.monotonic() < deadline:
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (out / "model.toml").exists()
    checkpoint = torch.load(out / "training" / "checkpoint.pt", weights_only=True)
    assert 0 < checkpoint["iteration"] < 12
    stored = {p.name: p.stat().st_mtime_ns for p in (out / "training").rglob("*.safetensors")}
    assert main([*command, "--out", str(out), "--resume"]) == 0
    a, b = (read_model_folder(folder).pose.weights.sha256 for folder in (tmp_path / "whole", out))
    assert a == b
    again = {p.name: p.stat().st_mtime_ns for p in (out / "training" / "zero_shot").rglob("*.safetensors")}
    assert again == stored  # the predictions that are replayed are those from before the kill


def test_command_tests_on_the_frames_that_are_left(project: Path, tmp_path: Path, capsys) -> None:
    fast = [f"--set={change}" for change in FAST]
    command = ["finetune", str(project), "--variant", "compact", "--out", str(tmp_path / "m"), *fast]
    assert main([*command, "--frames", "5", "--seed", "3"]) == 0
    out = capsys.readouterr().out
    assert "3 labelled frames that were not used" in out
    assert "zero-shot" in out
    assert "keypoints that the target does not define" in out
    content = json.loads((tmp_path / "m" / "evaluation.json").read_text())
    assert content["replay"]["n_images"] == 3
    assert len(content["forgetting"]["keypoints"]) == 23
    assert zoo.load(tmp_path / "m").spec.variant == "compact-synthetic_openfield-replay"
    capsys.readouterr()
    ask = ["evaluate", str(tmp_path / "m"), str(project), "--boxes", "labels", "--out", str(tmp_path / "e")]
    code = main([*ask, "--against", "superanimal_topviewmouse/compact", "--target", str(project)])
    assert code == 0
    content = json.loads((tmp_path / "e" / "evaluation.json").read_text())
    assert content["split"] == "all, 5 of its 8 images trained on"  # which a card would say, too
    assert content["against"]["provenance"]["variant"] == "compact"
    assert content["provenance"]["parent"]["variant"] == "compact"
    assert content["forgetting"]["dropping_before"]["n_keypoints"] == 23


def test_figures_of_some_keypoints_are_not_those_of_all(project: Path, tmp_path: Path) -> None:
    """A card replaces figures by the name of the split."""
    ask = ["evaluate", "superanimal_topviewmouse", str(project), "--variant", "compact", "--boxes", "labels"]
    for options, words in (
        ([], "all"),
        (["--keypoints", "nose,tail_base"], "all, nose and tail_base only"),
        (["--split", "day 3", "--preset", "paper"], "day 3, as the paper (context 1.25, flip test)"),
    ):
        assert main([*ask, *options, "--out", str(tmp_path), "--overwrite"]) == 0
        assert json.loads((tmp_path / "evaluation.json").read_text())["split"] == words


def test_a_model_is_compared_with_another_one_of_the_same_name(
    tuned: dict[str, zoo.Model], project: Path, tmp_path: Path, monkeypatch
) -> None:
    """The published model with weights of one's own, against itself."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    own = tuned["naive"].spec.pose.weights.path
    ask = ["evaluate", "superanimal_topviewmouse", str(project), "--variant", "compact", "--boxes", "labels"]
    ask += ["--weights", str(own), "--against", "superanimal_topviewmouse", "--out", str(tmp_path)]
    with pytest.warns(zoo.EmbeddedWeightsWarning):
        assert main(ask) == 0
    content = json.loads((tmp_path / "evaluation.json").read_text())
    mine, published = (
        one["provenance"]["weights"]["pose"]["sha256"] for one in (content, content["against"])
    )
    assert (mine, published) == (
        tuned["naive"].weights["pose"]["sha256"],
        find_model("superanimal_topviewmouse", "compact").pose.weights.sha256,
    )
    assert content["errors"] != content["against"]["errors"]


def test_a_models_folder_matches_and_is_a_member_of_an_ensemble(
    tuned: dict[str, zoo.Model], tmp_path: Path
) -> None:
    """Wherever a published model's name is taken; several fine-tunings are what people smooth."""
    members = [Member.parse(str(tuned[name].spec.pose.weights.folder)) for name in ("replay", "naive")]
    check_members(members)
    names = [path.name for path in member_paths(tmp_path, Path("a.mp4"), members)]
    assert names == ["a.member0.replay.h5", "a.member1.naive.h5"]
    with pytest.raises(InputError, match=r"members: .*nothing: "):
        check_members([Member.parse(f"{tmp_path}/nothing")])
    source, folder = need("openfield-Pranav-2018-10-30"), tuned["replay"].spec.pose.weights.folder
    ask = ["match", str(source), "--model", str(folder), "--out", str(tmp_path / "m"), "--max-images", "2"]
    assert main([*ask, "--quiet"]) == 0
    assert (tmp_path / "m" / "keypoint_map.toml").is_file()


def test_frames_that_the_parent_was_fine_tuned_on_do_not_test_the_child(
    model: zoo.Model, labels: LabelSet, tmp_path: Path
) -> None:
    """A few frames more are labelled, and the model goes on."""

    def some(start: int, stop: int) -> LabelSet:
        return replace(labels, records=labels.records[start:stop])

    parent = fine_tune(model, some(0, 3), tmp_path / "parent", method="naive", overrides=FAST)
    child = fine_tune(parent, some(3, 5), tmp_path / "child", method="naive", overrides=FAST)
    found = compare_on_rest(parent, child, some(3, 5), labels, method="naive", boxes="labels")
    assert found is not None
    assert (found.reports["naive"].n_images, found.n_known) == (3, 5)
    assert compare_on_rest(parent, child, some(0, 1), some(0, 5), method="naive", boxes="labels") is None


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--method", "naive", "--threshold", "0.5"], "--threshold has no effect"),
        (["--map", "dlc-openfield"], "is in a superset vocabulary already, --map has no effect"),
        (["--dataset", "mine"], "already, --format and --dataset have no effect"),
        (["--frames", "100"], "100 frames asked for, and 8 are labelled"),
        (["--threshold", "2"], "threshold of memory replay is 2"),
        (["--frames", "3", "--seed", "-1"], "--seed is -1, want 0 or more"),
    ],
)
def test_command_refuses(project: Path, tmp_path: Path, capsys, arguments: list[str], words: str) -> None:
    code = main(["finetune", str(project), "--variant", "compact", "--out", str(tmp_path / "m"), *arguments])
    assert (code, words in capsys.readouterr().err) == (2, True)
    assert not (tmp_path / "m" / "training").exists()


def test_target_without_against_is_refused(project: Path, tmp_path: Path, capsys) -> None:
    code = main(
        ["evaluate", "superanimal_topviewmouse", str(project), "--out", str(tmp_path), "--target", "x"]
    )
    assert (code, "--target has no effect without --against" in capsys.readouterr().err) == (2, True)


def test_a_deeplabcut_project_with_its_map(model: zoo.Model, tmp_path: Path) -> None:
    """Ten frames of the real project; the map is found by the dataset's name, or given."""
    source = need("openfield-Pranav-2018-10-30")
    fast = [f"--set={change}" for change in FAST]
    command = ["finetune", str(source), "--variant", "compact", "--out", str(tmp_path / "m")]
    assert main([*command, "--frames", "10", "--dataset", "dlc-openfield", *fast]) == 0
    assert json.loads((tmp_path / "m" / "run.json").read_text())["replay"]["n_matched"] == 10
    given, named = (
        project_labels(build_parser().parse_args([*command, *how]), model)
        for how in (["--map", "dlc-openfield"], ["--dataset", "dlc-openfield"])
    )
    assert_same(given, named)


def test_a_project_without_a_map_is_told_how_to_give_one(tmp_path: Path, capsys) -> None:
    """Nothing is trained before somebody has looked at a map."""
    source = need("openfield-Pranav-2018-10-30")
    assert main(["finetune", str(source), "--variant", "compact", "--out", str(tmp_path / "m")]) == 2
    message = capsys.readouterr().err
    assert "--map" in message
    assert "snout" in message
    assert not (tmp_path / "m" / "training").exists()


def test_a_map_into_another_vocabulary_is_refused(tmp_path: Path, capsys) -> None:
    source = need("openfield-Pranav-2018-10-30")
    command = ["finetune", str(source), "--model", "superanimal_quadruped", "--variant", "compact"]
    assert main([*command, "--out", str(tmp_path / "m"), "--map", "dlc-openfield"]) == 2
    assert "predicts superanimal_quadruped; choose another map or model" in capsys.readouterr().err
