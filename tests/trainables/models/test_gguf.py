"""GGUF files are refused with Python that converts them."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from huggingface_hub.hf_api import ModelInfo
from transformers import AutoModelForCausalLM, AutoTokenizer

from search_spaces.base_models import BaseModelRef
from tests.support.tiny_models import make_model, make_tokenizer, save_folder
from trainables.models import resolve
from trainables.models.resolve import resolve_model


def refusal_of(path: Path) -> str:
    with pytest.raises(ValueError, match="is a GGUF file") as caught:
        resolve_model(BaseModelRef(name="tiny", path=str(path)))
    return str(caught.value)


@pytest.fixture(params=["gguf", "GGUF"])
def gguf(tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    file = tmp_path / f"tiny.Q4_1.{request.param}"
    file.write_bytes(b"GGUF")
    return file


def test_the_lines_of_the_message_convert_the_file(
    gguf: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model: Any = make_model("llama")
    model.hf_quantizer = SimpleNamespace(is_serializable=lambda: False)
    model.config.quantization_config = SimpleNamespace(quant_method="gguf")
    asked = []

    def loads(result: object) -> Any:
        def from_pretrained(
            *, pretrained_model_name_or_path: str, gguf_file: str, **options: object
        ) -> object:
            asked.append(Path(pretrained_model_name_or_path) / gguf_file)
            return result

        return staticmethod(from_pretrained)

    message = refusal_of(gguf)
    target = gguf.with_suffix("")
    assert str(gguf) in message and f"path={str(target)!r}" in message
    with monkeypatch.context() as patched:
        patched.setattr(AutoModelForCausalLM, "from_pretrained", loads(model))
        patched.setattr(AutoTokenizer, "from_pretrained", loads(make_tokenizer("words")))
        exec(message.partition("\n\n")[2])
    assert asked == [gguf, gguf]
    source = resolve_model(BaseModelRef(name="tiny", path=str(target)))
    assert source.num_params == model.num_parameters()


def test_a_folder_of_gguf_files_alone_is_refused_alike(gguf: Path) -> None:
    assert refusal_of(gguf.parent) == refusal_of(gguf)


def test_a_gguf_file_next_to_safetensors_is_ignored(tmp_path: Path) -> None:
    folder = save_folder(tmp_path / "model")
    ref = BaseModelRef(name=str(folder))
    content = resolve_model(ref).content
    (folder / "tiny.gguf").write_bytes(b"GGUF")
    assert resolve_model(ref).content == content


@pytest.mark.parametrize("file", ["tiny.gguf", "TINY.GGUF"])
def test_a_hub_model_that_is_gguf_alone_is_refused(
    tmp_path: Path, file: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    info = ModelInfo(id="some/gguf", sha="1" * 40, siblings=[{"rfilename": file}])
    monkeypatch.setattr(resolve.HfApi, "model_info", lambda *args, **options: info)
    monkeypatch.setattr(resolve, "snapshot_download", lambda *args, **options: str(tmp_path))
    with pytest.raises(ValueError, match=r"'some/gguf': only GGUF files at commit 1+: name the"):
        resolve_model(BaseModelRef(name="some/gguf"))
