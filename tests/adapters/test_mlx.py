"""Adapters of mlx-lm on their base: they answer as what `tfcli merge` makes of them."""

from __future__ import annotations

import pytest
import torch

from tests.merge.adapters import base_folder, merge
from tests.merge.test_mlx import DOWN, MOE, Q, factors, mlx
from tfcli.adapters.read import read_adapter
from tfcli.checkpoints.folder import load_model
from tfcli.errors import UsageError

IDS = torch.arange(3, 15)[None]
EXPERTS = "model.layers.0.block_sparse_moe.switch_mlp.down_proj"


def answer(model):
    with torch.no_grad():
        return model(IDS).logits


def of_experts(name: str) -> dict[str, torch.Tensor]:
    random = torch.Generator().manual_seed(0)
    return {
        f"{name}.lora_a": torch.randn(3, 2, 48, generator=random),
        f"{name}.lora_b": torch.randn(3, 32, 2, generator=random),
    }


@pytest.mark.parametrize(
    ("settings", "tensors", "config"),
    [
        ({}, {**factors(Q, 32, 32), **factors(DOWN, 48, 32)}, {}),
        ({}, factors("model.embed_tokens", 61, 32), {}),
        ({}, {**factors(Q, 32, 32), f"{Q}.m": torch.ones(32)}, {"fine_tune_type": "dora"}),
        (MOE, of_experts(EXPERTS), {}),
    ],
)
def test_an_adapter_of_mlx_answers_as_the_merged_model(settings, tensors, config, tmp_path):
    base = base_folder(tmp_path / "base", **({} if not settings else {"settings": settings}))
    adapter = mlx(tmp_path / "adapter", tensors, **config)
    merge(base, adapter, tmp_path / "merged")
    model = load_model(base, dtype=torch.float32)
    plain = answer(model)
    read_adapter(model, adapter)
    assert (answer(model) - plain).abs().max() > 1e-2
    merged = load_model(tmp_path / "merged", dtype=torch.float32)
    torch.testing.assert_close(answer(model), answer(merged), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("tensors", "kind", "said"),
    [
        (
            {**factors("model.embed_tokens", 61, 32), "model.embed_tokens.m": torch.ones(61)},
            "dora",
            "counts the lengths of a table's rows",
        ),
        ({f"{Q}.weight": torch.ones(32, 32)}, "full", "whole tensors alone"),
    ],
)
def test_what_is_only_merged_is_refused_with_the_way_out(tensors, kind, said, tmp_path):
    adapter = mlx(tmp_path / "adapter", tensors, fine_tune_type=kind)
    model = load_model(base_folder(tmp_path / "base"))
    with pytest.raises(UsageError, match=said) as error:
        read_adapter(model, adapter)
    assert "tfcli merge BASE ADAPTER OUTPUT" in error.value.fix
