"""Generation against one prompt at a time, read whole for every token, on random models."""

from __future__ import annotations

import random
import re
import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import pytest
import torch
from tokenizers import Tokenizer as Backend
from tokenizers import decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from tests.support.tiny_models import CONFIGS, make_items, make_model, make_tokenizer, words
from trainables.inference.decoding import filled_up
from trainables.inference.generation import (
    GeneratedSequence,
    Generation,
    StoppingCriteria,
    find_cache_fault,
    generate_tokens,
    tokenize_prompts,
)

PROMPTS = [f"Question: {item.question}\nAnswer:" for item in make_items(7)]
PREFIX = f"Question: {' '.join(words()[:12])}?\nAnswer: {words()[3]}\n\n"
BUDGET = 8
NEAR_TIE = 1e-3
"""Two best logits nearer than this may change places with the order of a sum."""


def generate(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerFast,
    prompts: Sequence[str],
    *,
    prefix: str = "",
    token_budget: int | None = None,
    stops: Sequence[str] = (),
    **rule: object,
) -> list[Generation]:
    """Returns the greedy continuation of each `prefix + prompt`; notes become warnings."""
    criteria = StoppingCriteria(stops=tuple(stops), **rule)  # type: ignore[arg-type]
    tokenized = tokenize_prompts(tokenizer, prompts, prefix)
    made = generate_tokens(model, tokenizer, tokenized, criteria, token_budget=token_budget)
    for note in made.notes:
        warnings.warn(note, stacklevel=2)
    return made.generations


@dataclass(frozen=True)
class Whole:
    """A continuation by whole forwards, up to EOS, the budget or the first near tie."""

    tokens: tuple[int, ...]
    has_tie: bool


def untied(name: str) -> PreTrainedModel:
    """Returns a random model that does not only repeat its last token."""
    model = make_model(name)
    head = model.get_output_embeddings()
    if head.weight is model.get_input_embeddings().weight:
        weight = torch.randn(head.weight.shape, generator=torch.Generator().manual_seed(1))
        head.weight = torch.nn.Parameter(weight * 0.08)  # as large as the input embeddings
    return model


def read_whole(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, text: str, eos: Sequence[int] = (0,)
) -> Whole:
    ids = [0, *tokenizer(text, add_special_tokens=False)["input_ids"]]
    start = len(ids)
    while len(ids) - start < BUDGET and ids[-1] not in eos[: len(ids) - start]:
        with torch.no_grad():
            best = model(torch.tensor([ids]), use_cache=False).logits[0, -1].topk(2)
        if best.values[0] - best.values[1] < NEAR_TIE:
            return Whole(tuple(ids[start:]), has_tie=True)
        ids.append(int(best.indices[0]))
    return Whole(tuple(ids[start:]), has_tie=False)


def assert_same(got: Sequence[Generation], expected: Sequence[Whole]) -> None:
    assert sum(not whole.has_tie for whole in expected) > len(expected) / 2
    for made, whole in zip(got, expected, strict=True):
        if whole.has_tie:
            assert made.tokens[: len(whole.tokens)] == whole.tokens
        else:
            assert made.tokens == whole.tokens


@pytest.mark.parametrize("prefix", ["", PREFIX], ids=["no prefix", "prefix"])
@pytest.mark.parametrize("name", [name for name in CONFIGS if name != "bloom"])
def test_every_architecture_generates_what_whole_texts_give(name: str, prefix: str) -> None:
    model, tokenizer = untied(name), make_tokenizer("bytes")
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # the slow way would warn
        got = generate(
            model, tokenizer, PROMPTS, prefix=prefix, max_new_tokens=BUDGET, token_budget=400
        )
    assert_same(got, [read_whole(model, tokenizer, prefix + prompt) for prompt in PROMPTS])
    assert len({made.tokens for made in got}) > 1


@pytest.mark.parametrize("name", ["gemma2", "gpt2", "mixtral"])
def test_the_number_of_rows_side_by_side_changes_no_text(name: str) -> None:
    model, tokenizer = untied(name), make_tokenizer("bytes")
    expected = [read_whole(model, tokenizer, PREFIX + prompt) for prompt in PROMPTS]
    for budget in (1, 300, 10_000):
        got = generate(
            model, tokenizer, PROMPTS, prefix=PREFIX, max_new_tokens=BUDGET, token_budget=budget
        )
        assert_same(got, expected)


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("kind", ["words", "merging"])
def test_every_tokenizer_generates_what_whole_texts_give(kind: str, side: str) -> None:
    model, tokenizer = untied("llama"), make_tokenizer(kind, side=side)
    assert tokenizer.pad_token_id is None and tokenizer.eos_token_id is None
    got = generate(model, tokenizer, PROMPTS, prefix=PREFIX, max_new_tokens=BUDGET)
    assert_same(got, [read_whole(model, tokenizer, PREFIX + prompt) for prompt in PROMPTS])


