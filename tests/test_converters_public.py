"""Layouts of public datasets, made small: AP-10K, APT-36K, mmpose's, StanfordExtra, Lightning Pose."""

from __future__ import annotations

import json

import numpy as np
import pytest
from data import need
from foreign_files import AP10K, make_ap10k, make_lightning_pose, make_stanford
from label_sets import write_image

from converters import convert, detect_format, load_superset, read_labels
from converters.formats.image_lookup import folders_of
from converters.formats.stanford_extra import KEYPOINTS
from superset_vocab import InputError, load_map


def test_ap10k_by_its_official_split(tmp_path):
    folder = make_ap10k(tmp_path / "ap10k")
    assert detect_format(folder).name == "coco-parts"
    labels = read_labels(folder)
    assert labels.keypoints == tuple(AP10K)
    assert [(r.source_id, r.source_split) for r in labels.records] == [
        (102, "train"), (7, "train"), (55, "val"), (9001, "test")
    ]  # fmt: skip
    assert [r.categories for r in labels.records] == [("antelope",), ("dog",), ("dog",), ("dog",)]
    assert [r.split_group for r in labels.records] == [f"{i:012d}.jpg" for i in (102, 7, 55, 9001)]
    second = read_labels(folder, options={"split": "2"})
    assert [(r.source_id, r.source_split) for r in second.records][:2] == [(55, "train"), (9001, "train")]
    with pytest.raises(InputError, match="has no split 4; it has 1, 2"):
        read_labels(folder, options={"split": 4})
    dogs = read_labels(folder, options={"categories": "dog"})
    assert [r.source_id for r in dogs.records] == [7, 55, 9001]
    with pytest.raises(InputError, match="has no category 'cat' with keypoints; it has antelope, dog"):
        read_labels(folder, options={"categories": "cat"})


def test_ap10k_converts_with_its_licence_and_keeps_ids_and_parts(tmp_path):
    convert(make_ap10k(tmp_path / "ap10k"), "ap10k", tmp_path / "out")
    back = load_superset(tmp_path / "out")
    assert [(r.source_id, r.source_split, r.categories) for r in back.records][2] == (55, "val", ("dog",))
    assert back.sources[0].licence.startswith("CC BY 4.0")
    assert {"left_elbow": None, "right_elbow": None}.items() <= back.sources[0].keypoint_map.items()
    document = json.loads((tmp_path / "out/annotations.json").read_text())
    assert [image["id"] for image in document["images"]] == [102, 7, 55, 9001]
    assert [c["name"] for c in document["categories"]] == ["antelope", "dog"]


def test_one_part_by_itself_is_coco(tmp_path):
    folder = make_ap10k(tmp_path / "ap10k")
    labels = read_labels(folder / "annotations" / "ap10k-val-split1.json")
    assert labels.records[0].image == folder / "data" / "000000000055.jpg"
    assert labels.sources[0].licence == "The MIT License"


def test_an_image_in_two_parts_is_refused(tmp_path):
    folder = make_ap10k(tmp_path / "ap10k")
    path = folder / "annotations" / "ap10k-test-split1.json"
    path.write_text((folder / "annotations" / "ap10k-val-split1.json").read_text())
    with pytest.raises(InputError, match=r"ap10k: .*000000000055\.jpg is in val and test"):
        read_labels(folder)


def test_two_datasets_in_one_folder_are_not_taken_for_one(tmp_path):
    folder = make_ap10k(tmp_path / "ap10k") / "annotations"
    for part in ("train", "val"):
        text = (folder / f"ap10k-{part}-split1.json").read_text()
        (folder / f"zebra-{part}-split1.json").write_text(text)
    with pytest.raises(
        InputError, match=r"several files for a part; (?s:.*)zebra-train-split1\.json is in the"
    ):
        read_labels(folder.parent)
    assert len(read_labels(folder.parent, options={"split": 2})) == 4


def test_apt36k_names_lead_to_another_machine(tmp_path):
    """Absolute Windows names; the clip is the split group, and a track the individual."""
    images, annotations = [], []
    for i, (clip, frame) in enumerate([("1deer\\clip1", 1), ("1deer\\clip1", 2), ("2dog\\v1c2", 1)]):
        write_image(tmp_path / "AP-36k-patr1" / clip.replace("\\", "/") / f"frame{frame}.jpg", seed=i)
        name = f"D:\\Animal_pose\\AP-36k-patr1\\{clip}\\frame{frame}.jpg"
        images.append({"id": i, "file_name": name, "width": 32, "height": 24})
        points = [v for k in range(17) for v in (k, 3, 1)]
        annotations.append({"id": i, "image_id": i, "category_id": 1, "track_id": 4, "keypoints": points})
    document = {"images": images, "annotations": annotations, "categories": [{"id": 1, "keypoints": AP10K}]}
    (tmp_path / "apt36k_annotations.json").write_text(json.dumps(document))
    labels = read_labels(tmp_path / "apt36k_annotations.json")
    assert [r.split_group for r in labels.records] == ["1deer/clip1", "1deer/clip1", "2dog/v1c2"]
    assert labels.records[1].image == tmp_path / "AP-36k-patr1/1deer/clip1/frame2.jpg"
    assert (labels.records[0].individuals, labels.records[0].visibility[0, 0]) == (("4",), 1)


