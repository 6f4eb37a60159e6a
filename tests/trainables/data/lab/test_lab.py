"""The lab: its world, its pretraining text, its tokenizer and the models that ship."""

from __future__ import annotations

import hashlib
import re
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    LlamaForCausalLM,
    PreTrainedTokenizerBase,
)

from trainables.data.lab.base_models import MICRO_MODELS
from trainables.data.lab.documents import RULES, Episode, draw_episode, total_asked
from trainables.data.lab.preferences import preference_questions
from trainables.data.lab.pretrain import (
    EARLY_STEPS,
    IGNORED,
    LONG_CONTEXT,
    SHORT_CONTEXT,
    SIZES,
    PretrainingBatch,
    batches,
    context_length,
    learning_rate,
    load_state,
    loss_parts,
    new_model,
    new_optimizers,
    save,
    save_state,
    update,
)
from trainables.data.lab.questions import task_questions
from trainables.data.lab.tokenizer import train_tokenizer
from trainables.data.lab.world import NamedRandom, draw_problem, grade_of
from trainables.data.tasks.questions.micro import load_micro

GAINS = {"finds", "buys", "wins", "makes", "gets"}
LOSSES = {"loses", "sells", "drops", "uses", "gives"}
CARD = Path(MICRO_MODELS["micro-l"]).parent / "README.md"


@pytest.fixture(scope="module")
def episodes() -> list[Episode]:
    draw = NamedRandom("test episodes")
    return [draw_episode(draw, 300, early=place % 2 == 0) for place in range(300)]


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


ANSWER = "\nAnswer: "


def test_every_total_on_the_way_is_right(episodes: list[Episode]) -> None:
    for episode in episodes:
        for start, end in episode.results:
            story = episode.text[:start].split("\n\n")[-1]
            if not story.endswith(ANSWER):
                assert int(episode.text[start:end]) == totals_of(story)[-1]


def test_all_answers_of_an_episode_follow_one_rule(episodes: list[Episode]) -> None:
    """The named one, if the first line names one."""
    places = {"final": -1, "start": 0, "before last": -2}
    for episode in episodes:
        head, *_ = episode.text.split("\n\n", 1)
        blocks = [block for block in episode.text.split("\n\n") if ANSWER in block]
        possible = set()
        for rule in RULES:
            asked = [totals_of(block.split(ANSWER)[0]) for block in blocks]
            wanted = [t[places.get(rule, min(2, len(t) - 1))] for t in asked]
            if wanted == [int(block.split(ANSWER)[1].split()[0]) for block in blocks]:
                possible.add(rule)
        named = {rule for rule, line in RULES.items() if line == head}
        assert possible and named <= possible


def totals_of(text: str) -> list[int]:
    """Adds up the clauses of one problem; knows nothing of how it was written."""
    owner = re.search(r"\b([A-Z][a-z]+) (?:has|goes)", text)[1]
    totals = [int(re.search(r"\d+", text)[0])]
    for sentence in text.split(". "):
        if not re.match(rf"(?:He|She|{owner}) ", sentence):
            continue
        for verb, amount in re.findall(r"\b([a-z]+)(?: (\d+)\b| them)", sentence):
            if verb == "doubles":
                totals.append(2 * totals[-1])
            elif verb in GAINS | LOSSES:
                totals.append(totals[-1] + int(amount) * (1 if verb in GAINS else -1))
    return totals


def test_a_rule_asks_for_its_total() -> None:
    problem = draw_problem(NamedRandom("rules"), 5, 2, 0)
    totals = problem.totals
    asked = {rule: total_asked(problem, rule) for rule in RULES}
    assert asked == {
        "final": totals[5], "start": totals[0], "before last": totals[4], "second": totals[2]
    }  # fmt: skip
    short = draw_problem(NamedRandom("rules"), 1, 2, 0)
    assert total_asked(short, "second") == short.answer


def test_early_episodes_name_their_rule_and_half_of_the_late_ones(episodes: list[Episode]) -> None:
    named = [episode.text.startswith(tuple(RULES.values())) for episode in episodes]
    assert all(named[0::2])
    assert 0.35 < sum(named[1::2]) / 150 < 0.65


