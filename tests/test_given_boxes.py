"""Boxes from files of other detectors, and the whole frame as a box."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from fakes import fake_model, square_frame
from hypothesis import given
from hypothesis import strategies as st

import zoo
from superset_vocab import InputError
from superset_vocab.files import sha256_of
from zoo.given_boxes import CocoBoxes, WholeFrame


def result(image_id, bbox=(10, 20, 30, 40), score=0.9, category_id=1) -> dict:
    return {"image_id": image_id, "category_id": category_id, "bbox": list(bbox), "score": score}


def write(folder: Path, content, name: str = "boxes.json") -> Path:
    path = folder / name
    path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    return path


def frames(n: int, size_wh: tuple[int, int] = (128, 96)) -> list[np.ndarray]:
    return [np.zeros((size_wh[1], size_wh[0], 3), np.uint8)] * n


BOX = st.tuples(*[st.floats(0, 90, width=32)] * 2, *[st.floats(0.5, 60, width=32)] * 2)


@given(
    st.lists(st.tuples(st.integers(0, 9), BOX, st.floats(0, 1, width=32)), max_size=30),
    st.lists(st.integers(1, 4), min_size=10, max_size=10),
    st.floats(0, 1),
)
def test_each_frame_gets_its_boxes_in_whatever_batches(tmp_path_factory, rows, batches, threshold):
    path = write(tmp_path_factory.mktemp("boxes"), [result(t, box, score) for t, box, score in rows])
    run = CocoBoxes.from_file(path, score_threshold=threshold).run()
    found = [detections for n in batches for detections in run(frames(n))]
    run.finish()
    for t, (boxes, confidence) in enumerate(found):
        mine = sorted((r for r in rows if r[0] == t and r[2] >= threshold), key=lambda r: -r[2])
        np.testing.assert_array_equal(confidence, np.array([r[2] for r in mine], np.float32))
        np.testing.assert_array_equal(boxes, np.array([r[1] for r in mine], np.float32).reshape(-1, 4))
        assert boxes.dtype == confidence.dtype == np.float32


def test_our_own_results_can_be_given_back(tmp_path):
    predictions = fake_model().predict(np.stack([square_frame((20 + 3 * t, 40)) for t in range(5)]))
    predictions.save(tmp_path, "clip", ["coco"])
    again = CocoBoxes.from_file(tmp_path / "clip.coco.json").for_frames(0, 5)
    np.testing.assert_array_equal([d.bbox_xywh[0] for d in again], predictions.bbox_xywh[:, 0])


def test_one_run_does_not_move_the_next(tmp_path):
    boxes = CocoBoxes.from_file(write(tmp_path, [result(0), result(2, score=0.5)]))
    for _ in range(2):
        run = boxes.run()
        assert [len(d.confidence) for d in run(frames(3))] == [1, 0, 1]
        run.finish()
    assert [len(d.confidence) for d in boxes.for_frames(1, 4)] == [0, 1, 0, 0]


@pytest.mark.parametrize("names", ["{}.png", "{}", "elsewhere/{}.png", "C:\\data\\{}.png"])
def test_boxes_of_named_images_find_their_image(tmp_path, names):
    path = write(
        tmp_path, [result(names.format("img10"), score=0.25), result(names.format("img2"), score=0.75)]
    )
    run = CocoBoxes.from_file(path).run(("set/img1.png", "set/img2.png", "set/img10.png"))
    assert [d.confidence.tolist() for d in run(frames(3))] == [[], [0.75], [0.25]]


def test_a_path_goes_before_a_name(tmp_path):
    path = write(tmp_path, [result("a.png", score=0.25), result("b/a.png", score=0.75)])
    boxes = CocoBoxes.from_file(path)
    assert [d.confidence.tolist() for d in boxes.run(("b/a.png", "a.png"))(frames(2))] == [[0.75], [0.25]]
    with pytest.raises(InputError, match=r"'a.png' could be 2 images of the input; give its path"):
        boxes.run(("b/a.png", "c/a.png"))
    with pytest.raises(InputError, match=r"image 'a.png' is image 'a.png', which has boxes already"):
        boxes.run(("a.png", "c.png"))
    with pytest.raises(InputError, match=r"boxes.json: image 'b/a.png' is not among the 2 images"):
        CocoBoxes.from_file(path, score_threshold=0.5).run(("b.png", "c.png"))
    with pytest.raises(InputError, match=r"boxes are of named images \('b/a.png'.*index of the frame"):
        boxes.run()(frames(1))


IMAGES = [{"id": 7, "file_name": "x.png"}, {"id": 3, "file_name": "y.png"}]
CATEGORIES = [{"id": 1, "name": "cage"}, {"id": 2, "name": "mouse"}]


def test_a_list_of_images_says_which_file_an_id_is(tmp_path):
    rows = [result(7, score=0.5), result(3, score=0.75, category_id=2), result(7, score=0.25, category_id=2)]
    index = write(tmp_path, {"images": IMAGES, "categories": CATEGORIES}, "labels.json")
    path = write(tmp_path, rows)
    order = ("y.png", "x.png")
    every = CocoBoxes.from_file(path, images=index).run(order)(frames(2))
    assert [d.confidence.tolist() for d in every] == [[0.75], [0.5, 0.25]]
    for category in (2, "mouse"):
        mice = CocoBoxes.from_file(path, images=index, category=category).run(order)(frames(2))
        assert [d.confidence.tolist() for d in mice] == [[0.75], [0.25]]
    with pytest.raises(InputError, match="no category 'rat'; there are: 'cage', 'mouse'"):
        CocoBoxes.from_file(path, images=index, category="rat")
    with pytest.raises(InputError, match="no category 'rat'; the file has no names"):
        CocoBoxes.from_file(path, category="rat")
    with pytest.raises(
        InputError, match=r"labels.json: has no image with the id 4, of which there are boxes"
    ):
        CocoBoxes.from_file(write(tmp_path, [*rows, result(4)]), images=index)


def test_labels_are_certain_boxes(tmp_path):
    label = {"id": 1, "image_id": 3, "category_id": 2, "bbox": [1, 2, 3, 4]}
    path = write(tmp_path, {"images": IMAGES, "annotations": [label], "categories": CATEGORIES})
    empty, one = CocoBoxes.from_file(path, category="mouse").run(("x.png", "y.png"))(frames(2))
    assert empty.bbox_xywh.shape == (0, 4)
    assert one.bbox_xywh.tolist() == [[1, 2, 3, 4]]
    assert one.confidence.tolist() == [1]
    with pytest.raises(InputError, match="has its own list of images"):
        CocoBoxes.from_file(path, images=path)


@pytest.mark.parametrize(
    "images",
    [None, [], [{"id": 7}], [*IMAGES, {"id": 7, "file_name": "z.png"}], [{"id": [1], "file_name": "x"}]],
)
def test_lists_of_images_that_are_none(tmp_path, images):
    index = write(tmp_path, {"images": images}, "labels.json")
    with pytest.raises(InputError, match=r'labels.json: wants a list "images"'):
        CocoBoxes.from_file(write(tmp_path, [result(7)]), images=index)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("[{", "boxes.json: is not JSON"),
        ({"results": []}, r"boxes.json: is not a list of detection results .* but an object with 'results'"),
        ("3", "is not a list of detection results .* but a number"),
        ([5], "entry 0: is a number, not an object"),
        ([{"image_id": 0}], "entry 0: lacks bbox and score"),
        ([result(1.5)], r"entry 0: image_id is 1.5, want the index"),
        ([result(True)], r"entry 0: image_id is True, want the index"),
        ([result(0), result(-1)], r"entry 1: image_id -1 is no index of a frame"),
        ([result(0), result("a")], "some image_id are numbers and some are names"),
        ([result(0, [1, 2, 3])], r"bbox is \[1, 2, 3\], want four numbers"),
        ([result(0, [1, 2, 3, "4"])], r"bbox is .*, want four numbers"),
        ([result(0, [30, 40, -10, 5])], r"bbox \[30, 40, -10, 5\] has no area; .* not two corners"),
        ([result(0, [30, 40, 10, 0])], r"bbox \[30, 40, 10, 0\] has no area"),
        (json.dumps([result(0, [1, 2, float("inf"), 4])]), "want four numbers"),
        ([result(0, score=93)], r"score is 93, want a confidence in \[0, 1\]"),
        (json.dumps([result(0, score=float("nan"))]), "score is nan"),
    ],
)
def test_files_that_are_no_results(tmp_path, content, message):
    with pytest.raises(InputError, match=message):
        CocoBoxes.from_file(write(tmp_path, content))


def test_a_wholly_wrong_file_is_told_in_few_lines(tmp_path):
    path = write(tmp_path, [result(0, [9, 9, 1, -1])] * 500)
    with pytest.raises(InputError, match="and so on: 480 more") as error:
        CocoBoxes.from_file(path)
    assert len(str(error.value).splitlines()) == 22
    with pytest.raises(InputError, match="cannot be read"):
        CocoBoxes.from_file(tmp_path / "none.json")
    with pytest.raises(InputError, match="score_threshold is 2"):
        CocoBoxes.from_file(path, score_threshold=2)


def test_boxes_beyond_the_video(tmp_path):
    run = CocoBoxes.from_file(write(tmp_path, [result(1), result(3), result(8)])).run()
    run(frames(3))
    with pytest.raises(
        InputError, match=r"boxes for 2 frames from 3 to 8, but the input has 3 frames \(0 to 2\)"
    ):
        run.finish()
    one_based = CocoBoxes.from_file(write(tmp_path, [result(t) for t in (1, 2, 3)]))
    with pytest.raises(InputError, match="frames count from 0"):
        one_based.check_n_frames(3)
    one_based.check_n_frames(4)


def test_boxes_of_another_size_of_the_video(tmp_path):
    run = CocoBoxes.from_file(
        write(tmp_path, [result(1, [-5, -5, 20, 20]), result(2, [400, 20, 30, 30])])
    ).run()
    run(frames(2))
    with pytest.raises(
        InputError, match=r"box \[400.0, 20.0, 30.0, 30.0\] lies outside of frame 2.* 128 x 96"
    ):
        run(frames(1))


def test_the_whole_frame_is_one_box():
    wide, high = WholeFrame()([np.zeros((96, 128, 3), np.uint8), np.zeros((50, 40, 3), np.uint8)])
    assert wide.bbox_xywh.tolist() == [[0, 0, 128, 96]]
    assert high.bbox_xywh.tolist() == [[0, 0, 40, 50]]
    assert wide.confidence.tolist() == [1]
    assert WholeFrame()([]) == []


def test_a_model_takes_the_boxes_of_one_category(tmp_path: Path) -> None:
    boxes = write(tmp_path, [result(0, (10, 20, 30, 40), 0.8, 3), result(0, (50, 30, 20, 20), 0.9, 7)])
    image = np.zeros((96, 128, 3), np.uint8)
    for category, wanted in ((None, 2), (7, 1), (5, 0)):
        model = zoo.load("superanimal_topviewmouse", "compact", detector=str(boxes), box_category=category)
        given_boxes = model.detector.run(())([image])[0]
        assert len(given_boxes.bbox_xywh) == wanted
        about = model.predict(image).provenance["weights"]["detector"]
        assert (about["file"], about["sha256"]) == ("boxes.json", sha256_of(boxes))
        assert about.get("category") == (None if category is None else str(category))
    with pytest.raises(InputError, match=r"box_category has no effect unless detector= is a \.json file"):
        zoo.load("superanimal_topviewmouse", "compact", box_category=7)
