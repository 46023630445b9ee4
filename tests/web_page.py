"""What tests of the app in a browser share: headless Chromium on a running app, and what a visitor does."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("gradio", reason="the app's extra is not installed")
pytest.importorskip("selenium", reason="selenium is not installed")

from selenium import webdriver
from selenium.common import exceptions as webdriver_errors
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import WebDriverWait

from benchmarks.app_load import RunningApp
from converters.synthetic import LABS, synthesize
from converters.writers.registry import write_labels

CHROMIUM, DRIVER = Path("/usr/bin/chromium"), Path("/usr/bin/chromedriver")
if not (CHROMIUM.exists() and DRIVER.exists()):
    pytest.skip("Debian's chromium and chromium-driver are not installed", allow_module_level=True)

GOLDEN = Path(__file__).with_name("golden")
WIDE, PHONE = (1300, 1000), (390, 844)
_FLAGS = (
    "--headless=new --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync --disable-dev-shm-usage"
)
# Of what a visitor can press or fill in, what is not on the page's width, or lies under something else.
_UNREACHABLE = """
const wrong = [];
for (const one of document.querySelectorAll('button, textarea, select, a[download], input')) {
  const style = getComputedStyle(one), closed = one.closest('[inert], [aria-hidden=true]');
  if (closed || one.disabled || style.visibility === 'hidden' || style.opacity === '0') continue;
  if (one.getBoundingClientRect().width < 2 || !one.checkVisibility()) continue;
  one.scrollIntoView({block: 'center', inline: 'center'});
  const box = one.getBoundingClientRect();
  const [x, y] = [box.x + box.width / 2, box.y + box.height / 2];
  const there = document.elementFromPoint(x, y);
  const label = one.closest('label');
  const seen = there && (one.contains(there) || there.contains(one) || (label && label.contains(there)));
  if (box.left < -1 || box.right > window.innerWidth + 1 || !seen) {
    const name = (one.id || one.getAttribute('aria-label') || one.textContent || one.tagName).trim();
    const under = seen ? '' : ` under ${there && there.className}`;
    wrong.push(`${name.slice(0, 40)} at ${Math.round(box.left)}..${Math.round(box.right)}${under}`);
  }
}
return wrong;
"""


def labelled_project(folder: Path) -> Path:
    """Six rendered mice as somebody's DeepLabCut project, zipped."""
    labels = synthesize(LABS["openfield"], 6, folder / "images", seed=3)
    write_labels(labels, folder / "mine", format="deeplabcut")
    return Path(shutil.make_archive(str(folder / "mine"), "zip", folder, "mine"))


