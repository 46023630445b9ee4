"""Validation of labels before anything is written: images, keypoints, boxes, sides, copies.

Errors: an image is missing, does not decode or has another size than the labels say; an annotated keypoint
lies more than a pixel outside of its image; a box has no area or holds none of its animal's keypoints; the
same image (same bytes) is in two splits or two split groups. Suspicions: a keypoint outside of its box; left
and right exchanged (`converters.left_right` says when that can be tested at all); the same image twice in
one group; nearly the same image twice (`converters.near_duplicates`), in one group as neighbouring frames
are, or in two, where it makes a test split easier than it should be.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from converters.images import ImageFacts, Looked, looking, size_sentence
from converters.left_right import LEAST_INSTANCES, LeftRight, by_dataset, find_swaps, pairs_of
from converters.near_duplicates import near_duplicates
from converters.registry import read_labels
from converters.validation_report import Check, Finding, Kind, Severity, ValidationReport
from superset_vocab import InputError, LabelSet, Vocabulary, load_vocabulary

OUTSIDE_PX = 1.0  # annotation tools round, and some say x = width for the right edge
BOX_SHARE = 0.05  # of the longer side, by which a keypoint may lie outside of its box without a word


@contextmanager
def tolerant_reading(source: Path) -> Iterator[Looked]:
    """Within the block readers leave out images that are missing or do not decode; yields what was seen.

    Raises:
        InputError: What the block raises; if no image of the source can be read, one that says so.
    """
    with looking() as looked:
        try:
            yield looked
        except InputError as error:
            if looked.errors and not looked.facts:
                first = next(iter(looked.errors.values()))
                raise InputError(
                    f"{source}: none of its {len(looked.errors)} images can be read, e.g. {first}"
                ) from error
            raise


def read_for_validation(
    source: Path,
    *,
    format: str | None = None,  # noqa: A002
    dataset: str | None = None,
    options: Mapping[str, Any] | None = None,
) -> tuple[LabelSet, Looked]:
    """Read a label source as `read_labels` does, but leave out images that are missing or do not decode.

    Returns:
        The labels, and what was seen of their images, for `validate`.

    Raises:
        InputError: As `read_labels`; if no image of the source can be read, one that says so.
    """
    with tolerant_reading(source) as looked:
        labels = read_labels(source, format=format, dataset=dataset, options=options)
    return labels, looked


def validate(
    labels: LabelSet,
    vocabulary: Vocabulary | str | None = None,
    splits: Mapping[str, LabelSet] | None = None,
    *,
    looked: Looked | None = None,
    progress: bool = False,
) -> ValidationReport:
    """Look for everything that makes labels unfit for training, or suspicious.

    Args:
        labels: A foreign or a superset label set.
        vocabulary: Of the keypoints; None takes the set's own, and where it has none, pairs of left and
            right are found by the names of the keypoints.
        splits: Name -> label set, parts of `labels`: an image must not be in two of them. None: an image
            must not be in two split groups, which may later come into two splits.
        looked: What `read_for_validation` saw of the images; None looks at all images now.
        progress: Show a progress bar.

    Returns:
        All findings; nothing is changed or written.
    """
    if vocabulary is None:
        vocabulary = labels.vocabulary
    if isinstance(vocabulary, str):
        vocabulary = load_vocabulary(vocabulary)
    looked = Looked() if looked is None else looked
    before = set(looked.errors)
    bar = tqdm(labels.records, desc="validate", unit="image", leave=False, disable=not progress)
    facts = [looked.at(record.image) for record in bar]
    findings = [*_left_out(looked, before, labels), *_image_findings(labels, facts, looked)]
    findings += _keypoint_findings(labels)
    findings += _box_findings(labels)
    swaps, sides = _side_findings(labels, vocabulary)
    findings += [*swaps, *_copies(labels, facts, _places(labels, splits))]
    ordered = sorted(
        findings, key=lambda f: (f.severity is not Severity.ERROR, -1 if f.record is None else f.record)
    )
    return ValidationReport(labels, tuple(ordered), (*_checks(labels, facts), *sides))


def _checks(labels: LabelSet, facts: Sequence[ImageFacts | None]) -> tuple[Check, ...]:
    """On how much each check was made."""
    n_keypoints = sum(int(np.isfinite(record.keypoints[..., 0]).sum()) for record in labels.records)
    n_boxes = sum(int(np.isfinite(record.bbox_xywh).all(-1).sum()) for record in labels.records)
    n_images = sum(fact is not None for fact in facts)
    return (
        Check("images", f"{len(facts)} looked at, {n_images} decode"),
        Check(
            "keypoints inside their image",
            f"{n_keypoints} annotated keypoints of {labels.n_instances} animals",
        ),
        Check("boxes", f"{n_boxes} boxes" if n_boxes else "not made: the labels have no boxes"),
        Check("copies", f"{n_images} images compared by their bytes and by what they show"),
    )


def _finding(
    labels: LabelSet, i: int, kind: Kind, sentence: str, *, error: bool = True, **more: object
) -> Finding:
    """A finding about record i."""
    record = labels.records[i]
    severity = Severity.ERROR if error else Severity.SUSPICION
    name = record.source_image or record.image.name
    return Finding(kind, severity, record.image, name, record.dataset, sentence, record=i, **more)  # type: ignore[arg-type]


def _left_out(looked: Looked, paths: Iterable[Path], labels: LabelSet) -> Iterator[Finding]:
    """Images that a reader could make no record of."""
    have = {record.image for record in labels.records}
    dataset = labels.sources[0].dataset if labels.sources else ""
    for path in sorted(set(paths) - have):
        error = looked.errors[path]
        kind = Kind.MISSING_IMAGE if error.missing else Kind.UNREADABLE_IMAGE
        yield Finding(kind, Severity.ERROR, path, path.name, dataset, error.reason)


def _image_findings(
    labels: LabelSet, facts: Sequence[ImageFacts | None], looked: Looked
) -> Iterator[Finding]:
    """Images that are missing, do not decode, or have another size."""
    for i, (record, fact) in enumerate(zip(labels.records, facts, strict=True)):
        if fact is None:
            error = looked.errors[record.image]
            kind = Kind.MISSING_IMAGE if error.missing else Kind.UNREADABLE_IMAGE
            yield _finding(labels, i, kind, error.reason)
        elif fact.size_wh != record.size_wh:
            yield _finding(labels, i, Kind.WRONG_SIZE, size_sentence(record, fact.size_wh))


def _keypoint_findings(labels: LabelSet) -> Iterator[Finding]:
    """Annotated keypoints outside of their image."""
    for i, record in enumerate(labels.records):
        high = np.array(record.size_wh) - 0.5 + OUTSIDE_PX
        with np.errstate(invalid="ignore"):
            beyond = (record.keypoints < -0.5 - OUTSIDE_PX) | (record.keypoints > high)
        outside = np.asarray(beyond.any(-1))
        for n in np.flatnonzero(outside.any(-1)).tolist():
            names = tuple(labels.keypoints[k] for k in np.flatnonzero(outside[n]))
            x, y = record.keypoints[n, np.flatnonzero(outside[n])[0]]
            width, height = record.size_wh
            sentence = (
                f"animal {n + 1}: {', '.join(names)} outside of the image, e.g. at ({x:.1f}, {y:.1f}) "
                f"in {width}x{height} pixels"
            )
            yield _finding(labels, i, Kind.OUTSIDE_IMAGE, sentence, instance=n, keypoints=names)


def _box_findings(labels: LabelSet) -> Iterator[Finding]:
    """Labelled boxes without an area, or that do not hold their animal's keypoints."""
    for i, record in enumerate(labels.records):
        for n in np.flatnonzero(np.isfinite(record.bbox_xywh).all(-1)).tolist():
            box, xy = record.bbox_xywh[n], record.keypoints[n]
            if (box[2:] <= 0).any():
                sentence = f"animal {n + 1}: its box is {box[2]:g} x {box[3]:g} pixels"
                yield _finding(labels, i, Kind.BOX_ELSEWHERE, sentence, instance=n)
                continue
            beyond = np.maximum(box[:2] - xy, xy - box[:2] - box[2:]).max(-1)
            annotated = np.isfinite(beyond)
            far = annotated & (beyond > BOX_SHARE * box[2:].max() + OUTSIDE_PX)
            if far.any():
                none = not (beyond[annotated] <= 0).any()
                names = tuple(labels.keypoints[k] for k in np.flatnonzero(far))
                sentence = f"animal {n + 1}: {len(names)} of {annotated.sum()} annotated keypoints lie up to "
                sentence += f"{np.nanmax(beyond):.0f} pixels outside of its box ({', '.join(names)})"
                sentence += "; is it another animal's box?" if none else ""
                kind = Kind.BOX_ELSEWHERE if none else Kind.BOX
                yield _finding(labels, i, kind, sentence, error=none, instance=n, keypoints=names)


