"""Heads that are masked or pruned: what is left is the model with their outputs zeroed."""

from __future__ import annotations

import pytest
import torch

from tests.models import parity, seq2seq_parity
from tests.models.case import Case
from tests.models.tiny import FIRST, TEXT, content, tiny_model
from tfcli.models.attention_heads import head_mask, prune_heads
from tfcli.models.errors import ModelError
from tfcli.models.layers.attention import Attend
from tfcli.models.loading import build, load_weights
from tfcli.models.registry import read_config
from tfcli.models.saving import export_config, export_tensors

SPLIT = {
    "llama": ("model.layers.1.self_attn.o_proj", 1),
    "gpt_neo": ("transformer.h.1.attn.attention.out_proj", 1),
    "gptj": ("transformer.h.1.attn.out_proj", 1),
    "opt": ("model.decoder.layers.1.self_attn.out_proj", 1),
    "bert": ("bert.encoder.layer.1.attention.output.dense", 1),
    "distilbert": ("distilbert.transformer.layer.1.attention.out_lin", 1),
    "electra": ("electra.encoder.layer.1.attention.output.dense", 1),
    "albert": ("albert.encoder.albert_layer_groups.0.albert_layers.0.attention.dense", 0),
    "bart": ("model.decoder.layers.1.encoder_attn.out_proj", "decoder.layers.1.encoder_attn"),
}
"""Family -> an output linear, and the name of its attention."""
FUSED = ("gpt2", "gpt_neox", "bloom", "falcon", "codegen", "phi3", "modernbert", "gpt_bigcode")
OTHER = ("olmo2", "gpt_oss", "deepseek_v3", "convbert", "t5", "olmoe")
RECURRENT = ("mamba", "mamba2", "rwkv")
# Not the towers for texts, whose cases are those of media; XLNet's projections are no modules.
ATTENDS = [
    name for name in TEXT if isinstance(FIRST.get(name), Case) and name not in (*RECURRENT, "xlnet")
]


def made(model_type: str):
    """A model, its inputs, and how many heads and key heads its attention has."""
    case, task = FIRST[model_type], FIRST[model_type].tasks[0]
    seq2seq = task == "seq2seq-lm"
    changes = {} if seq2seq else {"num_key_value_heads": 2} if model_type == "llama" else {}
    model = tiny_model(model_type, task, **changes)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.05)
    return model, (seq2seq_parity if seq2seq else parity).inputs(case, task)


def logits(model, batch):
    with torch.no_grad():
        return model(**batch).logits


def zeroed(model, batch, output: str, heads: int, gone: list[int]):
    """The logits without the columns of some heads in an output linear."""
    weight = model.get_parameter(f"{output}.weight")
    kept = weight.detach().clone()
    with torch.no_grad():
        for head in gone:
            width = weight.shape[1] // heads
            weight[:, head * width : (head + 1) * width] = 0
        answer = logits(model, batch)
        weight.copy_(kept)
    return answer


