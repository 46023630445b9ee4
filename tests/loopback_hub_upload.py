"""A Hub on this machine that can be written to, for the unmodified `huggingface_hub` client.

    with UploadHub({"hf_ann": "ann"}) as hub:
        # run a client with HF_ENDPOINT = hub.endpoint, HF_TOKEN = "hf_ann" and HF_HUB_DISABLE_XET = 1
        hub.repositories["ann/mice"].commits

It speaks what `create_repo`, `create_commit` and `create_tag` use of the real Hub: repository creation, the
check of a card's metadata, preupload, git-lfs's batch API with its basic transfer, verification, the commit
as ndjson with a parent that must be the head, and tags that are never moved. Who may not write to a
repository may open a pull request: a commit with create_pr, which makes the branch refs/pr/N. Uploading with
Xet, the client's default, is another protocol; the client is told to leave it with HF_HUB_DISABLE_XET, as its
manual says.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, urlsplit

import yaml
from loopback_hub import (
    LoopbackHub,
    Repository,
    _Handler,
    _HubHandler,
    _StorageHandler,
    git_name,
    is_large,
    repository_key,
)

# https://huggingface.co/docs/hub/repositories-licenses, those that occur here
_LICENCES = {
    *("apache-2.0", "mit", "cc-by-4.0", "cc-by-nc-4.0", "cc0-1.0", "agpl-3.0", "gpl-3.0", "bsd-3-clause"),
    *("other", "unknown"),
}
_TASKS = {"keypoint-detection", "object-detection", "image-classification"}


@dataclass
class PullRequest:
    """A pull request: the branch refs/pr/`number`, and what is said of it."""

    number: int
    title: str
    description: str
    author: str
    status: str = "open"


@dataclass
class UploadSwitches:
    """How writing goes wrong.

    Attributes:
        break_upload_after: For each of the next uploads to the storage: bytes after which the connection is
            reset, or None to take it whole.
        full: There is no room in the account.
        before_commit: Called before each commit is looked at: what another writer does meanwhile.
        commit_statuses: Of each of the next commits instead of taking it, e.g. 500.
        no_pull_requests: Nobody wants any.
        lose_answers: So many of the next commits are taken, but their answer is lost.
    """

    break_upload_after: list[int | None] = field(default_factory=list)
    full: bool = False
    before_commit: list[Callable[[], object]] = field(default_factory=list)
    commit_statuses: list[int] = field(default_factory=list)
    no_pull_requests: bool = False
    lose_answers: int = 0


class UploadHub(LoopbackHub):
    """A Hub with accounts.

    Attributes:
        accounts: Token -> the name whose repositories it may write; "" for a token that may only read.
        uploads: How writing goes wrong.
        received: (digest, number of bytes) of each upload to the storage, broken ones too.
        pull_requests: Repository -> its pull requests.
    """

    def __init__(self, accounts: Mapping[str, str]) -> None:
        super().__init__()
        self.accounts = dict(accounts)
        self.uploads = UploadSwitches()
        self.received: list[tuple[str, int]] = []
        self.pull_requests: dict[str, list[PullRequest]] = {}
        self.writing = threading.Lock()

    def merge(self, repository: str, number: int) -> None:
        """What the owner does who takes a pull request."""
        held = self.repositories[repository]
        held.refs["main"] = held.refs[f"refs/pr/{number}"]
        self.pull_requests[repository][number - 1].status = "merged"

    def handlers(self) -> tuple[type[_Handler], type[_Handler]]:
        """What answers at the Hub's and at the storage's address."""
        return _WritableHub, _WritableStorage


class _WritableHub(_HubHandler):
    """The Hub proper, with writing."""

    _API, _REVISION = _HubHandler.API, _HubHandler.REVISION
    routes = (
        ("GET", r"/api/whoami-v2", "whoami"),
        ("GET", rf"{_API}/discussions", "discussions"),
        ("POST", r"/api/repos/create", "create"),
        ("POST", r"/api/validate-yaml", "validate"),
        ("POST", rf"{_API}/preupload/{_REVISION}", "preupload"),
        ("POST", rf"{_API}/commit/{_REVISION}", "take_commit"),
        ("POST", rf"{_API}/tag/(?P<revision>[^/]+)", "tag"),
        ("POST", r"/(?P<repository>(?:datasets/)?[^/]+/[^/]+)\.git/info/lfs/objects/batch", "batch"),
        ("POST", r"/api/verify", "verify"),
        *_HubHandler.routes,
    )

    @property
    def hub(self) -> UploadHub:
        hub = self.server.hub
        assert isinstance(hub, UploadHub)
        return hub

    def _take(self) -> None:
        """Read what was sent, also where it is refused: the connection goes on after it."""
        self.body = self._read_body()
        self._route()

    do_POST = _take  # noqa: N815 - the name that http.server calls

    def _json(self) -> Any:
        return json.loads(self.body)

    def _account(self) -> str | None:
        """Whose the request's token is; None after the refusal has been sent."""
        said = self.headers.get("Authorization", "")
        name = self.hub.accounts.get(said.removeprefix("Bearer "))
        if name is None:
            message = (
                "Invalid credentials in Authorization header" if said else "Invalid username or password."
            )
            self._refuse(401, "", message)
        return name

    def _may_write(self, owner: str) -> bool:
        """Whether the request's token may write there; refuses it if not."""
        name = self._account()
        if name not in (None, owner):
            self._refuse(403, "", f'You don\'t have the rights to write to the namespace "{owner}"')
        return name == owner

    def _may_propose(self, repository: str, revision: str) -> bool:
        """Whether the request's token may open a pull request there, or go on with that one."""
        name = self._account()
        if name is None:
            return False
        opened = {f"refs/pr/{p.number}": p.author for p in self.hub.pull_requests.get(repository, [])}
        if self.hub.uploads.no_pull_requests and revision not in opened:
            self._refuse(403, "", "Discussions are disabled for this repo")
        elif not name or opened.get(revision, name) not in (name, repository.split("/")[-2]):
            self._refuse(403, "", "Forbidden: you must use a write token to open or change a pull request")
        else:
            return True
        return False

    @property
    def _query(self) -> dict[str, list[str]]:
        return parse_qs(urlsplit(self.path).query)

    def whoami(self) -> None:
        """Whose token it is."""
        if (name := self._account()) is not None:
            self.answer(200, json_body={"type": "user", "name": name or "reader"})

    def discussions(self, kind: str, name: str) -> None:
        """Pull requests of a repository, the newest first; a page of two."""
        key, asked = repository_key(kind, name), self._query
        authors = asked.get("author", [])
        found = [
            one
            for one in reversed(self.hub.pull_requests.get(key, []))
            if one.author in authors or not authors
        ]
        start = 2 * int(asked["p"][0])
        page = [
            {
                "num": one.number,
                "title": one.title,
                "status": one.status,
                "author": {"name": one.author},
                "isPullRequest": True,
                "createdAt": "2026-11-24T15:00:00.000Z",
                "repo": {"name": name, "type": kind.removesuffix("s")},
            }
            for one in found[start : start + 2]
        ]
        self.answer(200, json_body={"discussions": page, "count": len(found), "start": start})

    def create(self) -> None:
        """A new repository, with the one commit that the Hub itself makes."""
        asked = self._json()
        owner, kind = asked.get("organization") or "", f"{asked.get('type', 'model')}s"
        if not self._may_write(owner):
            return
        name = f"{owner}/{asked['name']}"
        key = repository_key(kind, name)
        with self.hub.writing:
            if key in self.hub.repositories:
                self._refuse(409, "", "You already created this repo")
                return
            self.hub.commit(key, {".gitattributes": b"*.safetensors filter=lfs\n"})
        if asked.get("visibility") == "private":
            self.hub.repositories[key].token = self.headers["Authorization"].removeprefix("Bearer ")
        self.answer(200, json_body={"url": f"{self.hub.endpoint}/{key}", "name": name})

    def validate(self) -> None:
        """The Hub's check of a card's metadata."""
        asked = self._json()
        found = re.match(r"---\n(.*?)\n---\n", asked["content"], re.DOTALL)
        if found is None:
            self.answer(
                200, json_body={"errors": [], "warnings": [{"message": "empty or missing yaml metadata"}]}
            )
            return
        problems = metadata_problems(yaml.safe_load(found[1]), asked["repoType"])
        errors = [{"message": problem} for problem in problems]
        self.answer(400 if errors else 200, json_body={"errors": errors, "warnings": []})

    def preupload(self, kind: str, name: str, revision: str) -> None:
        """Which files go to the storage, and what is there already under their names."""
        held = self._writable(kind, name, revision)
        if held is None:
            return
        files = held.commits[held.refs[revision]]
        entries = []
        for file in self._json()["files"]:
            path, old = file["path"], files.get(file["path"])
            large = is_large(path) or file["size"] > 10 * 2**20
            entry = {"path": path, "uploadMode": "lfs" if large else "regular", "shouldIgnore": False}
            if old is not None:
                entry["oid"] = hashlib.sha256(old).hexdigest() if large else git_name(old)
            entries.append(entry)
        self.answer(200, json_body={"files": entries})

    def batch(self, repository: str) -> None:
        """git-lfs: where each object goes, or nothing for one that is there."""
        asked = self._json()
        if self.hub.uploads.full:
            message = (
                "Private repository storage limit reached, please upgrade your plan to increase your limit."
            )
            self._refuse(403, "", message)
            return
        objects = []
        for one in asked["objects"]:
            answer = {"oid": one["oid"], "size": one["size"]}
            if one["oid"] not in self.hub.stored:
                answer["actions"] = {
                    "upload": {"href": f"{self.hub.storage}/upload/{one['oid']}"},
                    "verify": {"href": f"{self.hub.endpoint}/api/verify"},
                }
            objects.append(answer)
        self.answer(200, json_body={"transfer": "basic", "objects": objects})

    def verify(self) -> None:
        """Whether an upload has arrived whole."""
        asked = self._json()
        content = self.hub.stored.get(asked["oid"])
        self.answer(200 if content is not None and len(content) == asked["size"] else 404, json_body={})

    def take_commit(self, kind: str, name: str, revision: str) -> None:
        """A commit in lines of JSON, on top of the parent that it names, which must be the head."""
        held = self._writable(kind, name, revision)
        if held is None:
            return
        lines = [json.loads(line) for line in self.body.splitlines()]
        if self.hub.uploads.before_commit:
            self.hub.uploads.before_commit.pop(0)()
        if self.hub.uploads.commit_statuses:
            self._refuse(self.hub.uploads.commit_statuses.pop(0), "", "as the test wants it")
            return
        with self.hub.writing:
            head = held.refs[revision]
            parent = lines[0]["value"].get("parentCommit", head)
            if parent != head:
                self._refuse(412, "", "A commit has happened since. Please refresh and try again.")
                return
            key, answer = repository_key(kind, name), {"success": True, "hookOutput": ""}
            if "create_pr" in self._query:
                revision = self._opened(key, head, lines[0]["value"])
                answer["pullRequestUrl"] = f"{self.hub.endpoint}/{key}/discussions/{revision.split('/')[-1]}"
            changed, deleted = self._operations(lines[1:])
            commit = self.hub.commit(key, changed, revision)
            for path in deleted:
                held.commits[commit].pop(path)
        if self.hub.uploads.lose_answers:
            self.hub.uploads.lose_answers -= 1
            self.close_connection = True
            return
        url = f"{self.hub.endpoint}/{key}/commit/{commit}"
        self.answer(200, json_body={**answer, "commitOid": commit, "commitUrl": url})

    def _opened(self, repository: str, parent: str, said: dict[str, str]) -> str:
        """A new pull request; gives its branch."""
        author = self.hub.accounts[self.headers["Authorization"].removeprefix("Bearer ")]
        opened = self.hub.pull_requests.setdefault(repository, [])
        opened.append(PullRequest(len(opened) + 1, said["summary"], said.get("description", ""), author))
        revision = f"refs/pr/{len(opened)}"
        self.hub.repositories[repository].refs[revision] = parent
        return revision

    def _operations(self, lines: list[dict[str, Any]]) -> tuple[dict[str, bytes], list[str]]:
        """The files that a commit adds, and those that it deletes."""
        changed, deleted = {}, []
        for line in lines:
            key, value = line["key"], line["value"]
            if key == "file":
                changed[value["path"]] = base64.b64decode(value["content"])
            elif key == "lfsFile":
                changed[value["path"]] = self.hub.stored[value["oid"]]
            elif key == "deletedFile":
                deleted.append(value["path"])
        return changed, deleted

    def tag(self, kind: str, name: str, revision: str) -> None:
        """A name for a commit; one that is taken is not moved."""
        held = self._writable(kind, name)
        if held is None:
            return
        tag = self._json()["tag"]
        with self.hub.writing:
            if tag in held.refs:
                self._refuse(409, "", f"Tag {tag} already exists")
                return
            held.refs[tag] = held.refs.get(revision, revision)
            held.tags.add(tag)
        self.answer(200, json_body={})

    def _writable(self, kind: str, name: str, revision: str = "main") -> Repository | None:
        """The repository, if the token may write there; None after the refusal has been sent."""
        key = repository_key(kind, name)
        held = self.hub.repositories.get(key)
        if "create_pr" in self._query or revision.startswith("refs/pr/"):
            if not self._may_propose(key, revision):
                return None
        elif not self._may_write(name.split("/")[0]):
            return None
        if held is None:
            self._refuse(404, "RepoNotFound", "Repository not found")
        return held


