"""The page in a real browser: it opens from disk, draws, and tells the truth on hover."""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from search_spaces.base_models import BaseModelRef
from search_spaces.recipes import LoRA
from study.analysis.surface import compute_surface, write_surface
from study.reporting.content import gather
from study.reporting.files import write_report
from study.reporting.page import render_page
from study.reporting.surface_views.views import make_view
from tests.support.fakes import FakeStudy, fake_space
from trainables.storage.filesystem import open_storage

pytestmark = pytest.mark.browser

CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")

FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--window-size=1366,800",
)


@pytest.fixture(scope="module")
def driver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[object]:
    if CHROMIUM is None or DRIVER is None:
        missing = "Debian packages chromium and chromium-driver are not installed"
        if os.environ.get("REQUIRE_BROWSER") == "1":
            pytest.fail(missing)
        pytest.skip(missing)
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for flag in (*FLAGS, f"--user-data-dir={tmp_path_factory.mktemp('profile')}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    service = webdriver.ChromeService(executable_path=DRIVER)
    browser = webdriver.Chrome(options=options, service=service)
    yield browser
    browser.quit()


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The report of a study of which one arm is missing."""
    root = tmp_path_factory.mktemp("study")
    study = FakeStudy(storage=open_storage(str(root)), space=fake_space(seeds=2)).write().finish()
    for planned in study.cells("hard", "large"):
        study.fail_cell(planned, "</script><b>out of memory</b> & more")
    return write_page(study)


def write_page(study: FakeStudy) -> Path:
    surface = compute_surface(study.storage, study.plan)
    write_surface(study.storage, study.plan, surface)
    return Path(write_report(study.storage, study.plan, surface))


def requested(driver: object) -> list[str]:
    """Addresses that the page asked for, since the last look."""
    messages = [json.loads(e["message"])["message"] for e in driver.get_log("performance")]
    return [
        m["params"]["request"]["url"]
        for m in messages
        if m["method"] == "Network.requestWillBeSent"
    ]


def wait_for(driver: object, script: str) -> object:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        found = driver.execute_script(script)
        if found:
            return found
        time.sleep(0.1)
    raise AssertionError(f"never true: {script}")


TILES = "return document.querySelectorAll('#surface-plot .bars .point').length"


def test_it_opens_from_disk_without_errors_or_requests(driver: object, page: Path) -> None:
    driver.get("about:blank")
    requested(driver)
    driver.get(page.as_uri())
    wait_for(driver, TILES)
    addresses = [url for url in requested(driver) if not url.startswith("data:")]
    assert addresses == [page.as_uri()]
    assert [entry for entry in driver.get_log("browser") if entry["level"] == "SEVERE"] == []


def test_headers_of_points_tell_what_surface_parquet_says_of_their_columns(
    driver: object, page: Path
) -> None:
    driver.get(page.as_uri())
    wait_for(driver, TILES)
    titles = driver.execute_script(
        "return Object.fromEntries([...document.querySelectorAll('[data-table=points] th button')]"
        ".map(button => [button.textContent, button.title]))"
    )
    assert titles["zero-shot %"] == (
        "accuracy of the untrained model (surface.parquet: zero_shot, fraction)"
    )
    assert titles["low"].startswith("lower end of the interval of sgr (surface.parquet: sgr_low")
    assert {name for name, text in titles.items() if not text} == {"q (E=H)"}


def test_the_surface_draws_and_hatches_what_is_missing(driver: object, page: Path) -> None:
    driver.get(page.as_uri())
    assert wait_for(driver, TILES) == 8  # of in-context: 2 models x 4 pairs of levels
    select = "const s = document.querySelector('#surface-controls select');"
    driver.execute_script(select + "s.selectedIndex = 1; s.dispatchEvent(new Event('change'))")
    hatched = (
        "return [...document.querySelectorAll('#surface-plot .bars .point path')]"
        ".filter(tile => getComputedStyle(tile).fill.startsWith('url(')).length"
    )
    rows = pq.read_table(page.parents[1] / "surface.parquet").to_pylist()
    second = [row for row in rows if row["method"] == "lora"]
    unresolved = sum(row["sgr"] is None for row in second)
    assert 0 < unresolved < len(second) == 8
    assert wait_for(driver, hatched) == unresolved
    text = driver.execute_script("return document.getElementById('surface-plot').textContent")
    assert "missing" in text
    assert "no estimate" in text


def test_hover_shows_the_numbers_of_the_surface(driver: object, page: Path) -> None:
    driver.get(page.as_uri())
    wait_for(driver, TILES)
    table = pq.read_table(page.parent.parent / "surface.parquet").to_pylist()
    for point in range(3):
        row_number = driver.execute_script(
            "const plot = document.getElementById('surface-plot');"
            "Plotly.Fx.hover(plot, [{curveNumber: 0, pointNumber: arguments[0]}]);"
            "return plot.data[0].customdata[arguments[0]]",
            point,
        )
        row = table[row_number]
        share = f"SGR {row['sgr']:.2f} [{row['sgr_low']:.2f}, {row['sgr_high']:.2f}]"
        layer = "document.querySelector('.hoverlayer').textContent"
        shown = wait_for(driver, f"return {layer}.includes('{share}') && {layer}")
        for wanted in (
            f"verdict: {row['verdict']}",
            f"{row['num_items']} items, {row['num_seeds']} seeds",
            f"hard {100 * row['hard']:.1f} %",
            f"cost: {row['cell_seconds']:.1f} s",
        ):
            assert wanted in shown


def test_tables_are_searched_sorted_and_leafed_through(driver: object, page: Path) -> None:
    driver.get(page.as_uri())
    wait_for(driver, TILES)
    driver.execute_script(
        "const box = document.querySelector('[data-table=points] input');"
        "box.value = 'large lora'; box.dispatchEvent(new Event('input'))"
    )
    rows = "return document.querySelectorAll('[data-table=points] tr.point').length"
    assert driver.execute_script(rows) == 4
    driver.execute_script(
        "[...document.querySelectorAll('[data-table=points] th button')]"
        ".find(b => b.textContent === 'source %').click()"
    )
    values = driver.execute_script(
        "return [...document.querySelectorAll('[data-table=points] tr.point td:nth-child(7)')]"
        ".map(c => +c.textContent)"
    )
    assert values == sorted(values)


def test_text_from_records_stays_text(driver: object, page: Path) -> None:
    driver.get(page.as_uri())
    wait_for(driver, TILES)
    shown = driver.execute_script(
        "return document.querySelector('[data-table=missing]').textContent"
    )
    assert "</script><b>out of memory</b> & more" in shown


def test_without_colour_and_for_readers_of_text(driver: object, page: Path) -> None:
    driver.get(page.as_uri())
    wait_for(driver, TILES)
    bare = "return [...document.images].filter(i => !i.alt || !i.naturalWidth).length"
    assert driver.execute_script(bare) == 0
    assert driver.execute_script("return document.documentElement.lang") == "en"
    headless = "return [...document.querySelectorAll('table')].filter(t => !t.caption).length"
    assert driver.execute_script(headless) == 0
    wide = "return document.documentElement.scrollWidth - document.documentElement.clientWidth"
    assert driver.execute_script(wide) <= 0


def test_ten_thousand_points_stay_usable(driver: object, tmp_path: Path) -> None:
    study = FakeStudy(
        storage=open_storage(str(tmp_path)),
        space=fake_space(seeds=1, models=(BaseModelRef(name="small"),), methods=(LoRA(n_train=8),)),
    ).write()
    surface = compute_surface(study.storage, study.finish().plan)
    rows = tuple(
        replace(
            row,
            point=row.point.model_copy(
                update={
                    "model": f"model {size}",
                    "num_params": 1000 * (size + 1),
                    "recipe": LoRA(n_train=8, rank=1 + rank),
                }
            ),
        )
        for size in range(50)
        for rank in range(50)
        for row in surface.rows
    )
    assert len(rows) == 10_000
    content = replace(gather(study.storage, study.plan, surface), views=(make_view(rows),))
    path = tmp_path / "index.html"
    path.write_text(render_page(study.plan, replace(surface, rows=rows), content))
    started = time.monotonic()
    driver.get(path.as_uri())
    wait_for(driver, TILES)
    loaded = time.monotonic() - started
    started = time.monotonic()
    driver.execute_script(
        "const box = document.querySelector('[data-table=points] input');"
        "box.value = 'rank=17'; box.dispatchEvent(new Event('input'));"
        "const s = document.querySelector('#surface-controls label:last-child select');"
        "s.selectedIndex = 7; s.dispatchEvent(new Event('change'))"
    )
    reacted = time.monotonic() - started
    print(f"10,000 points: {path.stat().st_size / 1e6:.0f} MB, loads in {loaded:.1f} s, "
          f"search and another panel in {reacted:.1f} s")  # fmt: skip
    assert loaded < 30
    assert reacted < 10
