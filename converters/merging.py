"""Several superset datasets as one. Every record keeps its dataset, names, split group and licence.

No image is in the result twice, neither in one dataset nor in two: a training and a test split, or the view
that leaves one dataset out (`converters.views`), could get one each. Images are the same if their bytes are,
which is found by size and then SHA-256, so that only files of equal size are read. The same picture in other
bytes is a near-duplicate; `zoo check` looks for those.
"""

from __future__ import annotations

import logging
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from tqdm import tqdm

from converters.dataset import Images, load_superset, write_superset
from superset_vocab import InputError, LabelRecord, LabelSet
from superset_vocab.errors import all_problems
from superset_vocab.files import sha256_of
from superset_vocab.provenance import operation

_LOG = logging.getLogger(__name__)


def merge(sources: Sequence[LabelSet | Path], *, twins: str = "refuse", progress: bool = False) -> LabelSet:
    """Merge label sets of one vocabulary, in the given order.

    Args:
        sources: Superset label sets, or folders of such (`load_superset`).
        twins: What to do with an image that occurs twice (same bytes), which a training and a test split
            could both get: "refuse", or "first": keep its first record only, with a warning.
        progress: Show a progress bar.

    Raises:
        InputError: If there are none, their vocabularies differ, two have a dataset of the same name,
            or, with "refuse", an image occurs twice.
    """
    if twins not in ("refuse", "first"):
        raise InputError(f"twins {twins!r} is none of refuse, first")
    if not sources:
        raise InputError("nothing to merge: give at least one superset dataset")
    bar = tqdm(sources, desc="read", unit="dataset", leave=False, disable=not progress)
    sets = [load_superset(source) if isinstance(source, Path) else source for source in bar]
    records = tuple(record for labels in sets for record in labels.records)
    problems, done = _problems(sets), []
    if problems:
        raise all_problems("cannot merge", problems)
    same = _twins(records, progress)
    if same and twins == "refuse":
        problems = [
            f"the same image {len(group)} times: {', '.join(str(records[i].image) for i in group)}"
            for group in same
        ]
        raise all_problems("cannot merge (--twins first keeps the first of equal images)", problems)
    if same:
        extra = {i for group in same for i in group[1:]}
        names = sorted(records[i].image.name for i in extra)
        records = tuple(record for i, record in enumerate(records) if i not in extra)
        _LOG.warning("%d images occur twice; left out: %s", len(names), ", ".join(names))
        done = [operation("drop_twins", images=names)]
    datasets = [source.dataset for labels in sets for source in labels.sources]
    return LabelSet(
        keypoints=sets[0].keypoints,
        records=records,
        sources=tuple(source for labels in sets for source in labels.sources),
        vocabulary=sets[0].vocabulary,
        operations=(
            *(done for labels in sets for done in labels.operations),
            operation("merge", datasets=datasets),
            *done,
        ),
    )


def merge_to(
    out: Path,
    sources: Sequence[LabelSet | Path],
    *,
    twins: str = "refuse",
    images: Images = "copy",
    progress: bool = False,
) -> LabelSet:
    """Merge label sets and write them as one superset dataset with its statistics.

    See `merge` and `converters.dataset.write_superset`.
    """
    merged = merge(sources, twins=twins, progress=progress)
    return write_superset(merged, out, images=images, statistics=True, progress=progress)


def without_copies(labels: LabelSet, of: Sequence[LabelRecord]) -> LabelSet:
    """Labels without the images whose bytes are those of other records', whatever their names.

    Args:
        labels: The label set, e.g. what is to be trained on.
        of: Records whose images must not be in it, e.g. those held out.
    """
    count = len(of)
    everything = [*of, *labels.records]
    copies = {
        i - count
        for group in _twins(everything, progress=False)
        if group[0] < count  # a set of twins begins with the earliest: one of `of`
        for i in group
        if i >= count
    }
    if not copies:
        return labels
    names = sorted(labels.records[i].image.name for i in copies)
    _LOG.warning("%d images are copies of images held out; left out: %s", len(names), ", ".join(names))
    return replace(
        labels,
        records=tuple(record for i, record in enumerate(labels.records) if i not in copies),
        operations=(*labels.operations, operation("drop_copies_of_held_out", images=names)),
    )


def _problems(sets: Sequence[LabelSet]) -> list[str]:
    """What keeps sets apart by their vocabularies and names."""
    problems = []
    for labels in sets:
        if labels.vocabulary is None:
            names = ", ".join(source.dataset for source in labels.sources)
            problems.append(f"{names} is in no superset vocabulary; convert it with a keypoint map first")
    vocabularies = sorted({labels.vocabulary for labels in sets if labels.vocabulary is not None})
    if len(vocabularies) > 1:
        problems.append(f"the vocabularies differ: {', '.join(vocabularies)}")
    times = Counter(source.dataset for labels in sets for source in labels.sources)
    for name in sorted(name for name, count in times.items() if count > 1):
        problems.append(
            f"{times[name]} sources have the dataset name {name!r}; convert with another --dataset"
        )
    return problems


def _twins(records: Sequence[LabelRecord], progress: bool) -> list[list[int]]:
    """Positions of records whose images have the same bytes, each set in the order of the records."""
    by_size: dict[int, list[int]] = defaultdict(list)
    for i, record in enumerate(records):
        by_size[record.image.stat().st_size].append(i)
    suspects = [i for group in by_size.values() if len(group) > 1 for i in group]
    by_content: dict[str, list[int]] = defaultdict(list)
    for i in tqdm(suspects, desc="compare", unit="image", leave=False, disable=not progress):
        by_content[sha256_of(records[i].image)].append(i)
    return [group for group in by_content.values() if len(group) > 1]
