"""Fine-tuning a model on labels of one's own, in the ways that the SuperAnimal paper compares.

    replay     encoder and decoder go on from the model; undefined keypoints are replayed from its own
               zero-shot predictions (`adaptation.memory_replay`)
    naive      the same with the labels as they are: the keypoints they do not define may be forgotten
    transfer   the encoder goes on, the decoder starts anew; only labelled keypoints are learned
    scratch    nothing is taken over, the baseline of the benchmark

Whatever the way, the result has all channels of the vocabulary; those that it never learned are named in
its spec and come out as missing. It is a model's folder (`zoo.model_folder`) that names its parent:

    out/model.toml, weights.safetensors, run.json, README.md, preview.png
    out/training/     the run: recipe.toml, log.csv, checkpoint.pt (`training.fit`)
    out/training/zero_shot/   what is replayed, unless `Replay.store` is another folder

A run that was killed goes on with `resume=True` and ends with the same weights.
"""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn

from adaptation.memory_replay import Replay, Replayed, replayed_labels
from converters.views import subset
from superset_vocab import InputError, LabelSet
from superset_vocab.errors import all_problems
from superset_vocab.files import make_folder, read_json, sha256_of
from superset_vocab.provenance import operation, package_version
from superset_vocab.toml_text import toml_table
from training.batches import build_dataset
from training.checkpoints import label_sha256, recipe_differences
from training.comparison import target_keypoints
from training.evaluate import label_boxes
from training.fit import FitResult, fit
from training.from_recipe import check_takes
from training.initial_weights import load_encoder, start_from
from training.recipe import Recipe, parse_recipe
from zoo.catalogue import ModelSpec, Parent
from zoo.model_folder import RECORD_FILE, SPEC_FILE, read_model_folder, write_model_folder
from zoo.networks import build
from zoo.pose import TopDownPose

if TYPE_CHECKING:
    from zoo.model import Model

_log = logging.getLogger(__name__)

METHODS = ("replay", "naive", "transfer", "scratch")
_TOP_VIEWS = ("superanimal_topviewmouse",)  # seen from above there is no up: any rotation is as likely


def fine_tune(
    model: Model,
    labels: LabelSet,
    out: Path,
    *,
    method: str = "replay",
    replay: Replay | None = None,
    overrides: Sequence[str] = (),
    resume: bool = False,
    progress: bool = False,
) -> Model:
    """Fine-tune a top-down model and write it as a model's folder.

    Args:
        model: From `zoo.load`; it is not changed. The training runs on its device.
        labels: In its vocabulary (`converters`); a project's keypoints that the vocabulary does not have
            are not learned.
        out: New folder for the result.
        method: One of `METHODS`; see the module's text.
        replay: How memory replay is done; None takes the defaults. Only with method "replay".
        overrides: Changes to the recipe of `fine_tuning_recipe`, like "schedule.iterations=600".
        resume: Go on where a run in `out` stopped, from the start where there is none; a finished one is
            loaded, if labels, method and recipe are the same.
        progress: Show a bar on stderr while zero-shot predictions are made (training shows its own on a
            terminal).

    Returns:
        The fine-tuned model, loaded from its folder onto the device of `model`.

    Raises:
        InputError: If the model cannot be fine-tuned, the labels do not fit it, an override is wrong, or
            `out` holds something else.
    """
    _check(model, labels, method, replay)
    out = make_folder(out)
    recipe = fine_tuning_recipe(model.spec, labels, method, overrides)
    options = replay or Replay()
    asked = _asked(model, labels, method, recipe, options)
    if (out / SPEC_FILE).exists():
        if not resume:
            raise InputError(f"{out}: holds a model already; choose another folder with --out")
        _check_finished(out, asked, recipe)
        return _load(out, model)
    run = out / "training"
    taught, replayed, notes = labels, None, [f"{method} of {model.spec.full_name}"]
    if method == "replay":
        store = options.store or run / "zero_shot"
        replayed, _ = replayed_labels(model, labels, store, options, progress=progress)
        taught = replayed.labels
        notes.append(str(replayed))
    # The crops show what the labels say an animal is, whatever is replayed into them.
    boxes = {r.image: b for r, b in zip(labels.records, label_boxes(labels), strict=True)}
    dataset = build_dataset(recipe, taught, seed=recipe.run.seed_of_order, boxes=boxes)
    torch.manual_seed(recipe.run.seed_of_weights)
    network = starting_network(model, recipe, method)
    check_takes(network, recipe)
    result = fit(
        network,
        dataset,
        recipe,
        run,
        resume=resume,
        data_sha256=label_sha256(taught),
        notes=tuple(notes),
        device=torch.device(model.device),
    )
    _write(model, labels, out, _Made(method, asked, result, replayed))
    return _load(out, model)


