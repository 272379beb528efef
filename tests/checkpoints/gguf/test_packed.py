"""Weights that come to a GGUF file quantized: each is in its place, bit for bit."""

from dataclasses import replace

import gguf
import pytest
import torch

from tests.checkpoints.gguf.convert import from_gguf
from tests.checkpoints.gguf.folders import VOCAB, write_folder
from tests.checkpoints.gguf.llama_cpp import LlamaCpp
from tests.models.layouts.blocks import random_blocks
from tfcli.checkpoints.containers import open_checkpoint
from tfcli.checkpoints.folder import load_model
from tfcli.checkpoints.gguf.packed import PackedRows
from tfcli.checkpoints.gguf.quantized import plan_quantized, types_of
from tfcli.checkpoints.gguf.write import verify, write
from tfcli.errors import WorkError
from tfcli.models.layouts.ggml import GGML_TYPES
from tfcli.models.layouts.ggml_blocks import pack_blocks, unpack_blocks

SIZES = {
    "llama": {"hidden_size": 256, "intermediate_size": 512},
    "llama-tied": {"hidden_size": 256, "intermediate_size": 512},
    "mixtral": {"hidden_size": 256, "intermediate_size": 256},
    "qwen2": {"hidden_size": 256, "intermediate_size": 512},
    "gemma2": {"hidden_size": 256, "intermediate_size": 512},
    "phi3": {"hidden_size": 256, "intermediate_size": 512},
    "gpt2": {"n_embd": 256},
    "gpt_neox": {"hidden_size": 256, "intermediate_size": 512},
    "starcoder2": {"hidden_size": 256, "intermediate_size": 512},
}
TRANSPOSED = ("c_attn.weight", "c_proj.weight", "c_fc.weight")
PROMPT = torch.randint(1, 300, (40,), generator=torch.Generator().manual_seed(3)).tolist()


def quantized(view, mix):
    """Weights of the types of a mix, with levels and scales of any kind: name -> values."""
    types, _ = types_of(view, mix)
    found = {}
    for seed, (name, kind) in enumerate(types.items()):
        turned = name.endswith(TRANSPOSED) and view.config["model_type"] == "gpt2"
        m, n = reversed(view.tensors[name].shape) if turned else view.tensors[name].shape
        blocks = n // GGML_TYPES[kind].block
        raw = random_blocks(kind, rows=m, blocks=blocks, seed=seed, largest=0.2)
        found[name] = unpack_blocks(raw, kind), turned
    return found


def rows(values, turned):
    return PackedRows(values.kind, values.shape, lambda: pack_blocks(values), turned)


def write_quantized(folder, name, mix, file, **changes):
    """A family's tiny model in a file; gives what its weights are then."""
    write_folder(folder, name, **SIZES[name], **changes)
    view = open_checkpoint(folder)
    made = quantized(view, mix)
    planned = plan_quantized(view, {k: rows(*one) for k, one in made.items()}, mix, name="tiny")
    write(planned, file)
    assert verify(planned, file) == {}
    expected = {
        k: v.dequantize().t() if turned else v.dequantize() for k, (v, turned) in made.items()
    }
    return view, expected, planned


@pytest.mark.parametrize("name", SIZES)
def test_every_weight_is_there_again(name, tmp_path):
    view, expected, _ = write_quantized(tmp_path / name, name, "Q4_K_M", tmp_path / "x.gguf")
    from_gguf(tmp_path / "x.gguf", tmp_path / "back")
    back = open_checkpoint(tmp_path / "back")
    assert len(expected) > 8
    for tensor in view:
        if tensor.name in expected:
            assert torch.equal(back.weights[tensor.name].float(), expected[tensor.name]), (
                tensor.name
            )
        elif tensor.name in back.tensors:
            assert torch.equal(back.weights[tensor.name], view.weights[tensor.name]), tensor.name


def test_the_gguf_library_reads_the_types_and_the_values(tmp_path):
    _, expected, _ = write_quantized(tmp_path / "m", "qwen2", "Q4_K_M", tmp_path / "x.gguf")
    file = gguf.GGUFReader(tmp_path / "x.gguf")
    tensors = {tensor.name: tensor for tensor in file.tensors}
    down = tensors["blk.1.ffn_down.weight"]
    assert down.tensor_type.name == "Q6_K"
    values = gguf.quants.dequantize(down.data, down.tensor_type)
    wanted = expected["model.layers.1.mlp.down_proj.weight"]
    assert torch.equal(torch.from_numpy(values), wanted)
    assert tensors["blk.1.ffn_up.weight"].tensor_type.name == "Q4_K"
    assert file.fields["general.file_type"].contents() == 15


