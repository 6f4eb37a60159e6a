"""`study.items`: the page, the exports, and who may receive question text."""

from __future__ import annotations

import json
from base64 import b64decode
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from search_spaces.base_models import BaseModelRef
from search_spaces.recipes import LoRA
from study import items
from study.analysis.items.results import TaskResults, item_results
from study.analysis.scores import UNSEEN
from study.analysis.surface import compute_surface
from study.cli.command import BAD_INPUT, OK
from study.reporting.items import texts
from study.reporting.items.browser import NO_ANSWER, NO_SHARE, SHARE_STEPS, items_page
from study.reporting.items.export import item_tables
from study.reporting.items.texts import TaskTexts
from tests.support.counting_storage import counting_storage
from tests.support.fakes import FakeStudy, fake_study
from trainables.data.task import TaskData
from trainables.errors import DataError


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> FakeStudy:
    root = tmp_path_factory.mktemp("study")
    return fake_study(root, models=(BaseModelRef(name="small"),), methods=(LoRA(n_train=8),))


@pytest.fixture
def data(study: FakeStudy, monkeypatch: pytest.MonkeyPatch) -> TaskData:
    """The study's data, which is found wherever it is looked for."""
    found = study.tasks["toy"].data
    monkeypatch.setattr(texts, "load_task", lambda *_: found)
    return found


def run(study: FakeStudy, *arguments: object) -> int:
    return items.main([study.storage.path("fake"), *map(str, arguments)])


def page_of(study: FakeStudy) -> str:
    return Path(study.storage.path("fake/report/items.html")).read_text()


def test_the_page_has_the_questions(study: FakeStudy, data: TaskData) -> None:
    assert run(study) == OK
    page = page_of(study)
    scored = [item for item in data.items if item.id in study.tasks["toy"].split.test]
    assert all(item.question in page for item in scored)
    assert "ids and no questions" not in page


@pytest.fixture(scope="module")
def partial(study: FakeStudy) -> TaskResults:
    """Results without the second item, without the first in one arm, and without one seed."""
    surface = compute_surface(study.storage, study.plan)
    results = item_results(study.plan, surface.items, surface.scores)["toy"]
    tables = (results.right, results.confidence, results.agreement, results.predicted)
    right, confidence, agreement, predicted = (values.copy() for values in tables)
    for unseen in ((slice(None), 1), (2, 0)):
        right[unseen] = confidence[unseen] = agreement[unseen] = np.nan
        predicted[unseen] = UNSEEN
    last = replace(results.arms[-1], cells=results.arms[-1].cells[1:])
    return replace(
        results,
        arms=(*results.arms[:-1], last),
        right=right,
        confidence=confidence,
        agreement=agreement,
        predicted=predicted,
    )


def test_the_page_packs_the_results_of_all_scored_items(
    study: FakeStudy, data: TaskData, partial: TaskResults
) -> None:
    by_id = {item.id: item for item in data.items}
    ids: list[str] = partial.items.ids.to_pylist()
    attack = "</script><img src=x>"
    by_id[ids[0]] = replace(by_id[ids[0]], question=attack)
    plan = study.plan.model_copy(
        update={"space": study.plan.space.model_copy(update={"name": attack})}
    )
    page = items_page(plan, {"toy": partial}, {"toy": TaskTexts(items=by_id)})
    assert "<img" not in page
    packed = page.partition('id="data">')[2].partition("</script>")[0]
    (task,) = json.loads(packed)
    seen = [0, *range(2, len(ids))]
    assert task["ids"] == [ids[column] for column in seen]
    assert task["gold"] == [by_id[id_].answer for id_ in task["ids"]]
    assert task["questions"] == [by_id[id_].question for id_ in task["ids"]]
    for name in ("right", "confidence", "agreement"):
        shares = np.frombuffer(b64decode(task[name]), np.uint8).reshape(4, -1)
        values = getattr(partial, name)[:, seen]
        assert (shares[np.isnan(values)] == NO_SHARE).all() and shares[2, 0] == NO_SHARE
        known = ~np.isnan(values)
        assert np.abs(shares[known] / SHARE_STEPS - values[known]).max() <= 0.5 / SHARE_STEPS
    choices = np.frombuffer(b64decode(task["predicted"]), "<u2").reshape(4, -1)
    assert choices[2, 0] == NO_ANSWER
    assert choices[:, 1:].tolist() == partial.predicted[:, seen[1:]].tolist()
    assert [arm["seeds"] for arm in task["arms"]] == [1, 3, 3, 2]


def test_an_export_has_the_answers_of_each_arm(
    study: FakeStudy, data: TaskData, partial: TaskResults
) -> None:
    texts = {"toy": TaskTexts(items={item.id: item for item in data.items})}
    tables = list(item_tables({"toy": partial}, texts))
    ids: list[str] = partial.items.ids.to_pylist()
    assert len(tables) == len(partial.arms) == 4
    for place, (arm, table) in enumerate(zip(partial.arms, tables, strict=True)):
        seen = [n for n in range(len(ids)) if n != 1 and (place, n) != (2, 0)]
        assert table["item_id"].to_pylist() == [ids[n] for n in seen]
        for name in ("right", "confidence", "predicted", "agreement"):
            assert table[name].to_pylist() == getattr(partial, name)[place, seen].tolist()
        assert set(table["num_seeds"].to_pylist()) == {len(arm.cells)}
        assert set(table["condition"].to_pylist()) == {arm.condition}


