"""Tab "Annotate": the host's pictures, one after the other, labelled by whoever gives a name."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gradio as gr
import numpy as np

from app.web.annotations import CLOSE, Agreement, Pool, checked_labeller
from app.web.context import PRIVATE, AppContext, follow, refuse
from app.web.editor import (
    checked_individuals,
    editor,
    for_the_page,
    only_keypoints,
    picture_labels,
    submitted_by,
)
from app.web.guards import check_image
from app.web.packing import pack
from app.web.try_tab import variant_choices
from superset_vocab.errors import InputError

_SUGGESTED = 0.3  # confidence from which a prediction is shown


@dataclass(frozen=True, eq=False)
class _Parts:
    """What the tab is made of: components, and states of the visitor's.

    Attributes:
        who: State: the labeller.
        skipped: State: pictures that were passed over.
        picture: State: the picture that is labelled, of `picture_labels` and with "pool_name"; or None.
        start: State: the model whose suggestion was the starting point; "" for none.
        suggestion: State: what a model has just suggested, and its name; for a picture that may have been
            saved or skipped meanwhile.
    """

    who: gr.State
    skipped: gr.State
    picture: gr.State
    start: gr.State
    suggestion: gr.State
    name: gr.Textbox
    begin: gr.Button
    status: gr.Markdown
    canvas: gr.HTML
    suggest: gr.Button
    skip: gr.Button
    save: gr.Button
    pack: gr.Button
    agreed: gr.Markdown
    download: gr.File

    @classmethod
    def lay_out(cls) -> _Parts:
        gr.Markdown(
            "Give a name, and label picture by picture: a click sets the keypoint marked in the list, "
            "and the next missing one is marked. Choose another in the list, or with n and p; leave out what "
            "cannot be seen. Label every animal. Come back under the same name to go on where you were."
        )
        with gr.Row():
            name = gr.Textbox(label="Your name", max_length=40, elem_id="annotate-name")
            begin = gr.Button("Begin, or go on", variant="primary", elem_id="annotate-begin")
        status = gr.Markdown("Not begun.", elem_id="annotate-status")
        canvas = editor("Keypoints", "annotate-canvas")
        with gr.Row():
            suggest = gr.Button("Suggest by a model", elem_id="annotate-suggest")
            skip = gr.Button("Skip", elem_id="annotate-skip")
            save = gr.Button("Save, and the next one", variant="primary", elem_id="annotate-save")
            pack = gr.Button("Download my labels", elem_id="annotate-pack")
        return cls(
            who=gr.State(""),
            skipped=gr.State(()),
            picture=gr.State(None),
            start=gr.State(""),
            suggestion=gr.State(None),
            name=name,
            begin=begin,
            status=status,
            canvas=canvas,
            suggest=suggest,
            skip=skip,
            save=save,
            pack=pack,
            agreed=gr.Markdown(elem_id="annotate-agreement"),
            download=gr.File(
                label="My labels (superset COCO)", visible=False, interactive=False, elem_id="annotate-file"
            ),
        )


def build(context: AppContext) -> None:
    """Add the tab's contents to the page that is being built."""
    pool = Pool.of(context.settings)
    _Handlers(context, pool, _Parts.lay_out()).wire()


