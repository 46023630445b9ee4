"""Publishing a model's or a dataset's folder to the Hugging Face Hub, as a new version, in one commit.

    plan = plan_version(Path("my-model"), "my-lab/my-model")
    print(plan.describe())
    publish_plan(plan).address          # "hf://my-lab/my-model@v1"

A version is a commit on main with a tag that is never moved, and a line in CHANGELOG.md; older versions stay
as they are. Only files of the version before are removed, by its SHA256SUMS; what owners added stays. The
commit names the parent that the plan was made from: if somebody else commits meanwhile, the Hub refuses it.
What broke off is taken up by the next call: large files that have arrived are not sent again, and a commit
that has not got its tag yet gets it.

All traffic and tokens are those of `huggingface_hub` (HF_TOKEN or `hf auth login`; HF_ENDPOINT;
HF_HUB_DISABLE_XET for a Hub that does not speak Xet). No token is passed on or logged here.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from hub_cards.bundles import ANNOTATIONS, CHANGELOG, CONTRIBUTIONS, Bundle, Content, read_bundle
from hub_cards.hub_errors import ConflictError, explained, require_token
from hub_cards.remote import HUBS_OWN, Remote, content_sha256, file_lines, look
from superset_vocab import InputError
from zoo.checksums import SUMS_FILE, sums_text
from zoo.hub import check_repository
from zoo.model_folder import CARD_FILE, SPEC_FILE
from zoo.published import Address

if TYPE_CHECKING:
    from huggingface_hub import HfApi

log = logging.getLogger(__name__)

_MADE_HERE = {CARD_FILE, CHANGELOG, SUMS_FILE}
_LINE = re.compile(r"^- (?P<version>\S+) \(", re.MULTILINE)
_HEAD = "# Changelog\n\nEvery version stays where it is: `@version` in its address names it.\n\n"


@dataclass(frozen=True)
class Plan:
    """What will be published.

    Attributes:
        repository: "owner/name".
        private: Whether a repository that has to be made will be private.
        version: Its tag.
        bundle: What of which folder.
        files: Path -> content of everything in the commit.
        deleted: Paths of the version before that this one has not.
        remote: The repository as it was, None if there was none.
        unchanged: Whether the newest version is this one already; there is nothing to commit.
    """

    repository: str
    private: bool
    version: str
    bundle: Bundle
    files: dict[str, Content]
    deleted: tuple[str, ...]
    remote: Remote | None
    unchanged: bool

    @property
    def address(self) -> str:
        """What loads this version."""
        return str(Address(self.repository, self.version, dataset=self.bundle.kind == "dataset"))

    def describe(self) -> str:
        """What will be done, in lines for a reader."""
        kind, title = self.bundle.kind, self.bundle.title
        if self.unchanged:
            return f"{self.repository}: {self.version} is {title} as it is here; nothing has changed"
        place = "a new private" if self.private else "a new public"
        lines = [f"{self.repository}: {kind} {title} as {self.version}"]
        lines.append(f"  repository: {'there already' if self.remote else place + ' one'}")
        return "\n".join([*lines, *file_lines(self.files, self.deleted, self.bundle.left_out)])


@dataclass(frozen=True)
class Published:
    """A version on the Hub.

    Attributes:
        address: What loads it.
        commit: Its commit.
        url: Its page.
    """

    address: str
    commit: str
    url: str


def plan_version(
    folder: Path,
    repository: str,
    *,
    private: bool = False,
    version: str = "",
    message: str = "",
    evaluations: Sequence[Path] = (),
) -> Plan:
    """Check a folder, look at the repository, and say what publishing would do. Nothing is written.

    Args:
        folder: A model's folder or a superset dataset.
        repository: "owner/name".
        private: Make the repository private, if it has to be made.
        version: The tag; "" takes the next of v1, v2, ...
        message: What is new, for the changelog.
        evaluations: Reports of `zoo evaluate` for a model's run record.

    Raises:
        InputError: If the folder cannot be published, the repository holds something else or is public though
            `private` is wanted, or the version exists.
    """
    check_repository(repository)
    bundle = read_bundle(folder, evaluations)
    if bundle.unlicensed and not private:
        raise InputError(
            f"{folder}: {', '.join(bundle.unlicensed)} states no licence, so nobody has allowed its images "
            "to be shown to the public; publish with --private, or leave that source out"
        )
    with explained(repository):
        remote = look(repository, bundle.kind)
    if remote is not None:
        _check_remote(repository, bundle, remote, private)
    return _plan(repository, private, version, message, bundle, remote)


def publish_plan(plan: Plan) -> Published:
    """Do what a plan says: the repository if it is new, one commit, one tag.

    Raises:
        ConflictError: If somebody else wrote to the repository since the plan was made.
        InputError: If the Hub refuses (no token, no right, no room), or the connection breaks.
    """
    from huggingface_hub import HfApi

    repository, kind = plan.repository, plan.bundle.kind
    require_token(repository)
    api = HfApi(library_name="superanimal-zoo")
    with explained(repository):
        if plan.unchanged and plan.remote is not None:
            commit = plan.remote.head
        else:
            head = plan.remote.head if plan.remote else _create(api, plan)
            commit = _commit(api, plan, head)
        if plan.remote is None or plan.version not in plan.remote.tags:
            api.create_tag(repository, tag=plan.version, revision=commit, repo_type=kind)
    log.info("%s: %s is commit %s", repository, plan.version, commit)
    url = f"{api.endpoint}/{'datasets/' if kind == 'dataset' else ''}{repository}/tree/{plan.version}"
    return Published(plan.address, commit, url)


def _check_remote(repository: str, bundle: Bundle, remote: Remote, private: bool) -> None:
    """Refuse a repository that is somebody's other work, or is shown to whom it must not be."""
    if private and not remote.private:
        raise InputError(
            f"{repository}: exists and is public; --private is for a repository that is made now. Make it "
            "private on its page, or choose another name"
        )
    if bundle.unlicensed and not remote.private:
        raise InputError(f"{repository}: is public, and {', '.join(bundle.unlicensed)} states no licence")
    main = SPEC_FILE if bundle.kind == "model" else ANNOTATIONS
    others = sorted(name for name in remote.files if not _is_foreign(name))
    if others and not (main in remote.files and main in remote.published):
        raise InputError(
            f"{repository}: holds something else ({', '.join(others[:3])}); publish to another repository"
        )


