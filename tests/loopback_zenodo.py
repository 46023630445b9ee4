"""A Zenodo on this machine: records with files, served with ranges, broken as the Hub's switches say."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

from loopback_hub import LoopbackHub, _Server, _sha256, _StorageHandler


class LoopbackZenodo(LoopbackHub):
    """Zenodo on 127.0.0.1, serving until the end of its `with` block.

    Attributes:
        records: Record number -> its answer's JSON, or bytes; `publish` adds one, a test may damage it.
        address: What ZOO_ZENODO wants.
        ranges: The Range header of every request for a file, noted before it is answered.
    """

    def __init__(self) -> None:
        super().__init__()
        self.records: dict[str, Any] = {}
        server = _Server(self, _ZenodoHandler)
        self._servers.append(server)
        self.address = server.address
        self.ignore_ranges = False
        self.ranges: list[str] = []

    def publish(self, number: str, files: Mapping[str, bytes], licence: str = "cc-by-nc-sa-4.0") -> None:
        """Add a record."""
        self.stored |= {_sha256(content): content for content in files.values()}
        self.records[number] = {
            "id": int(number),
            "metadata": {"title": "a record", "license": {"id": licence}},
            "files": [
                {
                    "key": name,
                    "size": len(content),
                    "checksum": f"md5:{hashlib.md5(content).hexdigest()}",
                    "links": {"self": f"{self.address}/api/records/{number}/files/{_sha256(content)}/{name}"},
                }
                for name, content in files.items()
            ],
        }


class _ZenodoHandler(_StorageHandler):
    """The part of the REST API that a download needs."""

    routes = (
        ("GET", r"/api/records/(?P<number>\d+)", "record"),
        ("GET", r"/api/records/\d+/files/(?P<digest>[0-9a-f]{64})/(?P<file>.+)", "content"),
    )

    def record(self, number: str) -> None:
        """What a record holds."""
        assert isinstance(self.server.hub, LoopbackZenodo)
        records = self.server.hub.records
        if isinstance(records.get(number), bytes):
            self.answer(200, body=records[number])
        elif number in records:
            self.answer(200, json_body=records[number])
        else:
            self.answer(
                404, json_body={"status": 404, "message": "The persistent identifier does not exist."}
            )

    def content(self, digest: str, file: str) -> None:
        """A file, or the rest of it."""
        zenodo = self.server.hub
        assert isinstance(zenodo, LoopbackZenodo)
        zenodo.ranges.append(self.headers.get("Range", ""))
        if zenodo.ignore_ranges:
            del self.headers["Range"]
        super().content(digest, file)
