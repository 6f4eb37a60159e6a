"""A model whose config, tokenizer and weights do not fit each other is refused, in the plan and at
load; one whose files do, in whichever layout, is not."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import AutoModelForCausalLM, BertConfig, BertLMHeadModel, BitsAndBytesConfig

from search_spaces.base_models import BaseModelRef
from tests.support.hub_models import COMMIT, NAME, serve
from tests.support.tiny_models import CONFIGS, make_model, make_tokenizer, save_folder
from trainables.data.lab.base_models import MICRO_MODELS
from trainables.distributed.select import load_for_engine
from trainables.models import resolve as model_identity
from trainables.models.loading import load_base
from trainables.models.resolve import resolve_model
from trainables.models.source import ModelSource

INDEX = "model.safetensors.index.json"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A model with untied embeddings."""
    return save_folder(tmp_path / "model", "mistral")


def resolve(folder: Path) -> ModelSource:
    return resolve_model(BaseModelRef(name=str(folder)))


def load_unchecked(folder: Path, quantization: str = "none") -> None:
    """Loads a model that was not here when the study was planned."""
    source = ModelSource(name="late", source=str(folder), revision=None, content="unknown")
    load_base(source, "float32", quantization, "cpu")


def change_json(path: Path, **changes: object) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def change_weights(folder: Path, change: Callable[[dict[str, Tensor]], dict[str, Tensor]]) -> None:
    path = folder / "model.safetensors"
    weights = load_file(path)
    save_file(change(weights), path, metadata={"format": "pt"})


def shard(folder: Path, name: str = "mistral") -> None:
    (folder / "model.safetensors").unlink()
    make_model(name).save_pretrained(folder, max_shard_size="50KB")
    assert len(list(folder.glob("*.safetensors"))) > 2


def refusal(check: Callable[[], object]) -> str:
    with pytest.raises(ValueError, match="model ") as refused:
        check()
    message = str(refused.value)
    assert "\n" not in message and "trust_remote_code" not in message
    return message


def _without_head(folder: Path) -> None:
    change_weights(
        folder, lambda weights: {k: v for k, v in weights.items() if k != "lm_head.weight"}
    )


def _reward_model(folder: Path) -> None:
    _without_head(folder)
    change_weights(folder, lambda weights: {**weights, "score.weight": torch.zeros(1, 32)})


def _under_module(folder: Path) -> None:
    change_weights(folder, lambda weights: {f"module.{k}": v for k, v in weights.items()})


def _in_config(**changes: object) -> Callable[[Path], None]:
    return lambda folder: change_json(folder / "config.json", **changes)


MISFITS: Mapping[str, tuple[Callable[[Path], None], str]] = {
    "no head": (_without_head, "1 missing (lm_head.weight)"),
    "reward model": (
        _reward_model,
        "1 missing (lm_head.weight); 1 not in the model (score.weight)",
    ),
    "under module.": (
        _under_module,
        "30 missing (lm_head.weight, model.embed_tokens.weight, "
        "model.layers.0.input_layernorm.weight, ...); 30 not in the model (module.lm_head.weight, ",
    ),
    "more layers": (
        _in_config(num_hidden_layers=4),
        "9 missing (model.layers.3.input_layernorm.weight, ",
    ),
    "fewer layers": (
        _in_config(num_hidden_layers=2),
        "9 not in the model (model.layers.2.input_layernorm.weight, ",
    ),
    "other width": (
        _in_config(hidden_size=64, head_dim=8),
        "of another shape (lm_head.weight [400, 32] for [400, 64], ",
    ),
    "other vocabulary": (
        _in_config(vocab_size=500),
        "2 of another shape (lm_head.weight [400, 32] for [500, 32], model.embed_tokens.weight ",
    ),
}


@pytest.mark.parametrize("case", MISFITS)
def test_tensors_that_do_not_fit_are_refused_in_the_plan_and_at_load(
    folder: Path, case: str
) -> None:
    spoil, words = MISFITS[case]
    spoil(folder)
    message = refusal(lambda: resolve(folder))
    assert "tensors of its *.safetensors do not fit" in message and words in message
    assert str(folder) in message and "save_pretrained" in message
    assert words in refusal(lambda: load_unchecked(folder))


