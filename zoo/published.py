"""Models that somebody published to the Hugging Face Hub: "hf://owner/name@revision".

Such a repository is a model's folder (`zoo.model_folder`) with a SHA256SUMS. Only model.toml and the weights
are downloaded. The revision, a branch or a tag or "main" where none is named, is resolved to a commit once:
spec and weights are of the same one, which the provenance of every result names.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, replace

from superset_vocab.errors import InputError
from superset_vocab.files import read_text
from zoo.catalogue import ModelSpec, NetworkSpec, parse_spec
from zoo.checksums import SUMS_FILE, check_sums
from zoo.hub import fetch
from zoo.model_folder import SPEC_FILE, check_folder_spec, folder_of, read_model_folder

SCHEME = "hf://"
TAG = "superanimal-zoo"
"""The tag of every model that this package publishes, by which it is found on the Hub."""
_DATASETS = "datasets/"
CONTRIBUTION_NAME = r"[A-Za-z0-9][A-Za-z0-9._-]*"
"""Pattern of the name of a dataset in a shared repository (`hub_cards.contributions`)."""
_ADDRESS = re.compile(
    r"(?P<repository>[^@#/\s]+/[^@#/\s]+)(@(?P<revision>[^@#\s]+))?"
    rf"(#(?P<contribution>{CONTRIBUTION_NAME}))?"
)


@dataclass(frozen=True)
class Address:
    """A repository on the Hub, at a revision.

    Attributes:
        repository: "owner/name".
        revision: Branch, tag or commit.
        dataset: Whether it is one of the Hub's dataset repositories.
        contribution: Name of one dataset of a shared repository, "" for the repository's own.
    """

    repository: str
    revision: str = "main"
    dataset: bool = False
    contribution: str = ""

    def __str__(self) -> str:
        part = f"#{self.contribution}" if self.contribution else ""
        return f"{SCHEME}{_DATASETS if self.dataset else ''}{self.repository}@{self.revision}{part}"


def parse_address(text: str, *, dataset: bool = False) -> Address:
    """Read "hf://owner/name@revision"; without "@revision" the branch main.

    Args:
        text: The address. Datasets may be written "hf://datasets/owner/name", as the Hub's own tools do, and
            one dataset of a shared repository is "hf://owner/name@revision#contribution".
        dataset: Whether a dataset is wanted.

    Raises:
        InputError: If it has another form, or is of the other kind.
    """
    rest = text.removeprefix(SCHEME)
    found = _ADDRESS.fullmatch(rest.removeprefix(_DATASETS))
    if not text.startswith(SCHEME) or found is None or (found["contribution"] and not dataset):
        raise InputError(f"{text!r} is no address on the Hub; want {SCHEME}owner/name@revision")
    if rest.startswith(_DATASETS) and not dataset:
        raise InputError(f"{text} is a dataset, not a model; read it with hub_cards.load_dataset")
    return Address(found["repository"], found["revision"] or "main", dataset, found["contribution"] or "")


def spec_outside(name: str | os.PathLike[str]) -> ModelSpec | None:
    """The spec of a model that is not in the package's catalogue: in a folder, or somebody's on the Hub.

    Args:
        name: What `zoo.load` takes.

    Returns:
        None for a name of the catalogue.

    Raises:
        InputError: As `read_model_folder` and `read_published`.
    """
    if isinstance(name, str) and name.startswith(SCHEME):
        return read_published(name)
    folder = folder_of(name)
    return None if folder is None else read_model_folder(folder)


def read_published(text: str) -> ModelSpec:
    """The spec of a published model; its weights are those of the same commit.

    Args:
        text: "hf://owner/name@revision".

    Raises:
        NotReachableError: If it is not in the cache and the Hub cannot be asked now.
        InputError: If it cannot be had, is no model of this package's kind, or was changed after publishing.
    """
    address = parse_address(text)
    path = fetch(address.repository, SPEC_FILE, address.revision)
    commit = path.parent.name  # the cache names a file's folder after the commit that it is from
    fetch(address.repository, SUMS_FILE, commit)
    check_sums(path.parent, [SPEC_FILE])
    spec = parse_spec(f"{address}/{SPEC_FILE}", read_text(path))
    check_folder_spec(f"{address}/{SPEC_FILE}", spec)
    detectors = {name: _at(part, address.repository, commit) for name, part in spec.detectors.items()}
    return replace(spec, pose=_at(spec.pose, address.repository, commit), detectors=detectors)


def _at(part: NetworkSpec, repository: str, commit: str) -> NetworkSpec:
    """A network with its weights looked for in that repository, unless they are in another one."""
    if not part.weights.is_local:
        return part
    return replace(part, weights=replace(part.weights, repository=repository, revision=commit))
