"""Tables that other programs read: nothing is lost or moved on the way."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import pytest
from data import need
from fakes import K, predictions_of
from hypothesis import given, settings
from hypothesis import strategies as st

from converters.formats.label_table import read_table
from superset_vocab import InputError, load_vocabulary
from zoo.exports import coco_results, dlc_table, read_h5_provenance, write_coco, write_dlc_csv, write_dlc_h5
from zoo.results import Predictions

VOCABULARY = load_vocabulary("superanimal_topviewmouse")


def values_of(predictions: Predictions) -> np.ndarray:
    """(T, N * K * 3) float32."""
    values = np.concatenate([predictions.keypoints, predictions.confidence[..., None]], -1)
    return values.reshape(len(predictions), -1)


def layout_version(path: Path) -> str:
    """What pandas 1 and 2 go by when they open a store; pandas 3 does not write it."""
    with h5py.File(path) as file:
        return file["df_with_missing"].attrs["pandas_version"].decode()


@pytest.mark.parametrize("n", [1, 2, 10])
def test_h5_opens_without_a_key_and_has_every_value(tmp_path: Path, n: int) -> None:
    predictions = predictions_of(20, n)
    path = tmp_path / "a.h5"
    write_dlc_h5(predictions, path)
    table = pd.read_hdf(path)
    assert isinstance(table, pd.DataFrame)
    np.testing.assert_array_equal(table.to_numpy(), values_of(predictions))
    assert table.to_numpy().dtype == np.float64
    assert table.index.tolist() == list(range(20))
    levels = ["scorer", "individuals", "bodyparts", "coords"]
    assert list(table.columns.names) == (levels if n > 1 else ["scorer", "bodyparts", "coords"])
    one = table["superanimal_topviewmouse_compact"]
    one = one["animal1"] if n > 1 else one
    which = 1 if n > 1 else 0
    np.testing.assert_array_equal(one["nose"]["likelihood"], predictions.confidence[:, which, 0])
    with pd.HDFStore(path, "r") as store:
        assert store.keys() == ["/df_with_missing"]
        assert store.get_storer("df_with_missing").is_table  # type: ignore[union-attr]
    assert layout_version(path) == "0.15.2"


def test_a_herd_fits_an_h5(tmp_path: Path) -> None:
    """HDF5 has 64 KiB for the names of columns; 45 animals of 27 keypoints have more."""
    predictions = predictions_of(1030, 45)
    (path, _) = predictions.save(tmp_path, "herd", ["h5"])
    table = pd.read_hdf(path)
    assert list(table.columns.names) == ["scorer", "individuals", "bodyparts", "coords"]
    assert list(table.index) == list(range(1030))
    np.testing.assert_array_equal(table.to_numpy().astype(np.float32), values_of(predictions))
    assert read_h5_provenance(path) == predictions.provenance
    assert layout_version(path) == "0.15.2"
    ours = read_table(path)
    assert ours.columns == tuple(map(tuple, table.columns))
    np.testing.assert_array_equal(ours.values, table.to_numpy())


def test_h5_carries_its_provenance(tmp_path: Path) -> None:
    predictions = predictions_of(3, 1)
    write_dlc_h5(predictions, tmp_path / "a.h5")
    assert read_h5_provenance(tmp_path / "a.h5") == predictions.provenance
    with pytest.raises(InputError, match="no table with provenance"):
        read_h5_provenance(need("trajectories") / "m3v1_three_networks" / OPENFIELD_H5)


def test_provenance_of_a_stranger_runs_nothing(tmp_path: Path) -> None:
    """PyTables unpickles attributes."""
    mark = tmp_path / "ran"
    with h5py.File(tmp_path / "a.h5", "w") as file:
        group = file.create_group("df_with_missing")
        group.attrs["provenance"] = np.bytes_(
            f"cpathlib\nPath.touch\n(cpathlib\nPath\n(V{mark}\ntRtR.".encode()
        )
    with pytest.raises(InputError, match=r"a\.h5: no table with provenance"):
        read_h5_provenance(tmp_path / "a.h5")
    assert not mark.exists()


@given(n=st.integers(1, 3), t=st.integers(1, 5), seed=st.integers(0, 10**6))
@settings(deadline=None, max_examples=15)
def test_csv_comes_back_exactly(tmp_path_factory: pytest.TempPathFactory, n: int, t: int, seed: int) -> None:
    predictions = predictions_of(t, n, seed)
    path = tmp_path_factory.mktemp("csv") / "a.csv"
    write_dlc_csv(predictions, path)
    levels = 4 if n > 1 else 3
    table = pd.read_csv(path, header=list(range(levels)), index_col=0)
    np.testing.assert_array_equal(table.to_numpy().astype(np.float32), values_of(predictions))
    assert table.columns.equals(dlc_table(predictions).columns)


OPENFIELD_H5 = "m3v1mp4DLC_resnet50_openfieldOct30shuffle1_100000.h5"


def test_tables_are_laid_out_as_deeplabcut_lays_them_out(tmp_path: Path) -> None:
    theirs = pd.read_hdf(need("trajectories") / "m3v1_three_networks" / OPENFIELD_H5)
    ours = dlc_table(predictions_of(5, 1))
    assert isinstance(theirs, pd.DataFrame)
    assert list(ours.columns.names) == list(theirs.columns.names)
    assert list(ours.columns.get_level_values("coords")[:6]) == list(
        theirs.columns.get_level_values("coords")[:6]
    )
    assert ours.index.name == theirs.index.name
    write_dlc_csv(predictions_of(5, 2), tmp_path / "a.csv")
    example = need("trajectories") / "deepof_tests/tests/test_examples/test_madlc_topview/Tables"
    with (example / "testDLC_csv_table_madlc.csv").open() as file:
        heads = [next(file).split(",")[0] for _ in range(5)]
    with (tmp_path / "a.csv").open() as file:
        assert [next(file).split(",")[0] for _ in range(5)] == heads


@pytest.mark.parametrize(("n", "t"), [(1, 1100), (45, 8)])
def test_images_are_called_by_their_names(tmp_path: Path, n: int, t: int) -> None:
    """As in DeepLabCut's tables of images; the longest name comes late, and not all are ASCII."""
    names = tuple(f"{'Mäuse/' * (i % 7)}img{i}.png" for i in range(t))
    predictions = replace(predictions_of(t, n), images=names, fps=None)
    predictions.save(tmp_path, "a", ["h5", "csv", "coco"])
    from_h5 = pd.read_hdf(tmp_path / "a.h5")
    from_csv = pd.read_csv(tmp_path / "a.csv", header=list(range(3 if n == 1 else 4)), index_col=0)
    for table in (from_h5, from_csv):
        assert tuple(table.index) == names
        np.testing.assert_array_equal(table.to_numpy().astype(np.float32), values_of(predictions))
    assert read_table(tmp_path / "a.h5").images == read_table(tmp_path / "a.csv").images == names
    results = json.loads((tmp_path / "a.coco.json").read_text())
    assert [r["file_name"] for r in results] == [names[r["image_id"]] for r in results]


