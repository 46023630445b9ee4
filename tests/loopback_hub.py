"""A Hugging Face Hub on this machine, for the unmodified `huggingface_hub` client.

    with LoopbackHub() as hub:
        commit = hub.commit("owner/name", {"model.pt": b"..."})
        # run a client with HF_ENDPOINT = hub.endpoint
        hub.asked("GET", "model.pt")                        # the requests that came

It answers what the client asks of the real Hub: `/{repository}/resolve/{revision}/{file}` with commit, ETag
and size in the headers, `/api/models/{repository}[/revision/{revision}]`, its tree and its refs, the same for
data sets (whose names here begin with "datasets/"), and a search. Writing is in `loopback_hub_upload`. As
there, weight files are not served by the Hub itself: it redirects to a storage of another address (another
port here), where ranges of a file can be asked for. Switches make it fail the way networks do. A new
endpoint is one more method of `_HubHandler` and one more line in its `routes`.
"""

from __future__ import annotations

import hashlib
import json
import re
import socket
import struct
import sys
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar
from urllib.parse import parse_qs, unquote, urlsplit

import yaml

# What the Hub keeps as large files, by its .gitattributes.
_STORED = (".pt", ".safetensors", ".h5", ".bin", ".png", ".jpg")


@dataclass(frozen=True)
class Asked:
    """A request that came.

    Attributes:
        method, path: Of the request; the path without its query.
        range: Its Range header, "" if it has none.
        authorized: Whether it carried a token.
        status: Of the answer.
        file: Name of the file it was for, "" if for none.
        n_sent: Bytes of the answer's body that were sent.
    """

    method: str
    path: str
    range: str
    authorized: bool
    status: int
    file: str
    n_sent: int


@dataclass
class Repository:
    """A repository: commits with the files of each, and where branches and tags are.

    Attributes:
        commits: Commit hash -> path -> content.
        refs: Branch or tag -> commit hash.
        tags: Those of the refs that are tags.
        gated: Only who has been let in may download; nobody has.
        token: The only token that sees the repository; "" for a public one.
    """

    commits: dict[str, dict[str, bytes]] = field(default_factory=dict)
    refs: dict[str, str] = field(default_factory=dict)
    tags: set[str] = field(default_factory=set)
    gated: bool = False
    token: str = ""

    def commit_of(self, revision: str) -> str | None:
        """The commit that a branch, tag or commit hash stands for, or None."""
        return self.refs.get(revision, revision if revision in self.commits else None)


@dataclass
class Switches:
    """How the Hub misbehaves.

    Attributes:
        break_after: For each of the next answers with a file's content: bytes after which the connection is
            closed, or None to send it whole.
        reset: Break with a reset (RST) instead of an orderly end.
        statuses: Of each of the next answers instead of the proper one, e.g. 503.
        silent: Never answer.
    """

    break_after: list[int | None] = field(default_factory=list)
    reset: bool = False
    statuses: list[int] = field(default_factory=list)
    silent: bool = False


class LoopbackHub:
    """A Hub on 127.0.0.1, serving until the end of its `with` block."""

    def handlers(self) -> tuple[type[_Handler], type[_Handler]]:
        """What answers at the Hub's and at the storage's address."""
        return _HubHandler, _StorageHandler

    def __init__(self) -> None:
        self.repositories: dict[str, Repository] = {}
        self.stored: dict[str, bytes] = {}
        self.switches = Switches()
        self.requests: list[Asked] = []
        self.closing = threading.Event()
        self._lock = threading.Lock()
        self._servers = [_Server(self, handler) for handler in self.handlers()]
        self.endpoint, self.storage = (server.address for server in self._servers)

    def __enter__(self) -> LoopbackHub:
        for server in self._servers:
            threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.closing.set()
        for server in self._servers:
            server.shutdown()
            server.server_close()

    def commit(self, repository: str, files: Mapping[str, bytes], branch: str = "main") -> str:
        """Add or replace files on a branch of a repository, which is made if need be.

        Returns:
            The hash of the new commit.
        """
        held = self.repositories.setdefault(repository, Repository())
        parent = held.refs.get(branch, "")
        content = {**held.commits.get(parent, {}), **files}
        names = json.dumps([parent, sorted((name, _sha256(data)) for name, data in content.items())])
        held.refs[branch] = hashlib.sha1(names.encode()).hexdigest()
        held.commits[held.refs[branch]] = content
        self.stored |= {_sha256(data): data for data in files.values()}
        return held.refs[branch]

    def asked(self, method: str = "", file: str = "") -> list[Asked]:
        """The requests that came, of one method or for one file."""
        with self._lock:
            return [r for r in self.requests if method in ("", r.method) and file in ("", r.file)]

    def note(self, request: Asked) -> None:
        """Remember a request."""
        with self._lock:
            self.requests.append(request)

    def next_status(self) -> int:
        """The status to answer with instead of the proper one, 0 for none."""
        with self._lock:
            return self.switches.statuses.pop(0) if self.switches.statuses else 0

    def next_break(self) -> int | None:
        """After how many bytes the content that is being sent breaks off."""
        with self._lock:
            return self.switches.break_after.pop(0) if self.switches.break_after else None


