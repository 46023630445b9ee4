"""The page of a validation report: one HTML file with example pictures, and nothing from elsewhere.

Every text that comes from labels or file names is escaped, and the page's own policy forbids scripts and
anything that would be loaded: names come from strangers.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator, Sequence
from html import escape
from pathlib import Path

import cv2
import numpy as np

from converters.images import ImageError, read_image
from converters.validation_report import Finding, Kind, Severity, ValidationReport
from superset_vocab import LabelRecord

EXAMPLES = 6  # pictures of each kind of finding
_LISTED = 1000  # findings of each kind in the table; all are in the JSON
_WIDTH = 360  # of a picture, in pixels

_TITLES = {
    Kind.MISSING_IMAGE: "Missing images",
    Kind.UNREADABLE_IMAGE: "Images that do not decode",
    Kind.WRONG_SIZE: "Images of another size than the labels say",
    Kind.OUTSIDE_IMAGE: "Keypoints outside of their image",
    Kind.BOX_ELSEWHERE: "Boxes without an area, or that hold none of their animal's keypoints",
    Kind.BOX: "Keypoints outside of their animal's box",
    Kind.LEFT_RIGHT: "Left and right perhaps exchanged",
    Kind.SAME_IMAGE: "The same image twice in one group",
    Kind.SAME_IMAGE_APART: "The same image in two groups or splits",
    Kind.NEAR_DUPLICATE: "Nearly the same image twice in one group",
    Kind.NEAR_DUPLICATE_APART: "Nearly the same image in two groups or splits",
}
_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 76rem; padding: 0 1rem;
  color: #222; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.15rem; margin-top: 2rem; }
table { border-collapse: collapse; } td, th { border-bottom: 1px solid #ddd; padding: .25rem .75rem .25rem 0;
  text-align: left; vertical-align: top; overflow-wrap: anywhere; }
.error { color: #a40000; } .suspicion { color: #8a5a00; } .fine { color: #2d6a2d; }
.pictures { display: flex; flex-wrap: wrap; gap: 1rem; } figure { margin: 0; width: 360px; }
figure img { max-width: 100%; background: #eee; } figcaption { font-size: .85rem; overflow-wrap: anywhere; }
"""


def page(report: ValidationReport) -> str:
    """The HTML text of a report."""
    names = ", ".join(source.dataset for source in report.labels.sources)
    kinds = [kind for kind in Kind if report.counts().get(kind)]
    body = [
        f"<h1>Validation of {escape(names)}</h1>",
        f"<p>{len(report.labels)} images, {report.labels.n_instances} animals, "
        f"{len(report.labels.keypoints)} keypoints: {_verdict(report)}</p>",
        _table(("check", "made on"), [(escape(c.name), escape(c.result)) for c in report.checks]),
        *(part for kind in kinds for part in _section(report, kind)),
    ]
    policy = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n'
        '<meta name="viewport" content="width=device-width">\n'
        f"<title>Validation of {escape(names)}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n"
        + "\n".join(body)
        + "\n</body>\n</html>\n"
    )


def _verdict(report: ValidationReport) -> str:
    """Errors and suspicions in a few words."""
    if not report.findings:
        return '<strong class="fine">nothing found</strong>'
    n_bad = len({finding.image for finding in report.errors})
    errors = f'<strong class="error">{len(report.errors)} errors in {n_bad} images</strong>'
    return f'{errors}, <strong class="suspicion">{len(report.suspicions)} suspicions</strong>'


