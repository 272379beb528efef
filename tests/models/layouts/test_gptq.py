"""The GPTQ layout: its zero points, and what a quantization_config says and takes."""

import pytest
import torch

from tfcli.models.layouts.gptq import pack_zeros, unpack_zeros
from tfcli.models.layouts.words import BITS


def signed(word: int) -> int:
    return word - (1 << 32) if word >> 31 else word


def test_zero_points_are_stored_minus_one_in_v1_and_as_they_are_in_v2():
    zeros = torch.full((2, 32), 8)
    v1, v2 = pack_zeros(zeros, 4, version="gptq"), pack_zeros(zeros, 4, version="gptq_v2")
    assert v1.shape == (2, 4)
    assert v1[0, 0].item() == 0x77777777
    assert v2[0, 0].item() == signed(0x88888888)
    assert torch.equal(unpack_zeros(v1, 4, version="gptq"), zeros.to(torch.uint8))
    assert torch.equal(unpack_zeros(v2, 4, version="gptq_v2"), zeros.to(torch.uint8))


@pytest.mark.parametrize("bits", BITS)
@pytest.mark.parametrize("version", ["gptq", "gptq_v2"])
def test_zero_points_round_trip(bits, version):
    lowest = 1 if version == "gptq" else 0
    generator = torch.Generator().manual_seed(2)
    zeros = torch.randint(lowest, 1 << bits, (3, 64), generator=generator)
    packed = pack_zeros(zeros, bits, version=version)
    back = unpack_zeros(packed, bits, version=version)
    assert torch.equal(back, zeros.to(torch.uint8))


def test_a_zero_point_that_v1_cannot_store_is_refused():
    with pytest.raises(ValueError, match="zero point of 0"):
        pack_zeros(torch.zeros(1, 32, dtype=torch.int64), 4, version="gptq")


def test_a_v1_field_of_all_ones_wraps_to_zero():
    stored = torch.full((1, 4), -1, dtype=torch.int32)
    assert not unpack_zeros(stored, 4, version="gptq").any()
