"""Bundles of models: a model's folder, with its facts in card.toml and figures from its run record."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hub_cards.bundles import FACTS_FILE, Bundle, Content, left_out, outside_problems
from hub_cards.facts import ModelFacts, read_model_facts
from hub_cards.local_paths import without_local_paths
from hub_cards.model_cards import (
    LICENCE_FILE,
    PREVIEW,
    SKELETON,
    Place,
    has_own_licence,
    licence_text,
    model_card,
)
from hub_cards.run_record import read_record, with_evaluations
from hub_cards.skeletons import skeleton_picture
from superset_vocab import InputError, load_vocabulary
from superset_vocab.errors import all_problems
from superset_vocab.files import read_json, read_text, sha256_of
from zoo.catalogue import ModelSpec, NetworkSpec
from zoo.model_folder import CARD_FILE, RECORD_FILE, SPEC_FILE, read_model_folder, short_card

if TYPE_CHECKING:
    import numpy as np


def model_bundle(folder: Path, evaluations: Sequence[Path]) -> Bundle:
    """Check a model's folder and collect what is published of it; see `hub_cards.bundles.read_bundle`."""
    import zoo

    spec = read_model_folder(folder)
    weights = _check_weights(folder, spec)
    zoo.load(folder, device="cpu", detector=None if spec.bottom_up else _local_detector(spec))
    content = _record(folder, evaluations)
    record = read_record(content, str(folder / RECORD_FILE), spec.pose.weights.sha256)
    facts = _facts(folder)
    names = [SPEC_FILE, FACTS_FILE, *weights]
    if (folder / PREVIEW).is_file():
        names.append(PREVIEW)
        _check_picture(folder / PREVIEW)
    if problems := outside_problems(folder, names):
        raise all_problems(f"{folder}", problems)
    files: dict[str, Content] = {name: folder / name for name in names}
    public = without_local_paths(content)
    files[RECORD_FILE] = json.dumps(public, indent=1, ensure_ascii=False).encode() + b"\n"
    files[SKELETON] = png(skeleton_picture(load_vocabulary(spec.vocabulary), spec.pose.untrained))
    if has_own_licence(spec):
        files[LICENCE_FILE] = licence_text(spec).encode()
    pictures = tuple(name for name in (SKELETON, PREVIEW) if name in files)

    def card(address: str) -> str:
        return model_card(spec, record, facts, Place(address, pictures))

    _check_own_card(folder, spec, card)
    about = f"{spec.full_name}: {spec.pose.network}, {len(record.evaluations)} evaluations, "
    return Bundle(
        kind="model",
        title=spec.full_name,
        about=about + f"weights {spec.pose.weights.sha256[:12]}",
        files=files,
        card=card,
        left_out=left_out(folder, files),
    )


def _check_weights(folder: Path, spec: ModelSpec) -> list[str]:
    """Check hash and shapes of the weights that lie in the folder; gives the names of their files."""
    if not spec.pose.weights.is_local:
        raise InputError(
            f"{folder}: its weights are in {spec.pose.weights.repository} already; nothing is to be published"
        )
    _check_network(folder, spec.pose, "pose")
    files = {spec.pose.weights.file}
    for name, part in spec.detectors.items():
        if part.weights.is_local:
            _check_network(folder, part, name)
            files.add(part.weights.file)
    return sorted(files)


def _check_network(folder: Path, part: NetworkSpec, name: str) -> None:
    import torch

    from zoo.detector_networks import build_detector
    from zoo.networks import build
    from zoo.official_weights import read_any
    from zoo.weight_files import mismatches

    path, wanted = folder / part.weights.file, part.weights.sha256
    if (found := sha256_of(path)) != wanted:
        raise InputError(
            f"{path}: its sha256 begins with {found[:12]}, {SPEC_FILE} says {wanted[:12]}; these are not the "
            "weights that the folder was written with"
        )
    which = "pose" if name == "pose" else "detector"
    tensors = read_any(path, which, wanted)
    with torch.device("meta"):
        network = build(part.network, **part.options) if name == "pose" else build_detector(part)[0]
    if problems := mismatches(network, tensors):
        raise all_problems(f"{path} does not fit the network {part.network} ({name})", problems)


def _local_detector(spec: ModelSpec) -> str:
    """A detector that lies in the folder; "none" where all are on the Hub, which is not asked for them."""
    return next((name for name, part in spec.detectors.items() if part.weights.is_local), "none")


def _record(folder: Path, evaluations: Sequence[Path]) -> Any:
    """The content of run.json, with more evaluations."""
    content = read_json(folder / RECORD_FILE)
    reports = [read_json(path) for path in evaluations]
    wrong = [str(path) for path, one in zip(evaluations, reports, strict=True) if not isinstance(one, dict)]
    if wrong:
        raise InputError(f"{', '.join(wrong)}: no report of `zoo evaluate`; give its evaluation.json")
    return with_evaluations(content, reports) if reports and isinstance(content, dict) else content


def _facts(folder: Path) -> ModelFacts:
    path = folder / FACTS_FILE
    if not path.is_file():
        raise InputError(
            f'{path}: is missing; write into it what the card cannot know: contact = "...", intended_use = '
            '["..."], and what else docs/publishing.md lists'
        )
    return read_model_facts(path)


def _check_own_card(folder: Path, spec: ModelSpec, card: Callable[[str], str]) -> None:
    """Refuse a README.md that is not rendered: it would be replaced, and its figures come from nowhere."""
    path = folder / CARD_FILE
    if not path.is_file():
        return
    text = read_text(path)
    published = re.search(r'zoo\.load\("(hf://[^"\s]+)"\)', text)
    if text not in (short_card(spec), card(""), card(published[1]) if published else ""):
        raise InputError(
            f"{path}: is not the card that {SPEC_FILE}, {RECORD_FILE} and {FACTS_FILE} give; figures come "
            f"from the run record only. Say the rest in {FACTS_FILE} and delete {CARD_FILE}: it is rendered "
            "when you publish"
        )


def _check_picture(path: Path) -> None:
    import cv2

    if cv2.imread(str(path)) is None:
        raise InputError(f"{path}: is no picture that can be read; make it again or delete it")


def png(image: np.ndarray) -> bytes:
    """An RGB image as a PNG file."""
    import cv2

    return cv2.imencode(".png", image[..., ::-1])[1].tobytes()
