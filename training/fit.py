"""The one optimisation loop, on mmengine's Runner; beside its hooks no other module imports mmengine.

From mmengine come the Runner with its hooks, the optimiser wrapper (accumulation, clipping, gradient
scaling) and the data-parallel wrapper. What a run depends on is kept here so that it can be resumed
exactly: nothing random has a state. The sample at a position, its augmentation, the learning rate of a
step and the dropout of an iteration are pure functions of (seed, position); a checkpoint needs only
the tensors and the number of iterations done. On a CPU with the same number of threads, a run that
was killed and resumed gives bit for bit the weights of one that was not.

An iteration is one forward pass, a step is one update of the weights (`schedule.accumulate` iterations).

The folder of a run: recipe.toml (resolved), log.csv, tensorboard/, checkpoint.pt, with validation also
validation.csv and best.safetensors, and at the end weights.safetensors with run.json and curves.png.
"""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
import uuid
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, cast

import cv2
import torch
from safetensors.torch import load_file
from torch import Tensor, distributed, nn
from torch.utils.data import DataLoader, Dataset

from superset_vocab import InputError
from training.batches import PoseDataset
from training.checkpoints import loss_curve, read_log
from training.hooks import Average, Keep, Pace, Progress, Resume, Validate
from training.objectives import Objective, objective_of
from training.processes import join_processes, synchronise_batch_norm
from training.recipe import Recipe, Schedule
from training.resolve import resolve_schedule
from training.sampling import Balance, BalancedSampler
from training.session import Session, StopRequest, open_session, write_results
from training.validation import validator_of

with warnings.catch_warnings():  # mmengine's imports reach torch.jit.script, deprecated in torch 2.13
    warnings.simplefilter("ignore", DeprecationWarning)
    from mmengine.model import BaseDataPreprocessor, BaseModel, MMDistributedDataParallel
    from mmengine.optim import AmpOptimWrapper, OptimWrapper
    from mmengine.runner import Runner
    from mmengine.runner.base_loop import BaseLoop

_DEFAULT_HOOKS = ("runtime_info", "timer", "sampler_seed", "logger", "param_scheduler", "checkpoint")


class TrainingDataset(Protocol):
    """What `fit` trains on: a torch Dataset whose samples know their dataset.

    Attributes:
        groups: (n,) name of each sample's source dataset.
        n_images: Different images among the samples, for the rule for small sets; where a dataset does not
            say, each sample counts.
    """

    groups: Any

    def __len__(self) -> int: ...

    def __getitem__(self, key: tuple[int, int], /) -> dict[str, Tensor]:
        """The sample at (index, position); augmentation depends on nothing but the seed and the position."""
        ...


@dataclass(frozen=True)
class FitResult:
    """What a finished run gives back.

    Attributes:
        network: With the weights that are in `weights` (of the best measurement, averaged ones, or the last,
            as the recipe says), in evaluation mode.
        weights: weights.safetensors.
        record: run.json.
        steps: Optimiser steps done.
        loss: Mean loss of the last logged steps; NaN if none was logged.
        seconds: Training time over all sessions.
    """

    network: nn.Module
    weights: Path
    record: Path
    steps: int
    loss: float
    seconds: float


