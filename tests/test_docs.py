"""What guides and docstrings show exists: links, commands and options, Python names, files, make targets.

Names are looked up in the source (`ast`), so that nothing heavy is imported.
"""

from __future__ import annotations

import argparse
import ast
import contextlib
import io
import re
import shlex
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from app.cli import build_parser

ROOT = Path(__file__).parents[1]
GUIDES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
PACKAGES = ("superset_vocab", "converters", "zoo", "training", "adaptation", "hub_cards", "app", "benchmarks")
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
SPAN = re.compile(r"`([^`\n]+)`")
OPTION = re.compile(r"(?<![\w-])--[a-z][a-z-]*")


def wrong_links(text: str, file: Path) -> Iterator[str]:
    """Relative links to no file, or to no heading of one."""
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        path, _, heading = target.partition("#")
        if re.match(r"[a-z]+:", path):
            continue
        linked = file.parent / path if path else file
        if not linked.exists():
            yield f"link {target}"
        elif heading and heading not in headings(text if linked == file else linked.read_text()):
            yield f"heading {target}"


def headings(text: str) -> list[str]:
    """The anchors that GitHub makes of a page's headings."""
    lines = re.findall(r"^#+ (.+)$", FENCE.sub("", text), re.MULTILINE)
    return [re.sub(r"[^\w\- ]", "", line.lower()).replace(" ", "-") for line in lines]


@cache
def subcommands() -> dict[str, argparse.ArgumentParser]:
    (action,) = (a for a in build_parser()._actions if isinstance(a, argparse._SubParsersAction))
    return dict(action.choices)


def options_of(command: str) -> set[str]:
    return {option for action in subcommands()[command]._actions for option in action.option_strings}


@cache
def options_of_benchmarks() -> set[str]:
    files = (ROOT / "benchmarks").rglob("*.py")
    return {option for file in files for option in re.findall(r'"(--[a-z][a-z-]*)"', file.read_text())}


def command_lines(text: str) -> Iterator[str]:
    """The lines of the fenced blocks, those that a backslash ends joined, without comments."""
    for language, block in FENCE.findall(text):
        if not language:
            yield from (line.partition(" #")[0].strip() for line in block.replace("\\\n", " ").splitlines())


def wrong_commands(text: str) -> Iterator[str]:
    """Subcommands that there are not, options that they do not have, whole lines that do not parse."""
    lines = list(command_lines(text))
    for shown in [*lines, *SPAN.findall(FENCE.sub("", text))]:
        found = re.match(r"zoo ([a-z][a-z-]*)", shown)
        if found and found[1] not in subcommands():
            yield f"command {shown}"
        elif found:
            yield from (f"{found[0]} {o}" for o in OPTION.findall(shown) if o not in options_of(found[1]))
    known = {option for command in subcommands() for option in options_of(command)} | options_of_benchmarks()
    for span in SPAN.findall(FENCE.sub("", text)):
        if span.startswith("--"):
            yield from (f"option {option}" for option in OPTION.findall(span) if option not in known)
    yield from (line for line in lines if line.startswith("zoo ") and "..." not in line and not parses(line))


def parses(line: str) -> bool:
    """Whether a command line is understood; [what may be left out] is taken, N stands for a number."""
    words = shlex.split(re.sub(r"\[(-[^\]]*)\]", r"\1", line))[1:]
    with contextlib.redirect_stderr(io.StringIO()):
        try:
            build_parser().parse_args(["1" if word == "N" else word for word in words])
        except SystemExit:
            return False
    return True


def wrong_modules(text: str) -> Iterator[str]:
    """`python -m` of our own with options that the module does not have, and `make` of no target."""
    for name, rest in re.findall(r"python -m ((?:app|benchmarks)[\w.]*)([^`\n]*)", text):
        path = module_file(f"{name}.__main__") or module_file(name)
        if path is None:
            yield f"python -m {name}"
        elif name != "app.cli":
            options = OPTION.findall(rest)
            yield from (f"python -m {name} {o}" for o in options if f'"{o}"' not in path.read_text())
    targets = re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    shown = re.findall(r"`make ([a-z ]+)`|^make ([a-z]+)", text, re.MULTILINE)
    yield from (f"make {name}" for pair in shown for name in " ".join(pair).split() if name not in targets)


def module_file(dotted: str) -> Path | None:
    path = ROOT.joinpath(*dotted.split("."))
    files = (path / "__init__.py", path.with_suffix(".py"))
    return next((file for file in files if file.is_file()), None)


@cache
def tree(file: Path) -> ast.Module:
    return ast.parse(file.read_text())


def bound(body: list[ast.stmt]) -> Iterator[tuple[str, ast.stmt]]:
    """Every name that a module or a class binds, and where."""
    for node in body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            yield node.name, node
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            yield from ((name.id, node) for name in targets if isinstance(name, ast.Name))
        elif isinstance(node, ast.ImportFrom):
            yield from ((alias.asname or alias.name, node) for alias in node.names)
        elif isinstance(node, ast.If):
            yield from bound(node.body)


def lookup(dotted: str) -> ast.stmt | Path | None:
    """Where a dotted name is defined, through re-exports; None if nowhere."""
    parts = dotted.split(".")
    n = next((n for n in range(len(parts), 0, -1) if module_file(".".join(parts[:n]))), 0)
    file = module_file(".".join(parts[:n])) if n else None
    if file is None or n == len(parts):
        return file
    found = dict(bound(tree(file).body)).get(parts[n])
    if isinstance(found, ast.ImportFrom):
        return lookup(".".join([str(found.module), *parts[n:]]))
    for name in parts[n + 1 :]:
        found = dict(bound(found.body)).get(name) if isinstance(found, ast.ClassDef) else None
    return found


