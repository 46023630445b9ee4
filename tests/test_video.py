"""Reading and writing videos, and everything else that a user may give as input."""

from __future__ import annotations

import threading
import zlib
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
import pytest
from data import need
from fakes import moving_square, square_frame, write_video
from hypothesis import given
from hypothesis import strategies as st

from converters.formats.frames import count_frames
from superset_vocab import InputError
from zoo.inputs import natural_key, open_source, read_image, rgb_frame
from zoo.prefetch import prefetch
from zoo.video import VideoReader, VideoWriter


def frames_of(path: Path, batch_size: int = 16) -> list[np.ndarray]:
    return [frame for batch in VideoReader(path).batches(batch_size) for frame in batch]


def left_edge(frame: np.ndarray) -> int:
    return int(np.flatnonzero(frame[48].mean(-1) > 130)[0])


@pytest.mark.parametrize(("suffix", "codec"), [(".mp4", "mp4v"), (".avi", "MJPG"), (".mkv", "mp4v")])
def test_every_frame_once_and_in_order(tmp_path: Path, suffix: str, codec: str) -> None:
    path = write_video(tmp_path / f"a{suffix}", moving_square(45), codec=codec)
    reader = VideoReader(path)
    batches = list(reader.batches(16))
    assert [len(batch) for batch in batches] == [16, 16, 13]
    edges = [left_edge(frame) for batch in batches for frame in batch]
    assert np.abs(np.array(edges) - 2 * np.arange(45)).max() <= 1
    assert (reader.n_frames, reader.n_missing, reader.truncated) == (45, 0, False)
    assert reader.info.size_wh == (128, 96)


def test_frames_are_rgb(tmp_path: Path) -> None:
    red = np.zeros((48, 64, 3), np.uint8)
    red[..., 0] = 200
    frame = frames_of(write_video(tmp_path / "red.mp4", [red] * 3))[0]
    assert frame[..., 0].mean() > 180
    assert frame[..., 1:].mean() < 30


@pytest.mark.parametrize(
    ("fps", "fraction"), [(25.0, Fraction(25)), (29.97, Fraction(2997, 100)), (0.5, Fraction(1, 2))]
)
def test_frame_rate_is_a_ratio(tmp_path: Path, fps: float, fraction: Fraction) -> None:
    path = write_video(tmp_path / "a.mp4", moving_square(5), fps=fps)
    assert VideoReader(path).info.fps == fraction


def test_openfield_video_has_all_its_frames() -> None:
    reader = VideoReader(need("openfield-Pranav-2018-10-30") / "videos" / "m3v1mp4.mp4")
    assert reader.info.fps == Fraction(1_000_000, 33_333)
    assert sum(len(batch) for batch in reader.batches(64)) == 2330
    assert not reader.truncated


