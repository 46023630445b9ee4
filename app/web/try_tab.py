"""Tab "Try": poses on the visitor's images or video, drawn, plotted, and as tables to take home."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gradio as gr

from app.web.context import AppContext, follow, refuse, session
from app.web.guards import IMAGE_SUFFIXES, check_uploads
from superset_vocab.errors import InputError
from zoo.catalogue import find_model, list_models
from zoo.video import VIDEO_SUFFIXES

EMBEDDED = "compact"
FIRST = "superanimal_topviewmouse"
SMOOTHING = ("none", "Kalman smoother")


@dataclass(frozen=True)
class TryTab:
    """What other tabs use of this one.

    Attributes:
        labels: State: the pictures of the last run with their labels (`app.web.editor.picture_labels`).
        finished: The event after which `labels` are new.
    """

    labels: gr.State
    finished: Any


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
    labels = gr.State([])
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
            licence = gr.Markdown(_licence(models[0], variants[0]))
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

    def choose_model(name: str) -> Any:
        found = variant_choices(name)
        return gr.update(choices=found, value=found[0]), _licence(name, found[0])

    async def predict(
        request: gr.Request,
        paths: list[str] | None,
        model: str,
        variant: str,
        cutoff: float,
        individuals: float | None,
        smoothing: str,
    ) -> AsyncIterator[dict[Any, Any]]:
        inputs = [Path(path) for path in paths or []]
        try:
            kind = check_uploads(inputs, context.settings)
            find_model(model, variant)
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

    def remember(request: gr.Request, paths: list[str] | None) -> None:
        inside = context.settings.uploads
        found = {Path(path) for path in paths or []}
        context.visitor(request).uploads |= {path for path in found if path.is_relative_to(inside)}

    def cancel(request: gr.Request) -> str:
        return "Cancelled." if context.worker.cancel(session(request)) else "Nothing is running."

    model.change(choose_model, model, [variant, licence], api_visibility="private")
    variant.change(_licence, [model, variant], licence, api_visibility="private")
    # From now on the files are somebody's, and go with them; examples stay.
    upload.upload(remember, upload, None, queue=False, show_progress="hidden", api_name="remember")
    event = run.click(
        predict,
        [upload, model, variant, cutoff, individuals, smoothing],
        [status, video, gallery, plot, files, labels],
        concurrency_limit=None,
        api_name="predict",
        show_progress="minimal",
        show_progress_on=status,
    )
    stop.click(cancel, None, status, queue=False, api_visibility="private")
    del examples
    return TryTab(labels, event)


def _licence(model: str, variant: str | None) -> str:
    try:
        spec = find_model(model, variant)
    except InputError as error:  # between two events the variant can be another model's
        return str(error)
    where = (
        "runs at once, without a download" if spec.embedded else "is downloaded from the Hub when first used"
    )
    return f"{spec.summary}. It {where}. Licence: {spec.licence}."


def _examples(context: AppContext, upload: gr.File) -> gr.Examples | None:
    """The host's example files, to be taken with a click."""
    if context.settings.examples is None:
        return None
    known = (*IMAGE_SUFFIXES, *VIDEO_SUFFIXES)
    files = sorted(p for p in context.settings.examples.iterdir() if p.suffix.lower() in known)
    if not files:
        return None
    return gr.Examples([[[str(context.offered(path))]] for path in files], inputs=[upload], label="Examples")
