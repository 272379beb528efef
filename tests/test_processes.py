"""Which process this is."""

import pytest

from tfcli.errors import UsageError
from tfcli.processes import is_first_process, started_processes


@pytest.mark.parametrize(
    ("rank", "size", "first"),
    [(None, None, True), ("0", None, True), ("0", "2", True), ("1", "2", False)],
)
def test_a_launcher_says_which_process_is_the_first(monkeypatch, rank, size, first):
    for name, value in (("RANK", rank), ("WORLD_SIZE", size)):
        monkeypatch.delenv(name, raising=False)
        if value is not None:
            monkeypatch.setenv(name, value)
    assert is_first_process() is first


@pytest.mark.parametrize("name", ["RANK", "LOCAL_RANK"])
@pytest.mark.parametrize("rank", ["1", "abc", "-1"])
def test_a_rank_without_a_launcher_is_refused(monkeypatch, name, rank):
    """A command must not do its work in silence because a variable was left over."""
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    monkeypatch.setenv(name, rank)
    with pytest.raises(UsageError, match="no launcher") as error:
        is_first_process()
    assert error.value.where == name


def test_a_number_of_processes_that_nothing_started_is_refused(monkeypatch):
    monkeypatch.delenv("RANK", raising=False)
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(UsageError, match="no launcher such as torchrun has set RANK"):
        is_first_process()


@pytest.mark.parametrize("name", ["RANK", "LOCAL_RANK"])
def test_a_rank_beyond_the_processes_is_refused(monkeypatch, name):
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv(name, "2")
    with pytest.raises(UsageError, match=f"{name} is 2, but 2 processes were started"):
        is_first_process()


@pytest.mark.parametrize(("size", "processes"), [(None, 1), ("1", 1), ("8", 8)])
def test_a_launcher_says_how_many_processes_there_are(monkeypatch, size, processes):
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    if size is not None:
        monkeypatch.setenv("WORLD_SIZE", size)
    assert started_processes() == processes


@pytest.mark.parametrize("size", ["", "0", "-1", "two"])
def test_a_number_of_processes_that_is_none_is_refused(monkeypatch, size):
    monkeypatch.setenv("WORLD_SIZE", size)
    with pytest.raises(UsageError, match="no number of processes"):
        started_processes()
