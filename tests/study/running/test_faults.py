"""Lost nodes and killed processes of a real Ray cluster. The scores are always the same.

Faults of a disk: test_fault_disk.py; of a bucket: test_fault_bucket.py. A killed driver:
test_sweep_ray.py.
"""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from study.cli.command import BAD_INPUT, FAILED, OK
from study.sweep import main
from tests.support.fault_study import FaultStudy
from tests.support.small_study import output_of, scores_of, wait_until
from trainables.cells.retries import MAX_ATTEMPTS
from trainables.cluster.spot_watcher import drain_this_node
from trainables.storage import layout
from trainables.storage.filesystem import open_storage

TWIN = ("--address", "in-process")

pytestmark = pytest.mark.ray


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, bytes]:
    """The scores of the study when it runs undisturbed, in one process."""
    folder = tmp_path_factory.mktemp("undisturbed")
    study = FaultStudy(folder=folder)
    assert main([*study.arguments, "--out", str(folder / "runs"), *TWIN]) == OK
    scores = scores_of(folder / "runs")
    assert len(scores) == study.num_cells
    return scores


@pytest.fixture(scope="module")
def ray_cluster() -> Iterator[Any]:
    """A head that runs drivers only, and three nodes of one CPU each, on this machine."""
    from ray.cluster_utils import Cluster

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
        head = {"num_cpus": 0, "include_dashboard": False}
        cluster = Cluster(initialize_head=True, head_node_args=head)
        cluster.nodes = [cluster.add_node(num_cpus=1) for _ in range(3)]
        yield cluster
        cluster.shutdown()


def test_a_study_outlives_a_drained_node_a_lost_node_and_a_killed_worker(
    ray_cluster: Any, tmp_path: Path, expected: Mapping[str, bytes]
) -> None:
    """Blocks are packed for three nodes; one is left, and its worker is killed."""
    drained, lost, left = ray_cluster.nodes
    study, out = FaultStudy(folder=tmp_path / "study"), tmp_path / "runs"
    process = study.start(out, "--address", ray_cluster.address)
    wait_until(lambda: scores_of(out) and workers_of(left, out), process)
    os.kill(workers_of(left, out)[0], signal.SIGKILL)
    ray_cluster.remove_node(lost, allow_graceful=False)
    drain_this_node(
        ray_cluster.address, reason="a test", seconds_left=2, node_ids=[drained.node_id]
    )
    kept = times_of_records(out)
    assert len(kept) < study.num_cells, "the faults came while the study ran"
    time.sleep(2)  # what the notice said
    ray_cluster.remove_node(drained, allow_graceful=False)
    said = output_of(process)
    assert process.returncode == OK, said
    assert scores_of(out) == expected
    assert times_of_records(out).items() >= kept.items(), "kept cells are not run again"
    assert not list(open_storage(str(out)).list(layout.RUNNING))


def workers_of(node: Any, out: Path) -> list[int]:
    """Returns the processes of a node that have a cell in hand."""
    raylet = node.all_processes["raylet"][0].process.pid
    claims = [path.read_text() for path in out.glob("running/*.json")]
    pids = {json.loads(sign)["pid"] for sign in claims if sign}
    return [pid for pid in pids if f"PPid:\t{raylet}\n" in Path(f"/proc/{pid}/status").read_text()]


def times_of_records(out: Path) -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for path in out.glob("cells/*/record.json")}


def test_a_lost_head_is_said_and_the_next_run_goes_on(
    ray_cluster: Any, tmp_path: Path, expected: Mapping[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The last test of the cluster: there is none afterwards."""
    monkeypatch.setenv("RAY_gcs_rpc_server_reconnect_timeout_s", "20")
    study, out = FaultStudy(folder=tmp_path / "study"), tmp_path / "runs"
    process = study.start(out, "--address", ray_cluster.address)
    wait_until(lambda: scores_of(out), process)
    head = ray_cluster.head_node.all_processes
    for name in ("gcs_server", "raylet"):
        os.kill(head[name][0].process.pid, signal.SIGKILL)
    said = output_of(process)
    assert process.returncode not in (OK, BAD_INPUT), said
    assert "does not answer any more" in said and "continues from here" in said
    kept = times_of_records(out)
    assert main([*study.arguments, "--out", str(out), *TWIN]) == OK
    assert scores_of(out) == expected
    assert times_of_records(out).items() >= kept.items(), "kept cells are not run again"


POISON = """
import importlib.abc, importlib.util, os, sys

class Poison(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name != "trainables.cells.runner":
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(name)
        execute = spec.loader.exec_module

        def poisoned(module):
            execute(module)
            real = module.CellRunner.run

            def run(self, planned, unit, share):
                write = real(self, planned, unit, share)
                if planned.id == POISONED:
                    os._exit(13)
                return write

            module.CellRunner.run = run

        spec.loader.exec_module = poisoned
        return spec

sys.meta_path.insert(0, Poison())
"""


def test_a_cell_that_kills_its_worker_is_given_up_and_all_others_finish(
    tmp_path: Path, expected: Mapping[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    study, out = FaultStudy(folder=tmp_path / "study", workers=1), tmp_path / "runs"
    poisoned = sorted(expected)[0]
    (tmp_path / "poison").mkdir()
    (tmp_path / "poison" / "sitecustomize.py").write_text(
        POISON.replace("POISONED", repr(poisoned))
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "poison"))
    status, said = study.run(out)
    assert status == FAILED, said
    assert said.count("FAILED") == 1 and f"died {MAX_ATTEMPTS} times" in said
    assert scores_of(out) == {id_: c for id_, c in expected.items() if id_ != poisoned}
    monkeypatch.delenv("PYTHONPATH")
    assert main([*study.arguments, "--out", str(out), *TWIN]) == OK
    assert scores_of(out) == expected
