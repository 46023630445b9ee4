"""A repository on the Hub as it is now: its head, its files with what they hash to, its tags.

What is to be written is compared with it by these hashes, so that nothing that is there already is sent
again, and each commit names the head that it was made from, so that nothing of anybody's is overwritten.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from hub_cards.bundles import CHANGELOG, Content
from superset_vocab.files import sha256_of
from zoo.checksums import SUMS_FILE, read_sums

HUBS_OWN = {".gitattributes"}
"""What the Hub itself puts into a new repository."""


@dataclass(frozen=True)
class Remote:
    """A repository as it was looked at.

    Attributes:
        head: Commit of the branch.
        private: Whether the public may not see it.
        files: Path -> (SHA-256, "") of a large file, or ("", git's name) of a small one.
        tags: Tag -> commit.
        changelog: Its text, "" if there is none.
        published: The files that publishing wrote there, by its SHA256SUMS; none if it has not.
    """

    head: str
    private: bool
    files: dict[str, tuple[str, str]]
    tags: dict[str, str]
    changelog: str
    published: frozenset[str] = frozenset()

    def has(self, name: str, content: Content) -> bool:
        """Whether it has a file of this name with this content."""
        if name not in self.files:
            return False
        sha256, blob = self.files[name]
        return sha256 == content_sha256(content) if sha256 else blob == _git_name(content)


def look(repository: str, kind: str, revision: str = "main") -> Remote | None:
    """A repository on the Hub; None if there is none that this token sees. Errors are the client's own.

    Args:
        repository: "owner/name".
        kind: "model" or "dataset".
        revision: Branch, or "refs/pr/N" of a pull request.
    """
    from huggingface_hub import HfApi
    from huggingface_hub.errors import RepositoryNotFoundError
    from huggingface_hub.hf_api import RepoFile

    api = HfApi(library_name="superanimal-zoo")
    try:
        info = api.repo_info(repository, repo_type=kind, revision=revision)
    except RepositoryNotFoundError:
        return None
    head = str(info.sha)
    found = api.list_repo_tree(repository, recursive=True, revision=head, repo_type=kind)
    entries = [entry for entry in found if isinstance(entry, RepoFile)]
    files = {e.path: (e.lfs.sha256, "") if e.lfs is not None else ("", e.blob_id) for e in entries}
    tags = {tag.name: tag.target_commit for tag in api.list_repo_refs(repository, repo_type=kind).tags}
    small = {
        name: Path(api.hf_hub_download(repository, name, revision=head, repo_type=kind))
        for name in (CHANGELOG, SUMS_FILE)
        if name in files
    }
    changelog = small[CHANGELOG].read_text(encoding="utf-8") if CHANGELOG in small else ""
    published = frozenset(read_sums(small[SUMS_FILE])) if SUMS_FILE in small else frozenset()
    return Remote(head, bool(info.private), files, tags, changelog, published)


def file_lines(files: Mapping[str, Content], deleted: Sequence[str], left_out: Sequence[str]) -> list[str]:
    """What is to be written, taken away, and not published, in lines for a reader."""
    lines = [f"  {name}  {_size(content)} bytes" for name, content in sorted(files.items())]
    lines += [f"  {name}  is not in it any more" for name in deleted]
    return lines + [f"  {name}  stays here" for name in left_out]


def content_sha256(content: Content) -> str:
    """SHA-256 of a file that is to be written, hexadecimal."""
    return sha256_of(content) if isinstance(content, Path) else hashlib.sha256(content).hexdigest()


def _size(content: Content) -> int:
    return content.stat().st_size if isinstance(content, Path) else len(content)


def _git_name(content: Content) -> str:
    """Git's own name for a file with this content."""
    data = content.read_bytes() if isinstance(content, Path) else content
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()
