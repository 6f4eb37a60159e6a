from __future__ import annotations

import re
from dataclasses import replace

import pytest

from tests.support.tiny_models import make_model, make_tokenizer
from trainables.data.items import Item
from trainables.data.prompts.formats import PromptFormat, get_prompt
from trainables.inference.tokenization import tokenize_items
from trainables.methods.base.interface import Example
from trainables.methods.training.objectives import text_objective
from trainables.models.chat import check_prefix, end_of_answer, with_chat_template
from trainables.models.loading import Base

ITEM = Item(id="q", question="Why?", choices=("so", "no"), answer=0)


class WordTokenizer:
    """Words with their leading space, like a byte-level BPE; its chat template is Gemma-like."""

    chat_template: str | None = "a template"

    def __init__(self, *, always_header: bool = False, merges: bool = False) -> None:
        self.always_header = always_header
        self.merges = merges
        self.ids: dict[str, int] = {"<bos>": 0}

    def encode(self, text: str, *, add_special_tokens: bool) -> list[int]:
        pattern = r"<[a-z_]+>| ?\S+|\s" if self.merges else r"<[a-z_]+>| ?\w+|\s|."
        tokens = (["<bos>"] if add_special_tokens else []) + re.findall(pattern, text)
        return [self.ids.setdefault(token, len(self.ids)) for token in tokens]

    def apply_chat_template(
        self, conversation: list[dict[str, str]], *, tokenize: bool, add_generation_prompt: bool
    ) -> str:
        assert not tokenize
        turns = [
            f"<start_of_turn>{'model' if turn['role'] == 'assistant' else 'user'}\n"
            f"{turn['content']}<end_of_turn>\n"
            for turn in conversation
        ]
        return "<bos>" + "".join(turns) + "<start_of_turn>model\n" * add_generation_prompt


def test_question_ends_with_the_generation_prompt() -> None:
    prompt = with_chat_template(get_prompt("arc"), WordTokenizer())
    assert prompt.question(ITEM) == (
        "<bos><start_of_turn>user\nQuestion: Why?\nA) so\nB) no\nAnswer:<end_of_turn>\n"
        "<start_of_turn>model\n"
    )
    assert prompt.choice_texts(ITEM) == ("so", "no")
    assert prompt.example(ITEM, 1) == prompt.question(ITEM) + "no"
    assert not prompt.adds_special_tokens and get_prompt("arc").adds_special_tokens


def test_examples_are_earlier_exchanges() -> None:
    prompt = with_chat_template(get_prompt("strategyqa"), WordTokenizer())
    assert prompt.prompt(ITEM, [(ITEM, 0)]) == (
        "<bos><start_of_turn>user\nQ: Why?\nA:<end_of_turn>\n"
        "<start_of_turn>model\nso<end_of_turn>\n"
        "<start_of_turn>user\nQ: Why?\nA:<end_of_turn>\n<start_of_turn>model\n"
    )


def test_training_prefix_is_the_scoring_prefix() -> None:
    tokenizer = WordTokenizer()
    check_prefix(get_prompt("arc"), ITEM, tokenizer)
    check_prefix(with_chat_template(get_prompt("arc"), tokenizer), ITEM, tokenizer)


def test_prefix_without_generation_prompt_is_caught() -> None:
    """The fault of the released SSRM code: logits read before the model's turn has begun."""

    class NoHeader(WordTokenizer):
        def apply_chat_template(
            self, conversation: list[dict[str, str]], *, tokenize: bool, add_generation_prompt: bool
        ) -> str:
            text = super().apply_chat_template(
                conversation, tokenize=tokenize, add_generation_prompt=False
            )
            return text + "<start_of_turn>other\n" * add_generation_prompt

    tokenizer = NoHeader()
    prompt = with_chat_template(get_prompt("arc"), tokenizer)
    with pytest.raises(ValueError, match="'q', choice 0: the training text's tokens differ from"):
        check_prefix(prompt, ITEM, tokenizer)


TURN = "{{ START + m['role'] + '\n' + m['content'] | trim + END + '\n' }}{% endfor %}"
CHATML = "{% for m in messages %}" + TURN.replace("START", "'<|im_start|>'").replace(
    "END", "'<|im_end|>'"
)
TEMPLATES = {
    "llama-2": (
        "{% for m in messages %}{% if m['role'] == 'user' %}"
        "{{ '<s>[INST] ' + m['content'].strip() + ' [/INST]' }}{% else %}"
        "{{ ' ' + m['content'].strip() + ' </s>' }}{% endif %}{% endfor %}",
        " ",
        " </s>",
    ),
    "llama-3": (
        "<|begin|>{% for m in messages %}{{ '<|header|>' + m['role'] + '<|/header|>\n\n' "
        "+ m['content'] | trim + '<|eot|>' }}{% endfor %}"
        "{% if add_generation_prompt %}{{ '<|header|>assistant<|/header|>\n\n' }}{% endif %}",
        "",
        "<|eot|>",
    ),
    "gemma": (
        "<bos>{% for m in messages %}{{ '<turn>' + ('model' if m['role'] == 'assistant' else "
        "m['role']) + '\n' + m['content'] | trim + '<end>\n' }}{% endfor %}"
        "{% if add_generation_prompt %}{{ '<turn>model\n' }}{% endif %}",
        "",
        "<end>\n",
    ),
    "chatml": (
        CHATML + "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}",
        "",
        "<|im_end|>\n",
    ),
    "empty reasoning": (
        "{% for m in messages %}{{ '<turn>' + m['role'] + '\n' }}{% if loop.last and m['role'] "
        "== 'assistant' %}{{ '<think>\n\n</think>\n\n' }}{% endif %}{{ m['content'] + '<end>\n' }}"
        "{% endfor %}{% if add_generation_prompt %}{{ '<turn>assistant\n' }}{% endif %}",
        "",
        "<end>\n",
    ),
}


