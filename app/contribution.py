"""From a laboratory's labels to a superset dataset: what `zoo contribute` does, step by step.

inspect -> match -> preview -> (a person looks) -> convert and validate -> dataset card and page. Everything
goes into one folder:

    index.html               all of it on one page, with pictures and nothing from elsewhere
    keypoint_map.toml        the proposed map, to edit; given back with --map it is followed
    matching.json, affinity.png, previews/
    validation.json, validation.html
    dataset/                 annotations.json, images/, examples/, README.md (the dataset card)

What can be found out is not asked: format, keypoints, licence and contact (from the source, its LICENSE and
its CITATION.cff). What cannot is asked on a terminal; elsewhere it must have been given.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from adaptation.keypoint_files import EVIDENCE, MAP, PREVIEWS, draw_previews, edited, write_matching
from adaptation.keypoint_matching import MIN_CONFIDENCE, Matching, match_keypoints
from app.inspection import Inspection, inspect
from converters import validate, write_superset
from converters.conversion import reading, write_report
from converters.validation import tolerant_reading
from superset_vocab import InputError, KeypointMap, LabelSet, Vocabulary, load_map, load_vocabulary, project
from superset_vocab.files import atomic_folder, make_folder
from superset_vocab.provenance import operation
from superset_vocab.records import UNKNOWN_LICENCE

if TYPE_CHECKING:
    from converters import ValidationReport
    from converters.images import Looked
    from converters.validation_report import Choice
    from hub_cards import DatasetFacts
    from zoo.model import Model

DATASET, CARD, PAGE, EXAMPLES = "dataset", "README.md", "index.html", "examples"
_ANSWERS = "[y]es, [e]dit the map and look again, [n]o"


@dataclass(frozen=True)
class Prompts:
    """Questions to the person at the terminal, if there is one.

    Attributes:
        interactive: Whether anybody is there to answer.
        read: Shows a question, returns the answer.
        say: Prints a line.
    """

    interactive: bool
    read: Callable[[str], str] = input
    say: Callable[[str], None] = print

    @classmethod
    def of_terminal(cls, *, yes: bool) -> Prompts:
        """Asks if standard input and output are a terminal, and not after --yes."""
        return cls(not yes and sys.stdin.isatty() and sys.stdout.isatty())

    def text(self, question: str, default: str) -> str:
        """An answer in words; the default where nobody is there or nothing is said."""
        if not self.interactive:
            return default
        said = self.read(f"{question} [{default}]: " if default else f"{question}: ").strip()
        return said or default


@dataclass(frozen=True)
class Request:
    """What `zoo contribute` was asked for.

    Attributes:
        source: File or folder of a known label format.
        out: Folder for everything.
        dataset: Name of the dataset; "" takes the source's.
        format: Of the source; None detects it.
        options: Of that format, by name.
        map_name: A keypoint map to follow instead of the proposal; None proposes one.
        contact, licence, citation, summary: For the card; "" finds out or asks.
        species: For the card.
        on_problem: With images that have errors: "refuse" or "drop".
        yes: Convert without asking.
        min_confidence: Below it no pair is proposed.
        max_images: For matching.
        progress: Show progress bars.
    """

    source: Path
    out: Path
    dataset: str = ""
    format: str | None = None
    options: dict[str, str] = field(default_factory=dict)
    map_name: str | None = None
    contact: str = ""
    licence: str = ""
    citation: str = ""
    summary: str = ""
    species: tuple[str, ...] = ()
    on_problem: Choice = "refuse"
    yes: bool = False
    min_confidence: float = MIN_CONFIDENCE
    max_images: int = 200
    progress: bool = False


@dataclass(frozen=True)
class Outcome:
    """What became of a contribution.

    Attributes:
        page: The index.html.
        dataset: The folder of the dataset, None where nothing was converted.
        warnings: What a person should know.
    """

    page: Path
    dataset: Path | None
    warnings: tuple[str, ...] = ()


@dataclass
class Story:
    """What the page tells; filled in step by step."""

    name: str
    inspection: Inspection
    labels: LabelSet
    matching: Matching
    targets: dict[str, str | None]
    map_from: str = "proposed"
    warnings: list[str] = field(default_factory=list)
    validation: ValidationReport | None = None
    card: str = ""
    verdict: str = "proposed, not converted"


def contribute(request: Request, model: Model | None, matcher_vocabulary: str, prompts: Prompts) -> Outcome:
    """Run the whole way; see the module's text.

    Args:
        request: What is wanted.
        model: Whose poses help to match; None goes by names alone.
        matcher_vocabulary: Name of the superset.
        prompts: Who answers.

    Raises:
        InputError: If the source, the map or the labels are at fault, or something that only a person can
            decide was not decided. What had been written until then (the proposal) stays.
    """
    vocabulary = load_vocabulary(matcher_vocabulary)
    _check_folder(request)
    followed = load_map(request.map_name) if request.map_name else None
    if followed is not None and followed.vocabulary.name != vocabulary.name:
        raise InputError(
            f"the map {request.map_name} is into {followed.vocabulary.name}, not {vocabulary.name}"
        )
    name = request.dataset or (followed.dataset if followed else request.source.resolve().stem)
    with ExitStack() as frames:
        with tolerant_reading(request.source) as looked:
            source, how = request.source, {"format": request.format, "options": request.options}
            labels = frames.enter_context(reading(source, request.out, dataset=name, **how))
        return _follow_labels(request, name, labels, looked, followed, vocabulary, model, prompts)


def _follow_labels(
    request: Request,
    name: str,
    labels: LabelSet,
    looked: Looked,
    followed: KeypointMap | None,
    vocabulary: Vocabulary,
    model: Model | None,
    prompts: Prompts,
) -> Outcome:
    """`contribute` from the labels on, while the images that are inside videos or packages are at hand."""
    found = _said(inspect(labels, request.source), request)
    for line in found.lines():
        prompts.say(f"  {line}")
    request = _filled(request, found, prompts)
    if followed is not None:
        followed.check(labels.keypoints)
    make_folder(request.out)
    readable = _with_images(labels, looked)
    matching = match_keypoints(
        readable,
        model,
        vocabulary=vocabulary,
        min_confidence=request.min_confidence,
        max_images=request.max_images,
        progress=request.progress,
    )
    found = replace(found, licence=request.licence, contact=request.contact)
    story = Story(name, found, readable, matching, matching.targets)
    licence = "" if request.licence == UNKNOWN_LICENCE else request.licence
    write_matching(
        matching, readable, request.out, licence=licence, citation=request.citation,
        keep_map=_is_own_map(request.map_name, request.out),
    )  # fmt: skip
    chosen = followed or matching.keypoint_map(licence=licence, citation=request.citation)
    _follow(story, chosen, request, request.map_name or "")
    _write_page(story, request.out)
    chosen = _decide(story, chosen, request, prompts)
    if chosen is None:
        return Outcome(request.out / PAGE, None, tuple(story.warnings))
    done = _convert(story, chosen, labels, looked, request)
    _write_page(story, request.out)
    return Outcome(request.out / PAGE, done, tuple(story.warnings))


def _said(found: Inspection, request: Request) -> Inspection:
    """What was found, or, where the request says it, what it says."""
    if request.licence:
        found = replace(found, licence=request.licence, licence_from="--licence")
    if request.contact:
        found = replace(found, contact=request.contact, contact_from="--contact")
    return found


def _check_folder(request: Request) -> None:
    """Refuse to write over a dataset, an edited map, or what somebody else left in the folder."""
    out = request.out
    if (out / DATASET).exists():
        raise InputError(f"{out / DATASET} exists; remove it, or choose another --out")
    if out.is_dir() and any(out.iterdir()) and not (out / EVIDENCE).is_file():
        raise InputError(f"{out}: has files that are no contribution's; choose a new folder with --out")
    if edited(out) and not _is_own_map(request.map_name, out):
        raise InputError(
            f"{out / MAP} was edited; follow it with --map {out / MAP}, remove it, or choose another --out"
        )


def _filled(request: Request, found: Inspection, prompts: Prompts) -> Request:
    """The request with what was found, and what only a person could say."""
    licence = found.licence
    if licence == UNKNOWN_LICENCE:
        licence = prompts.text("licence of the images and labels, e.g. CC BY 4.0", UNKNOWN_LICENCE)
    contact = found.contact
    if not contact:
        contact = prompts.text("who answers questions about the dataset (name and address)", "")
    if not contact:
        raise InputError(
            "contact is not known: the dataset card must say who answers questions. Give --contact "
            '"NAME <ADDRESS>", or put a CITATION.cff with an e-mail address beside the labels'
        )
    return replace(request, licence=licence, contact=contact, citation=request.citation or found.citation)


def _with_images(labels: LabelSet, looked: Looked) -> LabelSet:
    """The records whose images decode; the others are the validation's."""
    records = tuple(record for record in labels.records if looked.at(record.image) is not None)
    if not records:
        raise InputError(f"{labels.sources[0].location}: none of its {len(labels)} images can be read")
    return replace(labels, records=records)