def fit(
    network: nn.Module,
    dataset: TrainingDataset,
    recipe: Recipe,
    out: Path,
    *,
    resume: bool = False,
    dataset_weights: Mapping[str, float] | None = None,
    data_sha256: str = "",
    notes: Sequence[str] = (),
    validation: PoseDataset | None = None,
    command: str = "",
    device: torch.device | None = None,
) -> FitResult:
    """Train a network; `training.from_recipe.train` does it from a recipe file.

    Under torchrun every process calls this and the batch is shared among them. Ctrl-C or SIGTERM finishes
    the step, writes a checkpoint and then raises KeyboardInterrupt or SystemExit.

    Args:
        network: Trained in place; maps (B, C, H, W) images to named maps (`training.losses.RecipeLoss`).
        dataset: Samples are dicts with "image" and the targets that the recipe's loss needs.
        recipe: Everything else.
        out: Folder of the run.
        resume: Go on from the folder's checkpoint; from the start where there is none yet.
        dataset_weights: Dataset -> factor of its share of the samples; 1 where not named.
        data_sha256: Hash of the labels, to refuse resuming with others.
        notes: What has been settled already in making the recipe (`training.resolve`), for the records.
        validation: What the recipe's [validation] measures on, without augmentation.
        command: Makes the run again from its folder, for the record; "" where no single one does.
        device: Where to train; None takes this process's GPU where there is one. Only for a single process.

    Raises:
        InputError: If the folder holds a run and `resume` is False, or another run; if the recipe asks
            for what this machine or the network does not have; or if the loss is no longer finite.
    """
    n_images = getattr(dataset, "n_images", len(dataset))
    resolved = resolve_schedule(recipe, n_samples=len(dataset), n_images=n_images)
    recipe, notes = resolved.recipe, (*notes, *resolved.notes)
    if recipe.validation.asked and validation is None:
        raise ValueError("the recipe asks for validation; give fit() its dataset")
    objective = objective_of(recipe)
    with join_processes() as processes:
        state = open_session(
            network,
            recipe,
            out,
            resume=resume,
            data_sha256=data_sha256,
            processes=processes,
            notes=notes,
            skipped_images=getattr(dataset, "skipped", ()),
        )
        state.command, state.device = command, device or processes.device()
        loader = _loader(dataset, objective, state, dataset_weights)
        with StopRequest() as stop, _runner(state, objective, loader) as runner:
            progress = Progress(state)
            hooks = [Resume(state), Pace(state), Average(state), progress]
            if recipe.validation.asked and validation is not None:
                measure = validator_of(recipe, validation, objective, processes)
                hooks.append(Validate(state, measure, progress))
            for hook in (*hooks, Keep(state, stop)):
                runner.register_hook(hook)
            runner.train()
        if state.iteration < state.max_iterations and not state.ended_early:
            stop.leave(f"step {state.step} of {recipe.schedule.iterations} is kept, --resume goes on from it")
        if processes.rank == 0:
            _take_best(state)
            write_results(state, Counter(map(str, dataset.groups)))
        if processes.count > 1:
            distributed.barrier()
    return _result(state)


def _take_best(state: Session) -> None:
    """Put the weights of the best measurement into the network, if they are what is published."""
    if state.recipe.validation.publish == "best" and state.best.value is not None:
        state.final_network.load_state_dict(load_file(state.best_path))


class _TrainingModel(BaseModel):
    """The network with the loss around it, as mmengine's Runner wants a model."""

    def __init__(self, network: nn.Module, objective: Objective, schedule: Schedule) -> None:
        super().__init__(data_preprocessor=BaseDataPreprocessor(non_blocking=True))
        self.network = network
        self._objective = objective
        self._fixed_statistics = schedule.batch_norm == "fixed"

    def init_weights(self) -> None:
        """Keep the weights that the network came with; mmengine would draw new ones."""

    def train(self, mode: bool = True) -> _TrainingModel:
        """Training mode; batch normalisation with fixed statistics stays in evaluation mode."""
        super().train(mode)
        if mode and self._fixed_statistics:
            for module in self.network.modules():
                if isinstance(module, nn.modules.batchnorm._BatchNorm):
                    module.eval()
        return self

    def forward(self, mode: str, **batch: Tensor) -> dict[str, Tensor]:  # pyright: ignore[reportIncompatibleMethodOverride]
        """The named terms of the loss."""
        if mode != "loss":
            raise ValueError(f"only for training, not for mode {mode!r}")
        return {f"loss_{name}": term for name, term in self._objective(self.network, batch).items()}


