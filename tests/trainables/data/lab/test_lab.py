"""The lab: its world, its pretraining text, its tokenizer and the models that ship."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedTokenizerBase

from trainables.data.lab.base_models import MICRO_MODELS
from trainables.data.lab.documents import Sheet, draw_sheet
from trainables.data.lab.pretrain import (
    IGNORED,
    SIZES,
    batches,
    context_length,
    learning_rate,
    load_state,
    loss_parts,
    new_model,
    save,
    save_state,
)
from trainables.data.lab.tokenizer import train_tokenizer
from trainables.data.lab.world import NamedRandom, draw_problem, grade_of
from trainables.data.tasks.questions.micro import load_micro

GAINS = {"finds", "buys", "wins", "makes", "gets"}
LOSSES = {"loses", "sells", "drops", "uses", "gives"}
CARD = Path(MICRO_MODELS["micro-l"]).parent / "README.md"


@pytest.fixture(scope="module")
def sheets() -> list[Sheet]:
    draw = NamedRandom("test sheets")
    return [draw_sheet(draw, 8, late=place % 2 == 1) for place in range(400)]


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerBase:
    return AutoTokenizer.from_pretrained(MICRO_MODELS["micro-l"])


# The world and its text


def test_draws_are_fixed_and_named() -> None:
    draw = NamedRandom("a", 1)
    assert [draw.integer(0, 999) for _ in range(3)] == [775, 692, 448]
    assert NamedRandom("a", 1).shuffled(range(6)) != NamedRandom("a", 2).shuffled(range(6))


def test_integers_cover_both_ends() -> None:
    draw = NamedRandom("ends")
    assert {draw.integer(2, 4) for _ in range(200)} == {2, 3, 4}


@pytest.mark.parametrize(("steps", "grade"), [(0, 1), (7, 1), (1, 0), (1, 5)])
def test_a_problem_out_of_range_is_refused(steps: int, grade: int) -> None:
    with pytest.raises(ValueError, match="must be 1 to"):
        draw_problem(NamedRandom("x"), steps, grade, 0)


@pytest.mark.parametrize(("largest", "grade"), [(4, 1), (6, 1), (7, 2), (12, 3), (13, 4), (15, 4)])
def test_grade_bands(largest: int, grade: int) -> None:
    assert grade_of([0, largest, 2]) == grade


@pytest.mark.parametrize("largest", [3, 16])
def test_a_total_outside_every_band_is_refused(largest: int) -> None:
    with pytest.raises(ValueError, match="largest total"):
        grade_of([largest])


@pytest.mark.parametrize("late", [False, True])
def test_every_stated_total_is_right(late: bool) -> None:
    draw = NamedRandom("totals")
    for _ in range(400):
        sheet = draw_sheet(draw, 1, late)
        assert sheet.results
        for start, end in sheet.results:
            assert int(sheet.text[start:end].split()[0]) == total_up_to(sheet.text[:start])


def total_up_to(text: str) -> int:
    """Adds up the clauses of one problem; knows nothing of how it was written."""
    total = int(re.search(r"\d+", text)[0])
    clauses = text.replace("that makes", "that is").replace("which gives", "which is")
    for verb, amount in re.findall(r"\b([a-z]+)(?: (\d+)| them)", clauses):
        if verb == "doubles":
            total *= 2
        elif verb in GAINS | LOSSES:
            total += int(amount) * (1 if verb in GAINS else -1)
    return total


def test_no_question_stands_in_the_pretraining_text(sheets: list[Sheet]) -> None:
    text = "\n".join(sheet.text for sheet in sheets)
    assert "?" not in text
    assert "Question:" not in text
    assert "Answer:" not in text
    for item in load_micro():
        first, last = item.question.split(". ")[0], item.question.split(". ")[-1]
        assert item.question not in text
        assert f"{first}." not in text
        assert last not in text


@pytest.mark.parametrize(("late", "direct"), [(False, 1 / 3), (True, 2 / 3)])
def test_some_sheets_are_worked_and_some_direct(late: bool, direct: float) -> None:
    draw = NamedRandom("worked")
    per_problem = [len(draw_sheet(draw, 8, late).results) / 8 for _ in range(400)]
    assert abs(sum(count == 1 for count in per_problem) / 400 - direct) < 0.1


def test_late_sheets_bring_further_forms() -> None:
    early, late = NamedRandom("forms"), NamedRandom("forms")
    early_text = "".join(draw_sheet(early, 1).text for _ in range(300))
    late_text = "".join(draw_sheet(late, 1, late=True).text for _ in range(300))
    for form in ("to begin with", "goes out with", "does have now", " and "):
        assert form in late_text
    assert "to begin with" not in early_text


# The tokenizer


@pytest.mark.parametrize(
    "text", ["a\u00f1o \u4e16\u754c \U0001f642\n\tx", "", " 7  7", "CO2 -> O\x00"]
)
def test_any_text_round_trips(tokenizer: PreTrainedTokenizerBase, text: str) -> None:
    ids = tokenizer(text).input_ids
    assert ids[0] == tokenizer.bos_token_id
    assert tokenizer.decode(ids, skip_special_tokens=True) == text


def test_numbers_are_one_token(tokenizer: PreTrainedTokenizerBase) -> None:
    assert all(len(tokenizer.tokenize(f" {number}")) == 1 for number in range(100))


def test_answers_have_one_to_four_tokens(tokenizer: PreTrainedTokenizerBase) -> None:
    choices = {f" {choice}" for item in load_micro() for choice in item.choices}
    assert {len(tokenizer.tokenize(choice)) for choice in choices} == {1, 2, 3, 4}


def test_special_tokens_are_three_different_ones(tokenizer: PreTrainedTokenizerBase) -> None:
    special = {tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.pad_token_id}
    assert len(special) == 3
    assert None not in special


def test_prompts_of_eight_examples_are_in_range(tokenizer: PreTrainedTokenizerBase) -> None:
    items = load_micro()
    lengths = [len(ids) for ids in tokenizer([item.question for item in items]).input_ids]
    assert max(lengths) <= 90
    assert sum(sorted(lengths)[-9:]) + 9 * 12 <= 1024  # 12: the format and the answer


def test_the_shipped_tokenizer_is_remade_exactly(
    tokenizer: PreTrainedTokenizerBase, tmp_path: Path
) -> None:
    train_tokenizer().save_pretrained(tmp_path)
    for folder in MICRO_MODELS.values():
        for name in ("tokenizer.json", "tokenizer_config.json"):
            assert (folder / name).read_bytes() == (tmp_path / name).read_bytes()


# Pretraining


def test_late_text_is_in_short_and_long_contexts() -> None:
    size = SIZES["s"]
    assert {context_length(step, size) for step in range(size.late_from)} == {128}
    late = [context_length(step, size) for step in range(size.late_from, size.late_from + 300)]
    assert late.count(1024) == 100 and late.count(128) == 200


def test_learning_rate_rises_to_its_peak_and_stays() -> None:
    assert learning_rate(0, 2.0) == pytest.approx(0.01)
    assert learning_rate(199, 2.0) == learning_rate(5000, 2.0) == 2.0


def test_results_mark_the_tokens_of_stated_totals() -> None:
    tokenizer = train_tokenizer()
    batch = next(batches(tokenizer, SIZES["s"], 10))
    assert batch.tokens.shape == (64, 128)
    assert (batch.tokens[:, 0] == tokenizer.bos_token_id).all()
    marked = tokenizer.convert_ids_to_tokens(batch.tokens[batch.results].tolist())
    numbers = [token for token in marked if token.lstrip("\u0120").isdigit()]
    assert 0.05 < batch.results.float().mean() < 0.4
    assert len(numbers) / len(marked) > 0.5
    assert (batch.targets == IGNORED).float().mean() < 0.05


def test_a_resumed_run_goes_on_with_the_same_state(tmp_path: Path) -> None:
    tokenizer = train_tokenizer()
    model = new_model(SIZES["s"], tokenizer)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    steps = list(zip(range(3), batches(tokenizer, SIZES["s"], 10), strict=False))

    def step(model: torch.nn.Module, optimizer: torch.optim.Optimizer, place: int) -> None:
        sum(loss_parts(model, steps[place][1])).backward()
        optimizer.step()
        optimizer.zero_grad()

    step(model, optimizer, 0)
    save(model, tokenizer, [{"step": 0, "loss": 1.0}], tmp_path)
    save_state(model, optimizer, tmp_path)
    step(model, optimizer, 1)
    resumed = new_model(SIZES["s"], tokenizer)
    resumed_optimizer = torch.optim.AdamW(resumed.parameters(), lr=1e-3)
    assert load_state(resumed, resumed_optimizer, tmp_path)[-1]["step"] == 0
    step(resumed, resumed_optimizer, 1)
    for ours, theirs in zip(model.parameters(), resumed.parameters(), strict=True):
        assert torch.equal(ours, theirs)


def test_no_state_is_a_fresh_start(tmp_path: Path) -> None:
    model = new_model(SIZES["s"], train_tokenizer())
    assert load_state(model, torch.optim.AdamW(model.parameters()), tmp_path) == []


# The models that ship


def test_the_models_are_small_and_span_a_wide_range() -> None:
    counts = []
    for size, folder in zip("sml", MICRO_MODELS.values(), strict=True):
        model = AutoModelForCausalLM.from_pretrained(folder)
        counts.append(model.num_parameters())
        assert model.config.model_type == "llama"
        assert model.config.max_position_embeddings == 2048
        assert model.config.hidden_size == SIZES[size].hidden
        assert all(weight.dtype == torch.float32 for weight in model.parameters())
    assert counts == sorted(counts)
    assert counts[-1] <= 1_500_000
    assert counts[-1] >= 8 * counts[0]


@pytest.mark.parametrize("name", MICRO_MODELS)
def test_the_card_names_the_weights_that_ship(name: str) -> None:
    digest = hashlib.sha256((MICRO_MODELS[name] / "model.safetensors").read_bytes()).hexdigest()
    assert re.findall(rf"\| `{name}` \|.*`([0-9a-f]{{64}})`", CARD.read_text()) == [digest]