class _WritableStorage(_StorageHandler):
    """Where large files are put, by their SHA-256."""

    routes = (("PUT", r"/upload/(?P<digest>[0-9a-f]{64})", "put"), *_StorageHandler.routes)

    def put(self, digest: str) -> None:
        """A file; it is kept only when it is whole."""
        hub = self.server.hub
        assert isinstance(hub, UploadHub)
        switches = hub.uploads.break_upload_after
        end = switches.pop(0) if switches else None
        if end is not None:
            hub.received.append((digest, len(self.rfile.read(end))))
            self.close_connection = True
            return
        content = self._read_body()
        hub.received.append((digest, len(content)))
        if hashlib.sha256(content).hexdigest() != digest:
            self.answer(400)
            return
        hub.stored[digest] = content
        self.answer(200)


def metadata_problems(data: Any, kind: str) -> list[str]:
    """What the Hub finds wrong with a card's metadata, as far as its documentation says."""
    if not isinstance(data, dict):
        return ["YAML metadata is no object"]
    licences = data.get("license", [])
    problems = [
        f'"license" must be one of the known ones, got {licence!r}'
        for licence in (licences if isinstance(licences, list) else [licences])
        if licence not in _LICENCES
    ]
    tasks = [data["pipeline_tag"]] if "pipeline_tag" in data else data.get("task_categories", [])
    problems += [f"{task!r} is no task of the Hub" for task in tasks if task not in _TASKS]
    if (
        data.get("license_link", "LICENSE") not in ("LICENSE", "LICENSE.md")
        and "://" not in data["license_link"]
    ):
        problems.append('"license_link" must be a URL, LICENSE or LICENSE.md')
    tags = data.get("tags", [])
    if not isinstance(tags, list) or not all(isinstance(tag, str) for tag in tags):
        problems.append('"tags" must be an array of strings')
    if kind == "model":
        for model in data.get("model-index", []):
            for result in model["results"]:
                if not {"task", "dataset", "metrics"} <= set(result):
                    problems.append('"model-index" results need task, dataset and metrics')
    return problems
