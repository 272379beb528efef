"""GGUF to GGUF: what is stored is kept bit for bit unless another type is asked for."""

from __future__ import annotations

import struct
from array import array
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
import torch

from tests.checkpoints.gguf import files
from tests.checkpoints.gguf.convert import from_gguf, run, to_gguf
from tests.checkpoints.gguf.folders import VOCAB, write_folder
from tests.checkpoints.gguf.llama_cpp import LlamaCpp
from tests.checkpoints.gguf.test_split import split
from tests.convert.memory import peak_growth
from tfcli.checkpoints.gguf.file import GGUFFile
from tfcli.checkpoints.gguf.file_write import PendingGGUF, Value, write_gguf
from tfcli.checkpoints.gguf.quants import decode
from tfcli.checkpoints.gguf.repack import plan_repack
from tfcli.checkpoints.gguf.types import BY_NAME
from tfcli.checkpoints.gguf.write import verify, write
from tfcli.checkpoints.io.memory import freed_at_once
from tfcli.console import Console
from tfcli.convert.spec import ConvertResult, ConvertSpec
from tfcli.errors import UsageError, WorkError
from tfcli.recipe.execute import execute

STORED = [kind for kind in BY_NAME.values() if not kind.plain]
WEIGHT = "blk.0.ffn_up.weight"


def by_hand(path: Path, kind: str, rows: int = 4) -> GGUFFile:
    """A file with a matrix of a type in random bytes, a norm and keys of every form."""
    width, size = 256, BY_NAME[kind].row_bytes(256)
    raw = np.random.default_rng(0).integers(0, 100, (rows, size), dtype=np.uint8)
    metadata = {
        "general.architecture": Value("string", "unknown"),
        "general.file_type": Value("uint32", 15),
        "a.nested": Value("array[array[uint8]]", [array("B", [1, 2]), array("B")]),
        "a.text": Value("string", "\udcff"),
    }
    pending = [
        PendingGGUF(WEIGHT, kind, (rows, width), lambda: [torch.from_numpy(raw)]),
        PendingGGUF("output_norm.weight", "F32", (4,), lambda: [torch.arange(4.0)]),
        PendingGGUF("ids", "I32", (4,), lambda: [torch.arange(4, dtype=torch.int32)]),
    ]
    write_gguf(path, metadata, pending)
    return GGUFFile(path)


def same(one: GGUFFile, other: GGUFFile, but: tuple[str, ...] = ()) -> None:
    assert list(one.tensors) == list(other.tensors)
    for name, info in one.tensors.items():
        if name not in but:
            found = other.info(name)
            assert (info.dtype, info.shape) == (found.dtype, found.shape)
            assert torch.equal(one.read(name).view(torch.uint8), other.read(name).view(torch.uint8))


@pytest.mark.parametrize("kind", [kind.name for kind in STORED])
def test_every_type_is_kept(kind, tmp_path):
    before = by_hand(tmp_path / "a.gguf", kind)
    done = run(plan_repack(tmp_path / "a.gguf"), tmp_path / "b.gguf")
    after = GGUFFile(tmp_path / "b.gguf")
    same(before, after)
    added = {"general.quantization_version": 2}
    assert after.metadata == {**before.metadata, **added}
    assert {key: after.types[key] for key in before.types} == before.types
    assert not done.worst and {target.action for target in done.planned.targets} == {"copied"}


@pytest.mark.parametrize("kind", ["Q4_K", "IQ2_XXS", "Q5_0", "MXFP4"])
def test_what_is_asked_for_is_dequantized_and_quantized_once(kind, tmp_path):
    before = by_hand(tmp_path / "a.gguf", kind)
    done = run(plan_repack(tmp_path / "a.gguf", None, [("ffn", "q8_0")]), tmp_path / "b.gguf")
    after = GGUFFile(tmp_path / "b.gguf")
    same(before, after, but=(WEIGHT,))
    number = gguf.GGMLQuantizationType[kind]
    values = gguf.quants.dequantize(before.read(WEIGHT).numpy(), number)
    with np.errstate(all="ignore"):
        expected = gguf.quants.quantize(values, gguf.GGMLQuantizationType.Q8_0)
    assert np.array_equal(after.read(WEIGHT).numpy(), expected)
    (note,) = done.planned.notes
    assert note.startswith(f"1 tensor: {kind} is dequantized to become Q8_0")
    assert after.metadata["general.file_type"] == 15  # most tensors have the type that they had


