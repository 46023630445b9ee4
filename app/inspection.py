"""What can be found out about a label source without asking anybody: for `zoo contribute`.

Counts come from the labels; licence, contact and citation from the labels too, or from a LICENSE and a
CITATION.cff beside them.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from superset_vocab import InputError, LabelSet
from superset_vocab.files import read_text
from superset_vocab.records import UNKNOWN_LICENCE


@dataclass(frozen=True)
class Inspection:
    """What was found in the source without asking anybody.

    Attributes:
        format: Name of the label format.
        n_images, n_animals: Labelled.
        n_groups: Animals, sessions or videos.
        annotated: Keypoint -> number of animals in which it is annotated.
        sizes: Sizes of the images, in words.
        licence, licence_from: What was found, and where; "unknown" and "" if nothing.
        contact, contact_from: Likewise; "" and "".
        citation: Likewise.
    """

    format: str
    n_images: int
    n_animals: int
    n_groups: int
    annotated: dict[str, int]
    sizes: str
    licence: str
    licence_from: str
    contact: str
    contact_from: str
    citation: str

    def lines(self) -> list[str]:
        """For people."""
        keypoints = ", ".join(f"{name} ({n})" for name, n in self.annotated.items())
        return [
            f"{self.format}: {self.n_images} images ({self.sizes}), {self.n_animals} animals, "
            f"{self.n_groups} split groups",
            f"{len(self.annotated)} keypoints (animals): {keypoints}",
            f"licence: {self.licence}" + (f" (from {self.licence_from})" if self.licence_from else ""),
            f"contact: {self.contact or 'not found'}"
            + (f" (from {self.contact_from})" if self.contact_from else ""),
        ]


def inspect(labels: LabelSet, source: Path) -> Inspection:
    """Count what is there, and look for licence, contact and citation beside it."""
    annotated = dict.fromkeys(labels.keypoints, 0)
    for record in labels.records:
        for name, n in zip(labels.keypoints, record.annotated.sum(0), strict=True):
            annotated[name] += int(n)
    sizes = sorted({record.size_wh for record in labels.records})
    words = ", ".join(f"{w}x{h}" for w, h in sizes) if len(sizes) <= 3 else f"{len(sizes)} sizes"
    folder = source if source.is_dir() else source.parent
    own = labels.sources[0].licence
    licence, licence_from = (own, labels.sources[0].format) if own != UNKNOWN_LICENCE else _licence(folder)
    contact, contact_from, citation = _citation_file(folder)
    return Inspection(
        format=labels.sources[0].format,
        n_images=len(labels),
        n_animals=labels.n_instances,
        n_groups=len({(record.dataset, record.split_group) for record in labels.records}),
        annotated=annotated,
        sizes=words,
        licence=licence,
        licence_from=licence_from,
        contact=contact,
        contact_from=contact_from,
        citation=labels.sources[0].citation or citation,
    )


_LICENCES = (
    (r"mit license|permission is hereby granted, free of charge", "MIT"),
    (r"apache license\s+version 2\.0", "Apache-2.0"),
    (r"attribution-?noncommercial-?noderivatives 4\.0", "CC BY-NC-ND 4.0"),
    (r"attribution-?noncommercial-?sharealike 4\.0", "CC BY-NC-SA 4.0"),
    (r"attribution-?noncommercial 4\.0", "CC BY-NC 4.0"),
    (r"attribution-?sharealike 4\.0", "CC BY-SA 4.0"),
    (r"attribution 4\.0", "CC BY 4.0"),
    (r"cc0 1\.0", "CC0 1.0"),
    (r"gnu affero general public license\s+version 3", "AGPL-3.0"),
    (r"gnu general public license\s+version 3", "GPL-3.0"),
)  # in this order: the longer names first


def _licence(folder: Path) -> tuple[str, str]:
    """Licence by the text of a LICENSE file in the folder, and that file's name."""
    for path in sorted(folder.iterdir()):
        if path.is_file() and re.fullmatch(r"(licen[cs]e|copying)(\.(md|txt))?", path.name.lower()):
            # Old ones are in Latin-1; what counts is in ASCII.
            text = " ".join(path.read_bytes()[:4000].decode("utf-8", "replace").lower().split())
            for pattern, name in _LICENCES:
                if re.search(pattern, text):
                    return name, path.name
            return f"see {path.name}", path.name
    return UNKNOWN_LICENCE, ""


def _citation_file(folder: Path) -> tuple[str, str, str]:
    """Contact, where from, and citation of a CITATION.cff in the folder."""
    import yaml

    path = folder / "CITATION.cff"
    if not path.is_file():
        return "", "", ""
    try:
        content = yaml.safe_load(read_text(path))
    except yaml.YAMLError as error:
        raise InputError(
            f"{path}: is not YAML ({' '.join(str(error).split())}); correct or remove it"
        ) from error
    if not isinstance(content, dict):
        raise InputError(f"{path}: is no CITATION.cff; correct or remove it")
    people = [p for key in ("contact", "authors") for p in content.get(key) or [] if isinstance(p, dict)]
    names = [" ".join(str(p[k]) for k in ("given-names", "family-names", "name") if p.get(k)) for p in people]
    with_mail = [f"{n} <{p['email']}>" for n, p in zip(names, people, strict=True) if p.get("email")]
    authors = ", ".join(dict.fromkeys(name for name in names if name))
    parts = [authors, str(content.get("title", "")), str(content.get("doi", ""))]
    return (with_mail or [""])[0], path.name if with_mail else "", ". ".join(part for part in parts if part)
