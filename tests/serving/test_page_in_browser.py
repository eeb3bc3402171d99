"""The page in headless Chromium: it types, clicks, points and reads, against a server on a free port.

After each test the browser's own log shows that no other host was asked, and that no script failed.
The tests skip themselves without Chromium and its driver, unless BROWSER_TESTS=required.
"""

from __future__ import annotations

import json
import math
import os
import shutil
import socket
import threading
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import pytest
import uvicorn
from conftest import ROOT
from every_task import untrained
from forecast_cases import WAVE, build, rows_of
from selenium import webdriver
from selenium.common.exceptions import StaleElementReferenceException
from selenium.webdriver import ActionChains, Keys
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.support.wait import WebDriverWait

import zoo
from zoo.config import ServeConfig
from zoo.serving.app import create_app

TEXTS = json.loads((ROOT / "zoo" / "serving" / "page" / "texts.json").read_text("utf-8"))
SHIPPED = "classify/imdb", "tag/ewt-upos", "translate/en-de", "generate/pydoc"
EXAMPLES = {
    "classify/imdb": "Warm and funny: a wonderful film.",
    "tag/ewt-upos": "The old man boats.",
    "translate/en-de": "Two dogs play in the snow.",
    "generate/pydoc": "The function",
    "forecast": [round(20 + 5 * math.sin(n / 4), 2) for n in range(120)],
}
LONGEST = 500  # characters of a text, or numbers of a series
REQUIRED = os.environ.get("BROWSER_TESTS") == "required"


def program(*names: str) -> str:
    """The first of these programs that is installed; without one the test is skipped, or fails."""
    found = next(filter(None, map(shutil.which, names)), None)
    if found is None:
        missing = f"{names[0]} is not installed: apt-get install chromium chromium-driver"
        pytest.fail(missing) if REQUIRED else pytest.skip(missing)
    return found


@pytest.fixture(scope="module")
def chromium() -> tuple[str, str]:
    """The paths of the browser and of its driver."""
    return program("chromium", "chromium-browser", "google-chrome"), program("chromedriver")


DROP = """(() => {
  const data = new DataTransfer();
  data.items.add(new File([arguments[0]], "load.csv", { type: "text/csv" }));
  const options = { dataTransfer: data, bubbles: true, cancelable: true };
  document.querySelector("#input").dispatchEvent(new DragEvent("drop", options));
}).apply(null, arguments)"""


def of_columns():
    """A forecast of two targets, with a covariate that is known ahead."""
    steps = np.arange(120)
    names = {"target": ["load", "heat"], "past": [], "future": ["holiday"], "static": ["size"]}
    values = np.stack([WAVE, 3 * WAVE[::-1], steps % 3], 1)
    return build([rows_of(values, columns=names, static=[size]) for size in (1.0, 3.0)])


@pytest.fixture(scope="module")
def server(chromium):
    """The address of a server of four shipped models and two small forecasts."""
    models = {name: zoo.load(name) for name in SHIPPED} | {"forecast": untrained("forecast")}
    models["columns"] = of_columns()
    app = create_app(models, ServeConfig(input_length=LONGEST), examples=EXAMPLES, threads=1)
    with socket.socket() as door:
        door.bind(("127.0.0.1", 0))
        running = uvicorn.Server(uvicorn.Config(app, log_level="error", ws="none"))
        thread = threading.Thread(target=running.run, args=([door],))
        thread.start()
        yield f"http://127.0.0.1:{door.getsockname()[1]}/"
        running.should_exit = True
        thread.join(20)


