"""The library of kernels for this processor: which instructions it uses, and why there is none.

It is compiled when a product first asks for it, and kept (see `build`). `TFCLI_KERNELS` chooses:
`off`, or the most that may be used, a name of LEVELS.
"""

from __future__ import annotations

import ctypes
import os
from dataclasses import dataclass
from pathlib import Path

from tfcli.models import processor
from tfcli.models.errors import ModelError
from tfcli.models.kernels import build

VARIABLE = "TFCLI_KERNELS"
SOURCES = tuple(
    Path(__file__).with_name(name)
    for name in ("packed.cpp", "dense.cpp", "layers.cpp", "sums.cpp", "rounding.cpp")
)


@dataclass(frozen=True)
class Level:
    """Instructions that kernels are compiled for.

    Args:
        needs: features of the processor, as torch names them.
        flags: what tells the compiler.
    """

    needs: frozenset[str]
    flags: tuple[str, ...]


_AVX2 = Level(frozenset({"avx2", "fma3", "f16c"}), ("-mavx2", "-mfma", "-mf16c"))
_VNNI = Level(
    _AVX2.needs | {"avx512_f", "avx512_bw", "avx512_dq", "avx512_vl", "avx512_vnni"},
    (*_AVX2.flags, *(f"-mavx512{name}" for name in ("f", "bw", "dq", "vl", "vnni"))),
)
_BF16 = Level(_VNNI.needs | {"avx512_bf16"}, (*_VNNI.flags, "-mavx512bf16"))
LEVELS = {"avx512_bf16": _BF16, "avx512_vnni": _VNNI, "avx2": _AVX2}
"""From the most to the least."""


@dataclass(frozen=True)
class Status:
    """What there is on this machine.

    Args:
        level: the instructions in use, None without kernels.
        path: the library, whether or not it has been compiled.
        built: whether it has been.
        reason: why there are no kernels; empty where there are, or will be at first use.
    """

    level: str | None
    path: Path | None
    built: bool
    reason: str

    def __str__(self) -> str:
        if self.level is None:
            return f"none, torch's products serve: {self.reason}"
        return f"{self.level}, {'compiled' if self.built else 'to be compiled at first use'}"


def status() -> Status:
    """What there is, without compiling anything.

    Raises:
        ModelError: TFCLI_KERNELS has a value that means nothing.
    """
    try:
        level = _level()
        path = build.target(SOURCES, LEVELS[level].flags)
        built = build.is_built(path)
    except build.BuildError as error:
        return Status(None, None, False, str(error))
    loaded = _tried.get(level)
    if isinstance(loaded, str):
        return Status(None, path, built, loaded)
    return Status(level, path, built, "")


def library() -> ctypes.CDLL | None:
    """The library, compiled if need be; None where there is none, and `status` says why.

    Raises:
        ModelError: TFCLI_KERNELS has a value that means nothing.
    """
    asked = os.environ.get(VARIABLE)
    if asked not in _chosen:
        try:
            level = _level()
        except build.BuildError:
            _chosen[asked] = None
        else:
            found = _tried.get(level)
            if found is None:
                found = _tried[level] = _load(level)
            _chosen[asked] = None if isinstance(found, str) else found
    return _chosen[asked]


_tried: dict[str, ctypes.CDLL | str] = {}
_chosen: dict[str | None, ctypes.CDLL | None] = {}
"""What was found for a value of TFCLI_KERNELS: it stays so for as long as the process runs, since
the bits of a product follow from it."""


def forget() -> None:
    """Look again at the next call."""
    _tried.clear()
    _chosen.clear()


def is_unwanted() -> bool:
    """Whether kernels were turned off, or are not made for this system or processor."""
    try:
        _level()
    except build.BuildError:
        return True
    return False


def try_anew(folder: Path) -> str:
    """Compile the library in another folder and use it; returns the level.

    Raises:
        ModelError: why it cannot be.
    """
    level = _level()
    found = _load(level, folder)
    if isinstance(found, str):
        raise ModelError(found)
    forget()
    _tried[level] = found
    return level


def _level() -> str:
    asked = os.environ.get(VARIABLE) or next(iter(LEVELS))
    if asked == "off":
        raise build.BuildError(f"{VARIABLE} is off")
    if asked not in LEVELS:
        raise ModelError(
            f"{VARIABLE} is {asked!r}", fix=f"unset it, or use off, {', '.join(LEVELS)}"
        )
    if not build.is_possible() or not processor.is_x86():
        raise build.BuildError("the kernels are for x86 processors under Linux")
    names = list(LEVELS)
    for name in names[names.index(asked) :]:
        if LEVELS[name].needs <= processor.features():
            return name
    raise build.BuildError("the processor has no AVX2")


def _load(level: str, folder: Path | None = None) -> ctypes.CDLL | str:
    """The library, or why there is none. A file that does not load is made once more."""
    flags = LEVELS[level].flags
    try:
        path = build.build(SOURCES, flags, folder)
        try:
            return _declare(ctypes.CDLL(os.fspath(path)))
        except (OSError, AttributeError):
            path.unlink(missing_ok=True)
            return _declare(ctypes.CDLL(os.fspath(build.build(SOURCES, flags, folder))))
    except (build.BuildError, OSError) as error:
        return str(error)


def _declare(found: ctypes.CDLL) -> ctypes.CDLL:
    pointer, number = ctypes.c_void_p, ctypes.c_int64
    arguments = {
        "packed_product": [*[pointer] * 4, *[number] * 4],
        "pack_levels": [pointer, pointer, number],
        "unpack_values": [pointer, pointer, *[number] * 4],
        "dense_product": [pointer, *[number] * 3, *[pointer] * 3, *[number] * 3],
        "run_layers": [
            *[pointer, number, pointer, pointer, number, number, pointer, pointer],
            *[number] * 4,
        ],
        "add_products": [*[pointer] * 3, *[number] * 5],
        "round_columns": [*[pointer] * 9, *[number] * 4],
        "move_columns": [*[pointer] * 7, *[number] * 4],
        "nearest_levels": [*[pointer] * 4, *[number] * 4],
        "search_scales": [
            *[pointer, *[number] * 5, pointer, number, number, pointer, number],
            *[pointer, pointer, number],
        ],
    }
    for name, types in arguments.items():
        function = getattr(found, name)
        function.argtypes, function.restype = types, ctypes.c_int
    return found
