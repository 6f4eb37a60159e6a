"""What SECURITY.md promises, held against the code and against a study that is really run."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
from functools import cache
from pathlib import Path
from types import ModuleType

import pytest

from study import data, measure, plan, sweep, tune
from study.artifacts.study_folder import open_run
from study.cli.command import BAD_INPUT, OK
from study.sweep import main
from trainables.errors import StorageError
from trainables.storage.addresses import fault_of
from trainables.storage.filesystem import open_storage

ROOT = Path(__file__).parents[1]
PACKAGES = ("search_spaces", "trainables", "study")

SERIALIZERS = {"pickle", "cPickle", "dill", "cloudpickle", "joblib", "shelve", "marshal"}
"""Modules whose reading runs code that the data names."""

RUNS_TEXT = {"eval", "exec", "compile", "os.system", "os.popen", "subprocess.getoutput"}

COMMIT = re.compile(r"[0-9a-f]{40}")


@cache
def sources() -> tuple[tuple[str, ast.Module], ...]:
    paths = [path for package in PACKAGES for path in sorted((ROOT / package).rglob("*.py"))]
    return tuple((str(path.relative_to(ROOT)), ast.parse(path.read_text())) for path in paths)


@cache
def calls() -> tuple[tuple[str, str, dict[str | None, ast.expr]], ...]:
    """Every call: where, the name as written, its keywords (None: `**mapping`)."""
    return tuple(
        (
            f"{where}:{node.lineno}",
            ast.unparse(node.func),
            {keyword.arg: keyword.value for keyword in node.keywords},
        )
        for where, tree in sources()
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
    )


def value_of(node: ast.expr | None) -> object:
    return node.value if isinstance(node, ast.Constant) else None


def test_no_module_is_imported_that_reads_code_from_data() -> None:
    found = []
    for where, tree in sources():
        for node in ast.walk(tree):
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                names = [node.module or ""]
            else:
                continue
            found += [f"{where}: {n}" for n in names if n.partition(".")[0] in SERIALIZERS]
    assert found == []


def test_nothing_that_is_read_can_run_code() -> None:
    found = []
    for where, name, keywords in calls():
        is_bad = (
            (name == "torch.load" and value_of(keywords.get("weights_only")) is not True)
            or (name in ("np.load", "numpy.load") and value_of(keywords.get("allow_pickle")))
            or name.endswith("read_pickle")
            or name in ("yaml.unsafe_load", "yaml.full_load", "yaml.load_all")
        )
        found += [f"{where}: {name}"] if is_bad else []
    assert found == []


def test_yaml_is_read_by_a_safe_loader() -> None:
    used = {name for _, name, _ in calls() if name.startswith("yaml.")}
    assert used <= {"yaml.safe_load", "yaml.safe_load_all"}


def test_yaml_that_names_code_is_refused(tmp_path: Path) -> None:
    from study.cluster import read_documents

    file = tmp_path / "cluster.yaml"
    file.write_text(f"a: !!python/object/apply:os.mkdir ['{tmp_path}/made']")
    with pytest.raises(ValueError, match="is not YAML"):
        read_documents(file)
    assert not (tmp_path / "made").exists()


def test_no_text_is_run() -> None:
    found = [f"{where}: {name}" for where, name, _ in calls() if name in RUNS_TEXT]
    found += [
        f"{where}: {name}(shell=...)" for where, name, keywords in calls() if "shell" in keywords
    ]
    assert found == []


def test_models_never_bring_code_of_their_own_and_are_pinned() -> None:
    loads = [
        (where, name, keywords)
        for where, name, keywords in calls()
        if name.endswith(".from_pretrained")
    ]
    assert loads, "the rule would be empty"
    for where, name, keywords in loads:
        assert value_of(keywords.get("trust_remote_code")) is False, f"{where}: {name}"
        is_own_folder = where.startswith("trainables/data/lab/")  # comes with the repository
        assert is_own_folder or "revision" in keywords, f"{where}: {name}"
        if "Model" in name:
            assert value_of(keywords.get("use_safetensors")) is True, f"{where}: {name}"
    for where, tree in sources():
        for node in ast.walk(tree):
            if isinstance(node, ast.keyword) and node.arg == "trust_remote_code":
                assert value_of(node.value) is False, where
            assert not (isinstance(node, ast.Constant) and node.value == "trust_remote_code"), where


def test_data_sets_of_the_hub_are_pinned_to_a_commit() -> None:
    constants = {
        (where, target.id): node.value.value
        for where, tree in sources()
        for node in ast.walk(tree)
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant)
        for target in node.targets
        if isinstance(target, ast.Name)
    }
    hubs = [(place, kw["revision"]) for place, name, kw in calls() if name == "HubSource"]
    assert len(hubs) >= 4
    for place, revision in hubs:
        if "tasks/questions/own.py" in place:
            continue  # the user's data set, with the revision of the user's space
        text = value_of(revision)
        if isinstance(revision, ast.Name):
            text = constants[place.partition(":")[0], revision.id]
        assert isinstance(text, str) and COMMIT.fullmatch(text), place
    for place, name, keywords in calls():
        if name == "datasets.load_dataset":
            # None is the key of `**options`: a copy on this disk has no revision.
            assert {"revision", None} & keywords.keys(), place
            assert "trust_remote_code" not in keywords, place


def test_dashboard_is_never_bound_to_other_addresses() -> None:
    hosts = [value_of(kw["dashboard_host"]) for _, _, kw in calls() if "dashboard_host" in kw]
    assert set(hosts) <= {"127.0.0.1"}


@pytest.mark.ray
def test_local_ray_asks_for_a_token_and_answers_on_this_machine_only() -> None:
    """In a process of its own: Ray reads the mode once a process."""
    code = (
        "import os; from trainables.cluster import ray_executor\n"
        "with ray_executor.connect(None):\n"
        "    import ray\n"
        "    print('mode', os.environ.get('RAY_AUTH_MODE'))\n"
        "    print('dashboard', ray._private.worker.get_dashboard_url() or 'none')\n"
    )
    environment = {k: v for k, v in os.environ.items() if not k.startswith("RAY_")}
    found = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=environment, cwd=ROOT
    )
    assert "mode token" in found.stdout, found.stdout + found.stderr[-2000:]
    dashboard = re.search(r"dashboard (\S*)", found.stdout)
    assert dashboard is not None and dashboard.group(1).startswith(
        ("none", "127.0.0.1", "localhost")
    )


SECRETS = {
    "AWS_SECRET_ACCESS_KEY": "aws-secret-7f3a91",
    "AWS_SESSION_TOKEN": "aws-session-7f3a91",
    "HF_TOKEN": "hf_secret7f3a91",
    "WANDB_API_KEY": "wandbsecret7f3a91" * 2,
    "RAY_AUTH_TOKEN": "ray-secret-7f3a91",
}


def test_no_secret_of_the_environment_is_printed_or_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """A whole study, with its plan, records, report and offline W&B runs."""
    from tests.support.small_study import TINY_SPACE, SmallStudy

    for name, secret in SECRETS.items():
        monkeypatch.setenv(name, secret)
    monkeypatch.setenv("WANDB_MODE", "offline")
    study = SmallStudy(folder=tmp_path / "study")
    (tmp_path / "study" / "space.py").write_text(TINY_SPACE)
    space, *rest = study.arguments
    out = tmp_path / "runs"
    space = space.replace(":small", ":tiny")
    assert main([space, *rest, "--out", str(out), "--address", "in-process"]) == OK
    files = [path for path in out.rglob("*") if path.is_file()]
    names = {path.name for path in files}
    assert {"plan.json", "record.json", "index.html"} <= names
    assert any(name.endswith(".wandb") for name in names), "W&B wrote its offline runs"
    kept = {path: path.read_bytes() for path in files}
    said = "".join(capfd.readouterr()).encode()
    for secret in SECRETS.values():
        assert secret.encode() not in said
        assert [str(path) for path, text in kept.items() if secret.encode() in text] == []


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("s3://AKIAKEY:se/cret@bucket/runs", "must not contain keys"),
        ("gs://user@bucket/runs", "must not contain keys"),
        ("s3://Bucket/runs", "is not a bucket name"),
        ("s3://b/runs", "is not a bucket name"),
        ("s3://bucket/../other", r"must not contain '\.\.'"),
        ("gs://buck et/runs", "is not a bucket name"),
        ("file:///etc", "is a local path, s3"),
    ],
)
def test_bucket_addresses_are_checked_and_keys_in_them_not_repeated(
    address: str, message: str
) -> None:
    with pytest.raises(StorageError, match=message) as refused:
        open_storage(address)
    assert "se/cret" not in str(refused.value)


@pytest.mark.parametrize(
    ("address", "meant"),
    [
        ("s3:/bucket/x", "s3://bucket/x"),
        ("s3:bucket/x", "s3://bucket/x"),
        ("S3://bucket/x", "s3://bucket/x"),
        ("s3a://bucket/x", "s3://bucket/x"),
        ("gs:/bucket/x", "gs://bucket/x"),
        ("gcs://bucket/x", "gs://bucket/x"),
        ("file:///tmp/x", "/tmp/x"),
        ("file:runs/x", "runs/x"),
        ("http://host:9000/bucket/x", "s3://bucket/x?endpoint_override=host:9000&scheme=http"),
    ],
)
def test_a_mistyped_address_is_refused_with_the_one_that_was_meant(
    address: str, meant: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for opened in (open_storage, open_run):
        with pytest.raises(ValueError, match=re.escape(f"did you mean '{meant}'?")):
            opened(address)
    assert list(tmp_path.iterdir()) == []
    assert fault_of(meant) is None or "://" not in meant


@pytest.mark.parametrize("address", ["s3:/key:secret@bucket/x", "s3:/bucket/x?secret_key=secret"])
def test_a_mistyped_address_is_not_repeated_with_its_secrets(address: str) -> None:
    with pytest.raises(StorageError) as refused:
        open_storage(address)
    assert "secret" not in str(refused.value)


def test_a_colon_may_stand_in_a_local_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for path in ("runs/12:30", "night:2", "2026-11-29T12:30", "./s3:/bucket"):
        assert open_storage(path).root == str(tmp_path / path)


@pytest.mark.parametrize("command", [sweep, plan, measure, tune, data])
def test_a_mistyped_address_is_refused_before_any_work(
    command: ModuleType,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    extra = ["--method", "lora"] if command is tune else []
    name = "arc" if command is data else "micro"
    assert command.main([name, "--out", "s3:/bucket/x", *extra]) == BAD_INPUT
    assert "did you mean 's3://bucket/x'?" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_keys_of_files_stay_inside_the_run_folder(tmp_path: Path) -> None:
    storage = open_storage(str(tmp_path / "runs"))
    for key in ("../other", "/etc/passwd", "cells/../../other", ""):
        with pytest.raises(StorageError):
            storage.write_bytes(key, b"")
    assert list(tmp_path.iterdir()) == []
