"""`auto` runs every checkpoint in its fastest form that is exact enough, and says what it did."""

from __future__ import annotations

import psutil
import pytest
import torch

from tests.conftest import make_tiny_llama
from tfcli.checkpoints.folder import load_model, open_model, save_model
from tfcli.commands.app import run
from tfcli.console import Console
from tfcli.models.kernels import dense
from tfcli.models.kernels import library as kernels
from tfcli.models.layers import int4_kernel, int8_inputs
from tfcli.models.layers.kernel_linear import KernelLinear
from tfcli.models.quantized import packed_linears
from tfcli.ready import load_ready

IDS = torch.arange(40).view(1, 40)
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def quantized(tmp_path_factory, tiny_tokenizer):
    """Makes a tiny llama, quantized as asked."""
    folder = tmp_path_factory.mktemp("quantized")
    model = make_tiny_llama(folder / "dense", tiny_tokenizer)

    def make(name: str, *flags: str):
        out = folder / name
        if not out.exists():
            words = ["quantize", str(model), str(out), "--method", "rtn", "--quiet"]
            assert run([*words, "--group-size", "32", *flags]) == 0
        return out

    return make


def logits(model) -> torch.Tensor:
    with torch.no_grad():
        return model(input_ids=IDS).logits.float()


@pytest.mark.parametrize(
    "flags",
    [("--bits", "4"), ("--bits", "3"), ("--bits", "8"), ("--bits", "4", "--no-symmetric")],
)
@pytest.mark.parametrize("dtype", ["auto", "bfloat16"])
def test_packed_weights_are_packed_for_the_kernels_and_nowhere_else(
    quantized, flags, dtype, monkeypatch
):
    if kernels.library() is None:
        pytest.skip(kernels.status().reason)
    monkeypatch.setattr(dense, "LEAST_WEIGHTS", 1)
    folder = quantized("-".join(flags), *flags)
    model = load_ready(open_model(folder), Console.silent(), dtype=dtype, device=CPU)
    linears = [each for each in model.modules() if isinstance(each, KernelLinear)]
    assert len(linears) == 14 and not packed_linears(model)
    weights = sum(each.in_features * each.out_features for each in linears)
    bits = 8 * sum(each.nbytes for each in linears) / weights
    assert bits < int(flags[1]) + 16 / 32 + 8 / 32 + 0.01  # a scale and a zero point a group
    assert model.dtype == (torch.bfloat16 if dtype == "bfloat16" else load_model(folder).dtype)
    exact = logits(load_model(folder))
    # Inputs are rounded to 8 bits, and 14 layers of a model that was never trained carry that on.
    assert (logits(model) - exact).norm() < 0.05 * exact.norm()


def test_gradients_reach_what_lies_before_a_packed_weight(quantized, monkeypatch):
    if kernels.library() is None:
        pytest.skip(kernels.status().reason)
    monkeypatch.setattr(dense, "LEAST_WEIGHTS", 1)
    folder = quantized("four", "--bits", "4")
    found = []
    for model in (load_ready(open_model(folder), Console.silent(), device=CPU), load_model(folder)):
        model.model.embed_tokens.weight.requires_grad_(True)
        model(input_ids=IDS).logits.sum().backward()
        found.append(model.model.embed_tokens.weight.grad)
    torch.testing.assert_close(found[0], found[1], rtol=1e-3, atol=1e-4)


def test_without_kernels_four_bits_take_torchs_in_its_type(quantized, monkeypatch):
    monkeypatch.setenv(kernels.VARIABLE, "off")
    folder = quantized("four", "--bits", "4")
    model = load_ready(open_model(folder), Console.silent(), device=CPU)
    if int4_kernel.is_fast():
        assert model.dtype == torch.bfloat16 and len(packed_linears(model)) == 14
    else:
        assert not packed_linears(model)
    exact = logits(load_model(folder))
    assert (logits(model) - exact).norm() < 0.05 * exact.norm()