def test_a_prompt_that_begins_another_keeps_a_token_of_its_own() -> None:
    model, tokenizer = untied("llama"), make_tokenizer("bytes")
    prompts = ["", " ab", " ab cd", " ab"]
    tokenized = tokenize_prompts(tokenizer, prompts, PREFIX)
    assert [len(row) >= 1 for row in tokenized.rows] == [True] * 4
    got = generate(model, tokenizer, prompts, prefix=PREFIX, max_new_tokens=BUDGET)
    assert_same(got, [read_whole(model, tokenizer, PREFIX + prompt) for prompt in prompts])


def never_ending(name: str = "gpt2") -> tuple[PreTrainedModel, PreTrainedTokenizerFast]:
    model = make_model(name)
    model.generation_config.eos_token_id = None
    return model, make_tokenizer("bytes")


def test_each_text_ends_before_its_own_first_stop_string() -> None:
    model, tokenizer = never_ending()
    free = generate(model, tokenizer, PROMPTS, max_new_tokens=BUDGET)
    stops = (free[0].text[2:7], free[3].text[3:8])
    got = generate(model, tokenizer, PROMPTS, stops=stops, max_new_tokens=BUDGET)
    assert {made.stopped for made in got} == {"stop", "budget"}
    for made, whole in zip(got, free, strict=True):
        ends = [whole.text.find(stop) for stop in stops if stop in whole.text]
        assert made.text == whole.text[: min(ends, default=None)]
        assert made.tokens == whole.tokens[: made.num_tokens]
        if ends:  # it stops at once: without the last token there is no stop string
            before = tokenizer.decode(made.tokens[:-1])
            assert not any(stop in before for stop in stops)


def test_a_text_ends_behind_what_finishes_it() -> None:
    model, tokenizer = never_ending()
    free = generate(model, tokenizer, PROMPTS[:1], max_new_tokens=BUDGET)[0].text
    finish = re.compile(re.escape(free[3:6]))
    got = generate(model, tokenizer, PROMPTS[:1], finish=finish, max_new_tokens=BUDGET)
    assert (got[0].text, got[0].stopped) == (free[: free.index(free[3:6]) + 3], "stop")


def test_what_comes_first_ends_the_text() -> None:
    rule = StoppingCriteria(max_new_tokens=9, stops=("\n\n", "Q:"), finish=re.compile(r"is \d+\."))
    assert rule.end("it is 12. Q:") == 9
    assert rule.end("Q: it is 12.\n\n") == 0
    assert rule.end("it is 12") is None


@pytest.mark.parametrize("where", ["tokenizer", "config", "list"])
def test_the_end_token_of_tokenizer_or_model_ends_the_text_and_is_no_part_of_it(where: str) -> None:
    model, tokenizer = never_ending()
    free = generate(model, tokenizer, PROMPTS[:1], max_new_tokens=BUDGET)[0].tokens
    end = free[4]
    if where == "tokenizer":
        tokenizer.eos_token = tokenizer.convert_ids_to_tokens(end)
    else:
        model.generation_config.eos_token_id = end if where == "config" else [1, end]
    got = generate(model, tokenizer, PROMPTS[:1], max_new_tokens=BUDGET)[0]
    assert got.stopped == "eos" and got.tokens == free[: free.index(end) + 1]
    assert got.text == tokenizer.decode(got.tokens[:-1])


def test_a_text_that_does_not_end_uses_its_budget() -> None:
    model, tokenizer = never_ending()
    got = generate(model, tokenizer, PROMPTS[:2], max_new_tokens=3)
    assert [(made.num_tokens, made.stopped) for made in got] == [(3, "budget")] * 2
    assert got[0].text == tokenizer.decode(got[0].tokens)


def test_finished_rows_leave_the_batch_and_the_prefix_is_read_once() -> None:
    model, tokenizer = never_ending()
    tokenized = tokenize_prompts(tokenizer, PROMPTS, PREFIX)
    assert min(map(len, tokenized.rows)) >= 1 and len(tokenized.shared) > 20
    stops = tuple(
        made.text[2:4]
        for made in generate(model, tokenizer, PROMPTS, prefix=PREFIX, max_new_tokens=BUDGET)[::3]
    )
    rule = StoppingCriteria(max_new_tokens=BUDGET, stops=stops)
    seen = 0

    def count(module: torch.nn.Module, args: tuple[torch.Tensor, ...], output: object) -> None:
        nonlocal seen
        seen += args[0].numel()

    model.get_input_embeddings().register_forward_hook(count)
    find_cache_fault(model, tokenized)
    checked, seen = seen, 0
    made = generate_tokens(model, tokenizer, tokenized, rule).generations
    prompts = len(tokenized.shared) + len(PROMPTS) * max(map(len, tokenized.rows))
    assert len({one.num_tokens for one in made}) > 1
    assert seen - checked == prompts + sum(one.num_tokens - 1 for one in made)


