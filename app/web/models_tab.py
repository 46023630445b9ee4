"""Tab "Models": what there is, with cards, licences, and where each runs."""

from __future__ import annotations

from typing import Any

import gradio as gr

from app.web.context import PRIVATE, AppContext
from zoo.catalogue import ModelSpec, list_models


def build(context: AppContext) -> None:
    """Add the tab's contents to the page that is being built."""
    specs = {spec.full_name: spec for spec in list_models()}

    def weights_of(spec: ModelSpec) -> str | None:
        return str(context.offered(spec.pose.weights.path)) if spec.embedded else None

    first = next(name for name, spec in specs.items() if spec.embedded)
    choice = gr.Dropdown(list(specs), value=first, label="Model", elem_id="models-choice")
    weights = gr.File(
        label="Weights", value=weights_of(specs[first]), interactive=False, elem_id="models-weights"
    )
    card = gr.Markdown(describe(specs[first]), elem_id="models-card")

    def show(name: str) -> tuple[dict[str, Any], str]:
        path = weights_of(specs[name])
        return gr.update(value=path, visible=path is not None), describe(specs[name])

    choice.change(show, choice, [weights, card], **PRIVATE)


def describe(spec: ModelSpec) -> str:
    """A model's card in Markdown: the written one where there is one, else what its spec says."""
    where = (
        "Runs at once: its weights come with the package."
        if spec.embedded
        else f"Its weights come from {spec.pose.weights.repository} on the Hugging Face Hub when first used."
    )
    card = spec.pose.weights.path.with_suffix(".md") if spec.embedded else None
    if card is not None and card.is_file():
        return f"{where}\n\n{_without_metadata(card.read_text(encoding='utf-8'))}"
    data = "".join(f"\n- {line}" for line in spec.training_data)
    return (
        f"## {spec.full_name}\n\n{spec.summary}\n\n{where}\n\n**Licence:** {spec.licence}\n\n"
        f"**Cite:** {spec.citation}\n\n**Trained on:**{data}"
    )


def _without_metadata(card: str) -> str:
    """The card's text without the block that the Hub reads."""
    if not card.startswith("---\n"):
        return card
    return card.split("\n---\n", 1)[-1]
