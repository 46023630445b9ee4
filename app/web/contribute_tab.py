"""Tab "Contribute": a labelled dataset into the superset, keypoints matched and looked at."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gradio as gr

from app.web.context import PRIVATE, AppContext, cancelled_by, follow, refuse
from app.web.guards import unzip_labels
from app.web.try_tab import model_choices, variant_choices
from app.web.uploads import owned
from app.web.visitors import public
from superset_vocab import load_vocabulary
from superset_vocab.errors import InputError, all_problems

DROP = "drop"
_HEADERS = ["keypoint", "counterpart", "confidence", "why"]
_LONGEST = 2000  # characters of an entry of the form


@dataclass(frozen=True, eq=False)
class _Dataset:
    """The dataset, and what was found in it.

    Attributes:
        known: State: what the second job must know of the first, and "keypoints"; None before that.
    """

    known: gr.State
    upload: gr.File
    vocabulary: gr.Dropdown
    look: gr.Checkbox
    inspect: gr.Button
    stop: gr.Button
    status: gr.Markdown
    found: gr.Markdown

    @classmethod
    def lay_out(cls) -> _Dataset:
        names = model_choices()
        with gr.Row():
            with gr.Column(scale=1, min_width=300):
                upload = gr.File(
                    label="Labelled dataset (.zip) with its images",
                    file_types=[".zip"],
                    elem_id="contribute-upload",
                )
                vocabulary = gr.Dropdown(names, value=names[0], label="Into", elem_id="contribute-vocabulary")
                look = gr.Checkbox(
                    True, label="Let a model look at the images to match keypoints", elem_id="contribute-look"
                )
                with gr.Row():
                    inspect = gr.Button("Inspect", variant="primary", elem_id="contribute-inspect")
                    stop = gr.Button("Cancel", elem_id="contribute-cancel")
            with gr.Column(scale=2, min_width=320):
                status = gr.Markdown("Upload a dataset to begin.", elem_id="contribute-status")
                found = gr.Markdown(elem_id="contribute-found")
        return cls(gr.State(None), upload, vocabulary, look, inspect, stop, status, found)


@dataclass(frozen=True, eq=False)
class _Map:
    """The keypoint map: a table, and a choice of one entry for whoever cannot type in a table."""

    table: gr.Dataframe
    which: gr.Dropdown
    target: gr.Dropdown
    change: gr.Button

    @classmethod
    def lay_out(cls) -> _Map:
        table = gr.Dataframe(
            headers=_HEADERS,
            type="array",
            interactive=True,
            static_columns=[0, 2, 3],
            wrap=True,
            column_widths=["150px", "180px", "130px", "600px"],
            label=f"Keypoint map: a name of the vocabulary, or {DROP}",
            visible=False,
            elem_id="contribute-table",
        )
        with gr.Row():
            which = gr.Dropdown([], label="Keypoint", visible=False, elem_id="contribute-which")
            target = gr.Dropdown([DROP], label="is", visible=False, elem_id="contribute-target")
            change = gr.Button("Set in the table", visible=False, elem_id="contribute-set")
        return cls(table, which, target, change)

    def shown(self, rows: list[list[Any]], keypoints: Sequence[str]) -> dict[Any, Any]:
        """The map that is proposed."""
        sources = [row[0] for row in rows]
        return {
            self.table: gr.update(value=rows, visible=True),
            self.which: gr.update(choices=sources, value=sources[0], visible=True),
            self.target: gr.update(choices=[DROP, *keypoints], value=rows[0][1], visible=True),
            self.change: gr.update(visible=True),
        }


@dataclass(frozen=True, eq=False)
class _Card:
    """What the dataset's card says, and the button that makes the bundle."""

    form: gr.Column
    licence: gr.Textbox
    contact: gr.Textbox
    citation: gr.Textbox
    species: gr.Textbox
    about: gr.Textbox
    leave_out: gr.Checkbox
    make: gr.Button

    @classmethod
    def lay_out(cls) -> _Card:
        with gr.Column(visible=False) as form:
            gr.Markdown("What the dataset card says:")
            return cls(
                form,
                licence=gr.Textbox(
                    label="Licence of images and labels, e.g. CC BY 4.0", elem_id="contribute-licence"
                ),
                contact=gr.Textbox(
                    label="Who answers questions: name and address", elem_id="contribute-contact"
                ),
                citation=gr.Textbox(label="How to cite it", elem_id="contribute-citation"),
                species=gr.Textbox(label="Species, separated by commas", elem_id="contribute-species"),
                about=gr.Textbox(label="What is to be seen (counted, if empty)", elem_id="contribute-about"),
                leave_out=gr.Checkbox(False, label="Leave out images with errors"),
                make=gr.Button("Make the bundle", variant="primary", elem_id="contribute-make"),
            )


