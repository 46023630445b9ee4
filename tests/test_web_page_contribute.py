"""The tab Contribute in a browser: from a labelled project to a bundle with the map that was edited."""

from __future__ import annotations

import tomllib
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.keys import Keys
from web_page import PHONE, WIDE, Page, browsing, labelled_project

from converters import load_superset

MAP = {"snout": "nose", "ear_l": "left_ear", "ear_r": "right_ear", "tailroot": "tail_base"}


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    with browsing(tmp_path_factory.mktemp("browser")) as page:
        yield page


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return labelled_project(tmp_path_factory.mktemp("project"))


def inspect(page: Page, project: Path, *, look: bool) -> None:
    page.tab("Contribute")
    page.upload("#contribute-upload", project)
    page.tick("#contribute-look", look)
    page.press("#contribute-inspect")
    page.says("#contribute-status", "Look at the map")


def table(page: Page) -> dict[str, str]:
    """Keypoint -> counterpart, as the page shows it."""
    rows = page.script(
        "return [...document.querySelectorAll('#contribute-table .virtual-row')]"
        ".map((r) => [...r.querySelectorAll('[role=gridcell] span[data-editable]')].map((s) => s.innerText))"
    )
    return {row[0]: row[1] for row in rows}


def write(page: Page, keypoint: str, counterpart: str) -> None:
    """Double-click an entry of the table and type another."""
    row = list(table(page)).index(keypoint)
    cell = page.one(f"#contribute-table [data-testid=cell-{row}-1]")
    page.script("arguments[0].scrollIntoView({block: 'center'})", cell)
    ActionChains(page.driver).double_click(cell).perform()
    page.until(lambda: page.all("#contribute-table [role=gridcell] textarea"))
    select = ActionChains(page.driver).key_down(Keys.CONTROL).send_keys("a").key_up(Keys.CONTROL)
    select.send_keys(counterpart, Keys.ENTER).perform()
    page.until(lambda: table(page).get(keypoint) == counterpart)


def test_a_map_is_edited_and_the_bundle_has_it(page: Page, project: Path, tmp_path: Path) -> None:
    page.open(*WIDE)
    inspect(page, project, look=False)
    page.until(lambda: table(page) == MAP)
    assert "6 images" in page.one("#contribute-found").text
    page.all_within_reach()

    cell = page.one("#contribute-table [data-testid=cell-0-1]")
    ActionChains(page.driver).context_click(cell).perform()  # no menu that adds and deletes rows
    assert not any(one.is_displayed() for one in page.all(".cell-menu, .cell-menu-button"))
    page.pick("#contribute-which", "ear_l")
    page.until(lambda: page.one("#contribute-target input").get_property("value") == "left_ear")
    page.pick("#contribute-target", "left_ear_tip")
    page.press("#contribute-set")
    page.until(lambda: table(page)["ear_l"] == "left_ear_tip")
    write(page, "tailroot", "banana")
    page.press("#contribute-make")
    assert "licence is missing" in page.error()
    page.fill("#contribute-licence", "CC BY 4.0")
    page.fill("#contribute-contact", "Ada, ada@example.org")
    page.press("#contribute-make")
    assert "tailroot: 'banana' is not in superanimal_topviewmouse" in page.error()
    write(page, "tailroot", "drop")
    page.fill("#contribute-citation", "Ada 2026, <b>Mice & men</b>")
    page.fill("#contribute-species", "house mouse, wood mouse")
    page.fill("#contribute-about", "Six rendered mice in an open field.")
    page.press("#contribute-make")
    page.says("#contribute-made", "Done.")
    assert "Converted." in page.one("#contribute-report").text
    page.all_within_reach()

    with zipfile.ZipFile(page.fetch("#contribute-file", "*.zip")) as archive:
        archive.extractall(tmp_path)
    (path,) = tmp_path.rglob("*.toml")
    found = tomllib.loads(path.read_text())
    assert found["map"] == {"snout": "nose", "ear_l": "left_ear_tip", "ear_r": "right_ear"}
    assert found["drop"] == ["tailroot"]
    (card,) = tmp_path.rglob("README.md")
    for words in ("ada@example.org", "Ada 2026", "house mouse", "Six rendered mice in an open field."):
        assert words in card.read_text()
    (annotations,) = tmp_path.rglob("annotations.json")
    labels = load_superset(annotations.parent)
    assert len(labels.records) == 6
    assert {labels.keypoints[k] for r in labels.records for k in (r.visibility[0] == 2).nonzero()[0]} == {
        "nose",
        "left_ear_tip",
        "right_ear",
    }


def test_a_model_looks_on_a_phone(page: Page, project: Path) -> None:
    page.open(*PHONE, "dark")
    inspect(page, project, look=True)
    page.until(lambda: table(page) == MAP)
    page.all_within_reach()
    page.pick("#contribute-which", "ear_r")
    page.until(lambda: page.one("#contribute-target input").get_property("value") == "right_ear")
    page.pick("#contribute-target", "right_ear_tip")
    page.press("#contribute-set")
    page.until(lambda: table(page)["ear_r"] == "right_ear_tip")
    page.fill("#contribute-licence", "CC0")
    page.fill("#contribute-contact", "Ada, ada@example.org")
    page.press("#contribute-make")
    page.says("#contribute-made", "Done.")
    page.all_within_reach()


def test_quiet_and_at_home(page: Page) -> None:
    page.open(*WIDE)
    page.quiet_and_at_home()
