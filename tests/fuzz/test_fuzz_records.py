"""Any content of a run folder: counted where it is whole, else refused or passed over, by name."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from search_spaces.registry import find_space
from study import plan, report, status
from study.artifacts.items import write_items
from study.artifacts.plan import write_plan
from study.planning.planner import make_plan
from tests.fuzz.harness import Outcome, Tally, accepted, examples, refused, run
from tests.fuzz.own_study import write_study
from trainables.storage.filesystem import open_storage
from trainables.storage.records import parquet_bytes, scores_table, write_record


class Study:
    """A planned study of four cells, of which one has finished, in a folder to be damaged."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.runs = root / "runs"
        self.arguments = write_study(root)

    def make(self) -> Study:
        """Writes plan, items and one record, as a sweep does."""
        storage = open_storage(str(self.runs))
        made, inputs = make_plan(find_space(self.arguments[0]), self.root)
        write_plan(storage, made)
        write_items(storage, made, inputs.tasks)
        task = inputs.tasks["jsonl"]
        items = task.by_id(task.split.test)
        values = [np.log([0.5, 0.25, 0.25]) for _ in items]
        for planned in made.cells[:2]:
            scores = scores_table([item.id for item in items], [0] * len(items), values)
            execution = {"class": "A", "device": "cpu"}
            write_record(storage, planned.cell, scores, seconds={"total": 1.0}, execution=execution)
        # The second record serves as another cell's.
        (self.runs / "cells" / made.cells[1].id).rename(self.root / "other")
        return self

    @property
    def cell(self) -> Path:
        """The folder of the finished cell."""
        (found,) = (self.runs / "cells").glob("[0-9a-f]*")
        return found

    def status(self) -> Outcome:
        return run(status.main, str(self.runs / "own"), "--json", keeps=self.root)

    def report(self) -> Outcome:
        return run(report.main, str(self.runs / "own"), keeps=self.root)

    def pilot(self) -> Outcome:
        out = ["--out", str(self.runs), "--pilot", str(self.runs)]
        return run(plan.main, *self.arguments, *out, keeps=self.root)

    def num_done(self) -> int:
        outcome = self.status()
        accepted(outcome)
        done = json.loads(outcome.out)["done"]
        assert isinstance(done, int)
        return done


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Study(tmp_path_factory.mktemp("whole")).make().root


