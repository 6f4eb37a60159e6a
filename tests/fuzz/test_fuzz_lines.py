"""Any jsonl file: taken where each line follows the rules, else refused with the line's number."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from study import data, plan, sweep
from tests.fuzz.harness import Outcome, Tally, accepted, examples, fresh, refused, run
from tests.fuzz.own_study import ROWS, encoded, write_study
from trainables.data.loading.columns import OWN_FIELDS

Row = dict[str, Any]

PLAIN = [row | {"difficulty": "low" if row["steps"] < 3 else "high"} for row in ROWS]
"""Enough of each level for the space to be planned, whatever else is in the file."""

ORDERS = {"difficulty": ["low", "high"]}

words = st.text(min_size=1, max_size=12).filter(str.strip)
blanks = st.text(" \t\u3000", max_size=3)
numbers = st.integers(-(10**9), 10**9) | st.floats(-1e9, 1e9)
nonsense = st.one_of(
    st.booleans(), st.integers(), st.floats(), st.lists(st.integers(), max_size=2), st.just({})
)


@st.composite
def good_rows(draw: st.DrawFn, number: int = 0) -> Row:
    """A row that follows the rules; what else may be there is drawn."""
    choices = draw(st.lists(words, min_size=2, max_size=26, unique_by=str.strip))
    answer = draw(st.integers(0, len(choices) - 1))
    row = {
        "id": draw(st.just(10**12 + number) | words.map(lambda text: f"{text} {number}")),
        "question": f"{draw(words)} {number}",
        "choices": choices,
        "answer": draw(st.sampled_from([answer, choices[answer], f" {choices[answer]} "])),
        "steps": draw(st.none() | st.integers(1, 4) | st.floats(1, 4)),
        "difficulty": draw(st.sampled_from([None, *ORDERS["difficulty"]])),
        "depth": draw(st.none() | numbers),
    }
    for name in ("group", "topic", "reasoning"):
        row |= draw(st.just({}) | st.fixed_dictionaries({name: st.none() | words}))
    return {name: row[name] for name in draw(st.permutations(sorted(row)))}


def changed(name: str, values: st.SearchStrategy[Any]) -> Callable[[st.DrawFn, Row], bytes]:
    """A fault in one field: it has a value that it may not have."""
    return lambda draw, row: encoded(row | {name: draw(values)})


def choices(values: st.SearchStrategy[list[Any]]) -> Callable[[st.DrawFn, Row], bytes]:
    """A fault in the choices alone: the answer is the first of them."""
    return lambda draw, row: encoded(row | {"choices": draw(values), "answer": 0})


def without(name: str) -> Callable[[st.DrawFn, Row], bytes]:
    """A fault in one field: it is not there."""
    return lambda _, row: encoded({key: value for key, value in row.items() if key != name})


def literal(name: str, text: str) -> Callable[[st.DrawFn, Row], bytes]:
    """A fault in one field: JSON that Python would not write."""
    return lambda _, row: encoded(row | {name: "@"}).replace(b'"@"', text.encode())


def _not_utf8(draw: st.DrawFn, row: Row) -> bytes:
    odd = draw(st.sampled_from([b"\xff", b"\xc3\x28", b"\x80", b"\xed\xa0\x80"]))
    return encoded(row | {"question": "@"}).replace(b"@", odd)


def _cut_short(draw: st.DrawFn, row: Row) -> bytes:
    line = encoded(row)
    return line[: draw(st.integers(1, len(line) - 1))]


def _not_json(draw: st.DrawFn, row: Row) -> bytes:
    ways = [str(row).encode(), encoded(row) + b",", b"{" + encoded(row), b"id: 1", b"\x00"]
    return draw(st.sampled_from(ways))


def _no_object(draw: st.DrawFn, row: Row) -> bytes:
    return json.dumps(draw(st.sampled_from([[row], "text", 5, None, True, []]))).encode()


def _nested(draw: st.DrawFn, row: Row) -> bytes:
    depth = draw(st.sampled_from([5_000, 100_000]))
    field = draw(st.sampled_from(["question", "choices", "depth"]))
    return literal(field, "[" * depth + "]" * depth)(draw, row)


def _surrogate(draw: st.DrawFn, row: Row) -> bytes:
    lone = draw(st.sampled_from(["\ud800", "a \udfff", "\udc80\ud83d"]))
    fields = ["id", "question", "choices", "group", "topic", "reasoning"]
    field = draw(st.sampled_from(fields))
    row = row | {"answer": 0}
    return encoded(row | {field: [lone, "other"] if field == "choices" else lone})


def _key_twice(draw: st.DrawFn, row: Row) -> bytes:
    name = draw(st.sampled_from(sorted(row)))
    again = json.dumps({name: draw(st.just(row[name]) | words)}).encode()
    return encoded(row)[:-1] + b", " + again[1:]


FAULTS: Mapping[str, Callable[[st.DrawFn, Row], bytes]] = {
    "bytes that are not UTF-8": _not_utf8,
    "cut short": _cut_short,
    "not JSON": _not_json,
    "no object": _no_object,
    "nested too deep": _nested,
    "lone surrogate": _surrogate,
    "key twice": _key_twice,
    "no id": without("id"),
    "id that is no text": changed(
        "id", st.none() | st.booleans() | st.floats() | st.lists(words, max_size=1)
    ),
    "empty id": changed("id", blanks),
    "id of another row": changed("id", st.sampled_from([row["id"] for row in PLAIN])),
    "no question": without("question"),
    "question that is no text": changed("question", st.none() | nonsense),
    "empty question": changed("question", blanks),
    "no choices": without("choices"),
    "choices that are no list": changed(
        "choices", st.none() | words | st.integers() | st.dictionaries(words, words, max_size=2)
    ),
    "choice that is no text": choices((st.none() | nonsense).map(lambda odd: ["yes", "no", odd])),
    "one choice or none": choices(st.sampled_from([[], ["only"]])),
    "more choices than letters": choices(
        st.integers(27, 40).map(lambda count: [str(number) for number in range(count)])
    ),
    "empty choice": choices(blanks.map(lambda blank: ["yes", blank])),
    "choice twice": choices(st.sampled_from([["a", "b", "a"], ["a", " a\t"]])),
    "no answer": without("answer"),
    "answer that is neither index nor text": changed(
        "answer", st.none() | st.booleans() | st.floats() | st.lists(st.integers(), max_size=1)
    ),
    "answer out of range": changed("answer", st.integers(max_value=-1) | st.integers(26)),
    "answer that is no choice": changed("answer", words.map(lambda text: f"not one: {text}")),
    "measure that is a truth value": changed("steps", st.booleans()),
    "measure that is not finite": changed(
        "steps", st.sampled_from([float("nan"), float("inf"), -float("inf")])
    ),
    "measure beyond floating point": literal("depth", "1e999"),
    "measure that is a huge integer": changed("depth", st.integers(310, 4000).map(lambda n: 10**n)),
    "measure of more digits than Python reads": literal("depth", "7" * 5000),
    "measure that is text": changed("steps", words),
    "measure that is a structure": changed("steps", st.sampled_from([[], [1], {}, {"a": 1}])),
    "measure that is not in its order": changed(
        "difficulty", st.sampled_from(["medium", "", 1, 2.5, True, ["low"]])
    ),
    "group that is no text": changed("group", nonsense),
    "empty group": changed("group", blanks),
    "topic that is no text": changed("topic", nonsense),
    "reasoning that is no text": changed("reasoning", nonsense),
}


SAYS = {"nested too deep": "deep", "lone surrogate": "surrogate", "key twice": "twice"}
"""What a message says of a fault that another rule would refuse, too."""


class Folder:
    """A data root with one jsonl file, and a space that uses it."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.study = write_study(root, rows=PLAIN)
        self.file = root / "jsonl" / "own.jsonl"
        self.orders = root / "jsonl" / "own.measures.json"
        self.orders.write_text(json.dumps(ORDERS))

    def run(self, command: str, *extra: str) -> Outcome:
        root, out = ["--data-root", str(self.root)], ["--out", f"{self.root}/runs"]
        match command:
            case "data":
                return run(data.main, "jsonl", *root, *extra, keeps=self.root)
            case "plan":
                return run(plan.main, *self.study, *out, *extra, keeps=self.root)
        return run(sweep.main, *self.study, *out, "--dry-run", *extra, keeps=self.root)


