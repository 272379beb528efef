"""Megatron folders, made from Hugging Face's models after Megatron's format."""

from __future__ import annotations

import argparse
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.checkpoints.models import GPT2, LLAMA, tiny, tokens
from tests.convert.memory import assert_bounded
from tfcli.checkpoints.container import Reading
from tfcli.checkpoints.containers import find_container, open_checkpoint
from tfcli.checkpoints.folder import load_model, save_model
from tfcli.checkpoints.hf.source import open_tensors
from tfcli.console import Console
from tfcli.convert.spec import ConvertResult, ConvertSpec
from tfcli.errors import WorkError
from tfcli.recipe.execute import execute

PADDED = 64  # rows of the embedding; the models have 61


def convert(source: Path, output: Path, **options: Any) -> ConvertResult:
    spec = ConvertSpec(source=str(source), output=str(output), **options)
    result = execute(spec, Console.silent()).result
    assert isinstance(result, ConvertResult)
    return result


def fuse(q: Any, k: Any, v: Any, size: int, parts: int, version: float) -> list[torch.Tensor]:
    """Queries, keys and values of each part, head by head, in the order of a version."""
    groups, each = len(k) // size, len(q) // len(k)
    found = []
    for rank in range(parts):
        local = range(rank * groups // parts, (rank + 1) * groups // parts)

        def head(x: torch.Tensor, number: int) -> torch.Tensor:
            return x[number * size : (number + 1) * size]

        if version == 0:
            pieces = [head(x, n) for x in (q, k, v) for n in local]
        elif version == 1:
            pieces = [
                torch.stack([head(x, n)[row] for x in (q, k, v)])
                for n in local
                for row in range(size)
            ]
        else:
            pieces = []
            for n in local:
                pieces += [head(q, n * each + i) for i in range(each)] + [head(k, n), head(v, n)]
        found.append(torch.cat(pieces))
    return found


def rows(x: torch.Tensor, parts: int) -> list[torch.Tensor]:
    return list(x.chunk(parts, 0))


def columns(x: torch.Tensor, parts: int) -> list[torch.Tensor]:
    return list(x.chunk(parts, 1))


def padded(x: torch.Tensor) -> torch.Tensor:
    return torch.cat([x, torch.full((PADDED - len(x), x.shape[1]), 9.0)])


def llama_parts(s: Any, parts: int, version: float) -> dict[str, list[torch.Tensor]]:
    out = {
        "embedding.word_embeddings.weight": rows(padded(s["model.embed_tokens.weight"]), parts),
        "output_layer.weight": rows(padded(s["lm_head.weight"]), parts),
        "encoder.final_layernorm.weight": [s["model.norm.weight"]] * parts,
    }
    for layer in range(2):
        a, h = f"model.layers.{layer}.", f"encoder.layers.{layer}."
        q, k, v = (s[f"{a}self_attn.{n}_proj.weight"] for n in "qkv")
        gate, up = (rows(s[f"{a}mlp.{n}_proj.weight"], parts) for n in ("gate", "up"))
        out |= {
            f"{h}self_attention.query_key_value.weight": fuse(q, k, v, 8, parts, version),
            f"{h}self_attention.dense.weight": columns(s[f"{a}self_attn.o_proj.weight"], parts),
            f"{h}mlp.dense_h_to_4h.weight": [
                torch.cat(pair) for pair in zip(gate, up, strict=True)
            ],
            f"{h}mlp.dense_4h_to_h.weight": columns(s[f"{a}mlp.down_proj.weight"], parts),
        }
        for norm in ("input_layernorm", "post_attention_layernorm"):
            out[f"{h}{norm}.weight"] = [s[f"{a}{norm}.weight"]] * parts
    return out


def gpt2_parts(s: Any, parts: int, version: float) -> dict[str, list[torch.Tensor]]:
    prefix = "transformer." if "transformer.wte.weight" in s else ""
    s = {name.removeprefix(prefix): s[name] for name in s}
    out = {
        "embedding.word_embeddings.weight": rows(padded(s["wte.weight"]), parts),
        "embedding.position_embeddings.weight": [s["wpe.weight"]] * parts,
    }
    for leaf in ("weight", "bias"):
        out[f"transformer.final_layernorm.{leaf}"] = [s[f"ln_f.{leaf}"]] * parts
    for layer in range(2):
        a, h = f"h.{layer}.", f"transformer.layers.{layer}."
        for leaf in ("weight", "bias"):
            fused = s[f"{a}attn.c_attn.{leaf}"]
            q, k, v = (fused.T if leaf == "weight" else fused).chunk(3)
            out[f"{h}attention.query_key_value.{leaf}"] = fuse(q, k, v, 8, parts, version)
            out[f"{h}input_layernorm.{leaf}"] = [s[f"{a}ln_1.{leaf}"]] * parts
            out[f"{h}post_attention_layernorm.{leaf}"] = [s[f"{a}ln_2.{leaf}"]] * parts
        out |= {
            f"{h}attention.dense.weight": columns(s[f"{a}attn.c_proj.weight"].T, parts),
            f"{h}attention.dense.bias": [s[f"{a}attn.c_proj.bias"]] * parts,
            f"{h}mlp.dense_h_to_4h.weight": rows(s[f"{a}mlp.c_fc.weight"].T, parts),
            f"{h}mlp.dense_h_to_4h.bias": rows(s[f"{a}mlp.c_fc.bias"], parts),
            f"{h}mlp.dense_4h_to_h.weight": columns(s[f"{a}mlp.c_proj.weight"].T, parts),
            f"{h}mlp.dense_4h_to_h.bias": [s[f"{a}mlp.c_proj.bias"]] * parts,
        }
    return out


def nested(tensors: dict[str, torch.Tensor]) -> dict[str, Any]:
    """As Megatron nests them: module by module, but the layers' names are flat."""
    out: dict[str, Any] = {}
    for name, value in tensors.items():
        top, rest = name.split(".", 1)
        if top == "embedding":
            module, leaf = rest.split(".")
            out.setdefault(top, {}).setdefault(module, {})[leaf] = value.clone()
        else:
            out.setdefault(top, {})[rest] = value.clone()
    return {"language_model": out}


def folder(tmp_path: Path, family: str, parts: int, version: float, **changes: Any) -> Path:
    """`tmp_path/hf` as Megatron saves it, in `tmp_path/in`; iterations beside `latest...txt`."""
    model = tiny({**(LLAMA if family == "llama" else GPT2), **changes})
    save_model(model, tmp_path / "hf")
    make = llama_parts if family == "llama" else gpt2_parts
    tensors = make(open_tensors(tmp_path / "hf"), parts, version)
    for rank in range(parts):
        target = tmp_path / f"in/iter_0000030/mp_rank_{rank:02d}"
        target.mkdir(parents=True)
        content = {
            "args": argparse.Namespace(num_layers=2, params_dtype=torch.float32),
            "iteration": 30,
            "model": nested({name: pieces[rank] for name, pieces in tensors.items()}),
            "optimizer": {"state": torch.ones(3)},
            "rng_state": [{"torch_rng_state": torch.ones(3)}],
        }
        if version:
            content["checkpoint_version"] = version
        torch.save(content, target / "model_optim_rng.pt")
    (tmp_path / "in/latest_checkpointed_iteration.txt").write_text("30")
    return tmp_path / "in"


@pytest.mark.parametrize("parts", [1, 2])
@pytest.mark.parametrize(
    ("family", "version", "changes"),
    [
        ("llama", 3.0, {}),
        ("llama", 2.0, {"num_key_value_heads": 4}),
        ("gpt2", 0, {}),
        ("gpt2", 1.0, {}),
        ("gpt2", 2.0, {}),
        ("gpt2", 3.0, {}),
    ],
    ids=str,
)
def test_every_version_gives_the_model_back(tmp_path, family, version, changes, parts):
    source = folder(tmp_path, family, parts, version, **changes)
    assert find_container(source).name == "megatron"
    result = convert(source, tmp_path / "out", config_from=str(tmp_path / "hf"))
    assert result.kind == "megatron"
    before = dict(open_tensors(tmp_path / "hf"))
    after = open_tensors(tmp_path / "out")
    bare = {name.removeprefix("transformer."): name for name in after}
    assert bare.keys() == {name.removeprefix("transformer.") for name in before}
    for name, value in before.items():
        assert torch.equal(after[bare[name.removeprefix("transformer.")]], value), name
    with torch.no_grad():
        one, other = (load_model(tmp_path / name)(tokens()).logits for name in ("hf", "out"))
    assert torch.equal(one, other)
    iteration = open_checkpoint(source / "iter_0000030", Reading(tmp_path / "hf"))
    assert iteration.tensors.keys() == set(after)


def _edit(source: Path, rank: int, change: Any) -> None:
    path = source / f"iter_0000030/mp_rank_{rank:02d}/model_optim_rng.pt"
    content = torch.load(path, weights_only=False)
    change(content["model"]["language_model"])
    torch.save(content, path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: _edit(s, 1, lambda m: m["encoder"].popitem()), "is not in every part"),
        (
            lambda s: _edit(s, 1, lambda m: m["output_layer"].update(weight=torch.ones(1, 32))),
            "differs between the parts",
        ),
        (
            lambda s: [_edit(s, r, lambda m: m.update(pooler=torch.ones(2))) for r in (0, 1)],
            "Megatron's llama: no rule for 'pooler'",
        ),
        (
            lambda s: (s / "iter_0000030/mp_rank_00").rename(s / "iter_0000030/mp_rank_02"),
            "a part is missing",
        ),
        (
            lambda s: (s / "iter_0000030/mp_rank_00").rename(s / "iter_0000030/mp_rank_00_000"),
            "pipeline",
        ),
        (lambda s: (s / "latest_checkpointed_iteration.txt").write_text("31"), "names '31'"),
        (lambda s: (s / "latest_checkpointed_iteration.txt").write_text("../x"), "leads outside"),
        (
            lambda s: shutil.rmtree(s / "iter_0000030/mp_rank_01"),
            r"embedding.word_embeddings.weight' is \[32, 32\]; the config asks for 61 rows",
        ),
    ],
)
def test_parts_that_do_not_fit(tmp_path, change, message):
    source = folder(tmp_path, "llama", 2, 3.0)
    change(source)
    with pytest.raises(WorkError, match=message):
        convert(source, tmp_path / "out", config_from=str(tmp_path / "hf"))
    assert not (tmp_path / "out").exists()