class Page:
    """The page in the browser, with the few things that a visitor does."""

    def __init__(self, driver: Any, address: str, downloads: Path) -> None:
        self.driver, self.address, self.downloads = driver, address, downloads

    def open(self, width: int, height: int, theme: str = "light") -> None:
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 700}
        self.pictures_have_arrived()
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

    def pictures_have_arrived(self) -> None:
        """Wait for them: whoever leaves before is refused the rest, as their files are gone."""
        self.until(lambda: self.script("return [...document.images].every((i) => i.complete)"))

    def tab(self, name: str) -> None:
        """Open a tab; on a narrow window some are in a menu."""
        found = (
            "return [...document.querySelectorAll('.tab-wrapper button:not([tabindex=\"-1\"])')]"
            ".find((b) => b.textContent.trim() === arguments[0])"
        )
        self.script("arguments[0].click()", self.until(lambda: self.script(found, name)))

    def upload(self, selector: str, path: Path) -> None:
        """Hand a file to an upload field, and wait until the page shows its name."""
        self.until(lambda: self.all(f"{selector} input[type=file]"))
        self.one(f"{selector} input[type=file]").send_keys(str(path))
        self.until(lambda: path.stem[:6] in self.one(selector).text)

    def fill(self, selector: str, text: str) -> None:
        """Write into a text field, in the place of what is there."""
        field = self.one(f"{selector} textarea, {selector} input")
        self.script("arguments[0].scrollIntoView({block: 'center'})", field)
        field.click()
        field.send_keys(Keys.CONTROL, "a")
        field.send_keys(text, Keys.TAB)

    def pick(self, selector: str, choice: str) -> None:
        """Choose from a list."""
        field = self.one(f"{selector} input")
        self.script("arguments[0].scrollIntoView({block: 'center'})", field)
        field.click()
        option = self.until(lambda: next(iter(self.all(f"[role=option][aria-label='{choice}']")), None))
        self.script("arguments[0].scrollIntoView({block: 'nearest'})", option)
        option.click()
        self.until(lambda: field.get_property("value") == choice)

    def tick(self, selector: str, on: bool) -> None:
        """Set a check box."""
        box = self.one(f"{selector} input[type=checkbox]")
        if box.is_selected() != on:
            self.script("arguments[0].click()", box)

    def says(self, selector: str, *words: str, seconds: float = 60) -> str:
        """Wait until a text holds one of these words; the text."""
        self.until(lambda: any(word in self.one(selector).text for word in words), seconds)
        return self.one(selector).text

    def error(self) -> str:
        """The message that the page shows, which is closed."""
        box = self.until(lambda: next(iter(self.all(".toast-body.error")), None))
        text = box.get_attribute("textContent")  # it fades in
        for close in self.all(".toast-body .toast-close"):
            self.script("arguments[0].click()", close)
        self.until(lambda: not self.all(".toast-body.error"))
        return text

    def predict(self, path: Path) -> str:
        """Upload, press Predict, wait: what the page says then."""
        self.upload("#try-upload", path)
        self.press("#try-run")
        self.until(lambda: "Model " in self.one("#try-status").text)
        self.until(lambda: self.script("return document.querySelector('#try-plot img')?.naturalWidth > 0"))
        self.pictures_have_arrived()
        return self.one("#try-status").text

    def names(self) -> list[str]:
        """Keypoints beside the picture of the tab that is open."""
        return self.script(
            "const e = [...document.querySelectorAll('.zoo-editor')].find((e) => e.checkVisibility());"
            "return [...(e ? e.querySelectorAll('.names button') : [])].map((b) => b.innerText.trim())"
        )

    def canvas(self) -> Any:
        """The picture of the tab that is open, once it is there."""
        return self.until(lambda: next((c for c in self.all(".zoo-editor canvas") if c.is_displayed()), None))

    def picture_is_there(self) -> bool:
        """Whether the editor of the tab that is open has drawn its picture."""
        return self.script(
            "const c = arguments[0], g = c.getContext('2d');"
            "return g.getImageData(c.width >> 1, c.height >> 1, 1, 1).data[3] > 0",
            self.canvas(),
        )

    def editor_says(self) -> str:
        """The line beside the tools of the editor of the tab that is open."""
        return next((e.text for e in self.all(".zoo-editor .status") if e.is_displayed()), "")

    def at(self, x: float, y: float, size_wh: tuple[int, int] = (320, 240)) -> tuple[int, int]:
        """Where a pixel of the picture is, from the middle of the canvas, while the whole is shown."""
        box, (width, height) = self.canvas().rect, size_wh
        scale = min(box["width"] / width, box["height"] / height)
        return round((x + 0.5 - width / 2) * scale), round((y + 0.5 - height / 2) * scale)

    def fetch(self, selector: str, pattern: str) -> Path:
        """Download what a field of files offers: the first file with this ending."""
        before, ending = set(self.downloads.glob(pattern)), pattern.removeprefix("*")
        link = self.until(lambda: next(iter(self.all(f"{selector} a[download$='{ending}']")), None))
        self.script("arguments[0].click()", link)
        return self.until(lambda: next(iter(set(self.downloads.glob(pattern)) - before), None), 20)

    def no_wider_than_the_window(self) -> None:
        wide, window = self.script("return [document.documentElement.scrollWidth, window.innerWidth]")
        assert wide <= window

    def all_within_reach(self) -> None:
        """The page is as wide as the window, and all that can be pressed or filled in is in it."""
        self.no_wider_than_the_window()
        unreachable = self.script(_UNREACHABLE)
        assert unreachable == [], unreachable

    def quiet_and_at_home(self) -> None:
        """The browser noted no error, and asked nobody but the app, since this was last checked."""
        severe = [e["message"] for e in self.driver.get_log("browser") if e["level"] == "SEVERE"]
        assert severe == [], severe
        events = [json.loads(e["message"])["message"] for e in self.driver.get_log("performance")]
        asked = [e["params"]["request"]["url"] for e in events if e["method"] == "Network.requestWillBeSent"]
        own = (self.address, self.address.replace("http", "ws"), "data:", "blob:", "chrome", "about:")
        assert len(asked) > 50
        elsewhere = [url for url in asked if not url.startswith(own)]
        assert elsewhere == [], elsewhere
        policies = [
            e["params"]["response"]["headers"].get("content-security-policy", "")
            for e in events
            if e["method"] == "Network.responseReceived"
            and e["params"]["response"]["url"].startswith(own[0] + "/?")
        ]
        assert policies
        assert all("default-src 'self'" in policy for policy in policies)


@contextmanager
def browsing(folder: Path, examples: Path | None = None, options: Sequence[str] = ()) -> Iterator[Page]:
    """A browser on a new app.

    Args:
        folder: Where both may put their files.
        examples: Folder of examples.
        options: More of `zoo app`.
    """
    downloads = folder / "downloads"
    downloads.mkdir()
    app = RunningApp(folder, examples, options=options)
    try:
        driver = _chromium(folder / "profile", downloads)
        try:
            yield Page(driver, app.address, downloads)
        finally:
            driver.quit()
    finally:
        app.close()


def _chromium(profile: Path, downloads: Path) -> webdriver.Chrome:
    options = webdriver.ChromeOptions()
    for flag in (*_FLAGS.split(), f"--user-data-dir={profile}", "--window-size=1300,1000"):
        options.add_argument(flag)
    options.binary_location = str(CHROMIUM)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    options.add_experimental_option(
        "prefs",
        {"download.default_directory": str(downloads), "download.prompt_for_download": False},
    )
    return webdriver.Chrome(options=options, service=Service(str(DRIVER)))
