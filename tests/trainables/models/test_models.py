"""Which model a name means, and loading it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import httpx2
import pytest
import torch
from bitsandbytes.functional import dequantize_4bit
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

from search_spaces.base_models import BaseModelRef
from tests.support.hub_models import serve
from tests.support.tiny_models import make_model, make_tokenizer, save_folder
from trainables.errors import UnavailableError
from trainables.models import loading, resolve
from trainables.models.loading import load_base
from trainables.models.resolve import resolve_model


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return save_folder(tmp_path / "model")


def content_of(folder: Path) -> str:
    return resolve_model(BaseModelRef(name=str(folder))).content


def change_config(folder: Path, **changes: object) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def test_a_folder_is_known_by_its_files(folder: Path, tmp_path: Path) -> None:
    content = content_of(folder)
    assert content.startswith("files:") and len(content) == len("files:") + 64
    copy = tmp_path / "elsewhere"
    shutil.copytree(folder, copy)
    (copy / "README.md").write_text("a card")
    (copy / "training_args.json").write_text("{}")
    assert content_of(copy) == content


@pytest.mark.parametrize(
    "name", ["config.json", "tokenizer.json", "tokenizer_config.json", "generation_config.json"]
)
def test_a_changed_file_is_another_model(folder: Path, name: str) -> None:
    content = content_of(folder)
    (folder / name).write_text((folder / name).read_text() + "\n")
    assert content_of(folder) != content


def test_a_changed_weight_is_another_model(folder: Path) -> None:
    content = content_of(folder)
    weights = load_file(folder / "model.safetensors")
    weights["model.norm.weight"][0] += 1
    save_file(weights, folder / "model.safetensors")
    assert content_of(folder) != content


@pytest.mark.parametrize("name", ["llama", "gpt2", "gpt_neox", "mixtral"])
def test_size_and_facts_come_from_headers(tmp_path: Path, name: str) -> None:
    source = resolve_model(BaseModelRef(name=str(save_folder(tmp_path / name, name))))
    model = make_model(name)
    assert source.num_params == model.num_parameters()
    config = model.config
    experts = [p for n, p in model.named_parameters() if "experts" in n]
    assert source.num_expert_params == sum(p.numel() for p in experts)
    assert bool(experts) == (name == "mixtral")
    facts = (source.num_layers, source.hidden_size, source.vocab_size, source.max_positions)
    assert facts == (config.num_hidden_layers, 32, config.vocab_size, 256)


def test_a_tied_weight_that_is_stored_twice_counts_once(folder: Path) -> None:
    num_params = resolve_model(BaseModelRef(name=str(folder))).num_params
    weights = load_file(folder / "model.safetensors")
    assert "lm_head.weight" not in weights
    weights["lm_head.weight"] = weights["model.embed_tokens.weight"].clone()
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    assert resolve_model(BaseModelRef(name=str(folder))).num_params == num_params


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("gpt5", r"'gpt5': neither an embedded model \(micro-s.*nor a folder.*owner/name$"),
        ("mikro-l", r"form owner/name \(did you mean 'micro-l'( or 'micro-.')?\?\)$"),
        ("./no/such/folder", "no/such/folder does not exist; correct the path"),
    ],
)
def test_an_unknown_model_is_refused(name: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        resolve_model(BaseModelRef(name=name))


def test_pickled_weights_are_refused(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(ValueError, match=r"no \*\.safetensors"):
        content_of(folder)


LFS_POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a21\nsize 1234\n"


@pytest.mark.parametrize("fault", ["pointer", "empty", "no header", "half a header", "half"])
def test_weights_that_are_not_whole_are_refused(folder: Path, fault: str) -> None:
    path = folder / "model.safetensors"
    whole = path.read_bytes()
    length = {"empty": 0, "no header": 5, "half a header": 60, "half": len(whole) - 1}
    path.write_bytes(LFS_POINTER if fault == "pointer" else whole[: length[fault]])
    with pytest.raises(ValueError, match=r"model\.safetensors: .* must be whole.*git lfs pull"):
        content_of(folder)


def test_a_header_that_is_none_is_refused(folder: Path) -> None:
    header = json.dumps({"weight": {"shape": [1]}}).encode()
    (folder / "model.safetensors").write_bytes(len(header).to_bytes(8, "little") + header)
    with pytest.raises(ValueError, match="not a safetensors file: a tensor without offsets"):
        content_of(folder)


OWN_CODE = {"AutoConfig": "own.Config", "AutoModelForCausalLM": "own.Model"}


@pytest.mark.parametrize("model_type", ["unheard-of", "bert-of-mine", None])
def test_an_architecture_that_needs_code_of_its_own_is_refused(
    folder: Path, model_type: str | None
) -> None:
    change_config(folder, auto_map=OWN_CODE, model_type=model_type)
    with pytest.raises(ValueError, match=rf"auto_map.* model_type {model_type!r} is no causal"):
        content_of(folder)


def test_code_beside_an_architecture_of_transformers_is_never_run(folder: Path) -> None:
    mark = folder / "ran"
    (folder / "own.py").write_text(
        f"open({str(mark)!r}, 'w').close()\nraise SystemExit('own code')"
    )
    change_config(folder, auto_map=OWN_CODE)
    base = load_base(resolve_model(BaseModelRef(name=str(folder))), "float32", "none", "cpu")
    assert type(base.model).__module__.startswith("transformers.models.")
    assert not mark.exists()


def test_a_folder_without_tokenizer_or_with_a_revision_is_refused(folder: Path) -> None:
    with pytest.raises(ValueError, match="a folder has no revision"):
        resolve_model(BaseModelRef(name=str(folder), revision="main"))
    for path in folder.glob("*token*"):
        path.unlink()
    with pytest.raises(ValueError, match="no tokenizer files"):
        content_of(folder)


def test_a_hub_name_without_a_network_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_network(*args: object, **kwargs: object) -> None:
        raise ConnectionError("no route to host")

    monkeypatch.setattr(resolve.HfApi, "model_info", no_network)
    with pytest.raises(UnavailableError, match=r"the Hub cannot be reached \(ConnectionError\)"):
        resolve_model(BaseModelRef(name="owner/name"))


def hub_error(
    kind: type[HfHubHTTPError], status: int, said: str = "", server_message: str | None = None
) -> HfHubHTTPError:
    """Returns an error as the client raises it: several lines, with links to its documentation."""
    url = "https://huggingface.co/api/models/owner/name"
    response = httpx2.Response(status, request=httpx2.Request("GET", url))
    text = f"{status} Client Error. (Request ID: Root=1-65)\n\n{said} for url: {url}.\nSee docs."
    return kind(text, response=response, server_message=server_message)


REFUSALS: dict[str, tuple[HfHubHTTPError | HFValidationError, str]] = {
    "gated": (
        hub_error(GatedRepoError, 401, "Cannot access gated repo"),
        "gated on the Hub (401): accept its licence at https://huggingface.co/owner/name and log "
        "in with `hf auth login`",
    ),
    "not there": (
        hub_error(RepositoryNotFoundError, 404, "Repository Not Found"),
        "the Hub has no such model, or it is private (404): check the name; for a private model "
        "log in with `hf auth login`",
    ),
    "no revision": (
        hub_error(RevisionNotFoundError, 404, "Revision Not Found"),
        "the Hub has no revision 'v2' of it (404): correct the revision, or leave it out for the "
        "newest",
    ),
    "not allowed": (
        hub_error(HfHubHTTPError, 403, server_message="no read\npermission"),
        "the Hub refused access (403 no read permission): log in with `hf auth login`",
    ),
    "busy": (
        hub_error(HfHubHTTPError, 429),
        "the Hub answered 429 Too Many Requests: try again later, or give the path of a local copy",
    ),
    "no name": (
        HFValidationError("Repo id must\nbe alphanumeric"),
        "no name of a model on the Hub (Repo id must be alphanumeric); correct it",
    ),
}


@pytest.mark.parametrize("step", ["model_info", "snapshot_download"])
@pytest.mark.parametrize("case", REFUSALS)
def test_a_refusal_of_the_hub_is_one_line_with_a_remedy(
    folder: Path, case: str, step: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The Hub describes a gated model to anyone, and refuses its files."""
    error, words = REFUSALS[case]

    def refuse(*args: object, **options: object) -> None:
        raise error

    serve(folder, monkeypatch)
    monkeypatch.setattr(resolve.HfApi if step == "model_info" else resolve, step, refuse)
    with pytest.raises(ValueError, match=r"^model") as refused:
        resolve_model(BaseModelRef(name="owner/name", revision="v2"))
    assert str(refused.value) == f"model 'owner/name': {words}"
    assert not isinstance(refused.value, UnavailableError)


