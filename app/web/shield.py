"""What stands between the network and Gradio: who may send how much, and what browsers may do with it."""

from __future__ import annotations

import re
from contextlib import nullcontext
from typing import Any, NoReturn

import gradio as gr
from gradio import processing_utils
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.web.settings import MIB
from app.web.visitors import Visitors

MAX_BODY_MIB = 16
"""Of a request that uploads no file; the longest that the page itself sends is a table."""

# Nothing may come from another host: not by us, not by a component, not by a card's Markdown.
_POLICY = (
    "default-src 'self'; img-src 'self' data: blob:; media-src 'self' data: blob:; font-src 'self' data:; "
    "style-src 'self' 'unsafe-inline'; script-src 'self' 'unsafe-inline' 'unsafe-eval' blob:; "
    "connect-src 'self' ws: wss:; worker-src 'self' blob:; frame-ancestors *"
)
# A visitor's file that is opened by itself is no page of ours, whatever is in it.
_FILE_POLICY = "default-src 'none'; img-src 'self'; media-src 'self'; style-src 'unsafe-inline'; sandbox"
_FILE = re.compile(r"/gradio_api/file[=/]")
_ADDRESS = re.compile(r"/gradio_api/file[=/]\s*https?:", re.IGNORECASE)
_HEARTBEAT = re.compile(r"/gradio_api/heartbeat/(\w+)/?")
_UPLOAD = "/gradio_api/upload"


class Shield:
    """Middleware: tells browsers to load nothing from elsewhere, loads nothing from elsewhere for them.

    Args:
        app: What it stands before.
        visitors: Who is here: a page that is open keeps a connection.
    """

    def __init__(self, app: ASGIApp, visitors: Visitors) -> None:
        self._app = app
        self._visitors = visitors

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, or have it answered."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        path = scope["path"]
        sending = _with_headers(send, _FILE_POLICY if _FILE.match(path) else _POLICY)
        # Gradio would fetch what an address in the place of a file names, for anybody.
        if _ADDRESS.match(path):
            await PlainTextResponse("No such file", 404)(scope, receive, sending)
            return
        if scope["method"] == "POST" and path.rstrip("/") != _UPLOAD:
            body = await _body(receive)
            if body is None:
                text = f"At most {MAX_BODY_MIB} MiB are taken"
                await PlainTextResponse(text, 413)(scope, receive, sending)
                return
            receive = _again(body, receive)
        beat = _HEARTBEAT.fullmatch(path)
        with self._visitors.here(beat[1]) if beat else nullcontext():
            await self._app(scope, receive, sending)


def forbid_downloads() -> None:
    """Keep Gradio from downloading what a request names by an address in the place of an upload.

    It would, of any size, into the folder of the uploads, before a limit of ours is asked.
    """

    async def refuse(*_: Any, **__: Any) -> NoReturn:
        raise gr.Error("an address is no file; download it yourself and upload it", print_exception=False)

    processing_utils.async_ssrf_protected_download = refuse


def _with_headers(send: Send, policy: str) -> Send:
    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            message["headers"] = [
                *message.get("headers", []),
                (b"content-security-policy", policy.encode()),
                (b"x-content-type-options", b"nosniff"),
                (b"referrer-policy", b"no-referrer"),
            ]
        await send(message)

    return sending


async def _body(receive: Receive) -> bytes | None:
    """A request's body; None if it is larger than it may be, and then no more of it is kept."""
    parts, size = [], 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return b""
        part = message.get("body", b"")
        size += len(part)
        if size > MAX_BODY_MIB * MIB:
            return None
        parts.append(part)
        if not message.get("more_body", False):
            return b"".join(parts)


def _again(body: bytes, receive: Receive) -> Receive:
    """The messages of a request whose body was read."""
    left = [body]

    async def receiving() -> Message:
        if left:
            return {"type": "http.request", "body": left.pop(), "more_body": False}
        return await receive()

    return receiving