def _section(report: ValidationReport, kind: Kind) -> Iterator[str]:
    """Everything about one kind of finding."""
    found = [finding for finding in report.findings if finding.kind is kind]
    grave = any(finding.severity is Severity.ERROR for finding in found)
    yield f'<h2 class="{"error" if grave else "suspicion"}">{_TITLES[kind]}: {len(found)}</h2>'
    pictures = "".join(_figure(report, finding) for finding in _spread(found))
    if pictures:
        yield f'<div class="pictures">{pictures}</div>'
    rows = [
        (escape(f.dataset), escape(f.source_image), f.severity.value, escape(f.sentence))
        for f in found[:_LISTED]
    ]
    yield f"<details><summary>all {len(found)}</summary>"
    yield _table(("dataset", "image", "severity", "what"), rows)
    if len(found) > _LISTED:
        yield f"<p>and {len(found) - _LISTED} more: all are in the JSON report</p>"
    yield "</details>"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table; cells are HTML."""
    cells = "".join(f"<th>{name}</th>" for name in head)
    lines = "".join("<tr>" + "".join(f"<td>{cell}</td>" for cell in row) + "</tr>" for row in rows)
    return f"<table><thead><tr>{cells}</tr></thead><tbody>{lines}</tbody></table>"


def _spread(found: Sequence[Finding]) -> list[Finding]:
    """A few of many, evenly spread."""
    places = np.unique(np.linspace(0, len(found) - 1, min(EXAMPLES, len(found))).astype(int))
    return [found[int(place)] for place in places]


def _figure(report: ValidationReport, finding: Finding) -> str:
    """The picture of a finding with its caption; empty where the image cannot be shown."""
    record = report.labels.records[finding.record] if finding.record is not None else None
    paths = [finding.image, *finding.related]
    others = [r for r in report.labels.records if r.image in finding.related] if finding.related else []
    records = [record, *others[: len(finding.related)]]
    pictures = [
        _picture(path, at, finding, report.labels.keypoints if i == 0 else ())
        for i, (path, at) in enumerate(zip(paths, records, strict=False))
    ]
    images = "".join(f'<img alt="" src="data:image/jpeg;base64,{data}">' for data in pictures if data)
    if not images:
        return ""
    caption = f"<b>{escape(finding.source_image)}</b><br>{escape(finding.sentence)}"
    return f"<figure>{images}<figcaption>{caption}</figcaption></figure>"


def _picture(path: Path, record: LabelRecord | None, finding: Finding, keypoints: Sequence[str]) -> str:
    """An image with its labels drawn, as base64 of a JPEG; empty if it does not decode."""
    try:
        image = read_image(path)
    except ImageError:
        return ""
    low, high = _window(image, record, finding if keypoints else None)
    image = image[low[1] : high[1], low[0] : high[0]]
    scale = _WIDTH / image.shape[1]
    image = cv2.resize(image, (_WIDTH, max(1, round(image.shape[0] * scale))), interpolation=cv2.INTER_AREA)
    animals = () if record is None else zip(record.keypoints, record.bbox_xywh, strict=True)
    for n, (xy, box) in enumerate(animals):
        marked = keypoints if finding.instance in (None, n) else ()
        _draw(image, (xy - low) * scale, (box - np.array([*low, 0, 0])) * scale, finding, marked)
    done, data = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, 85])
    return base64.b64encode(data.tobytes()).decode("ascii") if done else ""


def _window(
    image: np.ndarray, record: LabelRecord | None, finding: Finding | None
) -> tuple[np.ndarray, np.ndarray]:
    """Corners x, y of the part to show: around the animal that a finding is about, else all of the image."""
    size = np.array([image.shape[1], image.shape[0]])
    if record is None or finding is None or finding.instance is None:
        return np.zeros(2, dtype=int), size
    xy, box = record.keypoints[finding.instance], record.bbox_xywh[finding.instance]
    points = np.concatenate([xy, [box[:2], box[:2] + box[2:]]])
    points = np.clip(points[np.isfinite(points).all(-1)], 0, size)
    centre, reach = (points.min(0) + points.max(0)) / 2, max(40.0, 0.75 * float(np.ptp(points, axis=0).max()))
    low = np.clip(np.floor(centre - reach), 0, size - 1).astype(int)
    return low, np.maximum(np.clip(np.ceil(centre + reach), 1, size).astype(int), low + 1)


def _draw(
    image: np.ndarray, xy: np.ndarray, box: np.ndarray, finding: Finding, keypoints: Sequence[str]
) -> None:
    """Draw an animal's keypoints and box in place; in red with its name what the finding is about."""
    if np.isfinite(box).all():
        low, high = np.clip(box[:2], -9999, 9999), np.clip(box[:2] + box[2:], -9999, 9999)
        colour = (
            (0, 0, 220) if keypoints and finding.kind in (Kind.BOX, Kind.BOX_ELSEWHERE) else (200, 160, 0)
        )
        cv2.rectangle(image, _at(low), _at(high), colour, 1, cv2.LINE_AA)
    for k in np.flatnonzero(np.isfinite(xy).all(-1)):
        name = str(keypoints[k]) if len(keypoints) and keypoints[k] in finding.keypoints else ""
        # Outside of the image it is drawn on the edge, where it can be seen.
        place = _at(np.clip(xy[k], 2, np.array([image.shape[1], image.shape[0]]) - 3))
        cv2.circle(image, place, 3, (0, 0, 230) if name else (60, 200, 0), -1, cv2.LINE_AA)
        text_at = (place[0] + 5, place[1])
        cv2.putText(image, name, text_at, cv2.FONT_HERSHEY_SIMPLEX, 0.4, (0, 0, 230), 1, cv2.LINE_AA)


def _at(xy: np.ndarray) -> tuple[int, int]:
    """A point for OpenCV."""
    return round(float(xy[0])), round(float(xy[1]))