def test_without_data_the_page_has_ids_and_says_so(
    study: FakeStudy, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def missing(*_: object) -> TaskData:
        raise DataError("no such folder: /data/toy")

    monkeypatch.setattr(texts, "load_task", missing)
    assert run(study) == OK
    page = page_of(study)
    assert "ids and no questions" in page and "toy-1-0000" in page and "how toy" not in page
    assert "toy cannot be loaded: no such folder: /data/toy" in capsys.readouterr().out


def test_other_data_than_the_studys_is_not_shown(
    study: FakeStudy,
    data: TaskData,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    other = replace(data, data_hash="0" * 64)
    monkeypatch.setattr(texts, "load_task", lambda *_: other)
    assert run(study) == OK
    assert "how toy" not in page_of(study)
    assert "other data than the study's toy: its hash is 000000000000" in capsys.readouterr().out


def test_an_export_has_a_row_per_item_and_arm(
    study: FakeStudy, data: TaskData, tmp_path: Path
) -> None:
    lines, table = tmp_path / "items.jsonl", tmp_path / "items.parquet"
    assert run(study, "--export", lines, "--export", table) == OK
    rows = [json.loads(line) for line in lines.read_text().splitlines()]
    assert rows == pq.read_table(table).to_pylist()
    surface = compute_surface(study.storage, study.plan)
    by_id = {item.id: item for item in data.items}
    test = study.tasks["toy"].split.test
    conditions = ("zero-shot", "easy", "hard", "all")
    assert {(row["item_id"], row["condition"]) for row in rows} == {
        (id_, condition) for id_ in test for condition in conditions
    }
    assert len(rows) == len(test) * len(conditions)
    for row in rows:
        item = by_id[row["item_id"]]
        assert (row["question"], row["gold"]) == (item.question, item.answer)
        assert tuple(row["choices"]) == item.choices
        assert row["level"] == ("easy" if row["measure.steps"] <= 2 else "hard")
    for point in surface.rows:
        own = [r for r in rows if r["measure.steps"] >= point.point.test_level.low]
        shares = [r["right"] for r in own if r["condition"] == point.point.condition]
        assert sum(shares) / len(shares) == pytest.approx(point.easy)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--export", "items.csv"), "must end with .jsonl or .parquet"),
        (("--export", "s3://bucket/items.jsonl"), "add --with-text to allow it"),
        (("--export", "s3://key:secret@bucket/items.jsonl", "--with-text"), "must not contain"),
    ],
)
def test_an_export_that_may_not_be_written_is_refused(
    study: FakeStudy,
    data: TaskData,
    arguments: tuple[str, ...],
    message: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run(study, *arguments) == BAD_INPUT
    assert message in capsys.readouterr().err


def test_an_export_needs_the_data(
    study: FakeStudy, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "items.jsonl"
    assert run(study, "--export", path) == BAD_INPUT
    assert "an export needs the data of the study, but toy cannot" in capsys.readouterr().err
    assert not path.exists()


def test_text_goes_to_a_bucket_only_on_request(
    tmp_path: Path,
    study: FakeStudy,
    data: TaskData,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    bucket, _ = counting_storage(Path(study.storage.base))
    monkeypatch.setattr(items, "open_run", lambda _: (bucket, "fake"))
    local = tmp_path / "items.html"
    assert run(study, "--html", local) == OK and "how toy" in local.read_text()
    assert run(study) == OK and "how toy" not in page_of(study)
    assert "--with-text writes the text to the bucket" in capsys.readouterr().out
    assert run(study, "--with-text") == OK and "how toy" in page_of(study)


def test_a_study_without_records_is_refused(
    tmp_path: Path, study: FakeStudy, capsys: pytest.CaptureFixture[str]
) -> None:
    empty, _ = counting_storage(tmp_path)
    bare = FakeStudy(storage=empty, space=study.space).write()
    assert items.main([f"{tmp_path}/fake"]) == BAD_INPUT
    assert f"has no record of any of the {len(bare.plan.cells)} cells" in capsys.readouterr().err


def test_inspect_opens_the_logs_of_a_study(
    study: FakeStudy, data: TaskData, tmp_path: Path
) -> None:
    log = pytest.importorskip("inspect_ai.log", reason="the pip extra `inspect` is not installed")
    assert run(study, "--inspect", tmp_path) == OK
    logs = [log.read_eval_log(info) for info in log.list_eval_logs(str(tmp_path))]
    surface = compute_surface(study.storage, study.plan)
    by_condition = {each.eval.task_args["condition"]: each for each in logs}
    assert by_condition.keys() == {"zero-shot", "easy", "hard", "all"}
    for condition, each in by_condition.items():
        seeds = 1 if condition == "zero-shot" else 3
        assert (each.eval.task, each.eval.model, each.status) == ("toy", "small", "success")
        assert len(each.samples) == seeds * len(study.tasks["toy"].split.test)
        assert {sample.epoch for sample in each.samples} == set(range(1, seeds + 1))
        records = [surface.scores.records[id_].accuracy for id_ in each.eval.metadata["cells"]]
        stated = each.results.scores[0].metrics["accuracy"].value
        assert stated == pytest.approx(sum(records) / len(records))
        right = [sample.scores["choice"].value == "C" for sample in each.samples]
        assert stated == pytest.approx(sum(right) / len(right))
    by_id = {item.id: item for item in data.items}
    for sample in by_condition["easy"].samples:
        item = by_id[sample.id]
        assert sample.input == item.question and tuple(sample.choices) == item.choices
        assert sample.target == "ABCD"[item.answer]
        assert (sample.scores["choice"].answer == sample.target) == (
            sample.scores["choice"].value == "C"
        )


def test_inspect_logs_need_inspect(
    study: FakeStudy,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr("study.reporting.items.inspect_logs.find_spec", lambda _: None)
    assert run(study, "--inspect", tmp_path / "logs") == BAD_INPUT
    assert "pip install 'scarce-labels[inspect]'" in capsys.readouterr().err
    assert not (tmp_path / "logs").exists()
