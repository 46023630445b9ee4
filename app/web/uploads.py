"""Whose an upload is: from the moment it has arrived it is somebody's, and goes when they leave."""

from __future__ import annotations

from pathlib import Path

import gradio as gr

from app.web.context import AppContext


def owned(context: AppContext, upload: gr.File, api_name: str | None = None) -> None:
    """Remember what visitors upload here as theirs. The host's examples, which are no uploads, stay.

    Args:
        context: The app.
        upload: The component, of one file or of several.
        api_name: Name of the event for programs that speak to the app; None for none.
    """

    def remember(request: gr.Request, paths: list[str] | str | None) -> None:
        found = {Path(path) for path in ([paths] if isinstance(paths, str) else paths or [])}
        inside = context.settings.uploads
        context.visitor(request).uploads |= {path for path in found if path.is_relative_to(inside)}

    visible = {"api_name": api_name} if api_name else {"api_visibility": "private"}
    upload.upload(remember, upload, None, queue=False, show_progress="hidden", **visible)  # pyright: ignore[reportArgumentType]
