"""Trains the lab's tokenizer: a byte-level BPE, so that any text can be encoded."""

from __future__ import annotations

from collections.abc import Iterator

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

from trainables.data.lab.documents import draw_sheet
from trainables.data.lab.questions import question_text
from trainables.data.lab.world import (
    ANSWER_FORMS,
    COUNT_NOUNS,
    GRADE_CAPS,
    MAX_STEPS,
    MEASURED,
    NamedRandom,
    draw_problem,
)

VOCAB_SIZE = 640
"""3 special tokens, 256 bytes, " 0" to " 99", and the rest for the world's words."""

BOS, EOS, PAD = "<s>", "</s>", "<pad>"
MAX_LENGTH = 2048
"""Positions of the models that use it, in tokens."""

NUM_SHEETS = 1500
NUM_QUESTIONS = 6000
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
    """Sheets, questions and answers, every number below 100, and the nouns for one."""
    draw = NamedRandom("tokenizer")
    for _ in range(NUM_SHEETS):
        yield draw_sheet(draw, 10).text
    for _ in range(NUM_QUESTIONS):
        steps, grade = draw.integer(1, MAX_STEPS), draw.integer(1, len(GRADE_CAPS))
        problem = draw_problem(draw, steps, grade, draw.integer(0, 3))
        quantities = (problem.thing.quantity(problem.answer, form) for form in ANSWER_FORMS)
        yield " ".join((question_text(draw, problem), *quantities))
        yield "Question: Answer:"
    numbers = "".join(f" {number}" for number in range(100))
    singles = "".join(f" {word}" for word in (*COUNT_NOUNS, *(unit for unit, _, _ in MEASURED)))
    for _ in range(NUM_NUMBER_LINES):
        yield numbers + singles
