"""The official training data of the SuperAnimal paper, by name: TopViewMouse-5K and Quadruped-80K.

Downloaded from their Zenodo records, verified, extracted, read, and written as a superset dataset.

What is known of the bundles. The records and their numbers are the paper's. The layout is that of the
authors' own converter ("generalized data converter", function `_generic2coco` of DeepLabCut's repository): a
folder with annotations/train.json, annotations/test.json and images/, where every image's name ends in its
id; and of one such test.json of TopViewMouse-5K in the repository of the paper's figures:

- file_name may be a path on the authors' machine: only its last part is used, and looked up in images/;
- one category, "individual0" with id 0, whose keypoints are the superset's;
- a keypoint is (-1, -1, -1) where its dataset does not define it, (0, 0, 0) where it was not annotated;
- boxes of DeepLabCut data are drawn 20 pixels around the keypoints, not by an annotator; they are kept;
- an image may name its source_dataset; in that test.json none does.

What is not known: the names and sizes of the archives, and whether they hold anything else. The Zenodo server
could not be reached where this was written, so the reader has never seen the real files. It therefore takes
any COCO file of the superset's keypoints that it finds, wherever the folder lies in the archive, and is
strict about what labels mean: other keypoint names, other flags and missing images are errors.

The source dataset, which a view that leaves one out needs, is taken from source_dataset; else it is inferred
from the keypoints that the image defines, where they are those of exactly one keypoint map of this package;
else the dataset is named after the bundle and their number. There is no record of videos or animals, so the
split group is the official part (train or test), which no split then cuts through.
"""

from __future__ import annotations

import logging
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from converters.archives import extract, is_clutter
from converters.dataset import Images, write_superset
from converters.formats import coco
from converters.zenodo import Record, download, read_record
from superset_vocab import (
    InputError,
    KeypointMap,
    LabelRecord,
    LabelSet,
    Source,
    Visibility,
    list_maps,
    load_map,
    load_vocabulary,
    project,
)
from superset_vocab.errors import all_problems
from superset_vocab.files import make_folder, read_json
from superset_vocab.provenance import operation
from superset_vocab.records import UNKNOWN_LICENCE

_LOG = logging.getLogger(__name__)
_ARCHIVES = (".zip", ".tar", ".tar.gz", ".tgz")
_CITATION = (
    "Ye S. et al., SuperAnimal pretrained pose estimation models for behavioral analysis, "
    "Nature Communications 15, 5165 (2024); https://zenodo.org/records/{record}"
)


@dataclass(frozen=True)
class Bundle:
    """An official dataset.

    Attributes:
        name: As `zoo fetch-data` takes it.
        record: Number of its Zenodo record.
        vocabulary: Of its keypoints.
        description: In a few words.
    """

    name: str
    record: str
    vocabulary: str
    description: str


BUNDLES = {
    bundle.name: bundle
    for bundle in (
        Bundle("topviewmouse-5k", "10618947", "superanimal_topviewmouse", "5,000 images of mice from above"),
        Bundle("quadruped-80k", "10619173", "superanimal_quadruped", "80,000 images of quadrupeds"),
    )
}


def find_bundle(name: str) -> Bundle:
    """A bundle by its name, in any case.

    Raises:
        InputError: If there is none of that name.
    """
    bundle = BUNDLES.get(name.casefold())
    if bundle is None:
        raise InputError(f"{name!r} is no official dataset; there are: {', '.join(BUNDLES)}")
    return bundle


