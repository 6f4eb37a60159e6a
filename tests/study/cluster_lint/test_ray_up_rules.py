"""Rules for `ray up` files: each finds its fault in a shipped file that was changed."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.study.cluster_lint.cluster_files import AWS, GCP, changed, problems

HEAD, GROUP = "      InstanceType: m7i.4xlarge", "    GroupName: scarce-labels"

BROKEN = {
    # Ray's schema
    "unknown top key": (AWS, "max_workers: 12", "max_worker: 12", "schema: .*max_worker"),
    "fraction of a resource": (AWS, "driver: 4}", "driver: 0.5}", r"head.resources.driver: .*0\.5"),
    "node type without resources": (GCP, "resources: {CPU: 0, driver: 4}", "priority: 0", "schema"),
    "key that is no text": (AWS, "  spot-l4:", "  1:", "every key must be text"),
    "unknown head type": (AWS, "head_node_type: head", "head_node_type: heat", "head_node_type"),
    "another cloud": (AWS, "type: aws", "type: azure", "only files for aws and gcp .* 'azure'"),
    # spot market
    "spot head of AWS": (AWS, HEAD, f"      InstanceMarketOptions: {{MarketType: spot}}\n{HEAD}",
                         "head.node_config: the head runs the drivers"),
    "preemptible head": (GCP, "machineType: e2-standard-16",
                         "machineType: e2-standard-16\n      scheduling: [{preemptible: true}]",
                         "head.node_config: the head runs the drivers"),
    "no spot": (AWS, "{MarketType: spot}", "{}", "at least one worker type must be on the spot"),
    "misspelled spot market": (AWS, "MarketOptions", "MarketOption", "at least one"),
    "one misspelled spot market": (AWS, "      <<: *spot-worker", "      <<: *spot-worker\n      "
                                   "InstanceMarketOptions: {MarketTyp: spot}", "misspelled"),
    "no fall-back": (AWS, "      InstanceType: g5.2xlarge\n      ImageId",
                     "      InstanceMarketOptions: {MarketType: spot}\n"
                     "      InstanceType: g5.2xlarge\n      ImageId", "must be the fall-back"),
    "fall-back of no node": (AWS, "    max_workers: 2\n    priority: 0",
                             "    max_workers: 0\n    priority: 0", "must be the fall-back"),
    "fall-back first": (AWS, "priority: 0", "priority: 50", "on-demand-a10g.priority: .*below 10"),
    "fall-back as good as spot": (AWS, "priority: 0", "priority: 10", "below 10"),
    # scaling
    "no ceiling": (AWS, "max_workers: 12\n", "", "max_workers: workers need a ceiling"),
    "no worker at all": (AWS, "max_workers: 12", "max_workers: 0", "workers need a ceiling"),
    "workers that stay": (AWS, "min_workers: 0", "min_workers: 1", "spot-l4.min_workers"),
    "no idle timeout": (AWS, "idle_timeout_minutes: 5\n", "", "idle_timeout_minutes: idle workers"),
    "idle for hours": (AWS, "idle_timeout_minutes: 5", "idle_timeout_minutes: 31", "30 at most"),
    "one idle for hours": (AWS, "    priority: 30", "    priority: 30\n    idle_timeout_s: 1801",
                           "spot-l4.idle_timeout_s: idle workers must go; .* 1800 at most"),
    "idle for ever": (AWS, "idle_timeout_minutes: 5", "idle_timeout_minutes: .inf", "idle_timeout"),
    # token
    "no token": (AWS, "    - -e RAY_AUTH_MODE=token\n", "", "without Ray's token"),
    "token off": (GCP, "RAY_AUTH_MODE=token", "RAY_AUTH_MODE=disabled", "without Ray's token"),
    "token on the head only": (AWS, "  run_options:", "  head_run_options:", "without Ray's token"),
    "token off for one kind": (AWS, "  run_options:",
                               "  worker_run_options: [-e RAY_AUTH_MODE=disabled]\n  run_options:",
                               "without Ray's token"),
    "token off by export": (AWS, "ulimit -n 65536; ray start --head",
                            "export RAY_AUTH_MODE=disabled; ray start --head", "Ray's token"),
    "token not mounted": (AWS, "  /home/ray/.ray/auth_token: ~/.ray/auth_token\n", "",
                          "every node needs the token"),
    # ports
    "dashboard for all": (AWS, "host=127.0.0.1", "host=0.0.0.0", "dashboard runs jobs"),
    "last dashboard host": (GCP, "=127.0.0.1", "=127.0.0.1 --dashboard-host 0.0.0.0", "dashboard"),
    "dashboard by default": (AWS, "head_start_ray_commands:", "metadata:\n  old:", "dashboard"),
    "open port": (AWS, GROUP, f"{GROUP}\n    IpPermissions: [{{FromPort: 22, ToPort: 22}}]",
                  "no port may be open"),
    "security group of Ray": (AWS, GROUP, "    IpPermissions: []", "opens port 22"),
    "public addresses": (GCP, "use_internal_ips: true", "use_internal_ips: false", "public add"),
    "public head of AWS": (AWS, HEAD, f"{HEAD}\n      NetworkInterfaces: "
                           "[{DeviceIndex: 0, AssociatePublicIpAddress: true}]",
                           "head.node_config.NetworkInterfaces.AssociatePublicIpAddress: no node"),
    "public head of GCP": (GCP, "machineType: e2-standard-16", "machineType: e2-standard-16\n"
                           "      networkInterfaces: [{accessConfigs: [{type: ONE_TO_ONE_NAT}]}]",
                           "head.node_config.networkInterfaces.accessConfigs: no node"),
}  # fmt: skip

EVERYWHERE = {"no spot", "misspelled spot market"}


@pytest.mark.parametrize("name", BROKEN)
def test_rule_finds_its_fault_and_no_other(name: str, tmp_path: Path) -> None:
    file, old, new, message = BROKEN[name]
    count = -1 if name in EVERYWHERE else 1
    found = problems(changed(file, tmp_path, old, new, count=count))
    assert len(found) == 1 and re.search(message, found[0]), found


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("ray start --head", "RAY_AUTH_MODE=token ray start --head"),
        ("    max_workers: 8\n", ""),
        ("    priority: 30", "    idle_timeout_s: 600\n    priority: 30"),
        ("--dashboard-host=127.0.0.1", "--dashboard-host localhost"),
        ("g6.2xlarge", "x9.huge"),
    ],
)
def test_other_ways_to_keep_the_rules(old: str, new: str, tmp_path: Path) -> None:
    assert problems(changed(AWS, tmp_path, old, new)) == []


def test_token_without_docker_is_exported_on_every_node(tmp_path: Path) -> None:
    text = AWS.read_text()
    docker = text[text.index("docker:\n") : text.index("head_node_type")]
    file = tmp_path / "cluster.yaml"
    exported = "export RAY_AUTH_MODE=token; ray start"
    file.write_text(text.replace(docker, "").replace("ray start", exported))
    assert problems(file) == []
    file.write_text(text.replace(docker, "").replace("ray start", exported, 1))
    assert [problem.partition(":")[0] for problem in problems(file)] == ["docker.run_options"]


def test_security_group_may_be_named_by_every_node_type(tmp_path: Path) -> None:
    groups = "      SecurityGroupIds: [sg-1]\n      InstanceType"
    file = changed(AWS, tmp_path, "      InstanceType", groups, count=-1)
    assert problems(changed(file, tmp_path, GROUP, "    IpPermissions: []")) == []


def test_all_faults_of_the_schema_are_reported_at_once(tmp_path: Path) -> None:
    file = changed(AWS, tmp_path, "max_workers: 12", "max_workers: many")
    found = problems(changed(file, tmp_path, "driver: 4}", "driver: -4}"))
    assert [problem.partition(":")[0] for problem in found] == [
        "max_workers",
        "available_node_types.head.resources.driver",
    ]
