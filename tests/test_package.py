"""The package as users get it: an image's steps in a second environment, far from the sources."""

from __future__ import annotations

import os
import shlex
import shutil
import site
import subprocess
import tomllib
import venv
from collections.abc import Iterator
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("search_spaces", "study", "trainables")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
STEPS = ("dependencies", "package", "check")


@dataclass(frozen=True, kw_only=True)
class Image:
    """A folder and an environment in which the lines of a Dockerfile have been executed."""

    folder: Path
    environment: Path
    outputs: list[str] = field(default_factory=list)
    """What each RUN printed."""

    @property
    def installed(self) -> Path:
        """Where the environment's packages are."""
        return next(self.environment.glob("lib/python*/site-packages"))

    def copy(self, arguments: list[str]) -> None:
        *sources, target = (name for name in arguments if not name.startswith("--"))
        for name in sources:
            source, place = ROOT / name, self.folder / target
            if source.is_dir():
                ignored = shutil.ignore_patterns("__pycache__")
                shutil.copytree(source, place, ignore=ignored)
            else:
                place.mkdir(parents=True, exist_ok=True)
                shutil.copy(source, place)

    def run(self, command: list[str]) -> None:
        ended = subprocess.run(
            command,
            cwd=self.folder,
            env=clean_environment() | {"PYTHON": str(self.environment / "bin" / "python")},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        assert ended.returncode == 0, ended.stdout
        self.outputs.append(ended.stdout)


def clean_environment() -> dict[str, str]:
    """The environment variables of this process, with which the sources would not be found."""
    return {name: value for name, value in os.environ.items() if name != "PYTHONPATH"} | {
        "PIP_NO_COMPILE": "1",
        "PIP_NO_DEPS": "1",  # all are here, and to resolve them takes pip 9 s
        "PIP_DISABLE_PIP_VERSION_CHECK": "1",
    }


def is_installed(name: str) -> bool:
    try:
        return bool(version(name))
    except PackageNotFoundError:
        return False


def instructions() -> Iterator[tuple[str, list[str]]]:
    """Yields the instructions of the Dockerfile with their arguments."""
    text = (ROOT / "deploy" / "Dockerfile").read_text(encoding="utf-8").replace("\\\n", " ")
    for line in text.splitlines():
        if line and not line.startswith("#"):
            name, arguments = line.split(maxsplit=1)
            yield name, shlex.split(arguments)


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Image:
    folder = tmp_path_factory.mktemp("image")
    image = Image(folder=folder / "sources", environment=folder / "environment")
    venv.create(image.environment, symlinks=True)
    # Its packages are those of this environment, except for the project itself.
    (image.installed / "tests.pth").write_text("\n".join(site.getsitepackages()) + "\n")
    for name, arguments in instructions():
        if name == "COPY":
            image.copy(arguments)
        elif name == "RUN":
            image.run(arguments)
    return image


def test_the_image_is_made_by_the_script_alone() -> None:
    found = list(instructions())
    runs = [arguments for name, arguments in found if name == "RUN"]
    assert runs == [["deploy/install.sh", step] for step in STEPS]
    assert {name for name, _ in found} == {"FROM", "WORKDIR", "COPY", "RUN", "CMD"}


def test_the_image_has_the_pinned_packages(image: Image) -> None:
    """Nothing is fetched, unless this environment lacks it."""
    lines = image.outputs[0].splitlines()
    here = [line for line in lines if line.startswith("Requirement already satisfied: ")]
    fetched = {line.split()[1].split("==")[0] for line in lines if line.startswith("Collecting ")}
    assert not any(map(is_installed, fetched))
    needed = PROJECT["build-system"]["requires"] + PROJECT["project"]["dependencies"]
    assert len(here) + len(fetched) == len(needed)


def test_every_file_of_the_sources_is_installed(image: Image) -> None:
    """Code, weights, tables, templates, scripts with their licences, markers of types."""
    for package in PACKAGES:
        source = {
            path.relative_to(ROOT): path.stat().st_size
            for path in (ROOT / package).rglob("*")
            if path.is_file() and "__pycache__" not in path.parts
        }
        installed = {
            path.relative_to(image.installed): path.stat().st_size
            for path in (image.installed / package).rglob("*")
            if path.is_file() and "__pycache__" not in path.parts
        }
        assert Path(package, "py.typed") in source
        assert installed == source


def test_the_installed_program_plans_and_runs_a_study(image: Image) -> None:
    output = image.outputs[2]
    assert "Space micro\n" in output and "30 distinct" in output
    assert "Space smoke\n" in output and "3 distinct" in output
    assert "smoke/report/index.html" in output


def test_the_program_is_installed_under_its_name(image: Image, tmp_path: Path) -> None:
    code = "import study.scarce; print(study.scarce.__file__); study.scarce.main(['--version'])"
    python = image.environment / "bin" / "python"
    ended = subprocess.run(
        [python, "-c", code], cwd=tmp_path, env=clean_environment(), capture_output=True, text=True
    )
    file, printed = ended.stdout.splitlines()
    assert Path(file).is_relative_to(image.installed)
    assert printed == f"scarce-labels {PROJECT['project']['version']}"
