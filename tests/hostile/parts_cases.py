"""Folders of tensor-parallel parts: Megatron's, Meta's own, FlagAI's."""

from __future__ import annotations

import json
import os
import pickle
from typing import Any

import torch

from tests.checkpoints.torch.hostile_pickles import Reduced, zipped
from tests.hostile.case import CONVERT, Corpus, sparse
from tests.hostile.trainer_cases import CONFIG, cuts, saved
from tfcli.checkpoints.flagai.configs import to_core
from tfcli.models.loading import build
from tfcli.models.saving import plan_export

RANK = "mp_rank_00/model_optim_rng.pt"
PTH, PARAMS = "consolidated.00.pth", "params.json"


def make(corpus: Corpus) -> None:
    """Add the cases. Where a container lacks a config, `inspect` may tell less and refuse less."""
    _megatron(corpus)
    _meta(corpus)
    _flagai(corpus)


def _megatron(corpus: Corpus) -> None:
    config = json.loads((corpus.good["llama"] / CONFIG).read_text())
    content = {"model": _megatron_weights(config), "checkpoint_version": 3.0}
    whole = {CONFIG: json.dumps(config).encode(), RANK: saved(content)}
    corpus.keep("megatron", whole)
    for name, data in cuts(whole[RANK]).items():
        corpus.add(f"megatron cut {name}", RANK, "truncated", {**whole, RANK: data})
    code = zipped(pickle.dumps(Reduced(eval, "1"), 2))
    corpus.add("megatron of code", RANK, "eval", {**whole, RANK: code})
    for name, value in (("text", "x"), ("infinite", float("inf")), ("nan", float("nan"))):
        data = saved({**content, "checkpoint_version": value})
        corpus.add(f"megatron version {name}", RANK, "checkpoint_version", {**whole, RANK: data})
    other = {
        **content,
        "model": content["model"] | {"embedding.evil.weight": torch.ones(2)},
    }
    corpus.add("megatron other tensor", RANK, "evil", {**whole, RANK: saved(other)})
    part = {RANK.replace("00", "02"): whole[RANK]}
    corpus.add("megatron part missing", "part-missing", "mp_rank_02", {**whole, **part})
    link = corpus.add("megatron link", "megatron-link", RANK, {CONFIG: whole[CONFIG]})
    (link / "mp_rank_00").mkdir()
    (link / RANK).symlink_to("/etc/passwd")
    latest = "latest_checkpointed_iteration.txt"
    inner = {f"iter_0000001/{RANK}": whole[RANK], CONFIG: whole[CONFIG]}
    for name, tag in (("traversal", b"../../etc"), ("absolute", b"/etc"), ("number", b"9" * 60)):
        file = "latest" if name == "number" else "megatron-latest"
        says = "names" if name == "number" else "leads outside"
        corpus.add(f"megatron latest {name}", file, says, {**inner, latest: tag})
    for key, number in {
        "vocab_size": 2**40,
        "num_attention_heads": 0,
        "num_key_value_heads": 3,
        "hidden_size": "x",
        "model_type": [],
    }.items():
        text = json.dumps({**config, key: number}).encode()
        corpus.add(f"megatron {key}", CONFIG, key, {**whole, CONFIG: text}, by=(CONVERT,))
    text = json.dumps({**config, "vocab_size": 2**30}).encode()
    corpus.add("megatron rows", RANK, "rows", {**whole, CONFIG: text}, by=(CONVERT,))
    for value in (-1, 2**70, "x"):
        files = whole | {CONFIG: json.dumps({**config, "head_dim": value}).encode()}
        corpus.add(f"megatron head_dim {value}", CONFIG, "head_dim", files, by=(CONVERT,))


def _megatron_weights(config: dict[str, Any]) -> dict[str, torch.Tensor]:
    width, ffn = config["hidden_size"], config["intermediate_size"]
    head_dim = width // config["num_attention_heads"]
    shapes = {
        "embedding.word_embeddings.weight": (config["vocab_size"], width),
        "output_layer.weight": (config["vocab_size"], width),
        "decoder.final_layernorm.weight": (width,),
    }
    for layer in range(config["num_hidden_layers"]):
        attention, mlp = (f"decoder.layers.{layer}.{n}.linear_" for n in ("self_attention", "mlp"))
        shapes |= {
            f"{attention}qkv.layer_norm_weight": (width,),
            f"{attention}qkv.weight": (width + 2 * head_dim * config["num_key_value_heads"], width),
            f"{attention}proj.weight": (width, width),
            f"{mlp}fc1.layer_norm_weight": (width,),
            f"{mlp}fc1.weight": (2 * ffn, width),
            f"{mlp}fc2.weight": (width, ffn),
        }
    return {name: torch.ones(shape) for name, shape in shapes.items()}


