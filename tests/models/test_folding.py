"""Factors moved between an operation and what reads its outputs leave a model as it is."""

from __future__ import annotations

import pytest
import torch
import transformers
from torch import nn

from tests.models import seq2seq_parity
from tests.models.parity import MAIN, inputs, pair_id
from tests.models.tiny import TEXT, tiny_model
from tfcli.models.folding import Fold, apply_fold, apply_folds, folds_of
from tfcli.models.layers.linear import linear
from tfcli.models.layers.norms import OffsetRMSNorm, RMSNorm, layer_norm
from tfcli.models.loading import build, initialize
from tfcli.models.model import Model
from tfcli.models.registry import read_config

IDS = torch.randint(4, 61, (2, 17), generator=torch.Generator().manual_seed(0))
SEQ2SEQ = [(case, case.tasks[0]) for case in seq2seq_parity.CASES]
# Norms of the residual stream, and nothing between values and what reads them that is shared.
NO_PAIRS = {"albert", "convbert", "deberta", "deberta-v2", "distilbert", "esm", "funnel"}
NO_PAIRS |= {"longformer", "xlnet"}


def unsettled(model: Model) -> Model:
    """With no norm at 1 and no bias at 0."""
    generator = torch.Generator().manual_seed(2)
    for parameter in model.parameters():
        if parameter.ndim == 1:
            parameter.data += torch.randn(parameter.shape, generator=generator) * 0.1
    return model.float().eval()


def factors_of(block: nn.Module, fold: Fold, seed: int = 3) -> torch.Tensor:
    count = fold.gathered(inputs_of(block, fold)).numel()
    return torch.rand(count, generator=torch.Generator().manual_seed(seed)) * 3 + 0.25


def inputs_of(block: nn.Module, fold: Fold) -> torch.Tensor:
    return torch.ones(block.get_submodule(fold.readers[0]).weight.shape[1])


def logits(model: Model, batch) -> torch.Tensor:
    with torch.no_grad():
        return model(**batch).logits


@pytest.mark.families
@pytest.mark.parametrize(("case", "task"), [*MAIN, *SEQ2SEQ], ids=pair_id)
def test_a_folded_model_computes_what_it_did(case, task):
    config = getattr(transformers, case.config)(**case.settings).to_dict()
    model = unsettled(initialize(build(read_config(config), task), seed=1))
    batch = (seq2seq_parity.inputs if (case, task) in SEQ2SEQ else inputs)(case, task)
    before = logits(model, batch)
    folds = folds_of(model)
    changed = apply_folds(model, [(fold, factors_of(model, fold)) for fold in folds])
    assert {fold.source for fold in folds} == {
        name.rpartition(".")[0] for name in changed if not name.endswith(".bias")
    } - {reader for fold in folds for reader in fold.readers if reader not in sources(folds)}
    torch.testing.assert_close(logits(model, batch), before, rtol=1e-4, atol=1e-4)


def sources(folds: list[Fold]) -> set[str]:
    return {fold.source for fold in folds}


@pytest.mark.parametrize("model_type", TEXT)
def test_the_families_with_pairs_are_known(model_type):
    assert bool(folds_of(tiny_model(model_type))) != (model_type in NO_PAIRS)


@pytest.mark.parametrize("model_type", ["llama", "qwen2_moe", "phi", "gpt_bigcode", "qwen3_next"])
def test_each_pair_by_itself_and_each_of_its_readers_count(model_type):
    model = unsettled(tiny_model(model_type))
    before = logits(model, {"input_ids": IDS})
    for fold in folds_of(model):
        kept = {name: value.clone() for name, value in model.state_dict().items()}
        changed = apply_fold(model, fold, factors_of(model, fold))
        torch.testing.assert_close(
            logits(model, {"input_ids": IDS}), before, rtol=1e-4, atol=1e-4, msg=fold.source
        )
        assert changed.keys() >= {f"{name}.weight" for name in (fold.source, *fold.readers)}
        reader = f"{fold.readers[-1]}.weight"
        if ".experts." not in reader:  # which may have got no token
            model.get_parameter(reader).data = kept[reader]
            assert (logits(model, {"input_ids": IDS}) - before).abs().max() > 1e-3, fold.source
        model.load_state_dict(kept)