@pytest.mark.parametrize("quantization", ["nf4", "int8"])
@pytest.mark.parametrize("case", ["no head", "more layers"])
def test_tensors_are_checked_when_they_are_quantized(
    folder: Path, case: str, quantization: str
) -> None:
    spoil, words = MISFITS[case]
    spoil(folder)
    assert words in refusal(lambda: load_unchecked(folder, quantization))


@pytest.mark.parametrize("case", ["more layers", "fewer layers", "other vocabulary"])
def test_tensors_are_checked_when_they_are_in_shards(folder: Path, case: str) -> None:
    shard(folder)
    resolve(folder)
    spoil, words = MISFITS[case]
    spoil(folder)
    assert words in refusal(lambda: resolve(folder))
    assert words in refusal(lambda: load_unchecked(folder))


def test_a_missing_shard_is_refused(folder: Path) -> None:
    shard(folder)
    gone = sorted(folder.glob("*.safetensors"))[1]
    gone.unlink()
    message = refusal(lambda: resolve(folder))
    assert f"lacks {gone.name}" in message and INDEX in message and "tensors" in message


@pytest.mark.parametrize("is_sharded", [False, True])
def test_weights_that_are_there_twice_are_counted_once(folder: Path, is_sharded: bool) -> None:
    whole = load_file(folder / "model.safetensors")
    number = resolve(folder).num_params
    if is_sharded:
        shard(folder)
    save_file({f"other.{name}": whole[name] for name in whole}, folder / "consolidated.safetensors")
    assert resolve(folder).num_params == number


def test_an_index_that_names_what_its_shards_do_not_hold_is_refused(folder: Path) -> None:
    shard(folder)
    path = folder / INDEX
    index = json.loads(path.read_text())
    first = sorted(set(index["weight_map"].values()))[0]
    index["weight_map"] |= {"model.layers.9.a": first, "model.layers.9.b": first}
    path.write_text(json.dumps(index))
    message = refusal(lambda: resolve(folder))
    assert "names 2 tensors" in message and "model.layers.9.a, model.layers.9.b" in message
    path.write_text(json.dumps({"weight_map": [first]}))
    assert "no weight_map" in refusal(lambda: resolve(folder))


@pytest.mark.parametrize("name", CONFIGS)
def test_every_architecture_of_the_tests_fits(tmp_path: Path, name: str) -> None:
    source = resolve(save_folder(tmp_path, name))
    load_base(source, "float32", "none", "cpu")


@pytest.mark.parametrize("name", MICRO_MODELS)
def test_every_model_of_the_lab_fits(name: str) -> None:
    load_base(resolve_model(BaseModelRef(name=name)), "float32", "none", "cpu")


def test_a_tied_weight_may_be_stored_twice(tmp_path: Path) -> None:
    folder = save_folder(tmp_path, "llama")
    change_weights(
        folder,
        lambda weights: {**weights, "lm_head.weight": weights["model.embed_tokens.weight"].clone()},
    )
    load_base(resolve(folder), "float32", "none", "cpu")


def test_keys_that_a_class_ignores_may_be_there_or_not(tmp_path: Path) -> None:
    """GPT-2's first files hold its causal mask, and name tensors without `transformer.`."""
    folder = save_folder(tmp_path, "gpt2")
    prefix = "transformer."
    change_weights(
        folder,
        lambda weights: {
            **{name.removeprefix(prefix): tensor for name, tensor in weights.items()},
            "h.0.attn.bias": torch.ones(1, 1, 256, 256),
        },
    )
    base = load_base(resolve(folder), "float32", "none", "cpu")
    tokens = torch.tensor([[1, 5, 7]])
    assert torch.equal(base.model(tokens).logits, make_model("gpt2")(tokens).logits)


@pytest.mark.parametrize("quantization", ["nf4", "int8"])
def test_a_model_that_is_quantized_on_disk_is_checked_at_load(
    folder: Path, tmp_path: Path, quantization: str
) -> None:
    how = {"nf4": {"load_in_4bit": True}, "int8": {"load_in_8bit": True}}[quantization]
    model = AutoModelForCausalLM.from_pretrained(
        folder, quantization_config=BitsAndBytesConfig(**how), device_map={"": "cpu"}
    )
    held = tmp_path / "held"
    model.save_pretrained(held)
    make_tokenizer("words").save_pretrained(held)
    load_base(resolve(held), "float32", "none", "cpu")
    _without_head(held)
    assert "1 missing (lm_head.weight)" in refusal(
        lambda: load_base(resolve(held), "float32", "none", "cpu")
    )


