"""Files of a matching: the map to edit, the affinity matrix as a picture, proposed pairs on their frames."""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from adaptation.keypoint_matching import Matching, Proposal
from superset_vocab import InputError, LabelRecord, LabelSet, Vocabulary
from superset_vocab.files import atomic_path, make_folder, read_json, sha256_of, write_json
from superset_vocab.toml_text import toml_key, toml_value

MAP, AFFINITY, EVIDENCE, PREVIEWS = "keypoint_map.toml", "affinity.png", "matching.json", "previews"
_HEIGHT = 420  # pixels of a preview, about


def write_matching(
    matching: Matching,
    labels: LabelSet,
    out: Path,
    *,
    licence: str = "",
    citation: str = "",
    keep_map: bool = False,
) -> list[Path]:
    """Write everything that a person needs to check a matching, into `out`.

    `keypoint_map.toml` (read by `superset_vocab.load_map`), `matching.json`, `affinity.png` (if images
    were looked at) and `previews/*.jpg`. Files of the same names are replaced.

    Args:
        matching: From `match_keypoints`.
        labels: The label set that was matched.
        out: Folder; made if it does not exist.
        licence: For the map.
        citation: For the map.
        keep_map: Leave a keypoint_map.toml that is there as it is: somebody edited it.

    Returns:
        The files written.
    """
    make_folder(out)
    written = (
        [out / MAP] if keep_map else [write_map(matching, out / MAP, licence=licence, citation=citation)]
    )
    content = to_dict(matching) | ({} if keep_map else {"map_sha256": sha256_of(out / MAP)})
    write_json(out / EVIDENCE, content)
    written.append(out / EVIDENCE)
    if matching.evidence.n_animals:
        written.append(draw_affinity(matching, out / AFFINITY))
    return written + draw_previews(matching, labels, out / PREVIEWS)


def edited(out: Path) -> bool:
    """Whether the map in `out` is no longer the one that was proposed there."""
    if not (out / MAP).is_file():
        return False
    if not (out / EVIDENCE).is_file():
        return True
    content = read_json(out / EVIDENCE)
    return not isinstance(content, dict) or content.get("map_sha256") != sha256_of(out / MAP)


def write_map(matching: Matching, path: Path, *, licence: str = "", citation: str = "") -> Path:
    """Write the proposals as a keypoint map to edit; the evidence stands in comments.

    Args:
        matching: From `match_keypoints`.
        path: A .toml file, replaced if it exists.
        licence: Of the dataset, where known.
        citation: Of the dataset, where known.
    """
    if path.suffix != ".toml":
        raise InputError(f"{path}: a keypoint map is a .toml file")
    lines = [
        f"# Keypoint map of {_comment(matching.dataset)} into {matching.vocabulary.name}, proposed by zoo.",
        f"# {matching.model or 'names alone'}, {matching.evidence.n_animals} animals in "
        f"{matching.evidence.n_images} images; a pair below {matching.min_confidence:.0%} is not proposed.",
        "# Look at the pictures in previews/, correct what is wrong, move what has a counterpart to [map].",
    ]
    if matching.mirrored:
        same, other = matching.evidence.side_votes
        lines.append(
            f"# WARNING: left and right are exchanged against the model in {other} of {same + other} animals."
        )
    lines += [
        f"dataset = {toml_value(matching.dataset)}",
        f"vocabulary = {toml_value(matching.vocabulary.name)}",
    ]
    lines += [
        f"{key} = {toml_value(value)}"
        for key, value in (("licence", licence), ("citation", citation))
        if value
    ]
    lines += ["", "# No counterpart, or none that is sure enough:", "drop = ["]
    for proposal in (proposal for proposal in matching.proposals if proposal.target is None):
        lines += [
            f"  # {_comment(proposal.reason)}. {_comment(proposal.evidence)}",
            f"  {toml_value(proposal.source)},",
        ]
    lines += ["]", "", "[map]"]
    for proposal in (proposal for proposal in matching.proposals if proposal.target is not None):
        lines += [
            f"# {_comment(proposal.evidence)}",
            f"{toml_key(proposal.source)} = {toml_value(str(proposal.target))}",
        ]
    with atomic_path(path) as temporary:
        temporary.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def to_dict(matching: Matching) -> dict[str, object]:
    """Plain values for JSON; what is not known is None."""

    def number(value: float) -> float | None:
        return round(float(value), 4) if np.isfinite(value) else None

    def entry(p: Proposal) -> dict[str, object]:
        return {
            "source": p.source,
            "target": p.target,
            "best": p.best,
            "confidence": number(p.confidence),
            "affinity": number(p.affinity),
            "distance_in_animal_lengths": number(p.distance),
            "n_animals": p.n_animals,
            "names": p.relation.name.lower(),
            "sides": p.sides.name.lower(),
            "runner_up": p.runner_up,
            "runner_up_probability": number(p.runner_up_probability),
            "reason": p.reason,
        }

    return {
        "dataset": matching.dataset,
        "vocabulary": matching.vocabulary.name,
        "model": matching.model,
        "mirrored": matching.mirrored,
        "side_votes": list(matching.evidence.side_votes),
        "untrained": [
            name
            for name, known in zip(matching.vocabulary.keypoints, matching.evidence.known, strict=True)
            if not known
        ],
        "proposals": [entry(proposal) for proposal in matching.proposals],
        "affinity": [[number(value) for value in row] for row in matching.evidence.affinity],
        "operations": list(matching.operations),
    }


