"""One session of a training run: what it knows, how it starts, shows its progress, stops and ends.

Nothing here depends on the library that turns the crank (`training.fit` does).
"""

from __future__ import annotations

import logging
import signal
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from tqdm import tqdm

from superset_vocab import InputError
from superset_vocab.files import atomic_path, make_folder, sha256_of, write_json
from training.checkpoints import (
    Best,
    Checkpoint,
    CsvLog,
    RunRecord,
    loss_curve,
    package_versions,
    read_log,
    save_network,
)
from training.curves import draw_curves
from training.processes import Processes
from training.recipe import Recipe, Schedule
from training.recipe_tables import METRICS

_log = logging.getLogger(__name__)


class StopRequest:
    """Notes the first Ctrl-C or SIGTERM instead of dying in the middle of a step; a second one kills."""

    def __init__(self) -> None:
        self.signal: int | None = None
        self._former: dict[int, Any] = {}

    def __enter__(self) -> StopRequest:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._former[number] = signal.signal(number, self._note)
        return self

    def _note(self, number: int, _: Any) -> None:
        self.signal = number
        self._restore()

    def _restore(self) -> None:
        while self._former:
            signal.signal(*self._former.popitem())

    def __exit__(self, *_: object) -> None:
        self._restore()

    def leave(self, kept: str) -> None:
        """End the program as the signal would have; `kept` says what is left to go on with."""
        if self.signal == signal.SIGTERM:
            _log.warning("ended on request; %s", kept)
            raise SystemExit(128 + signal.SIGTERM)
        raise KeyboardInterrupt(kept)


@dataclass
class Session:
    """What the hooks of one session share and change."""

    network: nn.Module
    recipe: Recipe
    out: Path
    data_sha256: str
    processes: Processes
    checkpoint: Checkpoint | None
    average: nn.Module | None = None
    iteration: int = 0
    losses: dict[str, Tensor] = field(default_factory=dict)
    n_losses: int = 0
    seconds_before: float = 0.0
    started: float = field(default_factory=time.monotonic)
    resumed_at: list[int] = field(default_factory=list)
    notes: tuple[str, ...] = ()
    skipped_images: tuple[str, ...] = ()
    command: str = ""
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    best: Best = field(default_factory=Best)
    improved: bool = False

    @property
    def schedule(self) -> Schedule:
        """Of the recipe."""
        return self.recipe.schedule

    @property
    def max_iterations(self) -> int:
        """Forward passes of the whole run."""
        return self.schedule.iterations * self.schedule.accumulate

    @property
    def step(self) -> int:
        """Optimiser steps done."""
        return self.iteration // self.schedule.accumulate

    @property
    def ends_step(self) -> bool:
        """Whether the iterations done so far make whole steps."""
        return self.iteration % self.schedule.accumulate == 0

    @property
    def final_network(self) -> nn.Module:
        """The network whose weights are published: the average where there is one."""
        return self.network if self.average is None else self.average

    @property
    def seconds(self) -> float:
        """Training time over all sessions."""
        return self.seconds_before + time.monotonic() - self.started

    def due(self, every: int) -> bool:
        """Whether something that happens every so many steps, and at the end, happens now."""
        return self.ends_step and (self.step % every == 0 or self.iteration == self.max_iterations)

    @property
    def ended_early(self) -> bool:
        """Whether the measurements have not become better for as long as the recipe waits."""
        patience = self.recipe.validation.patience
        return patience > 0 and self.best.since >= patience

    @property
    def best_path(self) -> Path:
        """Weights of the best measurement so far."""
        return self.out / "best.safetensors"

    def judge(self, values: Mapping[str, float]) -> None:
        """Compare a measurement with the best one; sets `improved`. NaN is never better."""
        metric = self.recipe.validation.metric
        self.best, self.improved = self.best.after(values[metric], self.step, larger=METRICS[metric])

    def add_losses(self, terms: Mapping[str, Tensor]) -> None:
        """Sum on the device; reading a number would make the GPU wait."""
        for name, term in terms.items():
            self.losses[name] = self.losses.get(name, 0) + term.detach()
        self.n_losses += 1

    def clear_losses(self) -> None:
        """Start a new mean."""
        self.losses.clear()
        self.n_losses = 0

    def mean_losses(self) -> dict[str, float]:
        """Means of the losses since they were last cleared, over all processes; called in all of them.

        Raises:
            InputError: If one is not finite.
        """
        own = [float(total) / self.n_losses for total in self.losses.values()]
        means = dict(zip(self.losses, self.processes.mean(own), strict=True))
        if not all(map(np.isfinite, means.values())):
            raise InputError(
                f"{self.out}: the loss is no longer finite by step {self.step}; lower schedule.lr, "
                "warm up longer or set schedule.clip_norm (the last checkpoint is from before)"
            )
        return means


