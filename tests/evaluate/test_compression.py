"""Compressors by hand."""

import gzip
import lzma
import random

import pytest

from tfcli.evaluate.compression import compression_baselines

TEXT = b"the quick brown fox jumps over the lazy dog, and again. " * 40
NOISE = random.Random(0).randbytes(5000)


def test_figures_are_bits_of_the_compressed_bytes_per_byte():
    found = compression_baselines(TEXT)
    assert found["gzip"] == 8 * len(gzip.compress(TEXT, 9)) / len(TEXT)
    assert found["xz"] == 8 * len(lzma.compress(TEXT, preset=9 | lzma.PRESET_EXTREME)) / len(TEXT)
    assert set(found) == {"gzip", "xz"}


def test_noise_does_not_compress_unless_it_was_seen_before():
    assert compression_baselines(NOISE)["xz"] > 8
    primed = compression_baselines(NOISE, prime=b"x" + NOISE)
    assert primed["xz_primed"] < 0.2
    assert primed["xz"] == compression_baselines(NOISE)["xz"]


@pytest.mark.parametrize("prime", [b"", NOISE])
def test_an_unrelated_prime_helps_nothing(prime):
    found = compression_baselines(TEXT, prime)
    assert found["xz_primed"] == pytest.approx(found["xz"], abs=0.3)
