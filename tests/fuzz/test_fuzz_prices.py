"""Any price table: taken where each entry follows its rule, else refused with the file's name."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from study import plan, status, sweep
from study.cost.prices import Cloud, Instance
from tests.fuzz.harness import Outcome, Tally, accepted, examples, refused, run

Table = dict[str, str]
"""Key -> its value as TOML."""

CLOUD: Table = {
    "region": '"cellar"',
    "date": "2026-01-31",
    "source": '"the bill"',
    "spot_share": "0.5",
}

INSTANCE: Table = {
    "cloud": '"mine"',
    "gpu": '"A"',
    "gpus": "4",
    "gpu_memory_gib": "40",
    "vcpus": "8",
    "memory_gib": "256",
    "on_demand": "8.0",
    "spot": "2.0",
}

OPTIONAL = {"memory_gib", "spot"}

NO_TEXT = ["5", "1.5", "true", '["x"]', "2026-01-31", "{}"]
NO_NUMBER = ["nan", "inf", "-inf", '"much"', "[1]", "{}"]
NO_DOLLARS = ["0", "-0.01", "-5", *NO_NUMBER]
NO_WHOLE = ["-1", "1.5", *NO_NUMBER]

FIELDS: Mapping[str, Mapping[str, tuple[list[str], list[str]]]] = {
    "cloud": {
        "region": (['""', '"ünï"'], NO_TEXT),
        "date": (["2025-12-01", '"2025-12-01"'], ['"yesterday"', "-1.5", "true", "2025-13-01"]),
        "source": (['""', '"https://example.org"'], NO_TEXT),
        "spot_share": (["1", "0.001"], ["0", "-1", "1.001", *NO_NUMBER]),
    },
    "instance": {
        "cloud": ([], [*NO_TEXT, '"yours"', '""']),
        "gpu": (['"B"'], [*NO_TEXT, '""']),
        "gpus": (["1", "8", "0", "2.0"], NO_WHOLE),
        "gpu_memory_gib": (["16", "0.5"], ["-1", "0", *NO_NUMBER]),
        "vcpus": (["1", "192"], ["0", *NO_WHOLE]),
        "memory_gib": (["0.1", "1e4"], NO_DOLLARS),
        "on_demand": (["2.0", "1e6"], [*NO_DOLLARS, "1.99"]),
        "spot": (["8", "1e-6"], [*NO_DOLLARS, "8.01"]),
    },
}
"""Values that a key may have beside the other keys here, and values that it may not have."""


def toml(cloud: Table, instance: Table, more: str = "") -> str:
    lines = ["[clouds.mine]", *(f"{key} = {value}" for key, value in cloud.items())]
    lines += ['[instances."big.one"]', *(f"{key} = {value}" for key, value in instance.items())]
    return "\n".join([*lines, more, ""])


def with_value(part: str, key: str, value: str) -> str:
    tables = {"cloud": dict(CLOUD), "instance": dict(INSTANCE)}
    tables[part][key] = value
    return toml(**tables)


def without(part: str, key: str) -> str:
    tables = {"cloud": dict(CLOUD), "instance": dict(INSTANCE)}
    del tables[part][key]
    return toml(**tables)


WHOLE = toml(CLOUD, INSTANCE)

FILES: Mapping[str, bytes] = {
    "nothing": b"",
    "no clouds": WHOLE[WHOLE.index("[inst") :].encode(),
    "no instances": WHOLE[: WHOLE.index("[inst")].encode(),
    "clouds that are a number": b"clouds = 5\ninstances = {}",
    "a cloud that is text": b'[clouds]\nmine = "x"\n[instances]',
    "an instance that is a list": WHOLE.encode() + b"[instances]\nsmall = [1]",
    "a key of the table's own": b"odd = 1\n" + WHOLE.encode(),
    "a key twice": WHOLE.encode() + b"spot = 2.0\n",
    "a key of another name": WHOLE.replace("vcpus", "vcpu").encode(),
    "a cloud's key of another name": WHOLE.replace("region", "\x1bregion").encode(),
    "not UTF-8": WHOLE.encode().replace(b"cellar", b"\xff\xfe"),
    "a null byte": WHOLE.encode() + b"\0",
    "nested too deep": b"a = " + b"[" * 5000 + b"]" * 5000,
    "a number of many digits": WHOLE.replace("vcpus = 8", f"vcpus = {'8' * 5000}").encode(),
    "an empty name of a cloud that is not there": WHOLE.replace('"mine"', '""').encode(),
}

numbers = st.floats(min_value=1e-3, max_value=1e6)

WRONG: Mapping[str, st.SearchStrategy[Any]] = {
    "cloud.spot_share": st.floats(max_value=0) | st.floats(1, exclude_min=True),
    "instance.gpus": st.integers(max_value=-1) | st.floats(0.1, 0.9),
    "instance.gpu_memory_gib": st.floats(max_value=0),
    "instance.vcpus": st.integers(max_value=0),
    "instance.on_demand": st.floats(max_value=1.99),
    "instance.spot": st.floats(max_value=0) | st.floats(8.0, exclude_min=True),
    "instance.memory_gib": st.floats(max_value=0),
}
"""Numbers of any size that a key may not have."""


class Folder:
    """Price tables, and the plan of a study that was made with the shipped one."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.file = root / "prices.toml"
        self.runs = str(root / "runs")

    def run(self, content: bytes, command: str, *extra: str) -> Outcome:
        self.file.write_bytes(content)
        prices = ["--prices", str(self.file), *extra]
        match command:
            case "status":
                return run(status.main, f"{self.runs}/micro", *prices, keeps=self.root)
            case "plan":
                return run(plan.main, "micro", "--out", self.runs, *prices, keeps=self.root)
        dry = ["micro", "--dry-run", "--out", self.runs]
        return run(sweep.main, *dry, *prices, keeps=self.root)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from search_spaces.registry import find_space
    from study.artifacts.plan import write_plan
    from study.planning.planner import make_plan
    from trainables.storage.filesystem import open_storage

    root = tmp_path_factory.mktemp("prices")
    storage = open_storage(str(root / "runs"))
    write_plan(storage, make_plan(find_space("micro"))[0])
    return root


