"""The tables of a recipe: every entry, its default, and what is wrong with a value.

`training.recipe` reads them from TOML and puts them together.
"""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from superset_vocab.errors import InputError

_LARGEST_SEED = 2**32 - 1  # of numpy's and mmengine's generators


@dataclass(frozen=True)
class Network:
    """Which network: `zoo.networks.build(name, **options)`.

    Attributes:
        name: One of `zoo.networks.NETWORKS`.
        options: Its constructor's arguments. In `outputs`, "K", "2K" and "2E" stand for so many channels: K
            keypoints and E limbs of the labels' vocabulary.
        init: Weights to start from, or "" for random ones: weights.safetensors of an earlier run, a
            published checkpoint, or an embedded weights file.
        init_parts: "all" (strictly the same network) or "encoder": its decoder stays random, which is the
            paper's transfer learning.
    """

    name: str
    options: dict[str, Any] = field(default_factory=dict)
    init: str = ""
    init_parts: str = "all"

    def problems(self) -> list[str]:
        """What is wrong with the values."""
        found = _choice("init_parts", self.init_parts, ("all", "encoder"))
        if self.init_parts != "all" and not self.init:
            found.append("init_parts has no effect without init")
        return found


@dataclass(frozen=True)
class DataSource:
    """One superset label set on disk.

    Attributes:
        path: Folder of a superset COCO dataset, as written by `zoo convert`.
        weight: Factor of its share of the samples.
        split_groups: Use only these split groups; empty for all.
        held_out: Split groups left out.
        held_out_fraction: Share of the groups left out, chosen by the hash of their names
            (`training.splits.hold_out`); for sets of too many groups to name.
        leave_out: Datasets of a merged set left out, e.g. the one to test on (`converters.leave_out`).
    """

    path: str
    weight: float = 1.0
    split_groups: tuple[str, ...] = ()
    held_out: tuple[str, ...] = ()
    held_out_fraction: float = 0.0
    leave_out: tuple[str, ...] = ()

    def problems(self) -> list[str]:
        """What is wrong with the values."""
        found = [f"weight {self.weight:g} is not above 0"] if not self.weight > 0 else []
        if not 0 <= self.held_out_fraction < 1:
            found.append(f"held_out_fraction {self.held_out_fraction:g} is not at least 0 and below 1")
        return found

    def folder(self) -> Path:
        """The path with its environment variables filled in.

        Raises:
            InputError: If a variable is not set.
        """
        expanded = os.path.expandvars(self.path)
        if "$" in expanded:
            raise InputError(f"{self.path}: the environment variable in this data path is not set; export it")
        return Path(expanded).expanduser()


@dataclass(frozen=True)
class Data:
    """What to learn from.

    Attributes:
        sources: The label sets.
        balance: Alpha of `training.sampling`: 1 for equal shares of the datasets, 0 for equal probabilities
            of the samples.
        subset: Share of the images that are used, drawn at random from every dataset.
        subset_seed: Which ones.
        bad_images: What happens if an image cannot be decoded or has not the size that its labels say:
            "refuse" (all are named, nothing is trained) or "skip" (they are named and left out).
    """

    sources: tuple[DataSource, ...]
    balance: float = 1.0
    subset: float = 1.0
    subset_seed: int = 0
    bad_images: str = "refuse"

    def problems(self) -> list[str]:
        """What is wrong with the values."""
        found = [] if self.sources else ["sources is empty"]
        if not 0 <= self.balance <= 1:
            found.append(f"balance {self.balance:g} is not within 0 and 1")
        if not 0 < self.subset <= 1:
            found.append(f"subset {self.subset:g} is not above 0 and at most 1")
        if self.subset_seed < 0:
            found.append(f"subset_seed {self.subset_seed} is negative")
        return found + _choice("bad_images", self.bad_images, ("refuse", "skip"))