def _is_own_map(map_name: str | None, out: Path) -> bool:
    """Whether the map to follow is the one that an earlier run proposed."""
    return bool(map_name) and Path(str(map_name)).resolve() == (out / MAP).resolve()


def _follow(story: Story, chosen: KeypointMap, request: Request, source: str) -> None:
    """Take a map's targets into the story and, where they are a person's, draw the previews again."""
    story.targets = dict(chosen.targets)
    story.warnings = list(_warnings(story, request))
    if source:
        story.map_from = source
        draw_previews(story.matching, story.labels, request.out / PREVIEWS, targets=story.targets)
        target = request.out / MAP
        if source.endswith(".toml") and Path(source).resolve() != target.resolve():
            shutil.copyfile(source, target)


def _warnings(story: Story, request: Request) -> Sequence[str]:
    """What a person should know before converting."""
    matching, found = story.matching, []
    if matching.mirrored:
        same, other = matching.evidence.side_votes
        found.append(
            f"left and right are exchanged against the model in {other} of {same + other} animals: were they "
            "filmed from below, mirrored, or does the lab mean the viewer's left? Such labels teach a "
            f"{matching.vocabulary.name} model wrong sides"
        )
    if not matching.evidence.n_animals:
        found.append("no image evidence: the map goes by the names alone")
    if request.licence == UNKNOWN_LICENCE:
        found.append("the licence is unknown: nobody may pass these images on until it is known")
    by_name = {proposal.source: proposal for proposal in matching.proposals}
    for name, target in story.targets.items():
        proposal = by_name[name]
        if target and proposal.target and target != proposal.target:
            found.append(f"the map says {name} is {target}, the evidence says {proposal.target}")
    return found


