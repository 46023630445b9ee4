"""The tab Annotate in a browser: two labellers, a pool of three pictures, a model's suggestion."""

from __future__ import annotations

import json
import shutil
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.keys import Keys
from web_page import GOLDEN, PHONE, WIDE, Page, browsing

from converters import load_superset

NAMES = ("nose", "left_ear", "right_ear", "tail_base")
PLACES = {
    "nose": (60.0, 200.0),
    "left_ear": (90.0, 170.0),
    "right_ear": (110.0, 190.0),
    "tail_base": (200.0, 60.0),
}
MISSING = [f"{name} (missing: click to set)" for name in NAMES]


@pytest.fixture(scope="module")
def pool(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pool")
    for name, source in {"a.png": "wild_4.png", "b.png": "wild_16.png", "c.png": "wild_11.png"}.items():
        shutil.copy(GOLDEN / source, folder / name)
    return folder


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("kept")


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory, pool: Path, kept: Path) -> Iterator[Page]:
    options = ["--pool", str(pool), "--annotations", str(kept), "--keypoints", ",".join(NAMES)]
    with browsing(tmp_path_factory.mktemp("browser"), options=options) as page:
        yield page


def begin(page: Page, name: str, status: str) -> None:
    page.tab("Annotate")
    page.until(lambda: page.one("#annotate-name").is_displayed())
    page.fill("#annotate-name", name)
    page.press("#annotate-begin")
    page.says("#annotate-status", status)


def click(page: Page, x: float, y: float) -> None:
    """Click a pixel of the picture."""
    page.script("arguments[0].scrollIntoView({block: 'center'})", page.canvas())
    ActionChains(page.driver).move_to_element_with_offset(page.canvas(), *page.at(x, y)).click().perform()


def set_all(page: Page, shift: float = 0.0) -> None:
    """A row of clicks, each of which sets the next keypoint."""
    page.until(lambda: page.names() == MISSING and page.picture_is_there())
    for x, y in PLACES.values():
        click(page, x + shift, y)
    page.until(lambda: page.names() == [f"{name} 1.00" for name in NAMES])


def labels_of(kept: Path, labeller: str) -> dict[str, list[list[list[float] | None]]]:
    """Picture -> animals, as they are kept."""
    files = (kept / "labels" / labeller).glob("*.json")
    return {
        content["picture"]: content["individuals"] for content in map(json.loads, map(Path.read_text, files))
    }


def test_pictures_are_labelled_one_after_the_other(page: Page, kept: Path, tmp_path: Path) -> None:
    page.open(*WIDE)
    page.tab("Annotate")
    page.press("#annotate-save")
    assert "give your name and begin" in page.error()
    begin(page, "Ann", "0 of 3 done by ann.")
    page.press("#annotate-suggest")
    page.says("#annotate-status", "superanimal_topviewmouse_compact found no animal here; label by hand")
    set_all(page)
    page.all_within_reach()
    page.press("#annotate-save")
    page.says("#annotate-status", "1 of 3 done by ann.")
    (animal,) = labels_of(kept, "ann")["a.png"]
    np.testing.assert_allclose(np.array(animal), list(PLACES.values()), atol=0.6)

    page.press("#annotate-skip")  # b.png is left for another time
    page.until(lambda: page.editor_says() == "c.png")
    page.press("#annotate-suggest")
    page.says("#annotate-status", "Suggested by superanimal_topviewmouse")
    page.until(lambda: page.names() and page.names() != MISSING and page.picture_is_there())
    page.script("arguments[0].focus()", page.canvas())
    ActionChains(page.driver).send_keys(Keys.DELETE).perform()
    page.until(lambda: page.names()[0] == MISSING[0])
    page.all_within_reach()
    page.press("#annotate-save")
    page.says("#annotate-status", "2 of 3 done by ann. The others were skipped; press Begin")
    suggested = labels_of(kept, "ann")["c.png"]
    assert suggested[0][0] is None
    assert any(point is not None for point in suggested[0])

    page.press("#annotate-pack")
    with zipfile.ZipFile(page.fetch("#annotate-file", "*.zip")) as archive:
        archive.extractall(tmp_path)
    labels = load_superset(tmp_path / "ann")
    assert {record.dataset for record in labels.records} == {"ann"}
    found = {record.source_image: record for record in labels.records}
    assert sorted(found) == ["a.png", "c.png"]
    nose = found["a.png"].keypoints[0, labels.keypoints.index("nose")]
    np.testing.assert_allclose(nose, PLACES["nose"], atol=0.6)
    who = json.loads((tmp_path / "ann" / "labellers.json").read_text())
    assert {one["picture"]: bool(one["start"]) for one in who} == {"a.png": False, "c.png": True}


def test_after_a_reload_one_goes_on_where_one_was(page: Page) -> None:
    page.open(*WIDE, "dark")
    begin(page, "Ann", "2 of 3 done by ann.")
    page.until(lambda: page.editor_says() == "b.png")
    assert page.names() == MISSING
    page.all_within_reach()


def test_a_second_labeller_on_a_phone_reads_how_far_they_agree(page: Page, kept: Path) -> None:
    page.open(*PHONE)
    begin(page, "Ben", "0 of 3 done by ben.")
    set_all(page, shift=3.0)
    page.all_within_reach()
    page.press("#annotate-save")
    said = page.says("#annotate-agreement", "Agreement")
    assert "4 common keypoints, 3." in said or "4 common keypoints, 2.9" in said
    assert "100% within 10% of it; 0 placed by one of you alone" in said
    assert "ann" not in said.replace("another", "")
    (found,) = json.loads((kept / "agreement.json").read_text())
    assert found["mean_distance"] == pytest.approx(3.0, abs=0.8)
    page.all_within_reach()


def test_quiet_and_at_home(page: Page) -> None:
    page.open(*WIDE)
    page.quiet_and_at_home()