def test_a_cached_commit_needs_no_network(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        resolve, "try_to_load_from_cache", lambda *a, **k: str(folder / "config.json")
    )
    commit = "0123456789" * 4
    source = resolve_model(BaseModelRef(name="owner/name", revision=commit))
    assert source.content == f"hub:owner/name@{commit}"
    assert (source.source, source.revision) == ("owner/name", commit)
    assert source.num_params == make_model("llama").num_parameters()


def test_a_base_is_loaded_frozen_and_as_it_is(folder: Path) -> None:
    source = resolve_model(BaseModelRef(name=str(folder)))
    base = load_base(source, "float32", "none", "cpu")
    plain = AutoModelForCausalLM.from_pretrained(folder)
    tokens = torch.tensor([[1, 5, 7]])
    assert torch.equal(base.model(tokens).logits, plain(tokens).logits)
    assert not base.model.training
    assert not any(parameter.requires_grad for parameter in base.model.parameters())
    assert base.tokenizer("ab").input_ids == make_tokenizer("words")("ab").input_ids
    assert base.notes == (
        "the tokenizer has no pad token: rows are filled with token 0 and masked",
    )
    assert base.model.get_input_embeddings().weight.shape[0] == plain.config.vocab_size
    assert load_base(source, "bfloat16", "none", "cpu").model.dtype == torch.bfloat16