def _decide(story: Story, chosen: KeypointMap, request: Request, prompts: Prompts) -> KeypointMap | None:
    """The map to convert with, or None to stop; whoever is there is asked."""
    for line in story.warnings:
        prompts.say(f"  warning: {line}")
    while True:
        for name, target in chosen.targets.items():
            prompts.say(f"  {name} -> {target or '(none)'}")
        if not prompts.interactive:
            _refuse_undecided(story, request)
            return chosen
        prompts.say(f"  pictures and evidence: {request.out / PAGE}")
        said = prompts.read(f"convert with this map? {_ANSWERS}: ").strip().lower()
        if said in ("n", "no"):
            return None
        if said in ("y", "yes") and any(chosen.targets.values()):
            return chosen
        if said in ("e", "edit"):
            path = request.out / MAP
            prompts.read(f"edit {path}, save it, and press Enter: ")
            try:
                edited = load_map(str(path))
                edited.check(story.labels.keypoints)
            except InputError as error:
                prompts.say(f"  {error}")
                continue
            chosen = edited
            _follow(story, chosen, request, str(path))
            _write_page(story, request.out)
        elif said in ("y", "yes"):
            prompts.say("  the map maps no keypoint; edit it first")


def _refuse_undecided(story: Story, request: Request) -> None:
    """Without a person, convert only what was asked for and is not in doubt."""
    page, path = request.out / PAGE, request.out / MAP
    again = f"look at {page}, edit {path}, and run again with --map {path}"
    if not any(story.targets.values()):
        raise InputError(f"no keypoint of {request.source} has a counterpart that is sure enough; {again}")
    if story.map_from != "proposed":
        return
    if story.matching.mirrored:
        raise InputError(f"{story.warnings[0]}. Nothing is converted; {again}")
    if not request.yes:
        raise InputError(f"nobody to ask (no terminal) and no --yes: nothing is converted; {again} or --yes")


def _convert(story: Story, chosen: KeypointMap, labels: LabelSet, looked: Looked, request: Request) -> Path:
    """Convert, validate, write the card; a validation that refuses is still on the page."""
    from hub_cards import dataset_card

    source = replace(labels.sources[0], licence=request.licence, citation=request.citation)
    how = {"by": "a person" if story.map_from != "proposed" else "proposal", "map": story.map_from}
    decided = operation("choose_keypoint_map", **how)
    operations = (*labels.operations, *story.matching.operations, decided)
    projected = project(replace(labels, sources=(source,), operations=operations), chosen)
    report = validate(projected, looked=looked, progress=request.progress)
    write_report(report, request.out)
    story.validation, story.verdict = report, "refused by the validation"
    _write_page(story, request.out)
    kept = report.apply(projected, request.on_problem)
    pictures = sorted((request.out / PREVIEWS).glob("*.jpg"))[:3]
    examples = tuple(f"{EXAMPLES}/{picture.name}" for picture in pictures)
    story.card = dataset_card(kept, _facts(story, request, examples))
    target = request.out / DATASET
    with atomic_folder(target) as folder:  # with its card and pictures, or not at all
        write_superset(kept, folder)
        make_folder(folder / EXAMPLES)
        for picture in pictures:
            shutil.copyfile(picture, folder / EXAMPLES / picture.name)
        (folder / CARD).write_text(story.card, encoding="utf-8")
    story.verdict = "converted"
    return target


def _facts(story: Story, request: Request, examples: tuple[str, ...]) -> DatasetFacts:
    """What the card says of the dataset."""
    from hub_cards import DatasetFacts

    return DatasetFacts(
        name=story.name,
        summary=request.summary or _summary(story),
        contact=request.contact,
        licence="" if request.licence == UNKNOWN_LICENCE else request.licence,
        species=request.species,
        limits=tuple(story.warnings),
        citation=request.citation,
        examples=examples,
    )


def _summary(story: Story) -> str:
    """What can be said of a dataset that nobody described."""
    found = story.inspection
    return (
        f"{found.n_images} labelled images ({found.sizes}) with {found.n_animals} animals in "
        f"{found.n_groups} split groups, contributed from {found.format} labels with "
        f"{len(found.annotated)} keypoints."
    )


def _write_page(story: Story, out: Path) -> None:
    from app.contribution_page import write_page

    write_page(story, out)
