"""Rules for KubeRay's files: each finds its fault in the shipped file that was changed."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from study.cli.command import BAD_INPUT, OK
from study.cluster import main
from tests.study.cluster_lint.cluster_files import AWS, KUBERAY, changed, problems

HEAD_POD = "      template:\n        spec:\n          serviceAccountName"
CONTAINER = "image: IMAGE"

BROKEN = {
    "no token": ("mode: token", "mode: disabled", "authOptions.mode: without Ray's token"),
    "dashboard for all": ("Type: ClusterIP", "Type: LoadBalancer", "Spec.serviceType: .*dashboard"),
    "ingress": ("Type: ClusterIP", "Type: ClusterIP\n      enableIngress: true", "dashboard"),
    "head on spot": (HEAD_POD, HEAD_POD.replace("spec:", "spec:\n          nodeSelector: "
                     '{cloud.google.com/gke-spot: "true"}'), "headGroup.*runs the drivers"),
    "head tolerates spot": (HEAD_POD, HEAD_POD.replace("spec:", "spec:\n          tolerations: "
                            "[{key: cloud.google.com/gke-spot}]"), "the head runs the drivers"),
    "head may be on spot": ("operator: DoesNotExist", "operator: Exists", "the head runs the driv"),
    "no autoscaling": ("enableInTreeAutoscaling: true", "suspend: false", "enableInTreeAutosc"),
    "no idle timeout": ("      idleTimeoutSeconds: 300\n", "", "idleTimeoutSeconds: idle workers"),
    "idle for hours": ("idleTimeoutSeconds: 300", "idleTimeoutSeconds: 1801", "1800 at most"),
    "workers that stay": ("minReplicas: 0", "minReplicas: 2", "0.minReplicas: an idle cluster"),
    "workers from the start": ("replicas: 0", "replicas: 2", "0.minReplicas: an idle cluster"),
    "no ceiling": ("        maxReplicas: 8\n", "", "0.maxReplicas: workers need a ceiling"),
    "no fall-back": ("preferredDuringSchedulingIgnoredDuringExecution:\n"
                     "                  - weight: 100\n                    preference:\n"
                     "                      ",
                     "requiredDuringSchedulingIgnoredDuringExecution:\n"
                     "                  nodeSelectorTerms:\n                    - ",
                     "an on-demand fall-back must exist"),
    "no spot": ("preferredDuringS", "neverDuringS", "at least one worker group must use spot"),
    "cluster that stays": ("shutdownAfterJobFinishes: true", "suspend: false", "shutdownAfterJob"),
    "port of the machine": (CONTAINER, f"{CONTAINER}\n              ports: [{{hostPort: 1}}]",
                            "headGroup.*no port of the machine"),
    "network of the machine": ("            nodeSelector:", "            hostNetwork: true\n"
                               "            nodeSelector:", "0.template.*no port of the machine"),
    "another kind": ("kind: RayJob", "kind: RayService", "RayJob, RayCluster, got 'RayService'"),
}  # fmt: skip


@pytest.mark.parametrize("name", BROKEN)
def test_rule_finds_its_fault_and_no_other(name: str, tmp_path: Path) -> None:
    old, new, message = BROKEN[name]
    count = -1 if name in ("no spot", "no fall-back") else 1
    found = problems(changed(KUBERAY, tmp_path, old, new, count=count))
    assert len(found) == 1 and re.search(message, found[0]), found


def test_cluster_without_a_job_keeps_the_same_rules(tmp_path: Path) -> None:
    lines = KUBERAY.read_text().replace("kind: RayJob", "kind: RayCluster").splitlines()
    start = lines.index("  rayClusterSpec:")
    spec = [line.removeprefix("  ") for line in lines[start + 1 :]]
    file = tmp_path / "raycluster.yaml"
    header = "apiVersion: ray.io/v1\nkind: RayCluster\nmetadata: {name: a}\nspec:\n"
    file.write_text(header + "\n".join(spec))
    assert problems(file) == []
    assert "spec.authOptions.mode" in problems(changed(file, tmp_path, "mode: token", "mode: a"))[0]


def test_price_of_machines_that_the_file_does_not_name_cannot_be_limited(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main([str(KUBERAY), "--max-hourly-cost", "1000"]) == BAD_INPUT
    assert "--max-hourly-cost 1000 cannot be checked" in capsys.readouterr().err


def test_file_of_several_documents_is_checked(
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
