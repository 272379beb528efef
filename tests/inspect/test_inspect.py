"""`tfcli inspect`: what it says of checkpoints, read from headers alone."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import tokenizers
import torch

from tests.checkpoints.models import BERT, GPT2, LLAMA, tiny
from tests.models.tiny import tiny_model
from tfcli.checkpoints.folder import save_model
from tfcli.checkpoints.hf.safetensors import PendingTensor, write_safetensors
from tfcli.checkpoints.hf.source import open_tensors
from tfcli.errors import UsageError, WorkError
from tfcli.evaluate.spec import EvalSpec
from tfcli.files import write_json
from tfcli.inspect.run import run
from tfcli.inspect.spec import InspectResult, InspectSpec
from tfcli.recipe.job import Job
from tfcli.recipe.record import make_record


def inspect(path: Path) -> InspectResult:
    return run(InspectSpec(path=str(path)), Job())


def edit_config(folder: Path, **changes: Any) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def rewrite(folder: Path, **tensors: torch.Tensor) -> None:
    """Add tensors to a folder's weights; `__` in a name stands for a dot."""
    source = open_tensors(folder)
    old = [PendingTensor.of(name, source[name]) for name in source]
    new = [PendingTensor.of(name.replace("__", "."), t) for name, t in tensors.items()]
    write_safetensors(folder / "model.safetensors", [*old, *new])


@pytest.mark.parametrize(
    ("settings", "architecture", "task"),
    [
        (LLAMA, "LlamaForCausalLM", "causal-lm"),
        (GPT2, "GPT2LMHeadModel", "causal-lm"),
        (BERT, "BertForMaskedLM", "masked-lm"),
    ],
    ids=["llama", "gpt2", "bert"],
)
def test_what_a_dense_checkpoint_is(
    tmp_path: Path, settings: dict[str, Any], architecture: str, task: str
) -> None:
    model = tiny(settings, dtype=torch.bfloat16)
    save_model(model, tmp_path)
    found = inspect(tmp_path)
    count = sum(p.numel() for p in model.parameters())
    assert (found.model_type, found.architecture, found.task) == (
        settings["model_type"],
        architecture,
        task,
    )
    assert (found.parameters, found.parameters_counted) == (count, "logical")
    assert (found.bytes, found.dtypes) == (2 * count, {"BF16": count})
    assert (found.quantization, found.problem) == (None, None)
    assert {t.name: tuple(t.shape) for t in found.tensors} == {
        info.name: info.shape for info in open_tensors(tmp_path).infos()
    }
    assert sum(t.bytes for t in found.tensors) == found.bytes
    assert found.model_dump()["schema"] == "tfcli.inspect/1"


def test_a_tied_tensor_counts_once_and_buffers_not_at_all(tmp_path: Path) -> None:
    model = tiny(tie_word_embeddings=True)
    save_model(model, tmp_path)
    once = inspect(tmp_path).parameters
    rewrite(
        tmp_path,
        lm_head__weight=model.lm_head.weight.detach(),
        model__layers__0__self_attn__rotary_emb__inv_freq=torch.ones(4),
    )
    found = inspect(tmp_path)
    assert found.parameters == once == sum(p.numel() for p in model.parameters())
    assert found.dtypes["F32"] == once + model.lm_head.weight.numel() + 4


def test_memory_arithmetic(tmp_path: Path) -> None:
    save_model(tiny(LLAMA, dtype=torch.bfloat16), tmp_path)
    found = inspect(tmp_path)
    memory = found.memory
    assert memory.context == 32
    assert memory.load == found.bytes
    assert memory.train == 16 * found.parameters
    # keys and values, 2 layers, 2 heads of 8, 32 tokens, 2 bytes
    assert memory.kv_cache == 2 * 2 * 2 * 8 * 32 * 2
    assert memory.activations == 32 * (4 * 32 + 2 * 48) * 2 + 4 * 61
    assert memory.run == memory.load + memory.kv_cache + memory.activations


def test_an_encoder_has_no_cache(tmp_path: Path) -> None:
    save_model(tiny(BERT), tmp_path)
    assert inspect(tmp_path).memory.kv_cache == 0


def test_an_encoder_decoder_keeps_both_texts(tmp_path: Path) -> None:
    save_model(tiny_model("bart"), tmp_path)  # 3 layers decode, 32 wide, 24 positions
    assert inspect(tmp_path).memory.kv_cache == 2 * 3 * 2 * 32 * 24 * 4