@dataclass(frozen=True, eq=False)
class _Handlers:
    """What the tab does."""

    context: AppContext
    pool: Pool
    parts: _Parts

    def wire(self) -> None:
        """Connect the components with what follows here."""
        parts = self.parts
        page = [parts.who, parts.skipped, parts.picture, parts.start, parts.canvas, parts.status]
        at = [parts.who, parts.skipped, parts.picture]
        parts.begin.click(self.enter, parts.name, page, **PRIVATE)
        parts.name.submit(self.enter, parts.name, page, **PRIVATE)
        parts.skip.click(self.pass_over, at, page, **PRIVATE)
        submitted_by(parts.save, parts.canvas)
        parts.canvas.submit(self.keep, [*at, parts.start], [*page, parts.agreed], **PRIVATE)
        asked = parts.suggest.click(
            self.predict, parts.picture, [parts.suggestion, parts.status], concurrency_limit=None, **PRIVATE
        )
        suggested = [parts.suggestion, parts.picture, parts.canvas, parts.start, parts.status]
        asked.success(self.take_over, [parts.picture, parts.suggestion], suggested, **PRIVATE)
        parts.pack.click(self.take_home, parts.who, parts.download, **PRIVATE)

    def show(self, labeller: str, left_out: tuple[str, ...]) -> dict[Any, Any]:
        parts = self.parts
        shown, left_out = next_picture(self.pool, self.context, labeller, left_out)
        done, total = len(self.pool.done(labeller)), len(self.pool.pictures())
        text = f"{done} of {total} done by {labeller}."
        if shown is None and done < total:
            text += " The others were skipped; press Begin to see them again."
        elif shown is None:
            text += " Nothing is left for you. Thank you!"
        return {
            parts.who: labeller,
            parts.skipped: left_out,
            parts.picture: shown,
            parts.start: "",
            parts.canvas: None if shown is None else for_the_page(shown),
            parts.status: text,
        }

    def enter(self, name: str) -> dict[Any, Any]:
        try:
            return self.show(checked_labeller(name), ())
        except InputError as error:
            raise refuse(error) from error

    def keep(
        self,
        event: gr.EventData,
        labeller: str,
        left_out: tuple[str, ...],
        shown: dict[str, Any] | None,
        start: str,
    ) -> dict[Any, Any]:
        try:
            picture = needed(shown)
            if getattr(event, "pool_name", None) != picture["pool_name"]:  # a second click, before the next
                return {self.parts.who: labeller}
            if self.pool.is_done(labeller, picture["pool_name"]):
                text = (
                    f"{picture['file']} was labelled as {labeller} in another window meanwhile; that stays, "
                    "and what you did here is not kept. Is it somebody else's name?"
                )
                return {**self.show(labeller, left_out), self.parts.agreed: text}
            individuals = checked_individuals(getattr(event, "individuals", None), picture)
            size = (picture["size"][0], picture["size"][1])
            found = self.pool.save(labeller, picture["pool_name"], size, individuals, start)
            text = "\n\n".join(map(sentence, found))
            return {**self.show(labeller, left_out), self.parts.agreed: text}
        except InputError as error:
            raise refuse(error) from error

    def pass_over(
        self, labeller: str, left_out: tuple[str, ...], shown: dict[str, Any] | None
    ) -> dict[Any, Any]:
        try:
            return self.show(labeller, (*left_out, needed(shown)["pool_name"]))
        except InputError as error:
            raise refuse(error) from error

    async def predict(
        self, request: gr.Request, shown: dict[str, Any] | None
    ) -> AsyncIterator[dict[Any, Any]]:
        parts, model = self.parts, self.pool.vocabulary.name
        try:
            picture = needed(shown)
        except InputError as error:
            raise refuse(error) from error
        arguments = {
            "path": picture["path"],
            "model": model,
            "variant": variant_choices(model)[0],
            "cutoff": _SUGGESTED,
        }
        async for message in follow(self.context, request, "suggest", arguments):
            if isinstance(message, str):
                yield {parts.status: message}
                continue
            new = only_keypoints(message["picture"], self.pool.keypoints)
            new = {**new, "pool_name": picture["pool_name"]}
            yield {parts.suggestion: (new, message["model"])}

    def take_over(
        self, shown: dict[str, Any] | None, suggestion: tuple[dict[str, Any], str] | None
    ) -> dict[Any, Any]:
        """Show a suggestion, if its picture is still the one that is labelled."""
        parts = self.parts
        if suggestion is None or shown is None or shown["pool_name"] != suggestion[0]["pool_name"]:
            return {parts.suggestion: None}
        new, model = suggestion
        found = any(point for points in new["individuals"] for point in points)
        return {
            parts.suggestion: None,
            parts.picture: new,
            parts.canvas: for_the_page(new),
            parts.start: model if found else "",
            parts.status: f"Suggested by {model}; correct what is wrong before you save."
            if found
            else f"{model} found no animal here; label by hand.",
        }

    def take_home(self, request: gr.Request, labeller: str) -> Any:
        try:
            if not labeller:
                raise InputError("give your name and begin first")
            visitor = self.context.visitor(request).folder
            with self.context.unpacking(request, "annotations", alone=False) as folder:
                self.pool.merge(folder / labeller, labeller)
        except InputError as error:
            raise refuse(error) from error
        packed = pack(folder / labeller, folder / f"{labeller}.zip", visitor, top=labeller)
        return gr.update(value=str(packed), visible=True)


def needed(shown: dict[str, Any] | None) -> dict[str, Any]:
    """The picture that somebody labels.

    Raises:
        InputError: If nobody has begun, or nothing is left.
    """
    if shown is None:
        raise InputError(
            "there is no picture; give your name and begin, or come back when there are new ones"
        )
    return shown


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
