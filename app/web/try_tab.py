"""Tab "Try": poses on the visitor's images or video, drawn, plotted, and as tables to take home."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gradio as gr

from app.web.context import AppContext, follow, refuse, session
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


def build(context: AppContext) -> TryTab:
    """Add the tab's contents to the page that is being built."""
    labels, own = gr.State([]), gr.State({})
    models = model_choices()
    with gr.Row():
        with gr.Column(scale=1, min_width=300):
            upload = gr.File(
                label="Images, or one video",
                file_count="multiple",
                file_types=[*IMAGE_SUFFIXES, *VIDEO_SUFFIXES],
                elem_id="try-upload",
            )
            examples = _examples(context, upload)
            model = gr.Dropdown(models, value=models[0], label="Model", elem_id="try-model")
            variants = variant_choices(models[0])
            variant = gr.Dropdown(variants, value=variants[0], label="Variant", elem_id="try-variant")
            licence = gr.Markdown(licence_line(models[0], variants[0]))
            cutoff = gr.Slider(
                0,
                1,
                value=0.3,
                step=0.05,
                label="Draw keypoints from this confidence on",
                elem_id="try-cutoff",
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
        with gr.Column(scale=2, min_width=320):
            status = gr.Markdown("Upload something, or take an example.", elem_id="try-status")
            video = gr.Video(label="Labelled video", visible=False, elem_id="try-video")
            gallery = gr.Gallery(
                label="Labelled images",
                visible=False,
                columns=2,
                object_fit="contain",
                interactive=False,
                elem_id="try-gallery",
            )
            plot = gr.Image(
                label="Confidence of each keypoint",
                visible=False,
                interactive=False,
                buttons=["download", "fullscreen"],
                elem_id="try-plot",
            )
            files = gr.File(
                label="Tables to download",
                visible=False,
                interactive=False,
                file_count="multiple",
                elem_id="try-files",
            )

    def choose_model(name: str, own: dict[str, str]) -> Any:
        if name in own:
            return gr.update(choices=[OWN_VARIANT], value=OWN_VARIANT), _OWN
        found = variant_choices(name)
        return gr.update(choices=found, value=found[0]), licence_line(name, found[0])

    async def predict(
        request: gr.Request,
        paths: list[str] | None,
        model: str,
        variant: str,
        cutoff: float,
        individuals: float | None,
        smoothing: str,
        own: dict[str, str],
    ) -> AsyncIterator[dict[Any, Any]]:
        inputs = [Path(path) for path in paths or []]
        try:
            kind = check_uploads(inputs, context.settings)
            model, variant = chosen_model(model, variant, own)
        except InputError as error:
            raise refuse(error) from error
        arguments = {
            "inputs": [str(path) for path in inputs],
            "out": str(context.visitor(request).new_folder("predict")),
            "model": model,
            "variant": variant,
            "cutoff": float(cutoff),
            "max_individuals": int(individuals) if individuals else None,
            "video": kind == "video",
            "smooth": kind == "video" and smoothing != SMOOTHING[0],
            "max_frames": context.settings.max_frames,
        }
        async for message in follow(context, request, "predict", arguments):
            if isinstance(message, str):
                yield {status: message}
            else:
                yield {
                    status: message["summary"],
                    video: gr.update(value=message["video"], visible=message["video"] is not None),
                    gallery: gr.update(value=message["gallery"], visible=bool(message["gallery"])),
                    plot: gr.update(value=message["plot"], visible=True),
                    files: gr.update(value=message["files"], visible=True),
                    labels: message["labels"],
                }

    def describe(model: str, variant: str, own: dict[str, str]) -> str:
        return _OWN if model in own else licence_line(model, variant)

    def cancel(request: gr.Request) -> str:
        return "Cancelled." if context.worker.cancel(session(request)) else "Nothing is running."

    model.change(choose_model, [model, own], [variant, licence], api_visibility="private")
    variant.change(describe, [model, variant, own], licence, api_visibility="private")
    owned(context, upload, api_name="remember")
    event = run.click(
        predict,
        [upload, model, variant, cutoff, individuals, smoothing, own],
        [status, video, gallery, plot, files, labels],
        concurrency_limit=None,
        api_name="predict",
        show_progress="minimal",
        show_progress_on=status,
    )
    stop.click(cancel, None, status, queue=False, api_visibility="private")
    del examples
    return TryTab(labels, event, own, model, variant)


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


def _examples(context: AppContext, upload: gr.File) -> Any:
    """The host's example files, to be taken with a click."""
    if context.settings.examples is None:
        return None
    known = (*IMAGE_SUFFIXES, *VIDEO_SUFFIXES)
    files = sorted(p for p in context.settings.examples.iterdir() if p.suffix.lower() in known)
    if not files:
        return None
    return gr.Examples([[[str(context.offered(path))]] for path in files], inputs=[upload], label="Examples")
