"""What a validation found: typed findings, the choice what to do about them, JSON and an HTML page.

A finding is an error or a suspicion. An error makes a record unfit for training (its image is not there, a
keypoint lies outside the image): `ValidationReport.apply` refuses the label set, or leaves such records out
and says which. A suspicion is for a human to look at: it never changes anything.

Whole records are left out, never single animals: an image that keeps one unlabelled animal would teach a
detector that there is none.
"""

from __future__ import annotations

import logging
from collections import Counter
from dataclasses import dataclass, field, replace
from enum import StrEnum
from pathlib import Path
from typing import Any, Literal

from superset_vocab import InputError, LabelSet
from superset_vocab.errors import all_problems
from superset_vocab.files import atomic_path, write_json
from superset_vocab.provenance import operation, package_version

_LOG = logging.getLogger(__name__)
CHOICES = ("refuse", "drop", "keep")
Choice = Literal["refuse", "drop", "keep"]


class Kind(StrEnum):
    """What is wrong; the value is what JSON says."""

    MISSING_IMAGE = "missing_image"
    UNREADABLE_IMAGE = "unreadable_image"
    WRONG_SIZE = "wrong_size"
    OUTSIDE_IMAGE = "keypoints_outside_image"
    BOX_ELSEWHERE = "box_holds_no_keypoint"
    BOX = "keypoints_outside_box"
    LEFT_RIGHT = "left_right_swapped"
    SAME_IMAGE = "same_image_twice"
    SAME_IMAGE_APART = "same_image_in_two_groups"
    NEAR_DUPLICATE = "near_duplicate"
    NEAR_DUPLICATE_APART = "near_duplicate_in_two_groups"


class Severity(StrEnum):
    """Whether a record is unfit (error), or should be looked at (suspicion)."""

    ERROR = "error"
    SUSPICION = "suspicion"


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong with one image, or with a dataset as a whole.

    Attributes:
        kind: What it is.
        severity: What it means for the record.
        image: Path of the image; for a finding about a whole dataset, of an example.
        source_image: What the source calls the image.
        dataset: Name of the dataset.
        sentence: What was found, for people: with numbers, names and the remedy.
        record: Position of the record in the validated label set; None where the image could not even
            become a record (a reader that needs its size left it out), or for a whole dataset.
        instance: Number of the animal in the record, None if it is about the image.
        keypoints: Names of the keypoints it is about.
        related: Other images it is about, e.g. the twin.
    """

    kind: Kind
    severity: Severity
    image: Path
    source_image: str
    dataset: str
    sentence: str
    record: int | None = None
    instance: int | None = None
    keypoints: tuple[str, ...] = ()
    related: tuple[Path, ...] = ()


@dataclass(frozen=True)
class Check:
    """A check that was made or could not be made.

    Attributes:
        name: Of the check.
        result: One sentence: on how many it was made, or why not.
    """

    name: str
    result: str


@dataclass(frozen=True, eq=False)
class ValidationReport:
    """All findings about a label set.

    Attributes:
        labels: What was validated.
        findings: Errors first, then in the order of the records.
        checks: What was looked for.
    """

    labels: LabelSet = field(repr=False)
    findings: tuple[Finding, ...]
    checks: tuple[Check, ...] = ()

    @property
    def errors(self) -> tuple[Finding, ...]:
        """The findings for which records are refused or left out."""
        return tuple(finding for finding in self.findings if finding.severity is Severity.ERROR)

    @property
    def suspicions(self) -> tuple[Finding, ...]:
        """The findings that a human should look at."""
        return tuple(finding for finding in self.findings if finding.severity is Severity.SUSPICION)

    def counts(self) -> dict[Kind, int]:
        """Number of findings of every kind that occurs."""
        found = Counter(finding.kind for finding in self.findings)
        return {kind: found[kind] for kind in Kind if found[kind]}

    def apply(self, labels: LabelSet, choice: Choice) -> LabelSet:
        """Refuse a label set with errors, or leave the bad records out.

        Args:
            labels: The validated set, or the same records in other keypoints (projected).
            choice: "refuse", "drop", or "keep": change nothing, with a warning that counts the errors.

        Returns:
            The labels; with "drop" and errors, without the bad records and with an operation that names them.

        Raises:
            InputError: With "refuse" if there are errors (all are listed), with "drop" if nothing is left.
        """
        if choice not in CHOICES:
            raise InputError(f"{choice!r} is none of {', '.join(CHOICES)}")
        if [r.image for r in labels.records] != [r.image for r in self.labels.records]:
            raise ValueError("the report is about other records than these")
        if not self.errors:
            return labels
        if choice == "refuse":
            names = ", ".join(source.dataset for source in self.labels.sources)
            raise all_problems(
                f"{names} (correct the labels, or leave the bad images out with --on-problem drop)",
                [f"{finding.image}: {finding.sentence}" for finding in self.errors],
            )
        if choice == "keep":
            _LOG.warning("%d errors are left in the labels", len(self.errors))
            return labels
        bad = {finding.record for finding in self.errors}
        records = tuple(record for i, record in enumerate(labels.records) if i not in bad)
        if not records:
            raise InputError(f"all {len(labels)} records have errors; nothing is left after dropping them")
        left_out = {f.source_image or f.image.name: f.kind.value for f in reversed(self.errors)}
        left_out = dict(reversed(left_out.items()))
        _LOG.warning("%d images are left out: %s", len(left_out), ", ".join(left_out))
        datasets = {record.dataset for record in records}
        return replace(
            labels,
            records=records,
            sources=tuple(source for source in labels.sources if source.dataset in datasets),
            operations=(*labels.operations, operation("drop_problems", images=left_out)),
        )

    def as_dict(self) -> dict[str, Any]:
        """The report as JSON can hold it."""
        return {
            "version": package_version(),
            "datasets": [source.dataset for source in self.labels.sources],
            "n_images": len(self.labels),
            "n_instances": self.labels.n_instances,
            "n_errors": len(self.errors),
            "n_suspicions": len(self.suspicions),
            "counts": {kind.value: count for kind, count in self.counts().items()},
            "checks": {check.name: check.result for check in self.checks},
            "findings": [_finding_dict(finding) for finding in self.findings],
        }

    def write_json(self, path: Path) -> None:
        """Write the report as JSON."""
        write_json(path, self.as_dict())

    def write_html(self, path: Path) -> None:
        """Write the report as one HTML file with example pictures, without anything from elsewhere."""
        from converters.validation_page import page

        with atomic_path(path) as temporary:
            temporary.write_text(page(self), encoding="utf-8")

    def summary(self) -> str:
        """Errors, suspicions and the number of each kind, in one line."""
        kinds = ", ".join(f"{count} {kind.value.replace('_', ' ')}" for kind, count in self.counts().items())
        total = f"{len(self.errors)} errors, {len(self.suspicions)} suspicions"
        return f"{total} ({kinds})" if kinds else total


def _finding_dict(finding: Finding) -> dict[str, Any]:
    """A finding as JSON can hold it."""
    return {
        "kind": finding.kind.value,
        "severity": finding.severity.value,
        "image": str(finding.image),
        "source_image": finding.source_image,
        "dataset": finding.dataset,
        "record": finding.record,
        "instance": finding.instance,
        "keypoints": list(finding.keypoints),
        "related": [str(path) for path in finding.related],
        "sentence": finding.sentence,
    }
