"""A study whose run folder is a bucket that is slow, refuses, denies, or is not there."""

from __future__ import annotations

import json
import logging
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from study.cli.command import BAD_INPUT, FAILED, OK
from study.export import main as export
from study.running import progress
from study.sweep import main
from tests.support.bucket_server import BucketServer, bucket_server, moto_or_skip
from tests.support.lock_race import outcomes_of_race
from tests.support.small_study import SmallStudy, output_of, scores_of
from trainables.errors import RunFolderInUseError
from trainables.storage import filesystem, heartbeat, layout, lock
from trainables.storage.filesystem import open_storage
from trainables.storage.lock import held

TWIN = ("--address", "in-process")


@pytest.fixture(scope="module")
def server() -> Iterator[BucketServer]:
    moto_or_skip()
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    with pytest.MonkeyPatch.context() as patch, bucket_server(patch) as running:
        yield running


@pytest.fixture
def bucket(server: BucketServer, monkeypatch: pytest.MonkeyPatch) -> BucketServer:
    """The server without faults; what it is asked again and again for is asked sooner."""
    server.answer = lambda method, key: "pass"
    server.asked.clear()
    monkeypatch.setattr(lock, "SETTLE_S", 0.2)
    monkeypatch.setattr(lock, "LONG_SETTLE_BEATS", 0.1)
    monkeypatch.setattr(progress, "REMOTE_INTERVAL_S", 0.5)
    monkeypatch.setattr(filesystem, "S3_ATTEMPTS", 3)
    return server


@pytest.fixture(scope="module")
def local(tmp_path_factory: pytest.TempPathFactory) -> tuple[SmallStudy, Mapping[str, bytes]]:
    """The study, and its scores on a local disk."""
    folder = tmp_path_factory.mktemp("local")
    study = SmallStudy(folder=folder)
    file = folder / "space.py"
    text = file.read_text().replace("LinearProbe(n_train=6), LoRA(n_train=6, epochs=1)", "")
    file.write_text(text.replace("seeds=2", "seeds=1"))
    assert main([*study.arguments, "--out", str(folder / "runs"), *TWIN]) == OK
    scores = scores_of(folder / "runs")
    assert len(scores) == 4  # zero-shot; in-context with easy, hard and all labels
    return study, scores


def remote_scores(root: str) -> dict[str, bytes]:
    storage = open_storage(root)
    ids = storage.list(layout.CELLS)
    return {
        id_: storage.read_bytes(layout.scores(id_))
        for id_ in ids
        if storage.exists(layout.record(id_))
    }


def sweep(study: SmallStudy, root: str) -> int:
    return main([*study.arguments, "--out", root, *TWIN])


def test_a_bucket_holds_the_same_bytes_as_a_disk(
    bucket: BucketServer,
    local: tuple[SmallStudy, Mapping[str, bytes]],
    capsys: pytest.CaptureFixture[str],
) -> None:
    study, expected = local
    root = bucket.root("same")
    assert sweep(study, root) == OK
    assert remote_scores(root) == expected
    assert not open_storage(root).exists(layout.LOCK)
    capsys.readouterr()
    assert sweep(study, root) == OK
    assert "no cell to run" in capsys.readouterr().out


def test_adapters_stay_in_a_bucket_and_are_exported_from_it(
    bucket: BucketServer, tmp_path: Path
) -> None:
    study = SmallStudy(folder=tmp_path)
    file = tmp_path / "space.py"
    text = file.read_text().replace("InContext(k=2), LinearProbe(n_train=6), LoRA", "LoRA")
    text = text.replace("epochs=1)),", "epochs=1),),")
    file.write_text(text.replace("seeds=2", 'seeds=1, keep="adapters"'))
    root = bucket.root("adapters")
    assert sweep(study, root) == OK
    weights = "adapter_model.safetensors"
    keys = open_storage(root).keys(layout.CELLS)
    cells = [key.split("/")[1] for key in keys if key.endswith(weights)]
    assert len(cells) == 3
    folder, _, options = root.partition("?")
    target = tmp_path / "exported"
    assert export([f"{folder}/small?{options}", "--cell", cells[0], "--to", str(target)]) == OK
    content = open_storage(root).read_bytes(layout.trained(cells[0], weights))
    assert (target / weights).read_bytes() == content
    config = json.loads((target / "adapter_config.json").read_text())
    assert config["base_model_name_or_path"] == "micro-s"