def open_session(
    network: nn.Module,
    recipe: Recipe,
    out: Path,
    *,
    resume: bool,
    data_sha256: str,
    processes: Processes,
    notes: Sequence[str] = (),
    skipped_images: Sequence[str] = (),
) -> Session:
    """Prepare the folder of a run, or read the checkpoint that it holds.

    Raises:
        InputError: If the folder cannot be written, holds a run that is not to be resumed, or holds
            one that is finished or was made from something else.
    """
    make_folder(out)
    path = out / "checkpoint.pt"
    checkpoint = None
    if resume and path.is_file():
        checkpoint = Checkpoint.load(path)
        checkpoint.check_same_run(recipe, data_sha256, path)
    else:
        found = [name for name in (path.name, "run.json", "weights.safetensors") if (out / name).exists()]
        if found:
            way_out = "go on with it (--resume) or choose" if path.is_file() else "choose"
            raise InputError(f"{out}: holds a run already ({', '.join(found)}); {way_out} another folder")
        if processes.rank == 0:
            with atomic_path(out / "recipe.toml") as temporary:
                temporary.write_text(recipe.to_toml(notes), encoding="utf-8")
    return Session(
        network,
        recipe,
        out,
        data_sha256,
        processes,
        checkpoint,
        notes=tuple(notes),
        skipped_images=tuple(skipped_images),
    )


class ProgressLog:
    """log.csv, TensorBoard, a progress bar on a terminal, and a line with the time left for `logging`."""

    def __init__(self, session: Session) -> None:
        """Open the logs where the run goes on; only the first process writes."""
        from torch.utils.tensorboard import SummaryWriter  # slow to import, and needed only here

        self._session, self._iteration, self._clock = session, session.iteration, time.monotonic()
        self._main = session.processes.rank == 0
        if self._main:
            self._csv = CsvLog(session.out / "log.csv", start=session.step)
            if session.recipe.validation.asked:
                self._measured = CsvLog(session.out / "validation.csv", start=session.step)
            self._board = SummaryWriter(str(session.out / "tensorboard"), purge_step=session.step + 1)
        self._bar = tqdm(
            desc="training",
            total=session.schedule.iterations,
            initial=session.step,
            disable=None if self._main else True,  # None: only on a terminal
            file=sys.stderr,
            unit="step",
        )

    def update(self) -> None:
        """After an iteration: show the step, and write a line every `run.log_every` steps."""
        session = self._session
        if session.ends_step:
            self._bar.update()
        if not session.due(session.recipe.run.log_every):
            return
        losses = session.mean_losses()
        session.clear_losses()
        now = time.monotonic()
        samples = (session.iteration - self._iteration) * session.schedule.batch_size
        speed = samples / max(now - self._clock, 1e-9)
        self._iteration, self._clock = session.iteration, now
        if self._main:
            self._write(losses, speed)

    def _write(self, losses: Mapping[str, float], samples_per_second: float) -> None:
        session = self._session
        row = {
            "step": session.step,
            **losses,
            "learning_rate": session.schedule.learning_rate(session.step - 1),
            "samples_per_second": samples_per_second,
            "seconds": session.seconds,
        }
        self._csv.write(row)
        for name, value in row.items():
            if name != "step":
                self._board.add_scalar(name, value, session.step)
        self._bar.set_postfix(loss=f"{losses['loss']:.3g}", refresh=False)
        samples_left = (session.max_iterations - session.iteration) * session.schedule.batch_size
        _log.info(
            "step %d of %d, loss %.4g, %.1f samples/s, %s left",
            session.step,
            session.schedule.iterations,
            losses["loss"],
            samples_per_second,
            tqdm.format_interval(samples_left / samples_per_second),
        )

    def validation(self, values: Mapping[str, float]) -> None:
        """Write a measurement of the network to validation.csv and TensorBoard."""
        step = self._session.step
        _log.info("step %d, validation: %s", step, ", ".join(f"{n} {v:.4g}" for n, v in values.items()))
        if self._main:
            self._measured.write({"step": step, **values})
            for name, value in values.items():
                self._board.add_scalar(f"validation/{name}", value, step)

    def close(self) -> None:
        """Close the bar and the files."""
        self._bar.close()
        if self._main:
            self._board.close()


def write_results(session: Session, datasets: Mapping[str, int]) -> None:
    """weights.safetensors, run.json, and the curves as a picture."""
    network = session.final_network
    path = session.out / "weights.safetensors"
    save_network(network, path, session.recipe)
    device = next(network.parameters()).device
    record = RunRecord(
        recipe=session.recipe.to_dict(),
        notes=list(session.notes),
        command=session.command,
        datasets=dict(datasets),
        data_sha256=session.data_sha256,
        weights_sha256=sha256_of(path),
        parameters=sum(p.numel() for p in network.parameters()),
        iterations=session.step,
        samples=session.iteration * session.schedule.batch_size,
        seconds=round(session.seconds, 1),
        resumed_at=session.resumed_at,
        loss_curve=loss_curve(read_log(session.out / "log.csv")),
        validation=_validation_record(session),
        skipped_images=list(session.skipped_images),
        device=torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
        precision=session.schedule.amp if session.schedule.amp != "none" else "float32",
        processes=session.processes.count,
        threads=torch.get_num_threads(),
        versions=package_versions(),
    )
    write_json(session.out / "run.json", record.to_dict())
    draw_curves(session.out)


def _validation_record(session: Session) -> dict[str, Any]:
    """What the run was judged by, and what it came to; empty without validation."""
    options, best = session.recipe.validation, session.best
    if not options.asked:
        return {}
    return {
        "metric": options.metric,
        "best": best.value,
        "best_step": best.step,
        "published": options.publish if best.value is not None else "last",
        "ended_early": session.ended_early,
    }
