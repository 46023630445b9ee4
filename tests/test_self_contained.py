"""HDF5 label files of strangers: what is in them is read, and nothing else of the machine."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import pytest
from label_sets import write_image

from converters import read_labels
from superset_vocab import InputError

_VALUES = np.arange(8, dtype=np.float64).reshape(2, 4)


def label_file(folder: Path) -> Path:
    """A DeepLabCut h5 with its two images."""
    images = [f"labeled-data/v1/img{n}.png" for n in range(2)]
    for n, name in enumerate(images):
        write_image(folder / name, seed=n)
    columns = pd.MultiIndex.from_product(
        [["me"], ["nose", "tail"], ["x", "y"]], names=["scorer", "bodyparts", "coords"]
    )
    path = folder / "labeled-data" / "v1" / "CollectedData_me.h5"
    pd.DataFrame(_VALUES, images, columns).to_hdf(path, key="df_with_missing", format="fixed")
    return path


def bytes_of(file: h5py.File, place: str, secret: Path) -> None:
    file.create_dataset(place, (2, 4), "u1", external=[(str(secret), 0, 8)])


def link_to(file: h5py.File, place: str, secret: Path) -> None:
    file[place] = h5py.ExternalLink(str(secret), "values")


def view_of(file: h5py.File, place: str, secret: Path) -> None:
    layout = h5py.VirtualLayout((2, 4), np.float64)
    layout[:] = h5py.VirtualSource(str(secret), "values", (2, 4))
    file.create_virtual_dataset(place, layout)


@pytest.mark.parametrize("steal", [bytes_of, link_to, view_of])
def test_a_label_file_cannot_have_its_numbers_from_another_file(
    steal: Callable[[h5py.File, str, Path], None], tmp_path: Path
) -> None:
    path, secret = label_file(tmp_path / "mine"), tmp_path / "host" / "secret.h5"
    np.testing.assert_array_equal(read_labels(path).records[0].keypoints[0], [[0, 1], [2, 3]])
    secret.parent.mkdir()
    with h5py.File(secret, "w") as file:
        file["values"] = _VALUES
    with h5py.File(path, "r+") as file:
        place = "df_with_missing/block0_values"
        attributes = dict(file[place].attrs)
        del file[place]
        steal(file, place, secret)
        if steal is not link_to:
            file[place].attrs.update(attributes)
    with pytest.raises(InputError, match=r"its part 'df_with_missing/block0_values' is not in it but in ano"):
        read_labels(path)


def test_nor_can_a_sleap_file_and_groups_within_each_other_end(tmp_path: Path) -> None:
    pytest.importorskip("sleap_io", reason="the extra sleap is not installed")
    path = tmp_path / "labels.slp"
    (tmp_path / "secret").write_bytes(bytes(200))
    with h5py.File(path, "w") as file:
        group = file.create_group("video0")
        group["itself"] = group
        group.create_dataset("video", (200,), "i1", external=[(str(tmp_path / "secret"), 0, 200)])
    with pytest.raises(InputError, match=r"its part 'video0/(itself/)?video' is not in it but in another"):
        read_labels(path)
