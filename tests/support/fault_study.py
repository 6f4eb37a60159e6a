"""A study for the tests of faults: seven cells of about a second."""

from __future__ import annotations

from dataclasses import dataclass

from tests.support.small_study import SmallStudy


@dataclass(frozen=True, kw_only=True)
class FaultStudy(SmallStudy):
    """The small study with one method: a zero-shot cell and six trainings, each on its own."""

    epochs: int = 40

    num_cells = 1 + 3 * 2

    def __post_init__(self) -> None:
        super().__post_init__()
        file = self.folder / "space.py"
        trained = f"LoRA(n_train=6, epochs={self.epochs})"
        text = file.read_text()
        assert trained in text
        file.write_text(
            text.replace(f"InContext(k=2), LinearProbe(n_train=6), {trained}", f"{trained},")
        )
