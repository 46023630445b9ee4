"""Downloads through the unmodified Hugging Face client, from a Hub on this machine.

The client reads its settings when it is imported, so each download is a process of its own, with warnings
as errors; what the Hub was asked is counted.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shlex
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from loopback_hub import LoopbackHub

from superset_vocab import InputError
from zoo.hub import cached, fetch

REPOSITORY = "animals/pose"
MIB = 2**20
# In chunks of 10 MiB the client writes what it has received; what breaks within one is asked for again.
CHUNK = 10 * MIB

CLIENT = """
import json, sys, time
import huggingface_hub.file_download
from superset_vocab import InputError
from zoo import hub
for call, *arguments in json.loads(sys.argv[1]):
    start = time.perf_counter()
    try:
        said = {"path": str(getattr(hub, call)(*arguments) or "")}
    except InputError as error:
        said = {"error": str(error), "passing": isinstance(error, hub.NotReachableError)}
    print(json.dumps({**said, "seconds": time.perf_counter() - start}))
"""


def data(n_bytes: int, seed: int = 0) -> bytes:
    return np.random.default_rng(seed).bytes(n_bytes)


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


@dataclass
class Result:
    """What a call gave; `passing` says whether its error may pass by itself (NotReachableError)."""

    path: Path | None = None
    error: str = ""
    seconds: float = 0.0
    passing: bool = False


@dataclass
class Client:
    """Runs `zoo.hub` in processes that share one cache."""

    home: Path
    endpoint: str

    def __call__(self, *arguments: str, setup: str = "", **environment: str) -> Result:
        """One call: the function's name and its arguments."""
        return self.each(arguments, setup=setup, **environment)[0]

    def each(self, *calls: Sequence[str], setup: str = "", **environment: str) -> list[Result]:
        """Several calls in one process, after some code."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "HUGGING"))}
        settings = {"HF_HOME": str(self.home), "HF_ENDPOINT": self.endpoint, **environment}
        process = subprocess.run(
            [sys.executable, "-W", "error", "-c", setup + CLIENT, json.dumps(calls)],
            env={**kept, **settings, "OMP_NUM_THREADS": "1"},
            capture_output=True,
            text=True,
            check=False,
        )
        assert process.returncode == 0, process.stderr
        said = [json.loads(line) for line in process.stdout.splitlines()]
        return [Result(**{**one, "path": Path(one["path"]) if one.get("path") else None}) for one in said]

    def partial_files(self) -> list[Path]:
        return [path for path in self.home.rglob("*") if "incomplete" in path.name or path.name[:4] == "tmp_"]


@pytest.fixture
def hub() -> Iterator[LoopbackHub]:
    with LoopbackHub() as served:
        yield served


@pytest.fixture
def client(hub: LoopbackHub, tmp_path: Path) -> Client:
    return Client(tmp_path / "hf", hub.endpoint)


def closed_port() -> str:
    """An address where nobody listens."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{free.getsockname()[1]}"


def heads_and_gets(hub: LoopbackHub) -> tuple[int, int]:
    """How often the file was asked about, and how often for."""
    return len(hub.asked("HEAD", "pose.pt")), len(hub.asked("GET", "pose.pt"))


def test_downloaded_once_then_taken_from_the_cache(hub: LoopbackHub, client: Client) -> None:
    content = data(300_000)
    commit = hub.commit(REPOSITORY, {"pose.pt": content, "README.md": b"# Mice"})
    first, readme = client.each(
        ("fetch", REPOSITORY, "pose.pt", commit, sha256(content)),
        ("fetch", REPOSITORY, "README.md", commit),  # which is not redirected to the storage
    )
    assert first.path is not None, first.error
    assert first.path.read_bytes() == content
    assert first.path.is_relative_to(client.home)
    assert [(r.n_sent, r.range) for r in hub.asked("GET", "pose.pt")] == [(len(content), "")]
    assert readme.path is not None, readme.error
    assert readme.path.read_bytes() == b"# Mice"
    n_asked = len(hub.asked())
    again = client.each(*((call, REPOSITORY, "pose.pt", commit) for call in ("fetch", "cached")))
    assert [result.path for result in again] == [first.path] * 2
    assert len(hub.asked()) == n_asked


def test_a_branch_is_asked_for_something_newer_unless_the_hash_is_known(
    hub: LoopbackHub, client: Client
) -> None:
    old, new = data(1000), data(1000, seed=1)
    hub.commit(REPOSITORY, {"pose.pt": old})
    first, second = client.each(*[("fetch", REPOSITORY, "pose.pt", "main")] * 2)
    assert first.path is not None, first.error
    assert second.path == first.path
    assert heads_and_gets(hub) == (3, 1)
    hub.commit(REPOSITORY, {"pose.pt": new})
    known, newer = client.each(
        ("fetch", REPOSITORY, "pose.pt", "main", sha256(old)),
        ("fetch", REPOSITORY, "pose.pt", "main", sha256(new).upper()),
    )
    assert known.path == first.path
    assert heads_and_gets(hub) == (4, 2)
    assert newer.path is not None, newer.error
    assert (newer.path.read_bytes(), first.path.read_bytes()) == (new, old)