commands = st.sampled_from(["data", "data", "plan", "sweep"])


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path / "case"


def in_order(draw: st.DrawFn, lines: list[bytes]) -> list[bytes]:
    """The plain rows with some lines among them."""
    among = [encoded(row) for row in PLAIN]
    for line in lines:
        among.insert(draw(st.integers(0, len(among))), line)
    return among


@st.composite
def broken_files(draw: st.DrawFn, fault: str) -> tuple[bytes, int]:
    """A file with one bad line, and the number of that line."""
    bad = FAULTS[fault](draw, draw(good_rows()))
    lines = in_order(draw, [bad])
    if fault == "id of another row":  # only what comes second repeats
        lines = [line for line in lines if line != bad] + [bad]
    return b"\n".join(lines) + b"\n", lines.index(bad) + 1


@pytest.mark.parametrize("fault", FAULTS)
def test_a_bad_line_is_refused_with_its_number(fault: str, root: Path) -> None:
    @examples(6)
    @given(case=broken_files(fault), command=commands)
    def check(case: tuple[bytes, int], command: str) -> None:
        content, number = case
        with fresh(root):
            folder = Folder(root)
            folder.file.write_bytes(content)
            refused(folder.run(command), f"{folder.file}, line {number}:", SAYS.get(fault, ""))
            skipping = folder.run("data", "--skip-bad-rows", "--json")
            accepted(skipping)
            report = json.loads(skipping.out)
            assert report["num_items"] == len(PLAIN)
            assert len(report["skipped"]) == 1

    check()


