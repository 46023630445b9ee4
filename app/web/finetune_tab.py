"""Tab "Fine-tune": a model on the visitor's own labels, with the loss as it falls, to be tried at once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gradio as gr
import pandas as pd

from app.web.context import PRIVATE, AppContext, cancelled_by, follow, refuse
from app.web.correct_tab import CorrectTab, write_labels
from app.web.finetune_jobs import LOG
from app.web.guards import check_size, unzip_labels
from app.web.settings import Settings
from app.web.try_tab import OWN_VARIANT, TryTab, first_variant, licence_line, model_choices, variant_choices
from app.web.uploads import owned
from app.web.visitors import public
from superset_vocab.errors import InputError
from zoo.catalogue import find_model

_NO_CURVE = pd.DataFrame({"step": [], "loss": []})


@dataclass(frozen=True, eq=False)
class _Wanted:
    """What the form says."""

    model: str
    variant: str
    frames: int
    steps: int


@dataclass(frozen=True, eq=False)
class _Form:
    """What is asked for."""

    upload: gr.File
    own_map: gr.File
    model: gr.Dropdown
    variant: gr.Dropdown
    licence: gr.Markdown
    frames: gr.Number
    steps: gr.Slider
    run: gr.Button
    stop: gr.Button

    @classmethod
    def lay_out(cls, limit: int) -> _Form:
        models = model_choices()
        variants = variant_choices(models[0])
        upload = gr.File(
            label="Labelled project (.zip): DeepLabCut, COCO, SLEAP or what `zoo convert` wrote",
            file_types=[".zip"],
            elem_id="finetune-upload",
        )
        own_map = gr.File(
            label="Keypoint map (.toml), if you have one; else it is proposed from names and images",
            file_types=[".toml"],
            elem_id="finetune-map",
        )
        model = gr.Dropdown(models, value=models[0], label="Model", elem_id="finetune-model")
        variant = gr.Dropdown(variants, value=variants[0], label="Variant", elem_id="finetune-variant")
        licence = gr.Markdown(licence_line(models[0], variants[0]))
        frames = gr.Number(
            value=10,
            precision=0,
            minimum=0,
            label="Labelled frames to learn from (0: all)",
            elem_id="finetune-frames",
        )
        steps = gr.Slider(
            min(10, limit), limit, value=min(200, limit), step=1, label="Steps", elem_id="finetune-steps"
        )
        with gr.Row():
            run = gr.Button("Fine-tune", variant="primary", elem_id="finetune-run")
            stop = gr.Button("Cancel", elem_id="finetune-cancel")
        return cls(upload, own_map, model, variant, licence, frames, steps, run, stop)


@dataclass(frozen=True, eq=False)
class _Results:
    """What comes of it."""

    status: gr.Markdown
    curve: gr.LinePlot
    result: gr.Markdown
    download: gr.File
    to_try: gr.Button

    @classmethod
    def lay_out(cls) -> _Results:
        return cls(
            status=gr.Markdown(
                "Ten labelled frames are enough to begin. Keypoints that you did not label are kept by "
                "memory replay. Frames that are left over test the result.",
                elem_id="finetune-status",
            ),
            curve=gr.LinePlot(
                _NO_CURVE,
                x="step",
                y="loss",
                label="Loss",
                height=240,
                visible=False,
                elem_id="finetune-curve",
            ),
            result=gr.Markdown(visible=False, elem_id="finetune-result"),
            download=gr.File(
                label="Fine-tuned model", visible=False, interactive=False, elem_id="finetune-file"
            ),
            to_try=gr.Button("Try the result", visible=False, elem_id="finetune-try"),
        )

    def hidden(self) -> dict[Any, Any]:
        """Nothing has come yet."""
        unseen = gr.update(visible=False)
        return {
            self.curve: gr.update(value=_NO_CURVE, visible=False),
            self.result: unseen,
            self.download: unseen,
            self.to_try: unseen,
        }


def build(context: AppContext, source: TryTab, corrected: CorrectTab, tabs: gr.Tabs) -> None:
    """Add the tab's contents to the page that is being built.

    Args:
        context: The app.
        source: Where the result is tried.
        corrected: Where labels come from with one button.
        tabs: All tabs, to go from one to another.
    """
    with gr.Row():
        with gr.Column(scale=1, min_width=300):
            form = _Form.lay_out(context.settings.max_fine_tuning_steps)
        with gr.Column(scale=2, min_width=320):
            results = _Results.lay_out()
    _Handlers(context, form, results, source, tabs).wire(corrected)


@dataclass(frozen=True, eq=False)
class _Handlers:
    """What the tab does."""

    context: AppContext
    form: _Form
    results: _Results
    source: TryTab
    tabs: gr.Tabs

    def wire(self, corrected: CorrectTab) -> None:
        """Connect the components with what follows here."""
        form, results, source = self.form, self.results, self.source
        owned(self.context, form.upload)
        owned(self.context, form.own_map)
        form.model.change(first_variant, form.model, [form.variant, form.licence], **PRIVATE)
        form.variant.change(licence_line, [form.model, form.variant], form.licence, **PRIVATE)
        outputs = [
            *(results.status, results.curve, results.result, results.download, results.to_try),
            *(source.own, source.model, source.variant, self.tabs),
        ]
        long: dict[str, Any] = {
            **PRIVATE,
            "concurrency_limit": None,
            "show_progress": "minimal",
            "show_progress_on": results.status,
        }
        wanted = [form.model, form.variant, form.frames, form.steps]
        form.run.click(self.from_upload, [form.upload, form.own_map, *wanted, source.own], outputs, **long)
        pictures = [source.labels, corrected.cutoff]
        chosen = [source.model, source.variant, form.steps, source.own]
        corrected.to_fine_tuning.click(self.from_corrected, [*pictures, *chosen], outputs, **long)
        cancelled_by(self.context, form.stop, results.status)
        results.to_try.click(self.to_try, None, self.tabs, **PRIVATE)

    async def from_upload(
        self,
        request: gr.Request,
        upload: str | None,
        own_map: str | None,
        model: str,
        variant: str,
        frames: float | None,
        steps: float,
        own: dict[str, str],
    ) -> AsyncIterator[dict[Any, Any]]:
        settings = self.context.settings
        try:
            wanted = checked(settings, model, variant, frames, steps)
            if upload is None:
                raise InputError("nothing was uploaded; choose the zip file of a labelled project first")
            if own_map is not None:
                check_size(Path(own_map), settings)
            with self.context.unpacking(request, "project") as target:
                project = await asyncio.to_thread(unzip_labels, Path(upload), target, settings)
        except InputError as error:
            raise refuse(error) from error
        async for changes in self.tune(request, project, own_map or "", wanted, own):
            yield changes

    async def from_corrected(
        self,
        request: gr.Request,
        pictures: list[dict[str, Any]],
        cutoff: float,
        model: str,
        variant: str,
        steps: float,
        own: dict[str, str],
    ) -> AsyncIterator[dict[Any, Any]]:
        try:
            if model in own:
                raise InputError("this is a fine-tuned model already; choose its parent in the tab Try")
            wanted = checked(self.context.settings, model, variant, 0, steps)
            with self.context.unpacking(request, "corrected") as target:
                await asyncio.to_thread(write_labels, pictures, target, "coco", cutoff)
        except InputError as error:
            raise refuse(error) from error
        yield {self.tabs: gr.update(selected="finetune")}
        async for changes in self.tune(request, target / "corrected", "", wanted, own):
            yield changes

    async def tune(
        self, request: gr.Request, project: Path, map_file: str, wanted: _Wanted, own: dict[str, str]
    ) -> AsyncIterator[dict[Any, Any]]:
        results, settings = self.results, self.context.settings
        folder = self.context.visitor(request).new_folder("model")
        arguments = {
            **vars(wanted),
            "project": str(project),
            "out": str(folder),
            "keypoint_map": map_file,
            "seed": 0,
            "max_images": settings.max_fine_tuning_images,
            "max_test_images": settings.max_test_images,
        }
        yield results.hidden()
        async for message in follow(self.context, request, "fine_tune", arguments):
            points = read_curve(folder)
            drawn = {} if points.empty else {results.curve: gr.update(value=points, visible=True)}
            if isinstance(message, str):
                yield {results.status: message, **drawn}
            else:
                yield {**self.finished(message, wanted.model, own), **drawn}

    def finished(self, message: dict[str, Any], model: str, own: dict[str, str]) -> dict[Any, Any]:
        """What the page shows of a new model, and that the tab Try has it."""
        results, source = self.results, self.source
        label = f"my model {len(own) + 1} ({model}, fine-tuned)"
        own = {**own, label: message["folder"]}
        return {
            results.status: f"Done: {public(message['name'])}. It is in the tab Try as “{label}”.",
            results.result: gr.update(value=public(summary(message)), visible=True),
            results.download: gr.update(value=message["zip"], visible=True),
            results.to_try: gr.update(visible=True),
            source.own: own,
            source.model: gr.update(choices=[*model_choices(), *own], value=label),
            source.variant: gr.update(choices=[OWN_VARIANT], value=OWN_VARIANT),
        }

    def to_try(self) -> Any:
        return gr.update(selected="try")


def checked(settings: Settings, model: str, variant: str, frames: float | None, steps: float) -> _Wanted:
    """What the page sent, as far as it may be asked for.

    Raises:
        InputError: If it may not.
    """
    find_model(model, variant)
    n_frames, n_steps = int(frames or 0), int(steps)
    if not 0 <= n_frames <= settings.max_fine_tuning_images:
        raise InputError(
            f"{n_frames} frames asked for; here it is 1 to {settings.max_fine_tuning_images}, or 0 for all"
        )
    if not 1 <= n_steps <= settings.max_fine_tuning_steps:
        raise InputError(f"{n_steps} steps asked for; here it is 1 to {settings.max_fine_tuning_steps}")
    return _Wanted(model, variant, n_frames, n_steps)


def read_curve(folder: Path) -> pd.DataFrame:
    """The losses so far, "step" and "loss"; empty before the first. A half-written last line is left out."""
    try:
        rows = pd.read_csv(folder / LOG, usecols=["step", "loss"])
    except (FileNotFoundError, ValueError):  # not begun, or no whole line yet
        return _NO_CURVE
    return pd.DataFrame({name: pd.to_numeric(rows[name], errors="coerce") for name in rows}).dropna()


def summary(message: dict[str, Any]) -> str:
    """What a fine-tuning came to, in Markdown."""
    n = message["n_images"]
    lines = [f"Learned from {n} labelled {'frame' if n == 1 else 'frames'}."]
    if message["table"]:
        lines += [
            f"\nOn {message['n_test']} labelled frames that were not used (frames of one recording are much "
            "alike, so another recording may do worse):\n",
            "| | zero-shot | fine-tuned |",
            "|---|---:|---:|",
            *(f"| {name} | {before} | {after} |" for name, before, after in message["table"]),
        ]
    else:
        lines.append("All labelled frames were learned from, so there is none left to test the model on.")
    if message["pairs"]:
        pairs = ", ".join(f"{name} → {target or 'left out'}" for name, target in message["pairs"].items())
        lines.append(f"\nYour keypoints were taken as: {pairs}. If one is wrong, upload a keypoint map.")
    return "\n".join(lines)
