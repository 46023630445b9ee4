"""COCO keypoints: read any, and write the superset kind.

The format's conventions. A category carries the keypoint names and a skeleton of 1-based pairs; an
annotation carries [x, y, v] for each keypoint, with v 0 not labelled (x = y = 0), 1 occluded,
2 visible. As in the SuperAnimal paper the flag is extended: v = -1 says that the image's dataset does
not define the keypoint. Keypoints are taken as indices of pixels, the centre of the top-left pixel at
(0, 0), which is what annotation tools and pycocotools do; they are copied as they are. Boxes are
copied as they are too. COCO's own text lets a box begin at the corner of a pixel: half a pixel, which
no box here resolves.

A superset file says more, in fields that other readers ignore:
- info: vocabulary, sources (original keypoint names, keypoint map, licence, citation of each
  dataset), operations, and the version of this package;
- image: dataset, split_group, source_image (the name in its source);
- annotation: bbox_source, "labels" for a box that was labelled, "keypoints" for one drawn tightly
  around the keypoints because COCO wants one, "none" for neither.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from converters.images import image_problems, missing_images
from superset_vocab import InputError, LabelRecord, LabelSet, Source, Visibility, load_vocabulary
from superset_vocab.errors import all_problems
from superset_vocab.files import read_json
from superset_vocab.provenance import package_version

ANNOTATIONS = "annotations.json"
_LISTS = ("images", "annotations", "categories")


def detect(path: Path) -> bool:
    """A folder with annotations.json, or a .json with lists of images, annotations and categories."""
    try:
        content = read_json(_label_file(path))
    except InputError:
        return False
    return isinstance(content, dict) and all(isinstance(content.get(part), list) for part in _LISTS)


def read(source: Path, *, dataset: str) -> LabelSet:
    """Read a COCO keypoint file and check that its images decode and have the size it says.

    Args:
        source: The .json, or a folder with annotations.json.
        dataset: Dataset name of the records; a superset file has its own names, which stay.

    Returns:
        One record for each image in the order of the file, also where nothing is annotated.

    Raises:
        InputError: If the file or its images are broken; all problems are listed.
    """
    labels = read_document(source, dataset=dataset)
    problems = image_problems(labels.records)
    if problems:
        raise all_problems(f"{source}", problems)
    return labels


def read_document(source: Path, *, dataset: str) -> LabelSet:
    """As `read`, but look only whether the images exist."""
    file = _label_file(source)
    labels = from_document(read_json(file), file, dataset=dataset, location=str(source))
    if missing := missing_images(labels.records):
        raise all_problems(f"{file}", missing)
    return labels


def from_document(document: Any, file: Path, *, dataset: str, location: str) -> LabelSet:
    """The label set that a parsed COCO file describes.

    Args:
        document: Content of the file.
        file: Path of the file: images are looked up relative to it, messages name it.
        dataset: Dataset name of images that carry none.
        location: Of the source, as `Source.location`.

    Raises:
        InputError: If the document is broken; all problems are listed.
    """
    if not isinstance(document, dict) or not all(isinstance(document.get(part), list) for part in _LISTS):
        raise InputError(f"{file}: is not COCO (it needs the lists {', '.join(_LISTS)})")
    try:
        info: dict[str, Any] = dict(document.get("info") or {})
        categories = {category["id"]: category.get("keypoints") for category in document["categories"]}
        images = {image["id"]: image for image in document["images"]}
        by_image: dict[Any, list[dict[str, Any]]] = {key: [] for key in images}
        strays = [a for a in document["annotations"] if a["image_id"] not in images]
        for annotation in document["annotations"]:
            by_image.get(annotation["image_id"], []).append(annotation)
        used = {annotation["category_id"] for annotation in document["annotations"]} or set(categories)
        names = Counter(image["file_name"] for image in document["images"])
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise InputError(f"{file}: is not COCO ({type(error).__name__}: {error})") from error
    problems = [f"annotation {a.get('id')} is of image {a['image_id']!r}, which is not there" for a in strays]
    if len(images) != len(document["images"]):
        problems.append("several images have the same id")
    problems += [f"image {name} is listed {times} times" for name, times in names.items() if times > 1]
    keypoints = _keypoint_names(categories, used, problems)
    if problems:
        raise all_problems(f"{file}", problems)
    records = []
    for image in images.values():
        try:
            records.append(_record(image, by_image[image["id"]], len(keypoints), file, dataset))
        except (KeyError, TypeError, ValueError) as error:
            problems.append(f"image {image['file_name']}: {type(error).__name__}: {error}")
    if problems:
        raise all_problems(f"{file}", problems)
    sources = _sources(info, file) or (Source(dataset, keypoints, format="coco", location=location),)
    return LabelSet(
        keypoints, tuple(records), sources, info.get("vocabulary"), tuple(info.get("operations", ()))
    )


def _label_file(path: Path) -> Path:
    """The file itself, or a folder's annotations.json."""
    if path.is_dir():
        return path / ANNOTATIONS
    if path.suffix.lower() != ".json":
        raise InputError(f"{path}: is not a .json file")
    return path