class Page:
    """The open page."""

    def __init__(self, driver: webdriver.Chrome, address: str) -> None:
        self.driver = driver
        self.address = address

    def all(self, css: str) -> list[Any]:
        """Every element of a selector."""
        return self.driver.find_elements("css selector", css)

    def one(self, css: str) -> Any:
        """The first element of a selector, as soon as there is one."""
        return self.wait(lambda: next(iter(self.all(css)), None))

    def text(self, css: str) -> str:
        """The visible text of an element."""
        return self.one(css).text

    def wait(self, found: Callable[[], Any]) -> Any:
        """What `found` returns, once it is true."""
        waiting = WebDriverWait(
            self.driver, 60, 0.05, ignored_exceptions=[StaleElementReferenceException]
        )
        return waiting.until(lambda _: found())

    def run(self, script: str, *values: Any) -> Any:
        """What a script returns."""
        return self.driver.execute_script(f"return {script}", *values)

    def point(self, css: str) -> None:
        """Move the pointer to an element."""
        target = self.one(css)
        self.run("arguments[0].scrollIntoView({block: 'center', inline: 'center'})", target)
        ActionChains(self.driver, duration=0).move_to_element(target).perform()

    def click(self, css: str) -> None:
        """Click an element as soon as it is there."""
        target = self.one(css)
        self.run("arguments[0].scrollIntoView({block: 'center'})", target)
        target.click()

    def open(self, name: str) -> None:
        """Open the tab of a model, and wait for its example's answer and explanation."""
        self.click(f'[data-model="{name}"]')
        self.wait(lambda: self.run("document.querySelector('#panel').ariaBusy") == "false")
        self.one("#explorer .cell")

    def ask(self, text: str) -> None:
        """Type a text, press the button, and wait until all is there."""
        box = self.one("#input")
        box.clear()
        box.send_keys(text)
        self.click("#ask")
        self.wait(lambda: self.run("document.querySelector('#panel').ariaBusy") == "false")

    def colours(self, css: str) -> list[str]:
        """The background colours of elements."""
        return self.run(
            "[...document.querySelectorAll(arguments[0])]"
            ".map((each) => getComputedStyle(each).backgroundColor)",
            css,
        )


