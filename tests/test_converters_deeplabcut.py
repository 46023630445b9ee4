"""DeepLabCut labels: real ones, both index layouts, csv and h5, and what is wrong with broken ones."""

from __future__ import annotations

import pickle
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import pytest
from data import need
from foreign_files import BODYPARTS, edit, make_project
from label_sets import assert_same, write_image

from converters import convert, read_labels
from converters.formats import deeplabcut
from converters.formats.label_table import read_table
from converters.formats.plain_pickle import plain_data
from superset_vocab import InputError, Visibility

OPENFIELD = "openfield-Pranav-2018-10-30"


def to_h5(csv_file: Path, *, layout: str, levels: int) -> Path:
    """The h5 that DeepLabCut would write beside a csv."""
    frame = pd.read_csv(csv_file, header=[0, 1, 2], index_col=list(range(levels)))
    frame.index.names = [None] * levels
    frame.columns.names = ["scorer", "bodyparts", "coords"]
    path = csv_file.with_suffix(".h5")
    frame.to_hdf(path, key="df_with_missing", mode="w", format=layout)
    return path


def test_a_damaged_h5_is_no_traceback(tmp_path):
    """A copy with wrong bytes: HDF5 complains in several ways."""
    content = next(need("inscopix_bottomview").rglob("CollectedData_*.h5")).read_bytes()
    rng = np.random.default_rng(0)
    refused = 0
    for _ in range(150):
        broken = bytearray(content)
        for place in rng.integers(len(content), size=20):
            broken[place] ^= 0xFF
        (tmp_path / "CollectedData_a.h5").write_bytes(broken)
        try:
            read_table(tmp_path / "CollectedData_a.h5")
        except InputError:
            refused += 1
    assert refused > 75


def test_openfield_csv_and_h5_say_the_same():
    folder = need(OPENFIELD) / "labeled-data" / "m4s1"
    from_csv, from_h5 = (
        read_labels(folder / f"CollectedData_Pranav.{suffix}", dataset="o") for suffix in ("csv", "h5")
    )
    assert_same(from_csv, from_h5, sources=False)
    assert (len(from_csv), from_csv.n_instances) == (116, 116)


def test_openfield_project():
    labels = read_labels(need(OPENFIELD), dataset="openfield")
    assert labels.keypoints == ("snout", "leftear", "rightear", "tailbase")
    assert {(r.split_group, r.size_wh, r.dataset) for r in labels.records} == {
        ("m4s1", (640, 480), "openfield")
    }
    first = labels.records[0]
    assert first.source_image == "labeled-data/m4s1/img0000.png"
    expected = [[21.521, 265.428], [33.819, 265.941], [19.984, 250.056], [87.11, 152.698]]
    np.testing.assert_allclose(first.keypoints[0], expected, atol=1e-9)
    assert np.isnan(first.bbox_xywh).all()
    assert all((r.visibility == Visibility.VISIBLE).all() for r in labels.records)


def test_a_napari_project_with_three_index_columns():
    labels = read_labels(need("inscopix_bottomview"))
    assert (len(labels), labels.keypoints) == (20, ("nose", "center", "tail"))
    folder = need("inscopix_bottomview") / "labeled-data"
    (h5,) = folder.glob("*/*.h5")
    assert_same(labels, read_labels(h5, dataset="inscopix_bottomview"), sources=False)


def test_the_horse_h5_has_its_22_keypoints():
    table = read_table(need("horse10_BrownHorseinShadow") / "BrownHorseinShadow_gt.h5")
    assert table.values.shape == (308, 44)
    assert table.images[0] == "labeled-data/BrownHorseinShadow/0050.png"
    assert table.level("bodyparts")[:4] == ("Nose", "Nose", "Eye", "Eye")


@pytest.mark.parametrize("levels", [1, 3])
def test_a_project_made_here(tmp_path, levels):
    labels = deeplabcut.read(make_project(tmp_path, levels=levels), dataset="mine")
    assert labels.keypoints == BODYPARTS
    assert [r.split_group for r in labels.records] == ["v1"] * 3 + ["v2"] * 3
    assert [r.source_image for r in labels.records[:2]] == [
        "labeled-data/v1/img0.png",
        "labeled-data/v1/img1.png",
    ]
    second = labels.records[1]
    assert second.visibility.tolist() == [[2, 0, 2]]
    np.testing.assert_array_equal(second.keypoints, [[[1, 0.25], [np.nan, np.nan], [21, 0.25]]])
    assert second.size_wh == (32, 24)