def add_adapter(folder: Path) -> None:
    made = AutoModelForCausalLM.from_pretrained(folder)
    config = LoraConfig(r=2, target_modules=["q_proj"], init_lora_weights=False)
    get_peft_model(made, config).save_pretrained(folder)


def test_an_adapter_beside_its_model_is_loaded_and_both_are_checked(folder: Path) -> None:
    add_adapter(folder)
    base = load_base(resolve(folder), "float32", "none", "cpu")
    tokens = torch.tensor([[1, 5, 7]])
    assert not torch.equal(base.model(tokens).logits, make_model("mistral")(tokens).logits)
    weights = load_file(folder / "adapter_model.safetensors")
    save_file(
        {name: tensor for name, tensor in weights.items() if ".layers.1." not in name},
        folder / "adapter_model.safetensors",
        metadata={"format": "pt"},
    )
    assert "2 missing" in refusal(lambda: resolve(folder))
    save_file(weights, folder / "adapter_model.safetensors", metadata={"format": "pt"})
    _without_head(folder)
    assert "1 missing (lm_head.weight)" in refusal(lambda: resolve(folder))


def test_an_adapter_without_its_model_is_refused(folder: Path) -> None:
    add_adapter(folder)
    (folder / "config.json").unlink()
    assert "an adapter without its base model: merge" in refusal(lambda: resolve(folder))


CONFIG_FAULTS: Mapping[str, tuple[Mapping[str, object], str]] = {
    "text for a size": ({"hidden_size": "32"}, "hidden_size must be a whole number"),
    "truth for a size": ({"vocab_size": True}, "vocab_size must be a whole number"),
    "no layers": ({"num_hidden_layers": 0}, "num_hidden_layers must be a whole number"),
    "text elsewhere": ({"intermediate_size": "big"}, "'intermediate_size' expected int"),
    "text for epsilon": ({"rms_norm_eps": "small"}, "'rms_norm_eps' expected float"),
    "unknown activation": ({"hidden_act": "zelu"}, "KeyError: 'zelu'"),
    "encoder": ({"model_type": "vit"}, "model_type 'vit' is no causal"),
    "unheard of": ({"model_type": "nope"}, "model_type 'nope' is no causal"),
    "a number": ({"model_type": 3}, "model_type 3 is no causal"),
    "a list": ({"model_type": ["llama"]}, "model_type ['llama'] is no causal"),
    "bert": ({"model_type": "bert"}, "model_type 'bert' without is_decoder, which is an encoder"),
}


@pytest.mark.parametrize("case", CONFIG_FAULTS)
def test_a_config_that_means_no_model_is_refused(folder: Path, case: str) -> None:
    changes, words = CONFIG_FAULTS[case]
    change_json(folder / "config.json", **changes)
    message = refusal(lambda: resolve(folder))
    assert words in message and "config.json" in message and "pip install" not in message


def test_an_encoder_is_no_language_model_even_with_all_its_weights(tmp_path: Path) -> None:
    shape = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4}
    for is_decoder in (False, True):
        folder = tmp_path / str(is_decoder)
        config = BertConfig(vocab_size=400, intermediate_size=48, is_decoder=is_decoder, **shape)
        BertLMHeadModel(config).save_pretrained(folder)
        make_tokenizer("words").save_pretrained(folder)
        if is_decoder:
            resolve(folder)
        else:
            assert "is an encoder" in refusal(lambda folder=folder: resolve(folder))


def _add_token(folder: Path, **options: object) -> None:
    tokenizer = make_tokenizer("unigram")
    tokenizer.add_tokens([f"<{index}>" for index in range(400 - len(tokenizer))])

    assert len(tokenizer) == 400
    tokenizer.add_tokens(["<one-more>"], **options)
    tokenizer.save_pretrained(folder)


def _write(name: str, text: str) -> Callable[[Path], object]:
    return lambda folder: (folder / name).write_text(text)