@pytest.fixture(scope="module")
def browser(chromium, server):
    """The page in a browser that writes down each request."""
    options = webdriver.ChromeOptions()
    options.binary_location = chromium[0]
    words = ["--headless=new", "--disable-gpu", "--disable-dev-shm-usage", "--lang=en-US"]
    if os.geteuid() == 0:  # a sandbox needs another user
        words.append("--no-sandbox")
    for word in words:
        options.add_argument(word)
    options.set_capability("goog:loggingPrefs", {"performance": "ALL", "browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service(chromium[1]))
    try:
        driver.set_window_size(1280, 900)
        driver.get(server)
        yield Page(driver, server)
    finally:
        driver.quit()


@pytest.fixture
def page(browser):
    """The page; after the test its log must name no other host, and no failure of a script."""
    yield browser
    events = [
        json.loads(entry["message"])["message"] for entry in browser.driver.get_log("performance")
    ]
    sent = [
        e["params"]["request"]["url"] for e in events if e["method"] == "Network.requestWillBeSent"
    ]
    own = urlsplit(browser.address).netloc
    assert {urlsplit(url).netloc for url in sent} <= {own}
    assert {urlsplit(url).scheme for url in sent} <= {"http"}
    failures = [entry["message"] for entry in browser.driver.get_log("browser")]
    refused = [line for line in failures if "/predict - Failed to load" in line]  # a long text
    assert [line for line in failures if line not in refused] == []


pytestmark = pytest.mark.browser


def test_classify_shows_the_label_its_bars_and_what_mattered(page):
    page.open("classify/imdb")
    page.ask("A dull, tedious and boring film.")
    assert page.text("#answer .big") == "negative"
    assert [each.text for each in page.all("#answer .label")] == ["negative", "positive"]
    shares = [float(each.text.rstrip("%")) for each in page.all("#answer .value")]
    assert shares == sorted(shares, reverse=True)
    assert sum(shares) == pytest.approx(100, abs=1)
    words = [each.text for each in page.all("#why .word")]
    assert "tedious" in "".join(words)
    assert len(set(page.colours("#why .word"))) > 2
    assert "negative" in page.text("#why .target")

    before = page.colours("#why .word")
    page.click("#why [data-value=gradient]")
    assert page.colours("#why .word") != before

    page.click("#answer li:nth-child(2) button")
    page.wait(lambda: "positive" in page.text("#why .target"))


def test_the_explorer_shows_what_a_step_has_read_and_what_the_task_reads(page):
    page.open("classify/imdb")
    steps = len(page.all("#explorer .token"))
    assert len(page.all("#explorer .cell")) == 2 * steps
    assert [each.text for each in page.all(".finals .lit")] == ["h_n", "h_n"]
    assert page.all(".output.lit") == []
    backward = page.one('.finals[data-direction="backward"]')
    forward = page.one('.finals[data-direction="forward"]')
    cells = page.all("#explorer .cell")
    assert backward.rect["x"] < cells[0].rect["x"] < cells[steps - 1].rect["x"] < forward.rect["x"]

    page.point('.cell[data-direction="forward"][data-step="2"]')
    wanted = TEXTS["en"]["explorer.read"].format(read=3, steps=steps)
    page.wait(lambda: wanted in page.text("#details"))
    assert len(page.all(".token.read")) == 3
    gates = [float(each.text) for each in page.all("#details .gates .value")]
    assert len(gates) == 4
    assert all(0 <= gate <= 1 for gate in gates[:3])

    page.one('.cell[data-direction="forward"][data-step="2"]').send_keys(Keys.ARROW_RIGHT)
    assert page.run("document.activeElement.dataset.step") == "3"
    assert len(page.all(".token.read")) == 4
    page.one(".cell.chosen").send_keys(Keys.ARROW_DOWN)
    assert page.run("document.activeElement.dataset.direction") == "backward"
    assert len(page.all(".token.read")) == steps - 3

    page.click("#wrong")
    one = TEXTS["en"]["explorer.read"].format(read=1, steps=steps)
    page.wait(lambda: one in page.text("#details"))
    assert len(page.all(".output.wrong")) == 1
    assert "output[-1]" in page.text("#pitfall.strong")
    page.click("#wrong")


def test_tags_are_coloured_and_a_word_can_be_asked_about(page):
    page.open("tag/ewt-upos")
    page.ask("She reads old books in Geneva.")
    words = [each.text for each in page.all("#answer .tagged")]
    tags = [each.text for each in page.all("#answer .tag-name")]
    assert words == ["She", "reads", "old", "books", "in", "Geneva", "."]
    assert tags == ["PRON", "VERB", "ADJ", "NOUN", "ADP", "PROPN", "PUNCT"]
    assert len(set(page.colours("#answer .tag"))) == len(set(tags))
    assert len(page.all(".output.lit")) == len(page.all("#explorer .token"))
    page.click('#answer [data-word="5"]')
    assert page.text("#why [aria-pressed=true].written-word") == "Geneva"
    assert "PROPN" in page.text("#why .target")


def test_a_written_word_lights_up_what_its_attention_read(page):
    page.open("translate/en-de")
    page.ask("A man rides a bicycle.")
    assert "Mann" in page.text("#answer .big")
    assert [each.text for each in page.all(".finals .lit")] == ["h_n", "c_n"] * 2
    lit = []
    written = page.all("#why .written-word")
    for word in (0, 1, len(written) - 1):
        page.point(f'#why [data-word="{word}"]')
        shares = "[...document.querySelectorAll('#read-words .word')].map((w) => +w.style.getPropertyValue('--share'))"
        found = page.run(shares)
        assert max(found) == 1
        lit.append(found)
    assert lit[0] != lit[1] != lit[2]
    assert "shares" in page.one("#read-words").get_attribute("class")


def test_a_text_is_shown_while_it_is_written_and_can_be_stopped(page):
    page.click('[data-model="generate/pydoc"]')
    page.wait(lambda: page.run("document.querySelector('#panel').ariaBusy") == "false")
    page.run("document.querySelector('#temperature').value = 0")
    page.run("document.querySelector('#temperature').dispatchEvent(new Event('input'))")
    assert TEXTS["en"]["temperature.zero"] in page.text(".slider")
    box = page.one("#input")
    box.clear()
    box.send_keys("The object")
    page.click("#ask")
    page.wait(lambda: page.text("#answer .new").strip())
    page.click("#stop")
    stopped = page.run("document.querySelector('#answer .new').textContent")
    page.wait(lambda: page.run("document.querySelector('#panel').ariaBusy") == "false")
    assert page.text("#answer .prompt") == "The object"
    assert page.run("document.querySelector('#answer .new').textContent") == stopped
    assert page.text("#error") == ""


def test_a_forecast_is_drawn_with_its_band_from_pasted_numbers(page):
    page.open("forecast")
    rows = "\n".join(f"2031-01-{n % 28 + 1:02},{20 + n % 7}" for n in range(90))
    page.run("document.querySelector('#input').value = arguments[0]", f"day,load\n{rows}")
    page.one("#input").send_keys(" ")
    assert "90" in page.text(".columns")
    page.click("#ask")
    page.wait(lambda: page.run("document.querySelector('#panel').ariaBusy") == "false")
    line = page.one("#answer .forecast").get_attribute("d")
    assert line.count("L") == len(page.all("#answer tbody tr"))
    assert page.one("#answer .band").get_attribute("d").endswith("Z")
    asked = len(page.all("#answer tbody tr"))
    page.ask("1 2 many 4")
    assert "“many”" in page.text(".columns")
    assert len(page.all("#answer tbody tr")) == asked  # nothing was asked of the server


def test_a_forecast_reads_all_columns_of_a_table(page):
    page.click('[data-model="columns"]')
    assert "load, heat, holiday, size" in page.text("form label")
    told = [f"{n},{20 + n % 7},{n % 4},{n % 3},2" for n in range(20)]
    ahead = [f"{n},,,{n % 3},2" for n in range(20, 24)]
    table = "\n".join(["day,Load,warmth,holiday,size", *told, *ahead])
    page.run(DROP, table)
    page.one(".columns .error")
    assert page.text(".file-name") == "load.csv"
    assert "heat" in page.text(".columns .error")  # the one that is not in the table by its name
    page.click("#ask")
    assert page.all("#answer .forecast") == []
    page.click('#column-1 [value="warmth"]')
    shown = page.text(".columns")
    assert "20 values" in shown
    assert "4 rows known ahead" in shown
    page.click("#ask")
    page.wait(lambda: page.run("document.querySelector('#panel').ariaBusy") == "false")
    assert page.text("#error") == ""
    load = page.one("#answer .forecast").get_attribute("d")
    assert load.count("L") == 4
    page.one("#explorer .cell")
    page.click('#shown [value="1"]')
    assert page.one("#answer .forecast").get_attribute("d") != load
    page.open("forecast")  # the tests behind this one begin with an example


@pytest.mark.parametrize("language", ["ja", "zh-TW"])
def test_the_language_is_switched_and_remembered(page, language):
    page.click(f'#languages [data-value="{language}"]')
    page.driver.refresh()
    page.one("#explorer .cell")
    texts = TEXTS[language]
    assert page.run("document.documentElement.lang") == language
    assert page.text("h1").replace("\n", "").replace(" ", "") == "".join(
        texts[name] for name in ("question.what", "question.which")
    ).replace("`", "").replace(" ", "")
    shown = page.text("body")
    for name in ("answer.title", "why.title", "explorer.title", "explorer.forward", "footer"):
        assert texts[name] in shown
        assert TEXTS["en"][name] not in shown
    page.click('#languages [data-value="en"]')
    assert page.text("#answer-title") == TEXTS["en"]["answer.title"]


@pytest.mark.parametrize("name", ["classify/imdb", "tag/ewt-upos"])
def test_arabic_is_read_from_the_right(page, name):
    page.open(name)
    page.ask("فيلم رائع ودافئ")
    for css in ("#input", ".words, .written", "[data-answer]"):
        wanted = "ltr" if name == "classify/imdb" and css == "[data-answer]" else "rtl"  # a label
        style = f"getComputedStyle(document.querySelector({css!r})).direction"
        assert page.run(style) == wanted, css


def test_an_error_of_the_server_is_shown_as_its_line(page):
    page.open("classify/imdb")
    page.ask("a" * (LONGEST + 1))
    line = page.text("#error")
    assert f"{LONGEST:,}" in line
    assert "\n" not in line
    page.ask("<img src=x onerror=alert(1)> fine")
    assert page.text("#error") == ""
    assert page.all("main img") == []  # what is typed never becomes markup
    assert "onerror" in page.text("#why")


def test_no_tab_scrolls_sideways_on_a_phone(page):
    page.driver.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride",
        {"width": 390, "height": 844, "deviceScaleFactor": 1, "mobile": True},
    )
    try:
        for name in EXAMPLES:
            page.open(name)
            assert page.run("document.documentElement.scrollWidth") <= 390, name
            box = page.one(".unrolled")
            assert page.run("arguments[0].scrollWidth > arguments[0].clientWidth", box), name
    finally:
        page.driver.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