@dataclass(frozen=True, eq=False)
class _Result:
    """The finished bundle, or why there is none; below the button that makes it."""

    status: gr.Markdown
    report: gr.Markdown
    download: gr.File

    @classmethod
    def lay_out(cls) -> _Result:
        return cls(
            status=gr.Markdown(elem_id="contribute-made"),
            report=gr.Markdown(visible=False, elem_id="contribute-report"),
            download=gr.File(label="Bundle", visible=False, interactive=False, elem_id="contribute-file"),
        )

    def hidden(self) -> dict[Any, Any]:
        """Nothing has been made yet."""
        unseen = gr.update(visible=False)
        return {self.status: "", self.report: unseen, self.download: unseen}


@dataclass(frozen=True, eq=False)
class _PullRequest:
    """The finished dataset to the host's shared repository; shown only where the host has one.

    Attributes:
        finished: State: folder of the finished dataset, "" before there is one.
    """

    finished: gr.State
    group: gr.Column
    name: gr.Textbox
    agreed: gr.Checkbox
    open: gr.Button
    opened: gr.Markdown

    @classmethod
    def lay_out(cls, contribute_to: str) -> _PullRequest:
        with gr.Column(visible=False, elem_id="contribute-pull-request") as group:
            gr.Markdown(
                f"Add it to the shared repository **{contribute_to}** on the Hugging Face Hub? Its owner "
                "looks at the pull request before it is taken; the request is public at once."
            )
            return cls(
                gr.State(""),
                group,
                name=gr.Textbox(label="Name there", max_length=96, elem_id="contribute-pull-request-name"),
                agreed=gr.Checkbox(
                    False,
                    label="I may show these images and labels to the public under the licence above, with my "
                    "contact",
                    elem_id="contribute-pull-request-agreed",
                ),
                open=gr.Button("Open a pull request", elem_id="contribute-pull-request-open"),
                opened=gr.Markdown(elem_id="contribute-pull-request-opened"),
            )

    def offered(self, folder: str, contribute_to: str) -> dict[Any, Any]:
        """To be opened for a finished dataset; not where there is none, or no shared repository."""
        shown = bool(folder and contribute_to)
        return {
            self.finished: folder,
            self.group: gr.update(visible=shown),
            self.agreed: False,
            self.opened: "",
        }


def build(context: AppContext) -> None:
    """Add the tab's contents to the page that is being built."""
    dataset, keypoint_map = _Dataset.lay_out(), _Map.lay_out()
    gallery = gr.Gallery(
        label="Previews", visible=False, interactive=False, elem_classes="whole", elem_id="contribute-gallery"
    )
    card, result = _Card.lay_out(), _Result.lay_out()
    request = _PullRequest.lay_out(context.settings.contribute_to)
    _Handlers(context, dataset, keypoint_map, gallery, card, result, request).wire()