def test_ends_of_names_that_meet_in_one_file_are_refused(tmp_path):
    write_image(tmp_path / "frame1.jpg")
    images = [{"id": i, "file_name": f"/lab/clip{i}/frame1.jpg", "width": 32, "height": 24} for i in range(2)]
    document = {"images": images, "annotations": [], "categories": [{"id": 1, "keypoints": ["a"]}]}
    (tmp_path / "x.json").write_text(json.dumps(document))
    with pytest.raises(InputError, match=r"2 images are found at .*frame1\.jpg; put them where"):
        read_labels(tmp_path / "x.json")


def test_categories_with_different_keypoints_crowds_and_rle(tmp_path, caplog):
    write_image(tmp_path / "val2017" / "x.png")
    rle = {"segmentation": {"counts": "PPYo0", "size": [24, 32]}}
    annotations = [
        {"id": "a", "image_id": "i", "category_id": 1, "keypoints": [1, 2, 2, 3, 4, 1], **rle},
        {"id": "b", "image_id": "i", "category_id": 2, "keypoints": [5, 6, 2, 0, 0, 0]},
        {"id": "c", "image_id": "i", "category_id": 1, "iscrowd": 1, "keypoints": [0] * 6, **rle},
        {"id": "d", "image_id": "i", "category_id": 3, "bbox": [0, 0, 3, 3]},
        {"id": "e", "image_id": "i", "category_id": 2, "bbox": [0, 0, 3, 3]},
    ]
    categories = [
        {"id": 1, "name": "dog", "keypoints": ["nose", "tail"]},
        {"id": 2, "name": "bird", "keypoints": ["beak", "tail"]},
        {"id": 3, "name": "bowl"},
    ]
    document = {
        "images": [{"id": "i", "file_name": "x.png"}],
        "annotations": annotations,
        "categories": categories,
    }
    (tmp_path / "annotations").mkdir()
    (tmp_path / "annotations" / "kp_val2017.json").write_text(json.dumps(document))
    labels = read_labels(tmp_path / "annotations" / "kp_val2017.json")
    (record,) = labels.records
    assert labels.keypoints == ("nose", "tail", "beak")
    assert record.visibility.tolist() == [[2, 1, -1], [-1, 0, 2], [-1, 0, 0]]
    assert record.categories == ("dog", "bird", "bird")
    np.testing.assert_array_equal(record.keypoints[1, 2], [5, 6])
    assert (record.size_wh, record.image) == ((32, 24), tmp_path / "val2017" / "x.png")
    assert "1 annotations are crowds" in caplog.text
    assert "1 annotations of 'bowl', which has no keypoints, are left out" in caplog.text


def test_the_folder_of_a_name_below_what_is_shared():
    names = [
        "horse10/labeled-data/A/1.png",
        "horse10\\labeled-data\\B\\1.png",
        "horse10/labeled-data/B/2.png",
    ]
    assert folders_of(names) == ["A", "B", "B"]
    assert folders_of(["images/1.png", "images/2.png"]) == ["images", "images"]
    assert folders_of(["1.png", "a/2.png"]) == ["", "a"]
    assert folders_of(["a/b/1.png", "a/2.png"]) == ["a/b", "a"]


def test_stanford_extra(tmp_path):
    folder = make_stanford(tmp_path / "se")
    assert detect_format(folder).name == "stanford-extra"
    labels = read_labels(folder)
    assert labels.keypoints == KEYPOINTS
    assert set(load_map("stanforddogs").targets) == set(KEYPOINTS)
    first, second = labels.records
    assert first.visibility[0, :4].tolist() == [0, 2, 2, 0]
    np.testing.assert_array_equal(second.keypoints[0, 1], [1.5, 1])
    assert (first.categories, second.source_split) == (("Chihuahua",), "train")
    assert (first.source_split, first.split_group) == ("test", "n02085620-Chihuahua/n1.jpg")
    np.testing.assert_array_equal(first.bbox_xywh, [[0, 0, 24, 10]])
    convert(folder, "stanforddogs", tmp_path / "out")
    back = load_superset(tmp_path / "out")
    nose = back.keypoints.index("nose")
    np.testing.assert_array_equal(
        back.records[0].keypoints[0, nose], first.keypoints[0, KEYPOINTS.index("Nose")]
    )


def test_stanford_parts_of_another_version_are_refused(tmp_path):
    folder = make_stanford(tmp_path / "se")
    np.save(folder / "test_stanford_StanfordExtra_v12.npy", np.array([0, 5]))
    np.save(folder / "val_stanford_StanfordExtra_v12.npy", np.array([1]))
    with pytest.raises(
        InputError, match=r"(?s)row 1 is in train and val.*does not hold numbers of the 2 rows"
    ):
        read_labels(folder)


def test_lightning_pose_with_one_and_with_two_cameras(tmp_path):
    one = read_labels(make_lightning_pose(tmp_path / "one", ("",)))
    assert one.sources[0].format == "lightning-pose"
    assert [r.split_group for r in one.records] == ["session0", "session0", "session1", "session1"]
    assert one.records[2].image == tmp_path / "one/labeled-data/session1/img0.png"
    assert one.records[2].visibility.tolist() == [[2, 0]]
    two = read_labels(make_lightning_pose(tmp_path / "two", ("bot", "top")))
    assert [r.split_group for r in two.records] == ["session0", "session0", "session1", "session1"] * 2
    assert len({r.image for r in two.records}) == 8


def test_images_directly_in_labeled_data_are_one_group():
    labels = read_labels(need("mirror-mouse-example"))
    assert {r.split_group for r in labels.records} == {"mirror-mouse-example"}