class _TrainLoop(BaseLoop):
    """Iterations from wherever `Resume` has set `iter`, until the loader ends or `stop_training`."""

    def __init__(self, runner: Runner, dataloader: DataLoader, max_iters: int) -> None:
        super().__init__(runner, dataloader)
        self.iter, self.max_iters = 0, max_iters
        self.epoch, self.max_epochs = 0, 1
        self.stop_training = False

    def run(self) -> None:
        """Train."""
        runner = self.runner
        runner.call_hook("before_train")
        runner.model.train()
        batches = iter(self.dataloader)  # only now, because the sampler has been set by the hook
        while self.iter < self.max_iters and not self.stop_training:
            batch = _good(next(batches))
            runner.call_hook("before_train_iter", batch_idx=self.iter, data_batch=batch)
            losses = runner.model.train_step(batch, optim_wrapper=runner.optim_wrapper)
            self.iter += 1
            runner.call_hook("after_train_iter", batch_idx=self.iter - 1, data_batch=batch, outputs=losses)
        runner.call_hook("after_train")


class _QuietRunner(Runner):
    """A Runner that writes no description of the machine and no configuration file of its own."""

    def _log_env(self, env_cfg: dict) -> None: ...

    def dump_config(self) -> None:
        """Nothing: recipe.toml and run.json say it."""

    def wrap_model(self, model_wrapper_cfg: dict | None, model: nn.Module) -> nn.Module:
        """The model as it is; mmengine would move it to the first GPU, whatever was asked for."""
        return model


@contextmanager
def _runner(state: Session, objective: Objective, loader: DataLoader) -> Iterator[Runner]:
    """A Runner with none of mmengine's files, hooks or messages; cleans up after itself."""
    parallel, device = state.processes.count > 1, state.device
    if state.recipe.run.channels_last:
        state.network.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
    if state.schedule.batch_norm == "synchronised" and parallel:
        synchronise_batch_norm(state.network)
    compiled = _compiled(state.network, state.recipe.run.compile)
    model: nn.Module = _TrainingModel(state.network, objective, state.schedule)
    model.to(device)
    if parallel:
        # A head that the recipe's loss leaves out must not stop the run: look for unused parameters.
        model = MMDistributedDataParallel(
            module=model,
            device_ids=[device.index] if device.type == "cuda" else None,
            broadcast_buffers=False,
            find_unused_parameters=True,
        )
    with compiled, tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Setting (OMP|MKL)_NUM_THREADS", UserWarning)
        runner = _QuietRunner(
            model=model,
            work_dir=folder,
            train_dataloader=loader,
            train_cfg={"type": _TrainLoop, "max_iters": state.max_iterations},
            optim_wrapper=_optimiser(state.network, state.schedule, device),
            default_hooks=cast(dict, dict.fromkeys(_DEFAULT_HOOKS)),
            launcher="pytorch" if parallel else "none",
            env_cfg={  # as they are: a library does not change the settings of its process
                "mp_cfg": {
                    "mp_start_method": torch.multiprocessing.get_start_method(),
                    "opencv_num_threads": cv2.getNumThreads(),
                }
            },
            log_level="ERROR",
            randomness={"seed": state.recipe.run.seed},
            experiment_name=f"fit-{uuid.uuid4().hex}",
        )
        try:
            yield runner
        finally:
            for handler in list(runner.logger.handlers):
                runner.logger.removeHandler(handler)
                handler.close()


@contextmanager
def _compiled(network: nn.Module, backend: str) -> Iterator[None]:
    """The network's forward pass through torch.compile; afterwards it is an ordinary network again."""
    if backend == "none":
        yield
        return
    compilers = (os.environ.get("CXX", ""), "c++", "g++", "clang++")
    if backend == "inductor" and not torch.cuda.is_available() and not any(map(shutil.which, compilers)):
        raise InputError('run.compile = "inductor" needs a C++ compiler here; install g++ or use "none"')
    network.compile(backend=backend)
    try:
        yield
    finally:
        network._compiled_call_impl = None