@pytest.mark.parametrize(("suffix", "codec"), [(".avi", "MJPG"), (".mkv", "mp4v")])
def test_truncated_video_is_known_at_its_end(tmp_path: Path, suffix: str, codec: str) -> None:
    content = write_video(tmp_path / f"whole{suffix}", moving_square(100), codec=codec).read_bytes()
    cut = tmp_path / f"cut{suffix}"
    cut.write_bytes(content[: len(content) // 2])
    reader = VideoReader(cut)
    n = sum(len(batch) for batch in reader.batches(16))
    assert 30 < n < 70
    assert reader.truncated
    assert reader.n_frames + reader.n_missing == 100
    message = str(reader.truncation_error())
    assert str(cut) in message
    assert f"{n} frames decode of 100" in message
    assert ("its sound" in message) == (suffix == ".mkv")
    assert "--allow-truncated" in message


@pytest.mark.parametrize(
    "name", ["10:30:05.mp4", "2026-05-01T10:30.mp4", "file:x.mp4", "mäuse 实验 (1) %03d.mp4"]
)
def test_names_that_are_no_addresses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """Recorders name videos by the time of day; in their own folder that looks like a protocol to FFmpeg."""
    monkeypatch.chdir(tmp_path)
    write_video(tmp_path / "plain.mp4", moving_square(5)).rename(name)
    assert len(frames_of(Path(name))) == 5
    assert count_frames(Path(name)) == 5
    with VideoWriter(Path(f"out {name}"), (64, 48), 30) as writer:
        writer.write(np.zeros((48, 64, 3), np.uint8))


def test_two_missing_frames_are_no_truncation(tmp_path: Path) -> None:
    reader = VideoReader(write_video(tmp_path / "a.mp4", moving_square(10)))
    list(reader.batches(4))
    reader.n_missing = 2
    assert not reader.truncated
    reader.n_missing = 3
    assert reader.truncated


def test_mp4_without_its_index_cannot_be_opened(tmp_path: Path) -> None:
    content = write_video(tmp_path / "whole.mp4", moving_square(60)).read_bytes()
    cut = tmp_path / "cut.mp4"
    cut.write_bytes(content[: len(content) // 2])
    with pytest.raises(InputError, match=r"cut\.mp4: not a video that can be decoded .*ffmpeg -i cut\.mp4"):
        VideoReader(cut)


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("text.mp4", b"hello", "not a video that can be decoded"),
        ("empty.mp4", b"", "0 bytes"),
        ("empty.png", b"", "0 bytes"),
        ("text.png", b"hello", "not an image that can be decoded"),
        ("table.xlsx", b"hello", "neither an image"),
        ("noending", b"hello", "a file without an ending is neither an image"),
    ],
)
def test_broken_files_are_named(tmp_path: Path, name: str, content: bytes, words: str) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(InputError, match=words) as caught:
        list(open_source(path).batches(1))
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_missing_file_and_empty_folder(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"nope\.mp4: no such file"):
        open_source(tmp_path / "nope.mp4")
    with pytest.raises(InputError, match="no images"):
        open_source(tmp_path)
    write_video(tmp_path / "a.mp4", moving_square(2))
    with pytest.raises(InputError, match="it has 1 videos: give them one by one"):
        open_source(tmp_path)


def test_folder_in_natural_order_without_hidden_files(tmp_path: Path) -> None:
    for i in (10, 9, 1, 100):
        cv2.imwrite(str(tmp_path / f"img{i}.png"), np.full((8, 8, 3), i, np.uint8))
    (tmp_path / "._img1.png").write_bytes(b"resource fork")
    (tmp_path / "notes.txt").write_text("x")
    stream = open_source(tmp_path)
    assert stream.images == ("img1.png", "img9.png", "img10.png", "img100.png")
    assert [int(frame[0, 0, 0]) for batch in stream.batches(3) for frame in batch] == [1, 9, 10, 100]
    assert not stream.in_time


@given(st.lists(st.integers(0, 10**6), unique=True))
def test_natural_key_orders_by_number(numbers: list[int]) -> None:
    names = sorted((f"frame{n}_a.png" for n in numbers), key=natural_key)
    assert names == [f"frame{n}_a.png" for n in sorted(numbers)]


def test_image_is_rgb_and_upright(tmp_path: Path) -> None:
    image = np.zeros((4, 6, 3), np.uint8)
    image[0, 0] = (10, 20, 30)
    path = tmp_path / "ä b.png"
    path.write_bytes(cv2.imencode(".png", image[..., ::-1])[1].tobytes())
    assert np.array_equal(read_image(path), image)


def test_what_is_left_out_of_a_folder_is_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A folder of videos with one screenshot in it is no folder of one image, to its owner."""
    cv2.imwrite(str(tmp_path / "a.png"), square_frame((5, 5)))
    (tmp_path / "labels.csv").write_text("scorer")
    assert open_source(tmp_path).n_frames == 1
    assert not caplog.text
    for name in ("b.mp4", "c.MP4", "d.HEIC"):
        (tmp_path / name).write_bytes(b"x")
    assert open_source(tmp_path).n_frames == 1
    assert "only its 1 images are taken, not 1 .heic, 2 .mp4" in caplog.text


def test_a_stack_of_pages_is_no_image(tmp_path: Path) -> None:
    """Microscopes write whole films into one .tif; its first page alone must not pass for the film."""
    pages = [np.full((40, 60, 3), 40 * i, np.uint8) for i in range(3)]
    cv2.imwritemulti(str(tmp_path / "film.tif"), pages)
    with pytest.raises(InputError, match=r"film\.tif: is a TIFF of several pages"):
        read_image(tmp_path / "film.tif")
    cv2.imwritemulti(str(tmp_path / "preview.tif"), [pages[1], pages[2][:10, :15]])
    assert (read_image(tmp_path / "preview.tif") == 40).all()
    cv2.imwrite(str(tmp_path / "single.tif"), pages[2])
    assert (read_image(tmp_path / "single.tif") == 80).all()


def test_an_image_beyond_opencv_s_limit_is_no_traceback(tmp_path: Path) -> None:
    content = bytearray(cv2.imencode(".png", np.zeros((8, 8, 3), np.uint8))[1].tobytes())
    content[16:24] = (60_000).to_bytes(4, "big") * 2  # width and height of the header
    content[29:33] = zlib.crc32(content[12:29]).to_bytes(4, "big")
    (tmp_path / "huge.png").write_bytes(content)
    with pytest.raises(InputError, match=r"huge\.png: not an image that can be decoded"):
        read_image(tmp_path / "huge.png")


def test_arrays_and_lists() -> None:
    grey = np.arange(48, dtype=np.uint8).reshape(6, 8)
    (frame,) = next(open_source(grey).batches(4))
    assert frame.shape == (6, 8, 3)
    assert np.array_equal(frame[..., 1], grey)
    clip = np.stack([square_frame((i, 1)) for i in range(5)])
    stream = open_source(clip)
    assert stream.in_time
    assert stream.n_frames == 5
    assert np.array_equal(np.concatenate([np.stack(b) for b in stream.batches(2)]), clip)
    assert not open_source([grey, clip[0]]).in_time


@pytest.mark.parametrize(
    ("array", "words"),
    [
        (np.zeros((4, 4, 3)), r"dtype float64, want uint8.*multiply by 255"),
        (np.zeros((4, 4, 3), np.uint16), "scale to 0-255"),
        (np.zeros((3, 9, 8), np.uint8), r"transpose\(1, 2, 0\)"),
        (np.zeros((9, 8, 4), np.uint8), r"\[\.\.\., :3\]"),
        (np.zeros((5, 9, 8), np.uint8), "list of its frames"),
        (np.zeros((0, 8, 3), np.uint8), "not empty"),
        (np.zeros(3, np.uint8), r"shape \(3,\)"),
    ],
)
def test_wrong_arrays_get_a_hint(array: np.ndarray, words: str) -> None:
    with pytest.raises(InputError, match=words):
        rgb_frame(array, "array")


def test_wrong_lists(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="empty"):
        open_source([])
    with pytest.raises(InputError, match="2 problems") as caught:
        open_source([str(tmp_path / "a.png"), np.zeros((2, 2), np.uint8)])
    assert "a.png: no such file" in str(caught.value)
    assert "item 1 is a ndarray" in str(caught.value)
    with pytest.raises(InputError, match="cannot predict on a int"):
        open_source(3)  # type: ignore[arg-type]


@pytest.mark.parametrize("size_wh", [(64, 48), (65, 49), (31, 18)])
def test_written_video_keeps_every_pixel_and_frame(tmp_path: Path, size_wh: tuple[int, int]) -> None:
    path = tmp_path / "out.mp4"
    ramp = np.linspace(20, 220, size_wh[0]).astype(np.uint8)
    frames = [np.repeat(np.tile(ramp, (size_wh[1], 1))[..., None], 3, -1) // (t + 1) for t in range(7)]
    with VideoWriter(path, size_wh, Fraction(30000, 1001)) as writer:
        for frame in frames:
            writer.write(frame)
    back = frames_of(path)
    assert len(back) == 7
    assert back[0].shape == (size_wh[1] + size_wh[1] % 2, size_wh[0] + size_wh[0] % 2, 3)
    for frame, other in zip(frames, back, strict=True):
        difference = np.abs(frame.astype(int) - other[: size_wh[1], : size_wh[0]])
        assert difference.mean() < 5


@pytest.mark.parametrize(
    ("fps", "written"),
    [(200 / 3, 66.67), (1000 / 12, 83.33), (1000 / 7, 142.86), (1000 / 1.4, 714.3), (30000 / 1001, 29.97)],
)
def test_rates_that_mpeg4_cannot_keep_exactly_are_written(tmp_path: Path, fps: float, written: float) -> None:
    """Cameras whose exposure is a number of milliseconds have such rates."""
    with VideoWriter(tmp_path / "a.mp4", (64, 48), fps) as writer:
        for _ in range(5):
            writer.write(np.zeros((48, 64, 3), np.uint8))
    reader = VideoReader(tmp_path / "a.mp4")
    assert float(reader.info.fps) == pytest.approx(written, abs=1e-3)
    assert sum(len(batch) for batch in reader.batches(16)) == 5


def test_writer_refuses_another_size(tmp_path: Path) -> None:
    with (
        VideoWriter(tmp_path / "a.mp4", (64, 48), 25) as writer,
        pytest.raises(InputError, match=r"frame of \(48, 64\) in a video of \(64, 48\)"),
    ):
        writer.write(np.zeros((64, 48, 3), np.uint8))


def test_writer_notices_frames_that_did_not_arrive(tmp_path: Path) -> None:
    writer = VideoWriter(tmp_path / "a.mp4", (64, 48), 25)
    for _ in range(3):
        writer.write(np.zeros((48, 64, 3), np.uint8))
    writer.n_frames += 1  # as if OpenCV had swallowed one
    with pytest.raises(
        InputError, match="only 3 of 4 frames of the video could be written; is the disk full"
    ):
        writer.__exit__(None, None, None)


@given(st.lists(st.integers()), st.integers(1, 4))
def test_prefetch_keeps_order(items: list[int], depth: int) -> None:
    assert list(prefetch(items, depth)) == items


def test_prefetch_hands_on_errors_after_the_items_before() -> None:
    def items():
        yield 1
        raise InputError("bad")

    stream = prefetch(items())
    assert next(stream) == 1
    with pytest.raises(InputError, match="bad"):
        next(stream)


def test_prefetch_is_bounded_and_stops_when_closed() -> None:
    made, closed = [], []

    def items():
        try:
            for i in range(10**6):
                made.append(i)
                yield i
        finally:
            closed.append(True)

    before = threading.active_count()
    stream = prefetch(items(), depth=2)
    assert next(stream) == 0
    stream.close()  # type: ignore[attr-defined]
    assert closed == [True]
    assert len(made) <= 5
    assert threading.active_count() == before