@pytest.mark.ray
def test_a_bucket_with_options_works_on_ray(
    bucket: BucketServer, local: tuple[SmallStudy, Mapping[str, bytes]]
) -> None:
    """Tune and Train keep their own files there too: the options go behind the path."""
    study, expected = local
    root = bucket.root("on-ray/runs")
    folder, _, options = root.partition("?")
    status, said = study.run(root)
    assert status == OK, said
    assert remote_scores(root) == expected
    assert f"Report:  {folder}/small/report/index.html?{options}\n" in said
    assert f"Records: {folder}/cells?{options}\n" in said
    keys = {key for method, key, _ in bucket.asked if method == "PUT"}
    assert any("/small/ray/tune/" in key for key in keys)
    assert any("/small/ray/block-0" in key for key in keys)
    assert all(key.startswith("on-ray/") for key in keys), "nothing lies elsewhere"
    assert not list(open_storage(root).list("small/ray"))


def test_of_two_drivers_on_a_bucket_one_runs_and_nothing_is_run_twice(
    bucket: BucketServer, local: tuple[SmallStudy, Mapping[str, bytes]]
) -> None:
    """The bucket is slow, so that the first one is still at work when the other one has begun."""
    study, expected = local

    def answer(method: str, key: str) -> str:
        if method == "PUT" and "/cells/" in key:
            time.sleep(1.5)
        return "pass"

    bucket.answer = answer
    root = bucket.root("two")
    processes = [study.start(root, *TWIN) for _ in range(2)]
    said = [output_of(process) for process in processes]
    assert sorted(process.returncode for process in processes) == [OK, BAD_INPUT], said
    refused = next(t for t, p in zip(said, processes, strict=True) if p.returncode == BAD_INPUT)
    assert "in use by another sweep" in refused
    written = Counter(key for method, key, _ in bucket.asked if method == "PUT")
    for id_ in expected:
        for key in (layout.running(id_), layout.scores(id_), layout.record(id_)):
            assert written[f"two/{key}"] == 1, "each cell was begun and ended once"
    assert written[f"two/{layout.plan('small')}"] == 1
    assert remote_scores(root) == expected


def test_all_files_of_a_folder_are_found_by_one_listing(bucket: BucketServer) -> None:
    storage = open_storage(bucket.root("flat"))
    names = {f"cells/{number:03}/{name}" for number in range(30) for name in ("a.json", "b")}
    for name in names:
        storage.write_bytes(name, b"x")
    bucket.asked.clear()
    assert storage.keys("cells") == names
    assert len(bucket.asked) <= 2
    assert storage.keys("none") == frozenset()
    times = storage.list_with_mtime("cells/007")
    assert list(times) == ["a.json", "b"] and times["b"] == storage.modified("cells/007/b")


def test_requests_that_are_refused_or_stall_once_are_asked_again(
    bucket: BucketServer, local: tuple[SmallStudy, Mapping[str, bytes]]
) -> None:
    """Every first PUT below cells/ is refused; that of one record gets no answer for 3 s."""
    study, expected = local
    seen: set[str] = set()

    def answer(method: str, key: str) -> str:
        if method != "PUT" or "/cells/" not in key or key in seen:
            return "pass"
        is_first_record = key.endswith("record.json") and not any("record" in k for k in seen)
        seen.add(key)
        return "stall" if is_first_record else "refuse"

    bucket.answer = answer
    root = bucket.root("blip")
    assert sweep(study, root) == OK
    assert remote_scores(root) == expected
    answers = {answer for _, _, answer in bucket.asked}
    assert answers == {"pass", "refuse", "stall"}


def test_a_cell_that_cannot_be_written_fails_with_the_reason_and_the_rest_goes_on(
    bucket: BucketServer,
    local: tuple[SmallStudy, Mapping[str, bytes]],
    capsys: pytest.CaptureFixture[str],
) -> None:
    study, expected = local
    victim = sorted(expected)[0]
    key = f"poor/{layout.scores(victim)}"
    bucket.answer = lambda method, asked: "refuse" if (method, asked) == ("PUT", key) else "pass"
    root = bucket.root("poor")
    assert sweep(study, root) == FAILED
    said = capsys.readouterr().err
    assert said.count("FAILED") == 1 and "PutObject" in said and "Traceback" not in said
    assert remote_scores(root) == {id_: b for id_, b in expected.items() if id_ != victim}
    bucket.answer = lambda method, asked: "pass"
    assert sweep(study, root) == OK
    assert remote_scores(root) == expected