def fetch(
    name: str,
    out: Path,
    *,
    archive: Path | None = None,
    at: str | None = None,
    images: Images = "link",
    progress: bool = False,
) -> LabelSet:
    """Download, verify, extract, read and write an official dataset; what is done already is not done again.

    Args:
        name: One of `BUNDLES`.
        out: Folder for the archive, extracted/ and superset/.
        archive: The archive, if it was downloaded by other means; it is then not verified.
        at: Address of Zenodo; None takes $ZOO_ZENODO or the real one.
        images: "link" the images of superset/ to the extracted ones, or "copy" them.
        progress: Show progress bars.

    Returns:
        The labels as written to superset/.

    Raises:
        InputError: If any step fails; what the steps before it made stays, and is used the next time.
    """
    bundle = find_bundle(name)
    make_folder(out)
    if (out / "superset").exists():
        raise InputError(f"{out / 'superset'}: exists already; use it, or remove it to make it again")
    licence = UNKNOWN_LICENCE
    archives = [archive] if archive is not None else []
    if archive is None:
        record = read_record(bundle.record, at=at)
        licence = record.licence or UNKNOWN_LICENCE
        archives = [download(file, out, progress=progress) for file in _archives(record)]
    for path in archives:
        target = out / "extracted" / _stem(path)
        if not target.exists():
            if not path.is_file():
                raise InputError(f"{path}: no such archive")
            extract(path, target, progress=progress)
    labels = read_bundle(out / "extracted", bundle, licence=licence)
    done = operation("fetch", bundle=bundle.name, record=bundle.record, archives=[a.name for a in archives])
    labels = replace(labels, operations=(done, *labels.operations))
    return write_superset(labels, out / "superset", images=images, statistics=True, progress=progress)


def _stem(archive: Path) -> str:
    """An archive's name without its ending but with its other dots: v1.train.zip and v1.test.zip differ."""
    ending = max((e for e in _ARCHIVES if archive.name.lower().endswith(e)), key=len, default="")
    return archive.name[: len(archive.name) - len(ending)] or archive.name


def _archives(record: Record) -> list[Any]:
    """The archives among the files of a record."""
    found = [file for file in record.files if file.name.lower().endswith(_ARCHIVES)]
    if not found:
        names = ", ".join(file.name for file in record.files) or "none"
        raise InputError(
            f"Zenodo record {record.number} has no archive ({', '.join(_ARCHIVES)}) among its files: {names}"
        )
    return found


def read_bundle(folder: Path, bundle: Bundle, *, licence: str = UNKNOWN_LICENCE) -> LabelSet:
    """Read an extracted bundle.

    Args:
        folder: The extracted archive, or any folder above its annotations/.
        bundle: Which one.
        licence: Of the record.

    Raises:
        InputError: If it holds no COCO file with the vocabulary's keypoints, or is broken; all is listed.
    """
    vocabulary = load_vocabulary(bundle.vocabulary)
    files = _label_files(folder)
    if not files:
        raise InputError(
            f"{folder}: holds no COCO file of keypoints (annotations/train.json); is it {bundle.name}?"
        )
    records: list[LabelRecord] = []
    problems: list[str] = []
    for file, document in files:
        try:
            records += _read_part(file, document, bundle)
        except InputError as error:
            problems.append(str(error))
    if problems:
        raise all_problems(f"{folder}", problems)
    both = _in_several_parts(records)
    if both:
        _LOG.warning("%s: %d images are in train and test, e.g. %s", folder, len(both), both[0])
    named = _with_datasets(records, bundle)
    sources = _sources(named, bundle, licence)
    return LabelSet(vocabulary.keypoints, tuple(named), sources, vocabulary.name)


def _label_files(folder: Path) -> list[tuple[Path, dict[str, Any]]]:
    """The COCO files with keypoints below a folder, and their content, sorted by path."""
    found = []
    for file in sorted(folder.rglob("*.json")):
        if is_clutter(file.relative_to(folder).as_posix()):
            continue
        content = read_json(file)
        if not isinstance(content, dict) or not all(
            isinstance(content.get(key), list) for key in ("images", "annotations", "categories")
        ):
            continue
        if any(isinstance(c, dict) and c.get("keypoints") for c in content["categories"]):
            found.append((file, content))
    return found