@pytest.fixture
def folder(made: Path, monkeypatch: pytest.MonkeyPatch) -> Folder:
    monkeypatch.chdir(made)
    return Folder(made)


commands = st.sampled_from(["status"] * 18 + ["plan", "sweep"])
"""That which reads a plan is the quickest."""


def test_every_key_of_a_table_is_drawn() -> None:
    assert set(FIELDS["cloud"]) == set(Cloud.model_fields)
    assert set(FIELDS["instance"]) == set(Instance.model_fields)


BAD_VALUES = [
    (part, key, value)
    for part, keys in FIELDS.items()
    for key, (_, values) in keys.items()
    for value in values
]


def test_a_key_with_a_wrong_value_is_refused(folder: Folder) -> None:
    for part, key, value in BAD_VALUES:
        outcome = folder.run(with_value(part, key, value).encode(), "status")
        assert outcome.status == 2, (part, key, value)
        refused(outcome, str(folder.file))


@pytest.mark.parametrize("part", FIELDS)
def test_a_key_may_only_be_left_out_where_that_means_something(part: str, folder: Folder) -> None:
    for key in FIELDS[part]:
        outcome = folder.run(without(part, key).encode(), "status")
        if key in OPTIONAL:
            accepted(outcome)
        else:
            refused(outcome, str(folder.file), key)


@pytest.mark.parametrize("content", FILES)
def test_a_file_that_is_no_table_is_refused(content: str, folder: Folder) -> None:
    for command in ("status", "sweep", "plan"):
        refused(folder.run(FILES[content], command), str(folder.file))


@st.composite
def more_instances(draw: st.DrawFn) -> str:
    """Other instance types, of any name."""
    names = st.text("abc.-_ é\"'\\", min_size=1, max_size=6)
    return "\n".join(
        f"[instances.{_quoted(name)}]\ncloud = 'mine'\ngpus = 0\nvcpus = 1\non_demand = {price!r}"
        for name, price in draw(st.dictionaries(names, numbers, max_size=2)).items()
    )


@st.composite
def good_tables(draw: st.DrawFn) -> str:
    """A table in which some keys have other values that they may have, or are left out."""
    tables = {"cloud": dict(CLOUD), "instance": dict(INSTANCE)}
    for part, keys in FIELDS.items():
        for key, (values, _) in keys.items():
            tables[part][key] = draw(st.sampled_from([tables[part][key], *values]))
    for key in draw(st.sets(st.sampled_from(sorted(OPTIONAL)))):
        del tables["instance"][key]
    if tables["instance"]["on_demand"] == "2.0":
        tables["instance"].pop("spot", None)
    return toml(**tables, more=draw(more_instances()))


@st.composite
def bad_tables(draw: st.DrawFn) -> tuple[str, str]:
    """A table of which a key has a wrong value, and that key."""
    part, _, key = draw(st.sampled_from(sorted(WRONG))).partition(".")
    tables = {"cloud": dict(CLOUD), "instance": dict(INSTANCE)}
    tables[part][key] = repr(draw(WRONG[f"{part}.{key}"]))
    return toml(**tables, more=draw(more_instances())), key


def _quoted(name: str) -> str:
    return '"' + name.replace("\\", "\\\\").replace('"', '\\"') + '"'


def test_any_table_is_taken_or_refused_as_it_is(folder: Folder) -> None:
    tally = Tally()

    @examples(60)
    @given(content=good_tables(), command=commands)
    def check_good(content: str, command: str) -> None:
        outcome = folder.run(content.encode(), command)
        tally[outcome.status] += 1
        accepted(outcome)

    @examples(80)
    @given(case=bad_tables(), command=commands)
    def check_bad(case: tuple[str, str], command: str) -> None:
        content, wrong = case
        outcome = folder.run(content.encode(), command)
        tally[outcome.status] += 1
        refused(outcome, str(folder.file), wrong)

    check_good()
    check_bad()
    tally.check(ok=0.2, refused=0.3)


@examples(50)
@given(content=st.binary(max_size=80) | st.text(min_size=1, max_size=80).map(str.encode))
def check_any_bytes(folder: Folder, content: bytes) -> None:
    refused(folder.run(content, "status"), str(folder.file))


def test_any_bytes_are_refused(folder: Folder) -> None:
    check_any_bytes(folder)


@examples(20)
@given(name=st.text(max_size=20).map(lambda text: f"no {text}"), command=commands)
def check_any_type(folder: Folder, name: str, command: str) -> None:
    refused(folder.run(WHOLE.encode(), command, "--instance", name), "big.one")


def test_a_type_that_the_table_lacks_is_refused(folder: Folder) -> None:
    check_any_type(folder)


def test_gpu_hours_of_a_type_without_gpus_are_refused(folder: Folder) -> None:
    bare = "[instances.bare]\ncloud = 'mine'\ngpus = 0\nvcpus = 1\non_demand = 1"
    table = toml(CLOUD, INSTANCE, bare).encode()
    refused(folder.run(table, "status", "--instance", "bare"), "bare")


@pytest.mark.parametrize("command", ["status", "plan", "sweep"])
def test_a_file_that_is_not_there_is_refused(command: str, folder: Folder) -> None:
    for place in ("nowhere.toml", "runs", "", "a" * 300):
        refused(folder.run(WHOLE.encode(), command, "--prices", place), "price table")