def _meta(corpus: Corpus) -> None:
    params = {"dim": 8, "n_layers": 1, "n_heads": 2, "norm_eps": 1e-5, "vocab_size": 16}
    layer = "layers.0"
    shapes = {
        "tok_embeddings.weight": (16, 8),
        **{f"{layer}.attention.w{name}.weight": (8, 8) for name in "qkvo"},
        **{f"{layer}.feed_forward.w{n}.weight": (12, 8) for n in (1, 3)},
        f"{layer}.feed_forward.w2.weight": (8, 12),
        f"{layer}.attention_norm.weight": (8,),
        f"{layer}.ffn_norm.weight": (8,),
        "norm.weight": (8,),
        "output.weight": (16, 8),
    }
    weights = {name: torch.ones(shape) for name, shape in shapes.items()}
    whole = {PARAMS: json.dumps(params).encode(), PTH: saved(weights)}
    corpus.keep("meta", whole)
    for key, value in {
        "dim": 2**40,
        "n_layers": 2**30,
        "n_heads": 0,
        "n_kv_heads": -1,
        "vocab_size": 2**62,
        "rope_theta": -1,
        "head_dim": 7,
        "norm_eps": 10**400,
        "moe": {"num_experts": 2**40},
    }.items():
        text = json.dumps({**params, key: value}).encode()
        corpus.add(f"meta {key}", PARAMS, f"{key}: ", {**whole, PARAMS: text})
    twice = b'{"dim": 8, "dim": 9}'
    corpus.add("meta a key twice", PARAMS, "'dim' stands twice", {**whole, PARAMS: twice})
    for at in (0, 1, 20, len(whole[PARAMS]) - 1):
        cut = whole[PARAMS][:at]
        corpus.add(f"meta params cut at {at}", PARAMS, "not valid JSON", {**whole, PARAMS: cut})
    for name, data in cuts(whole[PTH]).items():
        corpus.add(f"meta weights cut {name}", PTH, "truncated", {**whole, PTH: data})
    code = zipped(pickle.dumps(Reduced(os.system, corpus.command), 2))
    corpus.add("meta of code", PTH, "system", {**whole, PTH: code})
    corpus.add("meta part missing", "meta-part", "1", {**whole, "consolidated.02.pth": whole[PTH]})
    names = {PTH: b"", "consolidated.pth": b""}
    corpus.add("meta two kinds", "meta-two", "consolidated", {**whole, **names})
    link = corpus.add("meta link", "meta-link", PTH, {PARAMS: whole[PARAMS]})
    (link / PTH).symlink_to("/etc/passwd")
    link = corpus.add("meta params link", "meta-params-link", PARAMS, {PTH: whole[PTH]})
    (link / PARAMS).symlink_to("/etc/passwd")
    big = corpus.add("meta params of a gigabyte", PARAMS, "bytes", {PTH: whole[PTH]})
    sparse(big / PARAMS, 10**9)


# What each part of FlagAI's GLM is read from, in a config.json without a model_type.
_GLM = {
    "num_layers": 1,
    "vocab_size": 16,
    "hidden_size": 8,
    "num_attention_heads": 2,
    "max_sequence_length": 8,
    "block_position_encoding": True,
}


def _flagai(corpus: Corpus) -> None:
    file, rank = "pytorch_model.bin", "pytorch_model_01.bin"
    shapes = {item.name: item.shape for item in plan_export(build(to_core(_GLM, "glm")))}
    whole = {
        CONFIG: json.dumps(_GLM).encode(),
        file: saved({n.removeprefix("glm."): torch.ones(shape) for n, shape in shapes.items()}),
    }
    corpus.keep("flagai", whole)
    code = zipped(pickle.dumps(Reduced(os.system, corpus.command), 2))
    corpus.add("flagai of code", file, "system", {**whole, file: code})
    parts = {CONFIG: whole[CONFIG], "pytorch_model_00.bin": whole[file], rank: code}
    corpus.add("flagai part of code", rank, "system", parts)
    for name, data in cuts(whole[file]).items():
        corpus.add(f"flagai cut {name}", file, "truncated", {**whole, file: data})
    for key, value in (("hidden_size", 2**40), ("num_attention_heads", 0), ("num_layers", 2**30)):
        text = json.dumps({**_GLM, key: value}).encode()
        corpus.add(f"flagai {key}", CONFIG, key.split("_")[-1], {**whole, CONFIG: text})
    link = corpus.add("flagai link", "flagai-link", file, {CONFIG: whole[CONFIG]})
    (link / file).symlink_to("/etc/passwd")
