"""Contributing a dataset as jobs of the worker process; see `app.web.jobs` and `app.contribution`.

The page shows the proposal of the first job in a table; what the visitor makes of it goes into the second,
which begins anew with that map: nothing is kept between the two but the unpacked labels. The third proposes
the finished dataset to the host's shared repository on the Hub.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from app.web.guards import check_inside, label_source
from app.web.loaded import load_model
from app.web.packing import pack
from superset_vocab.errors import InputError
from superset_vocab.files import atomic_path, read_json
from superset_vocab.toml_text import toml_table

if TYPE_CHECKING:
    from app.contribution import Outcome, Prompts, Request

_NOT_YET = "not given yet"
_MAX_IMAGES = 60  # to match by
_PREVIEWS = 8


def propose_map(source: str, out: str, *, model: str, variant: str, vocabulary: str) -> dict[str, Any]:
    """Inspect a labelled dataset and propose what each of its keypoints is in a vocabulary.

    Args:
        source: Folder of the unpacked labels.
        out: New folder.
        model: Whose poses help to match; "" goes by the names alone.
        variant: Of the model; "" for its own choice.
        vocabulary: Name of the superset.

    Returns:
        "inspection" (lines), "warnings", "dataset" (its name), "licence" and "contact" (as far as found),
        "previews" (pictures), and "table": rows of [keypoint, counterpart or None, confidence, why].
    """
    from app.contribution import Prompts, Request
    from app.inspection import inspect
    from converters import read_labels

    path, folder = label_source(Path(source)), Path(out)
    labels = read_labels(path)
    check_inside(labels, Path(source))
    found = inspect(labels, path)
    request = Request(
        path,
        folder,
        dataset=Path(source).name,
        contact=found.contact or _NOT_YET,
        max_images=_MAX_IMAGES,
        progress=True,
    )
    prompts = Prompts(interactive=True, read=_not_now, say=lambda _: None)
    outcome = _contribute(request, model, variant, vocabulary, prompts)
    content = read_json(folder / "matching.json")
    return {
        "inspection": found.lines(),
        "warnings": list(outcome.warnings),
        "dataset": content["dataset"],
        "licence": "" if found.licence == "unknown" else found.licence,
        "contact": found.contact,
        "citation": found.citation,
        "previews": _previews(folder),
        "table": [
            [p["source"], p["target"], p["confidence"] or 0.0, p["reason"] or f"names: {p['names']}"]
            for p in content["proposals"]
        ],
    }


def make_bundle(
    source: str,
    out: str,
    *,
    model: str,
    variant: str,
    vocabulary: str,
    targets: dict[str, str | None],
    dataset: str,
    card: dict[str, str],
    species: list[str],
    leave_out: bool,
) -> dict[str, Any]:
    """Convert, validate and document a dataset with a keypoint map that a person looked at.

    Args:
        source: Folder of the unpacked labels.
        out: New folder.
        model: As in `propose_map`.
        variant: As in `propose_map`.
        vocabulary: As in `propose_map`.
        targets: Keypoint -> counterpart, None to leave it out.
        dataset: Name of the dataset.
        card: "licence", "contact", "citation", "summary".
        species: Seen in the images.
        leave_out: Leave out images with errors; else they refuse the dataset.

    Returns:
        "zip" (the bundle, or the report alone where it was refused), "refused" ("" or why), "folder" (the
        dataset's, "" where it was refused), "warnings", "previews", "validation" (kind of problem -> how
        many).
    """
    from app.contribution import DATASET, Prompts, Request
    from converters import read_labels

    path, folder = label_source(Path(source)), Path(out)
    check_inside(read_labels(path), Path(source))
    folder.mkdir(parents=True, exist_ok=True)
    edited = folder.with_name(f"{folder.name}.toml")
    head = {
        "dataset": dataset,
        "vocabulary": vocabulary,
        "drop": [name for name, target in targets.items() if target is None],
    }
    pairs = {name: target for name, target in targets.items() if target is not None}
    with atomic_path(edited) as temporary:
        temporary.write_text(f"{toml_table('', head)}\n{toml_table('map', pairs)}", encoding="utf-8")
    request = Request(
        path,
        folder,
        dataset=dataset,
        map_name=str(edited),
        species=tuple(species),
        on_problem="drop" if leave_out else "refuse",
        max_images=_MAX_IMAGES,
        progress=True,
        contact=card["contact"],
        licence=card["licence"],
        citation=card["citation"],
        summary=card["summary"],
    )
    prompts = Prompts(interactive=False, say=lambda _: None)
    refused, warnings = "", []
    try:
        warnings = list(_contribute(request, model, variant, vocabulary, prompts).warnings)
    except InputError as error:
        if not (folder / "validation.json").is_file():
            raise
        refused = str(error)
    target = folder.with_name(f"{folder.name}-packed") / "bundle.zip"
    return {
        "zip": str(pack(folder, target, visitor=folder.parent)),
        "refused": refused,
        "folder": "" if refused else str(folder / DATASET),
        "warnings": warnings,
        "previews": _previews(folder),
        "validation": read_json(folder / "validation.json")["counts"],
    }


def propose(folder: str, *, contribute_to: str, name: str) -> dict[str, Any]:
    """Propose a finished dataset to a shared repository on the Hub, in the name of the host's account.

    Args:
        folder: Of the dataset.
        contribute_to: "owner/name".
        name: Of the dataset in it; one that is taken is refused, whosever it is.

    Returns:
        "url" (of the pull request) and "name".
    """
    from hub_cards import open_pull_request, plan_contribution

    plan = plan_contribution(
        Path(folder), contribute_to, name=name, message="Contributed in a browser (`zoo app`).", revise=False
    )
    return {"url": open_pull_request(plan).url, "name": plan.name}


def _contribute(request: Request, model: str, variant: str, vocabulary: str, prompts: Prompts) -> Outcome:
    from app.contribution import contribute

    return contribute(request, load_model(model, variant) if model else None, vocabulary, prompts)


def _not_now(question: str) -> str:
    """The proposal is looked at on the page before anything is converted."""
    return "n" if question.startswith("convert") else ""


def _previews(folder: Path) -> list[str]:
    return [str(path) for path in sorted((folder / "previews").glob("*.jpg"))[:_PREVIEWS]]
