"""`--imatrix` and `--save-imatrix` of `tfcli quantize --layout gguf`."""

from __future__ import annotations

import pytest
import torch
from pydantic import ValidationError

from tests.checkpoints.gguf.folders import write_folder
from tests.quantize.test_gguf import gptq_options, quantize
from tfcli.checkpoints.containers import open_checkpoint
from tfcli.checkpoints.folder import load_model
from tfcli.checkpoints.gguf.imatrix import Sums, read_imatrix, write_imatrix
from tfcli.errors import UsageError
from tfcli.quantize.solvers.ggml.solve import round_into_blocks
from tfcli.quantize.spec import QuantizeSpec


@pytest.fixture
def text(tmp_path):
    path = tmp_path / "text.txt"
    path.write_text("the cat sat on the mat and the dog sat on the log, it's 3.14. " * 200)
    return path


def uneven(inputs: int, matrices: int = 1) -> Sums:
    generator = torch.Generator().manual_seed(inputs)
    return Sums(
        torch.rand(matrices, inputs, generator=generator) ** 6, torch.full((matrices,), 2.0)
    )


def write(path, sums):
    write_imatrix(path, sums, text="text.txt", chunks=1, chunk_size=8)
    return str(path)


def test_rounding_weighs_errors_by_the_mean_squares_of_inputs(tmp_path, capsys):
    write_folder(tmp_path / "dense", "llama")
    sums = {"blk.1.ffn_down.weight": uneven(96), "output.weight": uneven(64)}
    path = write(tmp_path / "imatrix.gguf", sums)
    quantize(tmp_path / "dense", tmp_path / "q", bits=4, imatrix=path)
    assert "imatrix says nothing of 13 of 14 linears" in " ".join(capsys.readouterr().err.split())
    dense, made = open_checkpoint(tmp_path / "dense"), open_checkpoint(tmp_path / "q")
    for name, kind, mean in (
        ("model.layers.1.mlp.down_proj.weight", "Q5_0", sums["blk.1.ffn_down.weight"].means(0, 96)),
        ("lm_head.weight", "Q8_0", sums["output.weight"].means(0, 64)),
        ("model.layers.0.mlp.down_proj.weight", "Q5_0", None),
    ):
        expected = round_into_blocks(dense.weights[name], kind, mean).dequantize()
        assert torch.equal(made.weights[name].float(), expected), name
        if mean is not None:
            other = round_into_blocks(dense.weights[name], kind).dequantize()
            assert not torch.equal(expected, other)


def test_an_expert_has_its_own_line(tmp_path):
    write_folder(tmp_path / "dense", "mixtral")
    dense = open_checkpoint(tmp_path / "dense")
    sums = uneven(96, 4)
    path = write(tmp_path / "imatrix.gguf", {"blk.1.ffn_down_exps.weight": sums})
    quantize(tmp_path / "dense", tmp_path / "q", bits=4, imatrix=path)
    made = open_checkpoint(tmp_path / "q")
    for number in range(4):
        name = f"model.layers.1.block_sparse_moe.experts.{number}.w2.weight"
        mean = sums.means(number, 96)
        found = round_into_blocks(dense.weights[name], "Q5_0", mean).dequantize()
        assert torch.equal(made.weights[name].float(), found)


def test_calibration_is_saved_and_is_the_sum_over_its_windows(tmp_path, text):
    write_folder(tmp_path / "dense", "llama", num_hidden_layers=1)
    options = gptq_options(text) | {"save_imatrix": True}
    result = quantize(tmp_path / "dense", tmp_path / "q", bits=4, **options)
    assert "imatrix.gguf" in result.companions
    found = read_imatrix(tmp_path / "q" / "imatrix.gguf")
    assert len(found) == 7 and {float(one.counts) for one in found.values()} == {16 * 32.0}
    # The first linears get what the dense model gives them: norms of root mean square 1, and of
    # the token that begins a window zeros, as that of padding is.
    dense = load_model(tmp_path / "dense")
    assert not dense.get_parameter("model.embed_tokens.weight")[0].any()
    norm = dense.get_parameter("model.layers.0.input_layernorm.weight").detach()
    mean = (found["blk.0.attn_q.weight"].means(0, 64) / norm.square()).mean()
    assert torch.isclose(mean, torch.tensor(31 / 32), atol=1e-4)
    one, other = (found[f"blk.0.attn_{part}.weight"].squares for part in "qv")
    assert torch.equal(one, other)
    rounded = quantize(
        tmp_path / "dense", tmp_path / "r", bits=4, imatrix=str(tmp_path / "q" / "imatrix.gguf")
    )
    assert rounded.quantized == 7
    assert open_checkpoint(tmp_path / "q").path == tmp_path / "q"  # one model, with what is beside


def test_another_model_s_file_is_refused(tmp_path):
    write_folder(tmp_path / "dense", "llama")
    path = write(tmp_path / "imatrix.gguf", {"blk.7.attn_q.weight": uneven(64)})
    with pytest.raises(UsageError, match="none of the model's tensors"):
        quantize(tmp_path / "dense", tmp_path / "q", bits=4, imatrix=path)
    path = write(tmp_path / "imatrix.gguf", {"blk.1.attn_q.weight": uneven(48)})
    with pytest.raises(UsageError, match="64 inputs"):
        quantize(tmp_path / "dense", tmp_path / "q", bits=4, imatrix=path)


@pytest.mark.parametrize(
    "options",
    [
        {"method": "gptq", "layout": "gguf", "imatrix": "m"},
        {"method": "rtn", "imatrix": "m"},
        {"method": "rtn", "layout": "gguf", "save_imatrix": True},
    ],
)
def test_keys_without_an_effect_are_refused(options):
    with pytest.raises(ValidationError, match="imatrix"):
        QuantizeSpec(model="m", output="o", **options)
