"""Prefix and prompt tuning: equal to PEFT in both directions, with caches, and what is refused."""

from __future__ import annotations

import peft
import pytest
import torch
import transformers

from tests.adapters.test_peft import IDS, answer, near, with_peft
from tests.generation.making import continued
from tests.merge.adapters import base_folder, gpt2_folder
from tfcli.adapters.read import read_adapter
from tfcli.adapters.write import save_adapter
from tfcli.checkpoints.folder import load_model
from tfcli.errors import ModelError
from tfcli.models.adapters.attach import add_adapter
from tfcli.models.adapters.control import (
    adapters_of,
    combine_adapters,
    delete_adapter,
    disabled,
    merge_adapters,
    set_active,
)
from tfcli.models.adapters.settings import AdapterSettings, Encoder
from tfcli.models.loading import build, initialize
from tfcli.models.registry import read_config

pytestmark = [pytest.mark.interop, pytest.mark.filterwarnings("ignore::UserWarning:peft")]
CONFIGS = {
    "prefix-tuning": lambda: peft.PrefixTuningConfig(num_virtual_tokens=3, task_type="CAUSAL_LM"),
    "prompt-tuning": lambda: peft.PromptTuningConfig(num_virtual_tokens=3, task_type="CAUSAL_LM"),
    "p-tuning": lambda: peft.PromptEncoderConfig(num_virtual_tokens=3, task_type="CAUSAL_LM"),
}
KINDS = tuple(CONFIGS)


def settings(kind, count=3):
    return AdapterSettings(type=kind, virtual_tokens=count)


def with_tokens(kind, base, name="default", seed=0):
    """A model with virtual tokens that make a difference."""
    model = load_model(base, dtype=torch.float32) if not hasattr(base, "task") else base
    add_adapter(model, settings(kind), name, seed)
    generator = torch.Generator().manual_seed(seed)
    prompt = model.prompts.changes[name].embedding
    prompt.data.copy_(torch.randn(prompt.shape, generator=generator))
    return model


@pytest.fixture(scope="module")
def llama(tmp_path_factory):
    return base_folder(tmp_path_factory.mktemp("llama") / "base")


@pytest.mark.parametrize("make", [base_folder, gpt2_folder])
@pytest.mark.parametrize("kind", KINDS)
def test_virtual_tokens_go_both_ways_with_equal_answers(kind, make, tmp_path):
    base = make(tmp_path / "base")
    loaded = transformers.AutoModelForCausalLM.from_pretrained(base, dtype="auto")
    theirs = peft.get_peft_model(loaded, CONFIGS[kind]()).eval()
    theirs.save_pretrained(tmp_path / "theirs")
    mask = torch.ones_like(IDS)
    mask[0, :4] = 0
    model = load_model(base, dtype=torch.float32)
    plain = answer(model, IDS)
    read_adapter(model, tmp_path / "theirs")
    with torch.no_grad():
        expected = theirs(IDS, attention_mask=torch.ones_like(IDS)).logits[:, -IDS.shape[1] :]
        assert (expected - plain).abs().max() > 1e-2
        near(answer(model, IDS), expected)
        # Where a row is padded, positions are counted past the padding, as generation has it.
        places = (torch.cat([torch.ones(2, 3), mask], 1).cumsum(1) - 1).long()
        if kind != "prefix-tuning":
            inner = torch.cat([theirs.get_prompt(2), theirs.word_embeddings(IDS)], 1)
            padded = theirs.base_model(
                inputs_embeds=inner, attention_mask=torch.cat([torch.ones(2, 3), mask], 1),
                position_ids=places,
            ).logits[:, 3:]  # fmt: skip
            ours = model(input_ids=IDS, attention_mask=mask).logits
            near(ours[mask.bool()], padded[mask.bool()])
    save_adapter(model, tmp_path / "ours")
    again = with_peft(base, tmp_path / "ours")
    with torch.no_grad():
        near(again(IDS, attention_mask=torch.ones_like(IDS)).logits[:, -IDS.shape[1] :], expected)