def fine_tuning_recipe(
    spec: ModelSpec, labels: LabelSet, method: str, overrides: Sequence[str] = ()
) -> Recipe:
    """The recipe of a fine-tuning: the parent's network and input, and a short schedule.

    Fine-tuning on fewer than 64 images keeps the statistics of batch normalisation and a small learning
    rate (paper, "HRNet-w32"). Where the decoder is new neither would do, so transfer learning and training
    from scratch learn as from the beginning.

    Args:
        spec: Of the parent.
        labels: What it is fine-tuned on.
        method: One of `METHODS`.
        overrides: Changes like "schedule.lr=1e-4".

    Raises:
        InputError: If an override is wrong.
    """
    given = spec.pose.input
    size, stride, decoder = int(given["size"]), int(given["stride"]), given.get("decoder", "gaussian")
    ours = decoder == "gaussian"  # networks of this project; else heatmaps as the publishers train them
    locref = "locref" in spec.pose.options.get("outputs", {})
    goes_on = method in ("replay", "naive")
    top_view = spec.vocabulary in _TOP_VIEWS
    tables: dict[str, dict[str, Any]] = {
        "network": {"name": spec.pose.network, "options": spec.pose.options},
        "data": {"sources": [{"path": source.location or source.dataset} for source in labels.sources]},
        "batch": {
            "view": "crop",
            "input_size": [size, size],
            "stride": stride,
            "sigma": size / 40 if ours else 2.0 * stride,
            "context": float(given.get("context", 1.0)),
            "grey": bool(given.get("grey", False)),
            "normalisation": given.get("normalisation", "image"),
            "crop": given.get("crop", "square"),
        },
        "augmentation": {
            "rotate": 180.0 if top_view else 30.0,
            "scale": [0.75, 1.3],
            "shift": 0.08,
            "invert": 0.0,
        },
        "loss": {
            "heatmap": "binary_cross_entropy" if ours else "mse",
            "heatmap_weight": 18.0 if ours else 1.0,
            "spatial_weight": 1.0 if ours else 0.0,
            "locref": "huber" if locref else "none",
        },
        "schedule": {
            "optimiser": "adamw",
            "lr": 1e-3 if ours else 5e-4,
            "weight_decay": 0.01,
            "iterations": 300,
            "warmup": 20,
            "decay": "cosine",
            "final_factor": 0.05,
            "batch_size": 16,
            "clip_norm": 10.0,
            "small_set_images": 64 if goes_on else 0,
            "small_set_lr": 5e-4 if ours else 5e-5,
        },
        "run": {"checkpoint_every": 50, "log_every": 10, "workers": 0},
    }
    text = "\n".join(toml_table(name, entries) for name, entries in tables.items())
    what = f"fine-tuning of {spec.full_name}"
    recipe = parse_recipe(text, what=what, overrides=overrides)
    _refuse_foreign(recipe, parse_recipe(text), what)
    return recipe


_OF_PARENT = ("view", "input_size", "stride", "context", "grey", "normalisation", "crop")
"""Entries of [batch] that the result has in common with its parent."""


def _refuse_foreign(recipe: Recipe, usual: Recipe, what: str) -> None:
    """Refuse changes to a recipe that would have no effect, or that the result would not be run with.

    Raises:
        InputError: Lists all of them.
    """
    problems = [
        f"batch.{name} is {old!r}, as the parent's: the result is run like its parent"
        for name in _OF_PARENT
        if (old := getattr(usual.batch, name)) != getattr(recipe.batch, name)
    ]
    if recipe.data.sources != usual.data.sources or recipe.data.subset != usual.data.subset:
        problems.append("data.sources and data.subset have no effect: the labels are given (--frames)")
    if recipe.validation != usual.validation:
        problems.append("[validation] has no effect: the labelled frames that are not used test the result")
    if problems:
        raise all_problems(what, problems)


def starting_network(model: Model, recipe: Recipe, method: str) -> nn.Module:
    """A new network with what a way of fine-tuning takes over from the parent.

    With method "scratch", weights that the recipe names (`network.init`, or ImageNet's by
    `network.options.pretrained`) still count.
    """
    network = build(recipe.network.name, **recipe.network.options)
    pose: Any = model.pose
    state = {name: tensor.detach().cpu().float() for name, tensor in pose.network.state_dict().items()}
    whole = {n: t.to(dtype=network.state_dict()[n].dtype) for n, t in state.items()}
    if method in ("replay", "naive"):
        network.load_state_dict(whole)
    elif method == "transfer":
        load_encoder(network, whole, what=model.spec.full_name)
    if recipe.network.init:
        start_from(network, Path(recipe.network.init), parts=recipe.network.init_parts)
    return network