def test_a_type_for_all_leaves_those_that_have_it(tmp_path):
    before = by_hand(tmp_path / "a.gguf", "Q8_0")
    planned = plan_repack(tmp_path / "a.gguf", "q8_0")
    assert planned.notes == [] and {t.action for t in planned.targets} == {"copied"}
    run(planned, tmp_path / "b.gguf")
    after = GGUFFile(tmp_path / "b.gguf")
    same(before, after)
    assert after.metadata["general.file_type"] == 7
    dense = run(plan_repack(tmp_path / "a.gguf", "bf16"), tmp_path / "c.gguf")
    assert dense.types == {"BF16": 1, "F32": 1, "I32": 1}
    values = torch.empty(4, 256)
    decode(before.read(WEIGHT), "Q8_0", values)
    assert torch.equal(GGUFFile(tmp_path / "c.gguf").read(WEIGHT), values.bfloat16())


def test_a_type_that_cannot_be_read_is_refused_before_anything_is_written(tmp_path):
    by_hand(tmp_path / "a.gguf", "Q8_K")
    with pytest.raises(WorkError, match="Q8_K cannot be dequantized to become Q8_0") as caught:
        plan_repack(tmp_path / "a.gguf", "q8_0")
    assert f"a.gguf: {WEIGHT}" in str(caught.value)
    with pytest.raises(UsageError, match="'q2_k' is no type"):
        plan_repack(tmp_path / "a.gguf", "q2_k")


def test_rows_that_do_not_fill_blocks_are_said(tmp_path):
    tensor = torch.randn(2, 48)
    write_gguf(tmp_path / "a.gguf", {}, [PendingGGUF("x.weight", "F32", (2, 48), lambda: [tensor])])
    planned = plan_repack(tmp_path / "a.gguf", "q4_0")
    assert planned.notes == ["x.weight: F16, because rows of 48 do not fill Q4_0's blocks"]


@pytest.mark.parametrize("shape", [(0, 32), (4, 0)])
def test_a_tensor_without_values(shape, tmp_path):
    pending = PendingGGUF("x.weight", "Q8_0", shape, lambda: [])
    write_gguf(tmp_path / "a.gguf", {}, [pending])
    for kind in (None, "q4_0"):
        run(plan_repack(tmp_path / "a.gguf", kind), tmp_path / "b.gguf")
        assert GGUFFile(tmp_path / "b.gguf").info("x.weight").shape == shape


def test_a_large_tensor_comes_in_parts(tmp_path):
    before = by_hand(tmp_path / "a.gguf", "Q4_1", rows=9000)
    planned = plan_repack(tmp_path / "a.gguf", "bf16")
    assert len(list(planned.targets[0].parts())) == 3
    run(planned, tmp_path / "b.gguf")
    expected = before.dequantize(WEIGHT, torch.bfloat16)
    assert torch.equal(GGUFFile(tmp_path / "b.gguf").read(WEIGHT), expected)


def test_version_2_and_another_alignment_become_version_3(tmp_path):
    keys = [
        files.key("general.architecture", 8, files.text("llama")),
        files.key("general.alignment", 4, struct.pack("<I", 64)),
    ]
    entries = [files.tensor("one", [4, 2]), files.tensor("two", [32], 8, 64)]
    data = files.header(*keys, *entries, keys=2, tensors=2, version=2, data=128, alignment=64)
    (tmp_path / "a.gguf").write_bytes(data[:-128] + bytes(range(128)))
    before = GGUFFile(tmp_path / "a.gguf")
    assert (before.version, before.alignment) == (2, 64)
    run(plan_repack(tmp_path / "a.gguf"), tmp_path / "b.gguf")
    after = GGUFFile(tmp_path / "b.gguf")
    same(before, after)
    assert (after.version, after.alignment) == (3, 32)
    assert "general.alignment" not in after.metadata


def test_the_parts_of_a_split_model_become_one_file(tmp_path):
    first = split(tmp_path)
    run(plan_repack(first), tmp_path / "whole.gguf")
    whole, before = GGUFFile(tmp_path / "whole.gguf"), GGUFFile(tmp_path / "model.gguf")
    assert set(whole.tensors) == set(before.tensors)
    assert all(torch.equal(whole.read(name), before.read(name)) for name in before.tensors)
    assert whole.metadata == before.metadata