@st.composite
def good_files(draw: st.DrawFn) -> tuple[bytes, int]:
    """A file of rows that follow the rules, written in any way, and their number."""
    rows = [draw(good_rows(number)) for number in range(draw(st.integers(0, 3)))]
    is_ascii = draw(st.booleans())
    lines = in_order(draw, [json.dumps(row, ensure_ascii=is_ascii).encode() for row in rows])
    num_rows = len(lines)
    for _ in range(draw(st.integers(0, 2))):
        lines.insert(draw(st.integers(0, len(lines))), draw(st.sampled_from([b"", b"  ", b"\t"])))
    end = draw(st.sampled_from([b"\n", b"\r\n"]))
    mark = draw(st.sampled_from([b"", b"\xef\xbb\xbf"]))
    return mark + end.join(lines) + draw(st.sampled_from([b"", end])), num_rows


@examples(60)
@given(case=good_files(), command=commands, is_zipped=st.booleans())
def check_good_file(root: Path, case: tuple[bytes, int], command: str, is_zipped: bool) -> None:
    content, num_rows = case
    with fresh(root):
        folder = Folder(root)
        if is_zipped:
            folder.file.unlink()
            folder.file.with_suffix(".jsonl.gz").write_bytes(gzip.compress(content, mtime=0))
        else:
            folder.file.write_bytes(content)
        accepted(folder.run(command))
        assert json.loads(folder.run("data", "--json").out)["num_items"] == num_rows


def test_a_file_of_good_lines_is_taken(root: Path) -> None:
    check_good_file(root)


@st.composite
def any_lines(draw: st.DrawFn, num_bad: int) -> tuple[bytes, int]:
    """A file of good lines and some bad ones, and how many good ones there are."""
    good = [draw(good_rows(number)) for number in range(draw(st.integers(0, 2)))]
    alone = sorted(set(FAULTS) - {"id of another row"})
    faults = [draw(st.sampled_from(alone)) for _ in range(num_bad)]
    bad = [FAULTS[fault](draw, draw(good_rows(100 + n))) for n, fault in enumerate(faults)]
    lines = in_order(draw, [*map(encoded, good), *bad])
    return b"\n".join(lines), len(lines) - num_bad