@dataclass(frozen=True)
class Batch:
    """How an image becomes input and targets.

    Attributes:
        view: "crop" around each instance, the whole "frame", "detector" (frame, centre and size), or
            "boxes" (frame and boxes, for mmdet's detectors).
        input_size: Width and height of the network's input in pixels; equal in the view "crop". In the view
            "boxes" the longest and the shortest side that a frame is scaled up to; equal ones mean a square
            filled up with grey.
        stride: Input pixels per heatmap cell.
        sigma: Standard deviation of the Gaussian target in input pixels.
        context: Side of a crop as a multiple of the instance's larger extent.
        grey: Whether colours are removed.
        normalisation: "image" (each image to mean 0 and deviation 1) or "imagenet" (as the published
            networks and all pretrained backbones want them); no effect in the view "boxes".
        crop: "square", or "published": keypoints lie half an image pixel higher and further left than the
            picture shows them, which is where the published top-down networks were taught to find them
            (`zoo.crops`, whose entry of that name takes it back). For fine-tuning these.
    """

    view: str = "crop"
    input_size: tuple[int, ...] = (256, 256)
    stride: int = 4
    sigma: float = 4.0
    context: float = 1.5
    grey: bool = False
    normalisation: str = "image"
    crop: str = "square"

    def problems(self) -> list[str]:
        """What is wrong with the values."""
        found = _choice("view", self.view, ("crop", "frame", "detector", "boxes"))
        found += _choice("normalisation", self.normalisation, ("image", "imagenet"))
        found += _choice("crop", self.crop, ("square", "published"))
        if self.crop == "published" and self.view != "crop":
            found.append(f'crop = "published" has no effect in the view {self.view!r}')
        if self.grey and self.normalisation == "imagenet":
            found.append('grey goes with normalisation = "image" only: ImageNet has three channels')
        found += _positive(self, "stride", "sigma", "context")
        if len(self.input_size) != 2 or min(self.input_size, default=0) < 1:
            found.append(f"input_size {list(self.input_size)} is not [width, height] in pixels")
        elif self.view == "boxes":
            if self.input_size[1] > self.input_size[0]:
                found.append(f"input_size {list(self.input_size)} is not [longest, shortest side] of a frame")
        elif self.view == "crop" and self.input_size[0] != self.input_size[1]:
            found.append(f"input_size {list(self.input_size)} is not square, as crops around animals are")
        elif self.stride > 0 and any(side % self.stride for side in self.input_size):
            found.append(f"input_size {list(self.input_size)} is not a multiple of stride {self.stride}")
        return found


@dataclass(frozen=True)
class AugmentOptions:
    """The [augmentation] table of a recipe; probabilities are per image.

    Attributes:
        rotate: Largest rotation in degrees, either way; 180 for top views.
        scale: Smallest and largest factor on the animal's size.
        shift: Largest shift as a fraction of what is cut out before augmentation: the input, in the view
            "crop" 1.5 times the input.
        flip: Probability of mirroring left and right.
        light: Probability of changing brightness, contrast and gamma.
        invert: Probability of the negative image.
        blur: Probability of defocus or motion blur.
        noise: Probability of sensor noise, compression or lost resolution.
        occlude: Probability of covering parts with blank boxes.
        half_body: Probability of a crop around the front or the hind half of the animal alone, if at least
            `half_body_keypoints` are annotated (HRNet's half-body transformation; view "crop" only).
        half_body_keypoints: See there.
    """

    rotate: float = 180.0
    scale: tuple[float, ...] = (0.75, 1.3)
    shift: float = 0.08
    flip: float = 0.5
    light: float = 0.8
    invert: float = 0.0
    blur: float = 0.3
    noise: float = 0.5
    occlude: float = 0.3
    half_body: float = 0.0
    half_body_keypoints: int = 8

    def problems(self) -> list[str]:
        """What is wrong with the values."""
        names = ("flip", "light", "invert", "blur", "noise", "occlude", "half_body")
        found = [f"{n} {v:g} is no probability" for n in names if not 0 <= (v := getattr(self, n)) <= 1]
        if len(self.scale) != 2 or not 0 < self.scale[0] <= self.scale[1]:
            found.append(f"scale {list(self.scale)} is not [smallest, largest]")
        if self.half_body_keypoints < 4:
            found.append(f"half_body_keypoints {self.half_body_keypoints} is below 4: two in each half")
        return found + [f"{n} {v:g} is negative" for n in ("rotate", "shift") if (v := getattr(self, n)) < 0]


@dataclass(frozen=True)
class Loss:
    """Terms of the loss and their factors (`training.losses`); "none" leaves a term out.

    `stages_weight` is the factor of the heatmaps and part affinity fields of a network's earlier stages, each
    stage counting like the last one; mmdet's detectors bring a loss of their own and use none of these.
    """

    heatmap: str = "mse"
    heatmap_weight: float = 1.0
    spatial_weight: float = 0.0
    locref: str = "none"
    locref_weight: float = 0.05
    size: str = "none"
    size_weight: float = 0.1
    pafs: str = "none"
    pafs_weight: float = 0.1
    stages_weight: float = 1.0

    def problems(self) -> list[str]:
        """What is wrong with the values."""
        found = _choice("heatmap", self.heatmap, ("mse", "cross_entropy", "binary_cross_entropy"))
        found += _choice("locref", self.locref, ("none", "l1", "huber"))
        found += _choice("size", self.size, ("none", "l1", "huber"))
        found += _choice("pafs", self.pafs, ("none", "l1", "huber"))
        for name in ("spatial_weight", "stages_weight"):
            if getattr(self, name) < 0:
                found.append(f"{name} {getattr(self, name):g} is negative")
        return found + _positive(self, "heatmap_weight", "locref_weight", "size_weight", "pafs_weight")