def _side_findings(labels: LabelSet, vocabulary: Vocabulary | None) -> tuple[list[Finding], list[Check]]:
    """Animals whose left and right are suspicious, and for each dataset how that was tested."""
    findings, checks = [], []
    for dataset, records in by_dataset(labels.records).items():
        result = find_swaps(records, labels.keypoints, vocabulary)
        checks.append(Check(f"left and right ({dataset})", _side_sentence(result, labels, vocabulary)))
        for swap in result.swaps:
            names = tuple(labels.keypoints[k] for pair in swap.pairs for k in pair)
            what = ", ".join(f"{labels.keypoints[a]} and {labels.keypoints[b]}" for a, b in swap.pairs)
            sentence = f"animal {swap.instance + 1}: {what} lie the other way round than in the other animals"
            if len(swap.pairs) == swap.n_tested > 1:
                sentence += " (every pair that can be tested: is the image mirrored?)"
            findings.append(
                _finding(
                    labels,
                    swap.record,
                    Kind.LEFT_RIGHT,
                    sentence,
                    error=False,
                    instance=swap.instance,
                    keypoints=names,
                )
            )
        if result.mirrored and vocabulary is not None:
            sentence = (
                f"all of {dataset}: left and right lie the other way round than {vocabulary.name} has them; "
                "were the animals filmed from below, or are the names exchanged?"
            )
            first = records[0][1]
            findings.append(
                Finding(
                    Kind.LEFT_RIGHT, Severity.SUSPICION, first.image, first.source_image, dataset, sentence
                )
            )
    return findings, checks


