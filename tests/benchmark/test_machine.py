"""The machine's limits, and its counters of energy."""

import shutil

import pytest
import torch

from tfcli.benchmark import limits
from tfcli.benchmark.energy import Meter, find_meter
from tfcli.models.kernels import library


def test_memory_is_read_by_a_loop_or_by_torch(monkeypatch):
    monkeypatch.setitem(limits.MEMORY, "cpu", 4 << 20)
    reading = limits.reader("cpu", 1)
    assert reading.loop == (limits.SUM if library.status().level is None else limits.LOOP)
    assert limits.read_rate(reading) > 0
    monkeypatch.setenv(library.VARIABLE, "off")
    without = limits.reader("cpu", 1)
    assert without.loop == limits.SUM and limits.read_rate(without) > 0


def test_torch_reads_with_the_threads_asked_for(monkeypatch):
    monkeypatch.setitem(limits.MEMORY, "cpu", 4096)
    monkeypatch.setenv(library.VARIABLE, "off")
    before, seen = torch.get_num_threads(), []
    real = torch.Tensor.sum
    monkeypatch.setattr(
        torch.Tensor, "sum", lambda x: (seen.append(torch.get_num_threads()), real(x))[1]
    )
    limits.read_rate(limits.reader("cpu", before + 1))
    assert set(seen) == {before + 1} and torch.get_num_threads() == before


def test_products_are_timed_with_the_threads_asked_for(monkeypatch):
    monkeypatch.setitem(limits.SIDE, "cpu", 64)
    before, seen = torch.get_num_threads(), []
    real = torch.mm
    monkeypatch.setattr(
        torch, "mm", lambda *pair: (seen.append(torch.get_num_threads()), real(*pair))[1]
    )
    assert limits.product_rate("cpu", torch.float32, 2) > 0
    assert set(seen) == {2} and torch.get_num_threads() == before


@pytest.fixture
def zone(tmp_path):
    folder = tmp_path / "intel-rapl:0"
    folder.mkdir()
    (folder / "max_energy_range_uj").write_text("10000000\n")
    (folder / "energy_uj").write_text("9000000\n")
    (tmp_path / "intel-rapl:0:0").mkdir()  # a part of the package, which would count twice
    return folder


def test_the_counter_may_begin_again(zone):
    meter = find_meter("cpu", zone.parent)
    assert isinstance(meter, Meter)
    before = meter.read()
    (zone / "energy_uj").write_text("9500000\n")
    assert meter.since(before) == pytest.approx(0.5)
    (zone / "energy_uj").write_text("1000000\n")
    assert meter.since(before) == pytest.approx(2.0)


def test_each_of_two_packages_may_begin_again(zone):
    other = zone.with_name("intel-rapl:1")
    shutil.copytree(zone, other)
    meter = find_meter("cpu", zone.parent)
    before = meter.read()
    (zone / "energy_uj").write_text("1000000\n")
    (other / "energy_uj").write_text("9500000\n")
    assert meter.since(before) == pytest.approx(2.5)
    (other / "energy_uj").write_text("500000\n")
    assert meter.since(before) == pytest.approx(3.5)


def test_what_cannot_be_read_is_said(zone, tmp_path, monkeypatch):
    assert "no counters" in find_meter("cpu", tmp_path / "nowhere")
    assert "no counter of energy is known for mps" in find_meter("mps")
    (zone / "energy_uj").write_text("much\n")
    assert "cannot be read" in find_meter("cpu", zone.parent)

    def refuse(path):
        raise PermissionError

    monkeypatch.setattr("tfcli.benchmark.energy._microjoules", refuse)
    assert "root alone" in find_meter("cpu", zone.parent)