def test_what_is_not_quantized_stays_as_it_is(tmp_path):
    write_folder(tmp_path / "m", "llama", **SIZES["llama"])
    view = open_checkpoint(tmp_path / "m")
    name = "model.layers.0.mlp.up_proj.weight"
    values, turned = quantized(view, "Q4_K_S")[name]
    planned = plan_quantized(view, {name: rows(values, turned)}, "Q4_K_S")
    kinds = {target.name: target.dtype for target in planned.targets}
    assert kinds.pop("blk.0.ffn_up.weight") == "Q4_K"
    assert set(kinds.values()) == {"F32"}


def test_rows_of_several_types_are_not_stacked(tmp_path):
    """Q4_K and Q4_0 have rows of as many bytes: sizes alone would not tell."""
    write_folder(tmp_path / "m", "mixtral", **SIZES["mixtral"])
    view = open_checkpoint(tmp_path / "m")
    made = quantized(view, "Q4_K_S")
    name = next(name for name in made if "experts.1.w1" in name)
    m, n = made[name][0].shape
    made[name] = unpack_blocks(random_blocks("Q4_0", rows=m, blocks=n // 32), "Q4_0"), False
    with pytest.raises(WorkError, match="would hold Q4_0, Q4_K"):
        plan_quantized(view, {k: rows(*one) for k, one in made.items()}, "Q4_K_S")
    del made[name]
    with pytest.raises(WorkError, match="do not fit"):
        plan_quantized(view, {k: rows(*one) for k, one in made.items()}, "Q4_K_S")


def test_a_weight_of_another_shape_or_name_is_refused(tmp_path):
    write_folder(tmp_path / "m", "llama", **SIZES["llama"])
    view = open_checkpoint(tmp_path / "m")
    name = "model.layers.0.mlp.up_proj.weight"
    values, _ = quantized(view, "Q4_K_S")[name]
    one = rows(values, False)
    with pytest.raises(WorkError, match="is no tensor"):
        plan_quantized(view, {"model.x": one}, "Q4_K_S")
    with pytest.raises(WorkError, match=r"is \[512, 256\], what it is quantized to \[9, 256\]"):
        plan_quantized(view, {name: replace(one, shape=(9, 256))}, "Q4_K_S")


def test_bytes_that_change_before_they_are_checked_are_found(tmp_path):
    write_folder(tmp_path / "m", "llama", **SIZES["llama"])
    view = open_checkpoint(tmp_path / "m")
    made = {name: rows(*one) for name, one in quantized(view, "Q4_K_S").items()}
    name = "model.layers.0.mlp.up_proj.weight"
    held = made[name].read()
    made[name] = replace(made[name], read=lambda: held)
    planned = plan_quantized(view, made, "Q4_K_S")
    write(planned, tmp_path / "x.gguf")
    held[3, 7] ^= 1
    with pytest.raises(WorkError, match="bytes in the file are not those"):
        verify(planned, tmp_path / "x.gguf")


@pytest.mark.interop
@pytest.mark.parametrize("mix", ["Q2_K", "Q3_K_M", "Q4_K_M", "Q5_K_M", "Q6_K"])
@pytest.mark.parametrize("name", ["llama", "llama-tied", "mixtral", "qwen2", "gpt2", "gpt_neox"])
def test_llama_cpp_says_what_our_model_says(name, mix, tmp_path):
    """The weights are the same; llama.cpp quantizes the inputs of matrices to 8 bits too."""
    write_quantized(tmp_path / name, name, mix, tmp_path / "x.gguf")
    from_gguf(tmp_path / "x.gguf", tmp_path / "back")
    model = load_model(tmp_path / "back")
    with torch.no_grad():
        expected = torch.log_softmax(model(torch.tensor([PROMPT])).logits[0, -1].float(), -1)
    found = LlamaCpp(tmp_path / "x.gguf", VOCAB).logprobs(PROMPT)
    assert float((found - expected).std() / expected.std()) < 0.1
