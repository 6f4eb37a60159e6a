"""KubeRay's files: the shipped one holds every rule, and each rule finds its fault."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from study.cluster import BAD_INPUT, OK, main
from tests.study.cluster_files import AWS, KUBERAY, changed, problems

BROKEN = {
    "no token": ("mode: token", "mode: disabled", "authOptions.mode"),
    "dashboard for all": ("serviceType: ClusterIP", "serviceType: LoadBalancer", "ClusterIP"),
    "head takes work": ('num-cpus: "0"', 'num-cpus: "8"', "drivers only"),
    "head without driver": (r"""'"{\"driver\": 4}"'""", "'{}'", "resource `driver`"),
    "head on spot": (
        "      template:\n        spec:\n          serviceAccountName",
        "      template:\n        spec:\n          nodeSelector: "
        '{cloud.google.com/gke-spot: "true"}\n          serviceAccountName',
        "the head must be on-demand",
    ),
    "no autoscaling": ("enableInTreeAutoscaling: true", "suspend: false", "enableInTree"),
    "no idle timeout": ("      idleTimeoutSeconds: 300\n", "", "idleTimeoutSeconds"),
    "workers that stay": ("minReplicas: 0", "minReplicas: 2", "minReplicas"),
    "no ceiling": ("        maxReplicas: 8\n", "", "maxReplicas"),
    "no time to drain": (
        "terminationGracePeriodSeconds: 60",
        "terminationGracePeriodSeconds: 5",
        "30 s to drain",
    ),
    "no fall-back": ("preferredDuringS", "requiredDuringS", "on-demand fall-back"),
    "no spot": ("preferredDuringS", "neverDuringS", "must use spot"),
    "records on the pods": ("--out gs://BUCKET/runs", "", "to a bucket"),
    "cluster that stays": ("shutdownAfterJobFinishes: true", "suspend: false", "shutdownAfter"),
    "driver anywhere": ("  entrypointResources: '{\"driver\": 1}'\n", "", "entrypointResources"),
    "another Ray": ("rayVersion: 2.60.0", "rayVersion: 2.51.0", "it is 2.51.0"),
    "port of the machine": (
        "image: IMAGE",
        "image: IMAGE\n              ports: [{hostPort: 1}]",
        "open",
    ),
    "another kind": ("kind: RayJob", "kind: RayService", "RayJob, RayCluster"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_each_rule_finds_its_fault(name: str, tmp_path: Path) -> None:
    old, new, message = BROKEN[name]
    found = problems(
        changed(KUBERAY, tmp_path, old, new, every=name in ("no spot", "no fall-back"))
    )
    assert any(re.search(message, text) for text in found), found


def test_driver_of_gpu_nodes_is_said_where_there_are_some(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([str(KUBERAY)]) == OK
    assert "need the NVIDIA driver 580 or newer" in capsys.readouterr().out
    assert main([str(changed(KUBERAY, tmp_path, "nvidia.com/gpu: ", "x: ", every=True))]) == OK
    assert "NVIDIA" not in capsys.readouterr().out


def test_price_of_nodes_that_the_file_does_not_hold_cannot_be_capped(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main([str(KUBERAY), "--max-hourly-cost", "1000"]) == BAD_INPUT
    assert "--max-hourly-cost 1000 cannot be checked" in capsys.readouterr().err


def test_file_of_several_documents_is_read(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    account = "apiVersion: v1\nkind: ServiceAccount\nmetadata: {name: scarce-labels}\n"
    file = tmp_path / "rayjob.yaml"
    file.write_text(f"{account}---\n{KUBERAY.read_text()}---\n")
    assert main([str(file)]) == OK
    assert "ServiceAccount scarce-labels was not checked" in capsys.readouterr().out
    broken = KUBERAY.read_text().replace("mode: token", "mode: disabled")
    file.write_text(f"{KUBERAY.read_text()}---\n{broken.replace('name: scarce', 'name: other')}")
    found = problems(file)
    assert len(found) == 1
    assert found[0].startswith("RayJob other-labels: spec.rayClusterSpec.authOptions.mode")


def test_ray_up_reads_one_document(tmp_path: Path) -> None:
    file = tmp_path / "cluster.yaml"
    file.write_text(f"{AWS.read_text()}---\na: 1\n")
    assert "reads one document, and this file has 2" in problems(file)[0]
