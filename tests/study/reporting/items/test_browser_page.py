"""The item browser in a real browser: filters, order, links, keys, and text that stays text."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from urllib.parse import quote

import numpy as np
import pytest

from search_spaces.recipes import LoRA
from study.analysis.items.results import TaskResults, item_results
from study.analysis.surface import compute_surface
from study.reporting.items.browser import items_page
from study.reporting.items.texts import TaskTexts
from tests.support.browser import open_browser
from tests.support.fakes import FakeStudy, fake_space
from trainables.data.items import Item
from trainables.storage.filesystem import open_storage

pytestmark = pytest.mark.browser

ATTACK = "</script><script>window.attacked = 1</script><img src=x onerror='window.attacked = 1'>"


@pytest.fixture(scope="module")
def driver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[object]:
    yield from open_browser(tmp_path_factory.mktemp("profile"))


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> FakeStudy:
    storage = open_storage(str(tmp_path_factory.mktemp("study")))
    space = fake_space(methods=(LoRA(n_train=8),))
    return FakeStudy(storage=storage, space=space).write().finish()


@pytest.fixture(scope="module")
def results(study: FakeStudy) -> TaskResults:
    surface = compute_surface(study.storage, study.plan)
    return item_results(study.plan, surface.items, surface.scores)["toy"]


@pytest.fixture(scope="module")
def page(study: FakeStudy, results: TaskResults, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Every text of the first item, its topic included, tries to run a script."""
    path = tmp_path_factory.mktemp("page") / "items.html"
    items = {item.id: item for item in study.tasks["toy"].data.items}
    first = results.items.ids.to_pylist()[0]
    choices = tuple(f"{ATTACK}{n}" for n in range(4))
    items[first] = replace(items[first], question=ATTACK, choices=choices)
    table = results.items.table
    topics = [ATTACK, *table["topic"].to_pylist()[1:]]
    column = table.schema.get_field_index("topic")
    attacked = replace(results.items, table=table.set_column(column, "topic", [topics]))
    own = replace(results, items=attacked)
    texts = {"toy": TaskTexts(items=items)}
    path.write_text(items_page(study.plan, {"toy": own}, texts))
    return path


def open_at(driver: object, page: Path, **view: str) -> None:
    text = "&".join(f"{name}={quote(value)}" for name, value in view.items())
    driver.get("about:blank")
    driver.get(f"{page.as_uri()}#{text}")


def shown(driver: object) -> list[str]:
    """Ids of the items that the filters leave, in their order."""
    ids: list[str] = driver.execute_script("return shown.map((item) => task.ids[item])")
    return ids


def choose(driver: object, name: str, value: str) -> None:
    driver.execute_script(
        "const field = document.getElementById(arguments[0]); field.value = arguments[1];"
        "field.dispatchEvent(new Event(field.tagName === 'SELECT' ? 'change' : 'input'))",
        name,
        value,
    )


def press(driver: object, *keys: str) -> None:
    for key in keys:
        driver.execute_script(
            "document.activeElement.dispatchEvent("
            "new KeyboardEvent('keydown', {key: arguments[0], bubbles: true}))",
            key,
        )


def arm(results: TaskResults, condition: str, model: str) -> np.ndarray:
    place = next(
        n for n, a in enumerate(results.arms) if (a.condition, a.model) == (condition, model)
    )
    return results.right[place]


def test_text_from_data_is_shown_and_not_run(driver: object, page: Path) -> None:
    open_at(driver, page, item="toy-1-0000")
    assert driver.execute_script("return document.querySelector('.question').textContent") == ATTACK
    choices = driver.execute_script("return document.querySelector('.choices').textContent")
    assert ATTACK + "2" in choices
    assert driver.execute_script("return window.attacked === undefined")
    assert driver.execute_script("return document.images.length") == 0
    assert [entry for entry in driver.get_log("browser") if entry["level"] == "SEVERE"] == []


