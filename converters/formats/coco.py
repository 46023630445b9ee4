"""COCO keypoints: read any, and write the superset kind.

The format's conventions. A category carries the keypoint names and a skeleton of 1-based pairs; an
annotation carries [x, y, v] for each keypoint, with v 0 not labelled (x = y = 0), 1 occluded,
2 visible. As in the SuperAnimal paper the flag is extended: v = -1 says that the image's dataset does
not define the keypoint. Keypoints are taken as indices of pixels, the centre of the top-left pixel at
(0, 0), which is what annotation tools and pycocotools do; they are copied as they are. Boxes are
copied as they are too. COCO's own text lets a box begin at the corner of a pixel: half a pixel, which
no box here resolves.

Files as they are found (AP-10K, APT-36K, Animal-Pose, Horse-10 and Macaque for mmpose, CVAT, Label
Studio), and what becomes of their parts:
- Images are looked for beside the file, in `images/` and `data/` there and one folder up, and for a file
  in `annotations/` in all folders beside that. Absolute names are found by their ends (`image_lookup`).
- ids may be any numbers or texts. An image's id is kept (`source_id`), an annotation's is not.
- Categories may have different keypoints: the list is their union, and a keypoint that an instance's
  category does not have is undefined in it. The category's name stays (`categories`). Categories
  without keypoints and their annotations (cars, food bowls) are left out, and so is `iscrowd`: a
  region of animals that were not labelled one by one. Both are reported.
- `num_keypoints`, `area` and `segmentation` (polygons or RLE) are not read: the first two follow from
  the rest, and there are no masks here. Sizes that are missing are read from the image.
- The split group is the image's `split_group` or `video_id`, else the folder of its name, else one for
  all. `track_id` names the individual.

A superset file says more, in fields that other readers ignore:
- info: vocabulary, sources (original keypoint names, keypoint map, licence, citation of each
  dataset), operations, and the version of this package;
- image: dataset, split_group, source_image, source_id and source_split (what its source calls it). The id
  is the source's, too, where these are numbers and all different;
- annotation: individual, and bbox_source: "labels" for a box that was labelled, "keypoints" for one drawn
  tightly around the keypoints because COCO wants one, "none" for neither.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from converters.formats.coco_arrays import annotation_arrays, annotation_problem
from converters.formats.image_lookup import ImageFinder, folders_of, places_of_images
from converters.formats.json_file import json_file, json_shape
from converters.images import image_problems, image_size, missing_images
from superset_vocab import InputError, LabelRecord, LabelSet, Source, Visibility, load_vocabulary
from superset_vocab.errors import all_problems
from superset_vocab.files import read_json
from superset_vocab.provenance import package_version
from superset_vocab.records import UNKNOWN_LICENCE

_LOG = logging.getLogger(__name__)
ANNOTATIONS = "annotations.json"
_LISTS = ("images", "annotations", "categories")
_LARGEST = 1 << 31  # pixels a side
_ANIMAL = "animal"  # the category of instances whose source has none


@dataclass(frozen=True)
class _Category:
    """A category with keypoints.

    Attributes:
        name: Of the species or the like.
        keypoints: Its names, in its order.
    """

    name: str
    keypoints: tuple[str, ...]


def detect(path: Path) -> bool:
    """A folder with annotations.json, or a .json with lists of images, annotations and categories."""
    kinds = json_shape(path, ANNOTATIONS).kinds
    return all(kinds.get(part) is list for part in _LISTS)


def read(source: Path, *, dataset: str, categories: Sequence[str] = ()) -> LabelSet:
    """Read a COCO keypoint file and check that its images decode and have the size it says.

    Args:
        source: The .json, or a folder with annotations.json.
        dataset: Dataset name of the records; a superset file has its own names, which stay.
        categories: Names of the categories to read; empty for all. Images without any of them are left
            out, because their animals, if any, would have no labels.

    Returns:
        One record for each image in the order of the file, also where nothing is annotated.

    Raises:
        InputError: If the file or its images are broken; all problems are listed.
    """
    labels = read_document(source, dataset=dataset, categories=categories)
    problems = image_problems(labels.records)
    if problems:
        raise all_problems(f"{source}", problems)
    return labels


def read_document(source: Path, *, dataset: str, categories: Sequence[str] = ()) -> LabelSet:
    """As `read`, but look only whether the images exist."""
    file = json_file(source, ANNOTATIONS)
    document = read_json(file)
    labels = from_document(document, file, dataset=dataset, location=str(source), categories=categories)
    missing = missing_images(labels.records)
    if missing:
        places = "beside the file, or in images/ or data/ there or one folder up"
        raise all_problems(f"{file}: images are missing (put them {places})", missing)
    return labels


def from_document(
    document: Any, file: Path, *, dataset: str, location: str, categories: Sequence[str] = ()
) -> LabelSet:
    """The label set that a parsed COCO file describes.

    Args:
        document: Content of the file.
        file: Path of the file: images are looked up relative to it, messages name it.
        dataset: Dataset name of images that carry none.
        location: Of the source, as `Source.location`.
        categories: Names of the categories to read; empty for all.

    Raises:
        InputError: If the document is broken; all problems are listed.
    """
    if not isinstance(document, dict) or not all(isinstance(document.get(part), list) for part in _LISTS):
        raise InputError(f"{file}: is not COCO (it needs the lists {', '.join(_LISTS)})")
    problems: list[str] = []
    info = document["info"] if isinstance(document.get("info"), dict) else {}
    known = _categories(document["categories"], problems)
    wanted = _wanted(known, categories, problems)
    images = _images(document["images"], problems)
    by_image = _by_image(document["annotations"], images, known, wanted, problems)
    sources = _sources(info, file)
    if problems:
        raise all_problems(f"{file}", problems)
    used = {annotation["category_id"] for found in by_image.values() for annotation in found} or set(wanted)
    keypoints = tuple(dict.fromkeys(name for key in known if key in used for name in known[key].keypoints))
    if not keypoints:
        raise InputError(f"{file}: its categories have no keypoints; is it a file of boxes or masks only?")
    if categories:
        images = {key: image for key, image in images.items() if by_image[key]}
    context = _Context(file, dataset, known, keypoints, foreign=not sources)
    records = _records(images, by_image, context)
    found = Source(dataset, keypoints, _licence(document, images), format="coco", location=location)
    operations = tuple(info.get("operations") or ())
    return LabelSet(keypoints, records, sources or (found,), info.get("vocabulary"), operations)


def _categories(entries: list[Any], problems: list[str]) -> dict[Any, _Category]:
    """The categories by id; those without keypoints have an empty list."""
    found: dict[Any, _Category] = {}
    for place, entry in enumerate(entries, start=1):
        if not isinstance(entry, dict) or not isinstance(entry.get("id"), int | str):
            problems.append(f"category {place} has no id")
            continue
        names = entry.get("keypoints") or []
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            problems.append(f"category {entry['id']}: its keypoints are not a list of names")
            continue
        twice = [name for name, times in Counter(names).items() if times > 1]
        problems += [
            f"category {entry['id']}: keypoint {name!r} is listed more than once; rename one"
            for name in twice
        ]
        if entry["id"] in found:
            problems.append(f"several categories have the id {entry['id']!r}")
        found[entry["id"]] = _Category(str(entry.get("name", entry["id"])), tuple(names))
    return found


def _wanted(known: dict[Any, _Category], names: Sequence[str], problems: list[str]) -> set[Any]:
    """Ids of the categories to read."""
    there = {category.name for category in known.values() if category.keypoints}
    unknown = [name for name in names if name not in there]
    if unknown:
        listed = ", ".join(map(repr, unknown))
        problems.append(f"has no category {listed} with keypoints; it has {', '.join(sorted(there))}")
    return {
        key for key, category in known.items() if category.keypoints and (not names or category.name in names)
    }


def _images(entries: list[Any], problems: list[str]) -> dict[Any, dict[str, Any]]:
    """The images by id."""
    found: dict[Any, dict[str, Any]] = {}
    for place, entry in enumerate(entries, start=1):
        if not isinstance(entry, dict) or not isinstance(entry.get("id"), int | str):
            problems.append(f"image {place} has no id")
        elif not isinstance(entry.get("file_name"), str) or not entry["file_name"]:
            problems.append(f"image {entry['id']} has no file_name")
        elif entry["id"] in found:
            problems.append(f"several images have the id {entry['id']!r}; number them anew")
        else:
            found[entry["id"]] = entry
    names = Counter(entry["file_name"] for entry in found.values())
    problems += [
        f"image {name} is listed {times} times; merge its annotations"
        for name, times in names.items()
        if times > 1
    ]
    return found


def _by_image(
    entries: list[Any],
    images: dict[Any, dict[str, Any]],
    known: dict[Any, _Category],
    wanted: set[Any],
    problems: list[str],
) -> dict[Any, list[dict[str, Any]]]:
    """The annotations of animals, by image id; what else there is, is counted and reported."""
    found: dict[Any, list[dict[str, Any]]] = {key: [] for key in images}
    crowds, others = 0, Counter()
    for place, entry in enumerate(entries, start=1):
        if not isinstance(entry, dict) or not {"image_id", "category_id"} <= entry.keys():
            problems.append(f"annotation {place} has no image_id or no category_id")
            continue
        image, category, name = entry["image_id"], entry["category_id"], entry.get("id", place)
        if not isinstance(image, int | str) or image not in images:
            problems.append(f"annotation {name} is of image {image!r}, {_not_among(image, images)}")
        elif not isinstance(category, int | str) or category not in known:
            problems.append(f"annotation {name} is of category {category!r}, {_not_among(category, known)}")
        elif not known[category].keypoints:
            others[known[category].name] += 1
        elif entry.get("iscrowd"):
            crowds += 1
        elif category in wanted:
            found[image].append(entry)
    if crowds:
        _LOG.warning("%d annotations are crowds, not single animals, and are left out", crowds)
    for name, count in others.items():
        _LOG.warning("%d annotations of %r, which has no keypoints, are left out", count, name)
    return found


def _not_among(key: Any, known: dict[Any, Any]) -> str:
    """What is wrong with an id that is none of those known."""
    texts = {str(other): other for other in known}
    if str(key) in texts:
        return f"but the id there is {texts[str(key)]!r}; write both as numbers"
    return "which is not listed; list it, or remove the annotation"


@dataclass(frozen=True)
class _Context:
    """What the records of a file have in common.

    Attributes:
        file: The file.
        dataset: Name of the dataset of images that carry none.
        categories: By id.
        keypoints: (K,) names of the label set.
        foreign: Whether the file was not written by this package: then an image's id is its source's.
    """

    file: Path
    dataset: str
    categories: dict[Any, _Category]
    keypoints: tuple[str, ...]
    foreign: bool


def _records(
    images: dict[Any, dict[str, Any]], by_image: dict[Any, list[dict[str, Any]]], context: _Context
) -> tuple[LabelRecord, ...]:
    """The records of all images.

    Raises:
        InputError: If images are malformed; all problems are listed.
    """
    index = {name: k for k, name in enumerate(context.keypoints)}
    columns = {
        key: np.array([index[name] for name in category.keypoints], dtype=np.int64)
        for key, category in context.categories.items()
        if set(category.keypoints) <= index.keys()
    }
    of_images = [by_image[key] for key in images]
    problems = []
    try:
        arrays = annotation_arrays([entry for entries in of_images for entry in entries], columns, len(index))
    except (TypeError, ValueError):  # all at once is fast; one by one tells which
        arrays = None
        for image, entries in zip(images.values(), of_images, strict=True):
            wrong = (annotation_problem(entry, len(columns[entry["category_id"]])) for entry in entries)
            problems += [f"image {image['file_name']}: {problem}" for problem in wrong if problem]
    find = ImageFinder(places_of_images(context.file))
    folders = folders_of(image["file_name"] for image in images.values())
    records, start = [], 0
    for image, folder, entries in zip(images.values(), folders, of_images, strict=True):
        part, start = slice(start, start + len(entries)), start + len(entries)
        try:
            path, size = find(image["file_name"]), _size(image)
            if arrays is not None:
                size = size or image_size(path)
                own = (arrays[0][part], arrays[1][part], arrays[2][part])
                records.append(_record(image, (path, size, folder), entries, own, context))
        except ValueError as error:
            problems.append(f"image {image['file_name']}: {error}")
    for path, times in Counter(record.image for record in records).items():
        if times > 1:
            problems.append(f"{times} images are found at {path}; put them where their file names say")
    if problems:
        raise all_problems(f"{context.file}", problems)
    return tuple(records)


def _size(image: dict[str, Any]) -> tuple[int, int] | None:
    """Width and height as the file says, or None where it says neither."""
    width, height = image.get("width"), image.get("height")
    if width is None and height is None:
        return None
    for side in (width, height):
        if not isinstance(side, int | float) or not 0 < side < _LARGEST or side != int(side):
            raise ValueError(f"its width and height are {width!r} and {height!r}, not two numbers of pixels")
    return int(width), int(height)  # type: ignore[arg-type]


def _record(
    image: dict[str, Any],
    where: tuple[Path, tuple[int, int], str],
    annotations: Sequence[dict[str, Any]],
    arrays: tuple[np.ndarray, np.ndarray, np.ndarray],
    context: _Context,
) -> LabelRecord:
    """One image with its instances; `where` is its path, its size, and the folder of its name."""
    path, size, folder = where
    video = image.get("video_id")
    group = folder or context.dataset if video is None else f"video {video}"
    categories = tuple(context.categories[a["category_id"]].name for a in annotations)
    if not context.foreign and all(name == _ANIMAL for name in categories):
        categories = ()
    names = [a["individual"] if "individual" in a else a.get("track_id") for a in annotations]
    return LabelRecord(
        image=path,
        size_wh=size,
        dataset=str(image.get("dataset", context.dataset)),
        split_group=str(image.get("split_group", group)),
        keypoints=arrays[0],
        visibility=arrays[1],
        bbox_xywh=arrays[2],
        source_image=str(image.get("source_image", image["file_name"])),
        source_id=image["id"] if context.foreign else image.get("source_id"),
        source_split=str(image.get("source_split", "")),
        individuals=() if None in names else tuple(map(str, names)),
        categories=categories,
    )


def _licence(document: dict[str, Any], images: dict[Any, dict[str, Any]]) -> str:
    """The licences that the images name, or `UNKNOWN_LICENCE`."""
    try:
        names = {entry["id"]: str(entry.get("name") or "") for entry in document.get("licenses") or ()}
        found = {names.get(image.get("license"), "") for image in images.values()} - {""}
    except (KeyError, TypeError, AttributeError):
        return UNKNOWN_LICENCE
    return ", ".join(sorted(found)) or UNKNOWN_LICENCE


def _sources(info: dict[str, Any], file: Path) -> tuple[Source, ...]:
    """The sources that a superset file lists; empty for other COCO files. Checks what else its info says."""
    strange = [
        name
        for name, kind in (("vocabulary", str), ("operations", list), ("sources", list))
        if not isinstance(info.get(name), kind | None)
    ]
    if strange:
        raise InputError(f"{file}: its info.{strange[0]} was not written by this package")
    try:
        sources = tuple(
            Source(**{**source, "keypoints": tuple(source["keypoints"])})
            for source in info.get("sources") or ()
        )
    except (KeyError, TypeError) as error:
        raise InputError(f"{file}: its info.sources were not written by this package ({error})") from error
    texts = [text for s in sources for text in (s.dataset, s.licence, s.citation, s.format, s.location)]
    if not all(isinstance(text, str) for text in texts):
        raise InputError(f"{file}: its info.sources were not written by this package (want texts)")
    return sources


def to_document(labels: LabelSet, file_names: Sequence[str]) -> dict[str, Any]:
    """A label set as the content of a COCO file, `from_document`'s inverse.

    Args:
        labels: The set.
        file_names: Of each record's image, relative to the file.
    """
    head = document_head(labels)
    lists = {"images": image_entries(labels, file_names), "annotations": annotation_entries(labels)}
    return {**head, **{key: list(entries) for key, entries in lists.items()}}


def document_head(labels: LabelSet) -> dict[str, Any]:
    """All of `to_document` but its lists of images and annotations, which can be long."""
    licences = enumerate(_licences(labels), start=1)
    return {
        "info": {
            "description": "superset keypoint labels written by superanimal-zoo",
            "version": package_version(),
            "vocabulary": labels.vocabulary,
            "sources": [asdict(source) for source in labels.sources],
            "operations": list(labels.operations),
        },
        "licenses": [{"id": i, "name": name, "url": ""} for i, name in licences],
        "categories": [_category(labels, name, i) for name, i in _category_ids(labels).items()],
    }


def image_entries(labels: LabelSet, file_names: Sequence[str]) -> Iterator[dict[str, Any]]:
    """The images of `to_document`, one by one."""
    licences = _licences(labels)
    licence_id = {source.dataset: 1 + licences.index(source.licence) for source in labels.sources}
    for i, record, name in zip(_image_ids(labels.records), labels.records, file_names, strict=True):
        yield {
            "id": i,
            "file_name": name,
            "width": record.size_wh[0],
            "height": record.size_wh[1],
            "license": licence_id[record.dataset],
            "dataset": record.dataset,
            "split_group": record.split_group,
            "source_image": record.source_image,
            "source_id": record.source_id,
            "source_split": record.source_split,
        }


def annotation_entries(labels: LabelSet) -> Iterator[dict[str, Any]]:
    """The annotations of `to_document`, one by one."""
    category_ids, count = _category_ids(labels), 0
    for i, record in zip(_image_ids(labels.records), labels.records, strict=True):
        for n, category in enumerate(_category_names(record)):
            count += 1
            head = {"id": count, "image_id": i, "category_id": category_ids[category]}
            yield head | _annotation(record, n)


def _licences(labels: LabelSet) -> list[str]:
    """The different licences of the sources, in their order."""
    return list(dict.fromkeys(source.licence for source in labels.sources))


def _category_ids(labels: LabelSet) -> dict[str, int]:
    """Number of each category, in the order of the records; there is one at least."""
    names = dict.fromkeys(name for record in labels.records for name in _category_names(record))
    return {name: number for number, name in enumerate(names or {_ANIMAL: None}, start=1)}


def _image_ids(records: Sequence[LabelRecord]) -> Sequence[int]:
    """An id for each image: its source's where these are numbers and all different, else 1, 2, ..."""
    ids = [record.source_id for record in records]
    numbers = [i for i in ids if isinstance(i, int) and not isinstance(i, bool)]
    return numbers if len(set(numbers)) == len(records) else range(1, len(records) + 1)