@pytest.mark.parametrize(("levels", "layout"), [(1, "fixed"), (1, "table"), (3, "fixed")])
def test_every_h5_layout_says_what_the_csv_says(tmp_path, levels, layout):
    project = make_project(tmp_path, levels=levels)
    from_csv = deeplabcut.read(project, dataset="mine")
    for csv_file in sorted(project.glob("labeled-data/*/*.csv")):
        to_h5(csv_file, layout=layout, levels=levels)
        csv_file.unlink()
    assert_same(deeplabcut.read(project, dataset="mine"), from_csv)


def test_the_order_is_that_of_the_config(tmp_path):
    project = make_project(tmp_path)
    edit(project / "config.yaml", "- snout\n- leftear\n", "- leftear\n- snout\n")
    labels = deeplabcut.read(project, dataset="mine")
    assert labels.keypoints == ("leftear", "snout", "tail base")
    np.testing.assert_array_equal(labels.records[0].keypoints[0, :, 0], [10, 0, 20])


def test_unlabelled_folders_and_label_pictures_are_passed_over(tmp_path):
    project = make_project(tmp_path)
    write_image(project / "labeled-data" / "v3" / "img0.png")
    write_image(project / "labeled-data" / "v1_labeled" / "img0.png")
    assert len(deeplabcut.read(project, dataset="mine")) == 6


def test_a_frame_without_labels_stays(tmp_path, caplog):
    project = make_project(tmp_path, videos=("v1",))
    edit(project / "labeled-data/v1/CollectedData_Ann.csv", "img2.png,2,0.5,12,0.5,22,0.5", "img2.png,,,,,,")
    labels = deeplabcut.read(project, dataset="mine")
    assert labels.records[2].visibility.tolist() == [[0, 0, 0]]
    assert "1 of 3 frames have no annotated keypoint" in caplog.text


def test_nan_only_labels_are_refused(tmp_path):
    project = make_project(tmp_path, videos=("v1",), n_frames=1)
    edit(project / "labeled-data/v1/CollectedData_Ann.csv", "0,0.0,10,0.0,20,0.0", "nan,NaN,,,,")
    with pytest.raises(InputError, match="none of its 1 images has an annotated keypoint"):
        read_labels(project)


def test_all_broken_images_are_listed_and_nothing_is_written(tmp_path):
    project = make_project(tmp_path)
    frames = project / "labeled-data"
    (frames / "v1/img0.png").unlink()
    (frames / "v1/img2.png").write_bytes(b"")
    (frames / "v2/img1.png").write_text("not an image")
    with pytest.raises(InputError) as error:
        convert(project, "dlc-openfield", tmp_path / "out")
    for part in (
        "3 problems",
        "v1/img0.png: no such image",
        "v1/img2.png: the image is empty",
        "v2/img1.png: is not",
    ):
        assert part in str(error.value)
    assert not (tmp_path / "out").exists()
    assert [p.name for p in tmp_path.iterdir()] == ["project"]


def test_duplicated_keypoints_in_the_config(tmp_path):
    project = make_project(tmp_path)
    edit(project / "config.yaml", "- leftear\n", "- leftear\n- snout\n")
    with pytest.raises(InputError, match=r"config\.yaml: bodypart 'snout' is listed more than once"):
        deeplabcut.read(project, dataset="mine")


@pytest.mark.parametrize("suffix", ["csv", "h5"])
def test_duplicated_keypoints_in_a_table(tmp_path, suffix):
    table = make_project(tmp_path, videos=("v1",)) / "labeled-data/v1/CollectedData_Ann.csv"
    if suffix == "h5":
        columns = pd.MultiIndex.from_product([["Ann"], ["snout", "snout"], ["x", "y"]])
        columns.names = ["scorer", "bodyparts", "coords"]
        table = table.with_suffix(".h5")
        frame = pd.DataFrame(np.ones((1, 4)), index=["labeled-data/v1/img0.png"], columns=columns)
        frame.to_hdf(table, key="df_with_missing", mode="w", format="table")
    else:
        edit(table, "leftear,leftear", "snout,snout")
    with pytest.raises(InputError, match="bodypart 'snout' occurs 2 times"):
        deeplabcut.read(table, dataset="mine")


