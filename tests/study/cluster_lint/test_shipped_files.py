"""The shipped cluster files keep every rule, and literally what no rule checks."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from study.cli.command import OK
from study.cluster import main
from study.cluster_lint.node_types import head_and_workers
from study.cost.prices import read_prices
from tests.study.cluster_lint.cluster_files import AWS, GCP, KUBERAY, ROOT

RAY_UP = pytest.mark.parametrize("file", [AWS, GCP], ids=lambda file: file.name)
RAY_START = "ulimit -n 65536; ray start"


def pinned(package: str) -> str:
    match = re.search(rf"^{package}==(\S+)$", (ROOT / "constraints.txt").read_text(), re.M)
    assert match is not None
    return match.group(1)


def load(file: Path) -> Any:
    return yaml.safe_load(file.read_text())


@pytest.mark.parametrize("file", [AWS, GCP, KUBERAY], ids=lambda file: file.name)
def test_shipped_file_has_no_problem(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(file)]) == OK
    assert "no problem found" in capsys.readouterr().out


@RAY_UP
def test_command_lines(file: Path) -> None:
    config = load(file)
    cloud = config["provider"]["type"]
    assert config["setup_commands"] == [
        "cd ~/scarce-labels && pip install --quiet --constraint constraints.txt torch",
        "cd ~/scarce-labels && pip install --quiet --constraint constraints.txt --editable .",
    ]
    assert config["worker_setup_commands"] == []
    assert config["head_start_ray_commands"] == [
        "ray stop",
        f"{RAY_START} --head --port=6379 --object-manager-port=8076 --dashboard-host=127.0.0.1 "
        "--autoscaling-config=~/ray_bootstrap_config.yaml",
    ]
    assert config["worker_start_ray_commands"] == [
        "ray stop",
        f"{RAY_START} --address=$RAY_HEAD_IP:6379 --object-manager-port=8076",
        "setsid nohup flock --nonblock ~/.spot_watcher.lock "
        "python -m trainables.cluster.spot_watcher "
        f"--cloud {cloud} --address $RAY_HEAD_IP:6379 > ~/spot_watcher.log 2>&1 < /dev/null &",
    ]


@RAY_UP
def test_environment_of_the_nodes(file: Path) -> None:
    config = load(file)
    assert config["docker"]["image"] == f"rayproject/ray:{pinned('ray')}-py311-gpu"
    assert config["docker"]["run_options"] == [
        "--ulimit nofile=65536:65536",
        "-e RAY_AUTH_MODE=token",
    ]
    assert config["file_mounts"] == {
        "/home/ray/scarce-labels": ".",
        "/home/ray/.ray/auth_token": "~/.ray/auth_token",
    }
    assert pinned("torch").startswith("2.13."), "built for CUDA 13, which needs driver 580"
    images = {
        AWS: "deeplearning/ami/x86_64/base-oss-nvidia-driver-gpu-ubuntu-22.04/latest/ami-id",
        GCP: "family/common-cu129-ubuntu-2204-nvidia-580",
    }
    for node in config["available_node_types"].values():
        assert images[file] in str(node["node_config"])


@RAY_UP
def test_node_types(file: Path) -> None:
    types = load(file)["available_node_types"]
    assert types["head"]["resources"] == {"CPU": 0, "driver": 4}, "drivers run here, cells do not"
    for name, node in types.items():
        if name == "head":
            continue
        resources, machine = node["resources"], node["node_config"]
        assert ("spot" in resources) == name.startswith("spot") and "driver" not in resources
        if file == AWS:
            assert machine["IamInstanceProfile"] == {"Name": "scarce-labels-worker"}
        else:
            account = "scarce-labels-worker@PROJECT_ID.iam.gserviceaccount.com"
            assert machine["serviceAccounts"][0]["email"] == account


@RAY_UP
def test_resources_are_those_of_the_machine(file: Path) -> None:
    for worker in head_and_workers(load(file))[1]:
        machine = read_prices().find(worker.instance or "")
        resources = worker.content["resources"]
        assert (resources["CPU"], resources["GPU"]) == (machine.vcpus, machine.gpus)


def test_machines_of_aws_protect_their_role_and_disks() -> None:
    for node in load(AWS)["available_node_types"].values():
        machine = node["node_config"]
        assert machine["MetadataOptions"] == {
            "HttpTokens": "required",
            "HttpPutResponseHopLimit": 1,
        }
        assert all(disk["Ebs"]["Encrypted"] is True for disk in machine["BlockDeviceMappings"])


def test_kubernetes_job() -> None:
    spec = load(KUBERAY)["spec"]
    assert spec["entrypoint"] == "python -m study.sweep micro --out gs://BUCKET/runs"
    assert spec["entrypointResources"] == '{"driver": 1}'
    cluster = spec["rayClusterSpec"]
    assert cluster["rayVersion"] == pinned("ray")
    assert cluster["headGroupSpec"]["rayStartParams"] == {
        "num-cpus": "0",
        "resources": r'"{\"driver\": 4}"',
    }
    for group in cluster["workerGroupSpecs"]:
        assert group["rayStartParams"] == {}
        grace = group["template"]["spec"]["terminationGracePeriodSeconds"]
        assert grace >= 30, "Ray drains its node for up to 30 s"


def test_image_of_kubernetes_has_the_pinned_ray() -> None:
    dockerfile = (ROOT / "deploy/Dockerfile").read_text()
    assert f"FROM rayproject/ray:{pinned('ray')}-py311-gpu" in dockerfile
