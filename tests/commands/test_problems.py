"""What an exception of another library becomes for the user."""

import pytest
import torch

from tfcli.commands.problems import as_problem
from tfcli.errors import CODES


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes."),
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
    ],
)
def test_memory_that_is_not_there_is_named(error):
    problem = as_problem(error)
    assert problem.code == "memory.full" in CODES
    assert problem.what == "there is not enough memory" and problem.exit_code == 1


def test_what_nobody_foresaw_says_so():
    assert as_problem(RuntimeError("?")).code == "internal.unexpected"
