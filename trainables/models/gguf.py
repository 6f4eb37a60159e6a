"""GGUF files: recognized, and refused with the lines that convert one to a Hugging Face folder.

Their weights are quantized in blocks that neither training nor bitsandbytes can use, so a study
needs the de-quantized weights anyway.
"""

from __future__ import annotations

from pathlib import Path

CONVERSION = """\
from transformers import AutoModelForCausalLM, AutoTokenizer
source = {{"pretrained_model_name_or_path": {folder!r}, "gguf_file": {file!r}}}
model = AutoModelForCausalLM.from_pretrained(**source, dtype="float32")
model.hf_quantizer = None  # the weights are de-quantized now, and saved as they are
del model.config.quantization_config
model.save_pretrained({target!r})
AutoTokenizer.from_pretrained(**source).save_pretrained({target!r})"""
"""Python that writes the de-quantized model; needs the package gguf."""


def is_gguf(file: str) -> bool:
    """Returns whether a file is a GGUF file, by its name."""
    return file.lower().endswith(".gguf")


def refuse_gguf(name: str, path: Path) -> None:
    """Refuses a GGUF file, or a folder whose only weights are GGUF files.

    Args:
        name: Of the model, for the message.
        path: A file or a folder; need not exist.

    Raises:
        ValueError: With the lines that convert the file.
    """
    candidates = [path] if path.is_file() else sorted(path.glob("*"))
    files = [file for file in candidates if is_gguf(file.name)]
    if not files or any(path.glob("*.safetensors")):
        return
    file = files[0].absolute()
    target = str(file.with_suffix(""))
    lines = CONVERSION.format(folder=str(file.parent), file=file.name, target=target)
    raise ValueError(
        f"model {name!r}: {file} is a GGUF file, and a base model is a folder in Hugging Face "
        "format. Convert the file with the lines below, after `pip install gguf`; then give "
        f"path={target!r}. Rounding of its quantization stays in the weights.\n\n{lines}"
    )
