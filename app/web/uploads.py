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
    inside = context.settings.uploads.resolve()

    def remember(request: gr.Request, paths: list[str] | str | None) -> None:
        # Resolved: the page says what it likes, and ".." would lead to the host's own files, to be removed.
        found = {Path(path).resolve() for path in ([paths] if isinstance(paths, str) else paths or [])}
        visitor = context.visitor(request)
        visitor.uploads |= {path for path in found if path.is_relative_to(inside) and path.is_file()}

    visible = {"api_name": api_name} if api_name else {"api_visibility": "private"}
    upload.upload(remember, upload, None, queue=False, show_progress="hidden", **visible)  # pyright: ignore[reportArgumentType]
