"""What happens around each iteration of the loop, as hooks of mmengine's Runner (`training.fit`).

Nothing here has a state of its own that matters: everything a run depends on is in its `Session`, and
the learning rate and the random numbers of an iteration are functions of its number alone.
"""

from __future__ import annotations

import copy
import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from training.checkpoints import Checkpoint, save_network
from training.session import ProgressLog, Session, StopRequest
from training.validation import Validator

with warnings.catch_warnings():  # mmengine's imports reach torch.jit.script, deprecated in torch 2.13
    warnings.simplefilter("ignore", DeprecationWarning)
    from mmengine.hooks import Hook
    from mmengine.runner import Runner


class StateHook(Hook):
    """A hook on the session's state; `step` is called after every iteration."""

    def __init__(self, state: Session) -> None:
        self.state = state

    def step(self, runner: Runner) -> None:
        """After an iteration."""

    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Any = None
    ) -> None:
        """Do it."""
        self.step(runner)


class Resume(StateHook):
    """Before the first iteration: everything as the checkpoint has it. After each: count it."""

    def before_train(self, runner: Runner) -> None:
        """Restore weights, average, optimiser and position."""
        state, checkpoint = self.state, self.state.checkpoint
        if state.schedule.ema:
            state.average = copy.deepcopy(state.network).requires_grad_(False)
        if checkpoint is None:
            return
        state.network.load_state_dict(checkpoint.network)
        if state.average is not None:
            state.average.load_state_dict(checkpoint.average)
        wrapper: Any = runner.optim_wrapper
        wrapper.load_state_dict(checkpoint.optimiser)
        loop: Any = runner.train_loop
        loop.iter = state.iteration = checkpoint.iteration
        loop.dataloader.sampler.position = checkpoint.iteration * state.schedule.batch_size
        wrapper.initialize_count_status(runner.model, state.iteration, state.max_iterations)
        state.seconds_before = checkpoint.seconds
        state.resumed_at = [*checkpoint.resumed_at, state.step]
        state.best = checkpoint.best
        loop.stop_training = state.ended_early
        state.checkpoint = None  # frees the tensors

    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Any = None
    ) -> None:
        """Count."""
        self.state.iteration = batch_idx + 1
        self.state.add_losses(outputs)


class Pace(StateHook):
    """Learning rate and random numbers of an iteration, both functions of its number alone."""

    def before_train_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None) -> None:
        """Set them."""
        state = self.state
        wrapper: Any = runner.optim_wrapper
        for group in wrapper.optimizer.param_groups:
            group["lr"] = state.schedule.learning_rate(batch_idx // state.schedule.accumulate)
        entropy = [state.recipe.run.seed_of_order, state.processes.rank, batch_idx]
        torch.manual_seed(int(np.random.SeedSequence(entropy).generate_state(1)[0]))


class Average(StateHook):
    """Exponential moving average of weights and running statistics."""

    def before_train(self, runner: Runner) -> None:
        """Pair the tensors once; both networks keep theirs."""
        average, current = self.state.average, self.state.network.state_dict()
        pairs = [] if average is None else [(t, current[name]) for name, t in average.state_dict().items()]
        self._moving = [pair for pair in pairs if pair[0].is_floating_point()]
        self._counting = [pair for pair in pairs if not pair[0].is_floating_point()]

    @torch.no_grad()
    def step(self, runner: Runner) -> None:
        """Move the average towards the network; faster at first, so that the start is soon forgotten."""
        state = self.state
        if state.average is None or not state.ends_step:
            return
        decay = min(state.schedule.ema, (1 + state.step) / (10 + state.step))
        means, now = _columns(self._moving)
        torch._foreach_lerp_(means, now, 1 - decay)  # pyright: ignore[reportPrivateImportUsage]
        for count, value in self._counting:
            count.copy_(value)


class Progress(StateHook):
    """The logs."""

    def before_train(self, runner: Runner) -> None:
        """Open them."""
        self.log = ProgressLog(self.state)

    def step(self, runner: Runner) -> None:
        """Write."""
        self.log.update()

    def after_train(self, runner: Runner) -> None:
        """Close them."""
        self.log.close()


class Validate(StateHook):
    """Measures the network that would be published, keeps the best, and ends a run that gets no better."""

    def __init__(self, state: Session, validator: Validator, progress: Progress) -> None:
        super().__init__(state)
        self._validator, self._progress = validator, progress

    def step(self, runner: Runner) -> None:
        """Measure when due, in all processes."""
        state, options = self.state, self.state.recipe.validation
        if not state.due(options.every):
            return
        network = state.final_network
        training = network.training
        values = self._validator(network.eval())
        network.train(training)
        _model(runner).train()  # batch normalisation with fixed statistics knows its own mode
        self._progress.log.validation(values)
        state.judge(values)
        if state.improved and state.processes.rank == 0:
            save_network(network, state.best_path, state.recipe, step=state.step)
        if state.ended_early:
            loop: Any = runner.train_loop
            loop.stop_training = True


class Keep(StateHook):
    """Checkpoints, and the end of the run on request."""

    def __init__(self, state: Session, stop: StopRequest) -> None:
        super().__init__(state)
        self.stop = stop

    def step(self, runner: Runner) -> None:
        """Save when due or asked to stop, between steps only: half an accumulation cannot be resumed."""
        state = self.state
        if not state.ends_step:
            return
        stopping = state.processes.any(self.stop.signal is not None)
        # With a new best, so that what is known of the best and its weights never fall apart.
        if stopping or state.improved or state.ended_early or state.due(state.recipe.run.checkpoint_every):
            if state.n_losses:
                state.mean_losses()  # never replace a good checkpoint by one of NaN
            if state.processes.rank == 0:
                self._save(runner)
        state.improved = False
        if stopping:
            loop: Any = runner.train_loop
            loop.stop_training = True

    def _save(self, runner: Runner) -> None:
        state = self.state
        wrapper: Any = runner.optim_wrapper
        Checkpoint(
            iteration=state.iteration,
            network=state.network.state_dict(),
            average={} if state.average is None else state.average.state_dict(),
            optimiser=wrapper.state_dict(),
            recipe=json.dumps(state.recipe.to_dict()),
            data_sha256=state.data_sha256,
            seconds=state.seconds,
            resumed_at=state.resumed_at,
            best=state.best,
        ).save(Path(state.out) / "checkpoint.pt")


def _model(runner: Runner) -> nn.Module:
    model: Any = runner.model
    return model


def _columns(pairs: list[tuple[Tensor, Tensor]]) -> tuple[list[Tensor], list[Tensor]]:
    return [first for first, _ in pairs], [second for _, second in pairs]
