"""Checks that a base model's config, tokenizer and weights load and fit each other.

transformers builds all three, the weights on torch's meta device, where a tensor has a shape and no
values; `trainables.models.finite_weights` checks the values. A tensor missing from the files would
be random in the model. Names are resolved in `trainables.models.resolve`; models are loaded for use
in `trainables.models.loading`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import transformers
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, PreTrainedConfig
from transformers import PreTrainedTokenizerFast as Tokenizer
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES
from transformers.models.auto.tokenization_auto import get_tokenizer_config
from transformers.utils import logging

from trainables.models.finite_weights import check_finite_weights
from trainables.models.source import ADAPTER_CONFIG, ModelSource
from trainables.models.text_start import TextStart, find_text_start

NUM_NAMED = 3
"""Tensors of each kind that a message lists."""

LONGEST_REASON = 300
"""Characters of a library's error in a message."""

COPY_AGAIN = "copy the tokenizer's files from the model again"

ONE_CHECKPOINT = (
    "give the config.json and the *.safetensors that save_pretrained of one causal language model "
    "wrote"
)


def check_model(source: ModelSource) -> TextStart:
    """Checks config, tokenizer and weights, and that every weight is a finite number.

    The tensors of a model that is quantized on disk are compared with its config when it is loaded:
    only its quantizer can read them, and that may need a GPU.

    Args:
        source: A model whose files are in a folder on this machine.

    Returns:
        The start of the model's texts.

    Raises:
        ValueError: If one of them does not load, a token has no row in the embeddings, or a tensor
            is missing, unexpected, of another shape or not finite.
    """
    config = build_config(source)
    start = _check_tokenizer(source, config)
    if getattr(config, "quantization_config", None) is None:
        check_weights(source)
    check_finite_weights(source.name, Path(source.source))
    return start


def build_config(source: ModelSource) -> PreTrainedConfig:
    """Returns the model's configuration.

    Raises:
        ValueError: If a value of it is of the wrong kind, or its architecture is no causal language
            model that transformers has.
    """
    with _refusing(source, "config.json", ONE_CHECKPOINT):
        raw, _ = PreTrainedConfig.get_config_dict(source.source, revision=_revision(source))
    model_type = raw.get("model_type")
    if not isinstance(model_type, str) or model_type not in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES:
        custom = "needs custom code (auto_map), which is never run, and " * ("auto_map" in raw)
        raise ValueError(
            f"model {source.name!r}: its config.json {custom}has a model_type that cannot be used: "
            f"model_type {model_type!r} is no causal language model of the transformers installed "
            f"here ({transformers.__version__}); use a model whose architecture is part of it"
        )
    with _refusing(source, "config.json", ONE_CHECKPOINT):
        config: PreTrainedConfig = AutoConfig.from_pretrained(
            source.source, revision=_revision(source), trust_remote_code=False
        )
    # Encoders that can also be built as decoders: they have cross-attention to offer.
    if hasattr(config, "add_cross_attention") and getattr(config, "is_decoder", None) is False:
        raise ValueError(
            f"model {source.name!r}: its config.json has model_type {model_type!r} without "
            "is_decoder, which is an encoder: every token sees those after it, so it has no "
            "log-probability of a text; use a causal language model"
        )
    return config


def build_tokenizer(source: ModelSource) -> Tokenizer:
    """Returns the model's tokenizer.

    Raises:
        ValueError: If it cannot be built, needs custom code, or does not report which characters a
            token covers.
    """
    with _refusing(source, "tokenizer_config.json", COPY_AGAIN):
        auto_map = get_tokenizer_config(source.source, revision=_revision(source)).get("auto_map")
    if isinstance(auto_map, list) or "AutoTokenizer" in (auto_map or {}):
        raise ValueError(
            f"model {source.name!r}: its tokenizer_config.json needs custom code "
            "(auto_map), which is never run; use a model whose tokenizer is part of transformers"
        )
    with _refusing(source, "tokenizer.json", COPY_AGAIN):
        tokenizer: Tokenizer = AutoTokenizer.from_pretrained(
            source.source, revision=_revision(source), trust_remote_code=False
        )
    if not tokenizer.is_fast:
        raise ValueError(
            f"model {source.name!r}: its tokenizer does not report which characters a token "
            "covers; give one with a tokenizer.json"
        )
    return tokenizer


def check_without_weights(source: ModelSource) -> TextStart:
    """Checks config and tokenizer of a model whose weights are not on this machine yet.

    Args:
        source: A model whose config and tokenizer are in a folder on this machine.

    Returns:
        The start of the model's texts.

    Raises:
        ValueError: If one of them does not load, or a token has no row in the embeddings.
    """
    return _check_tokenizer(source, build_config(source))


