"""Meta's folders: parts joined, rotary rows permuted, the same logits as Meta's own arithmetic."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from torch.nn import functional as F

from tests.checkpoints.models import LLAMA, tiny, tokens
from tests.convert.memory import assert_bounded
from tfcli.checkpoints.container import WriteOptions
from tfcli.checkpoints.containers import find_container, open_checkpoint
from tfcli.checkpoints.folder import load_model, save_model
from tfcli.checkpoints.hf.safetensors import PendingTensor, write_safetensors
from tfcli.checkpoints.hf.source import open_tensors
from tfcli.checkpoints.meta import write as writer
from tfcli.checkpoints.plan import make_plan
from tfcli.checkpoints.verify import verify
from tfcli.console import Console
from tfcli.convert.spec import ConvertResult, ConvertSpec
from tfcli.errors import UsageError, WorkError
from tfcli.recipe.execute import execute
from tfcli.tokenizers.load import load_tokenizer

PARAMS = {
    "dim": 32,
    "n_layers": 2,
    "n_heads": 4,
    "n_kv_heads": 2,
    "multiple_of": 16,
    "norm_eps": 1e-5,
    "vocab_size": -1,
}
VOCAB, FFN = 64, 96
ROWS = ("wq", "wk", "wv", "w1", "w3", "output")  # cut along dimension 0
COLUMNS = ("wo", "w2")


def weights(params: dict[str, Any]) -> dict[str, torch.Tensor]:
    """Random weights under Meta's names."""
    generator = torch.Generator().manual_seed(0)
    dim, kv = params["dim"], params["n_kv_heads"] * params["dim"] // params["n_heads"]
    shapes: dict[str, tuple[int, ...]] = {"tok_embeddings.weight": (VOCAB, dim)}
    for layer in range(params["n_layers"]):
        at = f"layers.{layer}"
        shapes |= {
            f"{at}.attention.wq.weight": (dim, dim),
            f"{at}.attention.wk.weight": (kv, dim),
            f"{at}.attention.wv.weight": (kv, dim),
            f"{at}.attention.wo.weight": (dim, dim),
            f"{at}.feed_forward.w1.weight": (FFN, dim),
            f"{at}.feed_forward.w2.weight": (dim, FFN),
            f"{at}.feed_forward.w3.weight": (FFN, dim),
            f"{at}.attention_norm.weight": (dim,),
            f"{at}.ffn_norm.weight": (dim,),
        }
    shapes |= {"norm.weight": (dim,), "output.weight": (VOCAB, dim)}
    found = {n: torch.randn(shape, generator=generator) * 0.2 for n, shape in shapes.items()}
    return found | {"rope.freqs": torch.ones(params["dim"] // params["n_heads"] // 2)}


def cut(state: dict[str, torch.Tensor], parts: int, embedding: int) -> list[dict[str, Any]]:
    """One dictionary for each part, as Meta's training wrote them."""
    files: list[dict[str, Any]] = [{} for _ in range(parts)]
    for name, value in state.items():
        leaf = name.split(".")[-2]
        along = 0 if leaf in ROWS else 1 if leaf in COLUMNS else None
        along = embedding if leaf == "tok_embeddings" else along
        pieces = [value] * parts if along is None else value.chunk(parts, along)
        for file, piece in zip(files, pieces, strict=True):
            file[name] = piece.clone()
    return files


def folder(path: Path, params: dict[str, Any] | None = None, parts: int = 1, embedding: int = 1):
    params = {**PARAMS, **(params or {})}
    path.mkdir()
    for number, file in enumerate(cut(weights(params), parts, embedding)):
        torch.save(file, path / f"consolidated.{number:02d}.pth")
    (path / "params.json").write_text(json.dumps(params))
    return path


def convert(source: Path, output: Path, **options: Any) -> ConvertResult:
    spec = ConvertSpec(source=str(source), output=str(output), **options)
    result = execute(spec, Console.silent()).result
    assert isinstance(result, ConvertResult)
    return result


def meta_logits(params: dict[str, Any], state: dict[str, torch.Tensor], ids: torch.Tensor):
    """Llama as Meta computes it: rotary positions turn neighbouring values, as complex numbers."""
    heads, kv = params["n_heads"], params["n_kv_heads"]
    size, length = params["dim"] // heads, ids.shape[1]
    theta = params.get("rope_theta", 10000.0)
    frequencies = theta ** -(torch.arange(0, size, 2).float() / size)
    angles = torch.outer(torch.arange(length).float(), frequencies)
    turn = torch.polar(torch.ones_like(angles), angles)[:, None]

    def norm(x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + params["norm_eps"]) * weight

    def rotate(x: torch.Tensor) -> torch.Tensor:
        pairs = torch.view_as_complex(x.unflatten(-1, (-1, 2)).contiguous())
        return torch.view_as_real(pairs * turn).flatten(-2)

    x = state["tok_embeddings.weight"][ids]
    for layer in range(params["n_layers"]):
        w = {
            name.removeprefix(f"layers.{layer}."): value
            for name, value in state.items()
            if name.startswith(f"layers.{layer}.")
        }
        y = norm(x, w["attention_norm.weight"])
        q = rotate((y @ w["attention.wq.weight"].T).unflatten(-1, (heads, size)))
        k = rotate((y @ w["attention.wk.weight"].T).unflatten(-1, (kv, size)))
        v = (y @ w["attention.wv.weight"].T).unflatten(-1, (kv, size))
        k, v = (t.repeat_interleave(heads // kv, 2) for t in (k, v))
        z = F.scaled_dot_product_attention(*(t.transpose(1, 2) for t in (q, k, v)), is_causal=True)
        x = x + z.transpose(1, 2).flatten(-2) @ w["attention.wo.weight"].T
        y = norm(x, w["ffn_norm.weight"])
        gate = F.silu(y @ w["feed_forward.w1.weight"].T) * (y @ w["feed_forward.w3.weight"].T)
        x = x + gate @ w["feed_forward.w2.weight"].T
    return norm(x, state["norm.weight"]) @ state["output.weight"].T


@pytest.mark.interop
@pytest.mark.parametrize(("parts", "embedding"), [(1, 1), (2, 1), (2, 0)])
def test_logits_are_those_of_meta(tmp_path, parts, embedding):
    source = folder(tmp_path / "in", parts=parts, embedding=embedding)
    assert find_container(source).name == "meta"
    result = convert(source, tmp_path / "out")
    assert result.kind == "meta" and result.unused.keys() == {"rope.freqs"}
    wanted = meta_logits(PARAMS, weights(PARAMS), tokens())
    theirs, info = transformers.AutoModelForCausalLM.from_pretrained(
        tmp_path / "out", output_loading_info=True
    )
    assert not any(info.values())
    with torch.no_grad():
        assert torch.allclose(theirs(tokens()).logits, wanted, atol=1e-4)
        ours = load_model(tmp_path / "out")
        assert torch.allclose(ours(tokens()).logits, wanted, atol=1e-4)


@pytest.mark.parametrize("parts", [1, 2])
@pytest.mark.parametrize("embedding", [0, 1])
def test_parts_change_nothing(tmp_path, parts, embedding):
    whole = open_checkpoint(folder(tmp_path / "whole"))
    view = open_checkpoint(folder(tmp_path / "cut", parts=parts, embedding=embedding))
    assert view.config == whole.config
    assert view.tensors.keys() == whole.tensors.keys()
    for name, tensor in view.tensors.items():
        assert torch.equal(tensor.read(), whole.tensors[name].read()), name
    query = view.tensors["model.layers.0.self_attn.q_proj.weight"]
    joined = "2 parts joined along dimension 0, " if parts == 2 else ""
    assert query.how == f"{joined}rotary rows to halves"
    assert query.sources == ("layers.0.attention.wq.weight",)


def test_config_of_each_release(tmp_path):
    def config(name: str, **params: Any) -> dict[str, Any]:
        return open_checkpoint(folder(tmp_path / name, params)).config

    first = config("llama1", norm_eps=1e-6)
    assert (first["intermediate_size"], first["vocab_size"]) == (FFN, VOCAB)
    assert (first["max_position_embeddings"], first["rope_theta"]) == (2048, 10000.0)
    assert first["tie_word_embeddings"] is False and first["dtype"] == "float32"
    assert config("llama2")["max_position_embeddings"] == 4096
    third = config("llama3", rope_theta=500000.0)
    assert third["max_position_embeddings"] == 8192 and "rope_scaling" not in third
    scaled = config("llama31", rope_theta=500000.0, use_scaled_rope=True, rope_scaling_factor=8)
    assert scaled["max_position_embeddings"] == 131072
    assert scaled["rope_scaling"] == {
        "rope_type": "llama3",
        "factor": 8.0,
        "low_freq_factor": 1.0,
        "high_freq_factor": 4.0,
        "original_max_position_embeddings": 8192,
    }
    mistral = config("mistral", hidden_dim=FFN, head_dim=8, sliding_window=16)
    assert mistral["model_type"] == "mistral" and mistral["sliding_window"] == 16
    assert mistral["architectures"] == ["MistralForCausalLM"]


def test_mistral_safetensors_without_an_output_layer(tmp_path):
    state = weights(PARAMS)
    del state["output.weight"], state["rope.freqs"]
    path = tmp_path / "in"
    path.mkdir()
    write_safetensors(
        path / "consolidated.safetensors", [PendingTensor.of(n, t) for n, t in state.items()]
    )
    (path / "params.json").write_text(json.dumps({**PARAMS, "hidden_dim": FFN, "head_dim": 8}))
    view = open_checkpoint(path)
    assert view.config["tie_word_embeddings"] is True and view.config["vocab_size"] == VOCAB
    assert "lm_head.weight" not in view.tensors
    convert(path, tmp_path / "out")
    load_model(tmp_path / "out")


@pytest.mark.parametrize("parts", [1, 2])
@pytest.mark.parametrize("family", ["llama", "mistral"])
def test_there_and_back(tmp_path, family, parts):
    model = tiny({**LLAMA, "model_type": family, "vocab_size": 62}, dtype=torch.bfloat16)
    save_model(model, tmp_path / "hf")
    plan = make_plan(writer.prepare(open_checkpoint(tmp_path / "hf")), None)
    target = tmp_path / "meta"
    target.mkdir()
    files = writer.write(plan, target, WriteOptions(0, parts))
    assert [f.name for f in files] == [f"consolidated.{n:02d}.pth" for n in range(parts)]
    with Console.silent().progress("", 1) as bar:
        verify(plan, open_checkpoint(target), bar)
    convert(target, tmp_path / "again")
    before, after = open_tensors(tmp_path / "hf"), open_tensors(tmp_path / "again")
    assert set(before) == set(after)
    assert all(torch.equal(before[name], after[name]) for name in before)
    with torch.no_grad():
        again = load_model(tmp_path / "again")
        assert torch.equal(again(tokens()).logits, model(tokens()).logits)
    # torch's own loader reads the parts, with Meta's rows of heads cut between them.
    loaded = torch.load(files[0], weights_only=True)
    assert loaded["layers.0.attention.wq.weight"].shape == (32 // parts, 32)


def test_meta_there_and_back_is_bit_for_bit(tmp_path):
    source = folder(tmp_path / "in", parts=2, embedding=1)
    plan = make_plan(writer.prepare(open_checkpoint(source)), None)
    target = tmp_path / "out"
    target.mkdir()
    writer.write(plan, target, WriteOptions(0, 2))
    for name in ("consolidated.00.pth", "consolidated.01.pth"):
        old, new = (torch.load(path / name, weights_only=True) for path in (source, target))
        assert old.keys() - {"rope.freqs"} == new.keys()
        assert all(torch.equal(old[key], new[key]) for key in new)
    params = json.loads((target / "params.json").read_text())
    assert {k: params[k] for k in PARAMS if k not in ("vocab_size", "multiple_of")} == {
        k: v for k, v in PARAMS.items() if k not in ("vocab_size", "multiple_of")
    }


@pytest.mark.parametrize(
    ("dim", "ffn"), [(4096, 11008), (4096, 14336), (8192, 28672), (2048, 8192), (3072, 8192)]
)
def test_the_width_of_the_mlp_as_meta_computes_it(tmp_path, dim, ffn):
    from tfcli.checkpoints.meta.params import params_of
    from tfcli.models.registry import read_config

    keys = {"hidden_size": dim, "intermediate_size": ffn, "num_attention_heads": 32}
    params = params_of(read_config({"model_type": "llama", **keys}))  # type: ignore[arg-type]
    hidden = int(2 * (4 * dim) / 3)  # the lines of Meta's FeedForward
    if "ffn_dim_multiplier" in params:
        hidden = int(params["ffn_dim_multiplier"] * hidden)
    multiple = params["multiple_of"]
    assert multiple * ((hidden + multiple - 1) // multiple) == ffn


def test_a_tied_model_gets_an_output_layer(tmp_path):
    save_model(tiny(tie_word_embeddings=True), tmp_path / "hf")
    plan = make_plan(writer.prepare(open_checkpoint(tmp_path / "hf")), None)
    (tmp_path / "meta").mkdir()
    writer.write(plan, tmp_path / "meta", WriteOptions(0))
    view = open_checkpoint(tmp_path / "meta")
    head, embedding = (view.tensors[n] for n in ("lm_head.weight", "model.embed_tokens.weight"))
    assert torch.equal(head.read(), embedding.read())


@pytest.mark.parametrize(
    ("changes", "parts", "message"),
    [
        ({"attention_bias": True}, 1, "attention_bias"),
        ({"hidden_act": "gelu"}, 1, "hidden_act"),
        ({"head_dim": 16}, 1, "head_dim"),
        ({"rope_scaling": {"rope_type": "linear", "factor": 2.0}}, 1, "rope_parameters"),
        ({}, 4, "4 parts do not divide"),
        ({"intermediate_size": 49}, 2, "2 parts do not divide"),
    ],
    ids=str,
)
def test_what_meta_has_no_words_for(tmp_path, changes, parts, message):
    save_model(tiny({**LLAMA, "vocab_size": 62}, **changes), tmp_path / "hf")
    (tmp_path / "meta").mkdir()
    with pytest.raises(UsageError, match=message):
        writer.write(
            make_plan(writer.prepare(open_checkpoint(tmp_path / "hf")), None),
            tmp_path / "meta",
            WriteOptions(0, parts),
        )
    assert not list((tmp_path / "meta").iterdir())


def rank_file(path: Path) -> None:
    ranks = [bytes([n]) for n in range(256)] + [b"ab", b"abc"]
    lines = [f"{base64.b64encode(token).decode()} {rank}\n" for rank, token in enumerate(ranks)]
    path.write_text("".join(lines))


def test_a_tiktoken_model_becomes_a_tokenizer_json(tmp_path):
    source = folder(tmp_path / "in")
    rank_file(source / "tokenizer.model")
    result = convert(source, tmp_path / "out")
    assert {"tokenizer.model", "tokenizer.json", "tokenizer_config.json"} == set(result.companions)
    tokenizer = load_tokenizer(tmp_path / "out")
    assert tokenizer.encode("abc") == [258, 257]
    assert tokenizer.bos_id == 258 and tokenizer.eos_id == 259
    assert tokenizer.encode("<|eot_id|>", add_special_tokens=False) == [258 + 9]
    theirs = transformers.AutoTokenizer.from_pretrained(tmp_path / "out")
    assert theirs("abc")["input_ids"] == [258, 257]


@pytest.mark.parametrize("damage", ["gap", "last", "name", "layer", "extra", "shape", "type"])
def test_parts_that_do_not_fit(tmp_path, damage):
    source = folder(tmp_path / "in", parts=2)
    last = source / "consolidated.01.pth"
    state = torch.load(last, weights_only=True)
    messages = {
        "gap": r"parts \[1\]",
        "last": "in 1 parts; the config asks for",
        "name": "'norm.weight' is not in every part",
        "layer": "missing: 'layers.1.attention.wk.weight'",
        "extra": "no rule for 'layers.0.attention.wq.bias'",
        "shape": r"layers.0.attention.wo.weight' differs .*: F32 \[32, 16\], F32 \[16, 16\]",
        "type": "'output.weight' differs between the parts: F32 .*, F16",
    }
    if damage == "gap":
        last.rename(source / "consolidated.02.pth")
    elif damage == "last":
        last.unlink()
    elif damage in ("layer", "extra"):
        for path in source.glob("*.pth"):
            state = torch.load(path, weights_only=True)
            state.pop("layers.1.attention.wk.weight")
            if damage == "extra":
                state = torch.load(path, weights_only=True)
                state["layers.0.attention.wq.bias"] = torch.ones(2)
            torch.save(state, path)
    else:
        if damage == "name":
            del state["norm.weight"]
        elif damage == "shape":
            state["layers.0.attention.wo.weight"] = torch.ones(16, 16)
        else:
            state["output.weight"] = state["output.weight"].half()
        torch.save(state, last)
    with pytest.raises(WorkError, match=messages[damage]):
        convert(source, tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("dim", None),
        ("dim", -32),
        ("n_heads", 0),
        ("n_heads", 3),
        ("n_layers", 10**12),
        ("norm_eps", "1e-5"),
        ("vocab_size", 2.5),
        ("moe", {"num_experts": 8}),
    ],
    ids=str,
)
def test_params_that_are_none(tmp_path, key, value):
    source = folder(tmp_path / "in")
    (source / "params.json").write_text(json.dumps({**PARAMS, key: value}))
    with pytest.raises(WorkError, match=key):
        open_checkpoint(source)


def test_weights_of_hugging_face_beside_them_count(tmp_path):
    save_model(tiny(), tmp_path / "hf")
    for path in folder(tmp_path / "meta").iterdir():
        path.rename(tmp_path / "hf" / path.name)
    assert find_container(tmp_path / "hf").name == "hf"


def test_memory_is_that_of_one_tensor(tmp_path):
    dim, ffn = 512, 4096  # 8 MB a matrix of the MLP
    params = {**PARAMS, "dim": dim, "n_layers": 6, "hidden_dim": ffn, "head_dim": dim // 4}
    shapes = {name: value.shape for name, value in weights(PARAMS).items() if name != "rope.freqs"}
    state = {}
    for layer in range(params["n_layers"]):
        for name, shape in shapes.items():
            wide = tuple({32: dim, 16: dim // 2, FFN: ffn, VOCAB: VOCAB}[n] for n in shape)
            state[name.replace("layers.0.", f"layers.{layer}.")] = torch.zeros(wide)
    path = tmp_path / "in"
    path.mkdir()
    for number, file in enumerate(cut(state, 2, 1)):
        torch.save(file, path / f"consolidated.{number:02d}.pth")
    del state, file
    (path / "params.json").write_text(json.dumps(params))
    assert_bounded(lambda: open_checkpoint(path))