@cache
def members() -> set[str]:
    """The names of all methods and attributes of classes in the packages."""
    files = [file for package in PACKAGES for file in (ROOT / package).rglob("*.py")]
    classes = (node for file in files for node in ast.walk(tree(file)) if isinstance(node, ast.ClassDef))
    return {name for node in classes for name, _ in bound(node.body)}


def wrong_names(text: str) -> Iterator[str]:
    """Dotted names, files and folders in the text that do not exist; what the Python blocks use likewise."""
    ours = "|".join(PACKAGES)
    for span in SPAN.findall(FENCE.sub("", text)):
        dotted = re.fullmatch(rf"((?:{ours})(?:\.\w+)+)(?:\(.*\))?", span)
        if dotted and not lookup(dotted[1]):
            yield f"name {span}"
        path = re.fullmatch(rf"(?:{ours}|tests|docs)/[\w./-]+", span)
        if path and not (ROOT / span).exists():
            yield f"path {span}"
    for language, block in FENCE.findall(text):
        if language == "python":
            yield from wrong_code(ast.parse(block))


def wrong_code(code: ast.Module) -> Iterator[str]:
    """Imports, attributes and keyword arguments that do not exist."""
    homes = {name: name for name in PACKAGES}
    for node in ast.walk(code):
        if isinstance(node, ast.ImportFrom):
            homes |= {alias.name: f"{node.module}.{alias.name}" for alias in node.names}
    for name in homes.values():
        if not lookup(name):
            yield f"import {name}"
    for node in ast.walk(code):
        if isinstance(node, ast.Attribute):
            dotted = ast.unparse(node)
            if re.fullmatch(rf"(?:{'|'.join(PACKAGES)})[.\w]+", dotted):
                homes[dotted] = dotted
                if not lookup(dotted):
                    yield f"name {dotted}"
            elif node.attr not in members():
                yield f"attribute {dotted}"
    for node in ast.walk(code):
        if isinstance(node, ast.Call) and (called := homes.get(ast.unparse(node.func))):
            known = arguments_of(lookup(called))
            given = {keyword.arg for keyword in node.keywords if keyword.arg}
            if known is not None and given - known:
                yield f"arguments {', '.join(sorted(given - known))} of {called}"


def arguments_of(found: ast.stmt | Path | None) -> set[str] | None:
    """Names of a function's arguments, or a dataclass's fields; None where they can be any."""
    if isinstance(found, ast.ClassDef):
        return {name for name, node in bound(found.body) if isinstance(node, ast.AnnAssign)}
    if not isinstance(found, ast.FunctionDef) or found.args.kwarg:
        return None
    return {one.arg for one in [*found.args.posonlyargs, *found.args.args, *found.args.kwonlyargs]}


def wrong(text: str, file: Path) -> list[str]:
    return [
        *wrong_links(text, file), *wrong_commands(text), *wrong_modules(text), *wrong_names(text)
    ]  # fmt: skip


@pytest.mark.parametrize("file", GUIDES, ids=lambda file: file.name)
def test_what_is_shown_exists(file: Path) -> None:
    assert wrong(file.read_text(encoding="utf-8"), file) == []


def test_what_docstrings_name_exists() -> None:
    files = [file for package in PACKAGES for file in sorted((ROOT / package).rglob("*.py"))]
    found = {str(file): [*wrong_commands(text := file.read_text()), *wrong_names(text)] for file in files}
    assert {file: mistakes for file, mistakes in found.items() if mistakes} == {}


@pytest.mark.parametrize(
    ("text", "mistake"),
    [
        ("[a](docs/none.md)", "link docs/none.md"),
        ("[a](docs/app.md#no-such-part)", "heading docs/app.md#no-such-part"),
        ("`zoo foresee x`", "command zoo foresee x"),
        ("`zoo predict x --fast`", "zoo predict --fast"),
        ("`--no-such-option`", "option --no-such-option"),
        ("```\nzoo predict a.mp4   # no --out\n```", "zoo predict a.mp4"),
        ("```\nzoo predict a.mp4 \\\n   --batch-size many --out b\n```", "many"),
        ("`python -m benchmarks.nothing`", "python -m benchmarks.nothing"),
        ("`python -m benchmarks.accuracy --loud`", "python -m benchmarks.accuracy --loud"),
        ("`make haste`", "make haste"),
        ("`zoo.lood`", "name zoo.lood"),
        ("`zoo.Model.foresee()`", "name zoo.Model.foresee()"),
        ("`converters/nothing.py`", "path converters/nothing.py"),
        ("```python\nfrom hub_cards import nothing\n```", "import hub_cards.nothing"),
        ("```python\nimport zoo\nzoo.lood('x')\n```", "name zoo.lood"),
        ("```python\nimport zoo\nzoo.load('x', fast=True)\n```", "arguments fast of zoo.load"),
        ("```python\nposes.keypointz\n```", "attribute poses.keypointz"),
    ],
)
def test_mistakes_are_seen(text: str, mistake: str) -> None:
    (found,) = wrong(text, ROOT / "README.md")
    assert mistake in found


def test_right_ones_are_not_blamed() -> None:
    text = """[a](README.md#the-tree) `zoo models [--long]`, `make check test`,
`zoo.load(name)`, `zoo.Model.predict`
```
zoo train NAME --out DIR [--members N]    # comment
```
```python
import adaptation
adaptation.smooth(files, "multicam", cameras=["a", "b"]).save("x")
```
# The tree
"""
    assert wrong(text, ROOT / "README.md") == []
