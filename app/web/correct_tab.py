"""Tab "Correct": drag what the model got wrong, and take the labels home as a project."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gradio as gr

from app.web.context import PRIVATE, AppContext, refuse
from app.web.editor import checked_individuals, editor, for_the_page, to_record
from app.web.packing import pack
from app.web.try_tab import TryTab
from superset_vocab.errors import InputError

FORMATS = {"superset COCO": "coco", "DeepLabCut project": "deeplabcut"}


@dataclass(frozen=True)
class CorrectTab:
    """What the tab Fine-tune uses of this one.

    Attributes:
        to_fine_tuning: The button that sends the corrected labels there.
        cutoff: Confidence below which untouched points are left out.
    """

    to_fine_tuning: gr.Button
    cutoff: gr.Slider


def build(context: AppContext, source: TryTab) -> CorrectTab:
    """Add the tab's contents to the page that is being built."""
    place = gr.State(0)
    gr.Markdown(
        "The images of the last prediction. Drag a point, click an empty place to set a missing one, "
        "press Delete to remove it; arrow keys move it by a pixel, n and p choose the next and the previous."
    )
    with gr.Row(elem_classes="pager"):
        back = gr.Button("Previous", elem_id="correct-back")
        which = gr.Markdown("No pictures yet: predict on images in the tab Try.", elem_id="correct-which")
        on = gr.Button("Next", elem_id="correct-next")
    canvas = editor("Keypoints", "correct-canvas")
    with gr.Row():
        form = gr.Radio(list(FORMATS), value="superset COCO", label="Labels as")
        cutoff = gr.Slider(
            0, 1, value=0.3, step=0.05, label="Leave out untouched points below this confidence"
        )
        save = gr.Button("Make the download", variant="primary", elem_id="correct-save")
        tune = gr.Button("Fine-tune on these", elem_id="correct-tune")
    download = gr.File(label="Corrected labels", visible=False, interactive=False, elem_id="correct-file")

    def show(pictures: list[dict[str, Any]], index: int) -> tuple[int, str, dict[str, Any] | None]:
        if not pictures:
            return 0, "No pictures yet: predict on images in the tab Try.", None
        index %= len(pictures)
        return index, f"Picture {index + 1} of {len(pictures)}", for_the_page(pictures[index])

    def edited(event: gr.EventData, pictures: list[dict[str, Any]]) -> list[dict[str, Any]]:
        # Of whichever picture it is: another may be shown by now, or another prediction.
        key = getattr(event, "key", None)
        index = next((i for i, picture in enumerate(pictures) if picture["key"] == key), None)
        if index is None:
            return pictures
        try:
            sent = checked_individuals(getattr(event, "individuals", None), pictures[index])
        except InputError as error:
            raise refuse(error) from error
        return [*pictures[:index], {**pictures[index], "individuals": sent}, *pictures[index + 1 :]]

    def pack(request: gr.Request, pictures: list[dict[str, Any]], form: str, cutoff: float) -> Any:
        try:
            with context.unpacking(request, "labels", alone=False) as folder:
                path = write_labels(pictures, folder, FORMATS[form], cutoff)
        except InputError as error:
            raise refuse(error) from error
        return gr.update(value=str(path), visible=True)

    source.finished.success(show, [source.labels, place], [place, which, canvas], **PRIVATE)
    back.click(lambda p, i: show(p, i - 1), [source.labels, place], [place, which, canvas], **PRIVATE)
    on.click(lambda p, i: show(p, i + 1), [source.labels, place], [place, which, canvas], **PRIVATE)
    # Edits come faster than answers: the last one holds all, and must not be dropped as a repetition.
    canvas.input(
        edited,
        source.labels,
        source.labels,
        show_progress="hidden",
        trigger_mode="always_last",
        **PRIVATE,
    )
    save.click(pack, [source.labels, form, cutoff], download, **PRIVATE)
    return CorrectTab(tune, cutoff)


def write_labels(pictures: list[dict[str, Any]], folder: Path, form: str, cutoff: float) -> Path:
    """Write corrected pictures as a dataset and pack it.

    Args:
        pictures: As the editor has them.
        folder: New folder of the visitor's.
        form: "coco" or "deeplabcut".
        cutoff: See `app.web.editor.to_record`.

    Returns:
        A .zip file in `folder`.

    Raises:
        InputError: If there is nothing to write.
    """
    from converters import write_labels as write_foreign
    from superset_vocab import LabelSet, Source, load_vocabulary
    from superset_vocab.provenance import operation

    if not pictures:
        raise InputError("there are no pictures to save; predict on images in the tab Try first")
    vocabulary = load_vocabulary(pictures[0]["vocabulary"])
    records = tuple(to_record(picture, "corrected", "upload", cutoff) for picture in pictures)
    if not any(len(record) for record in records):
        raise InputError("no picture has a keypoint; lower the confidence or set some")
    labels = LabelSet(
        keypoints=vocabulary.keypoints,
        records=records,
        sources=(Source("corrected", vocabulary.keypoints, format="zoo app"),),
        vocabulary=vocabulary.name,
        operations=(operation("correct_by_hand", cutoff=cutoff),),
    )
    target = folder / "corrected"
    write_foreign(labels, target, format=form)
    return pack(target, folder / "corrected.zip", folder.parent, top="corrected")