def _optimiser(network: nn.Module, schedule: Schedule, device: torch.device) -> OptimWrapper:
    """The optimiser of the recipe; biases and normalisation layers (one-dimensional) do not decay."""
    parameters = [p for p in network.parameters() if p.requires_grad]
    groups = [
        {"params": [p for p in parameters if p.ndim > 1], "weight_decay": schedule.weight_decay},
        {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
    ]
    groups = [group for group in groups if group["params"]]
    if schedule.optimiser == "sgd":
        optimiser = torch.optim.SGD(groups, lr=schedule.lr, momentum=0.9, nesterov=True)
    else:
        kind = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}[schedule.optimiser]
        optimiser = kind(groups, lr=schedule.lr)
    options: dict[str, Any] = {"optimizer": optimiser, "accumulative_counts": schedule.accumulate}
    if schedule.clip_norm:
        options["clip_grad"] = {"max_norm": schedule.clip_norm}
    if schedule.amp == "float16":
        if device.type != "cuda":
            raise InputError('schedule.amp = "float16" needs a GPU; use "bfloat16" or "none" here')
        return AmpOptimWrapper(dtype="float16", **options)
    return OptimWrapper(**options)


def _loader(
    dataset: TrainingDataset,
    objective: Objective,
    state: Session,
    weights: Mapping[str, float] | None,
) -> DataLoader:
    """Batches of this process, from the sampler's position to the end of the run."""
    recipe, processes = state.recipe, state.processes
    schedule, groups = recipe.schedule, [str(group) for group in dataset.groups]
    if len(groups) != len(dataset):
        raise ValueError(f"dataset.groups has {len(groups)} entries for {len(dataset)} samples")
    if schedule.batch_size % processes.count:
        raise InputError(
            f"schedule.batch_size {schedule.batch_size} cannot be shared among {processes.count} processes; "
            "make it a multiple"
        )
    sampler = BalancedSampler(
        groups,
        Balance(recipe.data.balance, weights),
        seed=recipe.run.seed_of_order,
        stop=schedule.iterations * schedule.accumulate * schedule.batch_size,
        rank=processes.rank,
        world_size=processes.count,
    )
    workers = recipe.run.workers
    return DataLoader(
        _Guarded(dataset),
        batch_size=schedule.batch_size // processes.count,
        sampler=sampler,
        num_workers=workers,
        prefetch_factor=4 if workers else None,  # a slow sample or two must not stop the network
        collate_fn=_guarded_collate(objective),
        pin_memory=state.device.type == "cuda",
        worker_init_fn=_start_worker,
        generator=torch.Generator().manual_seed(recipe.run.seed),  # spares the global one
    )


class _Guarded(Dataset[Any]):
    """A dataset whose `InputError`s arrive in the main process as they are, without a worker's traceback."""

    def __init__(self, dataset: TrainingDataset) -> None:
        self._dataset = dataset

    def __getitem__(self, key: tuple[int, int]) -> dict[str, Tensor] | InputError:
        try:
            return self._dataset[key]
        except InputError as error:
            return error

    def __len__(self) -> int:
        return len(self._dataset)


def _guarded_collate(objective: Objective) -> Callable[[list[Any]], Any]:
    """Samples -> batch, or the first error among them."""

    def collate(samples: list[Any]) -> Any:
        errors = [sample for sample in samples if isinstance(sample, InputError)]
        return {"error": str(errors[0])} if errors else objective.collate(samples)

    return collate


def _good(batch: dict[str, Any]) -> dict[str, Any]:
    """The batch, if it is one.

    Raises:
        InputError: If a sample of it could not be made.
    """
    if "error" in batch:
        raise InputError(f"{batch['error']} (the last checkpoint is from before)")
    return batch


def _start_worker(_: int) -> None:
    """Leave Ctrl-C to the main process, obey its SIGTERM, and use one thread."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    cv2.setNumThreads(0)


def _result(state: Session) -> FitResult:
    curve = loss_curve(read_log(state.out / "log.csv"))
    return FitResult(
        network=state.final_network.eval(),
        weights=state.out / "weights.safetensors",
        record=state.out / "run.json",
        steps=state.step,
        loss=curve[-1][1] if curve else float("nan"),
        seconds=state.seconds,
    )
