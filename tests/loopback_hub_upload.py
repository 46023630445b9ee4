"""A Hub on this machine that can be written to, for the unmodified `huggingface_hub` client.

    with UploadHub({"hf_ann": "ann"}) as hub:
        # run a client with HF_ENDPOINT = hub.endpoint, HF_TOKEN = "hf_ann" and HF_HUB_DISABLE_XET = 1
        hub.repositories["ann/mice"].commits

It speaks what `create_repo`, `create_commit` and `create_tag` use of the real Hub: repository creation, the
check of a card's metadata, preupload, git-lfs's batch API with its basic transfer, verification, the commit
as ndjson with a parent that must be the head, and tags that are never moved. Uploading with Xet, the client's
default, is another protocol; the client is told to leave it with HF_HUB_DISABLE_XET, as its manual says.
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
class UploadSwitches:
    """How writing goes wrong.

    Attributes:
        break_upload_after: For each of the next uploads to the storage: bytes after which the connection is
            reset, or None to take it whole.
        full: There is no room in the account.
        before_commit: Called before each commit is looked at: what another writer does meanwhile.
        commit_statuses: Of each of the next commits instead of taking it, e.g. 500.
    """

    break_upload_after: list[int | None] = field(default_factory=list)
    full: bool = False
    before_commit: list[Callable[[], object]] = field(default_factory=list)
    commit_statuses: list[int] = field(default_factory=list)


class UploadHub(LoopbackHub):
    """A Hub with accounts.

    Attributes:
        accounts: Token -> the name whose repositories it may write; "" for a token that may only read.
        uploads: How writing goes wrong.
        received: (digest, number of bytes) of each upload to the storage, broken ones too.
    """

    def __init__(self, accounts: Mapping[str, str]) -> None:
        super().__init__()
        self.accounts = dict(accounts)
        self.uploads = UploadSwitches()
        self.received: list[tuple[str, int]] = []
        self.writing = threading.Lock()

    def handlers(self) -> tuple[type[_Handler], type[_Handler]]:
        """What answers at the Hub's and at the storage's address."""
        return _WritableHub, _WritableStorage


class _WritableHub(_HubHandler):
    """The Hub proper, with writing."""

    _API = _HubHandler.API
    routes = (
        ("POST", r"/api/repos/create", "create"),
        ("POST", r"/api/validate-yaml", "validate"),
        ("POST", rf"{_API}/preupload/(?P<revision>[^/]+)", "preupload"),
        ("POST", rf"{_API}/commit/(?P<revision>[^/]+)", "take_commit"),
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

    def _may_write(self, owner: str) -> bool:
        """Whether the request's token may write there; refuses it if not."""
        said = self.headers.get("Authorization", "")
        name = self.hub.accounts.get(said.removeprefix("Bearer "))
        if name is None:
            message = (
                "Invalid credentials in Authorization header" if said else "Invalid username or password."
            )
            self._refuse(401, "", message)
        elif name != owner:
            self._refuse(403, "", f'You don\'t have the rights to write to the namespace "{owner}"')
        return name == owner

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
        held = self._writable(kind, name)
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
        held = self._writable(kind, name)
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
            changed, deleted = self._operations(lines[1:])
            commit = self.hub.commit(repository_key(kind, name), changed, revision)
            for path in deleted:
                held.commits[commit].pop(path)
        url = f"{self.hub.endpoint}/{name}/commit/{commit}"
        self.answer(200, json_body={"success": True, "commitOid": commit, "commitUrl": url, "hookOutput": ""})

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

    def _writable(self, kind: str, name: str) -> Repository | None:
        """The repository, if the token may write there; None after the refusal has been sent."""
        held = self.hub.repositories.get(repository_key(kind, name))
        if not self._may_write(name.split("/")[0]):
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
