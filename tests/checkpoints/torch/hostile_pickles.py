"""Files of torch.save as an attacker or a broken disk would make them, built byte by byte.

`corpus(command)` gives (name, bytes, what the error must say). Where a file can carry code, the
code is the shell command `command`, so that a test can see that it never ran.
"""

from __future__ import annotations

import io
import pickle
import struct
import warnings
import zipfile
from collections.abc import Iterator
from typing import Any

import torch

PROTO = b"\x80\x02"
TENSOR = b"ctorch._utils\n_rebuild_tensor_v2\n"
NO_HOOKS = b"\x89N"  # requires_grad, and None for the hooks


# --- pieces of pickles ---------------------------------------------------------------------------


def text(value: str) -> bytes:
    """BINUNICODE."""
    raw = value.encode()
    return b"X" + struct.pack("<I", len(raw)) + raw


def number(value: int) -> bytes:
    """BININT, or LONG1 where it does not fit."""
    if -(2**31) <= value < 2**31:
        return b"J" + struct.pack("<i", value)
    raw = value.to_bytes(value.bit_length() // 8 + 1, "little", signed=True)
    return b"\x8a" + bytes([len(raw)]) + raw


def several(*values: int) -> bytes:
    """A tuple of numbers."""
    return b"(" + b"".join(number(value) for value in values) + b"t"


def storage(
    key: str = "0", count: int = 4, kind: bytes = b"ctorch\nFloatStorage\n", legacy: bool = False
) -> bytes:
    """A storage by its persistent id."""
    end = b"Nt" if legacy else b"t"
    return b"(" + text("storage") + kind + text(key) + text("cpu") + number(count) + end + b"Q"


def tensor(
    shape: bytes = several(4),
    stride: bytes = several(1),
    offset: bytes = number(0),
    held: bytes | None = None,
    more: bytes = NO_HOOKS,
) -> bytes:
    """A tensor: right but for what is given."""
    held = storage() if held is None else held
    return TENSOR + b"(" + held + offset + shape + stride + more + b"tR"


def table(value: bytes, name: str = "w") -> bytes:
    """A whole pickle: a dictionary with one entry."""
    return PROTO + b"}" + text(name) + value + b"s."


def called(function: str, argument: bytes, held: bytes | None = None) -> bytes:
    """A whole pickle: a tensor and, beside it, a call of a global."""
    module, _, name = function.rpartition(".")
    call = f"c{module}\n{name}\n".encode() + argument + b"\x85R"
    return PROTO + b"}(" + text("w") + tensor(held=held) + text("x") + call + b"u."


# --- containers ----------------------------------------------------------------------------------

DATA = struct.pack("<4f", 1, 2, 3, 4)


def zipped(pickled: bytes, data: bytes = DATA, **records: bytes) -> bytes:
    """A zip file of torch.save with one storage."""
    return archive({"data.pkl": pickled, "data/0": data, "version": b"3\n", **records})


def archive(files: dict[str, bytes], folder: str = "a/", method: int = zipfile.ZIP_STORED) -> bytes:
    """A zip archive as Python writes it."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", method) as target, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of names that stand twice
        for name, content in files.items():
            target.writestr(folder + name, content)
    return out.getvalue()


def legacy(
    pickled: bytes | None = None,
    magic: int = 0x1950A86A20F9469CFC6C,
    version: int = 1001,
    little: bool = True,
    keys: Any = ("0",),
    count: int = 4,
    data: bytes = DATA,
) -> bytes:
    """A legacy file of torch.save with one storage."""
    pickled = table(tensor(held=storage(legacy=True))) if pickled is None else pickled
    facts = {"protocol_version": version, "little_endian": little, "type_sizes": {}}
    head = b"".join(pickle.dumps(value, 2) for value in (magic, version, facts))
    tail = pickle.dumps(list(keys), 2) + struct.pack("<q", count) + data
    return head + pickled + tail


def patched(data: bytes, mark: bytes, offset: int, value: bytes, last: bool = True) -> bytes:
    """`data` with `value` put `offset` bytes after the last (or first) place of `mark`."""
    place = (data.rfind(mark) if last else data.find(mark)) + offset
    assert place >= offset, "the mark is not there"
    return data[:place] + value + data[place + len(value) :]


# --- the corpus ----------------------------------------------------------------------------------


class Reduced:
    """Pickles as a call of `function`, as an attacker's class does in `__reduce__`."""

    def __init__(self, function: Any, *args: Any) -> None:
        self.call = function, args

    def __reduce__(self) -> tuple[Any, tuple[Any, ...]]:
        return self.call


def corpus(command: str) -> Iterator[tuple[str, bytes, str]]:
    """All files: a name, the bytes, what the error must say."""
    for name, (pickled, says) in {**_code(command), **_bombs(), **_lies()}.items():
        yield f"zip: {name}", zipped(pickled), says
    yield from _zips()
    yield from _legacies(command)


def _code(command: str) -> dict[str, tuple[bytes, str]]:
    run = text(command)
    python = text(f"__import__('os').system({command!r})")
    return {
        "os.system by REDUCE": (called("os.system", run), "'os.system'"),
        "posix.system": (called("posix.system", run), "'posix.system'"),
        "subprocess.getoutput": (called("subprocess.getoutput", run), "'subprocess.getoutput'"),
        "eval": (called("builtins.eval", python), "'builtins.eval'"),
        "exec, as Python 2 calls it": (called("__builtin__.exec", python), "'builtins.exec'"),
        "a class with __reduce__": (
            pickle.dumps({"w": Reduced(exec, f"import os; os.system({command!r})")}, 2),
            "'builtins.exec'",
        ),
        "a class with __reduce__, protocol 5": (
            pickle.dumps({"w": Reduced(eval, f"__import__('os').system({command!r})")}, 5),
            "'builtins.eval'",
        ),
        "os.system by STACK_GLOBAL": (
            PROTO + text("os") + text("system") + b"\x93" + run + b"\x85R.",
            "'os.system'",
        ),
        "a dotted name by STACK_GLOBAL": (
            PROTO + text("torch._utils") + text("os.system") + b"\x93" + run + b"\x85R.",
            "'torch._utils.os.system'",
        ),
        "STACK_GLOBAL of a tuple": (PROTO + b"))\x93.", "STACK_GLOBAL"),
        "INST": (PROTO + b"(" + run + b"ios\nsystem\n.", "INST"),
        "OBJ": (PROTO + b"(cos\nsystem\n" + run + b"o.", "'os.system'"),
        "OBJ of something harmless": (PROTO + b"(cargparse\nNamespace\no.", "OBJ"),
        "NEWOBJ": (PROTO + b"csubprocess\nPopen\n" + run + b"\x85\x81.", "'subprocess.Popen'"),
        "NEWOBJ of a function": (
            PROTO + b"ctorch._utils\n_rebuild_tensor_v2\n)\x81.",
            "'torch._utils._rebuild_tensor_v2'",
        ),
        "NEWOBJ_EX": (
            PROTO + b"csubprocess\nPopen\n" + run + b"\x85}" + text("shell") + b"\x88s\x92.",
            "'subprocess.Popen'",
        ),
        "BUILD of a function": (
            PROTO + b"ctorch\nTensor\n}" + text("__call__") + b"cos\nsystem\nsb.",
            "'os.system'",
        ),
        "BUILD of a class": (
            PROTO + b"ctorch\nTensor\n}" + text("__reduce__") + b"Nsb.",
            "BUILD changes 'torch.Tensor'",
        ),
        "BUILD of a text": (PROTO + text("x") + b"}b.", "BUILD changes a str"),
        "getattr": (
            PROTO + b"cbuiltins\ngetattr\ncargparse\nNamespace\n" + text("x") + b"\x86R.",
            "'builtins.getattr'",
        ),
        "a chain of getattr": (
            PROTO
            + b"cbuiltins\ngetattr\n"
            + b"cbuiltins\n__import__\n"
            + text("os")
            + b"\x85R"
            + text("system")
            + b"\x86R"
            + run
            + b"\x85R.",
            "'builtins.getattr'",
        ),
        "operator.attrgetter": (called("operator.attrgetter", run), "'operator.attrgetter'"),
        "functools.partial": (called("functools.partial", run), "'functools.partial'"),
        "types.FunctionType": (called("types.FunctionType", run), "'types.FunctionType'"),
        "marshal.loads": (called("marshal.loads", b"C\x01N"), "'marshal.loads'"),
        "pickle.loads": (called("pickle.loads", b"C\x01N"), "'pickle.loads'"),
        "torch.load": (called("torch.serialization.load", run), "'torch.serialization.load'"),
        "torch's nested file": (
            called("torch.storage._load_from_bytes", b"C\x01N"),
            "'torch.storage._load_from_bytes'",
        ),
        "torch.hub.load": (called("torch.hub.load", run), "'torch.hub.load'"),
        "numpy's runstring": (
            called("numpy.testing._private.utils.runstring", python),
            "'numpy.testing._private.utils.runstring'",
        ),
        "copyreg": (called("copyreg._reconstructor", run), "'copyreg._reconstructor'"),
        "another codec": (
            PROTO + b"c_codecs\nencode\n" + run + text("rot13") + b"\x86R.",
            "_codecs.encode",
        ),
        "a value that is called": (PROTO + b"ctorch\nfloat32\n)R.", "REDUCE calls 'torch.float32'"),
        "a text that is called": (PROTO + text("os.system") + b")R.", "REDUCE calls a str"),
        "a record that is called": (
            PROTO + b"cargparse\nNamespace\n)\x81)R.",
            "REDUCE calls a Record",
        ),
        "a name in a package of records": (
            PROTO + b"cmegatron.os\nsystem\n" + run + b"\x85R.",
            "no tensors, but megatron.os.system",
        ),
        "a model with its class": (
            PROTO + b"ctorch.nn.modules.linear\nLinear\n)\x81}b.",
            "'torch.nn.modules.linear.Linear'",
        ),
        "EXT1": (PROTO + b"\x82\x01.", "EXT1"),
        "EXT2": (PROTO + b"\x83\x01\x00.", "EXT2"),
        "EXT4": (PROTO + b"\x84\x01\x00\x00\x00.", "EXT4"),
        "PERSID": (PROTO + b"Pos.system\n.", "PERSID"),
        "a persistent id that is a text": (PROTO + text("0") + b"Q.", "persistent id"),
        "a persistent id of a module": (
            PROTO + b"(" + text("module") + b"ctorch\nTensor\n" + text("f") + text("s") + b"tQ.",
            "persistent id is not a storage's",
        ),
        "a persistent id of a number's type": (
            table(tensor(held=storage(kind=b"ctorch\nfloat32\n"))),
            "no storage type",
        ),
        "buffers out of band": (PROTO + b"\x97.", "NEXT_BUFFER"),
        "the text opcodes of protocol 0": (PROTO + b"(lp0\nI1\na.", "LIST"),
        "no opcode": (PROTO + b"\xff.", "0xff is no opcode"),
        "protocol 6": (b"\x80\x06N.", "pickle protocol 6"),
        "a zip in the place of the pickle": (archive({"x": b""}), "PERSID"),
        "a name with escape codes": (PROTO + b"c\x1b[2J\nx\n.", r"'\x1b[2J.x'"),
        "a name without end": (PROTO + b"c" + b"a" * 5000, "no name ends"),
    }


def _doubled(leaf: bytes, join: bytes, levels: int = 60) -> bytes:
    """Each level holds the one before it twice."""
    return leaf + b"".join(b"q" + bytes([i]) + b"h" + bytes([i]) + join for i in range(levels))


def _bombs() -> dict[str, tuple[bytes, str]]:
    pairs = b"".join(several(i, -i) + b"N" for i in range(1, 50_000))
    return {
        "a laugh of tuples": (table(_doubled(tensor(), b"\x86")), "unfold into more names"),
        "a laugh of tuples with long names": (
            table(_doubled(tensor(), b"\x86", 14), "n" * 100_000),
            "unfold into more names",
        ),
        "a laugh without tensors": (
            PROTO + _doubled(b"N", b"\x86") + b".",
            "no tensors, but tuple",
        ),
        "a laugh as a key": (PROTO + b"}" + _doubled(b"N", b"\x86") + b"Ns.", "cannot be a key"),
        "keys that collide": (PROTO + b"}(" + pairs + b"u.", "cannot be a key"),
        "a long key": (PROTO + b"}" + number(2**100) + b"Ns.", "cannot be a key"),
        "a list as a key": (PROTO + b"}]Ns.", "cannot be a key"),
        "a set of lists": (PROTO + b"c__builtin__\nset\n](]]e\x85R.", "cannot be a key"),
        "marks without end": (PROTO + b"(" * 100_000, "nested more than 100 deep"),
        "tuples in tuples": (PROTO + b"N" + b"\x85" * 100_000 + b".", "nested more than 100 deep"),
        "tuples around a tensor": (
            table(tensor() + b"\x85" * 5000),
            "nested more than 100 deep",
        ),
        "a depth behind short ways": (
            PROTO + b"(" + b"N" + b"".join(b"\x85q" + bytes([i]) for i in range(200)) + b"t.",
            "nested more than 100 deep",
        ),
        "a list in itself": (PROTO + b"]q\x00h\x00a.", "contains itself"),
        "a dictionary in itself": (
            PROTO + b"}q\x00" + text("w") + b"h\x00s.",
            "contains itself",
        ),
        "a record in itself": (
            PROTO + b"cargparse\nNamespace\n)\x81q\x00}" + text("x") + b"h\x00sb.",
            "contains itself",
        ),
        "three million sets": (PROTO + b"\x8f" * 3_000_000 + b".", "more objects"),
        "three million lists": (PROTO + b"]" * 3_000_000 + b".", "more objects"),
        "five million numbers": (PROTO + b"]" + b"(" + b"J\1\2\3\4" * 5_000_000, "more objects"),
        "two million ordered dictionaries": (
            PROTO + b"ccollections\nOrderedDict\nq\x00)R" + b"h\x00)R" * 2_000_000 + b".",
            "more objects",
        ),
        "tuples kept by a list": (PROTO + b"](" + b"N\x85" * 2_000_000 + b"e.", "more objects"),
        "a memo of a million entries": (
            PROTO + b"N" + b"".join(b"r" + struct.pack("<I", i * 4093) for i in range(1_000_000)),
            "more objects",
        ),
        "bytes made again and again": (
            PROTO
            + b"c_codecs\nencode\nq\x00"
            + text("a" * 1_000_000)
            + text("latin1")
            + b"\x86q\x01"
            + b"Rh\x00h\x01" * 10_000,
            "more objects",
        ),
        "texts of four bytes a letter": (
            PROTO + text("\U0001f600" + "a" * 15_000_000) * 4,
            "more objects",
        ),
        "a text of 17 MB": (PROTO + text("a" * 17_000_000) + b".", "a text of 17000000 bytes"),
        "LONG4 past the end": (PROTO + b"\x8b\xff\xff\xff\x7f\x01.", "2147483647 bytes"),
        "LONG4 of a negative length": (PROTO + b"\x8b\xff\xff\xff\xff\x01.", "4294967295 bytes"),
        "a number of a megabyte": (
            PROTO + b"\x8b" + struct.pack("<I", 1_000_000) + b"\x7f" * 1_000_000 + b".",
            "a whole number of 1000000 bytes",
        ),
        "BINUNICODE8 past the end": (
            PROTO + b"\x8d" + b"\xff" * 7 + b"\x7f.",
            "bytes are announced",
        ),
        "BINBYTES8 past the end": (PROTO + b"\x8e" + b"\0" * 5 + b"\1\0\0.", "bytes are announced"),
        "BYTEARRAY8 past the end": (PROTO + b"\x96" + b"\xff" * 8 + b".", "bytes are announced"),
        "a frame past the end": (PROTO + b"\x95" + b"\xff" * 8 + b"N.", "a frame of"),
        "no STOP": (PROTO + b"N", "cut off"),
        "nothing but STOP": (b".", "ends with 0 objects"),
        "two objects": (PROTO + b"NN.", "ends with 2 objects"),
        "an open mark": (PROTO + b"N(N.", "ends with 1 objects"),
        "an empty stack": (PROTO + b"R.", "REDUCE finds too little"),
        "a key without a value": (PROTO + b"}(" + text("w") + b"u.", "a key has no value"),
        "an unknown memo entry": (PROTO + b"h\x07.", "the memo has no entry 7"),
        "a text that is not UTF-8": (PROTO + b"X\x02\0\0\0\xff\xfe.", "not UTF-8"),
        "bytes after the end": (PROTO + b"N." + PROTO + b"N.", "follow the end of the pickle"),
    }


def _lies() -> dict[str, tuple[bytes, str]]:
    one = several(1)
    return {
        "a storage that is said to be larger": (
            table(tensor(held=storage(count=5))),
            "storage '0': 5 elements of 4 bytes are announced, data/0 has 16 bytes",
        ),
        "a storage that is said to be smaller": (
            table(tensor(several(1), held=storage(count=1))),
            "storage '0': 1 elements",
        ),
        "a storage of a negative size": (table(tensor(held=storage(count=-4))), "storage '0'"),
        "a storage of 2^70 elements": (table(tensor(held=storage(count=2**70))), "storage '0'"),
        "a storage that is missing": (table(tensor(held=storage("7"))), "no data/7"),
        "a storage outside of the archive": (
            table(tensor(held=storage("../../../etc/passwd"))),
            "no data/../../../etc/passwd",
        ),
        "a quantized storage": (
            table(tensor(held=storage(kind=b"ctorch\nQInt8Storage\n"))),
            "'torch.QInt8Storage'",
        ),
        "a view past the end": (table(tensor(several(5))), "reach byte 20, it has 16"),
        "an offset past the end": (
            table(tensor(one, offset=number(4))),
            "reach byte 20, it has 16",
        ),
        "a stride past the end": (
            table(tensor(several(2), several(4))),
            "shape, stride and storage_offset of the tensor in storage '0'",
        ),
        "a huge stride": (table(tensor(several(2), several(2**62))), "reach byte"),
        "a negative stride": (table(tensor(several(2), several(-1))), "stride of the tensor"),
        "a negative offset": (table(tensor(offset=number(-1))), "storage_offset of the tensor"),
        "a negative shape": (table(tensor(several(-4))), "shape of the tensor"),
        "a fractional shape": (
            table(tensor(b"G" + struct.pack(">d", 4) + b"\x85")),
            "shape of the tensor",
        ),
        "true as a dimension": (table(tensor(b"\x88\x85")), "shape of the tensor"),
        "a list as a shape": (table(tensor(b"]" + number(4) + b"a")), "shape of the tensor"),
        "an overflowing shape": (
            table(tensor(several(2**40, 2**40), several(0, 0))),
            "overflows 64 bits",
        ),
        "a thousand dimensions": (
            table(tensor(several(*[1] * 1000), several(*[1] * 1000))),
            "shape of the tensor",
        ),
        "two strides for one dimension": (table(tensor(stride=several(1, 1))), "2 numbers"),
        "a petabyte out of one value": (
            table(tensor(several(2**48), several(0))),
            "shape of 'w'",
        ),
        "bytes without a type": (
            table(tensor(held=storage(count=16, kind=b"ctorch.storage\nUntypedStorage\n"))),
            "a tensor's type is a NoneType",
        ),
        "a conjugated view": (
            table(tensor(more=NO_HOOKS + b"}" + text("conj") + b"\x88s")),
            "conjugate",
        ),
        "a tensor of no storage": (table(tensor(held=b"N")), "something else than a storage"),
        "too few arguments": (table(TENSOR + b")R"), "a call with 0 arguments"),
        "a parameter of no tensor": (
            table(b"ctorch._utils\n_rebuild_parameter\nN\x88N\x87R"),
            "a parameter is made of something else",
        ),
        "a tensor of another class": (
            table(
                b"ctorch._tensor\n_rebuild_from_type_v2\n("
                + TENSOR
                + b"ctorch\nfloat32\n"
                + b")NtR"
            ),
            "of the class 'torch.float32'",
        ),
        "a sparse tensor": (
            called("torch._utils._rebuild_sparse_tensor", b")"),
            "'torch._utils._rebuild_sparse_tensor'",
        ),
        "two tensors of one name": (
            PROTO
            + b"}("
            + text("a.b")
            + tensor()
            + text("a")
            + b"}"
            + text("b")
            + tensor()
            + b"su.",
            "'a.b' stands twice",
        ),
        "a tensor without a name": (PROTO + b"}N" + tensor() + b"s.", "a NoneType for a name"),
    }


def _zips() -> Iterator[tuple[str, bytes, str]]:
    pickled = table(tensor())
    good = zipped(pickled)
    names = {"data.pkl": pickled, "data/0": DATA}
    bomb = bytes(10_000_000)
    yield (
        "zip: a bomb in the pickle",
        archive({"data.pkl": bomb}, method=zipfile.ZIP_DEFLATED),
        "'a/data.pkl': it is compressed",
    )
    yield (
        "zip: a bomb in a storage",
        archive({"data/0": bomb}, method=zipfile.ZIP_LZMA),
        "'a/data/0': it is compressed",
    )
    yield "zip: a file in a zip in a zip", archive({"x.pt": good}), "without data.pkl"
    yield "zip: no folder", archive(names, folder=""), "without data.pkl"
    yield "zip: two folders", archive({**names, "../b/x": b""}), "leads outside"
    yield "zip: an absolute name", archive(names, folder="/a/"), "'/a/data.pkl'"
    yield "zip: a name that leads up", archive(names, folder="../"), "'../data.pkl'"
    yield "zip: a backslash", archive(names, folder="..\\a/"), "leads outside"
    yield "zip: TorchScript", zipped(pickled, **{"constants.pkl": b"N."}), "TorchScript"
    yield "zip: big-endian", zipped(pickled, byteorder=b"big"), "big-endian"
    yield "zip: another byte order", zipped(pickled, byteorder=b"pdp11"), "byte order b'pdp11'"
    yield "zip: nothing but its first bytes", b"PK\x03\x04", "no end record"
    yield "zip: no directory", good[: good.index(b"PK\x01\x02")], "no end record"
    yield "zip: bytes after the end", good + b"x", "bytes are left over"
    central, end, local = b"PK\x01\x02", b"PK\x05\x06", b"PK\x03\x04"
    # The fields' places are those of APPNOTE 4.3.7, 4.3.12 and 4.3.16.
    yield "zip: split", patched(good, end, 4, b"\1"), "split"
    yield (
        "zip: a directory past the end",
        patched(good, end, 16, b"\xff\xff\xff\x7f"),
        "reaches past",
    )
    yield "zip: more entries than there are", patched(good, end, 8, b"\xff\0\xff\0"), "is missing"
    yield "zip: fewer entries than there are", patched(good, end, 8, b"\1\0\1\0"), "left over"
    yield "zip: an entry past the end", patched(good, central, 42, b"\0\0\0\x10"), "outside of the"
    yield (
        "zip: an entry in another's data",
        patched(good, central, 42, b"\x08\0\0\0"),
        "'a/version'",
    )
    first = patched(good, central, 42, b"\0\0\0\0")
    yield "zip: two entries at one place", first, "overlaps the entry before it"
    grown = patched(good, central, 20, struct.pack("<2I", 10**6, 10**6))
    yield "zip: an entry into the directory", grown, "reach into the directory"
    wide = patched(good, central, 20, b"\xff" * 8)
    yield "zip: an entry without its zip64 size", wide, "lacks its zip64 sizes"
    yield "zip: a size that differs", patched(good, central, 20, b"\1\0"), "are stored for"
    yield "zip: encrypted", patched(good, central, 8, b"\1"), "encrypted"
    yield "zip: encrypted by its local header", patched(good, local, 6, b"\1"), "encrypted"
    yield "zip: compressed by its local header", patched(good, local, 8, b"\x08"), "compressed"
    yield "zip: no local header", patched(good, local, 0, b"XX"), "no local header"
    yield "zip: another name in the local header", patched(good, local, 30, b"b"), "'b/version'"
    overlap = archive({**names, "data/1": DATA})
    overlap = patched(overlap, local, 26, struct.pack("<H", 8))
    yield "zip: a longer local header", patched(overlap, local, 28, b"\xff\xff"), "directory"
    yield "zip: one name twice", _twice(names), "'a/data.pkl': it stands twice"
    locator = struct.pack("<4sIQI", b"PK\x06\x07", 0, 10**15, 1)
    place = good.rindex(end)
    yield "zip: a zip64 record elsewhere", good[:place] + locator + good[place:], "truncated"
    locator = struct.pack("<4sIQI", b"PK\x06\x07", 0, 0, 1)
    yield "zip: no zip64 record", good[:place] + locator + good[place:], "zip64 end record"
    many = bytearray(good)
    record = struct.pack("<4sQ2H2I4Q", b"PK\x06\x06", 44, 45, 45, 0, 0, 2**40, 2**40, 0, 0)
    many[place:place] = record + struct.pack("<4sIQI", b"PK\x06\x07", 0, place, 1)
    yield "zip: a trillion entries", bytes(many), "more than is read"


def _twice(names: dict[str, bytes]) -> bytes:
    return archive({**names, "data.pkx": b"N."}).replace(b"a/data.pkx", b"a/data.pkl")


def _legacies(command: str) -> Iterator[tuple[str, bytes, str]]:
    held = storage(legacy=True)
    good = legacy()
    yield "legacy: os.system", legacy(called("os.system", text(command), held)), "'os.system'"
    yield (
        "legacy: os.system in the place of the magic number",
        PROTO + b"cos\nsystem\n" + text(command) + b"\x85R.",
        "magic number: byte 2: it asks for 'os.system'",
    )
    keys = b"cos\nsystem\n" + text(command) + b"\x85R."
    body = good[: good.rindex(PROTO)]
    yield "legacy: os.system in the place of the keys", body + PROTO + keys, "storage keys: byte"
    yield "legacy: another magic number", legacy(magic=7), "a pickle that torch.save did not write"
    yield "legacy: any pickle", pickle.dumps({"w": 1}), "a pickle that torch.save did not write"
    yield "legacy: another version", legacy(version=2), "version: expected 1001, found 2"
    yield "legacy: big-endian", legacy(little=False), "big-endian"
    yield "legacy: the storage is cut off", legacy(data=DATA[:-1]), "truncated: storage '0'"
    yield "legacy: a storage of another size", legacy(count=3), "4 elements are announced, 3"
    yield "legacy: a storage of a negative size", legacy(count=-4), "4 elements are announced, -4"
    yield "legacy: bytes after the end", legacy(data=DATA + b"x"), "1 bytes follow"
    yield "legacy: an unknown storage", legacy(keys=("0", "1")), "'1' is unknown"
    yield "legacy: a storage twice", legacy(keys=("0", "0")), "'0' is unknown or stands twice"
    yield "legacy: an unlisted storage", legacy(keys=()), "'0' is missing"
    yield "legacy: keys that are numbers", legacy(keys=(0,)), "expected a list of texts"
    huge = table(tensor(several(2**40), held=storage(count=2**40, legacy=True)))
    yield "legacy: a storage of 4 TB", legacy(huge, count=2**40), "truncated: storage '0'"
    two = PROTO + b"}(" + text("a") + tensor(held=held) + text("b")
    two += tensor(held=storage(count=3, legacy=True)) + b"u."
    yield "legacy: one storage, two sizes", legacy(two), "announced in two ways"
    view = held[:-3] + b"(" + text("v") + number(2) + number(3) + b"t" + b"tQ"
    yield "legacy: a part past the end", legacy(table(tensor(held=view))), "past its end"
    view = held[:-3] + b"(" + text("v") + number(-2) + number(3) + b"t" + b"tQ"
    yield "legacy: a part before the start", legacy(table(tensor(held=view))), "outside of it"
    view = held[:-3] + b"(" + text("v") + number(2) + number(2) + b"t" + b"tQ"
    past = legacy(table(tensor(several(3), held=view)))
    yield "legacy: a view past a part", past, "reach byte 12, it has 8"
    yield (
        "legacy: the id of a zip's storage",
        legacy(table(tensor())),
        "persistent id is not a storage's",
    )


def valid_zip() -> bytes:
    """A file that torch.save writes, small."""
    out = io.BytesIO()
    torch.save({"w": torch.arange(4.0), "step": 3}, out)
    return out.getvalue()


def valid_legacy() -> bytes:
    """The same in the old format."""
    out = io.BytesIO()
    torch.save({"w": torch.arange(4.0), "step": 3}, out, _use_new_zipfile_serialization=False)
    return out.getvalue()