@dataclass(frozen=True)
class Schedule:
    """The optimisation.

    Attributes:
        optimiser: "adam", "adamw" or "sgd" (momentum 0.9, Nesterov).
        lr: Peak learning rate.
        weight_decay: Not applied to biases and normalisation layers.
        iterations: Optimiser steps; leave it out where `epochs` is given.
        epochs: Passes over the data, of as many draws as there are samples, or 0. When a run begins they
            become `iterations`, and `milestone_epochs` become `milestones` (`training.resolve`).
        warmup: Steps over which the learning rate rises linearly from 0.
        decay: "constant", "cosine" (to final_factor * lr), "multistep" (times gamma at each milestone),
            or "onecycle" (cosine from lr / 25 up over the first 30 %, then down to final_factor * lr).
        milestones: Steps, for "multistep".
        milestone_epochs: Likewise in epochs, where `epochs` is given.
        gamma: Factor at a milestone.
        final_factor: Last learning rate as a part of lr, for "cosine" and "onecycle".
        batch_size: Samples per forward pass, over all processes together.
        accumulate: Forward passes per optimiser step.
        clip_norm: Largest norm of the gradient; 0 for no limit.
        amp: "none", "float16" (needs a GPU) or "bfloat16" mixed precision.
        ema: Decay per step of the averaged weights that are published; 0 for none.
        batch_norm: "batch" (each process normalises by its own part of the batch), "synchronised" (by the
            whole batch of all processes) or "fixed" (by the running statistics that the network came with,
            which stay as they are; scale and shift are trained).
        small_set_images: With fewer different images than this, batch_norm becomes "fixed" and lr becomes
            `small_set_lr`, as the paper fine-tunes with fewer than 64; 0 for never.
        small_set_lr: See there.
    """

    optimiser: str = "adamw"
    lr: float = 1e-3
    weight_decay: float = 0.0
    iterations: int = 10_000
    epochs: float = 0.0
    warmup: int = 0
    decay: str = "cosine"
    milestones: tuple[int, ...] = ()
    milestone_epochs: tuple[float, ...] = ()
    gamma: float = 0.1
    final_factor: float = 0.01
    batch_size: int = 16
    accumulate: int = 1
    clip_norm: float = 0.0
    amp: str = "none"
    ema: float = 0.0
    batch_norm: str = "batch"
    small_set_images: int = 0
    small_set_lr: float = 5e-5

    def problems(self) -> list[str]:
        """What is wrong with the values."""
        found = _choice("optimiser", self.optimiser, ("adam", "adamw", "sgd"))
        found += _choice("decay", self.decay, ("constant", "cosine", "multistep", "onecycle"))
        found += _choice("amp", self.amp, ("none", "float16", "bfloat16"))
        found += _choice("batch_norm", self.batch_norm, ("batch", "synchronised", "fixed"))
        found += _positive(self, "lr", "iterations", "batch_size", "accumulate", "gamma", "small_set_lr")
        for name in ("weight_decay", "warmup", "clip_norm", "final_factor", "epochs", "small_set_images"):
            if getattr(self, name) < 0:
                found.append(f"{name} {getattr(self, name):g} is negative")
        if not 0 <= self.ema < 1:
            found.append(f"ema {self.ema:g} is not at least 0 and below 1")
        if self.decay == "onecycle" and self.warmup:
            found.append("onecycle warms up by itself; leave warmup at 0")
        if (self.decay == "multistep") != bool(self.milestones or self.milestone_epochs):
            found.append("milestones and decay = 'multistep' go together")
        return found + self._unit_problems()

    def _unit_problems(self) -> list[str]:
        """Steps and epochs given for the same thing."""
        if not self.epochs:
            return ["milestone_epochs needs epochs"] if self.milestone_epochs else []
        found = []
        if self.iterations != type(self).iterations:
            found.append("iterations and epochs are both given; leave one out (epochs=0 for none)")
        if self.milestones:
            found.append("with epochs, give milestone_epochs in place of milestones")
        return found

    def learning_rate(self, step: int) -> float:
        """Learning rate of optimiser step 0, 1, ...; a pure function, so that resuming needs no state."""
        if step < self.warmup:
            return self.lr * (step + 1) / self.warmup
        done = (step - self.warmup) / max(1, self.iterations - self.warmup)
        final = self.final_factor * self.lr
        if self.decay == "cosine":
            return _cosine(self.lr, final, done)
        if self.decay == "multistep":
            return self.lr * self.gamma ** sum(step >= milestone for milestone in self.milestones)
        if self.decay == "onecycle":
            rising = 0.3
            if done < rising:
                return _cosine(self.lr / 25, self.lr, done / rising)
            return _cosine(self.lr, final, (done - rising) / (1 - rising))
        return self.lr


