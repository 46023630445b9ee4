"""Superset vocabularies, keypoint maps and label records. The lowest layer: numpy only, no torch."""

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
