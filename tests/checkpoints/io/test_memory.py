"""What the C library does with the memory of freed tensors."""

import platform
import subprocess
import sys

import pytest

# Counts the pages that the system gives for tensors that are made and freed again and again.
FAULTS = """
import resource, sys
import torch
from tfcli.checkpoints.io.memory import freed_at_once, freed_is_kept

def faults(make):
    make()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(20):
        make()
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

def layer():
    return [torch.ones(3_000_000 + 8 * number) for number in range(4)]

with freed_at_once():
    print(faults(layer))
freed_is_kept()
print(faults(layer))
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="mallopt is glibc's")
def test_what_is_freed_is_kept_for_the_next_layer_or_given_back():
    run = subprocess.run([sys.executable, "-c", FAULTS], capture_output=True, text=True, check=True)
    given_back, kept = map(int, run.stdout.split())
    pages = 20 * 4 * 3_000_000 * 4 // 4096
    assert given_back > 0.9 * pages
    assert kept < 0.3 * pages