def test_a_soft_capped_model_gets_the_attention_that_can_cap(tmp_path: Path) -> None:
    source = resolve_model(BaseModelRef(name=str(save_folder(tmp_path / "m", "gemma2"))))
    assert load_base(source, "float32", "none", "cpu").model.config._attn_implementation == "eager"


def test_what_this_machine_cannot_do_is_refused(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = resolve_model(BaseModelRef(name=str(folder)))
    with pytest.raises(ValueError, match="dtype must be one of"):
        load_base(source, "float8", "none", "cpu")
    with pytest.raises(ValueError, match="none, nf4 or int8, got 'gptq'"):
        load_base(source, "float32", "gptq", "cpu")
    if not torch.cuda.is_available():
        with pytest.raises(ValueError, match="no CUDA GPU"):
            load_base(source, "float32", "none", "cuda")
    monkeypatch.setattr(loading.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ValueError, match="needs bitsandbytes"):
        load_base(source, "float32", "nf4", "cpu")


@pytest.mark.parametrize("quantization", ["nf4", "int8"])
def test_a_quantized_base_is_smaller_and_close(folder: Path, quantization: str) -> None:
    source = resolve_model(BaseModelRef(name=str(folder)))
    plain = load_base(source, "float32", "none", "cpu").model
    base = load_base(source, "float32", quantization, "cpu").model
    name = "model.layers.0.mlp.down_proj"
    weight, held = plain.get_submodule(name).weight, base.get_submodule(name).weight
    if quantization == "nf4":
        assert held.quant_state.nested and held.quant_state.quant_type == "nf4"
        restored = dequantize_4bit(held.data, held.quant_state)
        assert held.nbytes <= weight.nbytes / 8
    else:
        restored = held.data * held.SCB[:, None] / 127
        assert held.nbytes <= weight.nbytes / 4
    assert torch.corrcoef(torch.stack([weight.flatten(), restored.flatten()]))[0, 1] > 0.97
    assert torch.isfinite(base(torch.tensor([[1, 5, 7, 9]])).logits).all()


@pytest.mark.parametrize("quantization", ["nf4", "int8"])
def test_experts_that_no_quantization_reaches_are_said(tmp_path: Path, quantization: str) -> None:
    source = resolve_model(BaseModelRef(name=str(save_folder(tmp_path, "mixtral"))))
    base = load_base(source, "float32", quantization, "cpu")
    (note,) = [note for note in base.notes if "did not reach" in note]
    body = [p for n, p in make_model("mixtral").named_parameters() if p.ndim > 1 and "layers" in n]
    left = [
        (n, p)
        for n, p in base.model.named_parameters()
        if "layers" in n and p.ndim > 1 and p.dtype == torch.float32
    ]
    assert any("experts" in name for name, _ in left)
    share = sum(p.numel() for _, p in left) / sum(p.numel() for p in body)
    assert f"{quantization} did not reach {share:.0%} of the weights" in note
    assert "model.layers.*.mlp.experts.gate_up_proj" in note and "quantization none" in note


@pytest.mark.parametrize("name", ["llama", "gpt2", "gpt_neox"])
def test_linear_layers_are_reached_and_nothing_is_said(tmp_path: Path, name: str) -> None:
    source = resolve_model(BaseModelRef(name=str(save_folder(tmp_path, name))))
    for quantization in ("nf4", "int8", "none"):
        notes = load_base(source, "float32", quantization, "cpu").notes
        assert not [note for note in notes if "did not reach" in note]
