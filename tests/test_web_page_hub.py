"""The demo in a browser with a Hub of this machine: a contribution becomes a pull request."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from loopback_hub_upload import UploadHub
from web_page import PHONE, WIDE, Page, browsing

from converters.synthetic import LABS, synthesize
from converters.writers.registry import write_labels

BOB = "hf_bob-secret"
KEY = "datasets/ann/mice"


@pytest.fixture(scope="module")
def hub() -> Iterator[UploadHub]:
    with UploadHub({BOB: "bob"}) as served:
        served.commit(KEY, {"README.md": b"# Mice"})
        yield served


@pytest.fixture(scope="module")
def page(hub: UploadHub, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    folder = tmp_path_factory.mktemp("browser")
    settings = {"HF_ENDPOINT": hub.endpoint, "HF_TOKEN": BOB, "HF_HOME": str(folder / "hf")}
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {**settings, "HF_HUB_DISABLE_XET": "1"}.items():
            patch.setenv(name, value)
        with browsing(folder, options=["--contribute-to", "ann/mice"]) as opened:
            yield opened


def make_bundle(page: Page, folder: Path, seed: int) -> None:
    """From a labelled project to the finished bundle."""
    write_labels(
        synthesize(LABS["openfield"], 3, folder / "images", seed=seed), folder / "mine", format="coco"
    )
    page.tab("Contribute")
    page.upload("#contribute-upload", Path(shutil.make_archive(str(folder / "mine"), "zip", folder, "mine")))
    page.tick("#contribute-look", False)
    page.press("#contribute-inspect")
    page.says("#contribute-status", "Look at the map")
    assert not page.all("#contribute-pull-request-open")
    page.fill("#contribute-licence", "CC BY 4.0")
    page.fill("#contribute-contact", "Ada, ada@example.org")
    page.press("#contribute-make")
    page.says("#contribute-made", "Done.")
    page.until(lambda: page.all("#contribute-pull-request-open"))


def test_a_contribution_is_proposed_once_it_is_allowed(page: Page, hub: UploadHub, tmp_path: Path) -> None:
    page.open(*WIDE)
    make_bundle(page, tmp_path, seed=1)
    page.press("#contribute-pull-request-open")
    assert "say that you may show the images" in page.error()
    page.tick("#contribute-pull-request-agreed", True)
    page.fill("#contribute-pull-request-name", "../out")
    page.press("#contribute-pull-request-open")
    assert "is no name of a contribution" in page.error()
    assert KEY not in hub.pull_requests
    page.fill("#contribute-pull-request-name", "ada-field")
    page.press("#contribute-pull-request-open")
    page.says("#contribute-pull-request-opened", "Proposed as")
    link = page.one("#contribute-pull-request-opened a")
    assert link.get_attribute("href") == f"{hub.endpoint}/{KEY}/discussions/1"
    page.all_within_reach()
    if pictures := os.environ.get("ZOO_SCREENSHOTS"):
        page.driver.save_screenshot(f"{pictures}/pull_request.png")
    files = hub.repositories[KEY].commits[hub.repositories[KEY].refs["refs/pr/1"]]
    assert b"ada@example.org" in files["contributions/ada-field/README.md"]


def test_somebody_else_s_name_is_taken_on_a_phone_too(page: Page, hub: UploadHub, tmp_path: Path) -> None:
    page.open(*PHONE, "dark")
    make_bundle(page, tmp_path, seed=2)
    page.tick("#contribute-pull-request-agreed", True)
    page.fill("#contribute-pull-request-name", "ada-field")
    page.press("#contribute-pull-request-open")
    assert "pull request 1 has another dataset of the name ada-field" in page.error()
    page.all_within_reach()
    assert len(hub.pull_requests[KEY]) == 1


def test_quiet_and_at_home(page: Page) -> None:
    page.open(*WIDE)
    page.quiet_and_at_home()