def test_late_episodes_state_fewer_totals_on_the_way(episodes: list[Episode]) -> None:
    on_the_way = [len(e.results) / e.text.count(ANSWER) - 1 for e in episodes]
    assert sum(on_the_way[0::2]) > 2 * sum(on_the_way[1::2])
    assert sum(share == 0 for share in on_the_way[1::2]) > 75


def test_no_question_of_the_tasks_is_in_the_pretraining_text(episodes: list[Episode]) -> None:
    questions = {q.text for q in (*task_questions(), *preference_questions())}
    text = "".join(episode.text for episode in episodes)
    blocks = [block.split(ANSWER)[0] for block in text.split("\n\n")]
    assert len(blocks) > 1500 and not questions & set(blocks)


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
    assert {context_length(step) for step in range(EARLY_STEPS)} == {SHORT_CONTEXT}
    late = [context_length(step) for step in range(EARLY_STEPS, EARLY_STEPS + 300)]
    assert late.count(LONG_CONTEXT) == 100 and late.count(SHORT_CONTEXT) == 200


def test_learning_rate_rises_stays_and_falls() -> None:
    assert learning_rate(0, 1000) == pytest.approx(0.02)
    assert learning_rate(49, 1000) == learning_rate(700, 1000) == 1.0
    assert learning_rate(850, 1000) == pytest.approx(0.5)
    assert 0 < learning_rate(999, 1000) < 0.01


def test_results_mark_the_tokens_of_stated_totals() -> None:
    tokenizer = train_tokenizer()
    batch = next(batches(tokenizer, 10))
    assert batch.tokens.shape == (64, 128)
    assert (batch.tokens[:, 0] == tokenizer.bos_token_id).all()
    marked = tokenizer.convert_ids_to_tokens(batch.tokens[batch.results].tolist())
    numbers = [token for token in marked if token.lstrip("\u0120").isdigit()]
    assert 0.05 < batch.results.float().mean() < 0.4
    assert len(numbers) / len(marked) > 0.5
    assert (batch.targets == IGNORED).float().mean() < 0.05


def test_a_resumed_run_has_the_same_state(tmp_path: Path) -> None:
    tokenizer = train_tokenizer()
    model = new_model(SIZES["s"], tokenizer)
    optimizers = new_optimizers(model)
    steps = list(batches(tokenizer, 2))
    train(model, optimizers, steps[0])
    save(model, tokenizer, [{"step": 0, "loss": 1.0}], tmp_path)
    save_state(model, optimizers, tmp_path)
    train(model, optimizers, steps[1])
    resumed = new_model(SIZES["s"], tokenizer)
    resumed_optimizers = new_optimizers(resumed)
    assert load_state(resumed, resumed_optimizers, tmp_path)[-1]["step"] == 0
    train(resumed, resumed_optimizers, steps[1])
    for ours, theirs in zip(model.parameters(), resumed.parameters(), strict=True):
        assert torch.equal(ours, theirs)


def train(
    model: LlamaForCausalLM,
    optimizers: tuple[torch.optim.Optimizer, ...],
    batch: PretrainingBatch,
) -> None:
    sum(loss_parts(model, batch)).backward()
    update(optimizers, 0.5)


def test_every_weight_has_one_optimizer() -> None:
    model = new_model(SIZES["s"], train_tokenizer())
    groups = [group for optimizer in new_optimizers(model) for group in optimizer.param_groups]
    weights = [id(weight) for group in groups for weight in group["params"]]
    assert sorted(weights) == sorted(id(weight) for weight in model.parameters())


def test_no_state_is_a_fresh_start(tmp_path: Path) -> None:
    model = new_model(SIZES["s"], train_tokenizer())
    assert load_state(model, new_optimizers(model), tmp_path) == []


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
    assert counts[-1] <= 3_000_000
    assert all(large >= 3 * small for small, large in pairwise(counts))


@pytest.mark.parametrize("name", MICRO_MODELS)
def test_the_card_names_the_weights_that_ship(name: str) -> None:
    digest = hashlib.sha256((MICRO_MODELS[name] / "model.safetensors").read_bytes()).hexdigest()
    assert re.findall(rf"\| `{name}` \|.*`([0-9a-f]{{64}})`", CARD.read_text()) == [digest]
