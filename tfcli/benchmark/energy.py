"""Counters of energy: those of the processor's packages and of NVIDIA's devices, where readable.

A processor's counter is the whole package's, so what else runs there counts too. It is Linux's
powercap interface (RAPL), which only root reads on most systems; a device's is NVML's
nvmlDeviceGetTotalEnergyConsumption, in millijoules.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

POWERCAP = Path("/sys/class/powercap")


@dataclass(frozen=True)
class Meter:
    """What energy is read from.

    Args:
        name: for people.
        read: joules since some moment.
        turns_at: joules at which the counter begins again at 0; None: it does not.
    """

    name: str
    read: Callable[[], float]
    turns_at: float | None = None

    def since(self, before: float) -> float:
        """Joules since the counter was at `before`."""
        used = self.read() - before
        return used % self.turns_at if used < 0 and self.turns_at is not None else used


def find_meter(device: str, powercap: Path = POWERCAP) -> Meter | str:
    """The meter of a device, or why there is none, as a sentence without a full stop."""
    if device.startswith("cuda"):
        return _nvml(int(device.partition(":")[2] or 0))
    if device != "cpu":
        return f"no counter of energy is known for {device}"
    zones = sorted(powercap.glob("intel-rapl:?"))  # packages, not what is within them
    if not zones:
        return "this system has no counters of the processor's energy (powercap)"
    try:
        turns_at = {_microjoules(zone / "max_energy_range_uj") for zone in zones}
        meter = Meter(
            "the processor's packages (powercap)",
            lambda: sum(_microjoules(zone / "energy_uj") for zone in zones),
            # Of several packages each turns by itself, so the sum is short by multiples of this.
            turns_at.pop() if len(turns_at) == 1 else None,
        )
        meter.read()
    except PermissionError:
        return "the processor's counters of energy may be read by root alone"
    except (OSError, ValueError) as error:
        return f"the processor's counters of energy cannot be read: {error}"
    return meter


def _microjoules(path: Path) -> float:
    return int(path.read_text()) / 1e6


def _nvml(index: int) -> Meter | str:
    try:
        nvml = ctypes.CDLL("libnvidia-ml.so.1")
    except OSError:
        return "NVML, which has the device's counter of energy, is not there"
    handle = ctypes.c_void_p()
    if nvml.nvmlInit_v2() or nvml.nvmlDeviceGetHandleByIndex_v2(index, ctypes.byref(handle)):
        return "NVML does not know the device"

    def read() -> float:
        millijoules = ctypes.c_ulonglong()
        if nvml.nvmlDeviceGetTotalEnergyConsumption(handle, ctypes.byref(millijoules)):
            raise OSError("the device has no counter of energy")
        return millijoules.value / 1000

    try:
        read()
    except OSError as error:
        return str(error)
    return Meter("the device (NVML)", read)