def test_any_mix_of_lines_is_taken_or_refused_as_it_is(root: Path) -> None:
    tally = Tally()

    def try_some(num_bad: int) -> None:
        @examples(20)
        @given(case=any_lines(num_bad), command=commands)
        def check(case: tuple[bytes, int], command: str) -> None:
            content, num_good = case
            with fresh(root):
                folder = Folder(root)
                folder.file.write_bytes(content)
                outcome = folder.run(command)
                (refused if num_bad else accepted)(outcome)
                tally[outcome.status] += 1
                report = json.loads(folder.run("data", "--skip-bad-rows", "--json").out)
                assert (report["num_items"], len(report["skipped"])) == (num_good, num_bad)

        check()

    for num_bad in range(3):
        try_some(num_bad)
    tally.check(ok=0.2, refused=0.3)


@examples(30)
@given(content=st.binary(max_size=200) | st.text(max_size=100).map(str.encode), command=commands)
def check_any_bytes(root: Path, content: bytes, command: str) -> None:
    with fresh(root):
        folder = Folder(root)
        folder.file.write_bytes(content)
        refused(folder.run(command), str(folder.file))


def test_any_bytes_are_refused(root: Path) -> None:
    check_any_bytes(root)


ODD_ORDERS = {
    "nothing": (b"", "JSON"),
    "cut short": (b"{", "JSON"),
    "nested too deep": (b"[" * 100_000, "deep"),
    "not UTF-8": (b"\xff", "UTF-8"),
    "a key twice": (b'{"difficulty": ["low", "high"], "difficulty": ["low", "high"]}', "twice"),
    "half a character": (rb'{"difficulty": ["low", "\ud800"]}', "surrogate"),
    "no object": (b"[]", "must be"),
    "null": (b"null", "must be"),
    "a number": (b"5", "must be"),
    "text": (b'{"difficulty": "low"}', "must be"),
    "one text": (b'{"difficulty": ["low"]}', "must be"),
    "a text twice": (b'{"difficulty": ["low", "high", "low"]}', "must be"),
    "an object": (b'{"difficulty": {"low": 1, "high": 2}}', "must be"),
}
"""What NAME.measures.json may not hold, and a word of the rule."""


@pytest.mark.parametrize("way", [*ODD_ORDERS, "a folder"])
@pytest.mark.parametrize("command", ["data", "plan"])
def test_an_order_of_texts_is_a_list_of_them(command: str, way: str, root: Path) -> None:
    with fresh(root):
        folder = Folder(root)
        folder.file.write_bytes(b"\n".join(map(encoded, PLAIN)))
        if way == "a folder":
            folder.orders.unlink()
            folder.orders.mkdir()
        content, rule = ODD_ORDERS.get(way, (None, "cannot be read"))
        if content is not None:
            folder.orders.write_bytes(content)
        refused(folder.run(command), str(folder.orders), rule)


@pytest.mark.parametrize("way", ["none", "two", "folder", "cut gzip", "no gzip"])
@pytest.mark.parametrize("command", ["data", "sweep"])
def test_a_folder_holds_one_file_and_it_is_whole(command: str, way: str, root: Path) -> None:
    content = b"\n".join(map(encoded, PLAIN))
    with fresh(root):
        folder = Folder(root)
        zipped = folder.file.with_suffix(".jsonl.gz")
        folder.file.unlink()
        match way:
            case "two":
                folder.file.write_bytes(content)
                (root / "jsonl" / "other.jsonl").write_bytes(content)
            case "folder":
                folder.file.mkdir()
            case "cut gzip":
                zipped.write_bytes(gzip.compress(content)[:-9])
            case "no gzip":
                zipped.write_bytes(content)
        rules = {"folder": "cannot be read", "cut gzip": "gzip", "no gzip": "gzip"}
        refused(folder.run(command), str(root / "jsonl"), rules.get(way, "one file"))


def test_a_task_without_its_data_root_is_refused(root: Path) -> None:
    root.mkdir()
    refused(run(data.main, "jsonl", keeps=root), "--data-root")


def test_questions_that_are_all_one_are_refused(root: Path) -> None:
    @examples(6)
    @given(question=words, command=commands)
    def check(question: str, command: str) -> None:
        with fresh(root):
            folder = Folder(root)
            rows = [row | {"question": question} for row in PLAIN]
            folder.file.write_bytes(b"\n".join(map(encoded, rows)))
            refused(folder.run(command), "ask")

    check()


def test_every_field_of_a_row_has_a_fault_of_its_own() -> None:
    for field in OWN_FIELDS:
        assert any(field in fault for fault in FAULTS), field
