"""Annotating a pool: names, what is next, two at once, agreement, merging."""

from __future__ import annotations

import json
import math
from concurrent.futures import ThreadPoolExecutor
from dataclasses import fields
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from label_sets import write_image

pytest.importorskip("gradio", reason="the app's extra is not installed")

from app.cli import main
from app.web import annotate_tab, annotations
from app.web.annotate_tab import next_picture, sentence
from app.web.annotations import Pool, agreement, checked_labeller
from app.web.context import AppContext
from app.web.settings import Settings
from converters import load_superset
from superset_vocab import InputError, Visibility

NAMES = ("nose", "left_ear", "tail_base")
NOSE, EAR, TAIL = [10.0, 2.0, 1.0], [4.0, 8.0, 1.0], [20.0, 20.0, 1.0]


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    for n, name in enumerate(("a.png", "b.png", "more/c.png")):
        write_image(tmp_path / "pool" / name, seed=n)
    (tmp_path / "pool" / "notes.txt").write_text("no picture")
    return Settings(
        root=tmp_path / "root", pool=tmp_path / "pool", annotations=tmp_path / "kept", pool_keypoints=NAMES
    )


@pytest.fixture
def pool(settings: Settings) -> Pool:
    return Pool.of(settings)


@pytest.mark.parametrize(
    ("said", "kept"), [("Ann Bee", "ann_bee"), (" ann_bee ", "ann_bee"), ("A.-", "a"), ("x9", "x9")]
)
def test_a_name_becomes_the_name_of_a_folder(said: str, kept: str) -> None:
    assert checked_labeller(said) == kept


@pytest.mark.parametrize("said", ["", "a", "../ann", "ann/../ben", "<b>ann", "9ann", "*", "x" * 41, "a\0b"])
def test_what_is_no_name_is_refused(said: str) -> None:
    with pytest.raises(InputError, match="give a name of 2 to 40 letters"):
        checked_labeller(said)


def test_a_labeller_goes_on_where_they_were(pool: Pool, settings: Settings) -> None:
    assert pool.pictures() == ["a.png", "b.png", "more/c.png"]
    assert pool.next_for("ann") == "a.png"
    pool.save("ann", "a.png", (32, 24), [[NOSE, None, None]])
    assert pool.next_for("ann") == "b.png"
    assert pool.next_for("ann", ("b.png",)) == "more/c.png"
    assert pool.next_for("ben") == "a.png"
    again = Pool.of(settings)
    assert again.next_for("ann") == "b.png"
    again.save("ann", "b.png", (32, 24), [])  # no animal: done all the same
    again.save("ann", "more/c.png", (32, 24), [])
    assert again.next_for("ann") is None


def test_a_broken_picture_is_passed_over(pool: Pool, settings: Settings) -> None:
    (pool.folder / "a.png").write_bytes(b"broken")
    context = AppContext.start(settings)
    shown, skipped = next_picture(pool, context, "ann", ())
    assert shown is not None
    assert (shown["pool_name"], skipped) == ("b.png", ("a.png",))
    assert tuple(shown["names"]) == NAMES
    assert shown["individuals"] == [[None] * 3]


def test_two_at_once_lose_nothing(pool: Pool) -> None:
    def work(labeller: str) -> None:
        for x, name in enumerate(pool.pictures()):
            pool.save(labeller, name, (32, 24), [[[float(x), 1.0, 1.0], None, None]])

    labellers = [f"labeller{n}" for n in range(6)]
    with ThreadPoolExecutor(6) as threads:
        list(threads.map(work, labellers))
    assert all(pool.done(one) == set(pool.pictures()) for one in labellers)
    assert len(pool.label_set()) == 18
    written = json.loads((pool.kept / "agreement.json").read_text())
    assert len(written) == 3 * 15  # pictures, pairs of six
    assert not list(pool.kept.rglob(".*"))


def test_agreement_is_distance_over_size_and_the_share_that_is_close(pool: Pool) -> None:
    assert pool.save("ann", "a.png", (32, 24), [[[0.0, 0.0, 1.0], [3.0, 4.0, 1.0], None]]) == []
    (found,) = pool.save("ben", "a.png", (32, 24), [[[0.0, 0.0, 1.0], [6.0, 8.0, 1.0], [1.0, 1.0, 1.0]]])
    assert (found.n_animals, found.n_keypoints, found.n_only_one, found.n_extra) == (1, 2, 1, 0)
    assert found.mean_distance == pytest.approx(2.5)  # 0 and 5 px
    assert found.mean_normalised == pytest.approx(0.25)  # of a diagonal of 10 px
    assert found.share_close == pytest.approx(0.5)
    text = sentence(found)
    assert "2.5 px" in text
    assert "25.0%" in text
    assert "50% within 10%" in text
    assert "ben" not in text
    assert json.loads((pool.kept / "agreement.json").read_text())[0]["labellers"] == ["ann", "ben"]
    pool.save("ann", "a.png", (32, 24), [])  # corrected: the old labels count no more
    (now,) = pool.agreements()
    assert (now.n_animals, now.n_extra, now.mean_distance) == (0, 1, None)
    assert "no keypoint that you placed" in sentence(now)