def choose_frames(labels: LabelSet, n_frames: int, *, seed: int = 0) -> tuple[LabelSet, LabelSet]:
    """Draw labelled images at random, as the paper does.

    Args:
        labels: To draw from; images without an annotated keypoint are never drawn.
        n_frames: How many.
        seed: The same seed draws the same ones, and with more frames these and more.

    Returns:
        The images drawn, and the others. They may be of one video: what is measured on the others says
        how well the model does on this recording, not on the next one.

    Raises:
        InputError: If there are fewer than so many.
    """
    annotated = [r for r in labels.records if r.annotated.any()]
    if not 1 <= n_frames <= len(annotated):
        raise InputError(
            f"{n_frames} frames asked for, and {len(annotated)} are labelled; ask for 1 or more of them"
        )
    order = np.random.default_rng(seed).permutation(len(annotated))[:n_frames]
    drawn = {id(annotated[i]) for i in order}
    return subset(labels, lambda r: id(r) in drawn), subset(labels, lambda r: id(r) not in drawn)


def trained_images(model: Model) -> frozenset[str]:
    """The images (`image_key`) that a model in a folder was fine-tuned on, and what it was made from.

    Empty for published models, and where the folder does not say it.
    """
    folder = model.spec.pose.weights.folder
    if folder is None or not (folder / RECORD_FILE).is_file():
        return frozenset()
    content = read_json(folder / RECORD_FILE)
    return frozenset(content.get("images") or ()) if isinstance(content, dict) else frozenset()


def image_key(image: Path) -> str:
    """Beginning of the hash of an image's bytes: a copy by another name has the same."""
    return sha256_of(image)[:16]


def _check(model: Model, labels: LabelSet, method: str, replay: Replay | None) -> None:
    """Refuse what cannot be fine-tuned, before any work."""
    spec = model.spec
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise InputError(
            "fine-tuning is for one process; start it without torchrun (zoo train takes several)"
        )
    if method not in METHODS:
        raise InputError(f"{method!r} is no way of fine-tuning; there are: {', '.join(METHODS)}")
    if replay is not None and method != "replay":
        raise InputError(f"options of memory replay have no effect with method {method!r}; leave them out")
    if not isinstance(model.pose, TopDownPose):
        raise InputError(f"{spec.full_name} is bottom-up; fine-tuning is for top-down models")
    if spec.pose.input.get("decoder", "gaussian") not in ("gaussian", "argmax"):
        raise InputError(
            f"{spec.full_name} classifies positions by axis, for which there is no loss here; fine-tune a "
            "model with heatmaps (hrnet_w32, resnet_50, compact)"
        )
    if labels.keypoints != model.vocabulary.keypoints:
        raise InputError(
            f"the labels are in {labels.vocabulary or 'no vocabulary'}, {spec.full_name} predicts "
            f"{model.vocabulary.name}; convert them with a keypoint map into that vocabulary"
        )


def _asked(model: Model, labels: LabelSet, method: str, recipe: Recipe, replay: Replay) -> dict[str, Any]:
    """What a fine-tuning was asked for; by this a finished one is known again."""
    threshold = model.spec.replay_threshold if replay.threshold is None else replay.threshold
    asked: dict[str, Any] = {
        "parent_sha256": model.weights["pose"]["sha256"],
        "method": method,
        "labels_sha256": label_sha256(labels),
        "recipe": recipe.to_dict(),
    }
    if method == "replay":
        asked["replay"] = {"threshold": threshold, "bboxes": replay.bboxes, "min_oks": replay.min_oks}
    return asked


_WORDS = {
    "parent_sha256": "it is of another parent model",
    "method": "it was made by another method",
    "labels_sha256": "the labels, or the frames drawn from them, have changed",
    "replay": "memory replay was done in another way",
}


def _check_finished(out: Path, asked: dict[str, Any], recipe: Recipe) -> None:
    """Refuse to take a finished model for one that was asked for otherwise.

    Raises:
        InputError: Lists all that differs.
    """
    path = out / RECORD_FILE
    content = read_json(path)
    parent = content.get("parent") or {}
    # Models of earlier versions say less.
    known: dict[str, Any] = {"parent_sha256": parent.get("sha256"), "method": parent.get("method")}
    before: dict[str, Any] = content.get("asked") or known
    problems = [why for name, why in _WORDS.items() if name in before and before[name] != asked.get(name)]
    if "recipe" in before:
        problems += recipe_differences(before["recipe"], recipe, what=f"{path}: the recipe in it")
    if problems:
        raise all_problems(f"{out}: holds another model already; choose another folder with --out", problems)