TOKENIZER_FAULTS: Mapping[str, tuple[Callable[[Path], object], str]] = {
    "cut short": (_write("tokenizer.json", '{"model":'), "tokenizer.json is not JSON"),
    "another file": (_write("tokenizer.json", '{"a": 1}'), "tokenizer.json cannot be loaded"),
    "config cut short": (_write("tokenizer_config.json", "{"), "tokenizer_config.json is not JSON"),
    "config is a list": (_write("tokenizer_config.json", "[]"), "must hold one JSON object"),
    "own code": (
        lambda folder: change_json(
            folder / "tokenizer_config.json", auto_map={"AutoTokenizer": ["own.Tok", None]}
        ),
        "tokenizer_config.json needs custom code (auto_map), which is never run",
    ),
    "own code, old form": (
        lambda folder: change_json(folder / "tokenizer_config.json", auto_map=["own.Tok", None]),
        "tokenizer_config.json needs custom code (auto_map), which is never run",
    ),
    "only its config": (
        lambda folder: (folder / "tokenizer.json").unlink(),
        "holds no tokenizer files with a vocabulary",
    ),
    "a token too many": (_add_token, "'<one-more>' with id 400, and vocab_size"),
    "a pad token too many": (
        lambda folder: (
            _add_token(folder, special_tokens=True),
            change_json(folder / "tokenizer_config.json", pad_token="<one-more>"),
        ),
        "'<one-more>' with id 400, and vocab_size",
    ),
}


@pytest.mark.parametrize("case", TOKENIZER_FAULTS)
def test_a_tokenizer_that_does_not_fit_is_refused(folder: Path, case: str) -> None:
    spoil, words = TOKENIZER_FAULTS[case]
    spoil(folder)
    assert words in refusal(lambda: resolve(folder))


@pytest.mark.parametrize("case", ["a token too many", "a pad token too many"])
def test_a_tokenizer_of_the_hub_is_checked_before_its_weights_are_here(
    folder: Path, case: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    ref = BaseModelRef(name=NAME)
    serve(folder, monkeypatch)
    (folder / "model.safetensors").unlink()
    assert resolve_model(ref).content == f"hub:{NAME}@{COMMIT}"
    spoil, words = TOKENIZER_FAULTS[case]
    spoil(folder)
    assert words in refusal(lambda: resolve_model(ref))


def test_a_special_token_that_no_prompt_has_may_lie_beyond_the_vocabulary(folder: Path) -> None:
    _add_token(folder, special_tokens=True)
    load_base(resolve(folder), "float32", "none", "cpu")


def test_a_cached_model_is_checked_once_all_its_files_are_there(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Asked(Exception):
        pass

    def ask(*args: object, **options: object) -> None:
        raise Asked

    monkeypatch.setattr(
        model_identity, "try_to_load_from_cache", lambda *a, **k: str(folder / "config.json")
    )
    monkeypatch.setattr(model_identity.HfApi, "model_info", ask)
    shard(folder)
    ref = BaseModelRef(name="owner/name", revision="0123456789" * 4)
    assert resolve_model(ref).num_params == resolve(folder).num_params
    gone = sorted(folder.glob("*.safetensors"))[1]
    content = gone.read_bytes()
    gone.unlink()
    with pytest.raises(ValueError, match="the Hub cannot be reached"):  # what lacks may be there
        resolve_model(ref)
    gone.write_bytes(content)
    change_json(folder / "config.json", num_hidden_layers=2)
    other = ref.model_copy(update={"revision": "f" * 40})
    assert "'owner/name'" in (message := refusal(lambda: resolve_model(other)))
    assert "9 not in the model" in message


def test_a_model_that_is_not_here_costs_no_torch() -> None:
    code = (
        "import sys\n"
        "from search_spaces.space import BaseModelRef\n"
        "from trainables.models import resolve as m\n"
        "def fail(*a, **k): raise ConnectionError\n"
        "m.HfApi.model_info = fail\n"
        "try: m.resolve_model(BaseModelRef(name='owner/name'))\n"
        "except ValueError: pass\n"
        "assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_base_in_pieces_is_checked_before_it_is_loaded(folder: Path) -> None:
    """What loads in pieces reports no unexpected tensor."""
    spoil, words = MISFITS["fewer layers"]
    spoil(folder)
    source = ModelSource(name="late", source=str(folder), revision=None, content="unknown")
    how = {"dtype": "float32", "quantization": "none", "device": "cpu", "offload": False}
    assert words in refusal(lambda: load_for_engine("zero-3", source, **how))