@pytest.mark.parametrize(
    "flags", [("--bits", "3"), ("--bits", "8"), ("--bits", "4", "--no-symmetric")]
)
def test_layouts_without_a_kernel_are_unpacked_once_and_it_is_said(
    quantized, flags, monkeypatch, capsys
):
    monkeypatch.setenv(kernels.VARIABLE, "off")
    folder = quantized("-".join(flags), *flags)
    model = load_ready(open_model(folder), Console(), device=CPU)
    assert not packed_linears(model)
    assert "14 packed layers" in capsys.readouterr().err
    packed = load_model(folder)
    assert model.dtype == packed.dtype and len(packed_linears(packed)) == 14
    torch.testing.assert_close(logits(model), logits(packed), rtol=1e-4, atol=1e-5)


def test_a_type_that_is_asked_for_is_kept(quantized):
    folder = quantized("four", "--bits", "4")
    model = load_ready(open_model(folder), Console.silent(), dtype="float32", device=CPU)
    assert model.dtype == torch.float32 and not packed_linears(model)
    torch.testing.assert_close(logits(model), logits(load_model(folder)), rtol=1e-4, atol=1e-5)


def test_an_evaluation_unpacks_everything_and_keeps_the_stored_type(quantized):
    folder = quantized("four", "--bits", "4")
    model = load_ready(open_model(folder), Console.silent(), device=CPU, many_rows=True)
    assert model.dtype == load_model(folder).dtype and not packed_linears(model)


def test_whole_numbers_stay_packed_for_many_rows_too(quantized, monkeypatch):
    """W8A8: their product is the faster one, and is what the file says."""
    flags = ("--bits", "8", "--group-size", "-1", "--round-inputs")
    folder = quantized("w8a8", *flags)
    for many_rows in (True, False):
        model = load_ready(open_model(folder), Console.silent(), device=CPU, many_rows=many_rows)
        assert len(packed_linears(model)) == 14
        assert torch.equal(logits(model), logits(load_model(folder)))
    monkeypatch.setattr(int8_inputs, "fits", lambda packing: False)  # inputs that no kernel takes
    model = load_ready(open_model(folder), Console.silent(), device=CPU, many_rows=True)
    assert not packed_linears(model)


def test_weights_that_would_not_fit_stay_packed_with_a_warning(quantized, monkeypatch, capsys):
    folder = quantized("three", "--bits", "3")
    left = psutil.virtual_memory()._replace(available=1000)
    monkeypatch.setattr(psutil, "virtual_memory", lambda: left)
    model = load_ready(open_model(folder), Console(quiet=True), device=CPU)
    assert len(packed_linears(model)) == 14
    assert "they stay packed, which is slow" in capsys.readouterr().err


def test_a_dense_checkpoint_keeps_its_type(tmp_path, tiny_llama):
    save_model(load_model(tiny_llama), tmp_path / "half", dtype=torch.float16)
    model = load_ready(open_model(tmp_path / "half"), Console.silent(), device=CPU)
    assert model.dtype == torch.float16


def test_kernels_are_compiled_at_load_where_the_model_has_a_use_for_them(
    tiny_llama, tiny_tokenizer, tmp_path, monkeypatch, capsys
):
    """Once; a compiler that fails costs speed alone."""
    if kernels.is_unwanted():
        pytest.skip(kernels.status().reason)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("CXX", "false")
    larger = make_tiny_llama(tmp_path / "larger", tiny_tokenizer, intermediate_size=1024)
    kernels.forget()
    try:
        for folder, many_rows in ((tiny_llama, False), (larger, True), (larger, False)):
            load_ready(open_model(folder), Console(), device=CPU, many_rows=many_rows)
            said = capsys.readouterr().err
            assert ("compiling kernels" in said) == (folder is larger and not many_rows)
        assert "decoding is slower: the compiler failed" in said
        load_ready(open_model(larger), Console(), device=CPU)
        assert "compiling" not in capsys.readouterr().err
    finally:
        kernels.forget()