class _Server(ThreadingHTTPServer):
    """One of the two addresses."""

    daemon_threads = True

    def __init__(self, hub: LoopbackHub, handler: type[_Handler]) -> None:
        super().__init__(("127.0.0.1", 0), handler)
        self.hub = hub
        self.address = f"http://127.0.0.1:{self.server_address[1]}"

    def handle_error(self, *request: Any) -> None:
        """A client that went away is no error."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(*request)


class _Handler(BaseHTTPRequestHandler):
    """Finds the route of a request, answers, and notes both."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    routes: ClassVar[
        tuple[tuple[str, str, str], ...]
    ] = ()  # methods, pattern of the path, name of the method
    server: _Server

    def _route(self) -> None:
        hub, path = self.server.hub, unquote(urlsplit(self.path).path)
        self.file = ""
        if hub.switches.silent:
            hub.closing.wait(60)
            self.close_connection = True
            return
        for methods, pattern, name in self.routes:
            found = re.fullmatch(pattern, path)
            if found and self.command in methods.split():
                if found.groupdict() and (status := hub.next_status()):
                    self.answer(status, json_body={"error": "as the test wants it"})
                    return
                action: Callable[..., None] = getattr(self, name)
                action(**found.groupdict())
                return
        self.answer(404, json_body={"error": f"no route for {self.command} {path}"})

    def _read_body(self) -> bytes:
        """The request's body, whose length is stated or which comes in chunks."""
        if self.headers.get("Transfer-Encoding", "").lower() != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length", 0)))
        parts = []
        while size := int(self.rfile.readline(), 16):
            parts.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(parts)

    do_GET = do_HEAD = do_POST = do_PUT = _route  # noqa: N815 - the names that http.server calls

    def answer(
        self, status: int, headers: Mapping[str, str] | None = None, body: bytes = b"", json_body: Any = None
    ) -> None:
        """Send an answer; of a HEAD only the headers."""
        if json_body is not None:
            body, headers = (
                json.dumps(json_body).encode(),
                {"Content-Type": "application/json", **(headers or {})},
            )
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        n_sent = 0 if self.command == "HEAD" else self._send(body, breakable=bool(self.file) and status < 300)
        path, token = urlsplit(self.path).path, "Authorization" in self.headers
        wanted = self.headers.get("Range", "")
        self.server.hub.note(Asked(self.command, path, wanted, token, status, self.file, n_sent))

    def _send(self, body: bytes, breakable: bool) -> int:
        """Send a body, or as much of it as the switches let through; gives the number of bytes."""
        end = self.server.hub.next_break() if breakable else None
        self.wfile.write(body[:end])
        if end is not None:
            self.close_connection = True
            if self.server.hub.switches.reset:
                # An end without lingering: the client sees "connection reset by peer".
                self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                socket.close(self.connection.detach())
        return len(body[:end])

    def log_message(self, *_: object) -> None:
        """Be quiet."""


