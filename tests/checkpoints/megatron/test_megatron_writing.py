"""Megatron folders: the layout is computed here once more, after Megatron Core's own code."""

from __future__ import annotations

import argparse
import io
import json
import math
import signal
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn import functional as F

from tests.checkpoints.models import GPT2, LLAMA, tiny, tokens
from tests.convert.memory import SLACK, peak_growth
from tfcli.checkpoints.container import WriteOptions
from tfcli.checkpoints.containers import find_container, open_checkpoint
from tfcli.checkpoints.folder import save_model
from tfcli.checkpoints.hf.safetensors import PendingTensor, write_safetensors
from tfcli.checkpoints.hf.source import open_tensors
from tfcli.checkpoints.io.memory import freed_at_once
from tfcli.checkpoints.megatron import write as writer
from tfcli.checkpoints.plan import Plan, make_plan
from tfcli.commands.app import run
from tfcli.errors import UsageError, WorkError

FOUR = {"num_key_value_heads": 4}  # as many as parts, for a model that 4 parts divide
Part = dict[str, torch.Tensor]


def written(source: Path, target: Path, parts: int = 1, dtype: str | None = None) -> Plan:
    """`source` as a Megatron folder with a config.json, and the plan that it was written by."""
    plan = make_plan(writer.prepare(open_checkpoint(source)), dtype)
    target.mkdir(exist_ok=True)
    writer.write(plan, target, WriteOptions(max_shard_bytes=10**9, parts=parts))
    (target / "config.json").write_text(json.dumps(plan.config))
    return plan


def contents(folder: Path, parts: int) -> list[dict[str, Any]]:
    """The files as Megatron loads them: with `weights_only`, and one class made known to torch."""
    with torch.serialization.safe_globals([argparse.Namespace]):
        return [
            torch.load(folder / f"release/mp_rank_{rank:02d}/model_optim_rng.pt", weights_only=True)
            for rank in range(parts)
        ]


CASES = [
    ("llama", {}, 1),
    ("llama", {}, 2),
    ("llama", FOUR, 4),
    ("llama", {"tie_word_embeddings": True, "vocab_size": 300}, 2),
    ("llama", {"head_dim": 16}, 2),
    ("llama", {"vocab_size": 128}, 2),  # the second part of the embedding fills up alone
    ("gpt2", {}, 1),
    ("gpt2", {}, 2),
    ("gpt2", {"n_inner": 48}, 4),
    ("gpt2", {"tie_word_embeddings": False}, 2),
]


def model_of(family: str, changes: dict[str, Any], dtype: torch.dtype = torch.float32) -> Any:
    model = tiny({**(LLAMA if family == "llama" else GPT2), **changes}, dtype=dtype)
    with torch.no_grad():
        for number, parameter in enumerate(model.parameters()):
            generator = torch.Generator().manual_seed(number)
            noise = torch.randn(parameter.shape, generator=generator) * 0.1
            parameter.add_(noise.to(dtype))  # so that norms and biases do something
    return model


@pytest.mark.parametrize(("family", "changes", "parts"), CASES, ids=str)
def test_there_and_back_bit_for_bit(tmp_path, family, changes, parts):
    save_model(model_of(family, changes, torch.bfloat16), tmp_path / "hf")
    written(tmp_path / "hf", tmp_path / "mg", parts)
    assert find_container(tmp_path / "mg").name == "megatron"
    view, expected = open_checkpoint(tmp_path / "mg"), open_tensors(tmp_path / "hf")
    assert view.tensors.keys() == set(expected) and not view.unused
    for name, tensor in view.tensors.items():
        assert torch.equal(tensor.read(), expected[name]), name


def test_the_command_writes_checks_and_reads_it_again(tmp_path):
    save_model(model_of("llama", {"tie_word_embeddings": True}), tmp_path / "hf")
    out, back = str(tmp_path / "out"), str(tmp_path / "back")
    assert run(["convert", str(tmp_path / "hf"), out, "--to", "megatron", "--parts", "2"]) == 0
    assert run(["convert", out, back]) == 0
    before, after = open_tensors(tmp_path / "hf"), open_tensors(tmp_path / "back")
    assert set(after) == set(before)
    assert all(torch.equal(after[name], before[name]) for name in before)


