"""Trains the lab's tokenizer: a byte-level BPE, so that any text can be encoded."""

from __future__ import annotations

from collections.abc import Iterator

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

from trainables.data.lab.documents import draw_episode
from trainables.data.lab.world import (
    COUNT_NOUNS,
    MEASURED,
    NamedRandom,
)

VOCAB_SIZE = 640
"""At most: 3 special tokens, 256 bytes, " 0" to " 99", and the world's words (598 in all)."""

BOS, EOS, PAD = "<s>", "</s>", "<pad>"
MAX_LENGTH = 2048
"""Positions of the models that use it, in tokens."""

NUM_EPISODES = 1500
EPISODE_TOKENS = 250
NUM_NUMBER_LINES = 2000


def train_tokenizer() -> PreTrainedTokenizerFast:
    """The tokenizer of all micro models; the same at every call. It puts BOS first."""
    core = Tokenizer(models.BPE())
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCAB_SIZE,
        special_tokens=[BOS, EOS, PAD],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    core.train_from_iterator(_texts(), trainer)
    core.post_processor = processors.TemplateProcessing(
        single=f"{BOS} $A",
        pair=f"{BOS} $A $B",
        special_tokens=[(BOS, core.token_to_id(BOS))],
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=core,
        bos_token=BOS,
        eos_token=EOS,
        pad_token=PAD,
        model_max_length=MAX_LENGTH,
        clean_up_tokenization_spaces=False,
        model_input_names=["input_ids", "attention_mask"],
    )


def _texts() -> Iterator[str]:
    """Episodes of both kinds, every number below 100, and the nouns for one."""
    draw = NamedRandom("tokenizer")
    for number in range(NUM_EPISODES):
        yield draw_episode(draw, EPISODE_TOKENS, early=number % 2 == 0).text
    numbers = "".join(f" {number}" for number in range(100))
    singles = "".join(f" {word}" for word in (*COUNT_NOUNS, *(unit for unit, _, _ in MEASURED)))
    for _ in range(NUM_NUMBER_LINES):
        yield numbers + singles
