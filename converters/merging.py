"""Several superset datasets as one. Every record keeps its dataset, names, split group and licence."""

from __future__ import annotations

import logging
from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path

from converters.dataset import load_superset, write_superset
from converters.images import content_hash
from superset_vocab import InputError, LabelRecord, LabelSet
from superset_vocab.errors import all_problems
from superset_vocab.provenance import operation

_LOG = logging.getLogger(__name__)


def merge(sources: Sequence[LabelSet | Path], *, twins: str = "refuse") -> LabelSet:
    """Merge label sets of one vocabulary, in the given order.

    Args:
        sources: Superset label sets, or folders of such (`load_superset`).
        twins: What to do with an image that occurs twice (same bytes), which a training and a test split
            could both get: "refuse", or "first": keep its first record only, with a warning.

    Raises:
        InputError: If there are none, their vocabularies differ, two have a dataset of the same name,
            or, with "refuse", an image occurs twice.
    """
    if twins not in ("refuse", "first"):
        raise InputError(f"twins {twins!r} is none of refuse, first")
    if not sources:
        raise InputError("nothing to merge: give at least one superset dataset")
    sets = [load_superset(source) if isinstance(source, Path) else source for source in sources]
    records = tuple(record for labels in sets for record in labels.records)
    problems, done = _problems(sets), []
    same = _twins(records) if not problems else []
    if same and twins == "refuse":
        problems = [f"the same image {len(images)} times: {', '.join(map(str, images))}" for images in same]
    if problems:
        raise all_problems("cannot merge", problems)
    if same:
        extra = {image for images in same for image in images[1:]}
        records = tuple(record for record in records if record.image not in extra)
        names = sorted(image.name for image in extra)
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


def merge_to(out: Path, sources: Sequence[LabelSet | Path], *, twins: str = "refuse") -> LabelSet:
    """Merge label sets and write them as one superset dataset; see `merge` and `write_superset`."""
    return write_superset(merge(sources, twins=twins), out)


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


def _twins(records: Sequence[LabelRecord]) -> list[list[Path]]:
    """Images with the same bytes, each set in the order of the records."""
    by_size: dict[int, list[Path]] = defaultdict(list)
    for record in records:
        by_size[record.image.stat().st_size].append(record.image)
    by_content: dict[str, list[Path]] = defaultdict(list)
    for image in (image for images in by_size.values() if len(images) > 1 for image in images):
        by_content[content_hash(image)].append(image)
    return [images for images in by_content.values() if len(images) > 1]