def test_patterns_select_what_they_name(driver: object, page: Path, results: TaskResults) -> None:
    ids = results.items.ids.to_pylist()
    zero, easy, hard = (arm(results, name, "small") for name in ("zero-shot", "easy", "hard"))
    own = [n for n, a in enumerate(results.arms) if a.model == "small"]
    wanted = {
        "fixed": (zero <= 0.5) & (easy > 0.5),
        "hard": (zero <= 0.5) & (easy <= 0.5) & (hard > 0.5),
        "split": (results.agreement[own] < 1).any(axis=0),
        "broken": (zero > 0.5) & (easy <= 0.5),
        "never": (results.right[own] <= 0.5).all(axis=0),
    }
    for pattern, members in wanted.items():
        open_at(driver, page, show=pattern, model="small")
        assert shown(driver) == [id_ for id_, is_in in zip(ids, members, strict=True) if is_in]
        assert 0 < members.sum() < len(ids), f"{pattern} tells items apart"
    open_at(driver, page, show="fixed", model="small", condition="hard")
    assert len(shown(driver)) == int(((zero <= 0.5) & (hard > 0.5)).sum())


def test_filters_search_and_order(driver: object, page: Path, results: TaskResults) -> None:
    ids = results.items.ids.to_pylist()
    steps = results.measures["steps"]
    open_at(driver, page)
    assert shown(driver) == ids
    choose(driver, "level", '["steps","hard"]')
    assert shown(driver) == [id_ for id_, value in zip(ids, steps, strict=True) if value >= 3]
    choose(driver, "max", "3")
    assert {id_.split("-")[1] for id_ in shown(driver)} == {"3"}
    choose(driver, "q", "toy-3-7 apple")
    assert shown(driver) == ["toy-3-0007"]
    press(driver, "Escape", "x")
    assert shown(driver) == ids
    choose(driver, "model", "small")
    driver.execute_script("document.querySelector('[data-sort=\"arm small lora easy\"]').click()")
    easy = dict(zip(ids, arm(results, "easy", "small"), strict=True))
    values = [easy[id_] for id_ in shown(driver)]
    assert values == sorted(values, reverse=True) and len(set(values)) > 1
    mean = driver.execute_script(
        "return document.querySelector('[data-sort=\"arm small lora easy\"]')"
        ".parentNode.querySelector('small').textContent"
    )
    assert mean == f"{100 * np.mean(values):.0f}"


def test_the_address_holds_the_view(driver: object, page: Path) -> None:
    open_at(driver, page)
    choose(driver, "show", "fixed")
    choose(driver, "q", "apple & <b>")
    choose(driver, "q", "")
    choose(driver, "min", "2")
    press(driver, "Escape", "G", "k")
    address = driver.current_url
    chosen = driver.execute_script("return view.item")
    expected = shown(driver)
    assert chosen == expected[-2]
    driver.get("about:blank")
    driver.get(address)
    assert shown(driver) == expected
    assert driver.execute_script("return document.querySelector('#detail h2').textContent") == (
        chosen
    )
    assert driver.execute_script("return document.getElementById('min').value") == "2"


def test_an_address_of_another_study_shows_all_items(driver: object, page: Path) -> None:
    open_at(driver, page, task="none", model="none", level='["none","none"]', measure="none")
    assert len(shown(driver)) > 0
    assert driver.execute_script("return view.model + view.level") == ""


def test_one_item_shows_every_arm(driver: object, page: Path, results: TaskResults) -> None:
    open_at(driver, page, item="toy-3-0007")
    column = results.items.ids.to_pylist().index("toy-3-0007")
    cells = driver.execute_script(
        "return [...document.querySelectorAll('.matrix td')].map((cell) => cell.textContent)"
    )
    expected = set()
    for place, each in enumerate(results.arms):
        share, number = results.right[place, column], len(each.cells)
        sure = f"{results.confidence[place, column]:.2f}".removeprefix("0")
        letter = "ABCD"[results.predicted[place, column]]
        split = " ●" if results.agreement[place, column] < 1 else ""
        expected.add((f"{share * number:.0f}/{number} {letter} ", sure, split))
    assert len(cells) == len(results.arms) == 8
    for start, sure, split in expected:
        assert any(c.startswith(start) and c.endswith(split) for c in cells), (start, sure, cells)


