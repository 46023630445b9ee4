"""A model as a folder: what fine-tuning writes, `zoo.load(path)` reads and the Hub keeps.

    model.toml            the spec (`zoo.catalogue`), weights by file name and SHA-256; written last
    weights.safetensors   "pose." and, for a top-down model, "detector." networks, in single precision
    run.json              how it was made: operations, versions, the record of the training
    README.md             what it is and how to load it
    preview.png           poses drawn on an image, if there was one to draw on

Everything a folder needs lies in it, so it can be moved, copied and sent. A file name in model.toml can
never lead out of the folder, and nothing in a folder is unpickled: strangers may have written it.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from superset_vocab import list_vocabularies, load_vocabulary
from superset_vocab.errors import InputError, all_problems
from superset_vocab.files import atomic_path, make_folder, read_text, write_json
from superset_vocab.toml_text import toml_key, toml_table
from zoo.catalogue import ModelSpec, NetworkSpec, WeightsSpec, parse_spec
from zoo.checksums import SUMS_FILE, check_sums

if TYPE_CHECKING:
    import numpy as np
    from torch import nn

SPEC_FILE = "model.toml"
WEIGHTS_FILE = "weights.safetensors"
RECORD_FILE = "run.json"
CARD_FILE = "README.md"
PREVIEW_FILE = "preview.png"


def folder_of(name: str | os.PathLike[str]) -> Path | None:
    """The folder that a model's name is the path of, or None where it is the name of a published model.

    A path is what is no text (`pathlib.Path`), has a slash in it, or is a folder that holds a model.
    """
    if not isinstance(name, str):
        return Path(name)
    if "://" in name:
        return None
    separators = [s for s in (os.sep, os.altsep) if s]
    is_path = any(s in name for s in separators) or (Path(name) / SPEC_FILE).is_file()
    return Path(name).expanduser() if is_path else None


def read_model_folder(folder: Path) -> ModelSpec:
    """Read the spec of a model's folder; the files of its weights are looked for, not read.

    Raises:
        InputError: If it is no such folder, its spec has problems, or files are missing (all are listed).
    """
    path = folder / SPEC_FILE
    if not path.is_file():
        what = "has no model.toml; it is no model's folder" if folder.is_dir() else "no such folder"
        raise InputError(
            f"{folder}: {what}; give a folder that `zoo finetune` wrote, or a name of `zoo models`"
        )
    spec = parse_spec(str(path), read_text(path))
    files = check_folder_spec(str(path), spec)
    problems = [
        f"weights file {file!r} is missing; copy the folder again, completely"
        for file in files
        if not (folder / file).is_file()
    ]
    if problems:
        raise all_problems(str(path), problems)
    if (folder / SUMS_FILE).is_file():  # it was published: nothing in it may have been changed since
        check_sums(folder, [SPEC_FILE, *files])
    detectors = {name: _in_folder(part, folder) for name, part in spec.detectors.items()}
    return replace(spec, pose=_in_folder(spec.pose, folder), detectors=detectors)


def check_folder_spec(what: str, spec: ModelSpec) -> list[str]:
    """Check what a stranger's model.toml could misuse: file names, the vocabulary and its size.

    Args:
        what: Name of the spec's file, for messages.
        spec: As read.

    Returns:
        The names of the weights files that lie in the folder, sorted.

    Raises:
        InputError: Lists every weights file that is not in the same folder, a vocabulary that is not one of
            the package, and a network that has not one channel for each of its keypoints.
    """
    parts = (spec.pose, *spec.detectors.values())
    files = sorted({part.weights.file for part in parts if part.weights.is_local})
    problems = [
        f"weights file {file!r} is a path; it must be the name of a file in the folder"
        for file in files
        if file != Path(file).name or file in ("", ".", "..") or "\\" in file
    ]
    if spec.vocabulary not in list_vocabularies():
        problems.append(f"vocabulary {spec.vocabulary!r} is none of {', '.join(list_vocabularies())}")
    else:
        vocabulary = load_vocabulary(spec.vocabulary)
        n_channels = _n_channels(spec.pose)
        if n_channels != len(vocabulary):
            problems.append(
                f"the network has {n_channels} keypoints, the vocabulary {spec.vocabulary} {len(vocabulary)}"
            )
        unknown = sorted(set(spec.pose.untrained) - set(vocabulary.keypoints))
        problems += [f"untrained names {name!r}, which is no keypoint of it" for name in unknown]
    if problems:
        raise all_problems(what, problems)
    return files


def _n_channels(pose: NetworkSpec) -> object:
    """How many keypoints a pose network is built with, by its options."""
    outputs = pose.options.get("outputs")
    return outputs.get("heatmaps") if isinstance(outputs, dict) else pose.options.get("n_keypoints")


def write_model_folder(
    folder: Path,
    spec: ModelSpec,
    networks: Mapping[str, nn.Module],
    *,
    record: Mapping[str, Any],
    card: str = "",
    preview: np.ndarray | None = None,
) -> ModelSpec:
    """Write a model into a folder; the folder is a model's only when all of it is there.

    Args:
        folder: New, or without a model in it.
        spec: What the model is; its first detector is the one whose network is given. Other detectors
            stay where they are published, or are left out.
        networks: "pose", and "detector" for a top-down model whose first detector is not on the Hub.
        record: How it was made, for run.json.
        card: Text of README.md; "" for a short one made from the spec.
        preview: (H, W, 3) RGB uint8 for preview.png.

    Returns:
        The spec as `read_model_folder` reads it.

    Raises:
        InputError: If the folder holds a model already, or cannot be written.
    """
    from zoo.weight_files import save_weights

    make_folder(folder)
    if (folder / SPEC_FILE).exists():
        raise InputError(f"{folder}: holds a model already; choose another folder with --out, or remove it")
    if not re.fullmatch(r"[\w.+-]+", spec.name) or not re.fullmatch(r"[\w.+-]+", spec.variant):
        raise InputError(
            f"{spec.name!r}, {spec.variant!r}: these go into file names; use letters, digits, . + - _"
        )
    first = spec.default_detector
    if first and "detector" not in networks and spec.detectors[first].weights.is_local:
        raise InputError(f"{spec.full_name}: the network of its detector {first!r} has to go into the folder")
    sha256 = save_weights(folder / WEIGHTS_FILE, networks, half=False)
    weights = WeightsSpec(WEIGHTS_FILE, sha256)
    detectors = {
        name: replace(part, weights=weights) if name == first and "detector" in networks else part
        for name, part in spec.detectors.items()
        if (name == first and "detector" in networks) or not part.weights.is_local
    }
    spec = replace(spec, pose=replace(spec.pose, weights=weights), detectors=detectors, default=False)
    write_json(folder / RECORD_FILE, dict(record))
    _write_text(folder / CARD_FILE, card or short_card(spec))
    if preview is not None:
        _write_image(folder / PREVIEW_FILE, preview)
    _write_text(folder / SPEC_FILE, spec_to_toml(spec))
    return read_model_folder(folder)


def spec_to_toml(spec: ModelSpec) -> str:
    """A spec as the text that `zoo.catalogue.parse_spec` reads back to an equal one."""
    names = ("name", "variant", "vocabulary", "summary", "licence", "citation")
    top = {**{name: getattr(spec, name) for name in names}, "training_data": list(spec.training_data)}
    if spec.default:
        top["default"] = True
    tables = [toml_table("", top), toml_table("pose", _network_entries(spec.pose, pose=True))]
    tables += [
        toml_table(f"detectors.{toml_key(name)}", _network_entries(part, pose=False))
        for name, part in spec.detectors.items()
    ]
    inference = ("score_threshold", "detect_every", "replay_threshold")
    tables.append(toml_table("inference", {name: getattr(spec, name) for name in inference}))
    if spec.parent is not None:
        tables.append(toml_table("parent", asdict(spec.parent)))
    if spec.evaluation:
        tables.append(toml_table("evaluation", spec.evaluation))
    return "\n".join(tables)


def short_card(spec: ModelSpec) -> str:
    """A README that says what the model is, from its spec alone."""
    parent = spec.parent
    made = f"Made from {parent.name}, {parent.variant} ({parent.method}).\n\n" if parent else ""
    data = "".join(f"- {source}\n" for source in spec.training_data)
    return (
        f"# {spec.name}, {spec.variant}\n\n{spec.summary}\n\n{made}"
        '```python\nimport zoo\n\nmodel = zoo.load("path/of/this/folder")\n```\n\n'
        f"Vocabulary: {spec.vocabulary}. Licence: {spec.licence}.\n\nTraining data:\n{data}\n"
        f"Cite: {spec.citation}\n"
    )


def _network_entries(part: NetworkSpec, *, pose: bool) -> dict[str, Any]:
    """The entries of a network's table."""
    weights = {"file": part.weights.file}
    if part.weights.sha256:
        weights["sha256"] = part.weights.sha256
    if not part.weights.is_local:
        weights |= {"repository": part.weights.repository, "revision": part.weights.revision}
    entries: dict[str, Any] = {"network": part.network, "options": part.options, "input": part.input}
    entries["weights"] = weights
    if pose and part.untrained:
        entries["untrained"] = list(part.untrained)
    if not pose:
        entries["bbox_threshold"] = part.bbox_threshold
    return entries


def _in_folder(part: NetworkSpec, folder: Path) -> NetworkSpec:
    """The network with its weights looked for in the folder, unless they are on the Hub."""
    return replace(part, weights=replace(part.weights, folder=folder)) if part.weights.is_local else part


def _write_text(path: Path, text: str) -> None:
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def _write_image(path: Path, image: np.ndarray) -> None:
    import cv2

    done, content = cv2.imencode(path.suffix, image[..., ::-1])
    if not done:
        raise ValueError(f"cannot encode an image of shape {image.shape}, {image.dtype} as {path.suffix}")
    with atomic_path(path) as temporary:
        temporary.write_bytes(content.tobytes())