class _HubHandler(_Handler):
    """The Hub proper: what there is, not the large files themselves."""

    _REPOSITORY = r"(?P<repository>(?:datasets/)?[^/]+/[^/]+)"
    API = r"/api/(?P<kind>models|datasets)/(?P<name>[^/]+/[^/]+)"
    REVISION = r"(?P<revision>refs/pr/\d+|[^/]+)"
    routes = (
        ("GET HEAD", rf"/{_REPOSITORY}/resolve/{REVISION}/(?P<file>.+)", "resolve"),
        ("GET", rf"{API}/revision/{REVISION}", "info"),
        ("GET", rf"{API}/tree/{REVISION}", "tree"),
        ("GET", rf"{API}/refs", "refs"),
        ("GET", API, "info"),
        ("GET", r"/api/models", "search"),
        ("GET", r"/api/agent-harnesses", "harnesses"),
    )

    def resolve(self, repository: str, revision: str, file: str) -> None:
        """A file: a small one itself, of a large one where it is stored."""
        held, commit = self._commit(repository, revision)
        if held is None or commit is None:
            return
        self.file = file
        if held.gated:
            self._refuse(403, "GatedRepo", f"Access to model {repository} is restricted.")
        elif file not in held.commits[commit]:
            self._refuse(404, "EntryNotFound", "Entry not found", {"X-Repo-Commit": commit})
        else:
            self._deliver(held.commits[commit][file], {"X-Repo-Commit": commit})

    def _deliver(self, content: bytes, headers: dict[str, str]) -> None:
        if self.file.endswith(_STORED):
            digest = _sha256(content)
            headers |= {"X-Linked-ETag": f'"{digest}"', "X-Linked-Size": str(len(content))}
            headers["Location"] = f"{self.server.hub.storage}/{digest}/{self.file}"
            self.answer(302, headers)
        else:
            blob = git_name(content)
            self.answer(200, {**headers, "ETag": f'"{blob}"', "Accept-Ranges": "bytes"}, content)

    def info(self, kind: str, name: str, revision: str = "main") -> None:
        """What is in a repository."""
        held, commit = self._commit(repository_key(kind, name), revision)
        if held is not None and commit is not None:
            self.answer(200, json_body=_about(name, held, commit))

    def tree(self, kind: str, name: str, revision: str) -> None:
        """The files of a revision, with what they hash to."""
        held, commit = self._commit(repository_key(kind, name), revision)
        if held is not None and commit is not None:
            self.answer(200, json_body=[_entry(*file) for file in sorted(held.commits[commit].items())])

    def refs(self, kind: str, name: str) -> None:
        """Branches and tags."""
        held, _ = self._commit(repository_key(kind, name), "main")
        if held is not None:
            found: dict[str, list[dict[str, str]]] = {"branches": [], "converts": [], "tags": []}
            for ref, commit in held.refs.items():
                if ref.startswith("refs/pr/"):
                    continue
                group, place = ("tags", "tags") if ref in held.tags else ("branches", "heads")
                found[group].append({"name": ref, "ref": f"refs/{place}/{ref}", "targetCommit": commit})
            self.answer(200, json_body=found)

    def search(self) -> None:
        """The public models that have all the tags asked for."""
        wanted = set(parse_qs(urlsplit(self.path).query).get("filter", []))
        found = [
            _about(name, held, held.refs["main"])
            for name, held in sorted(self.server.hub.repositories.items())
            if not name.startswith("datasets/") and not held.token
        ]
        self.answer(200, json_body=[about for about in found if wanted <= set(about["tags"])])

    def harnesses(self) -> None:
        """None; the client asks once a day, and waits long for it where nobody answers."""
        self.answer(200, json_body={"standardEnvVars": [], "harnesses": {}})

    def _commit(self, repository: str, revision: str) -> tuple[Repository | None, str | None]:
        """The repository and the commit, each None after the refusal has been sent."""
        held = self.server.hub.repositories.get(repository)
        if held is None:
            self._refuse(404, "RepoNotFound", "Repository not found")
            return None, None
        if held.token and self.headers.get("Authorization") != f"Bearer {held.token}":
            self._refuse(401, "", "Invalid username or password.")
            return None, None
        commit = held.commit_of(revision)
        if commit is None:
            self._refuse(404, "RevisionNotFound", f"Invalid rev id: {revision}")
        return held, commit

    def _refuse(self, status: int, code: str, message: str, headers: Mapping[str, str] | None = None) -> None:
        errors = {"X-Error-Message": message, **({"X-Error-Code": code} if code else {}), **(headers or {})}
        self.answer(status, errors, json_body={"error": message})


def repository_key(kind: str, name: str) -> str:
    """The name under which a repository is kept: models by their own, data sets below "datasets/"."""
    return name if kind == "models" else f"datasets/{name}"


def git_name(content: bytes) -> str:
    """Git's own name for a file."""
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


def is_large(file: str) -> bool:
    """Whether the Hub keeps a file in its storage."""
    return file.endswith(_STORED)


def card_metadata(files: Mapping[str, bytes]) -> dict[str, Any]:
    """The metadata of a repository's card, {} without one."""
    found = re.match(r"---\n(.*?)\n---\n", files.get("README.md", b"").decode(), re.DOTALL)
    return yaml.safe_load(found[1]) if found else {}


def _about(name: str, held: Repository, commit: str) -> dict[str, Any]:
    """What the Hub says of a repository; its tags are the card's, and its licence."""
    files, card = held.commits[commit], card_metadata(held.commits[commit])
    tags = [*card.get("tags", []), *([f"license:{card['license']}"] if "license" in card else [])]
    about = {
        "id": name,
        "modelId": name,
        "sha": commit,
        "siblings": [{"rfilename": n} for n in sorted(files)],
    }
    about |= {"private": bool(held.token), "gated": held.gated, "tags": tags, "cardData": card}
    return about | {"pipeline_tag": card.get("pipeline_tag"), "lastModified": "2026-11-24T15:00:00.000Z"}


def _entry(path: str, content: bytes) -> dict[str, Any]:
    """A file in a tree."""
    entry: dict[str, Any] = {"type": "file", "path": path, "size": len(content), "oid": git_name(content)}
    if is_large(path):
        entry["lfs"] = {"oid": _sha256(content), "size": len(content), "pointerSize": 134}
    return entry


class _StorageHandler(_Handler):
    """Where large files are, by their SHA-256."""

    routes = (("GET HEAD", r"/(?P<digest>[0-9a-f]{64})/(?P<file>.+)", "content"),)

    def content(self, digest: str, file: str) -> None:
        """A file, or the rest of it."""
        content = self.server.hub.stored.get(digest)
        if content is None:
            self.answer(404)
            return
        self.file = file
        headers = {"ETag": f'"{digest}"', "Accept-Ranges": "bytes"}
        wanted = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        if wanted is None:
            self.answer(200, headers, content)
            return
        start, size = int(wanted[1]), len(content)
        end = min(int(wanted[2] or size), size - 1)
        if start > end:
            self.answer(416, {"Content-Range": f"bytes */{size}"})
            return
        headers["Content-Range"] = f"bytes {start}-{end}/{size}"
        self.answer(206, headers, content[start : end + 1])


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