METRICS = {"loss": False, "rmse": False, "oks_recall": True, "map": True}
"""What a validation can be judged by -> whether more is better (`training.validation`)."""


@dataclass(frozen=True)
class Validation:
    """What a network in training is measured on; without images there is no validation.

    Attributes:
        held_out: Measure on what the [data] sources hold out.
        sources: Further label sets to measure on.
        metric: "loss", "rmse" (mean distance in image pixels) or "oks_recall" (of poses in the labels'
            boxes) in the view "crop"; "loss" in "frame" and "detector"; "map" (of boxes) in "boxes".
        every: Optimiser steps between measurements.
        patience: Measurements without a better value after which the run ends; 0 for never.
        publish: "best" (the weights of the best measurement) or "last".
    """

    held_out: bool = False
    sources: tuple[DataSource, ...] = ()
    metric: str = "loss"
    every: int = 1000
    patience: int = 0
    publish: str = "best"

    def problems(self) -> list[str]:
        """What is wrong with the values."""
        found = _choice("metric", self.metric, tuple(METRICS)) + _positive(self, "every")
        found += _choice("publish", self.publish, ("best", "last"))
        if self.patience < 0:
            found.append(f"patience {self.patience} is negative")
        if self.patience and not self.asked:
            found.append("patience needs something to measure on: held_out = true, or sources")
        return found

    @property
    def asked(self) -> bool:
        """Whether there is anything to measure on."""
        return self.held_out or bool(self.sources)


@dataclass(frozen=True)
class Run:
    """The run around the optimisation.

    Attributes:
        seed: Of initial weights, samples and augmentation.
        weights_seed: Of the initial weights alone; -1 for `seed`.
        order_seed: Of the order of samples, augmentation and dropout alone; -1 for `seed`.
        checkpoint_every: Optimiser steps between checkpoints.
        log_every: Optimiser steps between lines of the log.
        workers: Processes that load samples; 0 for none beside the training itself.
        cache_mb: Megabytes of decoded images that each of these processes keeps.
        masking: False trains without keypoint gradient masking (`training.losses.keypoint_weight`).
        channels_last: The memory layout that convolutions are fastest in; False keeps PyTorch's usual one.
        compile: Backend of torch.compile: "inductor" (needs a C++ compiler or a GPU), "aot_eager" (to find
            errors), or "none".
    """

    seed: int = 0
    weights_seed: int = -1
    order_seed: int = -1
    checkpoint_every: int = 1000
    log_every: int = 50
    workers: int = 2
    cache_mb: int = 4000
    masking: bool = True
    channels_last: bool = True
    compile: str = "none"

    def problems(self) -> list[str]:
        """What is wrong with the values."""
        found = _positive(self, "checkpoint_every", "log_every")
        least = {"seed": 0, "workers": 0, "cache_mb": 0, "weights_seed": -1, "order_seed": -1}
        found += [
            f"{n} {v} is negative" if low == 0 else f"{n} {v} is below {low}"
            for n, low in least.items()
            if (v := getattr(self, n)) < low
        ]
        found += [
            f"{n} {v} is above {_LARGEST_SEED}"
            for n in ("seed", "weights_seed", "order_seed")
            if (v := getattr(self, n)) > _LARGEST_SEED
        ]
        return found + _choice("compile", self.compile, ("none", "inductor", "aot_eager"))

    @property
    def seed_of_weights(self) -> int:
        """The seed that the initial weights are drawn with."""
        return self.seed if self.weights_seed < 0 else self.weights_seed

    @property
    def seed_of_order(self) -> int:
        """The seed of everything that is drawn while training."""
        return self.seed if self.order_seed < 0 else self.order_seed


def _choice(name: str, value: str, choices: Sequence[str]) -> list[str]:
    return [] if value in choices else [f"{name} {value!r} is none of {', '.join(choices)}"]


def _positive(table: Any, *names: str) -> list[str]:
    return [f"{n} {getattr(table, n):g} is not above 0" for n in names if not getattr(table, n) > 0]


def _cosine(start: float, end: float, done: float) -> float:
    """From start to end along half a cosine as `done` goes from 0 to 1."""
    return end + (start - end) * (1 + math.cos(math.pi * done)) / 2
