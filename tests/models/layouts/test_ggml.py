"""Weights in ggml's block types: their values and bytes are those of the gguf library."""

from dataclasses import replace

import gguf
import pytest
import torch

from tests.models.layouts.blocks import random_blocks
from tfcli.models.layouts.ggml import GGML_TYPES, GGMLFormat
from tfcli.models.layouts.ggml_blocks import pack_blocks, unpack_blocks

KINDS = list(GGML_TYPES)


def read_by_gguf(raw, kind):
    """Rows as the gguf library reads them."""
    values = gguf.quants.dequantize(raw.numpy(), gguf.GGMLQuantizationType[kind])
    return torch.from_numpy(values)


@pytest.mark.parametrize("kind", KINDS)
def test_the_sizes_are_those_of_the_gguf_library(kind):
    block, nbytes = gguf.GGML_QUANT_SIZES[gguf.GGMLQuantizationType[kind]]
    assert (GGML_TYPES[kind].block, GGML_TYPES[kind].nbytes) == (block, nbytes)


@pytest.mark.parametrize("kind", KINDS)
def test_values_are_those_of_the_gguf_library_bit_for_bit(kind):
    raw = random_blocks(kind, rows=5, blocks=3)
    values = unpack_blocks(raw, kind)
    assert values.shape == (5, 3 * GGML_TYPES[kind].block)
    expected = read_by_gguf(raw, kind)
    assert torch.equal(values.dequantize().view(torch.int32), expected.view(torch.int32))


@pytest.mark.parametrize("kind", KINDS)
def test_bytes_are_there_again(kind):
    raw = random_blocks(kind, rows=5, blocks=3)
    assert torch.equal(pack_blocks(unpack_blocks(raw, kind)), raw)


@pytest.mark.parametrize("kind", KINDS)
def test_numbers_are_in_the_ranges_of_the_type(kind):
    values, made = unpack_blocks(random_blocks(kind, rows=64, blocks=4), kind), GGML_TYPES[kind]
    assert values.levels.max() <= made.levels[1]
    assert values.scales.min() >= made.scales[0] and values.scales.max() <= made.scales[1]
    assert (values.mins is None) == (made.mins is None)
    if made.mins is not None:
        assert values.mins.min() >= made.mins[0] and values.mins.max() <= made.mins[1]


@pytest.mark.parametrize("kind", [kind for kind in KINDS if GGML_TYPES[kind].wide])
def test_a_scale_in_another_place_is_another_file(kind):
    raw = random_blocks(kind, rows=2, blocks=1)
    values = unpack_blocks(raw, kind)
    swapped = replace(values, scales=values.scales.roll(1, dims=1))
    expected = read_by_gguf(pack_blocks(swapped), kind)
    assert torch.equal(swapped.dequantize(), expected)
    assert not torch.equal(expected, values.dequantize())


def test_some_rows_are_those_of_the_whole():
    values = unpack_blocks(random_blocks("Q4_K", rows=7, blocks=2), "Q4_K")
    assert torch.equal(values.rows(2, 5), values.dequantize()[2:5])


def test_rows_that_are_no_whole_blocks_are_refused():
    with pytest.raises(ValueError, match="no whole blocks of Q6_K"):
        unpack_blocks(torch.zeros(1, 211, dtype=torch.uint8), "Q6_K")


def test_a_format_says_its_bits():
    assert str(GGMLFormat.of("Q4_K")) == "Q4_K, 4.5 bits a weight"
    assert str(GGMLFormat.of("Q2_K")) == "Q2_K, 2.625 bits a weight"
    assert GGMLFormat.of("Q3_K").bits == 3