def _read_part(file: Path, document: dict[str, Any], bundle: Bundle) -> list[LabelRecord]:
    """The records of one COCO file in the vocabulary's keypoints, in the split group of the file's name.

    Raises:
        InputError: If the file is broken, has other keypoints, or images of it are missing.
    """
    vocabulary = load_vocabulary(bundle.vocabulary)
    images = _image_folder(file)
    missing, parents = [], {}
    try:
        for image in document["images"]:
            name = PurePosixPath(str(image["file_name"]).replace("\\", "/")).name
            parents[image["id"]] = str(image.get("source_dataset") or "")
            if not (images / name).is_file():
                missing.append(f"image {name} is not in {images}")
            image["file_name"] = name
        for annotation in document["annotations"]:
            annotation["keypoints"] = _plain_flags(annotation["keypoints"])
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"{file}: is not COCO ({type(error).__name__}: {error})") from error
    if missing:
        raise all_problems(f"{file} (was the archive extracted completely?)", missing)
    labels = coco.from_document(document, file, dataset=bundle.name, location=str(file))
    unknown = sorted(set(labels.keypoints) - set(vocabulary.keypoints))
    if unknown:
        raise InputError(
            f"{file}: its keypoints {', '.join(unknown)} are none of {vocabulary.name}; is it {bundle.name}?"
        )
    same = KeypointMap(bundle.name, vocabulary, {name: name for name in labels.keypoints})
    return [
        replace(
            record,
            image=images / record.image.name,
            dataset=parents.get(image["id"]) or "",
            split_group=file.stem,
            source_image=f"{file.stem}/{record.image.name}",
        )
        for image, record in zip(document["images"], project(labels, same).records, strict=True)
    ]


def _image_folder(file: Path) -> Path:
    """Where the images of a COCO file lie: in images/ beside its folder, or beside it, or with it."""
    places = (file.parent.parent / "images", file.parent / "images", file.parent)
    return next((place for place in places if place.is_dir()), places[0])


def _plain_flags(values: Sequence[float]) -> list[float]:
    """Keypoints (x, y, flag), where a flag of -1 or a place of (0, 0) or below says there is none."""
    triples = np.asarray(values, dtype=np.float64).reshape(-1, 3)
    nowhere = (triples[:, :2] <= 0).all(1) & (triples[:, 2] > 0)
    triples[nowhere] = [0, 0, Visibility.NOT_ANNOTATED]
    return triples.ravel().tolist()


def _in_several_parts(records: Sequence[LabelRecord]) -> list[str]:
    """Names of images that are in more than one part."""
    parts: dict[Path, set[str]] = defaultdict(set)
    for record in records:
        parts[record.image].add(record.split_group)
    return sorted(image.name for image, groups in parts.items() if len(groups) > 1)


def _with_datasets(records: Sequence[LabelRecord], bundle: Bundle) -> list[LabelRecord]:
    """The records under the names of their source datasets, stated or inferred."""
    maps = [load_map(name) for name in list_maps() if not name.startswith("synthetic")]
    by_targets: dict[frozenset[str], list[str]] = defaultdict(list)
    for each in maps:
        if each.vocabulary.name == bundle.vocabulary:
            targets = frozenset(target for target in each.targets.values() if target is not None)
            by_targets[targets].append(each.dataset)
    keypoints = load_vocabulary(bundle.vocabulary).keypoints
    named, inferred = [], Counter()
    for record in records:
        name = record.dataset
        if not name:
            defined = (record.visibility != Visibility.UNDEFINED).any(0)
            known = by_targets.get(frozenset(keypoints[k] for k in np.flatnonzero(defined)), [])
            name = known[0] if len(known) == 1 else f"{bundle.name}_{int(defined.sum())}_keypoints"
            inferred[name] += 1
        named.append(replace(record, dataset=name))
    if inferred:
        counts = ", ".join(f"{name} ({count})" for name, count in sorted(inferred.items()))
        _LOG.warning("source datasets inferred from the keypoints that images define: %s", counts)
    return named


def _sources(records: Sequence[LabelRecord], bundle: Bundle, licence: str) -> tuple[Source, ...]:
    """One source for each dataset, with the keypoints that it defines."""
    keypoints = load_vocabulary(bundle.vocabulary).keypoints
    defined: dict[str, np.ndarray] = {}
    for record in records:
        seen = (record.visibility != Visibility.UNDEFINED).any(0)
        defined[record.dataset] = defined.get(record.dataset, np.zeros(len(keypoints), dtype=bool)) | seen
    return tuple(
        Source(
            name,
            names := tuple(keypoints[k] for k in np.flatnonzero(seen)),
            licence,
            _CITATION.format(record=bundle.record),
            format="coco",
            location=f"zenodo record {bundle.record}",
            keypoint_map={keypoint: keypoint for keypoint in names},
        )
        for name, seen in sorted(defined.items())
    )