@pytest.mark.parametrize("model_type", SPLIT)
def test_pruned_heads_are_heads_that_give_nothing(model_type):
    torch.manual_seed(0)
    model, batch = made(model_type)
    output, layer = SPLIT[model_type]
    heads = getattr(model.config, "decoder_attention_heads", model.config.num_attention_heads)
    gone = [0] if model_type == "bart" else [0, 1] if model_type == "llama" else [1, heads - 1]
    whole = logits(model, batch)
    expected = zeroed(model, batch, output, heads, gone)
    assert not torch.allclose(whole, expected, atol=1e-4)
    with head_mask(model, {layer: [float(head not in gone) for head in range(heads)]}):
        torch.testing.assert_close(logits(model, batch), expected, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(logits(model, batch), whole)
    size = sum(parameter.numel() for parameter in model.parameters())
    prune_heads(model, {layer: gone})
    assert sum(parameter.numel() for parameter in model.parameters()) < size
    torch.testing.assert_close(logits(model, batch), expected, rtol=1e-5, atol=1e-5)
    again = build(read_config(export_config(model)), model.task)
    load_weights(again, dict(export_tensors(model)))
    assert torch.equal(logits(again.eval(), batch), logits(model, batch))


def test_several_calls_add_up_and_keep_the_first_numbers():
    torch.manual_seed(0)
    model, batch = made("bert")
    heads = model.config.text.num_attention_heads
    mask = [1.0] * heads
    mask[0] = mask[heads - 1] = 0.0
    with head_mask(model, {0: mask, 1: [0.0] + [1.0] * (heads - 1)}):
        expected = logits(model, batch)
    prune_heads(model, {0: [0]})
    prune_heads(model, {0: [heads - 1, 0], 1: [0]})
    torch.testing.assert_close(logits(model, batch), expected, rtol=1e-5, atol=1e-5)
    assert model.config.to_dict()["pruned_heads"] == {"0": [0, heads - 1], "1": [0]}


def test_a_cache_holds_the_heads_that_are_left():
    model, batch = made("gptj")
    prune_heads(model, {0: [0]})
    ids, cache = batch["input_ids"], model.make_cache()
    model(ids[:, :9], cache=cache)
    rest = model(ids[:, 9:], cache=cache).logits
    torch.testing.assert_close(rest, model(ids).logits[:, 9:], rtol=1e-4, atol=1e-4)


@pytest.mark.families
@pytest.mark.parametrize("model_type", ATTENDS)
def test_heads_of_every_family_can_be_masked(model_type):
    torch.manual_seed(0)
    model, batch = made(model_type)
    path = next(
        path
        for path, module in model.named_modules()
        if any(isinstance(child, Attend) for child in module.children())
    )
    numbered = FIRST[model_type].tasks[0] != "seq2seq-lm"
    layer = 0 if numbered else path.removeprefix(f"{model.base()}.")
    heads = model.config.text.num_attention_heads
    if model_type == "convbert":
        heads //= 2  # the others are convolutions
    ones = torch.ones(heads, requires_grad=True)
    with head_mask(model, {layer: ones}):
        answer = model(**batch).logits
    torch.testing.assert_close(answer.detach(), logits(model, batch))
    (gradient,) = torch.autograd.grad(answer.pow(2).sum(), ones)
    assert gradient.abs().min() > 0


@pytest.mark.parametrize("model_type", FUSED)
def test_fused_heads_are_refused_by_name(model_type):
    model = tiny_model(model_type)
    with pytest.raises(ModelError, match=f"attention of {model_type} .* one fused linear") as error:
        prune_heads(model, {0: [0]})
    assert "head_mask" in error.value.fix


@pytest.mark.parametrize("model_type", OTHER)
def test_other_parameters_of_heads_are_refused(model_type):
    model = tiny_model(model_type)
    with pytest.raises(ModelError, match=f"attention of {model_type} has parameters of heads"):
        prune_heads(model, {0: [0]})


@pytest.mark.parametrize(
    ("heads", "what"),
    [
        ({0: [9]}, "heads are numbered 0 to 3"),
        ({7: [0]}, "there is no attention '7'"),
        ({"encoder": [0]}, "there is no attention 'encoder'"),
        ({0: [0, 1, 2, 3]}, "all heads of an attention"),
        ({0: [0]}, "each 2 heads share a key head"),
    ],
)
def test_what_cannot_be_pruned_leaves_the_model_as_it_was(heads, what):
    model = tiny_model("llama", num_attention_heads=4, num_key_value_heads=2)
    before = {name: each.shape for name, each in model.named_parameters()}
    with pytest.raises(ModelError, match=what):
        prune_heads(model, {1: [0, 1], **heads})
    assert before == {name: each.shape for name, each in model.named_parameters()}
    assert "pruned_heads" not in model.config.to_dict()


def test_masks_fit_and_declared_heads_are_lists():
    model = tiny_model("bert")
    with (
        pytest.raises(ModelError, match=r"the shape \[1\], but there are"),
        head_mask(model, {0: [1]}),
    ):
        pass
    for wrong in ([0], {"0": 1}, {"0": ["a"]}):
        config = read_config(content("bert", pruned_heads=wrong))
        with pytest.raises(ModelError, match="pruned_heads must map"):
            build(config)
    assert build(read_config(content("bert", pruned_heads={})))
