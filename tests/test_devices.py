"""Devices by their names, and what this machine does not have."""

import pytest
import torch

from tfcli.devices import pick_device
from tfcli.errors import UsageError

WITHOUT_CUDA = pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has cuda")


def test_auto_is_cuda_where_there_is_one_else_the_processor():
    assert pick_device("auto").type == ("cuda" if torch.cuda.is_available() else "cpu")
    assert pick_device("cpu") == torch.device("cpu")


@WITHOUT_CUDA
@pytest.mark.parametrize("name", ["cuda", "cuda:0", "cuda:3"])
def test_a_device_that_is_not_there_is_refused(name):
    with pytest.raises(UsageError, match="no CUDA device"):
        pick_device(name)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs cuda")
def test_a_numbered_device_becomes_the_current_one():
    last = torch.cuda.device_count() - 1
    assert pick_device(f"cuda:{last}") == torch.device("cuda", last)
    assert torch.cuda.current_device() == last
    with pytest.raises(UsageError, match=f"there is no cuda:{last + 1}"):
        pick_device(f"cuda:{last + 1}")


@pytest.mark.skipif(torch.backends.mps.is_available(), reason="this machine has mps")
def test_mps_is_refused_where_torch_has_none():
    with pytest.raises(UsageError, match="mps"):
        pick_device("mps")
