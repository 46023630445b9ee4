"""HDF5 files that lead nowhere else.

An HDF5 file may say that a group is to be found in another file, or that the bytes of an array are those of
any file at all, and whoever opens it reads them without noticing. A stranger's label file could so turn
/etc/passwd into the coordinates of keypoints, and get them back in what is made of its labels.
"""

from __future__ import annotations

from pathlib import Path

import h5py
from h5py import h5o  # pyright: ignore[reportAttributeAccessIssue] - compiled, without types

from superset_vocab import InputError


def check_self_contained(path: Path) -> None:
    """Refuse an HDF5 file that takes anything from another file; nothing of it is read before.

    Raises:
        InputError: If it does.
        OSError, ValueError, RuntimeError: If it is no HDF5 file, or a broken one.
    """
    with h5py.File(path, "r") as file:
        _check(path, file, set())


def _check(path: Path, group: h5py.Group, seen: set[int]) -> None:
    """Look through a group; each once, since groups may be in each other."""
    address = h5o.get_info(group.id).addr
    if address in seen:
        return
    seen.add(address)
    for name in group:
        link = group.get(name, getlink=True)
        if isinstance(link, h5py.ExternalLink):
            raise _refused(path, f"{group.name}/{name}")
        if isinstance(link, h5py.SoftLink):
            continue  # within the file: its target is looked at where it stands
        node = group[name]
        if isinstance(node, h5py.Group):
            _check(path, node, seen)
        elif isinstance(node, h5py.Dataset) and (node.external or node.is_virtual):
            raise _refused(path, str(node.name))


def _refused(path: Path, name: str) -> InputError:
    return InputError(
        f"{path}: its part {name.lstrip('/')!r} is not in it but in another file; save it again, in one piece"
    )
