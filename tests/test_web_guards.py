"""Fifty hostile or broken uploads, each with the message that it gets."""

from __future__ import annotations

import stat
import struct
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

pytest.importorskip("gradio", reason="the app's extra is not installed")

from app.web.guards import check_uploads, label_source, shown_name, unzip
from app.web.settings import MIB, Settings
from superset_vocab import InputError

SETTINGS = Settings(
    root=Path("unused"),
    max_upload_mib=4,
    max_files=3,
    max_pixels=4_000_000,
    max_side=3_000,
    max_seconds=4,
    max_frames=100,
    max_zip_files=20,
    max_unzipped_mib=2,
)
Make = Callable[[Path], Path]


def png(path: Path, size_wh: tuple[int, int] = (20, 10)) -> Path:
    cv2.imwrite(str(path), np.zeros((size_wh[1], size_wh[0], 3), np.uint8))
    return path


def promising_png(path: Path, width: int, height: int) -> Path:
    """A few bytes whose header promises a picture of any size."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    body = chunk(b"IDAT", zlib.compress(b"\0" * 1000)) + chunk(b"IEND", b"")
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + body)
    return path


def video(path: Path, n_frames: int = 10, fps: float = 10, size_wh: tuple[int, int] = (32, 24)) -> Path:
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), fps, size_wh)
    for _ in range(n_frames):
        writer.write(np.zeros((size_wh[1], size_wh[0], 3), np.uint8))
    writer.release()
    return path


def written(name: str, content: bytes) -> Make:
    def make(folder: Path) -> Path:
        path = folder / name
        path.write_bytes(content)
        return path

    return make


def animation(folder: Path) -> Path:
    from PIL import Image

    path = folder / "dance.webp"
    pages = [Image.new("RGB", (8, 8), colour) for colour in ("red", "blue")]
    pages[0].save(path, save_all=True, append_images=pages[1:])
    return path


def cut_png(folder: Path) -> Path:
    content = png(folder / "whole.png", (200, 100)).read_bytes()
    path = folder / "cut.png"
    path.write_bytes(content[:20])
    return path


SINGLE: dict[str, tuple[Make, str]] = {
    "empty image": (written("a.png", b""), r"^a\.png is empty \(0 bytes\); upload it again$"),
    "empty video": (written("a.mp4", b""), r"^a\.mp4 is empty"),
    "text as image": (written("a.jpg", b"hello" * 50), r"^a\.jpg is no image, whatever its name says"),
    "html as image": (written("a.png", b"<script>alert(1)</script>"), r"^a\.png is no image"),
    "svg": (written("a.svg", b"<svg onload='x'/>"), r"^a\.svg is none of the files that can be read"),
    "html": (written("a.html", b"<p>"), r"^a\.html is none of the files"),
    "executable": (written("a.exe", b"MZ" * 99), r"^a\.exe is none of the files"),
    "pickle": (written("a.pkl", b"\x80\x04."), r"^a\.pkl is none of the files"),
    "checkpoint": (written("a.pt", b"PK"), r"^a\.pt is none of the files"),
    "zip as image": (written("a.png", b"PK\x03\x04" + b"\0" * 99), r"^a\.png is no image"),
    "no ending": (written("noending", b"abc"), r"^noending is none of the files"),
    "hidden file": (written(".htaccess", b"x"), r"^\.htaccess is none of the files"),
    "gif": (written("a.gif", b"GIF89a"), r"^a\.gif is none of the files"),
    "pdf": (written("a.pdf", b"%PDF-1.7"), r"^a\.pdf is none of the files"),
    "pdf as image": (written("a.tif", b"%PDF-1.7" * 9), r"^a\.tif is no image"),
    "cut png header": (cut_png, r"^cut\.png is no image"),
    "jpeg of two bytes": (written("a.jpg", b"\xff\xd8"), r"^a\.jpg is no image"),
    "bmp of zeros": (written("a.bmp", b"BM" + b"\0" * 60), r"^a\.bmp is no image"),
    "tiff with a loop": (written("a.tiff", b"II*\0\x08\0\0\0\0\0\x08\0\0\0"), r"^a\.tiff is no image"),
    "webp header only": (written("a.webp", b"RIFF\xff\xff\xff\xffWEBPVP8 "), r"^a\.webp is no image"),
    "100,000 pixels wide": (
        lambda f: promising_png(f / "wide.png", 100_000, 2),
        r"^wide\.png is 100000 x 2 pixels; at most 3000 along a side and 4 million in all",
    ),
    "too many pixels": (
        lambda f: promising_png(f / "big.png", 2500, 2500),
        r"^big\.png is 2500 x 2500 pixels",
    ),
    "decompression bomb": (
        lambda f: promising_png(f / "bomb.png", 60_000, 60_000),
        r"^bomb\.png is (too large to be decoded safely|60000 x 60000 pixels)",
    ),
    "animation": (
        animation,
        r"^dance\.webp holds several pictures; upload them as single images or as a video$",
    ),
    "large file": (written("a.png", b"\0" * (5 * MIB)), r"^a\.png has 5 MiB; at most 4 are taken$"),
    "large video": (written("a.mp4", b"\0" * (5 * MIB)), r"^a\.mp4 has 5 MiB; at most 4 are taken$"),
    "text as video": (
        written("a.mp4", b"not a video at all" * 9),
        r"^a\.mp4 is no video that can be decoded",
    ),
    "html as video": (written("a.webm", b"<html>" * 99), r"^a\.webm is no video that can be decoded"),
    "playlist": (
        written("a.mkv", b"#EXTM3U\n#EXTINF:1,\nfile:///etc/passwd\n"),
        r"^a\.mkv is no video that can be decoded",
    ),
    "too long": (
        lambda f: video(f / "long.mp4", 60, fps=10),
        r"^long\.mp4 is 6 s long; at most 4 s are taken",
    ),
    "too many frames": (
        lambda f: video(f / "fast.mp4", 120, fps=60),
        r"^fast\.mp4 has 120 frames; at most 100 are taken here",
    ),
    "frames too large": (
        lambda f: video(f / "wide.mp4", 2, size_wh=(3200, 32)),
        r"^wide\.mp4 is 3200 x 32 pixels",
    ),
    "markup in the name": (
        written("<img src=x onerror=alert(1)>.txt", b"x"),
        r"^_img src=x onerror=alert\(1\)_\.txt is none of the files",
    ),
    "control characters in the name": (
        written("a\x1b[31m\n.txt", b"x"),
        r"^a__31m_\.txt is none of the files",
    ),
    "endless name": (written("n" * 200 + ".txt", b"x"), r"^n{68}\.\.\.n{5}\.txt is none of the files"),
    "right-to-left override": (written("a\u202egnp.exe", b"x"), r"^a_gnp\.exe is none of the files"),
}


@pytest.mark.parametrize("name", SINGLE)
def test_a_bad_upload_is_refused_with_a_sentence(name: str, tmp_path: Path) -> None:
    make, message = SINGLE[name]
    with pytest.raises(InputError, match=message) as caught:
        check_uploads([make(tmp_path)], SETTINGS)
    assert str(tmp_path) not in str(caught.value)
    assert "<" not in str(caught.value)


def test_too_few_too_many_and_mixed_uploads(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"^nothing was uploaded"):
        check_uploads([], SETTINGS)
    images = [png(tmp_path / f"{i}.png") for i in range(4)]
    with pytest.raises(InputError, match=r"^4 images are too many at a time; at most 3"):
        check_uploads(images, SETTINGS)
    with pytest.raises(InputError, match=r"^one video at a time"):
        check_uploads([images[0], video(tmp_path / "v.mp4")], SETTINGS)


def test_good_uploads_are_told_apart(tmp_path: Path) -> None:
    assert check_uploads([png(tmp_path / "a.png"), png(tmp_path / "b.jpg")], SETTINGS) == "images"
    assert check_uploads([video(tmp_path / "v.mp4")], SETTINGS) == "video"


def zipped(path: Path, entries: dict[str, bytes], modes: dict[str, int] | None = None) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in entries.items():
            info = zipfile.ZipInfo(name)
            info.compress_type = zipfile.ZIP_DEFLATED
            info.external_attr = (modes or {}).get(name, stat.S_IFREG | 0o644) << 16
            archive.writestr(info, content)
    return path


def lying_zip(folder: Path) -> Path:
    """An entry whose directory promises three bytes and which unpacks to 900."""
    path = zipped(folder / "lie.zip", {"a.txt": b"x" * 900})
    content = bytearray(path.read_bytes())
    for signature, offset in ((b"PK\x03\x04", 22), (b"PK\x01\x02", 24)):
        at = content.index(signature) + offset
        content[at : at + 4] = struct.pack("<I", 3)
    path.write_bytes(content)
    return path


def encrypted_zip(folder: Path) -> Path:
    path = zipped(folder / "secret.zip", {"a.txt": b"x"})
    content = bytearray(path.read_bytes())
    for signature, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        content[content.index(signature) + offset] |= 1
    path.write_bytes(content)
    return path


def broken_zip(folder: Path) -> Path:
    path = zipped(folder / "hurt.zip", {"a.txt": bytes(range(256)) * 9})
    content = bytearray(path.read_bytes())
    content[60:90] = b"\xff" * 30
    path.write_bytes(content)
    return path


LINK = stat.S_IFLNK | 0o777
ZIPS: dict[str, tuple[Make, str]] = {
    "no zip": (written("a.zip", b"hello" * 99), r"^a\.zip is no zip file; pack the project folder as \.zip$"),
    "empty file": (written("a.zip", b""), r"^a\.zip is empty"),
    "empty zip": (lambda f: zipped(f / "a.zip", {}), r"^a\.zip is an empty zip file$"),
    "only an archiver's own files": (
        lambda f: zipped(f / "a.zip", {"__MACOSX/._a": b"x", "d/.DS_Store": b"x"}),
        r"^a\.zip is an empty zip file$",
    ),
    "zip slip": (
        lambda f: zipped(f / "a.zip", {"ok.txt": b"", "../../evil.txt": b"x"}),
        r"^a\.zip: the entry evil\.txt would be written outside of its folder; refused$",
    ),
    "absolute": (lambda f: zipped(f / "a.zip", {"/etc/evil": b"x"}), r"entry evil would be written outside"),
    "drive letter": (
        lambda f: zipped(f / "a.zip", {"C:evil": b"x"}),
        r"entry C_evil would be written outside",
    ),
    "backslashes": (
        lambda f: zipped(f / "a.zip", {"..\\evil": b"x"}),
        r"entry evil would be written outside",
    ),
    "link": (
        lambda f: zipped(f / "a.zip", {"passwd": b"/etc/passwd"}, {"passwd": LINK}),
        r"^a\.zip: the entry passwd is a link or no ordinary file; refused$",
    ),
    "device": (
        lambda f: zipped(f / "a.zip", {"null": b""}, {"null": stat.S_IFCHR | 0o666}),
        r"entry null is a link or no ordinary file",
    ),
    "bomb": (
        lambda f: zipped(f / "a.zip", {"zeros.png": b"\0" * (2 * MIB - 1)}),
        r"^a\.zip: the entry zeros\.png is packed suspiciously small; refused as a zip bomb$",
    ),
    "too much in all": (
        lambda f: zipped(f / "a.zip", {f"{i}.txt": b"ab" * (MIB // 4) for i in range(5)}),
        r"^a\.zip unpacks to 2 MiB; at most 2 are taken$",
    ),
    "too many entries": (
        lambda f: zipped(f / "a.zip", {f"{i}.txt": b"" for i in range(21)}),
        r"^a\.zip has 21 entries; at most 20 are taken$",
    ),
    "one name twice": (
        lambda f: zipped(f / "a.zip", {"a.txt": b"1", "A.txt": b"2"}),
        r"^a\.zip has the entry A\.txt twice; pack it again$",
    ),
    "encrypted": (encrypted_zip, r"^secret\.zip is encrypted; pack it without a password$"),
    "broken": (broken_zip, r"^hurt\.zip cannot be unpacked; it is damaged or of an unusual kind"),
    "lies about a size": (lying_zip, r"^lie\.zip (unpacks to more than it says|cannot be unpacked)"),
    "a file where a folder is wanted": (
        lambda f: zipped(f / "a.zip", {"a": b"x", "a/b": b"y"}),
        r"^a\.zip cannot be unpacked",
    ),
}


@pytest.mark.parametrize("name", ZIPS)
def test_a_bad_zip_is_refused_and_nothing_leaves_its_folder(name: str, tmp_path: Path) -> None:
    make, message = ZIPS[name]
    (tmp_path / "in").mkdir()
    path = make(tmp_path / "in")
    with pytest.raises(InputError, match=message) as caught:
        unzip(path, tmp_path / "out" / "there", SETTINGS)
    assert str(tmp_path) not in str(caught.value)
    assert [p.name for p in (tmp_path / "in").iterdir()] == [path.name]
    assert [p for p in tmp_path.rglob("*") if not p.is_dir()] == [path]
    assert not (tmp_path / "out" / "there").exists()


def test_there_are_fifty_kinds() -> None:
    assert len(SINGLE) + len(ZIPS) >= 50


def test_a_good_zip_is_unpacked_to_its_single_folder(tmp_path: Path) -> None:
    path = zipped(tmp_path / "p.zip", {"project/config.yaml": b"a: 1", "project/labeled-data/x.csv": b"1,2"})
    folder = unzip(path, tmp_path / "out", SETTINGS)
    assert folder == tmp_path / "out" / "project"
    assert (folder / "labeled-data" / "x.csv").read_bytes() == b"1,2"
    several = zipped(tmp_path / "s.zip", {"a.txt": b"1", "b/c.txt": b"2"})
    assert unzip(several, tmp_path / "more", SETTINGS) == tmp_path / "more"


def test_a_sleap_project_is_told_what_to_do(tmp_path: Path) -> None:
    """It names its videos by places on a disk, which here is the host's."""
    (tmp_path / "mice.v001.slp").write_bytes(b"")
    with pytest.raises(InputError, match=r"mice\.v001\.slp is a SLEAP project, .* `zoo convert`"):
        label_source(tmp_path)
    (tmp_path / "labels.csv").write_text("a,b")
    assert label_source(tmp_path) == tmp_path  # which a reader refuses


def test_shown_names_and_settings() -> None:
    assert shown_name("/srv/secret/räume 1.png") == "räume 1.png"
    assert shown_name(r"C:\Users\me\x.png") == "x.png"
    with pytest.raises(InputError, match="max_seconds is 0"):
        replace(SETTINGS, max_seconds=0)
    with pytest.raises(InputError, match="go together"):
        replace(SETTINGS, annotations=Path("x"))