@pytest.mark.parametrize("cache", ["dynamic", "static", "quantized"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_text_is_written_after_them_with_any_cache(kind, cache, llama):
    model = with_tokens(kind, llama)
    settings = {"bits": 8} if cache == "quantized" else {}
    made = model.make_cache(cache, 12, **settings)
    written = continued(model, [5, 6, 7], max_new_tokens=9, cache=made)
    ids = [5, 6, 7, *written]
    expected = answer(model, torch.tensor([ids]))[0, 2:-1].argmax(-1).tolist()
    assert written == expected
    assert (made.length, made.virtual) == (11, 3)
    if cache != "quantized":
        made.crop(4)
        with torch.inference_mode():
            out = model(input_ids=torch.tensor([ids[4:6]]), cache=made).logits
        near(out, answer(model, torch.tensor([ids[:6]]))[:, 4:], within=1e-4)
    with pytest.raises(ModelError, match="virtual tokens"):
        made.save(llama / "cache.safetensors")


@pytest.mark.parametrize("kind", KINDS)
def test_gradients_reach_them_and_nothing_else(kind, llama):
    model = with_tokens(kind, llama).train()
    model(input_ids=IDS, labels=IDS).loss.backward()
    with_gradient = {name for name, p in model.named_parameters() if p.grad is not None}
    assert "prompts.changes.default.embedding" in with_gradient
    assert with_gradient == {n for n, _ in model.named_parameters() if n.startswith("prompts.")}
    assert (model.prompts.changes["default"].embedding.grad.abs().sum(1) > 0).all()


@pytest.mark.parametrize("kind", ["mlp", "lstm"])
def test_the_encoder_is_pefts(kind, llama, tmp_path):
    """With the same weights it makes the same embeddings, and PEFT reads what is written of it."""
    model = load_model(llama, dtype=torch.float32)
    encoder = Encoder(kind, width=24, layers=3 if kind == "lstm" else 2)
    add_adapter(model, AdapterSettings(type="p-tuning", virtual_tokens=3, encoder=encoder), seed=1)
    ours = model.prompts.changes["default"]
    theirs = peft.PromptEncoder(
        peft.PromptEncoderConfig(
            num_virtual_tokens=3,
            token_dim=ours.embedding.shape[1],
            num_transformer_submodules=1,
            encoder_reparameterization_type=kind.upper(),
            encoder_hidden_size=24,
            encoder_num_layers=encoder.layers,
        )
    )
    held = ours.state_dict()
    theirs.load_state_dict({"embedding.weight": held.pop("embedding"), **held}, strict=True)
    with torch.no_grad():
        near(ours(), theirs(torch.arange(3)[None])[0], within=1e-6)
    save_adapter(model, tmp_path / "ours")
    again = with_peft(llama, tmp_path / "ours")
    assert again.peft_config["default"].peft_type == "P_TUNING"
    with torch.no_grad():
        logits = again(IDS, attention_mask=torch.ones_like(IDS)).logits[:, -IDS.shape[1] :]
    near(answer(model, IDS), logits)


def test_files_have_what_the_encoder_makes_without_its_dropout(llama, tmp_path):
    model = load_model(llama, dtype=torch.float32)
    encoder = Encoder("lstm", dropout=0.5)
    add_adapter(model, AdapterSettings(type="p-tuning", virtual_tokens=3, encoder=encoder))
    plain = answer(model, IDS)
    save_adapter(model.train(), tmp_path / "ours")
    assert model.prompts.changes["default"].training
    model = load_model(llama, dtype=torch.float32)
    read_adapter(model, tmp_path / "ours")
    near(answer(model, IDS), plain)


def test_several_are_switched_between_and_combined_with_lora_alone(llama):
    model = with_tokens("prefix-tuning", llama, "a")
    plain = answer(load_model(llama, dtype=torch.float32), IDS)
    with_tokens("prompt-tuning", model, "b", seed=1)
    add_adapter(model, AdapterSettings(rank=2), "lora")
    answers = {}
    for name in ("a", "b"):
        set_active(model, name)
        answers[name] = answer(model, IDS)
    assert (answers["a"] - answers["b"]).abs().max() > 1e-2
    set_active(model, "a", "lora")
    near(answer(model, IDS), answers["a"])
    with disabled(model):
        near(answer(model, IDS), plain)
    with pytest.raises(ModelError, match="of which those of one adapter count"):
        set_active(model, "a", "b")
    with pytest.raises(ModelError, match="do not add up"):
        combine_adapters(model, {"a": 1.0, "lora": 1.0}, "sum")
    with pytest.raises(ModelError, match="no change of weights"):
        merge_adapters(model, "a")
    delete_adapter(model, "a")
    delete_adapter(model, "lora")
    assert adapters_of(model) == ["b"]
    delete_adapter(model, "b")
    assert model.prompts is None
    near(answer(model, IDS), plain)


def test_models_that_do_not_read_from_left_to_right_are_refused():
    sizes = {"vocab_size": 64, "hidden_size": 32, "intermediate_size": 48,
             "num_hidden_layers": 1, "num_attention_heads": 4}  # fmt: skip
    bert = build(read_config({"model_type": "bert", **sizes}), "masked-lm")
    with pytest.raises(ModelError, match="a masked-lm model of bert"):
        add_adapter(bert, settings("prompt-tuning"))
    mamba = initialize(build(read_config({"model_type": "mamba", "vocab_size": 64,
        "hidden_size": 32, "num_hidden_layers": 1, "state_size": 4}), "causal-lm"))  # fmt: skip
    with pytest.raises(ModelError, match="mamba has layers that take no such ones"):
        add_adapter(mamba, settings("prefix-tuning"))
    add_adapter(mamba, settings("prompt-tuning"))
    assert answer(mamba, IDS).isfinite().all()


def test_packed_rows_and_caches_of_before_are_refused(llama):
    model = load_model(llama, dtype=torch.float32)
    cache = model.make_cache()
    with torch.no_grad():
        model(input_ids=IDS, cache=cache)
        add_adapter(model, settings("prefix-tuning"))
        with pytest.raises(ModelError, match="without the adapter's virtual tokens"):
            model(input_ids=IDS, cache=cache)
        with pytest.raises(ModelError, match="packed texts share one"):
            model(input_ids=IDS, segment_ids=torch.zeros_like(IDS))
