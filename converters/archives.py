"""Archives from strangers, extracted so that they can only fill the folder they were given, and not the disk.

Refused: names that lead out of the folder, two members of one name, more content than the archive can
honestly hold, encryption. Left out: links, devices, and what macOS adds to archives.
"""

from __future__ import annotations

import gzip
import logging
import lzma
import shutil
import stat
import struct
import tarfile
import zipfile
import zlib
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from errno import EINVAL
from pathlib import Path, PurePosixPath
from typing import IO, Any

from tqdm import tqdm

from superset_vocab import InputError
from superset_vocab.errors import all_problems
from superset_vocab.files import atomic_folder

_LOG = logging.getLogger(__name__)
_LARGEST_RATIO = 20  # photographs hardly shrink, label files about tenfold
_ALLOWANCE = 1 << 30  # bytes that a small archive may hold whatever its ratio
_MOST_MEMBERS = 1_000_000
_CHUNK = 1 << 20
# What Python's readers raise on bytes that are none of an archive's, or on a compression they do not know.
_DAMAGED = (
    zipfile.BadZipFile, tarfile.TarError, zlib.error, lzma.LZMAError, gzip.BadGzipFile, struct.error,
    EOFError, IndexError, NotImplementedError, UnicodeError,
)  # fmt: skip


@dataclass(frozen=True)
class _Member:
    """A file in an archive: its name, size in bytes, whether it is an ordinary one, and its entry."""

    name: str
    size: int
    ordinary: bool
    entry: Any


def extract(archive: Path, out: Path, *, progress: bool = False) -> Path:
    """Extract a .zip or .tar (also compressed) into a new folder; all of it or nothing.

    Args:
        archive: The file; its content says what it is, not its name.
        out: A new or empty folder.
        progress: Show a progress bar.

    Raises:
        InputError: If it is no archive, is damaged, or holds what it should not (all is listed).
    """
    try:
        with _opened(archive) as (members, read):
            wanted = [member for member in members if member.ordinary and not is_clutter(member.name)]
            _check(archive, members, wanted)
            with atomic_folder(out) as folder:
                bar = tqdm(wanted, desc="extract", unit="file", leave=False, disable=not progress)
                for member in bar:
                    target = folder / PurePosixPath(member.name)
                    target.parent.mkdir(parents=True, exist_ok=True)
                    with read(member.entry) as source, target.open("xb") as file:
                        _copy(source, file, member)
    except (FileExistsError, NotADirectoryError) as error:
        name = Path(str(error.filename)).name
        raise InputError(f"{archive}: {name!r} is a file and a folder in it; pack it again") from error
    except (*_DAMAGED, OSError) as error:
        if isinstance(error, OSError) and not isinstance(error, gzip.BadGzipFile) and error.errno != EINVAL:
            raise  # the disk, not the archive; EINVAL is a seek to where a damaged directory points
        raise InputError(f"{archive}: is damaged ({error}); delete it and download it again") from error
    return out


@contextmanager
def _opened(archive: Path) -> Iterator[tuple[list[_Member], Any]]:
    """The members of an archive, and a function that opens one by its entry."""
    if zipfile.is_zipfile(archive):
        with zipfile.ZipFile(archive) as file:
            yield [_zip_member(info) for info in file.infolist() if not info.is_dir()], file.open
    elif tarfile.is_tarfile(archive):
        with tarfile.open(archive) as file:
            members = [info for info in file.getmembers() if not info.isdir()]
            yield [_Member(i.name, i.size, i.isreg(), i) for i in members], file.extractfile
    else:
        raise InputError(f"{archive}: is neither a zip nor a tar archive; was it downloaded completely?")


def _zip_member(info: zipfile.ZipInfo) -> _Member:
    """A file of a zip archive; its Unix mode, if it has one, says whether it is a link."""
    kind = stat.S_IFMT(info.external_attr >> 16)
    return _Member(info.filename, info.file_size, kind in (0, stat.S_IFREG), info)


def _check(archive: Path, members: list[_Member], wanted: list[_Member]) -> None:
    """Refuse an archive that holds what it should not; say what is left out."""
    problems = [f"{m.name!r} leads out of the folder" for m in members if not _is_inside(m.name)]
    names = Counter(str(PurePosixPath(member.name)).casefold() for member in wanted)
    problems += [f"{name!r} is in it {times} times" for name, times in sorted(names.items()) if times > 1]
    problems += [f"{m.name!r} is encrypted" for m in wanted if getattr(m.entry, "flag_bits", 0) & 0x1]
    total, packed = sum(member.size for member in wanted), archive.stat().st_size
    if total > _LARGEST_RATIO * packed + _ALLOWANCE:
        problems.append(f"its {packed} bytes claim to hold {total}, which no archive of images does")
    if len(members) > _MOST_MEMBERS:
        problems.append(f"it has {len(members)} members, more than {_MOST_MEMBERS}")
    if problems:
        raise all_problems(f"{archive} is not extracted", problems)
    links = [member.name for member in members if not member.ordinary]
    if links:
        _LOG.warning("%s: %d links and devices are left out, e.g. %s", archive, len(links), links[0])
    free = shutil.disk_usage(archive.parent).free
    if total > free:
        raise InputError(
            f"{archive}: its content needs {total / 1e9:.1f} GB, the disk has {free / 1e9:.1f} GB left"
        )


def _is_inside(name: str) -> bool:
    """Whether a member's name stays in the folder on every system."""
    parts = PurePosixPath(name.replace("\\", "/"))
    return not (parts.is_absolute() or ".." in parts.parts or ":" in name or "\0" in name or not parts.parts)


def is_clutter(name: str) -> bool:
    """Whether macOS added it."""
    parts = PurePosixPath(name).parts
    return "__MACOSX" in parts or (bool(parts) and (parts[-1] == ".DS_Store" or parts[-1].startswith("._")))


def _copy(source: IO[bytes], target: IO[bytes], member: _Member) -> None:
    """Copy a member's content, which must be as long as the archive said."""
    n_bytes = 0
    while chunk := source.read(_CHUNK):
        n_bytes += len(chunk)
        if n_bytes > member.size:
            break
        target.write(chunk)
    if n_bytes != member.size:
        raise zipfile.BadZipFile(f"{member.name} is not {member.size} bytes long")
