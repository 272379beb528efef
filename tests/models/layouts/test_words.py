"""Numbers in words, against bits set by hand and against a slow reference."""

import pytest
import torch

from tfcli.models.layouts.words import BITS, pack, unpack


def signed(word: int) -> int:
    return word - (1 << 32) if word >> 31 else word


def stream_of_bits(values: list[int], bits: int) -> list[int]:
    """The same packing, spelt as text: write each value's bits, lowest first, cut every 32."""
    text = "".join(format(value, f"0{bits}b")[::-1] for value in values)
    return [signed(int(text[i : i + 32][::-1], 2)) for i in range(0, len(text), 32)]


@pytest.mark.parametrize("bits", BITS)
@pytest.mark.parametrize("dtype", [torch.uint8, torch.int64])
def test_packing_is_one_stream_of_bits(bits, dtype):
    levels = torch.randint(1 << bits, (64, 3), generator=torch.Generator().manual_seed(0))
    levels = levels.to(dtype)

    packed = pack(levels, bits)

    assert packed.dtype == torch.int32
    assert packed.shape == (64 * bits // 32, 3)
    for column in range(3):
        assert packed[:, column].tolist() == stream_of_bits(levels[:, column].tolist(), bits)


@pytest.mark.parametrize("bits", BITS)
def test_unpacking_undoes_packing(bits):
    levels = torch.randint(1 << bits, (96, 5), generator=torch.Generator().manual_seed(1))
    assert torch.equal(unpack(pack(levels, bits), bits), levels.to(torch.uint8))


def test_four_bits_by_hand():
    levels = torch.zeros(32, 1, dtype=torch.int64)
    levels[:8, 0] = torch.tensor([1, 2, 3, 4, 5, 6, 7, 15])
    assert pack(levels, 4)[0, 0].item() == signed(0xF7654321)


def test_three_bits_straddle_words_as_in_autogptq():
    # Level 10 has its low two bits on top of word 0 and its high bit at the bottom of word 1;
    # level 21 has its low bit on top of word 1 and its high two bits at the bottom of word 2.
    levels = torch.zeros(32, 1, dtype=torch.int64)
    levels[10], levels[21], levels[31] = 0b101, 0b110, 0b111
    words = pack(levels, 3)[:, 0].tolist()
    assert words == [signed(0b01 << 30), 0b1, signed(0b111 << 29 | 0b11)]


def test_values_and_shapes_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="multiple of 32"):
        pack(torch.zeros(8, 1, dtype=torch.int64), 4)
    with pytest.raises(ValueError, match="does not fit in 3 bits"):
        pack(torch.full((32, 1), 8), 3)