def test_all_problems_of_a_project_are_listed(tmp_path):
    project = make_project(tmp_path)
    edit(project / "labeled-data/v1/CollectedData_Ann.csv", "tail base,tail base", "tailbase,tailbase")
    edit(project / "labeled-data/v2/CollectedData_Ann.csv", "img1.png", "img0.png")
    with pytest.raises(InputError) as error:
        deeplabcut.read(project, dataset="mine")
    for part in (
        "3 problems",
        "'tailbase' is not in config.yaml",
        "'tail base' of config.yaml has no columns",
        "image labeled-data/v2/img0.png has 2 rows",
    ):
        assert part in str(error.value)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("img0.png,0,0.0", "img0.png,0,zero", "'zero' where a number belongs"),
        ("img0.png,0,0.0", "img0.png,0,", "'snout' has only one of x and y"),
        ("img0.png,0,0.0", "img0.png,0,0.0,7", "row 4 has 10 cells, the header 9"),
        ("img0.png,0,0.0", "img0.png,inf,0.0", "infinite"),
        ("Ann,Ann\n", "Ann,Bob\n", "several scorers: Ann, Bob"),
        ("bodyparts,", "nodes,", "no DeepLabCut header"),
        ("coords,,,x,y", "coords,,,x,likelihood", "these are predictions, not labels"),
        ("coords,,,x,y", "coords,,,x,z", "'snout' has the columns x, z"),
    ],
)
def test_a_broken_csv_names_its_fault(tmp_path, old, new, message):
    table = make_project(tmp_path, videos=("v1",)) / "labeled-data/v1/CollectedData_Ann.csv"
    edit(table, old, new)
    with pytest.raises(InputError, match=message) as error:
        deeplabcut.read(table, dataset="mine")
    assert "CollectedData_Ann.csv" in str(error.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("bodyparts: [a", "is not YAML"),
        ("just text", "not a DeepLabCut"),
        ("scorer: A", "no list of bodyparts"),
    ],
)
def test_a_broken_config_names_its_fault(tmp_path, text, message):
    project = make_project(tmp_path)
    (project / "config.yaml").write_text(text)
    with pytest.raises(InputError, match=message):
        read_labels(project)


def test_a_project_without_labels(tmp_path):
    project = make_project(tmp_path, videos=("v1",))
    (project / "labeled-data/v1/CollectedData_Ann.csv").unlink()
    with pytest.raises(InputError, match="no CollectedData_"):
        read_labels(project)


