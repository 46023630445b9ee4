"""Visitors' folders, and messages without the server's paths."""

from __future__ import annotations

import os
import time
from pathlib import Path

from hypothesis import example, given
from hypothesis import strategies as st

from app.web.settings import Settings
from app.web.visitors import Visitors, public

_PARTS = st.text(st.sampled_from("abcXYZ019_-."), min_size=1, max_size=8).filter(lambda s: s.strip("."))


def test_everybody_has_a_folder_that_nobody_can_guess(tmp_path: Path) -> None:
    visitors = Visitors(Settings(root=tmp_path))
    ann, ben = visitors.of("ann"), visitors.of("ben")
    assert visitors.of("ann") is ann
    assert ann.folder != ben.folder
    assert ann.folder.parent == ben.folder.parent == tmp_path
    assert "ann" not in ann.folder.name
    first, second = ann.new_folder("predict"), ann.new_folder("predict")
    assert first != second
    assert first.parent == ann.folder


def test_who_leaves_takes_their_files_and_nobody_else_s(tmp_path: Path) -> None:
    visitors = Visitors(Settings(root=tmp_path))
    mine = visitors.of("ann").new_folder("x") / "a.txt"
    yours = visitors.of("ben").new_folder("x") / "b.txt"
    mine.write_text("a")
    yours.write_text("b")
    visitors.forget("ann")
    visitors.forget("nobody")
    assert not mine.exists()
    assert yours.read_text() == "b"
    assert len(visitors) == 1
    visitors.forget_all()
    assert list(tmp_path.iterdir()) == []


def test_who_was_idle_is_forgotten_when_another_comes(tmp_path: Path) -> None:
    visitors = Visitors(Settings(root=tmp_path, idle_minutes=1))
    idle = visitors.of("ann")
    folder = idle.new_folder("x")
    idle.seen = time.monotonic() - 61
    visitors.of("ben")
    assert not folder.exists()
    assert len(visitors) == 1


def test_whose_page_is_open_is_never_idle(tmp_path: Path) -> None:
    visitors = Visitors(Settings(root=tmp_path, idle_minutes=1))
    ann = visitors.of("ann")
    mine = ann.new_folder("x")
    with visitors.here("ann"):
        with visitors.here("ann"):  # the connection was made anew before the old one had ended
            pass
        ann.seen = time.monotonic() - 7_200
        visitors.of("ben")
        assert mine.exists()  # hours of labelling without a request that counts
    visitors.of("ben")
    assert not mine.exists()


def test_what_was_written_after_somebody_left_goes_with_the_next(tmp_path: Path) -> None:
    settings = Settings(root=tmp_path)
    visitors = Visitors(settings)
    ann = visitors.of("ann")
    visitors.of("ben")
    claimed, unclaimed, new = (settings.uploads / name / "a.png" for name in ("1", "2", "3"))
    for path in (claimed, unclaimed, new):
        path.parent.mkdir(parents=True)
        path.write_text("a")
    for path in (claimed, unclaimed):
        os.utime(path, (time.time() - 7_200,) * 2)
    visitors.of("ben").uploads.add(claimed)
    visitors.forget("ann")
    late = ann.new_folder("unpacked") / "a.txt"
    late.write_text("a")
    visitors.of("cid")
    assert not late.exists()
    assert [path.exists() for path in (claimed, unclaimed, new)] == [True, False, True]


@given(st.lists(_PARTS, min_size=2, max_size=6), st.sampled_from(["", "C:"]), st.sampled_from(["/", "\\"]))
@example(["srv", "zoo-app", "secret", "a.png"], "", "/")
def test_a_message_names_the_file_and_none_of_its_folders(parts: list[str], drive: str, bar: str) -> None:
    message = public(f"{drive}{bar}{bar.join(parts)}: is no image")
    assert message.endswith(": is no image")
    assert bar not in message
    assert parts[-1][-9:] in message


@given(st.text(max_size=60))
def test_no_message_has_markup(text: str) -> None:
    assert not set("<>") & set(public(text))


def test_what_is_no_path_stays() -> None:
    text = "3/4 of the frames, a ratio of 1/2: and/or nothing"
    assert public(text) == text
