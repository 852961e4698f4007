"""The page in a real browser: Debian's chromium, driven by Selenium."""

from __future__ import annotations

import shutil

import pytest
from answers import make_answer

pytest.importorskip("selenium")

from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import WebDriverWait

CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
pytestmark = [
    pytest.mark.programs,
    pytest.mark.skipif(not (CHROMIUM and DRIVER), reason="needs chromium and chromium-driver"),
]
WAIT_S = 30.0


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    folder = tmp_path_factory.mktemp("profile")
    for flag in (
        "--headless=new",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-dev-shm-usage",
        f"--user-data-dir={folder}",
    ):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(DRIVER))
    yield driver
    driver.quit()


class Page:
    """What a person sees and does."""

    def __init__(self, browser, served) -> None:
        self.browser, self.served = browser, served
        browser.get_log("browser")  # of the page before
        browser.get(served.url)

    def find(self, selector: str):
        return self.browser.find_element(By.CSS_SELECTOR, selector)

    def wait_for(self, what, *selector: str) -> None:
        WebDriverWait(self.browser, WAIT_S, 0.05).until(lambda _: what(*(self.find(one).text for one in selector)))

    def type(self, text: str) -> None:
        number = self.find("#number")
        number.send_keys(Keys.CONTROL, "a")
        number.send_keys(text)


@pytest.fixture
def open_page(browser, serve):
    """Opens the page of a view. No error may be in the browser's console when the test ends."""
    pages = []

    def open_it(*cameras: str, **given) -> Page:
        pages.append(Page(browser, serve(*cameras, **given)))
        return pages[-1]

    yield open_it
    assert [entry["message"] for entry in browser.get_log("browser")] == []
    browser.get("about:blank")


def test_a_frame_is_shown_with_its_answer(open_page):
    page = open_page("front")
    page.served.view.write(make_answer(confidence=0.3))
    page.wait_for(lambda label, stage: (label, stage) == ("nut", "SAC"), ".label", ".stage")
    script = (
        "const c = document.querySelector('canvas'), pixel = c.getContext('2d').getImageData(2, 2, 1, 1);"
        "return [c.width, c.height, pixel.data[0]]"
    )
    assert page.browser.execute_script(script) == [64, 48, pytest.approx(80, abs=6)]


def test_a_label_is_text_and_never_html(open_page):
    page = open_page("<img src=x onerror=alert(1)>")
    page.served.view.write(make_answer(label="<script>alert(1)</script>"))
    page.served.view.report_event(
        {"event": "<b>x</b>", "time": "2026-11-26T14:28:45.702Z", "camera": 0, "detail": "<i>y</i>"}
    )
    page.wait_for(lambda label: label == "<script>alert(1)</script>", ".label")
    page.wait_for(lambda event: "<b>x</b>" in event and "<i>y</i>" in event, "#events li")
    assert page.find(".name").text == "<img src=x onerror=alert(1)>"


def test_the_threshold_is_set_when_the_button_is_pressed(open_page):
    page = open_page()
    page.wait_for(lambda state: state == "live", "#connection")
    page.type("0.75")
    assert page.served.chain.threshold == 0.5
    page.find("#apply").click()
    page.wait_for(lambda outcome: outcome == "Set for this run; not stored.", "#outcome")
    assert page.served.chain.threshold == 0.75


def test_a_threshold_that_somebody_else_set_is_shown(open_page):
    page = open_page()
    page.wait_for(lambda state: state == "live", "#connection")
    page.served.chain.threshold = 0.625
    WebDriverWait(page.browser, WAIT_S, 0.05).until(lambda _: page.find("#number").get_attribute("value") == "0.625")


def test_the_share_that_would_exit_follows_the_slider(open_page):
    page = open_page()
    for index, confidence in enumerate((0.2, 0.4, 0.7, 0.99)):
        page.served.view.write(make_answer(index, confidence=confidence))
    page.wait_for(lambda text: "last 4 frames about 50 %" in text, "#expected")
    page.type("0.3")
    page.wait_for(lambda text: "about 75 %" in text, "#expected")


def test_a_camera_without_frames_is_shown_as_such(open_page):
    page = open_page("front", "rear")
    page.served.view.write(make_answer())
    page.served.view.counters.cameras[1].since_s -= 60.0
    page.wait_for(lambda state: state == "1 of 2 cameras give no frames", "#connection")
    page.wait_for(lambda text: text == "waits for a frame", "article:nth-child(2) .wait")


def test_charts_are_drawn_of_what_was_measured(open_page):
    page = open_page()
    for _ in range(2):
        page.served.view.write(make_answer())
    WebDriverWait(page.browser, WAIT_S, 0.05).until(
        lambda driver: len(driver.find_elements(By.CSS_SELECTOR, ".uplot")) == 6
    )
    titles = [one.text for one in page.browser.find_elements(By.CSS_SELECTOR, "#charts figcaption")]
    assert "Exit rate" in titles and "Power" in titles


def test_nothing_is_encoded_for_a_page_that_is_gone(open_page):
    page = open_page()
    page.wait_for(lambda state: state == "live", "#connection")
    page.browser.get("about:blank")
    WebDriverWait(page.browser, WAIT_S, 0.05).until(lambda _: page.served.view.viewers() == 0)


@pytest.mark.parametrize("width", [360, 1400])
def test_nothing_is_wider_than_the_screen(open_page, width):
    page = open_page("front", "a" * 120, "rtsp://host/" + "b" * 100, "rear")
    for stream in range(4):
        page.served.view.write(
            make_answer(stream=stream, label="a label that is as long as those of ImageNet, or longer")
        )
    screen = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 600}
    page.browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", screen)
    page.wait_for(lambda label: label.startswith("a label"), "article:nth-child(4) .label")
    assert page.browser.execute_script("return document.documentElement.scrollWidth") <= width
    page.browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def test_a_person_types_the_token_once(browser, serve):
    served = serve(token="correct-horse-battery")
    browser.get(served.url.partition("?")[0])
    browser.find_element(By.NAME, "token").send_keys("correct-horse-battery")
    browser.find_element(By.CSS_SELECTOR, "button").click()
    WebDriverWait(browser, WAIT_S, 0.05).until(lambda driver: driver.find_element(By.ID, "connection").text == "live")
    assert "token" not in browser.current_url
    browser.get("about:blank")
