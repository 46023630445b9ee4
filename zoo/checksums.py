"""SHA256SUMS: what the files of a published folder hash to, as `sha256sum -c SHA256SUMS` checks it.

`hub_cards` writes it beside every model and dataset that it publishes; whoever reads such a folder checks it,
so that a file which was changed afterwards is refused.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path, PurePosixPath

from superset_vocab.errors import all_problems
from superset_vocab.files import read_text, sha256_of

SUMS_FILE = "SHA256SUMS"


def sums_text(sums: Mapping[str, str]) -> str:
    """The text of a SHA256SUMS file: name -> digest, sorted by name."""
    return "".join(f"{digest}  {name}\n" for name, digest in sorted(sums.items()))


def read_sums(path: Path) -> dict[str, str]:
    """File name -> digest.

    Raises:
        InputError: If the file cannot be read, has another form, or names files outside its folder.
    """
    sums: dict[str, str] = {}
    problems = []
    for number, line in enumerate(read_text(path).splitlines(), 1):
        found = re.fullmatch(r"([0-9a-f]{64})  (.+)", line)
        name = PurePosixPath(found[2]) if found else PurePosixPath("..")
        if found is None or name.is_absolute() or ".." in name.parts or "\\" in found[2]:
            problems.append(f"line {number} is not a digest and the name of a file below it")
        else:
            sums[found[2]] = found[1]
    if problems:
        raise all_problems(f"{path}", problems)
    return sums


def check_sums(folder: Path, names: Iterable[str] | None = None) -> None:
    """Check files of a published folder against its SHA256SUMS.

    Args:
        folder: With SHA256SUMS in it.
        names: Only these; None takes all that it lists.

    Raises:
        InputError: Lists the files that are missing, changed, or not listed though asked for.
    """
    sums = read_sums(folder / SUMS_FILE)
    problems = []
    for name in sums if names is None else names:
        if name not in sums:
            problems.append(f"{name} is not listed in it")
        elif not (folder / name).is_file():
            problems.append(f"{name} is missing")
        elif sha256_of(folder / name) != sums[name]:
            problems.append(f"{name} is not the file that was published")
    if problems:
        raise all_problems(
            f"{folder / SUMS_FILE}: the folder was changed after it was published, or is damaged "
            "(get it again, or take another revision)",
            problems,
        )
