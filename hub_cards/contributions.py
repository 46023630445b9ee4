"""Contributing a dataset to a shared repository on the Hub, by a pull request.

    plan = plan_contribution(Path("contribution/dataset"), "my-lab/top-view-mice")
    print(plan.describe())
    open_pull_request(plan).url

A shared repository is a dataset repository to which many contribute. Each contribution is a folder in it,
`contributions/NAME`, with what a published dataset has: annotations.json, images, card, SHA256SUMS. Who
contributes needs no right to write there; its owner looks at the pull request and merges it, or does not.

A pull request that this account has open for the same name is gone on with: what was changed after a review
is one more commit in it, and where nothing was, nothing happens. So a call that broke off can be repeated.
What is in the shared repository already is replaced only by another pull request.
"""

from __future__ import annotations

import logging
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from hub_cards.bundles import CONTRIBUTIONS, Bundle, Content, read_bundle
from hub_cards.hub_errors import explained, require_token
from hub_cards.remote import Remote, content_sha256, file_lines, look
from superset_vocab import InputError
from superset_vocab.provenance import package_version
from zoo.checksums import SUMS_FILE, sums_text
from zoo.hub import check_repository
from zoo.model_folder import CARD_FILE
from zoo.published import CONTRIBUTION_NAME, Address

if TYPE_CHECKING:
    from huggingface_hub import HfApi

log = logging.getLogger(__name__)

_TITLE = "Contribution: "
_OPEN = ("open", "draft")


@dataclass(frozen=True)
class ContributionPlan:
    """What will be proposed.

    Attributes:
        repository: The shared repository, "owner/name".
        name: Of the contribution.
        bundle: What of which folder.
        message: What the owner should know.
        files: Path in the shared repository -> content.
        deleted: Paths of the contribution before that this one has not.
        base: What it is compared with: the shared repository, or the pull request.
        pull_request: Number of the one that is gone on with; None for a new one.
        unchanged: Whether that one proposes exactly this, or the shared repository has it: nothing to do.
    """

    repository: str
    name: str
    bundle: Bundle
    message: str
    files: dict[str, Content]
    deleted: tuple[str, ...]
    base: Remote
    pull_request: int | None
    unchanged: bool

    def describe(self) -> str:
        """What will be done, in lines for a reader."""
        request = f"pull request {self.pull_request}" if self.pull_request else "a new pull request"
        if self.unchanged:
            where = request if self.pull_request else "the shared repository"
            return f"{self.repository}: {where} has {self.name} as it is here; nothing has changed"
        head = f"{self.repository}: {self.bundle.title} as {CONTRIBUTIONS}/{self.name}, in {request}"
        return "\n".join([head, *file_lines(self.files, self.deleted, self.bundle.left_out)])


@dataclass(frozen=True)
class PullRequest:
    """A contribution on the Hub.

    Attributes:
        number: Of the pull request; None where the shared repository had it already.
        url: Its page, or the contribution's.
        address: What loads the contribution from there.
        commit: Its newest commit.
    """

    number: int | None
    url: str
    address: str
    commit: str


def plan_contribution(
    folder: Path, repository: str, *, name: str = "", message: str = "", revise: bool = True
) -> ContributionPlan:
    """Check a dataset, look at the shared repository, and say what contributing would do. Nothing is written.

    Args:
        folder: A superset dataset with its card.
        repository: The shared repository, "owner/name": a dataset repository.
        name: Of the contribution; "" takes the dataset's title.
        message: What the owner should know; goes into the pull request's text.
        revise: Go on with an open pull request of this account's, and replace what is in the repository
            under this name, in a pull request too. If not, such a name is refused: for an account that
            many share.

    Raises:
        InputError: If the dataset cannot be published, states no licence though the repository is public,
            there is no such repository, nobody is logged in, or, without `revise`, the name is taken.
    """
    from huggingface_hub import HfApi

    check_repository(repository)
    bundle = read_bundle(folder)
    if bundle.kind != "dataset":
        raise InputError(
            f"{folder}: is a {bundle.kind}; only datasets go into a shared repository, use `zoo publish`"
        )
    name = checked_name(name or _slug(bundle.title))
    require_token(repository)
    api = HfApi(library_name="superanimal-zoo")
    with explained(repository):
        remote = look(repository, "dataset")
        if remote is None:
            raise InputError(
                f"{repository}: the Hub has no such dataset repository, or you may not see it; check the "
                "name (a shared repository is made by its owner, on the Hub's pages)"
            )
        number = _own_pull_request(api, repository, name)
        base = remote if number is None else look(repository, "dataset", f"refs/pr/{number}") or remote
    if bundle.unlicensed and not remote.private:
        raise InputError(
            f"{folder}: {', '.join(bundle.unlicensed)} states no licence, so nobody has allowed its "
            "images to be shown to the public; state one, or leave that source out"
        )
    plan = _plan(repository, name, message, bundle, base, number)
    taken = any(path.startswith(f"{CONTRIBUTIONS}/{name}/") for path in base.files)
    if taken and not revise and not plan.unchanged:
        where = f"pull request {number}" if number else "the shared repository"
        raise InputError(f"{repository}: {where} has another dataset of the name {name}; choose another name")
    return plan