def _side_sentence(result: LeftRight, labels: LabelSet, vocabulary: Vocabulary | None) -> str:
    """How left and right of a dataset were tested, or why not."""
    if result.tested_pairs:
        names = ", ".join(f"{labels.keypoints[a]}/{labels.keypoints[b]}" for a, b in result.tested_pairs)
        return f"{result.n_instances} animals, {names}"
    if not pairs_of(labels.keypoints, vocabulary):
        return "not made: no pair of left and right is recognised among the keypoints"
    return (
        f"not made: no pair lies the same way in nearly all animals (a side view), or fewer than "
        f"{LEAST_INSTANCES} animals have it annotated"
    )


def _places(labels: LabelSet, splits: Mapping[str, LabelSet] | None) -> list[str]:
    """What each record must not share an image across: its split, or its group."""
    if splits is None:
        return [f"group {record.dataset}/{record.split_group}" for record in labels.records]
    names: dict[Path, list[str]] = defaultdict(list)
    for name, part in splits.items():
        for record in part.records:
            names[record.image].append(name)
    waiting = {image: iter(found) for image, found in names.items()}
    return [f"split {next(waiting.get(record.image, iter(())), 'none')}" for record in labels.records]


def _copies(labels: LabelSet, facts: Sequence[ImageFacts | None], places: Sequence[str]) -> list[Finding]:
    """Images that occur twice, or nearly."""
    findings, first = [], {}
    for i, fact in enumerate(facts):
        if fact is None:
            continue
        j = first.setdefault(fact.sha256, i)
        if j != i:
            findings.append(
                _copy(labels, i, j, places, Kind.SAME_IMAGE, Kind.SAME_IMAGE_APART, "is the same image as")
            )
    single = sorted(first.values())
    pairs = near_duplicates(
        [labels.records[i] for i in single], [fact for i in single if (fact := facts[i]) is not None]
    )
    said: set[int] = set()
    # Across groups first: of an image that has both, this is the graver one.
    for a, b in sorted(pairs, key=lambda pair: places[single[pair[0]]] == places[single[pair[1]]]):
        i, j = single[b], single[a]
        if i not in said:
            said.add(i)
            findings.append(
                _copy(
                    labels,
                    i,
                    j,
                    places,
                    Kind.NEAR_DUPLICATE,
                    Kind.NEAR_DUPLICATE_APART,
                    "shows nearly the same as",
                )
            )
    return findings


def _copy(
    labels: LabelSet, i: int, j: int, places: Sequence[str], together: Kind, apart: Kind, verb: str
) -> Finding:
    """That record i is a copy of record j."""
    kind = together if places[i] == places[j] else apart
    other = labels.records[j]
    sentence = f"{verb} {other.source_image or other.image.name}"
    if kind is apart:
        sentence += f", which is in {places[j]} and not in {places[i]}"
    error = kind is Kind.SAME_IMAGE_APART
    return _finding(labels, i, kind, sentence, error=error, related=(other.image,))
