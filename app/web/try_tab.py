"""Tab "Try": poses on the visitor's images or video, drawn, plotted, and as tables to take home."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gradio as gr

from app.web.context import PRIVATE, AppContext, cancelled_by, follow, refuse
from app.web.guards import IMAGE_SUFFIXES, check_uploads
from app.web.uploads import owned
from superset_vocab.errors import InputError
from zoo.catalogue import find_model, list_models
from zoo.video import VIDEO_SUFFIXES

EMBEDDED = "compact"
FIRST = "superanimal_topviewmouse"
SMOOTHING = ("none", "Kalman smoother")
OWN_VARIANT = "fine-tuned"
_OWN = "Your own fine-tuned model. It is removed when you close the page; the tab Fine-tune has it as a file."


@dataclass(frozen=True)
class TryTab:
    """What other tabs use of this one.

    Attributes:
        labels: State: the pictures of the last run with their labels (`app.web.editor.picture_labels`).
        finished: The event after which `labels` are new.
        own: State: the visitor's fine-tuned models, as they are called in `model` -> folder.
        model: Choice of the model.
        variant: Choice of its variant.
    """

    labels: gr.State
    finished: Any
    own: gr.State
    model: gr.Dropdown
    variant: gr.Dropdown


def model_choices() -> list[str]:
    """Names of the models: the first choice of the command line too, then those that need no download."""
    specs = list_models()
    names = dict.fromkeys(spec.name for spec in specs)
    embedded = {spec.name for spec in specs if spec.embedded}
    return sorted(names, key=lambda name: (name != FIRST, name not in embedded))


def variant_choices(model: str) -> list[str]:
    """Variants of a model, the embedded one first: it answers at once on any machine."""
    variants = [spec.variant for spec in list_models() if spec.name == model]
    return sorted(variants, key=lambda variant: variant != EMBEDDED)


@dataclass(frozen=True, eq=False)
class _Form:
    """What is asked for."""

    upload: gr.File
    model: gr.Dropdown
    variant: gr.Dropdown
    licence: gr.Markdown
    cutoff: gr.Slider
    individuals: gr.Number
    smoothing: gr.Radio
    run: gr.Button
    stop: gr.Button

    @classmethod
    def lay_out(cls, context: AppContext) -> _Form:
        models = model_choices()
        variants = variant_choices(models[0])
        upload = gr.File(
            label="Images, or one video",
            file_count="multiple",
            file_types=[*IMAGE_SUFFIXES, *VIDEO_SUFFIXES],
            elem_id="try-upload",
        )
        _examples(context, upload)
        model = gr.Dropdown(models, value=models[0], label="Model", elem_id="try-model")
        variant = gr.Dropdown(variants, value=variants[0], label="Variant", elem_id="try-variant")
        licence = gr.Markdown(licence_line(models[0], variants[0]))
        cutoff = gr.Slider(
            0, 1, value=0.3, step=0.05, label="Draw keypoints from this confidence on", elem_id="try-cutoff"
        )
        individuals = gr.Number(
            value=0,
            precision=0,
            minimum=0,
            maximum=50,
            label="Number of animals (0: as many as are seen)",
        )
        smoothing = gr.Radio(SMOOTHING, value=SMOOTHING[0], label="Smoothing (videos)")
        with gr.Row():
            run = gr.Button("Predict", variant="primary", elem_id="try-run")
            stop = gr.Button("Cancel", elem_id="try-cancel")
        return cls(upload, model, variant, licence, cutoff, individuals, smoothing, run, stop)


@dataclass(frozen=True, eq=False)
class _Results:
    """What comes of it."""

    status: gr.Markdown
    video: gr.Video
    gallery: gr.Gallery
    plot: gr.Image
    files: gr.File

    @classmethod
    def lay_out(cls) -> _Results:
        return cls(
            status=gr.Markdown("Upload something, or take an example.", elem_id="try-status"),
            video=gr.Video(label="Labelled video", visible=False, interactive=False, elem_id="try-video"),
            gallery=gr.Gallery(
                label="Labelled images",
                visible=False,
                interactive=False,
                elem_classes="whole",
                elem_id="try-gallery",
            ),
            plot=gr.Image(
                label="Confidence of each keypoint",
                visible=False,
                interactive=False,
                buttons=["download", "fullscreen"],
                elem_id="try-plot",
            ),
            files=gr.File(
                label="Tables to download",
                visible=False,
                interactive=False,
                file_count="multiple",
                elem_id="try-files",
            ),
        )


def build(context: AppContext) -> TryTab:
    """Add the tab's contents to the page that is being built."""
    labels, own = gr.State([]), gr.State({})
    with gr.Row():
        with gr.Column(scale=1, min_width=300):
            form = _Form.lay_out(context)
        with gr.Column(scale=2, min_width=320):
            results = _Results.lay_out()
    finished = _Handlers(context, form, results, labels, own).wire()
    return TryTab(labels, finished, own, form.model, form.variant)