# What Megatron Core computes, from its files alone: megatron/core/transformer/attention.py (the
# shapes in the comments of get_query_key_value_tensors), mlp.py, and tensor_parallel/layers.py.


def norm(part: Part, name: str, x: torch.Tensor, args: argparse.Namespace) -> torch.Tensor:
    weight = part[f"{name}weight"]
    if args.normalization == "RMSNorm":
        return F.rms_norm(x, weight.shape, weight, args.norm_epsilon)
    return F.layer_norm(x, weight.shape, weight, part[f"{name}bias"], args.norm_epsilon)


def rotate(x: torch.Tensor, args: argparse.Namespace) -> torch.Tensor:
    """x (Tensor): [sq, b, np, hn]"""
    size = x.shape[-1]
    frequencies = args.rotary_base ** (-torch.arange(0, size, 2) / size)
    angles = torch.outer(torch.arange(len(x)), frequencies).repeat(1, 2)[:, None, None]
    first, second = x.chunk(2, -1)
    return x * angles.cos() + torch.cat([-second, first], -1) * angles.sin()


def attention(part: Part, name: str, x: torch.Tensor, args: argparse.Namespace) -> torch.Tensor:
    """What one rank adds. x (Tensor): [sq, b, h]"""
    parts = args.tensor_model_parallel_size
    ng, np = args.num_query_groups // parts, args.num_attention_heads // parts
    hn = args.kv_channels
    mixed = F.linear(x, part[f"{name}qkv.weight"], part.get(f"{name}qkv.bias"))
    mixed = mixed.view(*x.shape[:2], ng, (np // ng + 2) * hn)
    query, key, value = mixed.split([np // ng * hn, hn, hn], dim=3)
    query = query.reshape(*x.shape[:2], np, hn)
    if args.position_embedding_type == "rope":
        query, key = rotate(query, args), rotate(key, args)
    key, value = (t.repeat_interleave(np // ng, dim=2) for t in (key, value))
    query, key, value = (t.permute(1, 2, 0, 3) for t in (query, key, value))
    scores = query @ key.transpose(-1, -2) / math.sqrt(hn)
    scores += torch.full((len(x), len(x)), -math.inf).triu(1)
    context = (scores.softmax(-1) @ value).permute(2, 0, 1, 3).flatten(2)
    return F.linear(context, part[f"{name}proj.weight"])


def mlp(part: Part, name: str, x: torch.Tensor, args: argparse.Namespace) -> torch.Tensor:
    """What one rank adds. x (Tensor): [sq, b, h]"""
    x = F.linear(x, part[f"{name}fc1.weight"], part.get(f"{name}fc1.bias"))
    if args.swiglu:
        gate, up = x.chunk(2, -1)
        x = F.silu(gate) * up
    else:
        x = F.gelu(x, approximate="tanh")
    return F.linear(x, part[f"{name}fc2.weight"])


def logits(files: list[dict[str, Any]], ids: torch.Tensor) -> torch.Tensor:
    """ids (Tensor): [b, sq] -> [b, sq, padded vocabulary]"""
    args, parts = files[0]["args"], [file["model"] for file in files]
    one = parts[0]
    table = torch.cat([part["embedding.word_embeddings.weight"] for part in parts])
    x = table[ids].transpose(0, 1)
    if args.position_embedding_type == "learned_absolute":
        x = x + one["embedding.position_embeddings.weight"][: len(x), None]
    for layer in range(args.num_layers):
        a, m = (f"decoder.layers.{layer}.{n}.linear_" for n in ("self_attention", "mlp"))
        y = norm(one, f"{a}qkv.layer_norm_", x, args)
        x = x + sum(attention(part, a, y, args) for part in parts) + one.get(f"{a}proj.bias", 0)
        y = norm(one, f"{m}fc1.layer_norm_", x, args)
        x = x + sum(mlp(part, m, y, args) for part in parts) + one.get(f"{m}fc2.bias", 0)
    x = norm(one, "decoder.final_layernorm.", x, args)
    if args.untie_embeddings_and_output_weights:
        table = torch.cat([part["output_layer.weight"] for part in parts])
    return (x @ table.T).transpose(0, 1)


@pytest.mark.parametrize(("family", "changes", "parts"), CASES, ids=str)
def test_megatron_s_computation_gives_the_model_s_logits(tmp_path, family, changes, parts):
    model = model_of(family, changes)
    save_model(model, tmp_path / "hf")
    written(tmp_path / "hf", tmp_path / "mg", parts)
    found = logits(contents(tmp_path / "mg", parts), tokens())
    vocab = model.config.vocab_size
    assert found.shape[-1] == math.ceil(vocab / (128 * parts)) * 128 * parts
    with torch.no_grad():
        torch.testing.assert_close(found[..., :vocab], model(tokens()).logits, atol=1e-4, rtol=1e-4)
    # Rows that fill up repeat the last one, as Megatron's tools do.
    last = found[..., vocab - 1 : vocab]
    torch.testing.assert_close(found[..., vocab:], last.expand_as(found[..., vocab:]))


def test_what_megatron_s_loader_looks_for(tmp_path):
    save_model(tiny(dtype=torch.bfloat16), tmp_path / "hf")
    written(tmp_path / "hf", tmp_path / "mg", 2)
    assert (tmp_path / "mg/latest_checkpointed_iteration.txt").read_text() == "release"
    first, second = contents(tmp_path / "mg", 2)
    assert (first["checkpoint_version"], first["iteration"]) == (3.0, 0)
    args = first["args"]
    assert vars(args) == vars(second["args"])
    # check_checkpoint_args, load_args_from_checkpoint, loader_base.py
    assert (args.num_layers, args.hidden_size, args.num_attention_heads) == (2, 32, 4)
    assert (args.tensor_model_parallel_size, args.pipeline_model_parallel_size) == (2, 1)
    assert (args.group_query_attention, args.num_query_groups, args.kv_channels) == (True, 2, 8)
    assert (args.ffn_hidden_size, args.swiglu, args.normalization) == (48, True, "RMSNorm")
    assert (args.padded_vocab_size, args.make_vocab_size_divisible_by) == (256, 128)
    assert (args.position_embedding_type, args.rotary_base) == ("rope", 10000)
    assert (args.add_bias_linear, args.add_qkv_bias) == (False, False)
    assert args.untie_embeddings_and_output_weights is True
    assert (args.params_dtype, args.bf16, args.fp16) == (torch.bfloat16, True, False)
    assert {
        name: tuple(t.shape) for name, t in first["model"].items() if "layers.1" not in name
    } == {
        "embedding.word_embeddings.weight": (128, 32),
        "decoder.layers.0.self_attention.linear_qkv.layer_norm_weight": (32,),
        "decoder.layers.0.self_attention.linear_qkv.weight": ((2 + 1 + 1) * 8, 32),
        "decoder.layers.0.self_attention.linear_proj.weight": (32, 16),
        "decoder.layers.0.mlp.linear_fc1.layer_norm_weight": (32,),
        "decoder.layers.0.mlp.linear_fc1.weight": (48, 32),
        "decoder.layers.0.mlp.linear_fc2.weight": (32, 24),
        "decoder.final_layernorm.weight": (32,),
        "output_layer.weight": (128, 32),
    }


def test_the_rows_of_one_part(tmp_path):
    """Four query heads in two groups, two parts: the second has the second group."""
    save_model(model_of("llama", {}), tmp_path / "hf")
    written(tmp_path / "hf", tmp_path / "mg", 2)
    held = open_tensors(tmp_path / "hf")
    part = contents(tmp_path / "mg", 2)[1]["model"]
    q, k, v = (held[f"model.layers.1.self_attn.{n}_proj.weight"] for n in "qkv")
    fused = part["decoder.layers.1.self_attention.linear_qkv.weight"]
    assert torch.equal(fused, torch.cat([q[16:24], q[24:32], k[8:16], v[8:16]]))
    gate, up = (held[f"model.layers.1.mlp.{n}_proj.weight"] for n in ("gate", "up"))
    assert torch.equal(
        part["decoder.layers.1.mlp.linear_fc1.weight"], torch.cat([gate[24:], up[24:]])
    )
    down = held["model.layers.1.mlp.down_proj.weight"]
    assert torch.equal(part["decoder.layers.1.mlp.linear_fc2.weight"], down[:, 24:])


def test_llama_31_and_another_type(tmp_path):
    rope = {
        "rope_type": "llama3",
        "rope_theta": 500000.0,
        "factor": 32.0,
        "low_freq_factor": 1.0,
        "high_freq_factor": 4.0,
        "original_max_position_embeddings": 8192,
    }
    save_model(tiny(rope_parameters=rope), tmp_path / "hf")
    written(tmp_path / "hf", tmp_path / "mg", dtype="BF16")
    (content,) = contents(tmp_path / "mg", 1)
    args = content["args"]
    assert (args.use_rope_scaling, args.rope_scaling_factor, args.rotary_base) == (True, 32, 500000)
    assert args.bf16 and {t.dtype for t in content["model"].values()} == {torch.bfloat16}
    expected = open_tensors(tmp_path / "hf")
    for name, tensor in open_checkpoint(tmp_path / "mg").tensors.items():
        assert torch.equal(tensor.read(), expected[name].bfloat16())


def test_what_megatron_itself_saves_beside_the_weights(tmp_path):
    """Transformer Engine's state as a buffer of bytes, a signal among the arguments."""
    save_model(tiny(), tmp_path / "hf")
    written(tmp_path / "hf", tmp_path / "mg")
    (content,) = contents(tmp_path / "mg", 1)
    content["args"].exit_signal = signal.SIGTERM
    content["model"]["decoder.layers.0.mlp.linear_fc1._extra_state"] = io.BytesIO(b"state")
    content["model"]["decoder.layers.1.mlp.linear_fc1._extra_state"] = None
    torch.save(content, tmp_path / "mg/release/mp_rank_00/model_optim_rng.pt")
    assert open_checkpoint(tmp_path / "mg").tensors.keys() == set(open_tensors(tmp_path / "hf"))


@pytest.mark.parametrize("spelling", ["local", "legacy"])
def test_other_spellings_are_read_too(tmp_path, spelling):
    """As Megatron Core's own layers, and as the models before it, call the same tensors."""
    save_model(model_of("gpt2", {}), tmp_path / "hf")
    written(tmp_path / "hf", tmp_path / "mg", 2)
    changes = [
        ("self_attention.linear_qkv.layer_norm_", "input_layernorm."),
        ("mlp.linear_fc1.layer_norm_", "pre_mlp_layernorm."),
    ]
    if spelling == "legacy":
        changes[1] = ("mlp.linear_fc1.layer_norm_", "post_attention_layernorm.")
        changes += [("linear_qkv", "query_key_value"), ("linear_proj", "dense")]
        changes += [("linear_fc1", "dense_h_to_4h"), ("linear_fc2", "dense_4h_to_h")]
        changes += [("decoder.", "language_model.encoder.")]
        changes += [("embedding.", "language_model.embedding.")]
    for rank, content in enumerate(contents(tmp_path / "mg", 2)):
        renamed = {}
        for name, tensor in content["model"].items():
            for ours, theirs in changes:
                name = name.replace(ours, theirs)
            renamed[name] = tensor
        renamed["decoder.layers.0.mlp.linear_fc1._extra_state"] = torch.zeros(0, dtype=torch.uint8)
        path = tmp_path / f"mg/release/mp_rank_{rank:02d}/model_optim_rng.pt"
        torch.save({**content, "model": renamed}, path)
    view, expected = open_checkpoint(tmp_path / "mg"), open_tensors(tmp_path / "hf")
    assert view.tensors.keys() == set(expected)
    assert all(torch.equal(view.tensors[name].read(), expected[name]) for name in expected)
    assert list(view.unused) == ["decoder.layers.0.mlp.linear_fc1._extra_state"]


def test_what_the_hub_calls_gpt2_s_tensors(tmp_path):
    save_model(tiny(GPT2), tmp_path / "hf")
    held = open_tensors(tmp_path / "hf")
    bare = {name.removeprefix("transformer."): held[name].clone() for name in held}
    bare["h.0.attn.bias"] = torch.ones(1, 1, 32, 32)
    pending = [PendingTensor.of(name, value) for name, value in bare.items()]
    write_safetensors(tmp_path / "hf/model.safetensors", pending)
    plan = written(tmp_path / "hf", tmp_path / "mg", 2)
    assert list(plan.view.unused) == ["h.0.attn.bias"]
    view = open_checkpoint(tmp_path / "mg")
    assert torch.equal(view.tensors["transformer.wte.weight"].read(), bare["wte.weight"])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({**LLAMA, "model_type": "qwen3"}, "model_type is qwen3; gpt2 and llama are written"),
        ({**LLAMA, "attention_bias": True}, "attention_bias"),
        ({**LLAMA, "mlp_bias": True}, "mlp_bias"),
        ({**LLAMA, "hidden_act": "gelu"}, "hidden_act"),
        ({**LLAMA, "rope_scaling": {"rope_type": "linear", "factor": 2.0}}, "rope_parameters"),
        ({**GPT2, "activation_function": "relu"}, "activation_function"),
        ({**GPT2, "scale_attn_by_inverse_layer_idx": True}, "scale_attn_by_inverse_layer_idx"),
        ({**GPT2, "scale_attn_weights": False}, "scale_attn_weights is False"),
    ],
    ids=str,
)
def test_what_megatron_has_no_argument_for(tmp_path, settings, message):
    save_model(tiny(settings), tmp_path / "hf")
    with pytest.raises(UsageError, match=message):
        writer.prepare(open_checkpoint(tmp_path / "hf"))


def edited(folder: Path, change: Any) -> Path:
    held = dict(open_tensors(folder))
    tensors = {name: value.clone() for name, value in held.items()}
    change(tensors)
    pending = [PendingTensor.of(name, value) for name, value in tensors.items()]
    write_safetensors(folder / "model.safetensors", pending)
    return folder


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.pop("lm_head.weight"), r"missing: 'lm_head\.weight'"),
        (
            lambda t: t.pop("model.layers.1.mlp.up_proj.weight"),
            r"missing: 'model\.layers\.1\.mlp\.up_proj",
        ),
        (lambda t: t.update(odd=torch.ones(2)), "no rule for 'odd'"),
    ],
)
def test_tensors_that_are_no_model(tmp_path, change, message):
    save_model(tiny(), tmp_path / "hf")
    with pytest.raises(WorkError, match=message):
        written(edited(tmp_path / "hf", change), tmp_path / "mg")
    assert not list((tmp_path / "mg").iterdir())


@pytest.mark.parametrize(
    ("changes", "parts", "change", "message"),
    [
        ({}, 4, None, "4 parts do not divide 4 and 2 heads"),
        ({}, 3, None, "3 parts do not divide 4 and 2 heads"),
        ({"intermediate_size": 49}, 2, None, "2 parts do not divide 49"),
        (
            {},
            1,
            lambda t: t.update({"lm_head.weight": torch.ones(60, 32)}),
            r"'lm_head.weight' is \[60, 32\]; dimension 0 should be 61",
        ),
        (
            {},
            1,
            lambda t: t.update({"model.layers.0.self_attn.k_proj.weight": torch.ones(8, 32)}),
            r"k_proj.weight' is \[8, 32\]; dimension 0 should be 16",
        ),
        (
            {},
            1,
            lambda t: t.update(
                {"model.layers.0.self_attn.k_proj.weight": torch.ones(16, 32).half()}
            ),
            "do not fit: F32 .*, F16 .*, F32",
        ),
    ],
)
def test_parts_and_shapes_that_do_not_fit(tmp_path, changes, parts, change, message):
    save_model(tiny(**changes), tmp_path / "hf")
    if change is not None:
        edited(tmp_path / "hf", change)
    with pytest.raises((UsageError, WorkError), match=message):
        written(tmp_path / "hf", tmp_path / "mg", parts)
    assert not list((tmp_path / "mg").iterdir())


def test_memory_is_that_of_one_tensor(tmp_path):
    config = {**LLAMA, "hidden_size": 512, "intermediate_size": 4096, "num_hidden_layers": 8}
    model = tiny({**config, "vocab_size": 64})
    save_model(model, tmp_path / "hf")
    # Gate and up projection are one tensor, of which a part is made from whole ones.
    largest, total = 2 * 512 * 4096 * 4, sum(p.nbytes for p in model.parameters())
    del model
    written(tmp_path / "hf", tmp_path / "warm", 2)

    def work() -> None:
        written(tmp_path / "hf", tmp_path / "mg", 2)

    with freed_at_once():  # as in a conversion
        growth = peak_growth(work)
    assert total > 2 * (2 * largest + SLACK)
    assert growth < 2 * largest + SLACK, f"{growth / 1e6:.0f} MB of {total / 1e6:.0f} MB"