def test_coco_has_the_individuals_that_are_there() -> None:
    predictions = predictions_of(6, 2)
    results = list(coco_results(predictions))
    there = np.argwhere(np.isfinite(predictions.bbox_confidence))
    assert [(r["image_id"], r["individual"]) for r in results] == [(t, f"animal{n}") for t, n in there]
    for result, (t, n) in zip(results, there, strict=True):
        points = np.array(result["keypoints"], np.float32).reshape(K, 3)
        np.testing.assert_array_equal(points[:, :2], predictions.keypoints[t, n])
        np.testing.assert_array_equal(points[:, 2], predictions.confidence[t, n])
        np.testing.assert_array_equal(np.array(result["bbox"], np.float32), predictions.bbox_xywh[t, n])
        product = predictions.bbox_confidence[t, n] * predictions.confidence[t, n].mean()
        assert result["score"] == pytest.approx(float(product), rel=1e-5)
        assert result["category_id"] == 1


def test_save_writes_what_is_asked_for(tmp_path: Path) -> None:
    predictions = predictions_of(4, 2)
    paths = predictions.save(tmp_path / "new" / "folder", "mouse", ("csv", "coco"))
    assert [path.name for path in paths] == ["mouse.csv", "mouse.coco.json", "mouse.provenance.json"]
    assert sorted(path.name for path in (tmp_path / "new" / "folder").iterdir()) == sorted(
        p.name for p in paths
    )
    about = json.loads(paths[-1].read_text())
    assert about["fps"] == "30000/1001"
    assert about["n_frames"] == 4
    assert about["model"] == "superanimal_topviewmouse"
    assert about["individuals"] == ["animal0", "animal1"]
    assert about["operations"] == [{"name": "ä"}]
    assert len(json.loads(paths[1].read_text())) == int(np.isfinite(predictions.bbox_confidence).sum())


def test_long_tables_are_written_in_pieces_without_a_seam(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    predictions = predictions_of(10, 2)
    whole = predictions.save(tmp_path, "whole")
    monkeypatch.setattr("zoo.exports._CHUNK", 3)
    pieces = predictions.save(tmp_path, "pieces")
    assert whole[1].read_text() == pieces[1].read_text()
    tables = [pd.read_hdf(path) for path in (whole[0], pieces[0])]
    assert isinstance(tables[0], pd.DataFrame)
    assert tables[0].equals(tables[1])


def test_unknown_format_writes_nothing(tmp_path: Path) -> None:
    for formats, words in ((("h5", "slp"), "'slp' is no format"), ((), "nothing is no format")):
        with pytest.raises(InputError, match=words):
            predictions_of(2, 1).save(tmp_path / "out", "a", formats)
    assert not (tmp_path / "out").exists()


def test_a_file_in_place_of_the_folder(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("mine")
    with pytest.raises(InputError, match="out: cannot write into this output folder"):
        predictions_of(2, 1).save(tmp_path / "out", "a")
    assert (tmp_path / "out").read_text() == "mine"


def test_individuals_that_never_occur(tmp_path: Path) -> None:
    predictions = replace(predictions_of(3, 1, absent=1.1))
    assert list(coco_results(predictions)) == []
    write_coco(predictions, tmp_path / "a.json")
    assert json.loads((tmp_path / "a.json").read_text()) == []
    write_dlc_h5(predictions, tmp_path / "a.h5")
    table = pd.read_hdf(tmp_path / "a.h5")
    assert isinstance(table, pd.DataFrame)
    assert table.shape == (3, K * 3)
    assert table.isna().all().all()


def test_long_provenance_fits_an_h5(tmp_path: Path) -> None:
    """HDF5 attributes end at 64 KiB; a smoother's parameters for many keypoints do not."""
    predictions = predictions_of(3, 2)
    about = {
        **predictions.provenance,
        "operations": [{"name": f"smooth {i}", "q": i / 7} for i in range(4000)],
    }
    write_dlc_h5(replace(predictions, provenance=about), tmp_path / "a.h5")
    assert read_h5_provenance(tmp_path / "a.h5") == about
    assert len(pd.read_hdf(tmp_path / "a.h5")) == 3
