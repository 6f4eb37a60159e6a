"""The page in a real browser: it opens from disk, draws, and tells the truth on hover."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from search_spaces.base_models import BaseModelRef
from search_spaces.recipes import LoRA
from study.analysis.names import recipe_labels
from study.analysis.surface import compute_surface, write_surface
from study.reporting.content import gather
from study.reporting.files import write_report
from study.reporting.page import render_page
from study.reporting.surface_views.views import make_view
from tests.support.browser import open_browser, wait_for
from tests.support.fakes import FakeStudy, fake_space
from trainables.storage.filesystem import open_storage

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def driver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[object]:
    yield from open_browser(tmp_path_factory.mktemp("profile"))


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


DRAWN = "return document.querySelectorAll('#chart-surface svg .mark-rect.role-mark path').length"


def scroll_to(driver: object, selector: str) -> None:
    driver.execute_script(f"document.querySelector('{selector}').scrollIntoView()")


def open_page(driver: object, page: Path) -> None:
    driver.get(page.as_uri())
    scroll_to(driver, "#chart-surface")
    wait_for(driver, DRAWN)


def choose(driver: object, name: str, value: str) -> None:
    """Leaves one value of a filter."""
    driver.execute_script(
        "const menu = document.querySelector(`details[data-filter='${arguments[0]}']`);"
        "menu.querySelectorAll('.options button')[1].click();"
        "menu.querySelector(`input[value='${arguments[1]}']`).click()",
        name,
        value,
    )


def test_it_opens_from_disk_without_errors_or_requests(driver: object, page: Path) -> None:
    driver.get("about:blank")
    requested(driver)
    open_page(driver, page)
    addresses = [url for url in requested(driver) if not url.startswith("data:")]
    assert addresses == [page.as_uri()]
    assert [entry for entry in driver.get_log("browser") if entry["level"] == "SEVERE"] == []
    assert page.stat().st_size < 1.5e6
    assert "data:image" not in page.read_text()


def test_headers_of_points_tell_what_surface_parquet_says_of_their_columns(
    driver: object, page: Path
) -> None:
    driver.get(page.as_uri())
    titles = driver.execute_script(
        "return Object.fromEntries([...document.querySelectorAll('[data-table=points] th button')]"
        ".map(button => [button.textContent, button.title]))"
    )
    assert titles["zero-shot %"] == (
        "accuracy of the untrained model (surface.parquet: zero_shot, fraction)"
    )
    assert titles["low"].startswith("lower end of the interval of sgr (surface.parquet: sgr_low")
    assert {name for name, text in titles.items() if not text} == {"q (hard = source)"}


def test_the_matrix_has_a_tile_per_point_and_a_word_where_a_number_is_missing(
    driver: object, page: Path
) -> None:
    open_page(driver, page)
    rows = pq.read_table(page.parents[1] / "surface.parquet").to_pylist()
    tiles = "return document.querySelectorAll('#chart-surface .mark-rect.role-mark path').length"
    assert driver.execute_script(tiles) == len(rows) == 16
    texts = driver.execute_script(
        "return [...document.querySelectorAll('#chart-surface .mark-text text')]"
        ".map(text => text.textContent)"
    )
    missing = sum(row["sgr"] is None for row in rows)
    assert texts.count("missing") == missing > 0
    for row in rows:
        if row["sgr"] is not None:
            assert f"{row['sgr']:.2f}[{row['sgr_low']:.2f}, {row['sgr_high']:.2f}]" in [
                text.replace(" ~", "") for text in texts
            ]


def test_a_heat_map_names_every_model_with_its_size(driver: object, page: Path) -> None:
    open_page(driver, page)
    driver.execute_script(
        "document.querySelectorAll('main details').forEach(part => { part.open = true; })"
    )
    shown = driver.execute_async_script(
        "const done = arguments[0], read = () => {"
        "  const texts = [...document.querySelectorAll('#chart-surface-2 .role-axis-label text')];"
        "  if (!texts.length) { setTimeout(read, 50); return; }"
        "  done(texts.filter(t => t.getAttribute('opacity') !== '0').map(t => t.textContent));"
        "}; document.getElementById('chart-surface-2').scrollIntoView(); read();"
    )
    for model, size in (("small", "100 k"), ("large", "1 M")):
        assert any(text.startswith(model) and size in text for text in shown), shown


def test_the_keyboard_reads_the_points_of_a_chart(driver: object, page: Path) -> None:
    """Arrow keys show what the pointer shows: the numbers of the surface."""
    from selenium.webdriver.common.by import By
    from selenium.webdriver.common.keys import Keys

    open_page(driver, page)
    table = pq.read_table(page.parent.parent / "surface.parquet").to_pylist()
    plot = driver.find_element(By.CSS_SELECTOR, "#chart-surface .plot")
    said = set()
    for _ in range(16):
        plot.send_keys(Keys.ARROW_RIGHT)
        said.add(driver.execute_script("return document.getElementById('tip').innerText"))
    assert len(said) == 16
    for row in table:
        share = "" if row["sgr"] is None else f" {row['sgr']:.2f} [{row['sgr_low']:.2f}"
        assert any(
            f"{row['model']}, {row['method']}" in text
            and f"{row['condition']} -> {row['test_level']}" in text
            and f"SGR{share}" in text
            and f"verdict: {row['verdict'] or 'no estimate'}" in text
            for text in said
        )
    plot.send_keys(Keys.ESCAPE)
    assert driver.execute_script("return document.getElementById('tip').hidden")


def test_filters_act_on_every_section(driver: object, page: Path) -> None:
    open_page(driver, page)
    for name in ("points", "contrasts", "calibration-rows", "cell-rows"):
        models = f"return document.querySelector('[data-table={name}]').textContent"
        assert "large" in driver.execute_script(models)
    choose(driver, "model", "small")
    choose(driver, "level", "hard")
    for name in ("points", "contrasts", "calibration-rows", "cell-rows"):
        body = f"return document.querySelector('[data-table={name}] tbody').textContent"
        text = driver.execute_script(body)
        assert "small" in text and "large" not in text, name
    assert driver.execute_script(DRAWN) == 4  # two methods, two sources
    for chart in ("resolved", "accuracy", "calibration-error"):
        scroll_to(driver, f"#chart-{chart}")
        drawn = f"return document.querySelector('#chart-{chart} svg')?.textContent"
        text = wait_for(driver, drawn)
        assert "small" in text and "large" not in text, chart


def test_a_chart_is_saved_as_svg_and_png(driver: object, page: Path) -> None:
    open_page(driver, page)
    driver.execute_script(
        "window.saved = {}; const click = HTMLAnchorElement.prototype.click;"
        "HTMLAnchorElement.prototype.click = function () {"
        "  fetch(this.href).then(answer => answer.blob()).then(async blob => {"
        "    window.saved[this.download] = [blob.type, (await blob.text()).slice(0, 9999)]; }) };"
        "document.querySelectorAll('#chart-surface [data-export]').forEach(b => b.click());"
    )
    saved = wait_for(driver, "return Object.keys(window.saved).length === 2 && window.saved")
    assert saved["surface.svg"][0] == "image/svg+xml" and "<svg" in saved["surface.svg"][1]
    assert saved["surface.png"][0] == "image/png" and "PNG" in saved["surface.png"][1]


def test_tables_are_searched_sorted_and_leafed_through(driver: object, page: Path) -> None:
    driver.get(page.as_uri())
    driver.execute_script(
        "const box = document.querySelector('[data-table=cell-rows] input');"
        "box.value = 'large lora'; box.dispatchEvent(new Event('input'))"
    )
    rows = "return document.querySelectorAll('[data-table=cell-rows] tbody tr').length"
    shown = driver.execute_script(rows)
    assert shown == 4  # two seeds of easy and all; those of hard failed
    driver.execute_script(
        "[...document.querySelectorAll('[data-table=cell-rows] th button')]"
        ".find(b => b.textContent === 'accuracy %').click()"
    )
    values = driver.execute_script(
        "return [...document.querySelectorAll('[data-table=cell-rows] tbody td:nth-child(7)')]"
        ".map(c => +c.textContent)"
    )
    assert values == sorted(values)


def test_text_from_records_stays_text(driver: object, page: Path) -> None:
    driver.get(page.as_uri())
    shown = driver.execute_script(
        "return document.querySelector('[data-table=missing-rows]').textContent"
    )
    assert "</script><b>out of memory</b> & more" in shown


@pytest.mark.parametrize("width", [1366, 400])
def test_it_fits_the_screen_and_its_parts_are_named(driver: object, page: Path, width: int) -> None:
    size = {"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": False}
    driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    open_page(driver, page)
    assert driver.execute_script("return document.documentElement.lang") == "en"
    headless = "return [...document.querySelectorAll('table')].filter(t => !t.caption).length"
    assert driver.execute_script(headless) == 0
    nameless = (
        "return [...document.querySelectorAll('[tabindex]')]"
        ".filter(e => !e.getAttribute('aria-label')).length"
    )
    assert driver.execute_script(nameless) == 0
    wide = "return document.documentElement.scrollWidth - document.documentElement.clientWidth"
    assert driver.execute_script(wide) <= 0
    driver.execute_script(
        "document.querySelectorAll('.filters details').forEach(menu => { menu.open = true; })"
    )
    assert driver.execute_script(wide) <= 0, "of the filters' menus"
    lost = driver.execute_script(
        "return [...document.querySelectorAll('a[href^=\"#\"]')].map(a => a.getAttribute('href'))"
        ".filter(target => !document.querySelector(target))"
    )
    assert lost == []
    driver.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def test_a_dark_page_has_light_ink(driver: object, page: Path) -> None:
    dark = {"features": [{"name": "prefers-color-scheme", "value": "dark"}]}
    driver.execute_cdp_cmd("Emulation.setEmulatedMedia", dark)
    open_page(driver, page)
    axis = "getComputedStyle(document.querySelector('#chart-surface .role-axis-label text')).fill"
    light = driver.execute_script(f"return {axis}")
    driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})
    dark_ink = wait_for(driver, f"return {axis} !== '{light}' && {axis}")
    assert (light, dark_ink) == ("rgb(232, 233, 236)", "rgb(22, 24, 29)")


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
    content = replace(
        gather(study.storage, study.plan, surface),
        views=(make_view(rows),),
        labels=recipe_labels(row.point.recipe for row in rows),
    )
    path = tmp_path / "index.html"
    path.write_text(render_page(study.plan, replace(surface, rows=rows), content))
    assert path.stat().st_size < 25e6
    open_page(driver, path)
    pages = driver.execute_script(
        "return document.querySelector('#chart-surface .tools [aria-live]').textContent"
    )
    assert pages.startswith("1 of ")
    driver.execute_script(
        "const box = document.querySelector('[data-table=points] input');"
        "box.value = 'rank=17'; box.dispatchEvent(new Event('input'));"
        "document.querySelectorAll('#chart-surface .tools button')[1].click()"
    )
    found = driver.execute_script(
        "return document.querySelector('[data-table=points] [aria-live]').textContent"
    )
    assert found.startswith("200 of 10000 rows")
    assert driver.execute_script(DRAWN) > 0
