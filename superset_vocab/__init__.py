"""Superset vocabularies, keypoint maps and label records. The lowest layer: numpy only, no torch.

Every other package imports this one, so its names load numpy only when they are used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from superset_vocab.lazy import lazy_names

if TYPE_CHECKING:
    from superset_vocab.errors import InputError
    from superset_vocab.keypoint_map import KeypointMap, list_maps, load_map, project, pull_back
    from superset_vocab.records import LabelRecord, LabelSet, Source, Visibility
    from superset_vocab.vocabulary import Vocabulary, list_vocabularies, load_vocabulary

__all__ = [
    "InputError",
    "KeypointMap",
    "LabelRecord",
    "LabelSet",
    "Source",
    "Visibility",
    "Vocabulary",
    "list_maps",
    "list_vocabularies",
    "load_map",
    "load_vocabulary",
    "project",
    "pull_back",
]

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "superset_vocab.errors": ["InputError"],
        "superset_vocab.keypoint_map": ["KeypointMap", "list_maps", "load_map", "project", "pull_back"],
        "superset_vocab.records": ["LabelRecord", "LabelSet", "Source", "Visibility"],
        "superset_vocab.vocabulary": ["Vocabulary", "list_vocabularies", "load_vocabulary"],
    },
)