def _category_names(record: LabelRecord) -> Sequence[str]:
    """(N,) the category of each instance."""
    return record.categories or (_ANIMAL,) * len(record)


def _annotation(record: LabelRecord, n: int) -> dict[str, Any]:
    """Instance n of a record, without ids."""
    state, xy = record.visibility[n], record.keypoints[n]
    annotated = state >= Visibility.OCCLUDED
    box, box_source = record.bbox_xywh[n], "labels"
    if not np.isfinite(box).all():
        box, box_source = np.zeros(4), "none"
        if annotated.any():
            low, high = xy[annotated].min(0), xy[annotated].max(0)
            box, box_source = np.concatenate([low, high - low]), "keypoints"
    flat = np.concatenate([np.where(annotated[:, None], xy, 0.0), state[:, None]], axis=1)
    return {
        "keypoints": [int(value) if value.is_integer() else value for value in flat.ravel().tolist()],
        "num_keypoints": int(annotated.sum()),
        "bbox": box.tolist(),
        "bbox_source": box_source,
        "area": float(box[2] * box[3]),
        "iscrowd": 0,
        **({"individual": record.individuals[n]} if record.individuals else {}),
    }


def _category(labels: LabelSet, name: str, number: int) -> dict[str, Any]:
    """A category, with the vocabulary's skeleton."""
    skeleton = []
    if labels.vocabulary is not None:
        skeleton = (load_vocabulary(labels.vocabulary).bones + 1).tolist()
    return {
        "id": number,
        "name": name,
        "supercategory": _ANIMAL,
        "keypoints": list(labels.keypoints),
        "skeleton": skeleton,
    }