@dataclass(frozen=True, eq=False)
class _Made:
    """What a fine-tuning did."""

    method: str
    asked: dict[str, Any]
    result: FitResult
    replayed: Replayed | None


def _write(model: Model, labels: LabelSet, out: Path, made: _Made) -> None:
    """The model's folder: spec, networks, record and preview."""
    network = made.result.network.cpu()
    detector, detector_network = _detector(model)
    spec = _child_spec(model, labels, made.method, detector)
    networks = {"pose": network, **({"detector": detector_network} if detector_network is not None else {})}
    record = {
        "package_version": package_version(),
        "parent": asdict(spec.parent) if spec.parent else None,
        "operations": [*labels.operations, operation("fine_tune", method=made.method, n_images=len(labels))],
        "asked": made.asked,
        "images": sorted(trained_images(model) | {image_key(r.image) for r in labels.records}),
        "replay": None if made.replayed is None else _replay_record(made.replayed),
        "training": read_json(made.result.record),
    }
    write_model_folder(out, spec, networks, record=record, preview=_preview(model, network, labels))


def _load(out: Path, parent: Model) -> Model:
    """The model of the folder; without a detector where the parent was used without its one on the Hub."""
    import zoo

    spec = read_model_folder(out)
    away = not all(part.weights.is_local for part in list(spec.detectors.values())[:1])
    used = isinstance(getattr(parent.detector, "network", None), nn.Module)
    return zoo.load(out, device=parent.device, detector="none" if away and not used else None)


def _replay_record(replayed: Replayed) -> dict[str, Any]:
    names = ("n_animals", "n_matched", "n_undefined", "n_replayed", "per_keypoint")
    return {**replayed.labels.operations[-1], **{name: getattr(replayed, name) for name in names}}


def _child_spec(model: Model, labels: LabelSet, method: str, detector: str) -> ModelSpec:
    """The spec of the result: the parent's, but for what fine-tuning changed."""
    parent, taught = model.spec, target_keypoints(labels)
    datasets = "-".join(source.dataset for source in labels.sources)
    kept = set(parent.pose.untrained) if method in ("replay", "naive") else set(model.vocabulary.keypoints)
    data = [f"{s.dataset}: {_count(labels, s.dataset)} images, licence {s.licence}" for s in labels.sources]
    inherited = [] if method == "scratch" else list(parent.training_data)
    licences = sorted({source.licence for source in labels.sources})
    detectors = {
        name: parent.detectors[name] for name in (detector, *parent.detectors) if name in parent.detectors
    }
    return replace(
        parent,
        variant=re.sub(r"[^\w.+-]", "_", f"{parent.variant}-{datasets}-{method}")[:120],
        summary=f"{parent.full_name}, {method} fine-tuning on {datasets} ({len(taught)} keypoints labelled)",
        pose=replace(
            parent.pose,
            untrained=tuple(name for name in model.vocabulary.keypoints if name in kept - set(taught)),
        ),
        detectors=detectors,
        licence=f"{parent.licence}; fine-tuned on data with the licence: {', '.join(licences)}",
        training_data=(*inherited, *data),
        evaluation={},
        default=False,
        parent=Parent(parent.name, parent.variant, model.weights["pose"]["sha256"], method),
    )


def _count(labels: LabelSet, dataset: str) -> int:
    return sum(record.dataset == dataset for record in labels.records)


def _detector(model: Model) -> tuple[str, nn.Module | None]:
    """Name and network of the detector that goes into the folder; no network if it is on the Hub."""
    import zoo

    spec, loaded = model.spec, getattr(model.detector, "network", None)
    if isinstance(loaded, nn.Module) and model.detector_name in spec.detectors:
        return model.detector_name, loaded
    first = spec.default_detector
    if not spec.detectors[first].weights.is_local:
        return first, None
    folder = spec.pose.weights.folder
    again = zoo.load(folder or spec.name, None if folder else spec.variant, "cpu", detector=first)
    return first, getattr(again.detector, "network", None)


def _preview(model: Model, network: nn.Module, labels: LabelSet) -> np.ndarray:
    """The first labelled image with the fine-tuned model's poses."""
    from zoo.drawing import draw_frame
    from zoo.inputs import open_source

    image = str(labels.records[0].image)
    pose: Any = model.pose
    child = replace(model, pose=_with_network(pose, network.to(pose.device)))
    found = child.predict([image], bboxes_xywh=label_boxes(subset(labels, lambda r: r is labels.records[0])))
    frame = next(iter(open_source([image]).batches(1)))[0]
    return draw_frame(frame, found, 0)


def _with_network(pose: TopDownPose, network: nn.Module) -> TopDownPose:
    """The same crops and decoding with another network."""
    other = pose.with_options()
    other.network = network.eval().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return other