@dataclass(frozen=True, eq=False)
class _Handlers:
    """What the tab does."""

    context: AppContext
    dataset: _Dataset
    map: _Map
    gallery: gr.Gallery
    card: _Card
    result: _Result
    pull_request: _PullRequest

    def wire(self) -> None:
        """Connect the components with what follows here."""
        dataset, card, result = self.dataset, self.card, self.result
        long: dict[str, Any] = {**PRIVATE, "concurrency_limit": None}
        table, known = [self.map.table, self.map.which, self.map.target], dataset.known
        words = [card.licence, card.contact, card.citation]
        asked = self.pull_request
        output = [
            *(self.gallery, result.status, result.report, result.download),
            *(asked.finished, asked.group, asked.agreed, asked.opened),
        ]
        owned(self.context, dataset.upload)
        dataset.inspect.click(
            self.propose,
            [dataset.upload, dataset.vocabulary, dataset.look],
            [dataset.status, dataset.found, known, *table, self.map.change, card.form, *words, *output,
             asked.name],
            show_progress_on=dataset.status,
            **long,
        )  # fmt: skip
        self.map.which.input(self.counterpart, table[:2], self.map.target, **PRIVATE)
        self.map.change.click(self.put, table, self.map.table, **PRIVATE)
        card.make.click(
            self.bundle,
            [known, self.map.table, *words, card.species, card.about, card.leave_out],
            output,
            show_progress_on=result.status,
            **long,
        )
        asked.open.click(
            self.propose_it,
            [asked.finished, asked.name, asked.agreed],
            asked.opened,
            show_progress_on=asked.opened,
            **long,
        )
        cancelled_by(self.context, dataset.stop, dataset.status)

    async def propose(
        self, request: gr.Request, upload: str | None, vocabulary: str, look: bool
    ) -> AsyncIterator[dict[Any, Any]]:
        try:
            keypoints = vocabulary_keypoints(vocabulary)
            if upload is None:
                raise InputError("nothing was uploaded; choose the zip file of a labelled dataset first")
            with self.context.unpacking(request, "contribution") as folder:
                source = await asyncio.to_thread(unzip_labels, Path(upload), folder, self.context.settings)
        except InputError as error:
            raise refuse(error) from error
        common = {
            "source": str(source),
            "model": vocabulary if look else "",
            "variant": variant_choices(vocabulary)[0] if look else "",
            "vocabulary": vocabulary,
        }
        arguments = {**common, "out": str(self.context.visitor(request).new_folder("proposal"))}
        async for message in follow(self.context, request, "propose_map", arguments):
            if isinstance(message, str):
                yield {self.dataset.status: message}
            else:
                yield self.proposed(message, common, keypoints)

    def proposed(
        self, message: dict[str, Any], common: dict[str, Any], keypoints: Sequence[str]
    ) -> dict[Any, Any]:
        """What the page shows of a proposal."""
        dataset, card = self.dataset, self.card
        rows = [[a, b or DROP, f"{c:.0%}", why] for a, b, c, why in message["table"]]
        warned = "".join(f"\n- **Careful:** {line}" for line in message["warnings"])
        lines = "".join(f"\n- {line}" for line in message["inspection"])
        known = {**common, "dataset": message["dataset"], "keypoints": [row[0] for row in rows]}
        return {
            dataset.status: "Look at the map and the previews, correct the map, and fill in the card.",
            dataset.found: public(lines + warned),
            dataset.known: known,
            **self.map.shown(rows, keypoints),
            self.gallery: gr.update(value=message["previews"], visible=bool(message["previews"])),
            card.form: gr.update(visible=True),
            card.licence: message["licence"],
            card.contact: message["contact"],
            card.citation: message["citation"],
            **self.result.hidden(),
            **self.pull_request.offered("", ""),
            self.pull_request.name: message["dataset"],
        }

    async def bundle(
        self, request: gr.Request, known: dict[str, Any] | None, rows: list[list[Any]], licence: str,
        contact: str, citation: str, species: str, about: str, leave_out: bool,
    ) -> AsyncIterator[dict[Any, Any]]:  # fmt: skip
        try:
            if known is None:
                raise InputError("inspect a dataset first")
            card = checked_card(licence, contact, citation, about)
            targets = checked_targets(rows, known["keypoints"], known["vocabulary"])
        except InputError as error:
            raise refuse(error) from error
        arguments = {
            **{key: known[key] for key in ("source", "model", "variant", "vocabulary", "dataset")},
            "out": str(self.context.visitor(request).new_folder("bundle")),
            "targets": targets,
            "card": card,
            "species": [name.strip()[:80] for name in species[:_LONGEST].split(",") if name.strip()],
            "leave_out": bool(leave_out),
        }
        async for message in follow(self.context, request, "make_bundle", arguments):
            yield {self.result.status: message} if isinstance(message, str) else self.bundled(message)

    def bundled(self, message: dict[str, Any]) -> dict[Any, Any]:
        """What the page shows of a bundle."""
        good = not message["refused"]
        return {
            self.result.status: "Done." if good else "Refused by the validation; the report says why.",
            self.gallery: gr.update(value=message["previews"], visible=bool(message["previews"])),
            self.result.report: gr.update(value=public(report_text(message)), visible=True),
            self.result.download: gr.update(
                value=message["zip"], visible=True, label="Bundle" if good else "Validation report"
            ),
            **self.pull_request.offered(message["folder"], self.context.settings.contribute_to),
        }

    async def propose_it(
        self, request: gr.Request, finished: str, name: str, agreed: bool
    ) -> AsyncIterator[dict[Any, Any]]:
        """Open the pull request, in the name of the host's account."""
        shared = self.context.settings.contribute_to
        try:
            if not (finished and shared):
                raise InputError("make the bundle first")
            if not agreed:
                raise InputError(
                    "say that you may show the images to the public, or keep the bundle for yourself"
                )
            self.context.check_pull_requests()
        except InputError as error:
            raise refuse(error) from error
        yield {self.pull_request.opened: "Opening the pull request ..."}
        arguments = {"folder": finished, "contribute_to": shared, "name": name.strip()}
        self.context.count_pull_request()  # now: who cancels, or leaves, may have opened it all the same
        try:
            async for message in follow(self.context, request, "propose", arguments):
                if not isinstance(message, str):
                    name, url = message["name"], message["url"]
                    message = f"Proposed as **{name}**: [{url}]({url})"
                yield {self.pull_request.opened: message}
        except gr.Error as error:
            if isinstance(error.__cause__, InputError):  # refused, by us or by the Hub
                self.context.forgive_pull_request()
            raise

    def counterpart(self, rows: list[list[Any]], name: str) -> str:
        return next((str(row[1]) for row in rows if row[0] == name), DROP)

    def put(self, rows: list[list[Any]], name: str, target: str) -> list[list[Any]]:
        return [[row[0], target, *row[2:]] if row[0] == name else row for row in rows]