def test_offline(hub: LoopbackHub, client: Client) -> None:
    commit = hub.commit(REPOSITORY, {"pose.pt": data(1000)})
    absent = client("fetch", REPOSITORY, "pose.pt", commit, HF_HUB_OFFLINE="1")
    assert f"{REPOSITORY}/pose.pt at {commit}: is not in the cache" in absent.error
    assert "HF_HUB_OFFLINE is set" in absent.error
    assert absent.passing
    assert hub.asked() == []
    assert client("fetch", REPOSITORY, "pose.pt", "main").path is not None
    n_asked = len(hub.asked())
    calls = [("fetch", REPOSITORY, "pose.pt", revision) for revision in ("main", commit)]
    for there in client.each(*calls, HF_HUB_OFFLINE="1"):
        assert there.path is not None, there.error
        assert there.path.read_bytes() == data(1000)
    assert len(hub.asked()) == n_asked


def test_a_broken_download_goes_on_where_it_broke(hub: LoopbackHub, client: Client) -> None:
    content = data(CHUNK + 2 * MIB)
    commit = hub.commit(REPOSITORY, {"pose.pt": content})
    hub.switches.break_after = [CHUNK + MIB]
    result = client("fetch", REPOSITORY, "pose.pt", commit, sha256(content))
    assert result.path is not None, result.error
    assert result.path.read_bytes() == content
    assert [(r.range, r.status, r.n_sent) for r in hub.asked("GET", "pose.pt")] == [
        ("", 200, CHUNK + MIB),
        (f"bytes={CHUNK}-", 206, 2 * MIB),
    ]
    assert client.partial_files() == []


def test_a_download_that_fails_leaves_nothing_and_can_be_repeated(hub: LoopbackHub, client: Client) -> None:
    content = data(3 * MIB)
    commit = hub.commit(REPOSITORY, {"pose.pt": content})
    hub.switches.break_after, hub.switches.reset = [MIB], True
    failed, cached_then, again = client.each(
        ("fetch", REPOSITORY, "pose.pt", commit),
        ("cached", REPOSITORY, "pose.pt", commit),
        ("fetch", REPOSITORY, "pose.pt", commit, sha256(content)),
    )
    assert f"{hub.endpoint} cannot be reached or broke off" in failed.error
    assert "try again" in failed.error
    assert failed.passing
    assert (cached_then.path, cached_then.error) == (None, "")
    assert again.path is not None, again.error
    assert client.partial_files() == []


def test_a_hub_that_is_busy_is_asked_again(hub: LoopbackHub, client: Client) -> None:
    commit = hub.commit(REPOSITORY, {"pose.pt": data(1000)})
    hub.switches.statuses = [503, 503]
    result = client("fetch", REPOSITORY, "pose.pt", commit, sha256(data(1000)))
    assert result.path is not None, result.error
    assert hub.switches.statuses == []


def test_a_damaged_file_is_refused_and_replaced_after_the_command_it_names(
    hub: LoopbackHub, client: Client
) -> None:
    content = data(1000)
    commit = hub.commit(REPOSITORY, {"pose.pt": content})
    wrong = client("fetch", REPOSITORY, "pose.pt", commit, sha256(b"something else"))
    assert f"sha256 {sha256(content)[:12]}…, want {sha256(b'something else')[:12]}…" in wrong.error
    command = re.search(r"`rm (.+)`", wrong.error)
    assert command, wrong.error
    Path(shlex.split(command[1])[0]).write_bytes(content[:-1] + b"!")
    damaged = client("fetch", REPOSITORY, "pose.pt", commit, sha256(content))
    command = re.search(r"`(rm .+)`", damaged.error)
    assert command, damaged.error
    assert len(hub.asked("GET", "pose.pt")) == 1
    subprocess.run(shlex.split(command[1]), check=True)
    mended = client("fetch", REPOSITORY, "pose.pt", commit, sha256(content))
    assert mended.path is not None, mended.error
    assert mended.path.read_bytes() == content


REFUSED = [
    (REPOSITORY, "poses.pt", "main", "no such file at this revision"),
    (REPOSITORY, "pose.pt", "v9", "no such revision"),
    ("animals/none", "pose.pt", "main", "no such repository, or it is private"),
    ("animals/private", "pose.pt", "main", "no such repository, or it is private.*HF_TOKEN"),
    ("animals/gated", "pose.pt", "main", "gated; ask for access"),
]


def test_what_the_hub_refuses(hub: LoopbackHub, client: Client) -> None:
    for name in (REPOSITORY, "animals/private", "animals/gated"):
        hub.commit(name, {"pose.pt": data(10)})
    hub.repositories["animals/private"].token = "hf_secret"
    hub.repositories["animals/gated"].gated = True
    results = client.each(*(("fetch", *names) for *names, _ in REFUSED))
    for (repository, file, _, words), result in zip(REFUSED, results, strict=True):
        assert re.search(words, result.error), result.error
        assert not result.passing
        assert result.error.startswith(f"{repository}/{file}")
    assert hub.asked("GET", "pose.pt") == []


