"""Sampled texts: the model's own distribution, and random numbers that belong to the prompt."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest
import torch
from transformers import AutoModelForCausalLM, GPT2Config

from trainables.data.lab.preferences import preference_questions
from trainables.methods.dpo.sampling import PROMPTS_PER_BATCH, Sampling, sample_texts
from trainables.models.loading import Base

PROMPTS = {
    question.id: f"{question.text}\nAnswer:"
    for question in preference_questions()[:: -(-1536 // (PROMPTS_PER_BATCH + 8))]
}


def test_samples_depend_on_the_prompt_and_the_names_alone(base: Base) -> None:
    sampling = Sampling(num_samples=2)
    torch.manual_seed(1)
    texts = sample_texts(base, PROMPTS, sampling, 0, "test")
    torch.manual_seed(2)
    some = dict(list(PROMPTS.items())[5:8])
    again = sample_texts(base, some, sampling, 0, "test")
    assert list(texts) == list(PROMPTS)
    assert again == {id_: texts[id_] for id_ in some}
    assert sample_texts(base, some, sampling, 1, "test") != again
    assert all(len(of_prompt) == 2 for of_prompt in texts.values())


def test_two_ids_have_different_random_numbers(base: Base) -> None:
    prompt = next(iter(PROMPTS.values()))
    texts = sample_texts(base, {"a": prompt, "b": prompt}, Sampling(num_samples=8), 0)
    assert texts["a"] != texts["b"]
    assert len(set(texts["a"])) > 1


def test_the_global_generator_is_left_alone(base: Base) -> None:
    state = torch.random.get_rng_state()
    sample_texts(base, dict(list(PROMPTS.items())[:2]), Sampling(), 0)
    assert torch.equal(state, torch.random.get_rng_state())


def absolute_positions(base: Base) -> Base:
    """A random model to which a filled-up row's positions matter."""
    config = GPT2Config(
        vocab_size=len(base.tokenizer), n_embd=32, n_layer=2, n_head=4, n_positions=128
    )
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(1)
        model = AutoModelForCausalLM.from_config(config).eval()
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.mul_(8.0)
    return replace(base, model=model)


@pytest.mark.parametrize("is_absolute", [False, True])
def test_temperature_zero_writes_the_likeliest_tokens(base: Base, is_absolute: bool) -> None:
    base = absolute_positions(base) if is_absolute else base
    some = dict(list(PROMPTS.items())[::9])  # of many lengths: shorter ones are filled up
    assert len({len(base.tokenizer(text).input_ids) for text in some.values()}) > 2
    texts = sample_texts(base, some, Sampling(num_samples=1, temperature=0.0), 0)
    for id_, prompt in some.items():
        ids = base.tokenizer(prompt).input_ids
        start = len(ids)
        for _ in range(6):
            logits = base.model(input_ids=torch.tensor([ids])).logits
            ids = [*ids, int(logits[0, -1].argmax())]
        assert texts[id_] == (base.tokenizer.decode(ids[start:]),)


@pytest.mark.parametrize("temperature", [0.5, 1.0])
def test_texts_are_as_frequent_as_the_model_says(base: Base, temperature: float) -> None:
    prompt = next(iter(PROMPTS.values()))
    sampling = Sampling(num_samples=2000, temperature=temperature, max_new_tokens=1)
    drawn = Counter(sample_texts(base, {"x": prompt}, sampling, 0)["x"])
    ids = torch.tensor([base.tokenizer(prompt).input_ids])
    shares = (base.model(input_ids=ids).logits[0, -1] / temperature).softmax(dim=-1)
    for token in shares.topk(5).indices.tolist():
        expected = float(shares[token])
        spread = (expected * (1 - expected) / 2000) ** 0.5
        assert abs(drawn[base.tokenizer.decode([token])] / 2000 - expected) < 4 * spread + 1e-3


def test_a_text_ends_at_the_end_token(base: Base) -> None:
    some = dict(list(PROMPTS.items())[:1])
    (whole,) = sample_texts(base, some, Sampling(num_samples=1, temperature=0.0), 0).values()
    third = base.tokenizer(whole[0], add_special_tokens=False).input_ids[2]
    before = base.tokenizer.eos_token
    base.tokenizer.eos_token = base.tokenizer.convert_ids_to_tokens(third)
    try:
        (cut,) = sample_texts(base, some, Sampling(num_samples=1, temperature=0.0), 0).values()
    finally:
        base.tokenizer.eos_token = before
    assert whole[0].startswith(cut[0])
    assert len(base.tokenizer(cut[0], add_special_tokens=False).input_ids) == 2
    greedy = Sampling(num_samples=1, temperature=0.0)
    assert sample_texts(base, some, greedy, 0, end=third) == dict.fromkeys(some, cut)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"num_samples": 0}, "must be at least 1, got 0 and 6"),
        ({"max_new_tokens": 0}, "must be at least 1, got 4 and 0"),
        ({"temperature": -0.1}, "temperature must be at least 0, got -0.1"),
        ({"temperature": float("nan")}, "temperature must be at least 0"),
    ],
)
def test_a_sampling_out_of_range_is_refused(fields: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Sampling(**fields)  # type: ignore[arg-type]


def test_a_prompt_that_starts_itself_is_given_no_second_start(base: Base) -> None:
    question = next(iter(PROMPTS.values()))
    bos = str(base.tokenizer.bos_token)
    sampling = Sampling(num_samples=64)
    added = sample_texts(base, {"a": question}, sampling, 0)
    written = sample_texts(base, {"a": bos + question}, sampling, 0, start=())
    assert written == added
    assert sample_texts(base, {"a": bos + question}, sampling, 0) != added