def vocabulary_keypoints(name: str) -> tuple[str, ...]:
    """Keypoints of one of the vocabularies that the page offers; the page cannot name a file.

    Raises:
        InputError: If it is none of them.
    """
    if name not in model_choices():
        raise InputError("there is no such vocabulary; choose one of the list")
    return load_vocabulary(name).keypoints


def checked_card(licence: str, contact: str, citation: str, about: str) -> dict[str, str]:
    """What the card says, as far as it is complete.

    Raises:
        InputError: With everything that is missing.
    """
    card = {"licence": licence, "contact": contact, "citation": citation, "summary": about}
    card = {key: " ".join(str(text or "").split()) for key, text in card.items()}
    problems = [f"{key} is missing" for key in ("licence", "contact") if not card[key]]
    problems += [f"{key} is longer than {_LONGEST} characters" for key in card if len(card[key]) > _LONGEST]
    if problems:
        raise all_problems("the card", problems)
    return card


def checked_targets(rows: list[list[Any]], keypoints: list[str], vocabulary: str) -> dict[str, str | None]:
    """The keypoint map in the table.

    Args:
        rows: Of the table, [keypoint, counterpart, ...].
        keypoints: The dataset's.
        vocabulary: Name of the superset.

    Raises:
        InputError: With everything that is wrong in it.
    """
    if len(rows) > len(keypoints):
        raise InputError(
            f"the keypoint map has {len(rows)} rows for {len(keypoints)} keypoints; inspect again"
        )
    known = set(vocabulary_keypoints(vocabulary))
    problems, targets = [], dict[str, str | None]()
    for row in rows:
        name, said = str(row[0]), str(row[1] or "").strip()
        if name not in keypoints or name in targets:
            problems.append(f"{name!r} is no keypoint of the dataset, or stands there twice")
        elif said not in known and said != DROP:
            problems.append(f"{name}: {said!r} is not in {vocabulary}; choose one of its names, or {DROP}")
        elif said != DROP and said in targets.values():
            problems.append(f"{name}: {said} is the counterpart of another keypoint already")
        targets[name] = None if said == DROP else said
    problems += [f"{name} is not in the table" for name in keypoints if name not in targets]
    if not problems and not any(targets.values()):
        problems.append("every keypoint is dropped; map at least one")
    if problems:
        raise all_problems("the keypoint map", problems)
    return targets


def report_text(message: dict[str, Any]) -> str:
    """What the validation said, in Markdown."""
    counts = {kind.replace("_", " "): n for kind, n in message["validation"].items() if n}
    lines = [f"- {kind}: {n}" for kind, n in counts.items()] or ["- no problem was found"]
    head = f"**Refused:** {message['refused']}" if message["refused"] else "**Converted.**"
    warned = [f"- **Careful:** {line}" for line in message["warnings"]]
    return "\n".join([head, "", "Validation:", "", *lines, *warned])