@pytest.mark.interop
def test_transformers_loads_what_was_joined(tmp_path):
    import transformers

    source = folder(tmp_path, "gpt2", 2, 3.0)
    convert(source, tmp_path / "out", config_from=str(tmp_path / "hf"))
    theirs, info = transformers.AutoModelForCausalLM.from_pretrained(
        tmp_path / "out", output_loading_info=True
    )
    assert not any(info.values())
    with torch.no_grad():
        wanted = load_model(tmp_path / "hf")(tokens()).logits
        assert torch.allclose(theirs(tokens()).logits, wanted, atol=1e-4)


def test_memory_is_that_of_one_tensor(tmp_path):
    dim, ffn, layers, parts = 512, 4096, 8, 2
    config = {"model_type": "llama", "hidden_size": dim, "num_attention_heads": 8}
    sizes = {"vocab_size": 100, "intermediate_size": ffn, "num_hidden_layers": layers}
    (tmp_path / "config.json").write_text(json.dumps({**config, **sizes}))
    shapes = {
        "input_layernorm.weight": (dim,),
        "post_attention_layernorm.weight": (dim,),
        "self_attention.query_key_value.weight": (3 * dim // parts, dim),
        "self_attention.dense.weight": (dim, dim // parts),
        "mlp.dense_h_to_4h.weight": (2 * ffn // parts, dim),
        "mlp.dense_4h_to_h.weight": (dim, ffn // parts),
    }
    for rank in range(parts):
        target = tmp_path / f"mp_rank_{rank:02d}"
        target.mkdir()
        tensors = {
            f"encoder.layers.{layer}.{name}": torch.zeros(shape)
            for layer in range(layers)
            for name, shape in shapes.items()
        }
        for name in ("embedding.word_embeddings.weight", "output_layer.weight"):
            tensors[name] = torch.zeros(64, dim)
        tensors["encoder.final_layernorm.weight"] = torch.zeros(dim)
        content = {"checkpoint_version": 3.0, "model": nested(tensors)}
        torch.save(content, target / "model_optim_rng.pt")
        del tensors, content
    assert_bounded(lambda: open_checkpoint(tmp_path))


def test_one_of_two_fused_tensors_is_made_of_its_own_rows(tmp_path):
    """Gate and up projection lie together in each part; neither costs the memory of both."""
    source = folder(tmp_path, "llama", 2, 3.0)
    view = open_checkpoint(source, Reading(tmp_path / "hf"))
    gate = view.tensors["model.layers.0.mlp.gate_proj.weight"]
    assert gate.read().untyped_storage().nbytes() == gate.nbytes


@pytest.mark.parametrize("version", [0, 1.0])
def test_groups_are_of_later_versions(tmp_path, version):
    source = folder(tmp_path, "llama", 1, 3.0)
    path = source / "iter_0000030/mp_rank_00/model_optim_rng.pt"
    content = torch.load(path, weights_only=False)
    torch.save({**content, "checkpoint_version": version}, path)
    with pytest.raises(WorkError, match="4 heads of 2 groups are none of version"):
        open_checkpoint(source, Reading(tmp_path / "hf"))


def test_another_family(tmp_path):
    source = folder(tmp_path, "llama", 1, 3.0)
    (source / "config.json").write_text('{"model_type": "bert"}')
    with pytest.raises(WorkError, match="model_type is 'bert'"):
        open_checkpoint(source)
