"""The app in a real browser: headless Chromium on a wide and on a narrow window."""

from __future__ import annotations

import json
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.keys import Keys
from web_page import GOLDEN, PHONE, WIDE, Page, browsing

from app.cli import main


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    with browsing(tmp_path_factory.mktemp("browser"), GOLDEN) as page:
        yield page


def test_predict_correct_download_reload(page: Page) -> None:
    page.open(*WIDE)
    assert "An animal in 1 of 1 images" in page.predict(GOLDEN / "wild_11.png")
    picture = page.until(lambda: next(iter(page.all("#try-gallery img")), None))
    page.until(lambda: page.script("return arguments[0].naturalWidth", picture))
    seen, shape = page.script(
        "const i = arguments[0], b = i.getBoundingClientRect();"
        "return [b.height / b.width, i.naturalHeight / i.naturalWidth]",
        picture,
    )
    assert seen == pytest.approx(shape, rel=0.02)  # whole, not cut or stretched
    assert not any(x.is_displayed() for x in page.all("#try-files .label-clear-button"))  # no upload
    page.no_wider_than_the_window()

    page.tab("Correct")
    canvas = page.until(lambda: next((c for c in page.all(".zoo-editor canvas") if c.is_displayed()), None))
    page.until(lambda: len(page.names()) == 27)
    time.sleep(0.5)  # the picture is decoded, then drawn
    page.script("arguments[0].scrollIntoView({block: 'center'})", canvas)
    names, rows = page.names(), page.all(".zoo-editor .names button")
    rows[0].click()
    canvas_keys = ActionChains(page.driver)
    # Delete the nose, set it again with a click where nothing is, drag it from there.
    canvas_keys.move_to_element_with_offset(canvas, *page.at(60, 200)).perform()
    page.script("arguments[0].focus()", canvas)
    ActionChains(page.driver).send_keys(Keys.DELETE).perform()
    page.until(lambda: "missing" in page.names()[0])
    ActionChains(page.driver).move_to_element_with_offset(canvas, *page.at(60, 200)).click().perform()
    page.until(lambda: page.names()[0] == "nose 1.00")
    drag = ActionChains(page.driver).move_to_element_with_offset(canvas, *page.at(60, 200)).click_and_hold()
    for x, y in ((70, 190), (100, 160), (120, 150)):
        drag.move_to_element_with_offset(canvas, *page.at(x, y))
    drag.release().perform()
    # Ten to the right, one back, and one more that is taken back.
    ActionChains(page.driver).key_down(Keys.SHIFT).send_keys(Keys.ARROW_RIGHT).key_up(Keys.SHIFT).perform()
    ActionChains(page.driver).send_keys(Keys.ARROW_LEFT, Keys.ARROW_DOWN).perform()
    ActionChains(page.driver).key_down(Keys.CONTROL).send_keys("z").key_up(Keys.CONTROL).perform()
    # The next point goes, comes back, and goes for good.
    ActionChains(page.driver).send_keys("n", Keys.DELETE).perform()
    page.until(lambda: "missing" in page.names()[1])
    ActionChains(page.driver).key_down(Keys.CONTROL).send_keys("z").key_up(Keys.CONTROL).perform()
    page.until(lambda: page.names()[1] == names[1])
    ActionChains(page.driver).send_keys(Keys.DELETE).perform()
    page.until(lambda: "missing" in page.names()[1])
    time.sleep(1)  # the last edit is on its way

    page.press("#correct-save")
    with zipfile.ZipFile(page.fetch("#correct-file", "*.zip")) as archive:
        (name,) = [name for name in archive.namelist() if name.endswith(".json") and "annot" in name]
        labels = json.loads(archive.read(name))
    found = [a["keypoints"] for a in labels["annotations"]]
    noses = [k[:2] for k in found if k[2] > 0]
    assert min(max(abs(x - 129), abs(y - 150)) for x, y in noses) <= 1, noses

    page.driver.refresh()
    page.until(lambda: "Upload something" in page.one("#try-status").text)


def test_a_clip_is_smoothed_and_plays(page: Page, tmp_path: Path) -> None:
    options = ["--labs", "openfield", "--frames", "20", "--video"]
    assert main(["synthesize", "--out", str(tmp_path), *options]) == 0
    page.open(*WIDE)
    (smoother,) = [r for r in page.all("label") if r.text.strip() == "Kalman smoother"]
    smoother.click()
    assert "of 20 frames" in page.predict(tmp_path / "synthetic_openfield.mp4")
    video = page.until(lambda: next(iter(page.all("#try-video video")), None))
    page.until(
        lambda: page.script("return arguments[0].readyState >= 2 && arguments[0].duration > 0.3", video)
    )
    page.script("arguments[0].muted = true; arguments[0].play()", video)
    page.until(lambda: page.script("return arguments[0].currentTime > 0", video))
    links = {link.get_attribute("download"): link for link in page.all("#try-files a[download]")}
    assert {Path(name).suffix for name in links} >= {".csv", ".h5", ".json"}
    assert len(page.fetch("#try-files", "*.csv").read_text().splitlines()) >= 20


def test_a_phone(page: Page) -> None:
    page.open(*PHONE, "dark")
    page.predict(GOLDEN / "wild_16.png")
    for name in ("Try", "Correct", "Fine-tune", "Contribute", "Models"):  # the last ones are in a menu
        page.tab(name)
        time.sleep(0.7)
        page.all_within_reach()
    wide, seen = page.script(
        "const c = document.querySelector('#models-card'); return [c.scrollWidth, c.clientWidth]"
    )
    assert wide <= seen  # a wide table scrolls by itself, the text does not
    page.tab("Correct")
    box = page.until(lambda: page.one(".zoo-editor canvas").rect)
    assert box["width"] > 280
    assert box["height"] / box["width"] == pytest.approx(240 / 320, abs=0.05)  # no dead space to scroll by


def test_tab_key_reaches_what_matters(page: Page) -> None:
    page.open(*WIDE)
    page.script("document.body.focus()")
    reached = []
    for _ in range(40):
        ActionChains(page.driver).send_keys(Keys.TAB).perform()
        reached.append(
            page.script(
                "const e = document.activeElement;"
                "return e.id || e.closest('[id^=try-]')?.id || e.getAttribute('role') || e.tagName"
            )
        )
        if "try-cancel" in reached:
            break
    wanted = ["tab", "try-upload", "try-model", "try-variant", "try-cutoff", "try-run", "try-cancel"]
    assert [name for name in dict.fromkeys(reached) if name in wanted] == wanted


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_the_main_button_can_be_read(page: Page, theme: str) -> None:
    page.open(*WIDE, theme)
    colours = page.script(
        "const s = getComputedStyle(document.querySelector('#try-run')); return [s.color, s.backgroundColor]"
    )
    dark, light = sorted(_luminance(colour) for colour in colours)
    assert (light + 0.05) / (dark + 0.05) >= 4.5


def _luminance(colour: str) -> float:
    """Relative luminance of a CSS rgb() colour (WCAG 2.2)."""
    channels = [float(v) / 255 for v in colour[colour.index("(") + 1 : -1].split(",")[:3]]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def test_quiet_and_at_home(page: Page) -> None:
    """Last: what the browser noted during all of the above."""
    page.open(*WIDE)
    page.quiet_and_at_home()
