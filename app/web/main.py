"""The page: its tabs, its looks, and how it is served."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable

import gradio as gr
from gradio.themes import Base, Default
from starlette.middleware import Middleware

from app.web import annotate_tab, contribute_tab, correct_tab, finetune_tab, models_tab, try_tab
from app.web.context import AppContext, session
from app.web.settings import MIB, Settings
from app.web.shield import Shield, forbid_downloads
from superset_vocab.provenance import package_version

_CSS = """
/* As wide as the window lets it be, and no wider, whatever a tab holds. */
.gradio-container, .gradio-container > main, .gradio-container .tabs, .gradio-container .tabitem {
  width: 100%; min-width: 0 !important; max-width: min(1280px, 100vw) !important; box-sizing: border-box;
}
.gradio-container .column { min-width: min(320px, 100%) !important; }
.gradio-container { max-width: 1280px !important; margin: 0 auto; }
/* What went wrong stands in a message of its own; "Error" would cover the line that says how it goes. */
[data-testid="status-tracker"] > .error, [data-testid="status-tracker"] > .clear-status { display: none; }
footer { display: none !important; }
/* Not every button: those that lie on a cell of a table would cover it, and no double click reach it. */
button.lg, button[role="tab"] { min-height: 40px; }
/* Pictures whole, one below the other where there is no room; captions beside a picture, not on it. */
.whole .grid-wrap { max-height: none !important; height: auto !important; }
.whole .grid-container {
  grid-template: none / repeat(auto-fit, minmax(min(420px, 100%), 1fr)) !important;
  grid-auto-rows: auto !important; align-items: start;
}
.whole .gallery-item, .whole .thumbnail-lg { aspect-ratio: auto; height: auto; }
.whole .gallery-item img { height: auto; max-height: 70vh; object-fit: contain; }
/* The accent of the light page is too dark on the dark one. */
.dark { --color-accent: #fb923c; }
.dark .tab-container button.selected { color: #fb923c; }
.whole, #try-plot { padding-top: 32px; }
#try-files .label-clear-button { display: none; } /* results are not taken out of a list */
/* The keypoint map has its rows and columns; Gradio's menu would add and delete some. */
#contribute-table .cell-menu-button, #contribute-table .cell-menu { display: none; }
#models-card { overflow-wrap: anywhere; }
#models-card table { display: block; overflow-x: auto; border: 0; }
#models-card td, #models-card th { word-break: normal; overflow-wrap: normal; }
@media (max-width: 700px) {
  .gradio-container { padding: 8px !important; }
  #models-card code { white-space: pre-wrap !important; overflow-wrap: anywhere; }
  .pager { flex-wrap: nowrap !important; align-items: center; }
  .pager > * { min-width: 0 !important; }
}
"""


def _theme() -> Base:
    """Gradio's own, with the machine's fonts, and accents dark enough to be read (4.5:1 and more)."""
    theme = Default(
        font=["system-ui", "-apple-system", "Segoe UI", "sans-serif"], font_mono=["ui-monospace", "monospace"]
    )
    return theme.set(
        button_primary_background_fill="*primary_700",
        button_primary_background_fill_hover="*primary_800",
        button_primary_background_fill_dark="*primary_700",
        button_primary_background_fill_hover_dark="*primary_800",
        button_primary_border_color="*primary_700",
        color_accent="*primary_700",
    )


def build(context: AppContext) -> gr.Blocks:
    """The page with its tabs, not yet served."""
    with gr.Blocks(title="superanimal-zoo", analytics_enabled=False, fill_width=False) as page:
        gr.Markdown(
            "# superanimal-zoo\nPoses of animals from pictures and videos, without labelling anything. "
            f"Version {package_version()}. What you upload is removed when you close the page."
        )
        with gr.Tabs() as tabs:
            with gr.Tab("Try", id="try"):
                tried = try_tab.build(context)
            with gr.Tab("Correct", id="correct"):
                corrected = correct_tab.build(context, tried)
            with gr.Tab("Fine-tune", id="finetune"):
                finetune_tab.build(context, tried, corrected, tabs)
            with gr.Tab("Contribute", id="contribute"):
                contribute_tab.build(context)
            if context.settings.pool is not None:
                with gr.Tab("Annotate", id="annotate"):
                    annotate_tab.build(context)
            with gr.Tab("Models", id="models"):
                models_tab.build(context)

        async def leave(request: gr.Request) -> None:
            await context.worker.end(session(request))  # which would still write into their folder
            await asyncio.to_thread(context.visitors.forget, session(request))
            # Gradio would keep what it knows of a closed page for an hour: 0.15 MiB for every visitor.
            page.app.state_holder.session_data.pop(session(request), None)

        page.unload(leave)
    return page


def serve(
    settings: Settings,
    *,
    host: str = "127.0.0.1",
    port: int | None = None,
    on_ready: Callable[[str], None] | None = None,
) -> None:
    """Serve the page until the process is interrupted.

    Args:
        settings: What visitors may do.
        host: Address to listen on; "0.0.0.0" for every one.
        port: None takes the first free one from 7860 on.
        on_ready: Called with the page's address once it answers.
    """
    settings.root.mkdir(parents=True, exist_ok=True)
    # Gradio's copies of uploads go when ours go. Results are served from the visitor's folder, whose name
    # nobody can guess: without a second copy that would stay when the visitor has left.
    os.environ["GRADIO_TEMP_DIR"] = str(settings.uploads)
    gr.set_static_paths([settings.root])
    forbid_downloads()
    context = AppContext.start(settings)
    page = build(context)
    # As many as may wait, one at work, and room for the short ones beside them.
    page.queue(default_concurrency_limit=4, max_size=settings.max_waiting + 60)
    try:
        _, address, _ = page.launch(
            server_name=host,
            server_port=port,
            prevent_thread_lock=True,
            quiet=True,
            show_error=False,  # what is for the visitor is said all the same; the rest may have paths in it
            share=False,
            footer_links=[],
            max_file_size=settings.max_upload_mib * MIB,
            theme=_theme(),
            css=_CSS,
            ssr_mode=False,
            enable_monitoring=False,
            app_kwargs={"middleware": [Middleware(Shield, visitors=context.visitors)]},
        )
        if on_ready is not None:
            on_ready(address)
        page.block_thread()
    finally:
        page.close(verbose=False)
        context.close()