@dataclass(frozen=True, eq=False)
class _Handlers:
    """What the tab does."""

    context: AppContext
    form: _Form
    results: _Results
    labels: gr.State
    own: gr.State

    def wire(self) -> Any:
        """Connect the components with what follows here; the event of a prediction."""
        form, results = self.form, self.results
        chosen = [form.model, form.variant, self.own]
        form.model.change(self.choose_model, [form.model, self.own], [form.variant, form.licence], **PRIVATE)
        form.variant.change(self.describe, chosen, form.licence, **PRIVATE)
        owned(self.context, form.upload, api_name="remember")
        finished = form.run.click(
            self.predict,
            [form.upload, form.model, form.variant, form.cutoff, form.individuals, form.smoothing, self.own],
            [results.status, results.video, results.gallery, results.plot, results.files, self.labels],
            concurrency_limit=None,
            api_name="predict",
            show_progress="minimal",
            show_progress_on=results.status,
        )
        cancelled_by(self.context, form.stop, results.status)
        return finished

    def choose_model(self, name: str, own: dict[str, str]) -> Any:
        if name in own:
            return gr.update(choices=[OWN_VARIANT], value=OWN_VARIANT), _OWN
        return first_variant(name)

    def describe(self, model: str, variant: str, own: dict[str, str]) -> str:
        return _OWN if model in own else licence_line(model, variant)

    async def predict(
        self,
        request: gr.Request,
        paths: list[str] | None,
        model: str,
        variant: str,
        cutoff: float,
        individuals: float | None,
        smoothing: str,
        own: dict[str, str],
    ) -> AsyncIterator[dict[Any, Any]]:
        inputs, results = [Path(path) for path in paths or []], self.results
        try:
            kind = await asyncio.to_thread(check_uploads, inputs, self.context.settings)
            model, variant = chosen_model(model, variant, own)
        except InputError as error:
            raise refuse(error) from error
        arguments = {
            "inputs": [str(path) for path in inputs],
            "out": str(self.context.visitor(request).new_folder("predict")),
            "model": model,
            "variant": variant,
            "cutoff": float(cutoff),
            "max_individuals": int(individuals) if individuals else None,
            "video": kind == "video",
            "smooth": kind == "video" and smoothing != SMOOTHING[0],
            "max_frames": self.context.settings.max_frames,
        }
        async for message in follow(self.context, request, "predict", arguments):
            if isinstance(message, str):
                yield {results.status: message}
                continue
            yield {
                results.status: message["summary"],
                results.video: gr.update(value=message["video"], visible=message["video"] is not None),
                results.gallery: gr.update(value=message["gallery"], visible=bool(message["gallery"])),
                results.plot: gr.update(value=message["plot"], visible=True),
                results.files: gr.update(value=message["files"], visible=True),
                self.labels: message["labels"],
            }


def first_variant(model: str) -> tuple[Any, str]:
    """What follows from the choice of a model of the catalogue: its variants, and a line about the first."""
    found = variant_choices(model)
    return gr.update(choices=found, value=found[0]), licence_line(model, found[0])


def chosen_model(model: str, variant: str, own: dict[str, str]) -> tuple[str, str]:
    """What the worker loads: a model of the catalogue, or the folder of one of the visitor's own.

    Args:
        model: As the page says.
        variant: As the page says.
        own: The visitor's own, as they are called on the page -> folder. A folder never comes from the page.

    Raises:
        InputError: If there is no such model.
    """
    if model not in own:
        find_model(model, variant)
        return model, variant
    if not Path(own[model]).is_dir():
        raise InputError(f"{model} was removed; models are kept while the page is open. Fine-tune again")
    return own[model], ""


def licence_line(model: str, variant: str | None) -> str:
    """A sentence or two about a model of the catalogue."""
    try:
        spec = find_model(model, variant)
    except InputError as error:  # between two events the variant can be another model's
        return str(error)
    where = (
        "runs at once, without a download" if spec.embedded else "is downloaded from the Hub when first used"
    )
    return f"{spec.summary}. It {where}. Licence: {spec.licence}."


def _examples(context: AppContext, upload: gr.File) -> None:
    """The host's example files, to be taken with a click."""
    if context.settings.examples is None:
        return
    known = (*IMAGE_SUFFIXES, *VIDEO_SUFFIXES)
    files = sorted(p for p in context.settings.examples.iterdir() if p.suffix.lower() in known)
    if files:
        gr.Examples([[[str(context.offered(path))]] for path in files], inputs=[upload], label="Examples")
