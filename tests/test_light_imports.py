"""Commands start at once because heavy packages are imported only where they are needed."""

from __future__ import annotations

import subprocess
import sys

import pytest

NEVER_IMPORTED = {
    "import study.doctor": "ray torch numpy pydantic pyarrow",
    "import study.scarce; study.scarce.main(['--help'])": "ray torch numpy pydantic pyarrow yaml",
    # One study stands for all: `describe` is what `study.spaces` calls for each.
    "from search_spaces.registry import named_spaces; from study.cli.pricing import load_pricing;"
    "from study import models, spaces; models.main([]);"
    "spaces.describe('gap', named_spaces()['gap'], load_pricing(None, None))": (
        "ray torch transformers datasets wandb matplotlib optuna"
    ),
    "import study.status": "ray torch transformers matplotlib",
    "import study.report, study.analysis.surface, study.tracking.tracker": (
        "ray torch transformers matplotlib optuna wandb"
    ),
    "import study.tune": "ray torch transformers matplotlib optuna wandb",
    "import study.data; study.data.main(['micro', '--json'])": (
        "ray torch datasets transformers wandb"
    ),
    "from search_spaces.registry import named_spaces; named_spaces()": (
        "ray torch numpy transformers"
    ),
    # Lives on every worker node for the whole study.
    "import trainables.cluster.spot_watcher": "ray torch numpy pydantic",
    "import trainables.models.resolve": "torch",
    "import trainables.data.lab.base_models": "torch",
    "from study.sweep import main; main(['micro', '--dry-run'])": "ray torch transformers",
}
"""Program -> packages."""


@pytest.mark.parametrize("program", NEVER_IMPORTED)
def test_a_program_imports_no_heavy_package(program: str) -> None:
    code = f"import sys; {program}; print('imported', *sys.modules)"
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    *_, imported = ended.stdout.splitlines() or [""]
    assert imported.startswith("imported"), ended.stderr
    assert not set(NEVER_IMPORTED[program].split()) & set(imported.split())
