"""The report in a real headless Chromium: no console error, every image loads, the slider moves, narrow and in print.

Needs Chromium with its driver, and selenium (make browser); skipped where they are missing.
"""

import base64
import shutil
from types import SimpleNamespace

import numpy as np
import pytest
from matplotlib.figure import Figure

from finegrain.paper_figs.gallery import build, report

selenium = pytest.importorskip("selenium", reason="selenium is not installed")
from selenium import webdriver  # noqa: E402

CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
needs_chromium = pytest.mark.skipif(not (CHROMIUM and DRIVER), reason="no chromium with chromedriver")
QUIET = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
)
QUIET += ("--disable-component-update", "--disable-sync", "--disable-quic")


def numbers_of_the_view():
    """Three recorded times of four classes."""
    distances = np.random.default_rng(0).uniform(size=(3, 4, 4))
    rows = [
        {"observable": "fine_share", "time": float(t), "predicted": 0.5 + t, "observed": 0.4}
        for t in range(3)
    ]
    both = {"predicted": distances.tolist(), "observed": (2 * distances).tolist()}
    return {"rows": rows, "class_distances": both, "coarse_map": [0, 1, 0, 1]}


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    """A report of one figure with its interactive view, and a ledger of one row."""
    folder = tmp_path_factory.mktemp("report")

    def draw(numbers):
        figure = Figure(figsize=(6.75, 3))
        figure.subplots().plot([1, 2])
        return figure

    module = SimpleNamespace(CLAIM="a claim", compute=lambda jobs, seed: numbers_of_the_view(), draw=draw)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(build, "import_module", lambda name: module)
        patch.setattr(build.inputs, "digest", lambda name, settings: "digest")
        record, _ = build.figure("prediction", folder, 0)
    row = {"name": "prediction", "id": "T13", "subject": "subject", "statement": "statement " * 20}
    row |= {"assumptions": ["first"], "seconds": 1.0, "failure": "", "sizes": "all"}
    return report.write(folder, [record], [row])


@pytest.fixture
def browser(page):
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for flag in QUIET:
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options, webdriver.ChromeService(DRIVER))
    driver.get(page.as_uri())
    yield driver
    driver.quit()


@needs_chromium
def test_the_page_loads_without_an_error_every_image_shows_and_has_a_text(browser):
    assert browser.get_log("browser") == []
    shown = browser.execute_script("return [...document.images].map(i => [i.naturalWidth, i.alt])")
    assert shown
    assert all(width > 100 and text for width, text in shown)


@needs_chromium
def test_the_slider_shows_every_recorded_time(browser):
    move = (
        "const s = document.getElementById('time'); s.value = arguments[0]; s.dispatchEvent(new Event('input'));"
        "return [document.getElementById('when').textContent, document.getElementById('predicted').toDataURL()]"
    )
    views = [browser.execute_script(move, t) for t in range(3)]
    assert len({picture for _, picture in views}) == 3
    for t, (text, _) in enumerate(views):
        assert f"{0.5 + t:.3f} predicted, 0.400 observed" in text


@needs_chromium
def test_nothing_sticks_out_at_400_pixels(browser):
    browser.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride",
        {"width": 400, "height": 800, "deviceScaleFactor": 1, "mobile": True},
    )
    assert browser.execute_script("return document.documentElement.scrollWidth") <= 400


@needs_chromium
def test_it_prints(browser):
    printed = base64.b64decode(browser.print_page())
    assert printed.startswith(b"%PDF")
    assert len(printed) > 10_000
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
    try:
        shown = browser.execute_script("return document.querySelector('label').checkVisibility()")
    finally:
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": ""})
    assert not shown  # a slider, and its name, are of no use on paper
