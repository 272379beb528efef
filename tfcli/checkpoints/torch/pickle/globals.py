"""The names that a pickled checkpoint may ask for, and what each stands for here.

Nothing in this table is the thing that the name means elsewhere: `torch._utils._rebuild_tensor_v2`
is a function of ours that notes where a tensor lies, and `argparse.Namespace` is a `Record`.
A name that is not in the table is an error; there is no way around it.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from functools import partial
from typing import Any

from tfcli.checkpoints.io.dtypes import TORCH_NAMES
from tfcli.checkpoints.strict_json import short
from tfcli.checkpoints.torch.pickle.opcodes import checked_keys
from tfcli.checkpoints.torch.pickle.values import (
    Global,
    PickleRefusedError,
    Record,
    StoredTensor,
    stored_tensor,
)

# The typed storages of torch, by the name that is pickled; None holds bytes of any type.
STORAGES: dict[str, str | None] = {
    "DoubleStorage": "F64",
    "FloatStorage": "F32",
    "HalfStorage": "F16",
    "BFloat16Storage": "BF16",
    "LongStorage": "I64",
    "IntStorage": "I32",
    "ShortStorage": "I16",
    "CharStorage": "I8",
    "ByteStorage": "U8",
    "BoolStorage": "BOOL",
    "ComplexFloatStorage": "C64",
    "UntypedStorage": None,
}
STORAGE_TYPES = {
    f"{module}.{name}": code
    for module in ("torch", "torch.cuda", "torch.storage")
    for name, code in STORAGES.items()
}

# Classes whose instances are read as records: settings and progress that trainers save beside
# weights. Whole packages are listed where many of their classes occur; none of them is imported.
_RECORDS = {
    "_io.BytesIO",
    "argparse.Namespace",
    "builtins.range",
    "builtins.slice",
    "collections.deque",
    "datetime.date",
    "datetime.datetime",
    "datetime.timedelta",
    "numpy._core.multiarray._reconstruct",
    "numpy._core.numeric._frombuffer",
    "numpy.core.multiarray._reconstruct",
    "numpy.core.numeric._frombuffer",
    "numpy.dtype",
    "numpy.ndarray",
    "pathlib.PosixPath",
    "pathlib.PurePosixPath",
    "pathlib.PureWindowsPath",
    "pathlib.WindowsPath",
    "signal.Signals",
    "torch.device",
    "torch.torch_version.TorchVersion",
    "types.SimpleNamespace",
}
_RECORD_PACKAGES = {
    "accelerate",
    "apex",
    "deepspeed",
    "fairscale",
    "fairseq",
    "flagai",
    "lightning",
    "lightning_fabric",
    "megatron",
    "omegaconf",
    "peft",
    "pytorch_lightning",
    "transformers",
    "typing",
}

# Subclasses of tensors, as quantizing libraries pickle them.
_SUBCLASS = "torch._utils._rebuild_wrapper_subclass"
_SUBCLASS_PACKAGES = {"optimum", "torchao"}

# Mere values: never called.
_VALUES = {
    *(f"torch.{name}" for name in TORCH_NAMES.values()),
    *STORAGE_TYPES,
    *(f"builtins.{name}" for name in ("bool", "bytes", "dict", "float", "int", "list")),
    *(f"builtins.{name}" for name in ("object", "str", "tuple", "type")),
    "torch.Tensor",
    "torch.complex128",
    "torch.complex32",
    "torch.nn.parameter.Buffer",
    "torch.nn.parameter.Parameter",
}
_PLAIN_TENSORS = {"torch.Tensor", "torch.nn.parameter.Buffer", "torch.nn.parameter.Parameter"}

# numpy's codes of scalar types, to those of struct.
_NUMPY = {
    "b1": "?",
    "f2": "e",
    "f4": "f",
    "f8": "d",
    "i1": "b",
    "i2": "h",
    "i4": "i",
    "i8": "q",
    "u1": "B",
    "u2": "H",
    "u4": "I",
    "u8": "Q",
}


def find_global(name: str) -> Global:
    """What a name in a pickle stands for.

    Raises:
        PickleRefusedError: it is not in the table; names it.
    """
    # Protocol 2 spells Python 2's name of the module.
    name = f"builtins.{name.removeprefix('__builtin__.')}" if name[:12] == "__builtin__." else name
    found = _TABLE.get(name)
    if found is not None:
        return found
    if name in _RECORDS or name.partition(".")[0] in _RECORD_PACKAGES:
        return Global(name, partial(_record, name), record=True)
    if name == _SUBCLASS or name.partition(".")[0] in _SUBCLASS_PACKAGES:
        raise PickleRefusedError(
            f"it holds tensors of a class of their own ({short(name)}), and a pickle's classes are "
            "never run",
            fix="load it with the library that wrote it, and save it as safetensors: weights of "
            "torchao with transformers 5 and torchao 0.15 or newer",
        )
    raise PickleRefusedError(
        f"it asks for {short(name)}, which is not on the list of what weights need", hostile=True
    )


def _record(name: str, args: tuple[Any, ...]) -> Record:
    return Record(name, args)


def _tensor_v2(args: tuple[Any, ...]) -> StoredTensor:
    # storage, offset, shape, stride, requires_grad, hooks; since torch 2.0 also metadata
    _count(args, 4, 7)
    storage, offset, shape, stride, *_ = args
    metadata = args[6] if len(args) > 6 else None
    return stored_tensor(storage, offset, shape, stride, metadata=metadata)


def _tensor_v3(args: tuple[Any, ...]) -> StoredTensor:
    # as v2, with the dtype before the metadata
    _count(args, 7, 8)
    storage, offset, shape, stride, *_ = args
    metadata = args[7] if len(args) > 7 else None
    return stored_tensor(storage, offset, shape, stride, args[6], metadata)


def _parameter(args: tuple[Any, ...]) -> StoredTensor:
    # data, requires_grad, hooks; _rebuild_parameter_with_state also has attributes
    _count(args, 3, 4)
    if type(args[0]) is not StoredTensor:
        raise PickleRefusedError("a parameter is made of something else than a tensor")
    return args[0]


def _tensor_with_attributes(args: tuple[Any, ...]) -> StoredTensor:
    # function, class, its arguments, attributes
    _count(args, 4, 4)
    function, kind, inner, _ = args
    if type(kind) is not Global or kind.name not in _PLAIN_TENSORS:
        shown = short(kind.name) if type(kind) is Global else type(kind).__name__
        raise PickleRefusedError(f"a tensor is of the class {shown}, which is not read")
    if type(function) is not Global or function.call not in _REBUILD or type(inner) is not tuple:
        raise PickleRefusedError("a tensor is made by something else than torch's own functions")
    result: StoredTensor = function.call(inner)
    return result


_REBUILD = (_tensor_v2, _tensor_v3, _parameter)


def _dict(args: tuple[Any, ...]) -> dict[Any, Any]:
    # Python 2 gave an OrderedDict its pairs; a Counter has a dictionary.
    _count(args, 0, 1)
    content = args[0] if args else []
    if type(content) is dict:
        return dict(content)
    if type(content) is not list or not all(
        type(pair) in (list, tuple) and len(pair) == 2 for pair in content
    ):
        raise PickleRefusedError("a dictionary is made of something else than pairs")
    checked_keys([key for key, _ in content])
    return dict(content)


def _defaultdict(args: tuple[Any, ...]) -> dict[Any, Any]:
    _count(args, 0, 1)
    if args and args[0] is not None and type(args[0]) is not Global:
        raise PickleRefusedError("a defaultdict's default is no class")
    return {}


def _set(make: Callable[[list[Any]], Any], args: tuple[Any, ...]) -> Any:
    _count(args, 0, 1)
    if args and type(args[0]) not in (list, tuple):
        raise PickleRefusedError("a set is made of something else than a list")
    return make(checked_keys(list(args[0]) if args else []))


def _size(args: tuple[Any, ...]) -> tuple[int, ...]:
    _count(args, 1, 1)
    if type(args[0]) is not tuple or not all(type(n) is int for n in args[0]):
        raise PickleRefusedError("torch.Size is made of something else than numbers")
    found: tuple[int, ...] = args[0]
    return found


def _encoded(args: tuple[Any, ...]) -> bytes:
    # How protocol 2 spells bytes.
    if len(args) != 2 or type(args[0]) is not str or args[1] not in ("latin1", "latin-1"):
        raise PickleRefusedError("_codecs.encode is given something else than bytes as latin1")
    try:
        return args[0].encode("latin1")
    except UnicodeEncodeError:
        raise PickleRefusedError("_codecs.encode: a character is no byte") from None


def _bytes(args: tuple[Any, ...]) -> bytes:
    _count(args, 0, 2)
    if not args:
        return b""
    if len(args) == 1 and type(args[0]) is bytes:
        return args[0]
    return _encoded(args)


def _complex(args: tuple[Any, ...]) -> complex:
    if len(args) != 2 or not all(type(part) is float for part in args):
        raise PickleRefusedError("a complex number is made of something else than two numbers")
    return complex(*args)


def _scalar(args: tuple[Any, ...]) -> Any:
    # A numpy scalar: its type and its bytes. Those that are no numbers stay records.
    _count(args, 2, 2)
    kind, data = args
    if type(kind) is not Record or kind.kind != "numpy.dtype" or type(data) is not bytes:
        raise PickleRefusedError("a numpy scalar is made of something else than a type and bytes")
    layout = _NUMPY.get(kind.args[0]) if kind.args and type(kind.args[0]) is str else None
    if layout is None:
        return Record("numpy.generic", args)
    swapped = type(kind.state) is tuple and len(kind.state) > 1 and kind.state[1] == ">"
    packed = struct.Struct((">" if swapped else "<") + layout)
    if packed.size != len(data):
        raise PickleRefusedError(f"a numpy scalar {kind.args[0]} of {len(data)} bytes")
    return packed.unpack(data)[0]


def _count(args: tuple[Any, ...], least: int, most: int) -> None:
    if not least <= len(args) <= most:
        raise PickleRefusedError(f"a call with {len(args)} arguments, expected {least} to {most}")


_CALLS: dict[str, Callable[[tuple[Any, ...]], Any]] = {
    "_codecs.encode": _encoded,
    "builtins.bytearray": _bytes,
    "builtins.complex": _complex,
    "builtins.frozenset": partial(_set, frozenset),
    "builtins.set": partial(_set, set),
    "collections.Counter": _dict,
    "collections.OrderedDict": _dict,
    "collections.defaultdict": _defaultdict,
    "numpy._core.multiarray.scalar": _scalar,
    "numpy.core.multiarray.scalar": _scalar,
    "torch.Size": _size,
    "torch._tensor._rebuild_from_type_v2": _tensor_with_attributes,
    "torch._utils._rebuild_parameter": _parameter,
    "torch._utils._rebuild_parameter_with_state": _parameter,
    "torch._utils._rebuild_tensor": _tensor_v2,
    "torch._utils._rebuild_tensor_v2": _tensor_v2,
    "torch._utils._rebuild_tensor_v3": _tensor_v3,
}
_TABLE = {name: Global(name) for name in _VALUES} | {
    name: Global(name, call) for name, call in _CALLS.items()
}