def open_pull_request(plan: ContributionPlan) -> PullRequest:
    """Do what a plan says: one commit, in a new pull request or in the one that is open.

    Raises:
        ConflictError: If somebody wrote to that pull request since the plan was made.
        InputError: If the Hub refuses (no token, no pull requests wanted, no room), or the connection breaks.
    """
    from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi

    require_token(plan.repository)
    api = HfApi(library_name="superanimal-zoo")
    number, commit = plan.pull_request, plan.base.head
    if not plan.unchanged:
        additions = [CommitOperationAdd(path, content) for path, content in sorted(plan.files.items())]
        deletions = [CommitOperationDelete(path, is_folder=False) for path in plan.deleted]
        with explained(plan.repository):
            done = api.create_commit(
                plan.repository,
                [*additions, *deletions],
                commit_message=f"{_TITLE}{plan.name}",
                commit_description=_description(plan),
                repo_type="dataset",
                revision=f"refs/pr/{number}" if number else None,
                create_pr=number is None,
                parent_commit=plan.base.head,
            )
        number, commit = number or done.pr_num, done.oid
    log.info("%s: %s is commit %s, pull request %s", plan.repository, plan.name, commit, number)
    page = f"{api.endpoint}/datasets/{plan.repository}"
    revision = f"refs/pr/{number}" if number else "main"
    address = str(Address(plan.repository, revision, dataset=True, contribution=plan.name))
    url = f"{page}/discussions/{number}" if number else f"{page}/tree/main/{CONTRIBUTIONS}/{plan.name}"
    return PullRequest(number, url, address, commit)


def checked_name(name: str) -> str:
    """The name of a contribution, if it can be one: that of a folder on any machine.

    Raises:
        InputError: If it cannot.
    """
    if not re.fullmatch(CONTRIBUTION_NAME, name) or len(name) > 96 or name.endswith("."):
        raise InputError(
            f"{name!r} is no name of a contribution; want up to 96 letters, digits, . _ -, the first "
            "a letter or digit"
        )
    return name


def _slug(title: str) -> str:
    """A title as a name: "Two mice, Ann's" -> "two-mice-ann-s"."""
    return re.sub(r"[^a-z0-9._]+", "-", title.lower()).strip("-._")


def _own_pull_request(api: HfApi, repository: str, name: str) -> int | None:
    """Number of the pull request that this account has open for a contribution; the newest of several."""
    me = str(api.whoami()["name"])
    found = api.get_repo_discussions(
        repository, repo_type="dataset", author=me, discussion_type="pull_request"
    )
    numbers = [one.num for one in found if one.title == f"{_TITLE}{name}" and one.status in _OPEN]
    return max(numbers, default=None)


def _plan(
    repository: str, name: str, message: str, bundle: Bundle, base: Remote, number: int | None
) -> ContributionPlan:
    """The files of the contribution, below its folder, and whether they are there already."""
    place = f"{CONTRIBUTIONS}/{name}"
    address = str(Address(repository, dataset=True, contribution=name))
    files: dict[str, Content] = {**bundle.files, CARD_FILE: bundle.card(address).encode()}
    files[SUMS_FILE] = sums_text({path: content_sha256(content) for path, content in files.items()}).encode()
    files = {f"{place}/{path}": content for path, content in files.items()}
    gone = sorted(path for path in base.files if path.startswith(f"{place}/") and path not in files)
    same = not gone and all(base.has(path, content) for path, content in files.items())
    return ContributionPlan(
        repository, name, bundle, message.strip(), files, tuple(gone), base, number, unchanged=same
    )


def _description(plan: ContributionPlan) -> str:
    """The pull request's text."""
    what = f"{plan.bundle.title}: {plan.bundle.about}."
    made = f"Written by superanimal-zoo {package_version()}."
    card = f"Its card: `{CONTRIBUTIONS}/{plan.name}/{CARD_FILE}`. {made}"
    return "\n\n".join(filter(None, [what, plan.message, card]))