def test_a_token_opens_a_private_repository_and_stays_on_the_hub(hub: LoopbackHub, client: Client) -> None:
    hub.commit(REPOSITORY, {"pose.pt": data(10)})
    hub.repositories[REPOSITORY].token = "hf_secret"
    result = client("fetch", REPOSITORY, "pose.pt", "main", HF_TOKEN="hf_secret")
    assert result.path is not None, result.error
    assert [r.authorized for r in hub.asked("HEAD", "pose.pt")] == [True, True]
    assert [r.authorized for r in hub.asked("GET", "pose.pt")] == [False]


def test_something_else_than_a_hub(hub: LoopbackHub, client: Client) -> None:
    hub.switches.statuses = [200, 200, 403, 404]
    answering, forbidding, ignorant = client.each(*[("fetch", REPOSITORY, "pose.pt", "main")] * 3)
    assert "does not answer like a Hugging Face Hub; check HF_ENDPOINT" in answering.error
    assert "refuses access (status 403)" in forbidding.error
    assert "answers with status 404; check HF_ENDPOINT" in ignorant.error
    assert not any(result.passing for result in (answering, forbidding, ignorant))


def test_no_network(hub: LoopbackHub, client: Client) -> None:
    content = data(1000)
    hub.commit(REPOSITORY, {"pose.pt": content})
    nobody = closed_port()
    absent = client("fetch", REPOSITORY, "pose.pt", "main", sha256(content), HF_ENDPOINT=nobody)
    assert f"{nobody} cannot be reached" in absent.error
    assert absent.passing
    assert absent.seconds < 10  # with the client's own retries: 24 s
    assert client("fetch", REPOSITORY, "pose.pt", "main").path is not None
    calls = [("fetch", REPOSITORY, "pose.pt", "main", known) for known in ("", sha256(content))]
    for there in client.each(*calls, HF_ENDPOINT=nobody):
        assert there.path is not None, there.error
        assert there.seconds < 10


def test_a_network_that_swallows_everything(hub: LoopbackHub, client: Client) -> None:
    hub.commit(REPOSITORY, {"pose.pt": data(1000)})
    assert client("fetch", REPOSITORY, "pose.pt", "main").path is not None
    hub.switches.silent = True
    calls = [("fetch", REPOSITORY, file, "main") for file in ("pose.pt", "other.pt")]
    there, absent = client.each(*calls, HF_HUB_ETAG_TIMEOUT="1")
    assert there.path is not None, there.error
    assert f"{hub.endpoint} cannot be reached" in absent.error
    assert absent.passing
    assert max(there.seconds, absent.seconds) < 10


def test_a_full_disk_and_a_cache_that_is_none(hub: LoopbackHub, client: Client, tmp_path: Path) -> None:
    hub.commit(REPOSITORY, {"pose.pt": data(MIB)})
    full = """
import errno, os, huggingface_hub.file_download as download
def full(*_, **__):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
download.http_get = full
"""
    result = client("fetch", REPOSITORY, "pose.pt", "main", setup=full)
    assert f"there is no space left in the cache ({client.home / 'hub'})" in result.error
    assert not result.passing
    limit = "import resource\nresource.setrlimit(resource.RLIMIT_FSIZE, (65536, 65536))\n"
    result = client("fetch", REPOSITORY, "pose.pt", "main", setup=limit)
    assert "cannot be written into the cache" in result.error
    assert client.partial_files() == []
    (tmp_path / "file").write_text("no folder")
    result = client("fetch", REPOSITORY, "pose.pt", "main", HF_HOME=str(tmp_path / "file"))
    assert "cannot be written into the cache" in result.error
    assert "HF_HOME" in result.error


@pytest.mark.parametrize(
    ("repository", "file", "revision", "what"),
    [
        ("pose", "pose.pt", "main", "repository"),
        ("a/b/c", "pose.pt", "main", "repository"),
        ("../b", "pose.pt", "main", "repository"),
        (REPOSITORY, "../../pose.pt", "main", "file"),
        (REPOSITORY, "/etc/passwd", "main", "file"),
        (REPOSITORY, "", "main", "file"),
        (REPOSITORY, "pose.pt", "../main", "revision"),
    ],
)
def test_names_that_are_none(repository: str, file: str, revision: str, what: str) -> None:
    for call in (fetch, cached):
        with pytest.raises(InputError, match=f"is no name of a {what}"):
            call(repository, file, revision)


def test_the_loopback_hub_tells_the_client_what_it_has(hub: LoopbackHub, client: Client) -> None:
    commit = hub.commit(REPOSITORY, {"pose.pt": data(10), "README.md": b""})
    ask = f"""
from huggingface_hub import HfApi
info = HfApi().model_info({REPOSITORY!r}, revision="main")
assert (info.sha, [s.rfilename for s in info.siblings]) == ({commit!r}, ["README.md", "pose.pt"])
"""
    assert client("cached", REPOSITORY, "pose.pt", "main", setup=ask).error == ""


def test_importing_is_light() -> None:
    code = "import sys, zoo.hub; print(*{'torch', 'huggingface_hub', 'safetensors'} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, check=True).stdout == b"\n"
