"""Random tiny models and tokenizers, and a scorer that is as plain as can be: the tests' oracle."""

from __future__ import annotations

import random
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import numpy as np
import torch
from tokenizers import Tokenizer as Backend
from tokenizers import decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import (
    AutoModelForCausalLM,
    BloomConfig,
    Gemma2Config,
    GPT2Config,
    GPTNeoXConfig,
    LlamaConfig,
    MistralConfig,
    MixtralConfig,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerFast,
    Qwen2Config,
)

from trainables.data.items import Item

VOCAB_SIZE = 400

SHAPE = {
    "vocab_size": VOCAB_SIZE,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 256,
    "bos_token_id": 0,
    "eos_token_id": 0,
    "pad_token_id": None,
}
WINDOW = {"sliding_window": 12}
GEMMA = {"head_dim": 8, "attn_logit_softcapping": 2.0, "final_logit_softcapping": 3.0}
NEOX = {name: value for name, value in SHAPE.items() if name != "num_key_value_heads"}
GPT2 = {"vocab_size": VOCAB_SIZE, "n_embd": 32, "n_layer": 3, "n_head": 4, "n_positions": 256}
SPECIAL = {"bos_token_id": 0, "eos_token_id": 0}

CONFIGS: dict[str, PreTrainedConfig] = {
    "llama": LlamaConfig(**SHAPE, tie_word_embeddings=True),
    "mistral": MistralConfig(**SHAPE, **WINDOW),
    "qwen2": Qwen2Config(**SHAPE),
    "gemma2": Gemma2Config(**SHAPE, **WINDOW, **GEMMA),
    "gpt2": GPT2Config(**GPT2, **SPECIAL),
    "gpt_neox": GPTNeoXConfig(**NEOX),
    "mixtral": MixtralConfig(**SHAPE, **WINDOW, num_local_experts=4),
    "bloom": BloomConfig(
        vocab_size=VOCAB_SIZE, hidden_size=32, n_layer=2, n_head=4, pad_token_id=0, **SPECIAL
    ),
}