def _keypoint_names(categories: dict[Any, Any], used: set[Any], problems: list[str]) -> tuple[str, ...]:
    """The one list of keypoint names that all used categories share."""
    unknown = sorted(str(key) for key in used - set(categories))
    problems += [f"category {key} is used but not listed" for key in unknown]
    lists = {tuple(categories[key] or ()) for key in used & set(categories)}
    if len(lists) > 1:
        problems.append("its categories have different keypoints; convert them one by one")
    names = next(iter(lists), ())
    if not names and not unknown:
        problems.append("its categories have no keypoints")
    problems += [f"keypoint {name!r} is listed {n} times" for name, n in Counter(names).items() if n > 1]
    return tuple(str(name) for name in names)


def _record(
    image: dict[str, Any], annotations: Sequence[dict[str, Any]], k: int, file: Path, dataset: str
) -> LabelRecord:
    """One image with its instances. Raises ValueError, KeyError or TypeError on malformed entries."""
    count = len(annotations)
    keypoints, boxes = np.full((count, k, 2), np.nan), np.full((count, 4), np.nan)
    visibility = np.full((count, k), Visibility.NOT_ANNOTATED, dtype=np.int8)
    for n, annotation in enumerate(annotations):
        if "keypoints" in annotation:
            values = np.asarray(annotation["keypoints"], dtype=np.float64)
            if values.shape != (3 * k,):
                raise ValueError(f"annotation {annotation.get('id')} has {values.size} numbers, not {3 * k}")
            flags = values[2::3]
            if not np.isin(flags, list(Visibility)).all():
                raise ValueError(f"annotation {annotation.get('id')} has a visibility other than -1, 0, 1, 2")
            visibility[n] = flags
            annotated = flags >= Visibility.OCCLUDED
            keypoints[n, annotated] = values.reshape(k, 3)[annotated, :2]
        if annotation.get("bbox_source", "labels") == "labels" and annotation.get("bbox"):
            boxes[n] = np.asarray(annotation["bbox"], dtype=np.float64)
    name = str(image["file_name"])
    return LabelRecord(
        image=_find_image(file, name),
        size_wh=(int(image["width"]), int(image["height"])),
        dataset=str(image.get("dataset", dataset)),
        split_group=str(image.get("split_group", dataset)),
        keypoints=keypoints,
        visibility=visibility,
        bbox_xywh=boxes,
        source_image=str(image.get("source_image", name)),
    )


def _find_image(file: Path, name: str) -> Path:
    """Where an image lies: beside the file, in images/ there, or in images/ beside the file's folder."""
    parts = PurePosixPath(name.replace("\\", "/"))
    if parts.is_absolute() or ".." in parts.parts:
        raise ValueError("its file_name leads out of the dataset's folder")
    places = [file.parent / parts, file.parent / "images" / parts, file.parent.parent / "images" / parts]
    return next((place for place in places if place.is_file()), places[0])


def _sources(info: dict[str, Any], file: Path) -> tuple[Source, ...]:
    """The sources that a superset file lists; empty for other COCO files."""
    try:
        return tuple(
            Source(**{**source, "keypoints": tuple(source["keypoints"])})
            for source in info.get("sources", ())
        )
    except (KeyError, TypeError) as error:
        raise InputError(f"{file}: its info.sources were not written by this package ({error})") from error


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
        "categories": [_category(labels)],
    }


def image_entries(labels: LabelSet, file_names: Sequence[str]) -> Iterator[dict[str, Any]]:
    """The images of `to_document`, one by one."""
    licences = _licences(labels)
    licence_id = {source.dataset: 1 + licences.index(source.licence) for source in labels.sources}
    for i, (record, name) in enumerate(zip(labels.records, file_names, strict=True), start=1):
        yield {
            "id": i,
            "file_name": name,
            "width": record.size_wh[0],
            "height": record.size_wh[1],
            "license": licence_id[record.dataset],
            "dataset": record.dataset,
            "split_group": record.split_group,
            "source_image": record.source_image,
        }


def annotation_entries(labels: LabelSet) -> Iterator[dict[str, Any]]:
    """The annotations of `to_document`, one by one."""
    count = 0
    for i, record in enumerate(labels.records, start=1):
        for n in range(len(record)):
            count += 1
            yield {"id": count, "image_id": i, **_annotation(record, n)}


def _licences(labels: LabelSet) -> list[str]:
    """The different licences of the sources, in their order."""
    return list(dict.fromkeys(source.licence for source in labels.sources))


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
        "category_id": 1,
        "keypoints": [int(value) if value.is_integer() else value for value in flat.ravel().tolist()],
        "num_keypoints": int(annotated.sum()),
        "bbox": box.tolist(),
        "bbox_source": box_source,
        "area": float(box[2] * box[3]),
        "iscrowd": 0,
    }


def _category(labels: LabelSet) -> dict[str, Any]:
    """The one category, with the vocabulary's skeleton."""
    skeleton = []
    if labels.vocabulary is not None:
        skeleton = (load_vocabulary(labels.vocabulary).bones + 1).tolist()
    return {
        "id": 1,
        "name": "animal",
        "supercategory": "animal",
        "keypoints": list(labels.keypoints),
        "skeleton": skeleton,
    }