PIXELS = """
const canvas = document.querySelector(".row.chosen canvas"), pen = canvas.getContext("2d");
const data = (x, y, width, height) => [...pen.getImageData(x, y, width, height).data];
const probe = document.createElement("canvas").getContext("2d");
const rgb = (colour) => { probe.fillStyle = colour; probe.fillRect(0, 0, 1, 1);
  return `${[...probe.getImageData(0, 0, 1, 1).data].slice(0, 3)}`; };
return arms.map((arm, n) => {
  const column = data(n * ARM + 10, 0, 1, ROW), dot = data(n * ARM + ARM - 7, 7, 1, 1);
  let filled = 0;
  const isRight = (y) => `${column.slice(4 * y, 4 * y + 3)}` === rgb(colours.right);
  for (let y = 0; y < ROW; y++) filled += isRight(y);
  return [arm.name, filled, `${dot.slice(0, 3)}` === rgb(colours.dot)];
});
"""


def test_a_bar_is_the_share_of_right_seeds_and_a_dot_their_disagreement(
    driver: object, page: Path, results: TaskResults
) -> None:
    open_at(driver, page, item="toy-3-0007")
    column = results.items.ids.to_pylist().index("toy-3-0007")
    drawn = driver.execute_script(PIXELS)
    names = driver.execute_script("return task.arms.map((arm) => arm.name)")
    assert [name for name, _, _ in drawn] == names and len(drawn) == len(results.arms)
    of_arm = {}
    for place, each in enumerate(results.arms):
        method = "" if each.condition == "zero-shot" else f" {each.method}"
        source = "zero-shot" if each.condition == "zero-shot" else each.condition
        is_split = bool(results.agreement[place, column] < 1)
        of_arm[f"{each.model}{method} {source}"] = (results.right[place, column], is_split)
    assert len({share for share, _ in of_arm.values()}) > 1
    for name, filled, has_dot in drawn:
        share, is_split = of_arm[name]
        assert abs(filled - 22 * share) <= 1 and has_dot == is_split, (name, filled, share)
    row = "return document.querySelector('.row.chosen canvas').getAttribute('aria-label')"
    num_right = sum(share > 0.5 for share, _ in of_arm.values())
    assert driver.execute_script(row) == f"{num_right} of {len(of_arm)} arms right"


def test_ten_thousand_items_draw_the_rows_in_sight_only(
    driver: object, study: FakeStudy, results: TaskResults, tmp_path: Path
) -> None:
    number = 10_000
    source = np.arange(number) % len(results.items.ids)
    table = results.items.table.take(source)
    ids = [f"toy-1-{n:05}" for n in range(number)]
    items = replace(results.items, table=table.set_column(0, "id", [ids]))
    many = replace(
        results,
        items=items,
        right=results.right[:, source],
        confidence=results.confidence[:, source],
        predicted=results.predicted[:, source],
        agreement=results.agreement[:, source],
    )
    texts = {
        id_: Item(id=id_, question=f"Question {n}?", choices=tuple("abcd"), answer=0)
        for n, id_ in enumerate(ids)
    }
    path = tmp_path / "items.html"
    path.write_text(items_page(study.plan, {"toy": many}, {"toy": TaskTexts(items=texts)}))
    open_at(driver, path)
    nodes = "return document.getElementsByTagName('*').length"
    before = driver.execute_script(nodes)
    assert len(shown(driver)) == number and before < 2_000
    press(driver, "G")
    assert driver.execute_script("return view.item") == ids[-1]
    seen = "return document.querySelector('.row.chosen').getBoundingClientRect().bottom"
    height = driver.execute_script("return innerHeight")
    assert 0 < driver.execute_script(seen) <= height + 1  # pixels are rounded
    choose(driver, "q", "question 777")
    assert len(shown(driver)) == 19 and driver.execute_script(nodes) < before + 200


@pytest.mark.parametrize("width", [400, 1366])
def test_the_page_is_never_wider_than_the_window(driver: object, page: Path, width: int) -> None:
    metrics = {"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": False}
    driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    try:
        for item in ("", "toy-3-0007"):
            open_at(driver, page, item=item)
            sizes = "const e = document.documentElement; return e.scrollWidth - e.clientWidth"
            assert driver.execute_script(sizes) <= 0
            rows = "return document.querySelectorAll('.row:not([hidden])').length"
            assert driver.execute_script(rows) > 10
    finally:
        driver.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