def _check_tokenizer(source: ModelSource, config: PreTrainedConfig) -> TextStart:
    """Returns the special tokens that the model's tokenizer puts in front of a text."""
    tokenizer = build_tokenizer(source)
    _check_vocabulary(source, config, tokenizer)
    with _refusing(source, "tokenizer.json", COPY_AGAIN):
        return find_text_start(tokenizer)  # some of its faults show when a text is encoded


def check_weights(source: ModelSource) -> None:
    """Checks that the weights' files hold exactly the tensors of the model that config.json means.

    Raises:
        ValueError: If they do not, or the model cannot be built.
    """
    # If the folder also has an adapter, transformers reports on the adapter alone: check the model
    # first, with the adapter looked for in a folder that does not exist.
    _report(source, adapter_kwargs={"subfolder": "no-adapter"})
    if (Path(source.source) / ADAPTER_CONFIG).is_file():
        _report(source)


def _report(source: ModelSource, **options: Any) -> None:
    with _refusing(source, "the model of its config.json", ONE_CHECKPOINT):
        _, report = AutoModelForCausalLM.from_pretrained(
            source.source,
            revision=_revision(source),
            device_map="meta",
            output_loading_info=True,
            ignore_mismatched_sizes=True,
            use_safetensors=True,
            trust_remote_code=False,
            **options,
        )
    refuse_misfits(source, report)


def refuse_misfits(source: ModelSource, report: Mapping[str, Any]) -> None:
    """Refuses a model whose tensors differ from those in its files.

    Args:
        source: The model.
        report: `output_loading_info` of its loading.

    Raises:
        ValueError: If a tensor is missing, unexpected or of another shape.
    """
    mismatched = [
        f"{name} {list(stored)} for {list(wanted)}"
        for name, stored, wanted in report["mismatched_keys"]
    ]
    kinds = {
        "missing": sorted(report["missing_keys"]),
        "not in the model": sorted(report["unexpected_keys"]),
        "of another shape": sorted(mismatched),
    }
    misfits = [
        f"{len(names)} {kind} ({', '.join(names[:NUM_NAMED])}{', ...' * (len(names) > NUM_NAMED)})"
        for kind, names in kinds.items()
        if names
    ]
    if misfits:
        raise ValueError(
            f"model {source.name!r}: the tensors of its *.safetensors do not fit the model of its "
            f"config.json: {'; '.join(misfits)}. transformers would fill in random weights or "
            f"leave weights out: {ONE_CHECKPOINT}"
        )


def _check_vocabulary(source: ModelSource, config: PreTrainedConfig, tokenizer: Tokenizer) -> None:
    """Checks that every token of a text has a row in the embeddings.

    Special tokens other than BOS, EOS and padding do not count: Gemma 3 1B has one for images
    beyond its vocabulary.
    """
    size = getattr(config.get_text_config(), "vocab_size", None)
    used = {tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.pad_token_id}
    unused = {id_ for id_, token in tokenizer.added_tokens_decoder.items() if token.special} - used
    largest, token = max(
        ((id_, token) for token, id_ in tokenizer.get_vocab().items() if id_ not in unused),
        default=(-1, ""),
    )
    if largest < 0:
        raise ValueError(
            f"model {source.name!r}: its tokenizer has no vocabulary: copy tokenizer.json from the "
            "model again"
        )
    if size is not None and largest >= size:
        raise ValueError(
            f"model {source.name!r}: its tokenizer has token {token!r} with id {largest}, and "
            f"vocab_size in its config.json is {size}: give the tokenizer that the model was "
            "trained with, or resize the model's embeddings"
        )


@contextmanager
def _refusing(source: ModelSource, what: str, remedy: str) -> Iterator[None]:
    """Turns any error of the libraries into one sentence, and silences their warnings."""
    verbosity = logging.get_verbosity()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    except Exception as error:  # they raise anything, from KeyError to their own
        raise ValueError(
            f"model {source.name!r}: {what} cannot be loaded from {source.source} "
            f"({_reason(error)}); {remedy}"
        ) from error
    finally:
        logging.set_verbosity(verbosity)


def _reason(error: Exception) -> str:
    """Returns the error's message on one line, without advice to run a model's code."""
    first = error.__cause__ or error  # transformers wraps what a config's field did not take
    text = " ".join(str(first).split())
    if "remote_code" in text:
        return "it needs custom code, which is never run"
    return f"{type(first).__name__}: {text[:LONGEST_REASON]}"


def _revision(source: ModelSource) -> str:
    return source.revision or "main"
