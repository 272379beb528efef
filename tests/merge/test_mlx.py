"""`tfcli merge` of mlx-lm's adapters: W + scale * (A @ B)^T, and what is stored around it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.checkpoints.models import LLAMA
from tests.merge.adapters import base_folder, merge
from tfcli.checkpoints.containers import open_checkpoint
from tfcli.checkpoints.hf.safetensors import PendingTensor, write_safetensors
from tfcli.checkpoints.hf.source import open_tensors
from tfcli.errors import UsageError, WorkError

Q = "model.layers.0.self_attn.q_proj"
DOWN = "model.layers.1.mlp.down_proj"
MOE = {**LLAMA, "model_type": "mixtral", "num_local_experts": 3, "num_experts_per_tok": 2}


def mlx(folder: Path, tensors: dict[str, torch.Tensor], **config: Any) -> Path:
    """An adapter folder as mlx_lm.lora writes them."""
    folder.mkdir()
    pending = [PendingTensor.of(name, tensor) for name, tensor in tensors.items()]
    write_safetensors(folder / "adapters.safetensors", pending)
    settings = {"rank": 2, "scale": 20.0, "dropout": 0.0}
    content = {"fine_tune_type": "lora", "num_layers": 2, "lora_parameters": settings, **config}
    (folder / "adapter_config.json").write_text(json.dumps(content))
    return folder


def factors(name: str, rows: int, columns: int, rank: int = 2) -> dict[str, torch.Tensor]:
    random = torch.Generator().manual_seed(rows)
    return {
        f"{name}.lora_a": torch.randn(rows, rank, generator=random),
        f"{name}.lora_b": torch.randn(rank, columns, generator=random),
    }


@pytest.mark.parametrize(
    ("settings", "scale"),
    [
        ({"rank": 2, "scale": 20.0}, 20.0),
        ({"rank": 2, "scale": 10.0, "alpha": 16.0}, 80.0),
        ({"rank": 2}, 20.0),
    ],
)
def test_factors_are_transposed_and_the_scale_is_as_mlx_says(
    tmp_path: Path, settings: dict[str, float], scale: float
) -> None:
    base = base_folder(tmp_path / "base")
    given = {**factors(Q, 32, 32), **factors(DOWN, 48, 32)}
    adapter = mlx(tmp_path / "adapter", given, lora_parameters=settings)
    result = merge(base, adapter, tmp_path / "out")
    before, after = open_tensors(base), open_tensors(tmp_path / "out")
    for name in (Q, DOWN):
        change = scale * (given[f"{name}.lora_a"] @ given[f"{name}.lora_b"]).t()
        assert torch.allclose(after[f"{name}.weight"], before[f"{name}.weight"] + change, atol=1e-4)
    assert (result.wrote, result.method, result.merged) == ("MLX", "lora", 2)


def test_a_table_is_not_transposed_and_stays_tied(tmp_path: Path) -> None:
    base = base_folder(tmp_path / "base", tie_word_embeddings=True)
    given = factors("model.embed_tokens", 61, 32)
    result = merge(base, mlx(tmp_path / "adapter", given), tmp_path / "out")
    name = "model.embed_tokens.weight"
    change = 20 * given["model.embed_tokens.lora_a"] @ given["model.embed_tokens.lora_b"]
    found = open_tensors(tmp_path / "out")[name]
    assert torch.allclose(found, open_tensors(base)[name] + change, atol=1e-4)
    assert result.untied == []


@pytest.mark.parametrize("name", [Q, "model.embed_tokens"])
def test_dora_s_lengths_are_of_rows_in_tables_too(tmp_path: Path, name: str) -> None:
    base = base_folder(tmp_path / "base")
    rows = 61 if "embed" in name else 32
    magnitude = torch.linspace(0.5, 2, rows)
    given = {**factors(name, rows, 32), f"{name}.m": magnitude}
    adapter = mlx(tmp_path / "adapter", given, fine_tune_type="dora")
    merge(base, adapter, tmp_path / "out")
    product = given[f"{name}.lora_a"] @ given[f"{name}.lora_b"]
    moved = open_tensors(base)[f"{name}.weight"] + 20 * (product if rows == 61 else product.t())
    wanted = moved * (magnitude / moved.norm(dim=1))[:, None]
    assert torch.allclose(open_tensors(tmp_path / "out")[f"{name}.weight"], wanted, atol=1e-5)


def test_experts_that_mlx_keeps_together_are_changed_one_by_one(tmp_path: Path) -> None:
    base = base_folder(tmp_path / "base", MOE)
    random = torch.Generator().manual_seed(0)
    stack = "model.layers.1.block_sparse_moe.switch_mlp.up_proj"
    a = torch.randn(3 * 2, 32, generator=random)
    b = torch.randn(3, 48, 2, generator=random)
    adapter = mlx(tmp_path / "adapter", {f"{stack}.lora_a": a, f"{stack}.lora_b": b})
    merge(base, adapter, tmp_path / "out")
    before, after = open_tensors(base), open_tensors(tmp_path / "out")
    for expert in range(3):
        name = f"model.layers.1.block_sparse_moe.experts.{expert}.w3.weight"
        change = 20 * b[expert] @ a[2 * expert : 2 * expert + 2]
        assert torch.allclose(after[name], before[name] + change, atol=1e-4)


def test_whole_tensors_of_a_full_finetune_take_the_base_s_place(tmp_path: Path) -> None:
    base = base_folder(tmp_path / "base")
    new = torch.full((32, 32), 2.0)
    adapter = mlx(tmp_path / "adapter", {f"{Q}.weight": new}, fine_tune_type="full")
    result = merge(base, adapter, tmp_path / "out")
    assert (result.method, result.replaced) == ("full", 1)
    assert torch.equal(open_tensors(tmp_path / "out")[f"{Q}.weight"], new)


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"lora_parameters": [8]}, "'lora_parameters': input should be a valid dictionary"),
        ({"lora_parameters": {"rank": 0, "alpha": 8}}, "'lora_parameters.rank': input should be"),
        ({"lora_parameters": {"scale": "20"}}, "'lora_parameters.scale': input should be"),
        ({"fine_tune_type": 3}, "'fine_tune_type': input should be a valid string"),
    ],
)
def test_settings_of_another_type_are_named(
    tmp_path: Path, settings: dict[str, Any], says: str
) -> None:
    base = base_folder(tmp_path / "base")
    odd = mlx(tmp_path / "odd", factors(Q, 32, 32), fine_tune_type="lora")
    (odd / "adapter_config.json").write_text(json.dumps({"fine_tune_type": "lora", **settings}))
    with pytest.raises(WorkError, match=says) as caught:
        merge(base, odd, tmp_path / "out")
    assert caught.value.where == str(odd / "adapter_config.json")


def test_what_of_mlx_is_not_merged_is_named(tmp_path: Path) -> None:
    base = base_folder(tmp_path / "base")
    odd = mlx(tmp_path / "odd", factors(Q, 32, 32), fine_tune_type="vera")
    with pytest.raises(WorkError, match="'vera' of an MLX adapter"):
        merge(base, odd, tmp_path / "a")
    (odd / "adapters.safetensors").unlink()
    (odd / "adapter_config.json").write_text('{"fine_tune_type": "lora"}')
    with pytest.raises(WorkError, match=r"no adapters\.safetensors") as error:
        merge(base, odd, tmp_path / "b")
    assert "MLX" in str(error.value.fix)


def test_an_adapter_where_a_checkpoint_is_expected_is_named_as_one(tmp_path: Path) -> None:
    adapter = mlx(tmp_path / "adapter", factors(Q, 32, 32))
    with pytest.raises(UsageError, match="is an adapter") as error:
        open_checkpoint(adapter)
    assert "tfcli merge" in str(error.value.fix)