@pytest.fixture
def fresh_study(
    whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[[], Study]:
    """Makes the study as it was before it was damaged."""
    monkeypatch.chdir(tmp_path)
    root = tmp_path / "study"

    def make() -> Study:
        if root.exists():
            shutil.rmtree(root)
        shutil.copytree(whole, root)
        return Study(root)

    return make


Draw = st.DrawFn
Damage = Callable[[Draw, Study], None]

KEYS = ["cell", "scores_sha256", "num_items", "accuracy", "seconds", "execution"]


def _edit(change: Callable[[Draw, dict[str, Any]], None]) -> Damage:
    """Damage to the content of record.json."""

    def damage(draw: Draw, study: Study) -> None:
        file = study.cell / "record.json"
        record = json.loads(file.read_text())
        change(draw, record)
        file.write_text(json.dumps(record))

    return damage


def _bytes(name: str, contents: st.SearchStrategy[bytes]) -> Damage:
    """Other bytes in place of a file of the cell."""
    return lambda draw, study: _write(study.cell / name, draw(contents))


def _write(file: Path, content: bytes) -> None:
    file.write_bytes(content)


def _cut(place: Callable[[Study], Path]) -> Damage:
    def damage(draw: Draw, study: Study) -> None:
        content = place(study).read_bytes()
        # The last byte of a text is the end of its line.
        place(study).write_bytes(content[: draw(st.integers(0, len(content) - 2))])

    return damage


def _flip(name: str) -> Damage:
    """One byte that is another one."""

    def damage(draw: Draw, study: Study) -> None:
        content = bytearray((study.cell / name).read_bytes())
        content[draw(st.integers(0, len(content) - 1))] ^= draw(st.integers(1, 255))
        (study.cell / name).write_bytes(bytes(content))

    return damage


def _folder(place: Callable[[Study], Path]) -> Damage:
    def damage(draw: Draw, study: Study) -> None:
        place(study).unlink(missing_ok=True)
        place(study).mkdir(parents=True)
        if draw(st.booleans()):
            (place(study) / "inside").write_text("x")

    return damage


def _gone(place: Callable[[Study], Path]) -> Damage:
    return lambda draw, study: place(study).unlink()


def _set(key: str, values: st.SearchStrategy[Any]) -> Damage:
    return _edit(lambda draw, record: record.update({key: draw(values)}))


def _without_key(draw: Draw, record: dict[str, Any]) -> None:
    del record[draw(st.sampled_from(KEYS))]


def _other_cell(draw: Draw, record: dict[str, Any]) -> None:
    cell = record["cell"]
    key = draw(st.sampled_from(["study_seed", "version", "dtype", "prompt", "data_hash"]))
    cell[key] = cell[key] + 1 if isinstance(cell[key], int) else f"{cell[key]}x"


def _odd_cell(draw: Draw, record: dict[str, Any]) -> None:
    cell = record["cell"]
    match draw(st.sampled_from(["no key", "another key", "another kind", "no recipe", "nothing"])):
        case "no key":
            del cell[draw(st.sampled_from(["model", "task", "recipe", "version"]))]
        case "another key":
            cell["odd"] = 1
        case "another kind":
            cell["study_seed"] = draw(st.sampled_from(["x", None, -0.5, []]))
        case "no recipe":
            cell["recipe"] = {"method": "magic"}
        case "nothing":
            record["cell"] = {}


def _copy(name: str) -> Damage:
    """The file of another cell."""
    return lambda draw, study: _write(study.cell / name, (study.root / "other" / name).read_bytes())


any_json = st.sampled_from([b"", b"{}", b"[]", b"null", b"5", b'"x"', b"{", b"\xff", b"[" * 10**5])

RECORD: Mapping[str, Damage] = {
    "not a record": _bytes("record.json", any_json),
    "any bytes": _bytes("record.json", st.binary(max_size=100)),
    "cut short": _cut(lambda study: study.cell / "record.json"),
    "a folder": _folder(lambda study: study.cell / "record.json"),
    "gone": _gone(lambda study: study.cell / "record.json"),
    "a key that is missing": _edit(_without_key),
    "a key of another version": _set("odd", st.just(1)),
    "a cell of other content": _edit(_other_cell),
    "a cell that is none": _edit(_odd_cell),
    "another cell's record": _copy("record.json"),
    "accuracy that is no number": _set("accuracy", st.sampled_from([None, "x", float("nan"), []])),
    "items that are no count": _set("num_items", st.sampled_from([None, "x", 1.5, []])),
    "seconds of another kind": _set("seconds", st.sampled_from([5, {"total": "x"}, None])),
    "a hash of another kind": _set("scores_sha256", st.sampled_from([5, None, []])),
    "notes of another kind": _set("notes", st.sampled_from(["x", [5], None, {}])),
    "files of another kind": _set("files", st.sampled_from(["x", [5], None, {"x": 5}])),
}
"""What makes record.json no record of its cell."""


def _table(study: Study) -> pa.Table:
    return pq.read_table(study.cell / "scores.parquet")


def _vouched(change: Callable[[Draw, pa.Table], bytes | pa.Table]) -> Damage:
    """Other scores that the record vouches for."""

    def damage(draw: Draw, study: Study) -> None:
        made = change(draw, _table(study))
        content = made if isinstance(made, bytes) else parquet_bytes(made)
        (study.cell / "scores.parquet").write_bytes(content)
        record = json.loads((study.cell / "record.json").read_text())
        record["scores_sha256"] = hashlib.sha256(content).hexdigest()
        if not isinstance(made, bytes):
            record["num_items"] = made.num_rows
        (study.cell / "record.json").write_text(json.dumps(record))

    return damage


def _another_id(draw: Draw, table: pa.Table) -> pa.Table:
    ids = table["item_id"].to_pylist()
    ids[draw(st.integers(0, len(ids) - 1))] = draw(st.sampled_from(["strange", "", "\x1b[2J"]))
    return table.set_column(0, table.schema.field(0), [ids])


def _id_twice(draw: Draw, table: pa.Table) -> pa.Table:
    return pa.concat_tables([table, table.slice(draw(st.integers(0, table.num_rows - 1)), 1)])


def _fewer(draw: Draw, table: pa.Table) -> pa.Table:
    return table.slice(0, draw(st.integers(0, table.num_rows - 1)))


def _no_column(draw: Draw, table: pa.Table) -> pa.Table:
    return table.drop_columns([draw(st.sampled_from(table.column_names))])


def _column_of_another_kind(draw: Draw, table: pa.Table) -> pa.Table:
    name = draw(st.sampled_from(["correct", "confidence", "predicted"]))
    index = table.column_names.index(name)
    return table.set_column(index, name, [table[name].cast(pa.string())])


SCORES: Mapping[str, Damage] = {
    "gone": _gone(lambda study: study.cell / "scores.parquet"),
    "a folder": _folder(lambda study: study.cell / "scores.parquet"),
    "cut short": _cut(lambda study: study.cell / "scores.parquet"),
    "one byte": _flip("scores.parquet"),
    "another hash": _set("scores_sha256", st.text("0123456789abcdef", max_size=64)),
    "another count": _set("num_items", st.integers(0, 5) | st.integers(max_value=-1)),
    "no parquet": _vouched(lambda draw, _: draw(st.binary(max_size=60))),
    "no column": _vouched(_no_column),
    "a column of another kind": _vouched(_column_of_another_kind),
    "an item of another study": _vouched(_another_id),
    "an item twice": _vouched(_id_twice),
    "fewer items": _vouched(_fewer),
}
"""What makes scores.parquet no scores of the study's items."""


@pytest.mark.parametrize("fault", RECORD)
def test_a_damaged_record_counts_as_none(fault: str, fresh_study: Callable[[], Study]) -> None:
    @examples(8)
    @given(draw=st.data())
    def check(draw: st.DataObject) -> None:
        study = fresh_study()
        RECORD[fault](draw.draw, study)
        assert study.num_done() == 0
        refused(study.report(), "no record")
        refused(study.pilot(), "no finished cell")

    check()


@pytest.mark.parametrize("fault", SCORES)
def test_damaged_scores_count_as_none(fault: str, fresh_study: Callable[[], Study]) -> None:
    @examples(8)
    @given(draw=st.data())
    def check(draw: st.DataObject) -> None:
        study = fresh_study()
        SCORES[fault](draw.draw, study)
        study.num_done()
        refused(study.report(), "no record")
        refused(study.pilot(), "no finished cell")

    check()


def _of_study(name: str) -> Callable[[Study], Path]:
    return lambda study: study.runs / "own" / name


def _edit_plan(change: Callable[[Draw, dict[str, Any]], None]) -> Damage:
    def damage(draw: Draw, study: Study) -> None:
        file = study.runs / "own" / "plan.json"
        content = json.loads(file.read_text())
        change(draw, content)
        file.write_text(json.dumps(content))

    return damage


def _less_plan(draw: Draw, content: dict[str, Any]) -> None:
    del content[draw(st.sampled_from(["space", "tasks", "models", "cells", "units", "points"]))]


def _odd_plan(draw: Draw, content: dict[str, Any]) -> None:
    key = draw(st.sampled_from(["space", "tasks", "models", "cells", "units", "points"]))
    content[key] = draw(st.sampled_from([5, None, "x", {"odd": 1}, [5]]))


def _odd_planned_cell(draw: Draw, content: dict[str, Any]) -> None:
    cell = draw(st.sampled_from(content["cells"]))
    cell[draw(st.sampled_from(["odd", "cell", "model_name"]))] = 5


PLAN: Mapping[str, Damage] = {
    "gone": _gone(_of_study("plan.json")),
    "a folder": _folder(_of_study("plan.json")),
    "cut short": _cut(_of_study("plan.json")),
    "not a plan": lambda draw, study: _write(_of_study("plan.json")(study), draw(any_json)),
    "a key of another version": _edit_plan(lambda draw, content: content.update(odd=1)),
    "a key that is missing": _edit_plan(_less_plan),
    "a key of another kind": _edit_plan(_odd_plan),
    "a cell of another version": _edit_plan(_odd_planned_cell),
}


@pytest.mark.parametrize("fault", PLAN)
def test_a_damaged_plan_is_refused(fault: str, fresh_study: Callable[[], Study]) -> None:
    @examples(8)
    @given(draw=st.data())
    def check(draw: st.DataObject) -> None:
        study = fresh_study()
        PLAN[fault](draw.draw, study)
        refused(study.status(), "plan.json")
        refused(study.report(), "plan.json")

    check()


def _items(change: Callable[[Draw, pa.Table], pa.Table]) -> Damage:
    def damage(draw: Draw, study: Study) -> None:
        file = study.runs / "own" / "items.parquet"
        pq.write_table(change(draw, pq.read_table(file)), file)

    return damage


def _other_hashes(draw: Draw, table: pa.Table) -> pa.Table:
    odd = [b'{"jsonl": ["x", "y"]}', b"{}", b'{"arc": ["x", "y"]}']
    return table.replace_schema_metadata({b"hashes": draw(st.sampled_from(odd))})


def _odd_hashes(draw: Draw, table: pa.Table) -> pa.Table:
    odd = [b"", b"5", b"[]", b"\xff", b'{"jsonl": 5}', b'{"jsonl": ["x"]}']
    return table.replace_schema_metadata({b"hashes": draw(st.sampled_from(odd))})


ITEMS: Mapping[str, Damage] = {
    "gone": _gone(_of_study("items.parquet")),
    "a folder": _folder(_of_study("items.parquet")),
    "cut short": _cut(_of_study("items.parquet")),
    "any bytes": lambda draw, study: _write(
        _of_study("items.parquet")(study), draw(st.binary(max_size=60))
    ),
    "no column": _items(
        lambda draw, table: table.drop_columns(
            [draw(st.sampled_from(["id", "task", "split", "gold", "num_choices"]))]
        )
    ),
    "no measure": _items(lambda draw, table: table.drop_columns(["measure.steps"])),
    "no hashes": _items(lambda draw, table: table.replace_schema_metadata({})),
    "other hashes": _items(_other_hashes),
    "odd hashes": _items(_odd_hashes),
}


@pytest.mark.parametrize("fault", ITEMS)
def test_a_damaged_table_of_items_is_refused(fault: str, fresh_study: Callable[[], Study]) -> None:
    @examples(6)
    @given(draw=st.data())
    def check(draw: st.DataObject) -> None:
        study = fresh_study()
        ITEMS[fault](draw.draw, study)
        assert study.num_done() == 1  # which asks the records alone
        refused(study.report(), "items")

    check()


odd_content = st.sampled_from(["folder", "nothing", "no JSON", "another kind", "bytes"])


def _beside(name: str) -> Callable[[Draw, Study], None]:
    """Damage to a file that says how things went, and not what came of them."""

    def damage(draw: Draw, study: Study) -> None:
        file = study.runs / name.format(cell=study.cell.name)
        file.parent.mkdir(exist_ok=True)
        match draw(odd_content):
            case "folder":
                file.mkdir()
            case "nothing":
                file.write_bytes(b"")
            case "no JSON":
                file.write_bytes(b"{")
            case "another kind":
                file.write_bytes(b'{"odd": 1}')
            case "bytes":
                file.write_bytes(draw(st.binary(max_size=20)))

    return damage


BESIDE = {
    name: _beside(name)
    for name in (
        "cells/{cell}/failure.json",
        "cells/{cell}/curve.jsonl",
        "cells/{cell}/other",
        "cells/stray",
        "running/{cell}.json",
        "running/stray",
    )
}


@pytest.mark.parametrize("place", BESIDE)
def test_what_lies_beside_a_record_does_not_end_a_command(
    place: str, fresh_study: Callable[[], Study]
) -> None:
    @examples(8)
    @given(draw=st.data(), is_finished=st.booleans())
    def check(draw: st.DataObject, is_finished: bool) -> None:
        study = fresh_study()
        BESIDE[place](draw.draw, study)
        if not is_finished:
            (study.cell / "record.json").unlink()
            assert study.status().status in (0, 1)
            refused(study.report(), "no record")
            return
        assert study.num_done() == 1
        accepted(study.pilot())

    check()


def test_a_folder_in_place_of_the_lock_is_refused(fresh_study: Callable[[], Study]) -> None:
    study = fresh_study()
    (study.runs / "sweep.json").mkdir()
    refused(study.status(), "sweep.json")


GOOD: Mapping[str, Damage] = {
    "as it is": lambda draw, study: None,
    "notes": _set("notes", st.lists(st.text(max_size=10), max_size=2)),
    "execution": _set("execution", st.dictionaries(st.text(max_size=5), st.text(max_size=5))),
    "seconds": _set("seconds", st.fixed_dictionaries({"total": st.floats(0, 1e6)})),
    "accuracy": _set("accuracy", st.floats(0, 1)),
    "order of the items": _vouched(
        lambda draw, table: table.take(draw(st.permutations(range(table.num_rows))))
    ),
    "confidence": _vouched(
        lambda draw, table: table.set_column(
            3, table.schema.field(3), [[draw(st.floats(0.5, 1))] * table.num_rows]
        )
    ),
}
"""Other content that a record may have."""


def test_any_run_folder_is_read_or_refused_as_it_is(fresh_study: Callable[[], Study]) -> None:
    tally = Tally()

    def try_some(ways: Sequence[Damage], *, num_done: int) -> None:
        @examples(30)
        @given(draw=st.data())
        def check(draw: st.DataObject) -> None:
            study = fresh_study()
            draw.draw(st.sampled_from(ways), label="what")(draw.draw, study)
            outcome = study.pilot()
            tally[outcome.status] += 1
            if num_done:
                accepted(outcome)
                assert study.num_done() == num_done
            else:
                refused(outcome, "no finished cell")

        check()

    try_some([*GOOD.values()], num_done=1)
    try_some([*RECORD.values(), *SCORES.values()], num_done=0)
    tally.check(ok=0.2, refused=0.3)


def test_the_report_of_a_whole_run_folder_is_made(fresh_study: Callable[[], Study]) -> None:
    study = fresh_study()
    accepted(study.report())
    assert (study.runs / "own" / "report" / "index.html").is_file()


@examples(20)
@given(name=st.text(max_size=20))
def check_any_folder(study: Study, name: str) -> None:
    name = name.replace("\0", "")  # which no argument can hold
    for main in (status.main, report.main):
        refused(run(main, "--", f"{study.root}/{name}", keeps=study.root))


def test_a_folder_without_a_study_is_refused(fresh_study: Callable[[], Study]) -> None:
    check_any_folder(fresh_study())


@pytest.mark.parametrize("name", ["", ".", "..", "/", "s3://own", "gs://own"])
def test_a_run_that_names_no_study_is_refused(name: str, fresh_study: Callable[[], Study]) -> None:
    study = fresh_study()
    for main in (status.main, report.main):
        refused(run(main, name, keeps=study.root), "folder of a study")


def test_a_pilot_that_never_ran_is_refused(fresh_study: Callable[[], Study]) -> None:
    study = fresh_study()
    shutil.rmtree(study.runs / "own")
    refused(study.pilot(), "has no study own")
