"""Generated answers of every method: the right prompts, budgets, examples, counted failures."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from search_spaces.recipes import FullFineTuning, InContext, LoRA, Reasoning, ZeroShot
from tests.support.small_cells import inputs_of, load
from tests.support.tiny_models import make_items
from trainables.cells.run import run_cell
from trainables.data.items import Item
from trainables.data.prompts.formats import PromptFormat
from trainables.inference.generation import (
    GeneratedTexts,
    Generation,
    StoppingCriteria,
    generate_tokens,
    tokenize_prompts,
)
from trainables.methods.base import chain_of_thought
from trainables.methods.base.chain_of_thought import generate_answers
from trainables.methods.base.interface import Answers
from trainables.models.chat import with_chat_template
from trainables.models.loading import Base

PROMPT = PromptFormat(template="Q: {question}\nA:", answer=" {reasoning} the answer is {choice}")
REASONING = Reasoning(max_new_tokens=32)
ITEMS = tuple(
    replace(item, choices=("ab", "ce"), answer=index % 2, reasoning=f"{item.choices[0][:4]}.")
    for index, item in enumerate(make_items(24, seed=7))
)
TEST, POOL = ITEMS[:8], ITEMS[8:]
TUNED = {"n_train": 3, "reasoning": REASONING, "loss": "text", "batch_size": 3}
RECIPES = {
    "zero-shot": ZeroShot(reasoning=REASONING),
    "in-context": InContext(k=2, reasoning=REASONING),
    "lora": LoRA(**TUNED, rank=8, learning_rate=1e-2, epochs=80),
    "full fine-tuning": FullFineTuning(**TUNED, learning_rate=3e-3, epochs=80),
}


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Base:
    loaded = load(tmp_path_factory.mktemp("base"))
    loaded.tokenizer.eos_token = "<s>"
    return loaded


def answers(base: Base, method: str, test: tuple[Item, ...] = TEST, number: int = 3) -> Answers:
    recipe = RECIPES[method]
    labelled = {"zero-shot": (), "in-context": POOL[:2]}.get(method, POOL[:number])
    inputs = inputs_of(recipe, labelled, test)
    return run_cell(replace(inputs, context=replace(inputs.context, prompt=PROMPT)), base).answers


def continued(base: Base, text: str) -> list[int]:
    """Returns the tokens of a greedy continuation, by whole forwards."""
    tokens = base.tokenizer(text, add_special_tokens=False)["input_ids"]
    ids = [base.tokenizer.bos_token_id, *tokens]
    start = len(ids)
    with torch.no_grad():
        while len(ids) < start + REASONING.max_new_tokens and 0 not in ids[start:]:
            ids.append(int(base.model(torch.tensor([ids])).logits[0, -1].argmax()))
    return [token for token in ids[start:] if token != 0]


@pytest.mark.parametrize("method", ["zero-shot", "in-context"])
def test_the_text_continues_the_prompt(base: Base, method: str) -> None:
    examples = [(i, i.answer) for i in POOL[:2]] if method == "in-context" else []
    found = answers(base, method)
    assert found.log_probs is None and found.generated is not None
    for item, given in zip(TEST, found.generated, strict=True):
        expected = base.tokenizer.decode(continued(base, PROMPT.prompt(item, examples)))
        assert expected.startswith(given.text)
        assert given.predicted is None and not given.is_correct and not given.is_readable
    assert any(len(given.text) > 20 for given in found.generated)
    assert found.notes[-1].startswith("8 of 8 generated texts state no answer and count as wrong")


@pytest.mark.parametrize("method", ["lora", "full fine-tuning"])
def test_trained_weights_answer_by_generation_and_end_their_text(base: Base, method: str) -> None:
    found = answers(base, method, test=POOL[:3])
    assert found.generated is not None and found.notes == ()
    for item, given in zip(POOL[:3], found.generated, strict=True):
        assert given.text == PROMPT.target(item, item.answer)  # learnt by heart, EOS included
        assert given.predicted == item.answer and given.is_correct and given.is_readable


def test_a_chat_answer_stops_at_the_templates_end_of_turn(tmp_path: Path) -> None:
    chat = load(tmp_path)
    tokenizer, model = chat.tokenizer, chat.model
    tokenizer.add_special_tokens(
        {"eos_token": "<eos>", "additional_special_tokens": ["<user>", "<model>", "<turn>"]}
    )
    tokenizer.chat_template = (
        "{% for m in messages %}{{ '<user>' if m.role == 'user' else '<model>' }}{{ m.content }}"
        "<turn>{% endfor %}{% if add_generation_prompt %}<model>{% endif %}"
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model.resize_token_embeddings(len(tokenizer))
    head = model.get_output_embeddings().weight.detach().clone()
    head[-4:] = 0.0  # neither <eos> nor a turn is written
    model.get_output_embeddings().weight = torch.nn.Parameter(head)  # no longer the embeddings'
    model.generation_config.eos_token_id = None
    context = replace(
        inputs_of(RECIPES["zero-shot"]).context, prompt=with_chat_template(PROMPT, tokenizer)
    )
    questions = [context.prompt.question(item) for item in TEST]
    prompts = tokenize_prompts(tokenizer, questions, start=())  # the template writes the start
    rule = StoppingCriteria(max_new_tokens=REASONING.max_new_tokens)
    made = generate_tokens(model, tokenizer, prompts, rule).generations
    item, free = next(pair for pair in zip(TEST, made, strict=True) if len({*pair[1].tokens}) > 1)
    written = max(free.tokens, key=free.tokens.index)
    end = tokenizer.convert_tokens_to_ids("<turn>")
    head[[end, written]] = head[[written, end]]  # the end of turn is written in its place
    (answer,) = generate_answers(context, chat, [item]).generated or []
    assert answer.text == tokenizer.decode(free.tokens[: free.tokens.index(written)])


def test_examples_that_leave_no_room_for_the_budget_are_dropped_and_counted(base: Base) -> None:
    context = replace(inputs_of(RECIPES["zero-shot"]).context, prompt=PROMPT)
    examples = [(item, item.answer) for item in (*POOL, *POOL)][:20]
    found = generate_answers(context, base, TEST, examples)
    lengths = [
        [
            1 + len(base.tokenizer(PROMPT.prompt(item, examples[:kept])).input_ids)
            for kept in range(len(examples) + 1)
        ]
        for item in TEST
    ]
    room = 256 - REASONING.max_new_tokens
    kept = [max(k for k, length in enumerate(row) if length <= room) for row in lengths]
    told = [note for note in found.notes if "dropped" in note]
    for number in set(kept):
        assert any(
            note.startswith(f"{kept.count(number)} items: {20 - number} of 20 examples")
            for note in told
        )
    assert len(told) == len(set(kept))
    for item, number, given in zip(TEST, kept, found.generated or [], strict=True):
        text = PROMPT.prompt(item, examples[:number])
        assert base.tokenizer.decode(continued(base, text)).startswith(given.text)


def test_an_item_that_leaves_no_room_is_named(base: Base) -> None:
    long = replace(TEST[0], id="too-long", question="ab cd " * 123)
    with pytest.raises(ValueError, match=r"item 'too-long': \d+ tokens and 32 new ones.* 256"):
        answers(base, "zero-shot", test=(*TEST, long))


TEXTS = (
    "so the answer is ab",
    "so the answer is unclear",
    "so the answer is ab or ce",
    "it is ab",
    "so the answer is zz and",
    "",
    "so the answer is not ab",
    "well, then",
)


@pytest.mark.parametrize("free", [False, True])
def test_every_text_without_a_value_is_counted(
    base: Base, monkeypatch: pytest.MonkeyPatch, free: bool
) -> None:
    cut = (4, 7)
    made = [
        Generation(
            text=text.replace("ab", "7") if free and index == 0 else text,
            tokens=(1, 2),
            stopped="budget" if index in cut else "eos",
        )
        for index, text in enumerate(TEXTS)
    ]
    monkeypatch.setattr(
        chain_of_thought,
        "generate_tokens",
        lambda *args, **options: GeneratedTexts(generations=made),
    )
    items = tuple(replace(item, choices=("7",), answer=0) if free else item for item in TEST)
    found = answers(base, "zero-shot", test=items)
    assert found.notes == (
        "3 of 8 generated texts state no answer and count as wrong; "
        "1 of them reached their budget of tokens",
        "4 of 8 generated texts state an answer that names no value and count as wrong; "
        "1 of them reached their budget of tokens",
    )
    generated = found.generated or []
    named = [given.predicted is not None or given.is_correct for given in generated]
    assert named == [True] + 7 * [False]


def test_a_setting_without_reasoning_generates_nothing(base: Base) -> None:
    with pytest.raises(ValueError, match="need a recipe with `reasoning`"):
        generate_answers(inputs_of(ZeroShot()).context, base, TEST)
