"""Broken input of every kind, and the exact message that it gets: the file, what was found, what to do."""

from __future__ import annotations

import pytest
from broken_files import (
    CSV,
    Case,
    animal_pose,
    coco_with,
    dlc_with,
    dlc_without,
    foreign_h5,
    individuals_in_single,
    latin1,
    moved_lightning_pose,
    multi,
    no_metadata,
    part_twice,
    part_with_other_keypoints,
    short_video,
    sloth,
    stanford_with,
    text,
    three_images,
    two_scorers,
    yolo,
)

from converters import FORMATS, convert, read_labels
from superset_vocab import InputError

KNOWN = "".join(f"\n  - {fmt.name}: {fmt.description}" for fmt in FORMATS.values())
CASES: dict[str, tuple[Case, str]] = {
    "an empty file": (
        text("x.json", "", format="coco"),
        "ROOT/x.json: is not JSON (Expecting value: line 1 column 1 (char 0)); was it copied completely?",
    ),
    "not JSON": (
        text("x.json", '{"images": [', format="coco"),
        "ROOT/x.json: is not JSON (Expecting value: line 1 column 13 (char 12)); was it copied completely?",
    ),
    "JSON of something else": (
        text("x.json", '{"a": 1}'),
        "ROOT/x.json: is of no known label format; known are:" + KNOWN,
    ),
    "not UTF-8": (
        latin1,
        "ROOT/x.json: is not UTF-8 text ('utf-8' codec can't decode byte 0xfc in position 13: "
        "invalid start byte); is it the right file?",
    ),
    "coco: no such image": (
        coco_with(lambda d: d["images"][1].update(file_name="z.png")),
        "ROOT/labels.json: images are missing (put them beside the file, or in images/ or "
        "data/ there or one folder up): ROOT/z.png: no such image",
    ),
    "coco: another size": (
        coco_with(lambda d: d["images"][1].update(width=33)),
        "ROOT/labels.json: ROOT/images/y.png: is 32x24 pixels, the labels say 33x24",
    ),
    "coco: an annotation of no image": (
        coco_with(lambda d: d["annotations"][0].update(image_id=9)),
        "ROOT/labels.json: annotation 1 is of image 9, which is not listed; list it, or remove "
        "the annotation",
    ),
    "coco: an id as text": (
        coco_with(lambda d: d["annotations"][0].update(image_id="7")),
        "ROOT/labels.json: annotation 1 is of image '7', but the id there is 7; write both as numbers",
    ),
    "coco: an unlisted category": (
        coco_with(lambda d: d["annotations"][0].update(category_id=9)),
        "ROOT/labels.json: annotation 1 is of category 9, which is not listed; list it, or "
        "remove the annotation",
    ),
    "coco: too few numbers": (
        coco_with(lambda d: d["annotations"][0].update(keypoints=[1, 2])),
        "ROOT/labels.json: image x.png: annotation 1 has 2 numbers, not 9 (x, y and flag of 3 keypoints)",
    ),
    "coco: text among the numbers": (
        coco_with(lambda d: d["annotations"][0]["keypoints"].__setitem__(0, "left")),
        "ROOT/labels.json: image x.png: annotation 1: its keypoints or its bbox are no list of numbers",
    ),
    "coco: a flag of 3": (
        coco_with(lambda d: d["annotations"][0]["keypoints"].__setitem__(2, 3)),
        "ROOT/labels.json: image x.png: annotation 1 has a visibility other than -1, 0, 1, 2",
    ),
    "coco: no number": (
        coco_with(lambda d: d["annotations"][0]["keypoints"].__setitem__(0, None)),
        "ROOT/labels.json: image x.png: annotation 1 has a coordinate that is not finite",
    ),
    "coco: a box of two numbers": (
        coco_with(lambda d: d["annotations"][0].update(bbox=[1, 2])),
        "ROOT/labels.json: image x.png: annotation 1 has the bbox [1, 2], not x, y, width, height",
    ),
    "coco: an id twice": (
        coco_with(lambda d: d["images"][1].update(id=7)),
        "ROOT/labels.json: several images have the id 7; number them anew",
    ),
    "coco: a name that leads out": (
        coco_with(lambda d: d["images"][1].update(file_name="../../y.png")),
        "ROOT/labels.json: image ../../y.png: its file name leads out of the dataset's folder; "
        "move the image into it",
    ),
    "coco: a keypoint twice": (
        coco_with(lambda d: d["categories"][1].update(keypoints=["a", "a", "c"])),
        "ROOT/labels.json: category 2: keypoint 'a' is listed more than once; rename one",
    ),
    "coco: boxes only": (
        coco_with(lambda d: d["categories"][1].pop("keypoints")),
        "ROOT/labels.json: its categories have no keypoints; is it a file of boxes or masks only?",
    ),
    "coco: nothing annotated": (
        coco_with(lambda d: d.update(annotations=[])),
        "ROOT/labels.json: none of its 2 images has an annotated keypoint (all are empty or "
        "NaN); label some first",
    ),
    "coco: an image in two parts": (
        part_twice,
        "ROOT/ap10k: ROOT/ap10k/data/000000000055.jpg is in val and test; remove it from one",
    ),
    "coco: parts with other keypoints": (
        part_with_other_keypoints,
        "ROOT/ap10k: val and train have different keypoints, or another order; read them one by one",
    ),
    "deeplabcut: images missing, empty and no images": (
        three_images,
        "ROOT/project: images of labelled frames are missing or broken (restore them, or "
        "remove their rows): 3 problems:\n"
        "  - ROOT/project/labeled-data/v1/img0.png: no such image\n"
        "  - ROOT/project/labeled-data/v1/img2.png: the image is empty (0 bytes)\n"
        "  - ROOT/project/labeled-data/v2/img1.png: is not an image that OpenCV can decode",
    ),
    "deeplabcut: an unknown bodypart": (
        dlc_with("tail base,tail base", "tailbase,tailbase"),
        "ROOT/project: 2 problems:\n"
        "  - CollectedData_Ann.csv: bodypart 'tailbase' is not in config.yaml; add it there or "
        "remove its columns\n"
        "  - CollectedData_Ann.csv: bodypart 'tail base' of config.yaml has no columns",
    ),
    "deeplabcut: a text for a number": (
        dlc_with("img0.png,0,0.0", "img0.png,0,zero"),
        "ROOT/project/labeled-data/v1/CollectedData_Ann.csv: row 4 has 'zero' where a number "
        "belongs; correct or empty it",
    ),
    "deeplabcut: x without y": (
        dlc_with("img0.png,0,0.0", "img0.png,0,"),
        "ROOT/project: CollectedData_Ann.csv: labeled-data/v1/img0.png: 'snout' has only one "
        "of x and y; complete it, or empty the cell",
    ),
    "deeplabcut: a row too long": (
        dlc_with("img0.png,0,0.0", "img0.png,0,0.0,7"),
        "ROOT/project/labeled-data/v1/CollectedData_Ann.csv: row 4 has 10 cells, the header 9",
    ),
    "deeplabcut: infinite": (
        dlc_with("img0.png,0,0.0", "img0.png,inf,0.0"),
        "ROOT/project: CollectedData_Ann.csv: has infinite coordinates; correct these cells, or empty them",
    ),
    "deeplabcut: a frame twice": (
        dlc_with("img1.png", "img0.png"),
        "ROOT/project: CollectedData_Ann.csv: image labeled-data/v1/img0.png has 2 rows; remove all but one",
    ),
    "deeplabcut: a bodypart twice in the table": (
        dlc_with("leftear,leftear", "snout,snout"),
        "ROOT/project: 2 problems:\n"
        "  - CollectedData_Ann.csv: bodypart 'snout' occurs 2 times\n"
        "  - CollectedData_Ann.csv: bodypart 'leftear' of config.yaml has no columns",
    ),
    "deeplabcut: a bodypart twice in config.yaml": (
        dlc_with("- leftear\n", "- leftear\n- snout\n", "config.yaml"),
        "ROOT/project/config.yaml: bodypart 'snout' is listed more than once",
    ),
    "deeplabcut: predictions for labels": (
        dlc_with("coords,,,x,y", "coords,,,x,likelihood"),
        "ROOT/project: CollectedData_Ann.csv: has likelihood columns: these are predictions, "
        "not labels; give CollectedData_*.csv",
    ),
    "deeplabcut: no header": (
        dlc_with("bodyparts,", "nodes,"),
        "ROOT/project/labeled-data/v1/CollectedData_Ann.csv: has no DeepLabCut header (rows "
        "scorer, bodyparts, coords)",
    ),
    "deeplabcut: no table": (
        dlc_without(CSV),
        "ROOT/project: no CollectedData_*.csv or .h5 in any folder of labeled-data; label frames first",
    ),
    "deeplabcut: config.yaml is no YAML": (
        dlc_without("config.yaml", b"bodyparts: [a"),
        "ROOT/project/config.yaml: is not YAML in line 1, column 14: expected ',' or ']', but "
        "got '<stream end>'; correct it by hand",
    ),
    "deeplabcut: other scorers": (
        two_scorers,
        "ROOT/project: v1 has CollectedData_Bob, CollectedData_Eve, none by 'Ann' (the scorer "
        "of config.yaml); give the file itself, or remove the others",
    ),
    "deeplabcut: single-animal labels in a multi-animal project": (
        dlc_with("multianimalproject: false\n", "multianimalproject: true\nmultianimal", "config.yaml"),
        "ROOT/project: CollectedData_Ann.csv: has no individuals, but config.yaml says "
        "multianimalproject: true; correct config.yaml, or convert the labels with "
        "deeplabcut.convert2_maDLC",
    ),
    "deeplabcut: individuals in a single-animal project": (
        individuals_in_single,
        "ROOT/p: CollectedData_A.csv: has individuals, but config.yaml says "
        "multianimalproject: false; correct config.yaml, or convert the labels with "
        "deeplabcut.convert2_maDLC",
    ),
    "deeplabcut: no multianimalbodyparts": (
        multi("bodyparts: MULTI!\n", second="m2", part="nose"),
        "ROOT/p/config.yaml: has no list of multianimalbodyparts; add the names there",
    ),
    "deeplabcut: a unique bodypart that is not listed": (
        multi("multianimalbodyparts: [nose]\n", second="single", part="lamp"),
        "ROOT/p: CollectedData_A.csv: unique bodypart 'lamp' is not in config.yaml; add it "
        "there or remove its columns",
    ),
    "deeplabcut: an h5 of two tables": (
        foreign_h5,
        "ROOT/CollectedData_A.h5: is no DeepLabCut h5 that can be read without unpickling (it "
        "holds 2 pandas tables, not one); use the csv of the same name beside it",
    ),
    "deeplabcut: a text file called h5": (
        text("CollectedData_A.h5", "hello"),
        "ROOT/CollectedData_A.h5: is no DeepLabCut h5 that can be read without unpickling "
        "(Unable to synchronously open file (file signature not found)); use the csv of the "
        "same name beside it",
    ),
    "lightning-pose: an image is missing": (
        moved_lightning_pose,
        "ROOT/lp: images of labelled frames are missing or broken (restore them, or remove "
        "their rows): ROOT/lp/labeled-data/session1/img1.png: no such image",
    ),
    "yolo-pose: too few columns": (
        yolo("0 0.5 0.5 0.2 0.2 0.1 0.1\n"),
        "ROOT/y: ROOT/y/train/labels/a.txt, line 1: has 7 columns, not 11 (class, box, 2 "
        "keypoints of 3 numbers)",
    ),
    "yolo-pose: pixels for fractions": (
        yolo("0 0.5 0.5 0.2 0.2 12 8 2 0.1 0.1 2\n"),
        "ROOT/y: ROOT/y/train/labels/a.txt, line 1: 12 is not between 0 and 1 (coordinates are "
        "fractions of the image)",
    ),
    "yolo-pose: an unknown class": (
        yolo("3 0.5 0.5 0.2 0.2 0.1 0.1 2 0.1 0.1 2\n"),
        "ROOT/y: ROOT/y/train/labels/a.txt, line 1: its class is 3, but data.yaml names only "
        "1, counted from 0",
    ),
    "yolo-pose: labels without an image": (
        yolo("", label="b.txt"),
        "ROOT/y: ROOT/y/train/labels/b.txt: has no image in ROOT/y/train/images; remove the "
        "labels, or put it there",
    ),
    "yolo-pose: not a pose dataset": (
        yolo("0 0.5 0.5 0.2 0.2\n", config="kpt_shape: 4\n"),
        "ROOT/y/data.yaml: its kpt_shape is 4, not [K, 2] or [K, 3] (is it a pose dataset?)",
    ),
    "yolo-pose: more names than keypoints": (
        yolo("", config="kpt_shape: [2, 3]\nkpt_names: [a, b, c]\n"),
        "ROOT/y/data.yaml: kpt_shape says 2 keypoints, but 3 have names",
    ),
    "sloth: an unknown class": (
        sloth([{"class": "Tail", "x": 1, "y": 2}]),
        "ROOT/s.json: entry 1 cannot be understood: a 'Tail' where a Face or one of its points belongs",
    ),
    "sloth: no such image": (
        sloth([{"class": "Face", "x": 1, "y": 2, "width": 9, "height": 9}], "b.png"),
        "ROOT/s.json: b.png: no such image beside the file or in ROOT/images",
    ),
    "animal-pose: x, y, width, height for corners": (
        animal_pose(bbox=[10, 20, 5, 5]),
        "ROOT/keypoints.json: image a.png: instance 1 has the box [10, 20, 5, 5], which is no x1, y1, x2, y2",
    ),
    "animal-pose: a flag of 2": (
        animal_pose(keypoints=[[1, 2, 2]]),
        "ROOT/keypoints.json: image a.png: instance 1 has a keypoint whose visible is neither 0 nor 1",
    ),
    "animal-pose: an unknown image": (
        animal_pose(image_id=3),
        "ROOT/keypoints.json: annotation 1 is of image 3, which is not there",
    ),
    "stanford-extra: other joints": (
        stanford_with(joints=[[1, 2, 1]] * 20),
        "ROOT/se/StanfordExtra_v12.json: image n02085620-Chihuahua/n1.jpg (entry 1): its "
        "joints have the shape (20, 3), not (24, 3)",
    ),
    "stanford-extra: another size": (
        stanford_with(img_width=99),
        "ROOT/se/StanfordExtra_v12.json: ROOT/se/Images/n02085620-Chihuahua/n1.jpg: is 32x24 "
        "pixels, the labels say 99x24",
    ),
    "sleap: no SLEAP file": (
        text("p.slp", "hello"),
        "ROOT/p.slp: is no SLEAP file that sleap-io VERSION can read (Unable to synchronously "
        "open file (file signature not found)); save it again with SLEAP",
    ),
    "sleap: an HDF5 file of something else": (
        no_metadata,
        'ROOT/p.slp: is no SLEAP file that sleap-io VERSION can read ("Unable to synchronously '
        "open object (object 'tracks_json' doesn't exist)\"); save it again with SLEAP",
    ),
    "frames: half a video": (
        short_video,
        "ROOT/v.mp4: is not a video that OpenCV can decode; copy or record it again",
    ),
    "frames: no vocabulary": (
        text("v.mp4", ""),
        "ROOT/v.mp4: are pictures without labels; for pseudo-labels name the vocabulary "
        "(--option vocabulary=superanimal_topviewmouse), for labels give their file",
    ),
}


@pytest.mark.parametrize("kind", CASES)
def test_broken_input_gets_its_message(tmp_path, kind):
    make, message = CASES[kind]
    if kind.startswith("sleap"):
        version = pytest.importorskip("sleap_io", reason="needs the extra [sleap]").__version__
        message = message.replace("VERSION", version)
    made = make(tmp_path)
    source, more = made if isinstance(made, tuple) else (made, {})
    with pytest.raises(InputError) as error:
        read_labels(source, frames=tmp_path / "frames", **more)
    assert str(error.value).replace(str(tmp_path), "ROOT") == message


def test_there_are_thirty_kinds_and_more():
    assert len(CASES) >= 30
    assert len({message for _, message in CASES.values()}) == len(CASES)


def test_nothing_is_written_of_any(tmp_path):
    for number, (kind, (make, _)) in enumerate(CASES.items()):
        if kind.startswith("sleap"):
            continue  # needs an extra
        folder = tmp_path / str(number)
        folder.mkdir()
        made = make(folder)
        source, more = made if isinstance(made, tuple) else (made, {})
        with pytest.raises(InputError):
            convert(source, None, folder / "out", **more)
        assert not (folder / "out").exists()
        assert not [path for path in folder.iterdir() if path.name.startswith(".")]
