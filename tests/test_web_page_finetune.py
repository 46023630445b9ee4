"""The tab Fine-tune in a browser: a labelled project, or corrected pictures, become a model that is tried."""

from __future__ import annotations

import re
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("mmengine", reason="the training extra is not installed")

from selenium.webdriver.common.action_chains import ActionChains
from web_page import GOLDEN, PHONE, WIDE, Page, browsing, labelled_project

import zoo


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    with browsing(tmp_path_factory.mktemp("browser")) as page:
        yield page


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return labelled_project(tmp_path_factory.mktemp("project"))


def few_steps(page: Page) -> None:
    page.tab("Fine-tune")
    page.until(lambda: page.one("#finetune-run").is_displayed())
    page.fill("#finetune-steps", "10")


def test_a_project_becomes_a_model_that_is_tried(page: Page, project: Path, tmp_path: Path) -> None:
    page.open(*WIDE)
    few_steps(page)
    page.press("#finetune-run")
    assert "nothing was uploaded" in page.error()
    page.upload("#finetune-upload", project)
    page.fill("#finetune-frames", "4")
    page.press("#finetune-run")
    said = page.says("#finetune-status", "Done:")
    label = re.findall("“(.+)”", said)[0]
    assert label == "my model 1 (superanimal_topviewmouse, fine-tuned)"
    page.until(lambda: page.all("#finetune-curve svg path, #finetune-curve canvas"))
    result = page.one("#finetune-result").text
    assert "Learned from 4 labelled frames." in result
    assert "On 2 labelled frames that were not used" in result
    rows = [
        [c.text for c in row.find_elements("css selector", "td")] for row in page.all("#finetune-result tr")
    ]
    figures = {row[0]: row[1:] for row in rows if row}
    assert all(float(value) > 0 for value in figures["mean distance (px)"])
    assert "snout → nose" in result
    page.all_within_reach()
    with zipfile.ZipFile(page.fetch("#finetune-file", "*.zip")) as archive:
        archive.extractall(tmp_path)
    assert zoo.load(tmp_path / "fine_tuned_model", device="cpu").spec.name == "superanimal_topviewmouse"

    page.press("#finetune-try")
    page.until(lambda: page.one("#try-run").is_displayed())
    assert page.one("#try-model input").get_property("value") == label
    assert "mine-replay" in page.predict(GOLDEN / "wild_11.png")
    page.tab("Correct")
    page.until(lambda: len(page.names()) == 27)
    page.press("#correct-tune")
    assert "this is a fine-tuned model already" in page.error()


def test_corrected_pictures_go_into_fine_tuning_on_a_phone(page: Page) -> None:
    page.open(*PHONE, "dark")
    page.all_within_reach()
    page.predict(GOLDEN / "wild_11.png")
    few_steps(page)
    page.all_within_reach()
    page.tab("Correct")
    page.until(lambda: len(page.names()) == 27 and page.picture_is_there())
    page.all_within_reach()
    canvas = page.canvas()
    page.script("arguments[0].scrollIntoView({block: 'center'})", canvas)
    ActionChains(page.driver).move_to_element_with_offset(canvas, *page.at(60, 200)).click().perform()
    page.press("#correct-tune")
    said = page.says("#finetune-status", "Done:")
    assert "my model 1" in said
    result = page.one("#finetune-result").text
    assert "Learned from 1 labelled frame." in result
    assert "there is none left to test the model on" in result
    page.all_within_reach()


def test_cancelling_leaves_the_page_alive(page: Page, project: Path) -> None:
    page.open(*WIDE, "dark")
    page.tab("Fine-tune")
    page.upload("#finetune-upload", project)
    page.press("#finetune-run")
    page.says("#finetune-status", "training: ")  # 200 steps
    page.press("#finetune-cancel")
    page.says("#finetune-status", "Cancelled.")
    assert not page.all(".toast-body.error")
    page.all_within_reach()
    page.tab("Try")
    assert "An animal in 1 of 1 images" in page.predict(GOLDEN / "wild_16.png")


def test_quiet_and_at_home(page: Page) -> None:
    page.open(*WIDE)
    page.quiet_and_at_home()
