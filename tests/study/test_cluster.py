"""Files of `ray up`: the shipped ones hold every rule, and each rule finds its fault."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from study.cluster import BAD_INPUT, OK, check_documents, main
from study.cluster_file import read_documents
from study.prices import read_prices
from tests.study.cluster_files import AWS, GCP, KUBERAY, ROOT, changed, problems
from trainables.cuda_drivers import WHEEL_TORCH


@pytest.mark.parametrize("file", [AWS, GCP, KUBERAY], ids=lambda file: file.name)
def test_shipped_file_has_no_problem(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(file)]) == OK
    assert "no problem found" in capsys.readouterr().out


def test_shipped_files_hold_the_pinned_versions() -> None:
    pinned = re.search(r"^ray==(\S+)$", (ROOT / "constraints.txt").read_text(), re.M)
    assert pinned is not None
    version = pinned.group(1)
    for file in (AWS, GCP):
        image = yaml.safe_load(file.read_text())["docker"]["image"]
        assert image == f"rayproject/ray:{version}-py311-gpu"
    assert f"FROM rayproject/ray:{version}-py311-gpu" in (ROOT / "deploy/Dockerfile").read_text()
    spec = yaml.safe_load(KUBERAY.read_text())["spec"]["rayClusterSpec"]
    assert spec["rayVersion"] == version


BROKEN_AWS = {
    # what Ray's schema sees
    "unknown top key": ("max_workers: 12", "max_worker: 12", "Ray's schema: .*max_worker"),
    "wrong head type": ("head_node_type: head", "head_node_type: heat", "head_node_type"),
    "fraction of a resource": ("driver: 4}", "driver: 0.5}", "Ray's schema: 0.5"),
    "min above max": ("min_workers: 0", "min_workers: 40", "Ray's schema"),
    # the head
    "head on spot": (
        "      InstanceType: m7i.4xlarge",
        "      InstanceMarketOptions: {MarketType: spot}\n      InstanceType: m7i.4xlarge",
        "available_node_types.head.node_config: the head must be on-demand",
    ),
    "head takes work": ("{CPU: 0, driver: 4}", "{CPU: 16, driver: 4}", "CPU: 0"),
    "head without driver": ("{CPU: 0, driver: 4}", "{CPU: 0}", "resource `driver`"),
    # the workers
    "driver on a worker": ("{CPU: 8, GPU: 1, spot: 1}", "{CPU: 8, GPU: 1, driver: 1}", "head only"),
    "no spot at all": ("{MarketType: spot}", "{}", "at least one worker type must be on the spot"),
    "no fall-back": (
        "      InstanceType: g5.2xlarge\n      ImageId",
        "      InstanceMarketOptions: {MarketType: spot}\n      InstanceType: g5.2xlarge\n"
        "      ImageId",
        "on-demand worker type to fall back to",
    ),
    "on-demand first": (
        "priority: 0",
        "priority: 50",
        "on-demand-a10g.priority: on-demand is the fall-back",
    ),
    "on-demand as good as spot": ("priority: 0", "priority: 10", "must be below"),
    "no ceiling": ("max_workers: 12\n", "", "max_workers: the number of workers must"),
    "type without ceiling": ("    max_workers: 8\n", "", "spot-l4.max_workers: each worker type"),
    "workers that stay": ("min_workers: 0", "min_workers: 1", "spot-l4.min_workers"),
    "no idle timeout": ("idle_timeout_minutes: 5\n", "", "idle_timeout_minutes"),
    "idle for hours": ("idle_timeout_minutes: 5", "idle_timeout_minutes: 300", "got 300"),
    "no upscaling speed": ("upscaling_speed: 2.0\n", "", "upscaling_speed"),
    "no watcher": ("trainables.spot_watcher", "trainables.worker", "spot watcher"),
    "watcher of the other cloud": ("--cloud aws", "--cloud gcp", "the notice of aws"),
    "watcher that is waited for": ("< /dev/null &", "< /dev/null", "end its command with `&`"),
    "no role": ("      IamInstanceProfile: {Name: scarce-labels-worker}\n", "", "to the bucket"),
    "other GPUs than the machine": ("{CPU: 48, GPU: 4,", "{CPU: 48, GPU: 8,", "g6.12xlarge has 4"),
    "more CPUs than the machine": ("{CPU: 48, GPU: 4,", "{CPU: 64, GPU: 4,", "set CPU: 48"),
    # typing errors that Ray hands on
    "typo in a key": (
        "InstanceMarketOptions",
        "InstanceMarketOption",
        "did you mean Inst.*Options",
    ),
    "typo in a nested key": ("{MarketType: spot}", "{MarketTyp: spot}", "did you mean MarketType"),
    "typo in a value": ("{MarketType: spot}", "{MarketType: spott}", "got 'spott'"),
    "no machine type": ("      InstanceType: m7i.4xlarge\n", "", "needs a machine type"),
    # who can reach it
    "no token mode": ("    - -e RAY_AUTH_MODE=token\n", "", "ask for the token"),
    "token off": ("RAY_AUTH_MODE=token", "RAY_AUTH_MODE=disabled", "ask for the token"),
    "token not mounted": ("  /home/ray/.ray/auth_token: ~/.ray/auth_token\n", "", "file_mounts"),
    "dashboard for all": ("--dashboard-host=127.0.0.1", "--dashboard-host=0.0.0.0", "dashboard"),
    "dashboard by default": ("head_start_ray_commands:", "metadata:\n  old:", "dashboard"),
    "SSH for all": (
        "    GroupName: scarce-labels",
        "    GroupName: scarce-labels\n    IpPermissions:\n      - {FromPort: 22, ToPort: 22, "
        "IpProtocol: tcp, IpRanges: [{CidrIp: 0.0.0.0/0}]}",
        "no port may be open to the world",
    ),
    "group that Ray makes": ("GroupName: scarce-labels", "IpPermissions: []", "opens port 22"),
    "public addresses": ("use_internal_ips: true", "use_internal_ips: false", "public addresses"),
    "published port": ("    - -e RAY_AUTH", "    - -p 8265:8265\n    - -e RAY_AUTH", "published"),
    "metadata without token": ("{HttpTokens: required,", "{HttpTokens: optional,", "IMDSv2"),
    # what a text alone would not show: `ray up` runs the lines, so what counts is what they call
    "watcher in a comment": ("  - setsid nohup", "  - |-\n    # setsid nohup", "start the spot w"),
    "watcher echoed": ("  - setsid nohup", "  - nohup echo", "must start the spot watcher"),
    "watcher before Ray": (
        "worker_start_ray_commands:\n  - ray stop",
        "worker_start_ray_commands:\n  - python -m trainables.spot_watcher --cloud aws &\n"
        "  - ray stop\nmetadata:\n  - ray stop",
        "after `ray stop`",
    ),
    "token off again": (
        "    - -e RAY_AUTH_MODE=token\n",
        "    - -e RAY_AUTH_MODE=token\n    - --env RAY_AUTH_MODE=disabled\n",
        "ask for the token",
    ),
    "token off on the head": (
        "  run_options:",
        "  head_run_options: [-e RAY_AUTH_MODE=disabled]\n  run_options:",
        "ask for the token",
    ),
    "token off by export": (
        "ulimit -n 65536; ray start --head",
        "export RAY_AUTH_MODE=disabled; ray start --head",
        "ask for the token",
    ),
    "token off for one call": (
        "ulimit -n 65536; ray start --address",
        "bash -lc 'RAY_AUTH_MODE=disabled ray start'; ray start --address",
        "ask for the token",
    ),
    "last dashboard host": (
        "--dashboard-host=127.0.0.1",
        "--dashboard-host=127.0.0.1 --dashboard-host 0.0.0.0",
        "answer on the head itself",
    ),
    "constraints in a comment": (
        "  - cd ~/scarce-labels && pip install --quiet --constraint constraints.txt --editable .",
        "  - |-\n    pip install --editable . # as by --constraint constraints.txt",
        "pinned environment",
    ),
    "world in halves": (
        "    GroupName: scarce-labels",
        "    GroupName: scarce-labels\n    IpPermissions:\n      - IpRanges: [{CidrIp: 0.0.0.0/1}, "
        "{CidrIp: 128.0.0.0/1}]",
        "no port may be open to the world",
    ),
    "world of IPv6": (
        "    GroupName: scarce-labels",
        "    GroupName: scarce-labels\n    IpPermissions: [{Ipv6Ranges: [{CidrIpv6: '2000::/3'}]}]",
        "no port may be open to the world",
    ),
    "public head": (
        "      InstanceType: m7i.4xlarge",
        "      InstanceType: m7i.4xlarge\n      NetworkInterfaces: "
        "[{DeviceIndex: 0, AssociatePublicIpAddress: true}]",
        "must not have a public address",
    ),
    "head of a template": (
        "      InstanceType: m7i.4xlarge",
        "      InstanceType: m7i.4xlarge\n      LaunchTemplate: {LaunchTemplateName: a}",
        "head.node_config.LaunchTemplate",
    ),
    "head with CPUs by flag": ("ray start --head", "ray start --head --num-cpus=8", "--num-cpus"),
    "head with GPUs by flag": ("ray start --head", "ray start --head --num-gpus 1", "--num-gpus"),
    "several heads": ("  head:\n", "  head:\n    max_workers: 2\n", "there is one head"),
    "no worker at all": ("max_workers: 12", "max_workers: 0", "no cell would ever start"),
    "no worker of any type": ("    max_workers: ", "    max_workers: 0  # ", "would ever start"),
    "GPUs of another machine": ("{CPU: 8, GPU: 1,", "{CPU: 8, GPU: 8,", "g6.2xlarge has 1, .* 8"),
    "spot that comes back": (
        "{MarketType: spot}",
        "{MarketType: spot, SpotOptions: {SpotInstanceType: persistent}}",
        "SpotOptions.SpotInstanceType",
    ),
    "spot that is kept": (
        "{MarketType: spot}",
        "{MarketType: spot, SpotOptions: {InstanceInterruptionBehavior: stop}}",
        "got 'stop'",
    ),
    "secret by its name": (
        "worker_setup_commands: []",
        "worker_setup_commands: [export AWS_SECRET_ACCESS_KEY=abc]",
        "worker_setup_commands: no secret",
    ),
    "secret for a container": (
        "    - -e RAY_AUTH_MODE=token",
        "    - -e RAY_AUTH_MODE=token\n    - -e HF_TOKEN=abc",
        "docker.run_options: no secret",
    ),
    "secret by its form": (
        "worker_setup_commands: []",
        "worker_setup_commands: [hf auth login --token hf_" + "a" * 30 + "]",
        "no secret may stand",
    ),
    # the environment
    "environment not pinned": ("--constraint constraints.txt ", "", "pinned environment"),
    "another Ray": ("rayproject/ray:2.60.0", "rayproject/ray:2.51.0", "its Ray is 2.51.0"),
}

BROKEN_GCP = {
    "head on spot": (
        "machineType: e2-standard-16",
        "machineType: e2-standard-16\n      scheduling: [{preemptible: true}]",
        "the head must be on-demand",
    ),
    "typo in scheduling": ("provisioningModel: SPOT", "provisionModel: SPOT", "provisioningModel"),
    "typo in its value": ("provisioningModel: SPOT", "provisioningModel: SPOTT", "got 'SPOTT'"),
    "typo in a key": ("serviceAccounts: &b", "serviceAccount: &b", "did you mean serviceAccounts"),
    "no role": ("      serviceAccounts: *bucket-account\n", "", "to the bucket"),
    "public addresses": ("use_internal_ips: true", "use_internal_ips: false", "public addresses"),
    "watcher of the other cloud": ("--cloud gcp", "--cloud aws", "the notice of gcp"),
    "driver older than torch": ("nvidia-580", "nvidia-570", "driver 570, .* needs 580 or newer"),
}

CASES = [
    *((AWS, name, *case) for name, case in BROKEN_AWS.items()),
    *((GCP, name, *case) for name, case in BROKEN_GCP.items()),
]
EVERY = {"no spot at all", "no fall-back", "environment not pinned", "no worker of any type"}
"""Cases whose text is replaced every time it stands there."""


@pytest.mark.parametrize(
    ("file", "name", "old", "new", "message"), CASES, ids=[f"{c[0].name}-{c[1]}" for c in CASES]
)
def test_each_rule_finds_its_fault(
    file: Path, name: str, old: str, new: str, message: str, tmp_path: Path
) -> None:
    found = problems(changed(file, tmp_path, old, new, every=name in EVERY))
    assert any(re.search(message, text) for text in found), found


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("    - -e RAY_AUTH_MODE=token\n", ""),  # exported instead
        ("python -m trainables", "/opt/venv/bin/python3.11 -m trainables"),
        ("  - setsid nohup", "  # don't forget\n  - setsid nohup"),
        ("--cloud aws", "--cloud=aws"),
        ("< /dev/null &", "< /dev/null & echo started"),
        ("  - setsid nohup", "  - setsid --fork nohup"),
        ("  - setsid nohup", "  - |-\n    #don't\n    setsid nohup"),
        ("    GroupName: scarce-labels", "    GroupName: scarce-labels\n    IpPermissions: "
         "[{IpRanges: [{CidrIp: 10.0.0.0/8}, {CidrIp: 203.0.113.7/32}]}]"),
        ("worker_setup_commands: []", "worker_setup_commands: [export HF_TOKEN=$(cat ~/.token)]"),
        ("ray start --head", "ray start --head --num-cpus=0"),
        ("{MarketType: spot}", "{MarketType: spot, SpotOptions: {SpotInstanceType: one-time}}"),
    ],
)  # fmt: skip
def test_another_way_to_write_what_is_right_is_no_problem(
    old: str, new: str, tmp_path: Path
) -> None:
    text = AWS.read_text()
    if "RAY_AUTH_MODE" in old:
        text = text.replace("ulimit -n 65536;", "export RAY_AUTH_MODE=token;")
    file = tmp_path / "cluster.yaml"
    file.write_text(text.replace(old, new, 1))
    assert problems(file) == []


def test_a_secret_is_not_printed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "cluster.yaml"
    old = "worker_setup_commands: []"
    file.write_text(AWS.read_text().replace(old, f"{old[:-2]}[export HF_TOKEN=swordfish]"))
    assert main([str(file)]) == BAD_INPUT
    said = capsys.readouterr()
    assert "HF_TOKEN" in said.err and "swordfish" not in said.err + said.out


def test_worker_type_without_gpu_beside_others_is_said(tmp_path: Path) -> None:
    file = tmp_path / "cluster.yaml"
    text = AWS.read_text().replace("{CPU: 8, GPU: 1, spot: 1}", "{CPU: 8, spot: 1}", 1)
    file.write_text(text.replace("g6.2xlarge", "x9.huge"))
    findings = check_documents(read_documents(file)[0], read_prices())
    said = [f for f in findings if "Ray is told of no GPU" in f.rule]
    assert [f.key for f in said] == ["available_node_types.spot-l4.resources"]
    assert said[0].kind == "note" and problems(file) == []


def test_problem_is_printed_with_key_rule_and_advice_and_exits_with_2(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    broken = tmp_path / "cluster.yaml"
    broken.write_text(AWS.read_text().replace("{MarketType: spot}", "{MarketTyp: spot}"))
    assert main([str(broken)]) == BAD_INPUT
    said = capsys.readouterr().err
    key = "available_node_types.spot-l4.node_config.InstanceMarketOptions.MarketTyp"
    assert f"problem  {key}: " in said
    assert "did you mean MarketType?" in said


def test_what_the_user_has_to_fill_in_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    main([str(GCP)])
    assert "PROJECT_ID has to be filled in" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("image", "setup", "kind"),
    [
        ("common-cu129-ubuntu-2204-nvidia-580", "torch", None),
        ("ubuntu-accelerator-2404-amd64-with-nvidia-590-v1", "torch", None),
        ("common-cu128-ubuntu-2204-nvidia-570", "torch", "problem"),
        ("common-cu128-ubuntu-2204-nvidia-570", "torch --index-url https://a.test/cu126", None),
        (
            "common-cu128-ubuntu-2204-nvidia-570",
            "torch --index-url=https://a.test/cu130",
            "problem",
        ),
        ("common-cu128-ubuntu-2204-nvidia-570", "torch==2.13.0+cu126", None),
        ("common-cu113-nvidia-470", "torch==2.13.0+cu126", "problem"),
        ("an-image-of-my-own", "torch", "note"),
    ],
)
def test_driver_of_the_image_runs_the_torch_that_is_installed(
    image: str, setup: str, kind: str | None, tmp_path: Path
) -> None:
    file = tmp_path / "cluster.yaml"
    text = GCP.read_text().replace("constraints.txt torch\n", f"constraints.txt {setup}\n")
    file.write_text(text.replace("common-cu129-ubuntu-2204-nvidia-580", image))
    findings = check_documents(read_documents(file)[0], read_prices())
    found = {finding.kind for finding in findings if "NVIDIA driver" in finding.rule}
    assert found == ({kind} if kind else set())


def test_driver_of_an_image_by_number_cannot_be_seen(tmp_path: Path) -> None:
    name = re.search(r"resolve:ssm:\S+", AWS.read_text())
    assert name is not None
    file = changed(AWS, tmp_path, name.group(), "ami-0123456789abcdef0", every=True)
    findings = check_documents(read_documents(file)[0], read_prices())
    found = [finding for finding in findings if "NVIDIA driver" in finding.rule]
    assert len(found) == 4 and {finding.kind for finding in found} == {"note"}


def test_cuda_of_the_pinned_torch_is_the_one_that_the_rule_knows() -> None:
    pinned = re.search(r"^torch==(\d+\.\d+)", (ROOT / "constraints.txt").read_text(), re.M)
    assert pinned is not None and pinned.group(1) == WHEEL_TORCH
