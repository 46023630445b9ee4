"""The picture on which keypoints are dragged: a `gr.HTML` component with a script of our own.

The page gets one picture at a time as a plain dict (`picture_labels`), with the picture itself inside as
a data address, so that no visitor's picture has an address that another could ask for. What the visitor
does comes back as an "input" event with the labels, and as a "submit" event when a button asks for it
(`submitted_by`). Keyboard: arrows move the chosen keypoint, n and p choose the next and the previous,
Delete removes it, Ctrl+Z takes back, plus and minus zoom.
"""

from __future__ import annotations

import base64
import secrets
from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from superset_vocab import LabelRecord, Visibility, Vocabulary
from superset_vocab.errors import InputError
from zoo.inputs import read_image

if TYPE_CHECKING:
    import gradio as gr

_STATIC = resources.files("app.web") / "static"
_LONGEST_SIDE = 1600  # of the picture that the page shows; coordinates stay those of the original


def picture_labels(
    path: Path, vocabulary: Vocabulary, keypoints: np.ndarray, confidence: np.ndarray | None = None
) -> dict[str, Any]:
    """One picture with its labels, as the editor wants them.

    Args:
        path: The image.
        vocabulary: Names, colours and bones.
        keypoints: (N, K, 2) px, NaN where missing, and what lies outside of the picture counts as
            missing: no label can be there. An individual without any is left out.
        confidence: (N, K), shown beside the names; None for labels made by hand.

    Returns:
        "key" (of this labelling, unlike every other), "file", "size" [w, h], "names", "colours", "bones",
        and "individuals": for each K entries [x, y, confidence] or None. There is always at least one
        individual, so that points can be added.
    """
    image = read_image(path)
    height, width = image.shape[:2]
    sure = np.ones(keypoints.shape[:2]) if confidence is None else confidence
    individuals = [
        [
            [round(float(x), 2), round(float(y), 2), round(float(c), 3)]
            if -0.5 <= x <= width - 0.5 and -0.5 <= y <= height - 0.5  # not so for NaN
            else None
            for (x, y), c in zip(points, row, strict=True)
        ]
        for points, row in zip(keypoints, sure, strict=True)
        if np.isfinite(points).all(-1).any()
    ]
    return {
        "key": secrets.token_hex(8),
        "file": path.name,
        "path": str(path),
        "size": [width, height],
        "vocabulary": vocabulary.name,
        "names": list(vocabulary.keypoints),
        "colours": ["#" + bytes(colour.tolist()).hex() for colour in vocabulary.colours],
        "bones": [[int(a), int(b)] for a, b in vocabulary.bones],
        "individuals": individuals or [[None] * len(vocabulary)],
    }


def only_keypoints(picture: dict[str, Any], names: Sequence[str]) -> dict[str, Any]:
    """A picture with some of its keypoints, in the vocabulary's order, and the animals that have any."""
    kept = [k for k, name in enumerate(picture["names"]) if name in set(names)]
    place = {k: i for i, k in enumerate(kept)}
    individuals = [[points[k] for k in kept] for points in picture["individuals"]]
    return {
        **picture,
        "names": [picture["names"][k] for k in kept],
        "colours": [picture["colours"][k] for k in kept],
        "bones": [[place[a], place[b]] for a, b in picture["bones"] if a in place and b in place],
        "individuals": [points for points in individuals if any(points)] or [[None] * len(kept)],
    }


def submitted_by(button: gr.Button, canvas: gr.HTML) -> None:
    """Let a button send what the editor shows: the editor's event "submit" follows."""
    shown = f"document.querySelector('#{canvas.elem_id} .zoo-editor')"
    js = f"() => {shown}.dispatchEvent(new Event('zoo-submit'))"
    button.click(None, None, None, js=js, api_visibility="private")


def for_the_page(picture: dict[str, Any]) -> dict[str, Any]:
    """The same with the picture inside, made smaller if it is large, and without the path."""
    image = read_image(Path(picture["path"]))
    longest = max(image.shape[:2])
    if longest > _LONGEST_SIDE:
        scale = _LONGEST_SIDE / longest
        image = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    encoded = cv2.imencode(".jpg", cv2.cvtColor(image, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, 90])[1]
    data = base64.b64encode(encoded.tobytes()).decode()
    shown = {key: value for key, value in picture.items() if key != "path"}
    return {**shown, "image": f"data:image/jpeg;base64,{data}"}


def checked_individuals(sent: Any, picture: dict[str, Any]) -> list[list[list[float] | None]]:
    """Labels that came from the page, which could send anything.

    Raises:
        InputError: If they are not keypoints of this picture.
    """
    width, height = picture["size"]
    k = len(picture["names"])
    wrong = InputError("the page sent labels that do not fit the picture; reload the page")
    if not isinstance(sent, list) or not 1 <= len(sent) <= 100:
        raise wrong
    result: list[list[list[float] | None]] = []
    for points in sent:
        if not isinstance(points, list) or len(points) != k:
            raise wrong
        row: list[list[float] | None] = []
        for point in points:
            if point is None:
                row.append(None)
                continue
            if not (isinstance(point, list) and len(point) == 3):
                raise wrong
            if not all(isinstance(v, int | float) and not isinstance(v, bool) for v in point):
                raise wrong
            x, y, c = (float(v) for v in point)
            if not (np.isfinite([x, y, c]).all() and -0.5 <= x <= width - 0.5 and -0.5 <= y <= height - 0.5):
                raise wrong
            row.append([x, y, min(max(c, 0.0), 1.0)])
        result.append(row)
    return result


def to_record(picture: dict[str, Any], dataset: str, split_group: str, cutoff: float) -> LabelRecord:
    """A picture's labels as a record; points below the cutoff that nobody touched count as not annotated.

    A point that was set by hand has confidence 1.
    """
    k = len(picture["names"])
    rows = [
        [point if point is not None and point[2] >= cutoff else None for point in points]
        for points in picture["individuals"]
    ]
    rows = [row for row in rows if any(point is not None for point in row)]
    keypoints = np.full((len(rows), k, 2), np.nan)
    for n, row in enumerate(rows):
        for i, point in enumerate(row):
            if point is not None:
                keypoints[n, i] = point[:2]
    there = np.isfinite(keypoints).all(-1)
    visibility = np.where(there, Visibility.VISIBLE, Visibility.NOT_ANNOTATED).astype(np.int8)
    return LabelRecord(
        image=Path(picture["path"]),
        size_wh=(picture["size"][0], picture["size"][1]),
        dataset=dataset,
        split_group=split_group,
        keypoints=keypoints,
        visibility=visibility,
        bbox_xywh=np.array([_extent(points) for points in keypoints]).reshape(-1, 4),
        source_image=picture["file"],
    )


def _extent(points: np.ndarray) -> Sequence[float]:
    """Box around the keypoints of one individual."""
    there = points[np.isfinite(points).all(-1)]
    low, high = there.min(0), there.max(0)
    return [*low, *np.maximum(high - low, 1.0)]


def editor(label: str, elem_id: str) -> gr.HTML:
    """The component; its value is what `for_the_page` gives, or None."""
    import gradio as gr

    return gr.HTML(
        value=None,
        label=label,
        elem_id=elem_id,
        html_template=(_STATIC / "editor.html").read_text(encoding="utf-8"),
        css_template=(_STATIC / "editor.css").read_text(encoding="utf-8"),
        js_on_load=(_STATIC / "editor.js").read_text(encoding="utf-8"),
        apply_default_css=False,
        min_height=200,
    )