def test_saving_compares_with_the_others_of_that_picture_only(
    pool: Pool, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    for labeller in ("ann", "ben", "cid"):
        pool.save(labeller, "a.png", (32, 24), [[NOSE, EAR, None]])
    compared: list[tuple[str, tuple[str, str]]] = []

    def counted(picture: str, labellers: tuple[str, str], *arrays: np.ndarray) -> Any:
        compared.append((picture, labellers))
        return agreement(picture, labellers, *arrays)

    monkeypatch.setattr(annotations, "agreement", counted)
    assert pool.save("dan", "b.png", (32, 24), [[NOSE, None, None]]) == []
    assert compared == []
    assert len(pool.save("bob", "a.png", (32, 24), [[NOSE, EAR, None]])) == 3
    assert compared == [("a.png", pair) for pair in (("ann", "bob"), ("ben", "bob"), ("bob", "cid"))]
    written = json.loads((pool.kept / "agreement.json").read_text())
    assert written == json.loads(json.dumps([vars(one) for one in Pool.of(settings).agreements()]))


@pytest.fixture
def handlers(pool: Pool, settings: Settings) -> annotate_tab._Handlers:
    parts: dict[str, Any] = {field.name: field.name for field in fields(annotate_tab._Parts)}
    return annotate_tab._Handlers(AppContext.start(settings), pool, annotate_tab._Parts(**parts))


def sent(shown: dict[str, Any], points: list[Any]) -> Any:
    return SimpleNamespace(pool_name=shown["pool_name"], individuals=[points])


def test_two_windows_of_one_name_do_not_write_over_each_other(
    handlers: annotate_tab._Handlers, pool: Pool
) -> None:
    parts = handlers.parts
    first, second = (handlers.enter("Ann")[parts.picture] for _ in range(2))
    assert first["pool_name"] == second["pool_name"] == "a.png"
    handlers.keep(sent(first, [NOSE, EAR, None]), "ann", (), first, "")
    answer = handlers.keep(sent(second, [None, None, TAIL]), "ann", (), second, "")
    assert "a.png was labelled as ann in another window meanwhile" in answer[parts.agreed]
    assert answer[parts.picture]["pool_name"] == "b.png"
    (content,) = pool._contents("ann")
    assert content["individuals"] == [[NOSE[:2], EAR[:2], None]]


def test_a_suggestion_that_comes_after_the_picture_was_saved_is_dropped(
    handlers: annotate_tab._Handlers,
) -> None:
    parts = handlers.parts
    asked = handlers.enter("Ann")[parts.picture]
    suggestion = ({**asked, "individuals": [[NOSE, EAR, TAIL]]}, "a model")
    taken = handlers.take_over(asked, suggestion)
    assert taken[parts.picture]["individuals"] == [[NOSE, EAR, TAIL]]
    assert (taken[parts.start], taken[parts.suggestion]) == ("a model", None)
    later = handlers.keep(sent(asked, [NOSE, None, None]), "ann", (), asked, "")[parts.picture]
    assert handlers.take_over(later, suggestion) == {parts.suggestion: None}
    assert handlers.take_over(None, suggestion) == {parts.suggestion: None}


def test_animals_are_matched_whatever_their_order() -> None:
    def animal(x: float) -> list[list[float]]:
        return [[x, 0.0], [x, 10.0]]

    a, b = np.array([animal(0), animal(50)]), np.array([animal(51), animal(200), animal(0)])
    found = agreement("p", ("a", "b"), a, b)
    assert (found.n_animals, found.n_extra) == (2, 1)
    assert found.mean_distance == pytest.approx(0.5)
    assert found.mean_normalised == pytest.approx(0.5 * 1 / math.hypot(1, 10))
    assert found.share_close == 1


def test_what_was_labelled_is_a_superset_dataset_that_says_who(
    pool: Pool, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pool.save("ann", "a.png", (32, 24), [[NOSE, EAR, None], [None, None, TAIL]], start="m")
    pool.save("ben", "a.png", (32, 24), [[None, EAR, None]])
    base = ["app", "--pool", pool.folder, "--annotations", pool.kept, "--keypoints", ",".join(NAMES)]
    code = main([str(one) for one in [*base, "--merge-annotations", tmp_path / "out"]])
    assert (code, capsys.readouterr().out) == (0, f"{tmp_path / 'out'}: 2 labelled pictures\n")
    labels = load_superset(tmp_path / "out")
    ann, ben = labels.records
    assert (ann.dataset, ben.dataset) == ("ann", "ben")
    places = [labels.keypoints.index(name) for name in NAMES]
    np.testing.assert_array_equal(ann.keypoints[0, places[:2]], [NOSE[:2], EAR[:2]])
    assert ann.visibility[0, places].tolist() == [2, 2, Visibility.NOT_ANNOTATED]
    others = [k for k in range(27) if k not in places]
    assert (ann.visibility[:, others] == Visibility.UNDEFINED).all()
    np.testing.assert_array_equal(ann.bbox_xywh[0], [4, 2, 6, 6])
    assert (tmp_path / "out" / "agreement.json").is_file()
    who: list[dict[str, Any]] = json.loads((tmp_path / "out" / "labellers.json").read_text())
    assert [(one["labeller"], one["picture"], one["start"]) for one in who] == [
        ("ann", "a.png", "m"),
        ("ben", "a.png", ""),
    ]
    mine = pool.merge(tmp_path / "mine", "ben")
    assert [record.dataset for record in mine.records] == ["ben"]


def test_there_is_nothing_to_merge(pool: Pool, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="nothing has been annotated yet"):
        pool.merge(tmp_path / "out")


def test_a_host_s_mistakes_are_all_said(tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        Settings(root=tmp_path, pool=tmp_path / "none", pool_keypoints=("wing",))
    for part in ("no such folder", "give both", "'wing' of the pool is not in superanimal_topviewmouse"):
        assert part in str(caught.value)
    with pytest.raises(InputError, match="there is no pool"):
        Pool.of(Settings(root=tmp_path))