def convert(source: Path, output: Path, **options: Any) -> ConvertResult:
    spec = ConvertSpec(source=str(source), output=str(output), to="gguf", **options)
    result = execute(spec, Console.silent()).result
    assert isinstance(result, ConvertResult)
    return result


def test_the_command_keeps_a_quantized_file(tmp_path):
    write_folder(tmp_path / "hf", "llama")
    to_gguf(tmp_path / "hf", tmp_path / "model.gguf", "q4_0", [("^output|token_embd", "q8_0")])
    kept = convert(tmp_path / "model.gguf", tmp_path / "kept")
    assert (kept.copied, kept.converted, kept.largest_error) == (len(kept.tensors), 0, 0)
    before, after = GGUFFile(tmp_path / "model.gguf"), GGUFFile(tmp_path / "kept/kept.gguf")
    same(before, after)
    assert after.metadata == before.metadata
    changed = convert(tmp_path / "kept/kept.gguf", tmp_path / "changed", dtype="q8_0")
    assert (changed.copied, changed.converted) == (7, 14)
    assert 0 < changed.largest_error < 0.01
    from_gguf(tmp_path / "changed/changed.gguf", tmp_path / "back")


@pytest.mark.parametrize("dtype", [None, "q8_0"])
def test_logits_are_those_of_what_the_file_says(dtype, tmp_path):
    """Not of a rounding to bfloat16 between, which the checkpoint's own type is."""
    write_folder(tmp_path / "hf", "llama", torch.bfloat16)
    to_gguf(tmp_path / "hf", tmp_path / "model.gguf", "q5_1")
    options = {} if dtype is None else {"dtype": dtype}
    done = convert(tmp_path / "model.gguf", tmp_path / "out", verify="logits", **options)
    assert done.logits is not None and done.logits.unexplained_difference == 0
    assert done.logits.rounded == ({} if dtype is None else {"Q8_0": 16})


def test_without_a_check_nothing_is_said_to_be_checked(tmp_path):
    write_folder(tmp_path / "hf", "llama")
    done = convert(tmp_path / "hf", tmp_path / "out", verify="none", dtype="q8_0")
    assert (done.verified, done.largest_error) == (0, 0)
    assert "| verified | not asked for |" in (tmp_path / "out/README.md").read_text()
    done = convert(tmp_path / "hf", tmp_path / "checked", dtype="q8_0")
    card = (tmp_path / "checked/README.md").read_text()
    assert f"| {len(done.tensors)} tensors read back; the largest difference" in card
    assert "16 F32 to Q8_0, 5 F32" in card


@pytest.mark.interop
@pytest.mark.parametrize("dtype", [None, "q8_0"])
def test_llama_cpp_answers_as_before(dtype, tmp_path):
    write_folder(tmp_path / "hf", "llama")
    to_gguf(tmp_path / "hf", tmp_path / "model.gguf", "q4_0", name="tiny")
    options = {} if dtype is None else {"dtype": dtype}
    convert(tmp_path / "model.gguf", tmp_path / "out", **options)
    ids = [5, 9, 100, 3, 77]
    expected = LlamaCpp(tmp_path / "model.gguf", VOCAB).logprobs(ids)
    found = LlamaCpp(tmp_path / "out/out.gguf", VOCAB).logprobs(ids)
    # Values of 4 bits that are stored again in 8 lose no more than the rounding of inputs costs.
    limit = 0.0 if dtype is None else 0.1
    assert float((found - expected).std() / expected.std()) <= limit


def test_memory_does_not_follow_the_tensor(tmp_path):
    """Of a tensor whose values take 128 MB, a few parts are in memory."""
    rows, width = 4096, 8192
    raw = torch.zeros(rows, BY_NAME["Q8_0"].row_bytes(width), dtype=torch.uint8)
    pending = PendingGGUF("x.weight", "Q8_0", (rows, width), lambda: [raw])
    write_gguf(tmp_path / "a.gguf", {}, [pending])
    planned = plan_repack(tmp_path / "a.gguf", "q4_0")

    def work() -> None:
        write(planned, tmp_path / "b.gguf")
        verify(planned, tmp_path / "b.gguf")

    by_hand(tmp_path / "small.gguf", "Q8_0")  # what torch loads and keeps at its first use
    run(plan_repack(tmp_path / "small.gguf", "q4_0"), tmp_path / "c.gguf")
    with freed_at_once():
        growth = peak_growth(work)
    assert growth < 40_000_000, f"{growth / 1e6:.0f} MB"