def test_llamas_pairs():
    found = {fold.source: fold.readers for fold in folds_of(tiny_model("llama").blocks[0])}
    assert found == {
        "input_layernorm": ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"),
        "post_attention_layernorm": ("mlp.gate_proj", "mlp.up_proj"),
        "self_attn.v_proj": ("self_attn.o_proj",),
        "mlp.up_proj": ("mlp.down_proj",),
    }


def test_what_is_beside_the_mlp_is_a_reader_of_its_norm():
    folds = {fold.source: fold for fold in folds_of(tiny_model("phi").blocks[0])}
    assert set(folds["input_layernorm"].readers) == {
        "self_attn.q_proj",
        "self_attn.k_proj",
        "self_attn.v_proj",
        "mlp.fc1",
    }


def test_a_router_is_a_reader_of_the_norm_before_its_mixture():
    folds = {fold.source: fold for fold in folds_of(tiny_model("mixtral").blocks[0])}
    readers = folds["post_attention_layernorm"].readers
    assert "block_sparse_moe.gate" in readers
    assert "block_sparse_moe.experts.1.w3" in readers


def test_heads_that_share_values_share_factors():
    model = tiny_model("llama", num_attention_heads=4, num_key_value_heads=2)
    fold = next(fold for fold in folds_of(model.blocks[0]) if fold.source.endswith("v_proj"))
    value = model.blocks[0].get_submodule(fold.source)
    width = value.out_features // 2
    factors = torch.arange(value.out_features).float()
    heads = fold.spread(factors).view(4, width)
    assert torch.equal(heads[0], heads[1])
    assert torch.equal(heads[2], factors[width:])
    assert torch.equal(fold.gathered(fold.spread(factors)), factors)


def test_the_residual_stream_is_no_reader():
    """Where a norm's outputs are added to what follows, the norm is in no pair."""
    model = tiny_model("bloom", apply_residual_connection_post_layernorm=True)
    assert {fold.source for fold in folds_of(model.blocks[0])} == {"self_attention.query_key_value"}


def pair(norm: nn.Module) -> nn.Sequential:
    torch.manual_seed(0)
    with torch.no_grad():
        for parameter in norm.parameters():
            parameter.add_(torch.randn_like(parameter))
    return nn.Sequential(norm, linear(64, 8, bias=True))


@pytest.mark.parametrize(
    "norm", [RMSNorm(64, 1e-5), OffsetRMSNorm(64, 1e-5), layer_norm(64, 1e-5)], ids=type
)
@pytest.mark.parametrize("stored", [torch.float32, torch.bfloat16, torch.float16])
def test_a_norms_weight_is_one_that_the_file_holds_and_nothing_is_lost(norm, stored):
    """Rounding it moves what is left into the factors of its readers."""
    block = pair(norm)
    x = torch.randn(5, 64)
    before = block(x)
    fold = Fold("0", ("1",))
    changed = apply_fold(block, fold, torch.rand(64) * 3 + 0.3, stored=stored)
    weight = changed["0.weight"]
    assert torch.equal(weight.to(stored).float(), weight)
    torch.testing.assert_close(block(x), before, rtol=1e-4, atol=1e-4)


def test_a_channel_that_is_off_stays_so():
    block = pair(RMSNorm(64, 1e-5))
    block[0].weight.data[3] = 0
    before = {name: value.clone() for name, value in block.state_dict().items()}
    changed = apply_fold(block, Fold("0", ("1",)), torch.full((64,), 2.0))
    assert torch.equal(changed["1.weight"][:, 3], before["1.weight"][:, 3])
    assert torch.equal(changed["1.weight"][:, 4], before["1.weight"][:, 4] * 2)