def draw_affinity(matching: Matching, path: Path) -> Path:
    """The averaged matching matrix (paper, Supplementary Fig. S2) with the proposed pairs framed."""
    from matplotlib.figure import Figure
    from matplotlib.patches import Rectangle

    s, k = matching.evidence.affinity.shape
    figure = Figure(figsize=(2.5 + 0.28 * k, 2.4 + 0.28 * s), layout="constrained")
    axes = figure.subplots()
    shown = np.ma.masked_array(matching.evidence.affinity, np.broadcast_to(~matching.evidence.known, (s, k)))
    axes.set_facecolor("0.85")
    image = axes.imshow(shown, vmin=0, vmax=1, cmap="Blues", aspect="auto")
    axes.set_xticks(range(k), matching.vocabulary.keypoints, rotation=90, fontsize=8)
    axes.set_yticks(range(s), [_plain(name) for name in matching.keypoints], fontsize=8)
    for row, proposal in enumerate(matching.proposals):
        if proposal.target is not None:
            column = matching.vocabulary.index[proposal.target]
            axes.add_patch(
                Rectangle((column - 0.5, row - 0.5), 1, 1, fill=False, edgecolor="tab:orange", lw=2)
            )
    axes.set_title(
        f"{_plain(matching.dataset)}: share of {matching.evidence.n_animals} animals matched; "
        "framed: proposed; grey: not known to the model",
        fontsize=9,
    )
    figure.colorbar(image, ax=axes, shrink=0.8)
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=110, format="png")
    return path


def draw_previews(
    matching: Matching,
    labels: LabelSet,
    folder: Path,
    *,
    targets: Mapping[str, str | None] | None = None,
    n: int = 6,
) -> list[Path]:
    """Labelled frames with what their keypoints become, those with the most annotated ones, from all groups.

    A mapped keypoint is a disc in its counterpart's colour, and a line leads from it to the cross where the
    model saw that counterpart, if it looked at the image. A dropped keypoint is a hollow ring.

    Args:
        matching: From `match_keypoints`.
        labels: The label set that was matched; its images decode.
        folder: For preview_<n>.jpg; earlier ones are removed.
        targets: Source name -> superset name, or None; None takes the proposals.
        n: How many.
    """
    key = _Key.of(matching.vocabulary, matching.targets if targets is None else targets, labels.keypoints)
    make_folder(folder)
    for old in folder.glob("preview_*.jpg"):
        old.unlink()
    written = []
    for number, index in enumerate(_telling(labels.records, n)):
        path, record = folder / f"preview_{number}.jpg", labels.records[index]
        image = cv2.imdecode(np.fromfile(record.image, dtype=np.uint8), cv2.IMREAD_COLOR)
        if image is None:
            raise InputError(f"{record.image}: is not an image that OpenCV can decode")
        picture = _preview(image, record, key, _seen(matching, index))
        content = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, 88])[1]
        with atomic_path(path) as temporary:
            temporary.write_bytes(content.tobytes())
        written.append(path)
    return written


