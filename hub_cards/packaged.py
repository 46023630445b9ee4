"""Cards of the models that come with the package: `python -m hub_cards.packaged` writes them anew.

Beside the weights of an embedded model lie its run record (.json), what its author says (.card.toml) and the
card that is rendered from both (.md). A test holds the cards equal to what comes out here.
"""

from __future__ import annotations

import logging
from pathlib import Path

from hub_cards.facts import ModelFacts, read_model_facts
from hub_cards.model_cards import model_card
from hub_cards.run_record import RunRecord, read_record
from superset_vocab import InputError
from superset_vocab.files import atomic_path, read_json
from zoo.catalogue import ModelSpec, list_models

log = logging.getLogger(__name__)


def embedded_models() -> list[ModelSpec]:
    """The models whose weights come with the package."""
    return [spec for spec in list_models() if spec.embedded]


def packaged_record(spec: ModelSpec) -> RunRecord:
    """The run record beside the weights of an embedded model."""
    path = beside(spec, ".json")
    return read_record(read_json(path), str(path), spec.pose.weights.sha256)


def packaged_facts(spec: ModelSpec) -> ModelFacts:
    """What the author of an embedded model says."""
    return read_model_facts(beside(spec, ".card.toml"))


def packaged_card(spec: ModelSpec) -> str:
    """The card of an embedded model."""
    return model_card(spec, packaged_record(spec), packaged_facts(spec))


def beside(spec: ModelSpec, suffix: str) -> Path:
    """Path of a file beside the weights of an embedded model.

    Raises:
        InputError: If the weights do not come with the package.
    """
    if not spec.embedded:
        embedded = ", ".join(f"{s.name} {s.variant}" for s in embedded_models())
        raise InputError(f"{spec.full_name}: its weights are not in the package; those of {embedded} are")
    return spec.pose.weights.path.with_suffix(suffix)


def main() -> None:
    """Write the cards of all embedded models."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    for spec in embedded_models():
        path = beside(spec, ".md")
        with atomic_path(path) as temporary:
            temporary.write_text(packaged_card(spec), encoding="utf-8")
        log.info("%s", path)


if __name__ == "__main__":
    main()
