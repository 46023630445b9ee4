"""Tab "Fine-tune": a model on the visitor's own labels, with the loss as it falls, to be tried at once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gradio as gr
import pandas as pd

from app.web.context import AppContext, follow, refuse, session
from app.web.correct_tab import CorrectTab, write_labels
from app.web.finetune_jobs import LOG
from app.web.guards import check_size, unzip_labels
from app.web.try_tab import OWN_VARIANT, TryTab, licence_line, model_choices, variant_choices
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


def build(context: AppContext, source: TryTab, corrected: CorrectTab, tabs: gr.Tabs) -> None:
    """Add the tab's contents to the page that is being built.

    Args:
        context: The app.
        source: Where the result is tried.
        corrected: Where labels come from with one button.
        tabs: All tabs, to go from one to another.
    """
    models, limit = model_choices(), context.settings.max_fine_tuning_steps
    variants = variant_choices(models[0])
    with gr.Row():
        with gr.Column(scale=1, min_width=300):
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
                value=10, precision=0, minimum=0, label="Labelled frames to learn from (0: all)",
                elem_id="finetune-frames",
            )  # fmt: skip
            steps = gr.Slider(
                min(10, limit), limit, value=min(200, limit), step=1, label="Steps", elem_id="finetune-steps"
            )
            with gr.Row():
                run = gr.Button("Fine-tune", variant="primary", elem_id="finetune-run")
                stop = gr.Button("Cancel", elem_id="finetune-cancel")
        with gr.Column(scale=2, min_width=320):
            status = gr.Markdown(
                "Ten labelled frames are enough to begin. Keypoints that you did not label are kept by "
                "memory replay. Frames that are left over test the result.",
                elem_id="finetune-status",
            )
            curve = gr.LinePlot(
                _NO_CURVE,
                x="step",
                y="loss",
                label="Loss",
                height=240,
                visible=False,
                elem_id="finetune-curve",
            )
            result = gr.Markdown(visible=False, elem_id="finetune-result")
            download = gr.File(label="Fine-tuned model", visible=False, elem_id="finetune-file")
            to_try = gr.Button("Try the result", visible=False, elem_id="finetune-try")

    owned(context, upload)
    owned(context, own_map)

    async def tune(request: gr.Request, project: Path, map_file: str, wanted: _Wanted,
                   own: dict[str, str]) -> AsyncIterator[dict[Any, Any]]:  # fmt: skip
        folder = context.visitor(request).new_folder("model")
        arguments = {
            "project": str(project),
            "out": str(folder),
            "model": wanted.model,
            "variant": wanted.variant,
            "keypoint_map": map_file,
            "frames": wanted.frames,
            "steps": wanted.steps,
            "seed": 0,
            "max_images": context.settings.max_fine_tuning_images,
            "max_test_images": context.settings.max_test_images,
        }
        yield {
            curve: gr.update(value=_NO_CURVE, visible=False),
            result: gr.update(visible=False),
            download: gr.update(visible=False),
            to_try: gr.update(visible=False),
        }
        async for message in follow(context, request, "fine_tune", arguments):
            points = read_curve(folder)
            drawn = {} if points.empty else {curve: gr.update(value=points, visible=True)}
            if isinstance(message, str):
                yield {status: message, **drawn}
                continue
            label = f"my model {len(own) + 1} ({wanted.model}, fine-tuned)"
            own = {**own, label: message["folder"]}
            yield {
                status: f"Done: {public(message['name'])}. It is in the tab Try as “{label}”.",
                result: gr.update(value=public(summary(message)), visible=True),
                download: gr.update(value=message["zip"], visible=True),
                to_try: gr.update(visible=True),
                source.own: own,
                source.model: gr.update(choices=[*model_choices(), *own], value=label),
                source.variant: gr.update(choices=[OWN_VARIANT], value=OWN_VARIANT),
                **drawn,
            }

    async def from_upload(
        request: gr.Request, upload: str | None, own_map: str | None, model: str, variant: str,
        frames: float | None, steps: float, own: dict[str, str],
    ) -> AsyncIterator[dict[Any, Any]]:  # fmt: skip
        try:
            wanted = checked(context, model, variant, frames, steps)
            if upload is None:
                raise InputError("nothing was uploaded; choose the zip file of a labelled project first")
            if own_map is not None:
                check_size(Path(own_map), context.settings)
            target = context.visitor(request).new_folder("project")
            project = await asyncio.to_thread(unzip_labels, Path(upload), target, context.settings)
        except InputError as error:
            raise refuse(error) from error
        async for changes in tune(request, project, own_map or "", wanted, own):
            yield changes

    async def from_corrected(
        request: gr.Request, pictures: list[dict[str, Any]], cutoff: float, model: str, variant: str,
        steps: float, own: dict[str, str],
    ) -> AsyncIterator[dict[Any, Any]]:  # fmt: skip
        try:
            if model in own:
                raise InputError("this is a fine-tuned model already; choose its parent in the tab Try")
            wanted = checked(context, model, variant, 0, steps)
            target = context.visitor(request).new_folder("corrected")
            await asyncio.to_thread(write_labels, pictures, target, "coco", cutoff)
        except InputError as error:
            raise refuse(error) from error
        yield {tabs: gr.update(selected="finetune")}
        async for changes in tune(request, target / "corrected", "", wanted, own):
            yield changes

    def choose_model(name: str) -> Any:
        found = variant_choices(name)
        return gr.update(choices=found, value=found[0]), licence_line(name, found[0])

    def cancel(request: gr.Request) -> str:
        return "Cancelled." if context.worker.cancel(session(request)) else "Nothing is running."

    outputs = [status, curve, result, download, to_try, source.own, source.model, source.variant, tabs]
    common: dict[str, Any] = {
        "concurrency_limit": None,
        "api_visibility": "private",
        "show_progress": "minimal",
        "show_progress_on": status,
    }
    model.change(choose_model, model, [variant, licence], api_visibility="private")
    variant.change(licence_line, [model, variant], licence, api_visibility="private")
    run.click(from_upload, [upload, own_map, model, variant, frames, steps, source.own], outputs, **common)
    inputs = [source.labels, corrected.cutoff, source.model, source.variant, steps, source.own]
    corrected.to_fine_tuning.click(from_corrected, inputs, outputs, **common)
    stop.click(cancel, None, status, queue=False, api_visibility="private")
    to_try.click(lambda: gr.update(selected="try"), None, tabs, api_visibility="private")


def checked(context: AppContext, model: str, variant: str, frames: float | None, steps: float) -> _Wanted:
    """What the page sent, as far as it may be asked for.

    Raises:
        InputError: If it may not.
    """
    find_model(model, variant)
    settings = context.settings
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
    lines = [f"Learned from {message['n_images']} labelled frames."]
    if message["table"]:
        lines += [
            f"\nOn {message['n_test']} labelled frames that were not used (frames of one recording are much "
            "alike, so another recording may do worse):\n",
            "| | zero-shot | fine-tuned |",
            "|---|---:|---:|",
            *(f"| {name} | {before} | {after} |" for name, before, after in message["table"]),
        ]
    else:
        lines.append("No labelled frame was left over to test on; choose fewer frames for figures.")
    if message["pairs"]:
        pairs = ", ".join(f"{name} → {target or 'left out'}" for name, target in message["pairs"].items())
        lines.append(f"\nYour keypoints were taken as: {pairs}. If one is wrong, upload a keypoint map.")
    return "\n".join(lines)
