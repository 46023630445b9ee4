"""Tab "Annotate": the host's pictures, one after the other, labelled by whoever gives a name."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import gradio as gr
import numpy as np

from app.web.annotations import CLOSE, Agreement, Pool, checked_labeller
from app.web.context import AppContext, follow, refuse
from app.web.editor import checked_individuals, editor, for_the_page, only_keypoints, picture_labels
from app.web.guards import check_image
from app.web.try_tab import variant_choices
from superset_vocab.errors import InputError

_SUGGESTED = 0.3  # confidence from which a prediction is shown


def build(context: AppContext) -> None:
    """Add the tab's contents to the page that is being built."""
    pool = Pool.of(context.settings)
    who, skipped, picture, start = gr.State(""), gr.State(()), gr.State(None), gr.State("")
    gr.Markdown(
        "Give a name, and label picture by picture. Come back under the same name to go on where you were. "
        "Label every animal; leave out a keypoint that cannot be seen."
    )
    with gr.Row():
        name = gr.Textbox(label="Your name", max_length=40, elem_id="annotate-name")
        begin = gr.Button("Begin, or go on", variant="primary", elem_id="annotate-begin")
    status = gr.Markdown("Not begun.", elem_id="annotate-status")
    canvas = editor("Keypoints")
    with gr.Row():
        suggest = gr.Button("Suggest by a model", elem_id="annotate-suggest")
        skip = gr.Button("Skip", elem_id="annotate-skip")
        save = gr.Button("Save, and the next one", variant="primary", elem_id="annotate-save")
        pack = gr.Button("Download my labels", elem_id="annotate-pack")
    agreed = gr.Markdown(elem_id="annotate-agreement")
    download = gr.File(label="My labels (superset COCO)", visible=False, elem_id="annotate-file")

    def show(labeller: str, left_out: tuple[str, ...]) -> dict[Any, Any]:
        shown, left_out = next_picture(pool, context, labeller, left_out)
        done, total = len(pool.done(labeller)), len(pool.pictures())
        text = f"{done} of {total} done by {labeller}."
        if shown is None:
            text += " Nothing is left for you. Thank you!"
        page = None if shown is None else for_the_page(shown)
        return {who: labeller, skipped: left_out, picture: shown, start: "", canvas: page, status: text}

    def enter(name: str) -> dict[Any, Any]:
        try:
            return show(checked_labeller(name), ())
        except InputError as error:
            raise refuse(error) from error

    def edited(event: gr.EventData, shown: dict[str, Any] | None) -> dict[str, Any] | None:
        if shown is None:
            return None
        try:
            sent = checked_individuals(getattr(event, "individuals", None), shown)
        except InputError as error:
            raise refuse(error) from error
        return {**shown, "individuals": sent}

    def keep(labeller: str, left_out: tuple[str, ...], shown: dict[str, Any] | None, start: str) -> Any:
        try:
            need_picture(shown)
            assert shown is not None
            size = (shown["size"][0], shown["size"][1])
            found = pool.save(labeller, shown["pool_name"], size, shown["individuals"], start)
            return {**show(labeller, left_out), agreed: "\n\n".join(map(sentence, found))}
        except InputError as error:
            raise refuse(error) from error

    def pass_over(labeller: str, left_out: tuple[str, ...], shown: dict[str, Any] | None) -> dict[Any, Any]:
        try:
            need_picture(shown)
            assert shown is not None
            return show(labeller, (*left_out, shown["pool_name"]))
        except InputError as error:
            raise refuse(error) from error

    async def predict(request: gr.Request, shown: dict[str, Any] | None) -> AsyncIterator[dict[Any, Any]]:
        try:
            need_picture(shown)
        except InputError as error:
            raise refuse(error) from error
        assert shown is not None
        model = pool.vocabulary.name
        arguments = {
            "path": shown["path"],
            "model": model,
            "variant": variant_choices(model)[0],
            "cutoff": _SUGGESTED,
        }
        async for message in follow(context, request, "suggest", arguments):
            if isinstance(message, str):
                yield {status: message}
                continue
            new = only_keypoints(message["picture"], pool.keypoints)
            new = {**new, "pool_name": shown["pool_name"]}
            yield {
                picture: new,
                canvas: for_the_page(new),
                start: message["model"],
                status: f"Suggested by {message['model']}; correct what is wrong before you save.",
            }

    def take_home(request: gr.Request, labeller: str) -> Any:
        try:
            if not labeller:
                raise InputError("give your name and begin first")
            folder = context.visitor(request).new_folder("annotations")
            pool.merge(folder / labeller, labeller)
        except InputError as error:
            raise refuse(error) from error
        packed = shutil.make_archive(str(folder / labeller), "zip", folder, labeller)
        return gr.update(value=packed, visible=True)

    private: dict[str, Any] = {"api_visibility": "private"}
    outputs = [who, skipped, picture, start, canvas, status]
    begin.click(enter, name, outputs, **private)
    name.submit(enter, name, outputs, **private)
    canvas.input(edited, picture, picture, show_progress="hidden", trigger_mode="always_last", **private)
    skip.click(pass_over, [who, skipped, picture], outputs, **private)
    save.click(keep, [who, skipped, picture, start], [*outputs, agreed], **private)
    suggest.click(predict, picture, [picture, canvas, start, status], concurrency_limit=None, **private)
    pack.click(take_home, who, download, **private)


def need_picture(shown: dict[str, Any] | None) -> None:
    """Check that somebody has begun, and has a picture.

    Raises:
        InputError: If not.
    """
    if shown is None:
        raise InputError(
            "there is no picture; give your name and begin, or come back when there are new ones"
        )


def next_picture(
    pool: Pool, context: AppContext, labeller: str, skipped: tuple[str, ...]
) -> tuple[dict[str, Any] | None, tuple[str, ...]]:
    """The next picture for the editor, None when all are done; and what is passed over, with broken ones."""
    while (name := pool.next_for(labeller, skipped)) is not None:
        path: Path = pool.folder / name
        try:
            check_image(path, context.settings)
            none = np.empty((0, len(pool.vocabulary), 2))
            picture = only_keypoints(picture_labels(path, pool.vocabulary, none), pool.keypoints)
        except InputError:
            skipped = (*skipped, name)
            continue
        return {**picture, "pool_name": name}, skipped
    return None, skipped


def sentence(found: Agreement) -> str:
    """How far two agree, without saying who the other one is."""
    if found.mean_distance is None or found.mean_normalised is None or found.share_close is None:
        return "Another labeller of the last picture placed no keypoint that you placed."
    return (
        f"Agreement with another labeller of the last picture: {found.n_keypoints} common keypoints, "
        f"{found.mean_distance:.1f} px apart on average ({found.mean_normalised:.1%} of the animal's size), "
        f"{found.share_close:.0%} within {CLOSE:.0%} of it; {found.n_only_one} placed by one of you alone."
    )