def make_model(name: str, seed: int = 0) -> PreTrainedModel:
    """Returns a random model whose weights are large enough for positions to matter."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = AutoModelForCausalLM.from_config(CONFIGS[name]).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.mul_(4.0)
    return model


def words(seed: int = 0, number: int = 60) -> list[str]:
    """Returns random words of 2 to 6 letters."""
    rng = random.Random(seed)
    made = ("".join(rng.choices("abcdefgh", k=rng.randint(2, 6))) for _ in range(2 * number))
    return list(dict.fromkeys(made))[:number]


TOKENIZERS = (
    "words",
    "bytes",
    "bytes prefixed",
    "bytes trimmed",
    "merging",
    "prepended",
    "metaspace",
    "unigram",
)


def make_tokenizer(
    kind: str, *, bos: bool = True, adds_bos: bool = True, side: str = "right"
) -> PreTrainedTokenizerFast:
    """Returns a tokenizer of a kind.

    Args:
        kind: `words`; `bytes`, byte-level BPE (GPT-2), `bytes prefixed` with a space in front of a
            text, `bytes trimmed` with spaces left out of offsets (Llama-3); `merging`, BPE over
            spaces; `prepended` and `metaspace`, BPE with a mark for spaces, by a normalizer
            (Llama-2) or at the text's beginning; `unigram`, with it in front of any part.
        bos: Whether it has a BOS.
        adds_bos: Whether it puts that in front of a text.
        side: Of padding.
    """
    backend = Backend.from_str(_train(kind))
    if bos and adds_bos:
        _add_bos(backend)
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        bos_token="<s>" if bos else None,
        unk_token="<unk>",
        padding_side=side,
    )


def _add_bos(backend: Backend) -> None:
    """Lets a tokenizer put its BOS in front of a text."""
    own = [] if backend.post_processor is None else [backend.post_processor]
    bos = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 0)])
    backend.post_processor = processors.Sequence([*own, bos])


@cache
def _train(kind: str) -> str:
    corpus = [" ".join(random.Random(seed).choices(words(), k=30)) for seed in range(60)]
    if kind == "merging":
        corpus = [f"Question: {text}?\nAnswer: {text[:9]}" for text in corpus]
    backend, trainer = _untrained(kind)
    backend.train_from_iterator(corpus, trainer)
    if kind == "prepended":  # as Llama-2's: learned on words, used on whole texts
        backend.pre_tokenizer = None
        marks = [normalizers.Prepend("\u2581"), normalizers.Replace(" ", "\u2581")]
        backend.normalizer = normalizers.Sequence(marks)
    return str(backend.to_str())


def _untrained(kind: str) -> tuple[Backend, trainers.Trainer]:
    special = ["<s>", "<unk>"]
    size = {"vocab_size": VOCAB_SIZE, "special_tokens": special, "show_progress": False}
    if kind == "words":
        backend = Backend(models.WordLevel(unk_token="<unk>"))
        backend.pre_tokenizer = pre_tokenizers.Whitespace()
        size = {"special_tokens": [*special, ":", "?", "."], "show_progress": False}
        return backend, trainers.WordLevelTrainer(**size)
    if kind.startswith("bytes"):
        return _byte_level(kind), trainers.BpeTrainer(
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), **size
        )
    if kind == "unigram":
        backend = Backend(models.Unigram())
        backend.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="always")
        return backend, trainers.UnigramTrainer(unk_token="<unk>", **size)
    backend = Backend(models.BPE(unk_token="<unk>"))
    if kind in ("metaspace", "prepended"):
        backend.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first")
    return backend, trainers.BpeTrainer(**size)


def _byte_level(kind: str) -> Backend:
    backend = Backend(models.BPE())
    is_prefixed = kind == "bytes prefixed"
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=is_prefixed)
    backend.decoder = decoders.ByteLevel()
    if kind == "bytes trimmed":
        backend.post_processor = processors.ByteLevel(trim_offsets=True)
    return backend


def save_folder(folder: Path, name: str = "llama", kind: str = "words") -> Path:
    """Writes a model with its tokenizer in Hugging Face format."""
    make_model(name).save_pretrained(folder)
    make_tokenizer(kind).save_pretrained(folder)
    return folder


def make_items(number: int, seed: int = 0, least_choices: int = 2) -> tuple[Item, ...]:
    """Returns items with 2 to 4 choices of 1 to 3 words, sorted by id."""
    rng = random.Random(seed)
    items = []
    for index in range(number):
        num_choices = rng.randint(least_choices, 4)
        endings = rng.sample(words(), num_choices)
        items.append(
            Item(
                id=f"item-{index:04d}",
                question=" ".join(rng.choices(words(), k=rng.randint(3, 20))) + "?",
                choices=tuple(
                    " ".join([*rng.choices(words(), k=rng.randint(0, 2)), end]) for end in endings
                ),
                answer=rng.randrange(num_choices),
            )
        )
    return tuple(items)


def naive_scores(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerFast,
    prompts: Sequence[str],
    choices: Sequence[Sequence[str]],
    prefix: str = "",
) -> list[np.ndarray]:
    """Returns the scores by one whole forward per choice, one text at a time."""
    scores = []
    for prompt, texts in zip(prompts, choices, strict=True):
        row = []
        for choice in texts:
            start = len(prefix + prompt)
            encoded = tokenizer(prefix + prompt + choice, return_offsets_mapping=True)
            ids = encoded["input_ids"]
            with torch.no_grad():
                log_prob_TV = model(torch.tensor([ids])).logits[0].double().log_softmax(-1)
            total = 0.0
            for place, (_, end) in enumerate(encoded["offset_mapping"]):
                if end > start:
                    total += float(log_prob_TV[place - 1, ids[place]])
            row.append(total)
        scores.append(np.array(row))
    return scores
