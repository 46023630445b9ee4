"""A model of the package as a folder, which can be changed, sent and published."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from hub_cards.bundles import FACTS_FILE
from hub_cards.model_bundles import png
from hub_cards.model_cards import PREVIEW, SKELETON, Place, model_card
from hub_cards.packaged import beside, packaged_facts, packaged_record
from hub_cards.skeletons import skeleton_picture
from superset_vocab import InputError, load_vocabulary
from superset_vocab.files import atomic_folder
from zoo.catalogue import ModelSpec, NetworkSpec, WeightsSpec, find_model
from zoo.model_folder import CARD_FILE, RECORD_FILE, SPEC_FILE, WEIGHTS_FILE, spec_to_toml

if TYPE_CHECKING:
    import numpy as np


def export_model(name: str, variant: str, out: Path, example: Path | None = None) -> ModelSpec:
    """Write an embedded model as a model's folder.

    The weights are the same, byte for byte, so that the figures of its run record stay valid.

    Args:
        name: Of a model whose weights come with the package.
        variant: Of it.
        out: New or empty folder.
        example: An image that may be shown to the public; the model's poses are drawn on it. Without one,
            mice are rendered; of other animals there is no example then.

    Returns:
        The model's entry as written.

    Raises:
        InputError: If there is no such model, its weights are not in the package, the image cannot be read,
            or the folder is not empty.
    """
    spec = find_model(name, variant)
    source = beside(spec, ".safetensors")
    record, facts = packaged_record(spec), packaged_facts(spec)
    preview = _preview(spec, example)
    detectors = {key: _renamed(part) for key, part in spec.detectors.items()}
    spec = replace(spec, pose=_renamed(spec.pose), detectors=detectors, default=False)
    pictures = (SKELETON, *([PREVIEW] if preview is not None else []))
    with atomic_folder(out) as folder:
        shutil.copyfile(source, folder / WEIGHTS_FILE)
        shutil.copyfile(source.with_suffix(".json"), folder / RECORD_FILE)
        shutil.copyfile(source.with_suffix(".card.toml"), folder / FACTS_FILE)
        vocabulary = load_vocabulary(spec.vocabulary)
        (folder / SKELETON).write_bytes(png(skeleton_picture(vocabulary, spec.pose.untrained)))
        if preview is not None:
            (folder / PREVIEW).write_bytes(png(preview))
        card = model_card(spec, record, facts, Place(pictures=pictures))
        (folder / CARD_FILE).write_text(card, encoding="utf-8")
        (folder / SPEC_FILE).write_text(spec_to_toml(spec), encoding="utf-8")
    return spec


def _renamed(part: NetworkSpec) -> NetworkSpec:
    return replace(part, weights=WeightsSpec(WEIGHTS_FILE, part.weights.sha256))


def _preview(spec: ModelSpec, example: Path | None) -> np.ndarray | None:
    """The model's poses drawn on an image, (H, W, 3) RGB uint8; None where there is no image to draw on."""
    import zoo
    from zoo.drawing import draw_frame
    from zoo.inputs import read_image

    if example is not None:
        image = read_image(example)
    elif spec.vocabulary == "superanimal_topviewmouse":
        image = _rendered_mouse()
    else:
        return None
    predictions = zoo.load(spec.name, spec.variant, device="cpu").predict(image)
    drawn = draw_frame(image, predictions, 0)
    if (drawn == image).all():
        raise InputError(f"{example}: the model finds no animal in it that could be drawn; take another")
    return drawn


def _rendered_mouse() -> np.ndarray:
    import numpy as np

    from converters.synthetic import lab_named, render_video

    return next(iter(render_video(lab_named("openfield"), 1, np.random.default_rng(0)))).image
