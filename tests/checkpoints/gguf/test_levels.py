"""`tfcli convert Q.gguf OUT --to-layout ...`: rows of GGUF in another layout, without loss."""

from __future__ import annotations

import struct
from dataclasses import replace

import gguf
import pytest
import torch

from tests.checkpoints.gguf.folders import write_folder
from tests.quantize.test_gguf import WIDE, quantize
from tfcli.checkpoints.container import Reading
from tfcli.checkpoints.containers import open_checkpoint
from tfcli.checkpoints.packed.linears import find_packed
from tfcli.console import Console
from tfcli.convert.spec import ConvertSpec
from tfcli.errors import UsageError, WorkError
from tfcli.models.layouts.ggml import GGML_TYPES
from tfcli.models.layouts.ggml_blocks import pack_blocks, unpack_blocks
from tfcli.models.layouts.ggml_levels import levels_of
from tfcli.quantize.solvers.ggml.solve import round_into_blocks
from tfcli.recipe.execute import execute


def relay(source, output, layout):
    spec = ConvertSpec(source=str(source), output=str(output), to_layout=layout)
    execute(spec, Console.silent())


@pytest.mark.parametrize("kind", GGML_TYPES)
def test_levels_are_what_the_gguf_library_reads(kind):
    made = GGML_TYPES[kind]
    generator = torch.Generator().manual_seed(1)
    raw = torch.randint(0, 256, (8, 2 * made.nbytes), generator=generator, dtype=torch.uint8)
    # Numbers that are finite: those of weights that were rounded.
    rounded = round_into_blocks(torch.randn(8, 2 * made.block, generator=generator), kind)
    values = unpack_blocks(raw, kind)
    values = replace(values, d=rounded.d, dmin=rounded.dmin)
    stored = pack_blocks(values).numpy()
    expected = gguf.dequantize(stored, gguf.GGMLQuantizationType[kind])
    assert torch.equal(levels_of(values).dequantize(), torch.from_numpy(expected.copy()))


@pytest.mark.parametrize(
    ("kind", "layouts"),
    [
        ("Q8_0", ["compressed-tensors", "torchao"]),
        ("Q4_0", ["awq", "gptq", "mlx"]),
        ("Q4_1", ["mlx"]),
        ("Q4_K", ["mlx"]),
    ],
)
def test_the_same_numbers_are_in_the_other_layout(kind, layouts, tmp_path):
    """Llama's heads are in another order in GGUF; what is outside of the blocks is dense."""
    sizes = WIDE if kind == "Q4_K" else {"intermediate_size": 128}
    write_folder(tmp_path / "dense", "llama", **sizes)
    quantize(tmp_path / "dense", tmp_path / "q", gguf_type="Q4_K_S", overrides=[f".={kind}"])
    exact = open_checkpoint(tmp_path / "q", Reading(exact=lambda name: True))
    for layout in layouts:
        relay(tmp_path / "q", tmp_path / layout, layout)
        opened = open_checkpoint(tmp_path / layout, Reading(packed=True))
        linears = find_packed(opened)
        assert len(linears) == 14
        for linear in linears:
            expected = exact.weights[f"{linear.name}.weight"]
            assert torch.equal(linear.unpack(opened, torch.float32), expected), linear.name
        for name in ("model.embed_tokens.weight", "lm_head.weight"):
            assert torch.equal(opened.weights[name].float(), exact.weights[name])


@pytest.mark.parametrize(
    ("kind", "layout", "error", "why"),
    [
        ("Q4_1", "gptq", WorkError, "no whole steps"),
        ("Q4_K", "gptq", WorkError, "no whole steps"),
        ("Q6_K", "mlx", UsageError, "groups of 32, 64 and 128, not 16"),
        ("Q5_0", "gptq", UsageError, "not 5"),
    ],
)
def test_numbers_that_a_layout_lacks_are_refused(kind, layout, error, why, tmp_path):
    write_folder(tmp_path / "dense", "llama", **WIDE)
    quantize(tmp_path / "dense", tmp_path / "q", gguf_type="Q4_K_S", overrides=[f".={kind}"])
    with pytest.raises(error, match=why):
        relay(tmp_path / "q", tmp_path / "out", layout)
    assert not (tmp_path / "out").exists()


def test_a_type_without_levels_is_refused(tmp_path):
    """A weight in IQ4_NL, whose 16 numbers are no steps; its blocks are those of Q4_0 in length."""
    write_folder(tmp_path / "dense", "llama", num_hidden_layers=1)
    quantize(tmp_path / "dense", tmp_path / "q", gguf_type="Q4_K_S", overrides=[".=Q4_0"])
    file = tmp_path / "q" / "q.gguf"
    head = b"blk.0.attn_q.weight" + struct.pack("<IQQ", 2, 64, 64)
    raw = file.read_bytes()
    assert head + struct.pack("<I", 2) in raw
    file.write_bytes(raw.replace(head + struct.pack("<I", 2), head + struct.pack("<I", 20)))
    with pytest.raises(UsageError, match="IQ4_NL is no grid of levels"):
        relay(file, tmp_path / "out", "gptq")