def _plan(
    repository: str, private: bool, version: str, message: str, bundle: Bundle, remote: Remote | None
) -> Plan:
    """The files of the next version, or that there is nothing to do."""
    if version and not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", version):
        raise InputError(f"version {version!r} is no name of a tag; use letters, digits, . _ -")
    tags = remote.tags if remote else {}
    written = _LINE.findall(remote.changelog) if remote else []
    if remote is not None and written and _same(bundle, remote):
        if version not in ("", written[0]):
            raise InputError(
                f"{repository}: nothing has changed since {written[0]}; there is no {version} to make"
            )
        return Plan(repository, private, written[0], bundle, {}, (), remote, unchanged=True)
    if version in tags or version in ("main", *written):
        raise InputError(f"{repository}: version {version} exists and is never overwritten; choose another")
    numbers = [int(name[1:]) for name in (*tags, *written) if re.fullmatch(r"v\d+", name)]
    version = version or f"v{max(numbers, default=0) + 1}"
    address = str(Address(repository, version, dataset=bundle.kind == "dataset"))
    what = f"{' '.join(message.split())} " if message.strip() else ""
    line = f"- {version} ({datetime.now(UTC):%Y-%m-%d}): {what}[{bundle.about}]\n"
    older = remote.changelog.removeprefix(_HEAD) if remote else ""
    files: dict[str, Content] = {**bundle.files, CARD_FILE: bundle.card(address).encode()}
    files[CHANGELOG] = (_HEAD + line + older).encode()
    files[SUMS_FILE] = sums_text({name: content_sha256(content) for name, content in files.items()}).encode()
    gone = sorted(_published(remote) - set(files)) if remote else []
    return Plan(repository, private, version, bundle, files, tuple(gone), remote, unchanged=False)


def _same(bundle: Bundle, remote: Remote) -> bool:
    """Whether the newest version has exactly these files, but for those that differ in every version."""
    if set(bundle.files) != _published(remote) - _MADE_HERE:
        return False
    return all(remote.has(name, content) for name, content in bundle.files.items())


def _published(remote: Remote) -> set[str]:
    """The files of the newest version that are still there: not what others contributed or owners added."""
    written = {*remote.published, *_MADE_HERE} if remote.published else set()
    return {name for name in written if name in remote.files and not _is_foreign(name)}


def _is_foreign(name: str) -> bool:
    """Whether a file is never publishing's: the Hub's own, or what others contributed."""
    return name in HUBS_OWN or name.startswith(f"{CONTRIBUTIONS}/")


def _create(api: HfApi, plan: Plan) -> str:
    """Make the repository; gives its first commit, which has nothing of anybody's in it."""
    api.create_repo(plan.repository, repo_type=plan.bundle.kind, private=plan.private or None)
    info = api.repo_info(plan.repository, repo_type=plan.bundle.kind)
    files = api.list_repo_files(plan.repository, revision=info.sha, repo_type=plan.bundle.kind)
    if set(files) - HUBS_OWN:
        raise ConflictError(
            f"{plan.repository}: somebody else published to it meanwhile; run the command again"
        )
    return str(info.sha)


def _commit(api: HfApi, plan: Plan, head: str) -> str:
    """One commit with the whole version, on top of the one that the plan was made from."""
    from huggingface_hub import CommitOperationAdd, CommitOperationDelete

    operations = [CommitOperationAdd(name, content) for name, content in sorted(plan.files.items())]
    deletions = [CommitOperationDelete(name, is_folder=False) for name in plan.deleted]
    done = api.create_commit(
        plan.repository,
        [*operations, *deletions],
        commit_message=f"{plan.version}: {plan.bundle.about}",
        repo_type=plan.bundle.kind,
        parent_commit=head,
    )
    return done.oid