@pytest.mark.parametrize("name", TEMPLATES)
@pytest.mark.parametrize("form", ["default", "letter", "reasoned"])
def test_the_scored_text_is_what_the_template_writes(name: str, form: str) -> None:
    tokenizer = make_tokenizer("bytes")
    tokenizer.chat_template, space, tail = TEMPLATES[name]
    base = get_prompt("strategyqa", form)
    prompt = with_chat_template(base, tokenizer)
    item = replace(ITEM, reasoning="Because.")
    check_prefix(prompt, item, tokenizer)
    for answer in range(2):
        content = base.target(item, answer).strip()
        turns = [
            {"role": "user", "content": base.question(item)},
            {"role": "assistant", "content": content},
        ]
        exchange = tokenizer.apply_chat_template(turns, tokenize=False)
        assert prompt.example(item, answer) + tail == exchange
        assert prompt.target(item, answer) == space + content
        if not prompt.generates:
            assert prompt.choice_texts(item)[answer] == prompt.target(item, answer)
            tokens = tokenize_items(
                tokenizer, [prompt.question(item)], [prompt.choice_texts(item)], start=()
            ).items[0]
            expected = tokenizer.encode(exchange, add_special_tokens=False)
            scored = tokens.context + tokens.answers[answer]
            assert expected[: len(scored)] == scored
    earlier = prompt.prompt(item, [(item, 1)])
    assert earlier.startswith(exchange.replace(prompt.opening, "") if prompt.opening else exchange)
    assert earlier.endswith(prompt.question(item).removeprefix("<|begin|>").removeprefix("<bos>"))


def test_a_template_that_rewrites_the_answer_is_caught() -> None:
    tokenizer = make_tokenizer("bytes")
    tokenizer.chat_template = TEMPLATES["gemma"][0].replace("| trim", "| trim | upper")
    prompt = with_chat_template(get_prompt("arc"), tokenizer)
    with pytest.raises(
        ValueError, match="differ from those of the scored prompt and choice from token"
    ):
        check_prefix(prompt, ITEM, tokenizer)


def test_choice_that_melts_into_the_question_is_caught() -> None:
    melting = PromptFormat(template="Q: {question}\nA:", answer="{choice}")
    with pytest.raises(ValueError, match="differ from those of the scored prompt from token"):
        check_prefix(melting, ITEM, WordTokenizer(merges=True))
    check_prefix(get_prompt("strategyqa"), ITEM, WordTokenizer(merges=True))


def test_hash_knows_the_chat_template() -> None:
    ours, theirs = WordTokenizer(), WordTokenizer()
    theirs.chat_template = "another"
    base = get_prompt("arc")
    hashes = {base.hash, with_chat_template(base, ours).hash, with_chat_template(base, theirs).hash}
    assert len(hashes) == 3


def test_model_without_chat_template_is_refused() -> None:
    tokenizer = WordTokenizer()
    tokenizer.chat_template = None
    with pytest.raises(ValueError, match="no chat template"):
        with_chat_template(get_prompt("arc"), tokenizer)


ENDS = {
    "llama-2": "</s>",
    "llama-3": "<|eot|>",
    "gemma": "<end>",
    "chatml": "<|im_end|>",
    "empty reasoning": "<end>",
}


@pytest.mark.parametrize("name", TEMPLATES)
def test_an_answer_in_a_chat_ends_with_the_templates_end_of_turn(name: str) -> None:
    """The tokenizer's EOS ends a text outside a chat, and in one whose template names no end."""
    tokenizer = make_tokenizer("bytes")
    special = ["<eos>", *dict.fromkeys(ENDS.values())]
    tokenizer.add_special_tokens({"eos_token": "<eos>", "additional_special_tokens": special[1:]})
    tokenizer.chat_template = TEMPLATES[name][0]
    prompt = with_chat_template(get_prompt("strategyqa", "reasoned"), tokenizer)
    end = tokenizer.convert_tokens_to_ids(ENDS[name])
    eos = tokenizer.eos_token_id
    assert end != eos
    assert end_of_answer(prompt, tokenizer) == end
    assert end_of_answer(get_prompt("strategyqa", "reasoned"), tokenizer) == eos
    unmarked = make_tokenizer("bytes")
    unmarked.chat_template = TEMPLATES[name][0]
    assert end_of_answer(with_chat_template(prompt.base, unmarked), unmarked) is None


def test_training_text_of_a_chat_ends_with_the_end_of_turn() -> None:
    tokenizer = make_tokenizer("bytes")
    special = {"eos_token": "<eos>", "additional_special_tokens": ["<end>"]}
    tokenizer.add_special_tokens(special)
    tokenizer.chat_template = TEMPLATES["gemma"][0]
    prompt = with_chat_template(get_prompt("strategyqa", "reasoned"), tokenizer)
    model = make_model("llama")
    model.resize_token_embeddings(len(tokenizer))
    base = Base(model=model, tokenizer=tokenizer, device=model.device)
    item = replace(ITEM, reasoning="Because.")
    objective = text_objective(base, [Example(item=item, answer=0)], prompt)
    ((tokens,),) = [row.answers for row in objective.tokens.items]
    assert tokens[-1] == tokenizer.convert_tokens_to_ids("<end>")
