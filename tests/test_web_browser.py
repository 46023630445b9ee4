"""The app in a real browser: headless Chromium on a wide and on a narrow window."""

from __future__ import annotations

import json
import time
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("gradio", reason="the app's extra is not installed")
pytest.importorskip("selenium", reason="selenium is not installed")

from selenium import webdriver
from selenium.common import exceptions as webdriver_errors
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import WebDriverWait

from app.cli import main
from benchmarks.app_load import RunningApp

CHROMIUM, DRIVER = Path("/usr/bin/chromium"), Path("/usr/bin/chromedriver")
if not (CHROMIUM.exists() and DRIVER.exists()):
    pytest.skip("Debian's chromium and chromium-driver are not installed", allow_module_level=True)

GOLDEN = Path(__file__).with_name("golden")
_FLAGS = (
    "--headless=new --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync --disable-dev-shm-usage"
)


class Page:
    """The page in the browser, with the few things that a visitor does."""

    def __init__(self, driver: Any, address: str, downloads: Path) -> None:
        self.driver, self.address, self.downloads = driver, address, downloads

    def open(self, width: int, height: int, theme: str = "light") -> None:
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 700}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        self.driver.get(f"{self.address}/?__theme={theme}")
        self.until(lambda: self.all("#try-upload input[type=file]") and self.all("#try-run"))
        self.until(lambda: len(self.all("#try-upload ~ *, label")) > 4)

    def until(self, what: Callable[[], Any], seconds: float = 60) -> Any:
        ignored = (webdriver_errors.StaleElementReferenceException, webdriver_errors.NoSuchElementException)
        return WebDriverWait(self.driver, seconds, 0.1, ignored).until(lambda _: what())

    def all(self, selector: str) -> list[Any]:
        return self.driver.find_elements(By.CSS_SELECTOR, selector)

    def one(self, selector: str) -> Any:
        return self.driver.find_element(By.CSS_SELECTOR, selector)

    def script(self, code: str, *arguments: Any) -> Any:
        return self.driver.execute_script(code, *arguments)

    def press(self, selector: str) -> None:
        button = self.one(selector)
        self.script("arguments[0].scrollIntoView({block: 'center'})", button)
        button.click()

    def tab(self, name: str) -> None:
        found = [b for b in self.all("button[role=tab]") if b.get_attribute("textContent").strip() == name]
        self.script("arguments[0].click()", found[0])

    def predict(self, path: Path) -> str:
        """Upload, press Predict, wait: what the page says then."""
        self.one("#try-upload input[type=file]").send_keys(str(path))
        self.until(lambda: path.name[:6] in self.one("#try-upload").text)
        self.press("#try-run")
        self.until(lambda: "Model superanimal" in self.one("#try-status").text)
        return self.one("#try-status").text

    def names(self) -> list[str]:
        return [row.text for row in self.all(".zoo-editor .names button")]

    def downloaded(self, pattern: str) -> Path:
        return self.until(lambda: next(iter(self.downloads.glob(pattern)), None), 20)

    def no_wider_than_the_window(self) -> None:
        wide, window = self.script("return [document.documentElement.scrollWidth, window.innerWidth]")
        assert wide <= window


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    folder = tmp_path_factory.mktemp("browser")
    (folder / "downloads").mkdir()
    app = RunningApp(folder, GOLDEN)
    options = webdriver.ChromeOptions()
    for flag in (*_FLAGS.split(), f"--user-data-dir={folder / 'profile'}", "--window-size=1300,1000"):
        options.add_argument(flag)
    options.binary_location = str(CHROMIUM)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    options.add_experimental_option(
        "prefs",
        {"download.default_directory": str(folder / "downloads"), "download.prompt_for_download": False},
    )
    driver = webdriver.Chrome(options=options, service=Service(str(DRIVER)))
    yield Page(driver, app.address, folder / "downloads")
    driver.quit()
    app.close()


def at(page: Page, x: float, y: float) -> tuple[int, int]:
    """Where a pixel of the picture is, from the middle of the canvas, while the whole picture is shown."""
    box = page.one(".zoo-editor canvas").rect
    scale = min(box["width"] / 320, box["height"] / 240)
    return round((x + 0.5 - 160) * scale), round((y + 0.5 - 120) * scale)


def test_predict_correct_download_reload(page: Page) -> None:
    page.open(1300, 1000)
    assert "An animal in 1 of 1 images" in page.predict(GOLDEN / "wild_11.png")
    picture = page.until(lambda: next(iter(page.all("#try-gallery img")), None))
    page.until(lambda: page.script("return arguments[0].naturalWidth", picture))
    seen, shape = page.script(
        "const i = arguments[0], b = i.getBoundingClientRect();"
        "return [b.height / b.width, i.naturalHeight / i.naturalWidth]",
        picture,
    )
    assert seen == pytest.approx(shape, rel=0.02)  # whole, not cut or stretched
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
    canvas_keys.move_to_element_with_offset(canvas, *at(page, 60, 200)).perform()
    page.script("arguments[0].focus()", canvas)
    ActionChains(page.driver).send_keys(Keys.DELETE).perform()
    page.until(lambda: "missing" in page.names()[0])
    ActionChains(page.driver).move_to_element_with_offset(canvas, *at(page, 60, 200)).click().perform()
    page.until(lambda: page.names()[0] == "nose 1.00")
    drag = ActionChains(page.driver).move_to_element_with_offset(canvas, *at(page, 60, 200)).click_and_hold()
    for x, y in ((70, 190), (100, 160), (120, 150)):
        drag.move_to_element_with_offset(canvas, *at(page, x, y))
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
    link = page.until(lambda: next(iter(page.all("#correct-file a[download]")), None))
    page.script("arguments[0].click()", link)
    with zipfile.ZipFile(page.downloaded("*.zip")) as archive:
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
    page.open(1300, 1000)
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
    table = next(name for name in links if name.endswith(".csv"))
    page.script("arguments[0].click()", links[table])
    assert len(page.downloaded("*.csv").read_text().splitlines()) >= 20


def test_a_phone(page: Page) -> None:
    page.open(390, 844, "dark")
    page.predict(GOLDEN / "wild_16.png")
    for name in [tab.get_attribute("textContent").strip() for tab in page.all("button[role=tab]")]:
        page.tab(name)
        time.sleep(0.7)
        page.no_wider_than_the_window()
    page.tab("Correct")
    box = page.until(lambda: page.one(".zoo-editor canvas").rect)
    assert box["width"] > 280
    assert box["height"] / box["width"] == pytest.approx(240 / 320, abs=0.05)  # no dead space to scroll by


def test_tab_key_reaches_what_matters(page: Page) -> None:
    page.open(1300, 1000)
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
    page.open(1300, 1000, theme)
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
    page.open(1300, 1000)
    severe = [e["message"] for e in page.driver.get_log("browser") if e["level"] == "SEVERE"]
    assert severe == []
    events = [json.loads(e["message"])["message"] for e in page.driver.get_log("performance")]
    asked = [e["params"]["request"]["url"] for e in events if e["method"] == "Network.requestWillBeSent"]
    own = (page.address, page.address.replace("http", "ws"), "data:", "blob:", "chrome", "about:")
    assert len(asked) > 50
    assert [url for url in asked if not url.startswith(own)] == []
    policies = [
        e["params"]["response"]["headers"].get("content-security-policy", "")
        for e in events
        if e["method"] == "Network.responseReceived"
        and e["params"]["response"]["url"].startswith(own[0] + "/?")
    ]
    assert policies
    assert all("default-src 'self'" in policy for policy in policies)