@pytest.mark.parametrize("bits", [2, 3, 4, 8])
@pytest.mark.parametrize(
    "method", ["gptq", "gptq without g_idx", "gptq of before", "awq", "awq of before"]
)
def test_packed_weights_count_as_the_weights_they_stand_for(
    tmp_path: Path, bits: int, method: str
) -> None:
    inputs, outputs, groups = 64, 96, 2
    shape = (inputs * bits // 32, outputs)
    if method.startswith("awq"):
        shape = (inputs, outputs * bits // 32)
    module = {
        "qweight": torch.zeros(shape, dtype=torch.int32),
        "qzeros": torch.zeros(groups, outputs * bits // 32, dtype=torch.int32),
        "scales": torch.zeros(groups, outputs, dtype=torch.float16),
        "bias": torch.zeros(outputs, dtype=torch.float16),
    }
    if method == "gptq":
        module["g_idx"] = torch.zeros(inputs, dtype=torch.int32)
    tensors = [PendingTensor.of(f"m.q.{name}", t) for name, t in module.items()]
    tensors.append(PendingTensor.of("m.norm.weight", torch.zeros(7, dtype=torch.float16)))
    write_safetensors(tmp_path / "model.safetensors", tensors)
    settings = {"quant_method": method.split()[0], "bits": bits, "group_size": 32}
    config: dict[str, Any] = {"quantization_config": settings}
    if method == "gptq of before":  # its settings lie in a file of their own
        config = {"model_type": "llama"}
        (tmp_path / "quantize_config.json").write_text(json.dumps({"bits": bits, "group_size": 32}))
    if method == "awq of before":
        config = {"model_type": "llama"}
        own = {"w_bit": bits, "q_group_size": 32, "version": "GEMM", "zero_point": True}
        (tmp_path / "quant_config.json").write_text(json.dumps(own))
    (tmp_path / "config.json").write_text(json.dumps(config))
    found = inspect(tmp_path)
    assert found.parameters == inputs * outputs + outputs + 7
    assert found.parameters_counted == "logical"
    assert found.quantization is not None
    assert (found.quantization.method, found.quantization.bits) == (settings["quant_method"], bits)
    assert found.quantization.group_size == 32
    assert found.dtypes["I32"] == sum(t.numel() for t in module.values() if t.dtype == torch.int32)


def test_a_layer_with_bits_of_its_own_counts_by_its_inputs(tmp_path: Path) -> None:
    tensors = {
        "q.qweight": torch.zeros(16, 96, dtype=torch.int32),  # 64 inputs at 8 bits
        "q.g_idx": torch.zeros(64, dtype=torch.int32),
    }
    pending = [PendingTensor.of(name, t) for name, t in tensors.items()]
    write_safetensors(tmp_path / "model.safetensors", pending)
    settings = {"quant_method": "gptq", "bits": 4, "dynamic": {"q": {"bits": 8}}}
    (tmp_path / "config.json").write_text(json.dumps({"quantization_config": settings}))
    assert inspect(tmp_path).parameters == 64 * 96


@pytest.mark.interop
def test_bitsandbytes_counts_the_dense_weights(tmp_path: Path) -> None:
    import bitsandbytes.functional

    weight = torch.randn(64, 64, generator=torch.Generator().manual_seed(0))
    packed, state = bitsandbytes.functional.quantize_4bit(weight, quant_type="nf4")
    parts = {f"q.weight.{name}": t for name, t in state.as_dict(packed=True).items()}
    tensors = [PendingTensor.of(n, t) for n, t in {"q.weight": packed, **parts}.items()]
    tensors.append(PendingTensor.of("norm.weight", torch.ones(7)))
    write_safetensors(tmp_path / "model.safetensors", tensors)
    settings = {"quant_method": "bitsandbytes", "load_in_4bit": True}
    (tmp_path / "config.json").write_text(json.dumps({"quantization_config": settings}))
    found = inspect(tmp_path)
    assert found.parameters == 64 * 64 + 7
    assert found.quantization is not None
    assert (found.quantization.method, found.quantization.bits) == ("bitsandbytes", 4)


BLOCKS = {"quant_method": "fp8", "weight_block_size": [16, 16]}
BY_OUTPUT = {"num_bits": 8, "type": "float", "strategy": "channel", "symmetric": True}
COMPRESSED = {
    "quant_method": "compressed-tensors",
    "format": "float-quantized",
    "config_groups": {"group_0": {"targets": ["Linear"], "weights": BY_OUTPUT}},
    "kv_cache_scheme": {"num_bits": 8, "type": "float", "strategy": "tensor", "symmetric": True},
}


@pytest.mark.parametrize(
    ("settings", "scale"),
    [(BLOCKS, "weight_scale_inv"), (COMPRESSED, "weight_scale"), (None, "weight_scale")],
    ids=["fp8", "compressed-tensors", "a bare file"],
)
@pytest.mark.parametrize("known", [True, False], ids=["family", "unknown family"])
def test_scales_of_8_bit_floats_are_no_parameters(
    tmp_path: Path, settings: dict[str, Any] | None, scale: str, known: bool
) -> None:
    """Neither those of weights nor those of inputs and caches; what is only called so is one."""
    save_model(tiny(LLAMA), tmp_path)
    path = tmp_path / "model.safetensors"
    dense = inspect(tmp_path if settings else path).parameters
    source, stored = open_tensors(tmp_path), {}
    for name in source:
        module, _, leaf = name.rpartition(".")
        stored[name] = source[name]
        if module.endswith("_proj") and leaf == "weight":
            rows, columns = source[name].shape
            grid = (-(-rows // 16), -(-columns // 16)) if settings is BLOCKS else (rows, 1)
            stored[name] = source[name].to(torch.float8_e4m3fn)
            stored |= {f"{module}.{scale}": torch.ones(grid), f"{module}.input_scale": ones()}
        if module.endswith("k_proj"):
            attention = module.removesuffix(".k_proj")
            stored |= {f"{attention}.{each}_scale": ones() for each in ("k", "v")}
    if not known:
        stored["logit_scale"], dense = ones(), dense + 1
    write_safetensors(path, [PendingTensor.of(name, value) for name, value in stored.items()])
    if settings is not None:
        others = {} if known else {"model_type": "other"}
        edit_config(tmp_path, quantization_config=settings, **others)
    found = inspect(tmp_path if settings else path)
    assert (found.parameters, found.parameters_counted) == (dense, "logical")


def ones() -> torch.Tensor:
    return torch.ones(1)


def test_an_unknown_packing_counts_what_is_stored_and_says_so(tmp_path: Path) -> None:
    save_model(tiny(), tmp_path)
    edit_config(tmp_path, quantization_config={"quant_method": "new-method"})
    assert inspect(tmp_path).parameters_counted == "stored"


def test_an_unknown_family_is_described_and_said_not_to_run(tmp_path: Path) -> None:
    save_model(tiny(), tmp_path)
    edit_config(tmp_path, model_type="lama")
    found = inspect(tmp_path)
    assert (found.model_type, found.task) == ("lama", None)
    assert "unknown model_type 'lama'" in str(found.problem)
    assert found.memory.run is None
    assert found.memory.train == 16 * found.parameters > 0


def test_a_class_that_is_not_known_is_named_and_the_rest_described(tmp_path: Path) -> None:
    save_model(tiny(), tmp_path)
    before = inspect(tmp_path)
    edit_config(tmp_path, architectures=["LlamaForEverything"])
    found = inspect(tmp_path)
    assert (found.architecture, found.task) == ("LlamaForEverything", None)
    assert "'LlamaForEverything' is no class of llama" in str(found.problem)
    assert found.parameters == before.parameters
    assert found.memory.context == before.memory.context
    assert found.memory.run is not None


def test_a_config_of_odd_values_is_described_all_the_same(tmp_path: Path) -> None:
    save_model(tiny(), tmp_path)
    edit_config(tmp_path, architectures={"a": 1}, model_type=7, quantization_config=[1])
    found = inspect(tmp_path)
    assert (found.model_type, found.architecture, found.quantization) == (None, None, None)


def test_a_bare_file(tmp_path: Path) -> None:
    path = tmp_path / "any.safetensors"
    write_safetensors(
        path, [PendingTensor.of("w", torch.ones(3, 5)), PendingTensor.of("s", torch.tensor(1))]
    )
    found = inspect(path)
    assert (found.parameters, found.bytes, found.files) == (16, 68, ["any.safetensors"])
    assert (found.model_type, found.tokenizer, found.chat_template) == (None, None, False)


@pytest.mark.parametrize(
    ("model", "kind"),
    [
        (tokenizers.models.BPE({"a": 0, "b": 1}, []), "BPE"),
        (tokenizers.models.WordPiece({"a": 0, "b": 1}, unk_token="a"), "WordPiece"),
        (tokenizers.models.Unigram([("a", 0.0), ("b", -1.0)], 0, False), "Unigram"),
    ],
    ids=["bpe", "wordpiece", "unigram"],
)
def test_tokenizers(tmp_path: Path, model: tokenizers.models.Model, kind: str) -> None:
    save_model(tiny(), tmp_path)
    tokenizer = tokenizers.Tokenizer(model)
    tokenizer.add_special_tokens(["<s>", "a"])
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    found = inspect(tmp_path).tokenizer
    assert found is not None
    assert (found.type, found.vocab_size) == (kind, tokenizer.get_vocab_size()) == (kind, 3)


def test_older_tokenizer_files(tmp_path: Path) -> None:
    save_model(tiny(), tmp_path)
    (tmp_path / "vocab.txt").write_text("a\nb\nc\n")
    assert inspect(tmp_path).tokenizer.model_dump() == {  # type: ignore[union-attr]
        "type": "WordPiece",
        "vocab_size": 3,
        "file": "vocab.txt",
    }
    (tmp_path / "vocab.json").write_text('{"a": 0, "b": 1}')
    (tmp_path / "merges.txt").write_text("")
    assert inspect(tmp_path).tokenizer.vocab_size == 2  # type: ignore[union-attr]


@pytest.mark.parametrize("text", ["[]", "{}", '{"model": {"vocab": 3}}', '{"model": []}'])
def test_a_broken_tokenizer_is_named(tmp_path: Path, text: str) -> None:
    save_model(tiny(), tmp_path)
    (tmp_path / "tokenizer.json").write_text(text)
    with pytest.raises(WorkError, match="not a tokenizer") as error:
        inspect(tmp_path)
    assert str(error.value.where).endswith("tokenizer.json")


@pytest.mark.parametrize(
    ("name", "text", "there"),
    [
        ("chat_template.jinja", "{{ x }}", True),
        ("tokenizer_config.json", '{"chat_template": "{{ x }}"}', True),
        ("tokenizer_config.json", '{"chat_template": null}', False),
        ("chat_template.json", '{"chat_template": "{{ x }}"}', True),
    ],
)
def test_chat_template(tmp_path: Path, name: str, text: str, there: bool) -> None:
    save_model(tiny(), tmp_path)
    (tmp_path / name).write_text(text)
    assert inspect(tmp_path).chat_template is there


def test_a_broken_tokenizer_config_is_named(tmp_path: Path) -> None:
    save_model(tiny(), tmp_path)
    (tmp_path / "tokenizer_config.json").write_text("[]")
    with pytest.raises(WorkError, match="expected a JSON object") as error:
        inspect(tmp_path)
    assert str(error.value.where).endswith("tokenizer_config.json")


def test_the_data_is_not_read(tmp_path: Path) -> None:
    # A file of 2^40 bytes, all of them a hole: reading it would not end.
    header = json.dumps(
        {"w": {"dtype": "U8", "shape": [2**40], "data_offsets": [0, 2**40]}}
    ).encode()
    path = tmp_path / "huge.safetensors"
    with path.open("wb") as file:
        file.write(len(header).to_bytes(8, "little") + header)
        file.truncate(8 + len(header) + 2**40)
    assert inspect(path).bytes == 2**40


def test_folders_that_are_no_checkpoints(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no such file or folder"):
        inspect(tmp_path / "gone")
    with pytest.raises(UsageError, match=r"no config\.json") as error:
        inspect(tmp_path)
    assert error.value.where == str(tmp_path)
    spec = EvalSpec(model="m", data="d", output=str(tmp_path))
    hashes = {"m": "commit 1", "d": "commit 2"}
    record = make_record(spec, "key", hashes, tmp_path, {}, datetime.now(UTC))
    write_json(tmp_path / "run.json", record)
    with pytest.raises(UsageError, match="what `tfcli eval` made, not a model"):
        inspect(tmp_path)
