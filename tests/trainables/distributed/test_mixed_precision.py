"""16-bit weights are trained as fp32 masters: updates have fp32's size, and states keep them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from pytest import approx
from torch import Tensor

from search_spaces.base_models import BaseModelRef
from search_spaces.recipes import FullFineTuning, LoRA
from tests.support.small_cells import POOL, bytes_of, inputs_of
from trainables.distributed import mixed_precision, single_process
from trainables.distributed.single_process import plain_engine
from trainables.methods.base.interface import Example
from trainables.methods.dispatch import fit, restore
from trainables.methods.training.loop import TrainingError
from trainables.models.loading import DTYPES, Base, load_base
from trainables.models.resolve import resolve_model

EXAMPLES = tuple(Example(item=item, answer=item.answer) for item in POOL[:8])
RECIPE = FullFineTuning(n_train=8, epochs=6, batch_size=2)
"""24 updates."""

SHORT = RECIPE.model_copy(update={"epochs": 1})


@dataclass(frozen=True, kw_only=True, slots=True)
class Trained:
    """What one training on micro-s left."""

    start: Tensor
    """The base's weights before, one after the other."""
    masters: Tensor
    scoring: Tensor
    """The weights that scored."""
    losses: Sequence[float]


def base_in(dtype: str) -> Base:
    return load_base(resolve_model(BaseModelRef(name="micro-s")), dtype, "none", "cpu")


def flat(weights: Mapping[str, Tensor]) -> Tensor:
    return torch.cat([weight.detach().float().flatten() for weight in weights.values()])


def size(update: Tensor, norm: int) -> float:
    return float(torch.linalg.vector_norm(update, norm))


def train(dtype: str, learning_rate: float) -> Trained:
    base = base_in(dtype)
    rows: list[Mapping[str, float]] = []
    recipe = RECIPE.model_copy(update={"learning_rate": learning_rate})
    context = inputs_of(recipe, log=rows.append).context
    start = flat(dict(base.model.named_parameters()))
    with fit(context, base, EXAMPLES) as fitted:
        scoring = flat(dict(base.model.named_parameters()))
        masters = flat(fitted.state())
    assert torch.equal(flat(dict(base.model.named_parameters())), start)
    losses = [row["loss"] for row in rows]
    return Trained(start=start, masters=masters, scoring=scoring, losses=losses)


@pytest.fixture(scope="module", params=[1e-5, 1e-4], ids=["1e-5", "1e-4"])
def learning_rate(request: pytest.FixtureRequest) -> float:
    return float(request.param)


@pytest.fixture(scope="module")
def exact(learning_rate: float) -> Trained:
    return train("float32", learning_rate)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_updates_have_the_size_of_fp32s(dtype: str, learning_rate: float, exact: Trained) -> None:
    """On the masters; and on the weights that score, where fp32's update is cast likewise."""
    trained = train(dtype, learning_rate)
    assert len(trained.losses) == 24
    update = exact.masters - exact.start
    cast = (trained.start + update).to(DTYPES[dtype]).float() - trained.start
    for norm in (1, 2):
        assert size(trained.masters - trained.start, norm) == approx(size(update, norm), rel=0.05)
        assert size(trained.scoring - trained.start, norm) == approx(size(cast, norm), rel=0.05)
    assert torch.equal(trained.scoring, trained.masters.to(DTYPES[dtype]).float())


def test_a_training_in_32_bits_steps_the_models_own_weights() -> None:
    base = base_in("float32")
    weights = dict(base.model.named_parameters())
    masters = mixed_precision.master_weights(base.model)
    assert all(masters[name] is weight for name, weight in weights.items())


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_a_state_keeps_the_masters_and_answers_as_its_training_did(dtype: str) -> None:
    base = base_in(dtype)
    context = inputs_of(SHORT).context
    with fit(context, base, EXAMPLES) as fitted:
        state = fitted.state()
        answers = bytes_of(fitted.answer(POOL[:6]))
    assert {weight.dtype for weight in state.values()} == {torch.float32}
    assert any(not torch.equal(w, w.to(DTYPES[dtype]).float()) for w in state.values())
    with restore(context, base, state) as restored:
        assert bytes_of(restored.answer(POOL[:6])) == answers
        again = restored.state()
    assert all(torch.equal(again[name], weight) for name, weight in state.items())


def test_a_training_goes_on_from_the_masters_of_a_state() -> None:
    """An update of almost nothing leaves them as they are: they were not rounded in between."""
    base = base_in("bfloat16")
    with fit(inputs_of(SHORT).context, base, EXAMPLES) as fitted:
        state = fitted.state()
    still = RECIPE.model_copy(update={"learning_rate": 1e-30, "epochs": 1})
    with fit(inputs_of(still).context, base, EXAMPLES, start=state) as fitted:
        after = fitted.state()
    assert all(torch.equal(after[name], weight) for name, weight in state.items())


@pytest.mark.parametrize("recipe", [SHORT, LoRA(n_train=8, epochs=1, batch_size=2)])
def test_a_gradient_that_leaves_fp16_is_taken_again_with_half_the_scale(
    recipe: FullFineTuning | LoRA, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No update is skipped: 2^32 overflows some twenty times, and the weights are the same."""
    states = []
    for scale in (2.0**10, 2.0**32):
        monkeypatch.setattr(single_process, "FIRST_LOSS_SCALE", scale)
        rows: list[Mapping[str, float]] = []
        context = inputs_of(recipe, log=rows.append).context
        with fit(context, base_in("float16"), EXAMPLES) as fitted:
            states.append(flat(fitted.state()))
        assert len(rows) == recipe.epochs * 4
    update = states[0] - states[1]
    assert torch.linalg.vector_norm(update) < 0.02 * torch.linalg.vector_norm(states[0])


def test_a_gradient_of_fp16_that_no_scale_makes_finite_stops_the_cell() -> None:
    base = base_in("float16")
    context = inputs_of(RECIPE).context

    def spoil(module: object, args: object, output: Any) -> None:
        if output.requires_grad:
            output.register_hook(lambda gradient: gradient * torch.nan)

    handle = base.model.model.layers[-1].mlp.down_proj.register_forward_hook(spoil)
    try:
        with (
            pytest.raises(TrainingError, match="the gradient is not finite at update 1 of 24"),
            fit(context, base, EXAMPLES),
        ):
            pass
    finally:
        handle.remove()


def test_a_checkpoint_holds_masters_and_loss_scale() -> None:
    base = base_in("float16")
    parameters = [p.requires_grad_(True) for p in base.model.parameters()]
    masters = list(mixed_precision.master_weights(base.model).values())
    with plain_engine(base.model, parameters, RECIPE, masters) as engine:
        first = torch.amp.GradScaler("cpu").get_scale()
        assert engine.loss_scale == first  # type: ignore[attr-defined]
        with torch.no_grad():
            masters[0].add_(1e-6)
        engine.loss_scale = 8.0  # type: ignore[attr-defined]
        state = engine.state()
        with torch.no_grad():
            masters[0].zero_()
        engine.loss_scale = 2.0  # type: ignore[attr-defined]
        engine.load_state(state)
        assert engine.loss_scale == 8.0  # type: ignore[attr-defined]
    assert torch.equal(masters[0], state["weight 0"])
    assert torch.equal(parameters[0], masters[0].half())