def _seen(matching: Matching, index: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """Labelled (S, 2) and predicted (K, 2) keypoints of the animals of one image."""
    if matching.observations is None:
        return []
    found = matching.observations
    return [(found.truth[i], found.predicted[i]) for i in np.flatnonzero(found.record == index)]


def _telling(records: Sequence[LabelRecord], n: int) -> list[int]:
    """Indices of the n records with most annotated keypoints, one group after the other."""
    by_group: dict[str, list[int]] = {}
    for i, record in enumerate(records):
        if np.isfinite(record.keypoints).any():
            by_group.setdefault(record.split_group, []).append(i)
    for group in by_group.values():
        group.sort(key=lambda i: -int(np.isfinite(records[i].keypoints).all(-1).sum()))
    found: list[int] = []
    depth = 0
    while len(found) < n and any(len(group) > depth for group in by_group.values()):
        found += [group[depth] for group in by_group.values() if len(group) > depth]
        depth += 1
    return found[:n]


@dataclass(frozen=True)
class _Key:
    """What is drawn for each source keypoint: both names, the counterpart's BGR and index, or None."""

    names: tuple[str, ...]
    colours: tuple[tuple[int, int, int] | None, ...]
    targets: tuple[int | None, ...]

    @classmethod
    def of(cls, vocabulary: Vocabulary, targets: Mapping[str, str | None], keypoints: Sequence[str]) -> _Key:
        names, colours, index = [], [], []
        for i, name in enumerate(keypoints):
            target = targets[name]
            names.append(f"{i + 1} {_plain(name)} -> {target or '(none)'}")
            k = None if target is None else vocabulary.index[target]
            index.append(k)
            colours.append(None if k is None else tuple(int(v) for v in vocabulary.colours[k][::-1]))
        return cls(tuple(names), tuple(colours), tuple(index))


def _preview(
    image: np.ndarray, record: LabelRecord, key: _Key, seen: Sequence[tuple[np.ndarray, np.ndarray]]
) -> np.ndarray:
    """(H, W, 3) BGR: the labelled animals, enlarged, with a legend of names beside them."""
    points = record.keypoints[np.isfinite(record.keypoints).all(-1)]
    low, high = points.min(0), points.max(0)
    margin = max(20.0, 0.25 * float((high - low).max()))
    x0, y0 = np.maximum(np.floor(low - margin), 0).astype(int)
    x1, y1 = np.minimum(np.ceil(high + margin) + 1, (image.shape[1], image.shape[0])).astype(int)
    scale = float(np.clip(_HEIGHT / max(y1 - y0, x1 - x0, 1), 0.5, 6))
    crop = cv2.resize(image[y0:y1, x0:x1], None, fx=scale, fy=scale, interpolation=cv2.INTER_LINEAR)
    legend = np.full((max(crop.shape[0], 18 * len(key.names) + 12), 360, 3), 255, np.uint8)
    for line, text in enumerate(key.names):
        at = (26, 18 * line + 16)
        _mark(legend, (12, at[1] - 4), key.colours[line])
        cv2.putText(legend, text[:48], at, cv2.FONT_HERSHEY_SIMPLEX, 0.42, (30, 30, 30), 1, cv2.LINE_AA)

    def at_crop(point: np.ndarray) -> tuple[int, int]:
        x, y = np.round((point - (x0, y0) + 0.5) * scale - 0.5).astype(int).tolist()
        return x, y

    for truth, predicted in seen:
        for i, k in enumerate(key.targets):
            if k is not None and np.isfinite(truth[i]).all() and np.isfinite(predicted[k]).all():
                there = at_crop(predicted[k])
                cv2.line(crop, at_crop(truth[i]), there, (255, 255, 255), 1, cv2.LINE_AA)
                cv2.drawMarker(crop, there, (0, 0, 0), cv2.MARKER_TILTED_CROSS, 9, 3, cv2.LINE_AA)
                cv2.drawMarker(
                    crop, there, key.colours[i] or (0, 0, 0), cv2.MARKER_TILTED_CROSS, 9, 1, cv2.LINE_AA
                )
    for instance in record.keypoints:
        for i in np.flatnonzero(np.isfinite(instance).all(-1)):
            at, font = at_crop(instance[i]), cv2.FONT_HERSHEY_SIMPLEX
            _mark(crop, at, key.colours[i])
            place = (at[0] + 6, at[1] - 5)
            cv2.putText(crop, str(i + 1), place, font, 0.45, (0, 0, 0), 3, cv2.LINE_AA)
            cv2.putText(crop, str(i + 1), place, font, 0.45, (255, 255, 255), 1, cv2.LINE_AA)
    out = np.full((legend.shape[0], crop.shape[1] + legend.shape[1], 3), 255, np.uint8)
    out[: crop.shape[0], : crop.shape[1]] = crop
    out[:, crop.shape[1] :] = legend
    return out


def _mark(image: np.ndarray, at: tuple[int, int], colour: tuple[int, int, int] | None) -> None:
    """A disc in the counterpart's colour, or a ring where there is none."""
    if colour is None:
        cv2.circle(image, at, 5, (0, 0, 0), 3, cv2.LINE_AA)
        cv2.circle(image, at, 5, (200, 200, 200), 1, cv2.LINE_AA)
    else:
        cv2.circle(image, at, 5, (0, 0, 0), -1, cv2.LINE_AA)
        cv2.circle(image, at, 4, colour, -1, cv2.LINE_AA)


def _plain(text: str) -> str:
    """Text that OpenCV's and matplotlib's fonts can draw: ASCII, no formula."""
    bare = unicodedata.normalize("NFKD", text.replace("ß", "ss").replace("œ", "oe")).replace("$", "")
    return "".join(c for c in bare if c.isascii() and c.isprintable())


def _comment(text: str) -> str:
    """On one line, without control characters."""
    return "".join(c if c.isprintable() else " " for c in text)