def test_a_bucket_that_goes_away_ends_the_sweep_with_a_clear_error(
    bucket: BucketServer,
    local: tuple[SmallStudy, Mapping[str, bytes]],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    study, expected = local
    gone = threading.Event()

    def answer(method: str, key: str) -> str:
        if method == "PUT" and key.endswith("record.json"):
            gone.set()
            return "pass"
        return "refuse" if gone.is_set() else "pass"

    bucket.answer = answer
    root = bucket.root("gone")
    assert sweep(study, root) == FAILED
    said = capsys.readouterr()
    assert "cannot be read or written" in said.err and "continues from here" in said.err
    assert "cannot read" in said.out, "the progress reporter says so too"
    assert "Traceback" not in said.err
    bucket.answer = lambda method, key: "pass"
    assert len(remote_scores(root)) == 1
    monkeypatch.setattr(
        heartbeat, "STALE_S", 0.0
    )  # the process of the ended sweep is this one: alive
    assert sweep(study, root) == OK
    assert remote_scores(root) == expected


@pytest.mark.parametrize("fault", ["no bucket", "denied", "refused"])
def test_a_bucket_that_cannot_be_written_to_is_refused_before_anything_starts(
    fault: str,
    bucket: BucketServer,
    local: tuple[SmallStudy, Mapping[str, bytes]],
    capsys: pytest.CaptureFixture[str],
) -> None:
    study, _ = local
    faults = {"denied": "deny", "refused": "refuse"}
    if fault in faults:
        bucket.answer = lambda method, key: faults[fault] if method == "PUT" else "pass"
    root = bucket.root("never", bucket="nowhere" if fault == "no bucket" else "bucket")
    assert sweep(study, root) == BAD_INPUT
    said = capsys.readouterr()
    assert said.err.startswith("error: cannot write to") and "--out" in said.err
    reason = {"no bucket": "NO_SUCH_BUCKET", "denied": "ACCESS_DENIED", "refused": "NETWORK"}
    assert reason[fault] in said.err
    bucket.answer = lambda method, key: "pass"
    assert list(open_storage(bucket.root("never")).list("cells")) == []


def test_of_several_who_start_at_once_on_a_bucket_one_gets_it(bucket: BucketServer) -> None:
    outcomes = outcomes_of_race(bucket.root("race"), 4)
    assert outcomes == ["held", "refused", "refused", "refused"]


def test_whose_word_the_bucket_kept_waiting_gives_way_to_who_began_meanwhile(
    bucket: BucketServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(heartbeat, "HEARTBEAT_S", 0.2)
    monkeypatch.setattr(lock, "LONG_SETTLE_BEATS", 5.0)
    is_waiting, may_go_on = threading.Event(), threading.Event()

    def answer(method: str, key: str) -> str:
        if method == "PUT" and not is_waiting.is_set():
            is_waiting.set()
            may_go_on.wait(30)
        return "pass"

    bucket.answer = answer
    # Opened first: Arrow opens no second one while a request of another thread is under way.
    one, other = (open_storage(bucket.root("late")) for _ in range(2))
    outcomes: list[str] = []

    def late() -> None:
        try:
            with held(one):
                outcomes.append("held")
        except RunFolderInUseError:
            outcomes.append("refused")

    thread = threading.Thread(target=late)
    thread.start()
    assert is_waiting.wait(30)
    with held(other):
        may_go_on.set()
        thread.join()
    assert outcomes == ["refused"]


def test_a_request_is_tried_as_often_as_we_say(bucket: BucketServer) -> None:
    """Arrow's own strategy would try it for 6 s."""
    storage = open_storage(bucket.root("often"))
    bucket.answer = lambda method, key: "refuse"
    with pytest.raises(OSError, match="NETWORK_CONNECTION"):
        storage.exists("x")
    assert len(bucket.asked) == filesystem.S3_ATTEMPTS