class _Bomb:
    """Leaves a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


def test_a_strangers_h5_runs_no_code(tmp_path):
    project = make_project(tmp_path, levels=1, videos=("v1",))
    h5 = to_h5(project / "labeled-data/v1/CollectedData_Ann.csv", layout="table", levels=1)
    bomb = pickle.dumps(_Bomb(tmp_path / "boom"), 0)
    with h5py.File(h5, "r+") as file:
        for name in ("non_index_axes", "info", "values_cols"):
            file["df_with_missing"].attrs[name] = np.bytes_(bomb)
        file["df_with_missing/table"].attrs["TITLE"] = np.bytes_(bomb)
    with pytest.raises(InputError, match=r"without unpickling .* use the csv") as error:
        read_labels(h5)
    assert "CollectedData_Ann.h5" in str(error.value)
    assert not (tmp_path / "boom").exists()
    pickle.loads(bomb)
    assert (tmp_path / "boom").exists()  # the bomb was live


def test_a_text_file_named_h5(tmp_path):
    (tmp_path / "CollectedData_A.h5").write_text("hello")
    with pytest.raises(InputError, match="use the csv"):
        read_labels(tmp_path / "CollectedData_A.h5")


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_plain_pickles_are_decoded(protocol):
    shared = ("snout", "x")
    value = [
        (1, [shared, shared, ("é", "y"), ()]),
        {"names": [None, True, -3, 2**70, 0.5], "t": (1, 2, 3)},
        {},
    ]
    assert plain_data(pickle.dumps(value, protocol)) == value


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_pickles_that_are_more_than_data_are_refused(tmp_path, protocol):
    with pytest.raises(ValueError, match="more than plain data"):
        plain_data(pickle.dumps([_Bomb(tmp_path / "boom")], protocol))
    assert not (tmp_path / "boom").exists()


@pytest.mark.parametrize("pickled", [b"", b"junk", b"(lp0\n", b"a.", b"g7\n.", b"t.", b"."])
def test_broken_pickles_are_refused(pickled):
    with pytest.raises(ValueError, match="not a pickle of plain data"):
        plain_data(pickled)


def multi_table(columns: list[tuple[str, str]], rows: list[list]) -> str:
    """A multi-animal csv of video v1: (individual, bodypart) of each pair of columns; None is no label."""
    heads = [["A"] * len(columns), [i for i, _ in columns], [name for _, name in columns]]
    lines = [f"{level},,," + ",".join(f"{n},{n}" for n in head) for level, head in zip(
        ("scorer", "individuals", "bodyparts"), heads, strict=True)]  # fmt: skip
    lines.append("coords,,," + ",".join(["x,y"] * len(columns)))
    for f, row in enumerate(rows):
        cells = ["," if cell is None else f"{cell[0]},{cell[1]}" for cell in row]
        lines.append(f"labeled-data,v1,img{f}.png," + ",".join(cells))
    return "\n".join(lines) + "\n"


def make_multi(folder: Path) -> Path:
    """Two mice and a corner of the cage; one mouse in the second frame, nobody in the third."""
    columns = [("m2", "nose"), ("m2", "tail"), ("m1", "nose"), ("single", "corner")]
    rows = [[(1, 2), None, (3, 4), (9, 9)], [None, None, (5, 6), None], [None] * 4]
    for f in range(3):
        write_image(folder / f"p/labeled-data/v1/img{f}.png", seed=f)
    (folder / "p/labeled-data/v1/CollectedData_A.csv").write_text(multi_table(columns, rows))
    (folder / "p/config.yaml").write_text(
        "scorer: A\nmultianimalproject: true\nindividuals: [m1, m2]\nuniquebodyparts: [corner]\n"
        "multianimalbodyparts: [tail, nose]\nbodyparts: MULTI!\n"
    )
    return folder / "p"


def test_every_labelled_individual_is_an_instance_and_unique_bodyparts_are_one_of_their_own(tmp_path):
    labels = deeplabcut.read(make_multi(tmp_path), dataset="mice")
    assert labels.keypoints == ("tail", "nose", "corner")
    first, second, third = labels.records
    assert first.individuals == ("m2", "m1", "single")
    assert first.visibility.tolist() == [[0, 2, -1], [0, 2, -1], [-1, -1, 2]]
    np.testing.assert_array_equal(first.keypoints[:, 1], [[1, 2], [3, 4], [np.nan, np.nan]])
    np.testing.assert_array_equal(first.keypoints[2, 2], [9, 9])
    assert (second.individuals, second.visibility.tolist()) == (("m1",), [[0, 2, -1]])
    assert (len(third), third.individuals) == (0, ())


def test_without_config_the_table_says_what_there_is(tmp_path):
    project = make_multi(tmp_path)
    whole = deeplabcut.read(project, dataset="mice")
    (project / "config.yaml").unlink()
    for source in (project, project / "labeled-data/v1", project / "labeled-data/v1/CollectedData_A.csv"):
        labels = read_labels(source, dataset="mice")
        assert labels.keypoints == ("nose", "tail", "corner")
        assert [r.individuals for r in labels.records] == [r.individuals for r in whole.records]


def test_tables_of_both_kinds_without_config_are_refused(tmp_path):
    project = make_multi(tmp_path)
    (project / "config.yaml").unlink()
    write_image(project / "labeled-data/v2/img0.png")
    text = "scorer,A,A\nbodyparts,nose,nose\ncoords,x,y\nlabeled-data/v2/img0.png,1,2\n"
    (project / "labeled-data/v2/CollectedData_B.csv").write_text(text)
    with pytest.raises(InputError, match=r"CollectedData_B\.csv: has no individuals, unlike CollectedData_A"):
        read_labels(project)


def test_a_real_multi_animal_project_with_other_image_endings(caplog):
    labels = read_labels(need("dlulab_bottomview"))
    assert (len(labels), labels.n_instances, len(labels.keypoints)) == (39, 39, 12)
    assert {r.individuals for r in labels.records} == {("Mouse",)}
    assert len({r.split_group for r in labels.records}) == 3
    first = labels.records[0]
    assert (first.image.name, first.source_image.rpartition("/")[2]) == ("img0364.jpg", "img0364.png")
    np.testing.assert_allclose(first.keypoints[0, 0], [349.83852692, 1155.71621247])
    assert "39 images have another ending than the labels say" in caplog.text


def test_frames_of_the_same_name_in_two_folders_stay_apart(tmp_path):
    labels = deeplabcut.read(make_project(tmp_path), dataset="mine")
    images = [r.image for r in labels.records]
    assert [image.name for image in images] == ["img0.png", "img1.png", "img2.png"] * 2
    assert len({image.read_bytes() for image in images}) == 6
    assert len({r.source_image for r in labels.records}) == 6


def test_several_endings_of_one_name_are_not_guessed(tmp_path):
    project = make_project(tmp_path, videos=("v1",))
    place = project / "labeled-data/v1"
    (place / "img0.png").rename(place / "img0.bmp")
    (place / "img0.jpg").write_bytes((place / "img1.png").read_bytes())
    with pytest.raises(InputError, match=r"img0\.png: no such image"):
        read_labels(project)
