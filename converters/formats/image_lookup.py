"""Finding the images that a label file names, wherever the dataset was moved to.

A name is looked for below several folders. Each folder is listed once, because a stat for each image and
each place would cost more than reading the labels. A name that was absolute on somebody else's machine
("D:\\lab\\clips\\c1\\0.jpg") is found by the longest of its ends that exists here. A name never leads out
of the folders: ".." is refused.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path, PurePosixPath

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp")


def posix_name(name: str) -> PurePosixPath:
    """A file name with "/" between its parts; files made on Windows have backslashes."""
    return PurePosixPath(name.replace("\\", "/"))


def places_of_images(file: Path) -> list[Path]:
    """Folders in which the images of a label file may lie, the likeliest first."""
    here, up = file.parent, file.parent.parent
    places = [here, here / "images", here / "data", up, up / "images", up / "data"]
    if here.name == "annotations":
        beside = [path for folder in (up, up / "images") if folder.is_dir() for path in folder.iterdir()]
        # person_keypoints_val2017.json is about val2017/.
        beside.sort(key=lambda path: (path.name not in file.stem, path))
        places += [path for path in beside if path.is_dir() and path != here]
    return places


def folders_of(names: Iterable[str]) -> list[str]:
    """Of each image the folder that its name puts it in, below what all have in common; "" without one."""
    parents = [posix_name(name).parent.parts for name in names]
    distinct = {parts for parts in parents if parts}
    shared = 0
    # The folder that all images are in still has a name: what is shared ends above it.
    while (
        distinct
        and all(len(parts) > shared + 1 for parts in distinct)
        and len({p[shared] for p in distinct}) == 1
    ):
        shared += 1
    return ["/".join(parts[shared:]) for parts in parents]


class ImageFinder:
    """Looks image names up below folders, the first that has one wins."""

    def __init__(self, roots: Iterable[Path]) -> None:
        self.roots = tuple(dict.fromkeys(roots))
        self._listed: dict[Path, frozenset[str]] = {}
        self._below: dict[PurePosixPath, list[tuple[Path, frozenset[str]]]] = {}

    def __call__(self, name: str) -> Path:
        """Where an image lies; where it would be expected if it is nowhere.

        Raises:
            ValueError: If the name leads out of the folders.
        """
        parts = posix_name(name)
        if ".." in parts.parts or not parts.name:
            raise ValueError("its file name leads out of the dataset's folder; move the image into it")
        absolute = parts.is_absolute() or parts.parts[0].endswith(":")
        ends = [PurePosixPath(*parts.parts[i:]) for i in range(1, len(parts.parts))] if absolute else [parts]
        for end in ends:
            for folder, names in self._places(end.parent):
                if end.name in names:
                    return folder / end.name
        return self.roots[0] / ends[-1]

    def listing(self, folder: Path) -> frozenset[str]:
        """Names of what lies in a folder; empty where there is no such folder."""
        if folder not in self._listed:
            try:
                self._listed[folder] = frozenset(os.listdir(folder))  # noqa: PTH208 - names only, no Path each
            except OSError:
                self._listed[folder] = frozenset()
        return self._listed[folder]

    def _places(self, parent: PurePosixPath) -> list[tuple[Path, frozenset[str]]]:
        """The folders of that name below the roots, those that have something in them."""
        if parent not in self._below:
            folders = [root / parent for root in self.roots]
            self._below[parent] = [
                (folder, self.listing(folder)) for folder in folders if self.listing(folder)
            ]
        return self._below[parent]