@pytest.mark.parametrize(
    ("rows", "expected"),
    [([0, 1, 2], [0, 1, 2]), ([2, 3], [2, 3]), ([0, 3, 4], [0, 3, 4]), ([1, 2, 4], [4, 1, 2])],
)
def test_rows_that_stay_keep_their_place(rows: list[int], expected: list[int]) -> None:
    assert filled_up(rows) == expected


def test_an_architecture_without_positions_reads_whole_texts_and_says_so() -> None:
    model, tokenizer = make_model("bloom"), make_tokenizer("bytes")
    with pytest.warns(UserWarning, match="reading whole texts: BloomForCausalLM takes no"):
        got = generate(model, tokenizer, PROMPTS[:3], prefix=PREFIX, max_new_tokens=BUDGET)
    assert_same(got, [read_whole(model, tokenizer, PREFIX + prompt) for prompt in PROMPTS[:3]])


def test_a_model_that_ignores_positions_is_found_by_comparing() -> None:
    model, tokenizer = untied("llama"), make_tokenizer("bytes")
    forward = model.model.forward
    model.model.forward = lambda **inputs: forward(**{**inputs, "position_ids": None})
    with pytest.warns(UserWarning, match="with a cache, logits of spread .* differ by"):
        got = generate(model, tokenizer, PROMPTS[:3], prefix=PREFIX, max_new_tokens=BUDGET)
    assert_same(got, [read_whole(model, tokenizer, PREFIX + prompt) for prompt in PROMPTS[:3]])


def metaspace_tokenizer() -> PreTrainedTokenizerFast:
    """Returns one that drops the space at the beginning of what it decodes."""
    backend = Backend(models.BPE(unk_token="<unk>"))
    backend.pre_tokenizer = pre_tokenizers.Metaspace()
    backend.decoder = decoders.Metaspace()
    corpus = [" ".join(random.Random(seed).choices(words(), k=30)) for seed in range(60)]
    backend.train_from_iterator(
        [f"Question: {text}?\nAnswer: {text[:9]}" for text in corpus],
        trainers.BpeTrainer(vocab_size=400, special_tokens=["<s>", "<unk>"], show_progress=False),
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=backend, bos_token="<s>", unk_token="<unk>", padding_side="right"
    )


def test_the_space_between_prompt_and_text_is_kept() -> None:
    tokenizer = metaspace_tokenizer()
    word = words()[0]
    token = tokenizer.convert_tokens_to_ids("\u2581" + word)
    assert token != tokenizer.unk_token_id and tokenizer.decode([token]) == word
    prompt = tokenizer("ab cd:", add_special_tokens=False)["input_ids"]
    text = GeneratedSequence(tokenizer, prompt)
    text.add(token, StoppingCriteria(max_new_tokens=3, stops=(f" {word} {word}",)), frozenset())
    assert text.text == f" {word}" and text.stopped is None
    with pytest.raises(ValueError, match="not finished after 1 tokens"):
        text.finished()
    text.add(token, StoppingCriteria(max_new_tokens=3, stops=(f" {word} {word}",)), frozenset())
    assert (text.finished().text, text.finished().num_tokens) == ("", 2)


def test_a_prompt_without_room_for_its_budget_is_refused_by_number() -> None:
    model, tokenizer = make_model("llama"), make_tokenizer("words")
    prompts = [PROMPTS[0], "a b " * 124]  # with BOS 249 tokens of 256
    assert tokenize_prompts(tokenizer, prompts).length(1) == 249
    generate(model, tokenizer, prompts, max_new_tokens=7)
    with pytest.raises(ValueError, match=r"prompts\[1\]: 249 tokens and 8 new ones.* holds 256"):
        generate(model, tokenizer, prompts, max_new_tokens=8)


def test_bad_input_is_refused() -> None:
    model, tokenizer = make_model("llama"), make_tokenizer("bytes", bos=False)
    with pytest.raises(ValueError, match=r"prompts\[1\] has no token"):
        generate(model, tokenizer, ["a", ""], max_new_tokens=1)
    with pytest.raises(ValueError, match="at least 1, got 0"):
        generate(model, tokenizer, ["a"], max_new_tokens=0)
    with pytest.raises(ValueError, match="must not be empty"):
        generate(model, tokenizer, ["a"], stops=["\n", ""], max_new_tokens=1)


def test_no_prompts_are_no_texts_and_the_model_is_left_as_it_was() -> None:
    model, tokenizer = make_model("llama"), make_tokenizer("bytes")
    head = model.get_output_embeddings()
    assert generate(model, tokenizer, [], prefix=PREFIX, max_new_tokens=1) == []
    generate(model, tokenizer, PROMPTS[:2], prefix=PREFIX, max_new_tokens=2)
    assert model.get_output_embeddings() is head
