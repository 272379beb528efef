"""What each opcode of a pickle does to the machine that reads it, and what it costs.

Left out are the opcodes that torch.save never writes: those of protocols 0 and 1, extensions, and
buffers out of band. Source: Python's pickletools.
"""

from __future__ import annotations

import pickletools
import struct
from collections.abc import Callable
from sys import getsizeof
from typing import TYPE_CHECKING, Any

from tfcli.checkpoints.strict_json import short
from tfcli.checkpoints.torch.pickle.values import Global, PickleRefusedError, Record

if TYPE_CHECKING:
    from tfcli.checkpoints.torch.pickle.machine import Machine

MAX_OPEN = 100  # containers open at once; a checkpoint has about five
MAX_NUMBER = 255  # bytes of a whole number
MAX_TEXT = 16_000_000  # bytes of a text
MAX_LINE = 512  # bytes of a module's or a class's name
MAX_KEY = 16  # parts of a dictionary key that is a tuple
STOP = 0x2E
_NAMES = {ord(op.code): op.name for op in pickletools.opcodes}


def opcode_name(code: int) -> str:
    """What pickletools calls an opcode."""
    return _NAMES.get(code, f"opcode 0x{code:02x}")


def _refuse(machine: Machine) -> None:
    code = machine.data[machine.at - 1]
    if code not in _NAMES:
        raise PickleRefusedError(f"0x{code:02x} is no opcode of a pickle")
    raise PickleRefusedError(
        f"the opcode {opcode_name(code)} is not one that torch.save writes", hostile=True
    )


HANDLERS: list[Callable[[Machine], None]] = [_refuse] * 256
PRICES = [50] * 256


def _opcode(
    code: int, price: int = 50
) -> Callable[[Callable[[Machine], None]], Callable[[Machine], None]]:
    def add(handler: Callable[[Machine], None]) -> Callable[[Machine], None]:
        HANDLERS[code], PRICES[code] = handler, price
        return handler

    return add


def _value(code: int, value: Any) -> None:
    @_opcode(code)
    def push(machine: Machine) -> None:
        machine.stack.append(value)


def _fixed(code: int, layout: str) -> None:
    packed = struct.Struct(layout)

    @_opcode(code)
    def push(machine: Machine) -> None:
        start = machine.at
        machine.at = start + packed.size
        if machine.at > machine.end:
            raise PickleRefusedError("the pickle is cut off")
        machine.need(machine.at)
        machine.stack.append(packed.unpack_from(machine.data, start)[0])


def _sized(code: int, width: int, build: Callable[[Machine, bytes], Any]) -> None:
    @_opcode(code, price=100)
    def push(machine: Machine) -> None:
        count = int.from_bytes(machine.take(width), "little")
        machine.stack.append(build(machine, machine.take(count)))


def _text(machine: Machine, data: bytes) -> str:
    if len(data) > MAX_TEXT:
        raise PickleRefusedError(f"a text of {len(data)} bytes; at most {MAX_TEXT} are read")
    # One character outside of the basic plane makes Python store all of them in four bytes.
    machine.spend(3 * len(data))
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        raise PickleRefusedError("a text is not UTF-8") from None


def _python2_text(machine: Machine, data: bytes) -> str | bytes:
    # Python 2 wrote texts and bytes alike.
    try:
        return data.decode("ascii")
    except UnicodeDecodeError:
        return data


def _number(machine: Machine, data: bytes) -> int:
    if len(data) > MAX_NUMBER:
        raise PickleRefusedError(
            f"a whole number of {len(data)} bytes; at most {MAX_NUMBER} are read"
        )
    return int.from_bytes(data, "little", signed=True)


def _bytes(machine: Machine, data: bytes) -> bytes:
    return data


_value(0x4E, None)  # NONE
_value(0x88, True)  # NEWTRUE
_value(0x89, False)  # NEWFALSE
_value(0x29, ())  # EMPTY_TUPLE
_fixed(0x4A, "<i")  # BININT
_fixed(0x4B, "<B")  # BININT1
_fixed(0x4D, "<H")  # BININT2
_fixed(0x47, ">d")  # BINFLOAT
_sized(0x8A, 1, _number)  # LONG1
_sized(0x8B, 4, _number)  # LONG4
_sized(0x8C, 1, _text)  # SHORT_BINUNICODE
_sized(0x58, 4, _text)  # BINUNICODE
_sized(0x8D, 8, _text)  # BINUNICODE8
_sized(0x55, 1, _python2_text)  # SHORT_BINSTRING
_sized(0x54, 4, _python2_text)  # BINSTRING
_sized(0x43, 1, _bytes)  # SHORT_BINBYTES
_sized(0x42, 4, _bytes)  # BINBYTES
_sized(0x8E, 8, _bytes)  # BINBYTES8
_sized(0x96, 8, _bytes)  # BYTEARRAY8


@_opcode(0x80)
def _proto(machine: Machine) -> None:
    version = machine.take(1)[0]
    if not 2 <= version <= 5:
        raise PickleRefusedError(f"pickle protocol {version}; 2 to 5 are read")


@_opcode(0x95)
def _frame(machine: Machine) -> None:
    length = int.from_bytes(machine.take(8), "little")
    if length > machine.end - machine.at:
        raise PickleRefusedError(f"a frame of {length} bytes is longer than what is left")


@_opcode(0x28, price=130)
def _mark(machine: Machine) -> None:
    if len(machine.open) == MAX_OPEN:
        raise PickleRefusedError(f"objects are nested more than {MAX_OPEN} deep")
    machine.open.append(machine.stack)
    machine.stack = []


@_opcode(0x7D, price=300)
def _empty_dict(machine: Machine) -> None:
    machine.stack.append({})


@_opcode(0x5D, price=160)
def _empty_list(machine: Machine) -> None:
    machine.stack.append([])


@_opcode(0x8F, price=300)
def _empty_set(machine: Machine) -> None:
    machine.stack.append(set())


@_opcode(0x74, price=100)
def _tuple(machine: Machine) -> None:
    items = machine.close()
    machine.spend(16 * len(items))
    machine.stack.append(tuple(items))


@_opcode(0x85, price=100)
def _tuple1(machine: Machine) -> None:
    machine.stack[-1] = (machine.stack[-1],)


@_opcode(0x86, price=100)
def _tuple2(machine: Machine) -> None:
    last = machine.stack.pop()
    machine.stack[-1] = (machine.stack[-1], last)


@_opcode(0x87, price=100)
def _tuple3(machine: Machine) -> None:
    last, middle = machine.stack.pop(), machine.stack.pop()
    machine.stack[-1] = (machine.stack[-1], middle, last)


@_opcode(0x91, price=300)
def _frozenset(machine: Machine) -> None:
    items = checked_keys(machine.close())
    machine.spend(100 * len(items))
    machine.stack.append(frozenset(items))


@_opcode(0x61)
def _append(machine: Machine) -> None:
    _extend(machine, [machine.stack.pop()])


@_opcode(0x65)
def _appends(machine: Machine) -> None:
    _extend(machine, machine.close())


@_opcode(0x90, price=100)
def _additems(machine: Machine) -> None:
    items = machine.close()
    target = machine.stack[-1]
    if type(target) is not set:
        raise PickleRefusedError(f"elements are added to a {type(target).__name__}")
    machine.spend(100 * len(items))
    target.update(checked_keys(items))


@_opcode(0x73, price=200)
def _setitem(machine: Machine) -> None:
    value, key = machine.stack.pop(), machine.stack.pop()
    _fill(machine, [key, value])


@_opcode(0x75)
def _setitems(machine: Machine) -> None:
    _fill(machine, machine.close())


@_opcode(0x71, price=100)
def _binput(machine: Machine) -> None:
    machine.memo[machine.take(1)[0]] = machine.stack[-1]


@_opcode(0x72, price=130)
def _long_binput(machine: Machine) -> None:
    machine.memo[int.from_bytes(machine.take(4), "little")] = machine.stack[-1]


@_opcode(0x94, price=100)
def _memoize(machine: Machine) -> None:
    machine.memo[len(machine.memo)] = machine.stack[-1]


@_opcode(0x68)
def _binget(machine: Machine) -> None:
    _recall(machine, machine.take(1)[0])


@_opcode(0x6A)
def _long_binget(machine: Machine) -> None:
    _recall(machine, int.from_bytes(machine.take(4), "little"))


@_opcode(0x63, price=200)
def _global(machine: Machine) -> None:
    module, name = _line(machine), _line(machine)
    machine.stack.append(machine.find(f"{module}.{name}"))


@_opcode(0x93, price=200)
def _stack_global(machine: Machine) -> None:
    name, module = machine.stack.pop(), machine.stack.pop()
    if type(module) is not str or type(name) is not str or len(module) + len(name) > MAX_LINE:
        raise PickleRefusedError("STACK_GLOBAL takes something that is not a module and a name")
    machine.stack.append(machine.find(f"{module}.{name}"))


@_opcode(0x51, price=250)
def _binpersid(machine: Machine) -> None:
    machine.stack[-1] = machine.persistent(machine.stack[-1])


@_opcode(0x52, price=250)
def _reduce(machine: Machine) -> None:
    args = machine.stack.pop()
    called = machine.stack[-1]
    if type(called) is not Global or called.call is None or type(args) is not tuple:
        raise PickleRefusedError(
            f"REDUCE calls {_shown(called)}, which is no function", hostile=True
        )
    result = called.call(args)
    machine.spend(getsizeof(result))
    machine.stack[-1] = result


@_opcode(0x81, price=250)
def _newobj(machine: Machine) -> None:
    args = machine.stack.pop()
    machine.stack[-1] = _instance(machine.stack[-1], args, None)


@_opcode(0x92, price=250)
def _newobj_ex(machine: Machine) -> None:
    named, args = machine.stack.pop(), machine.stack.pop()
    machine.stack[-1] = _instance(machine.stack[-1], args, named)


@_opcode(0x62)
def _build(machine: Machine) -> None:
    state = machine.stack.pop()
    target = machine.stack[-1]
    if type(target) is Record:
        target.state = state
    elif type(target) is not dict or type(state) is not dict:
        # An OrderedDict is read as a dict, and its attributes (torch's version notes) go.
        raise PickleRefusedError(f"BUILD changes {_shown(target)}", hostile=True)


def checked_keys(keys: list[Any]) -> list[Any]:
    """`keys` themselves, when all of them can be keys at a bounded cost.

    Numbers, texts, bytes and records can, and short tuples of texts: the hash of a nested tuple
    takes exponential time, and those of tuples of numbers can be made to collide.

    Raises:
        PickleRefusedError: another key.
    """
    for key in keys:
        kind = type(key)
        if kind is str or kind in _SIMPLE or (kind is int and -(2**63) <= key < 2**63):
            continue
        if kind is tuple and len(key) <= MAX_KEY and all(type(part) is str for part in key):
            continue
        raise PickleRefusedError(f"a {kind.__name__} of this kind cannot be a key")
    return keys


_SIMPLE = frozenset({bytes, bool, float, type(None), Record, Global})


def _extend(machine: Machine, items: list[Any]) -> None:
    target = machine.stack[-1]
    if type(target) is Record:
        target = target.items
    elif type(target) is not list:
        raise PickleRefusedError(f"elements are appended to {_shown(target)}")
    machine.spend(10 * len(items))
    target.extend(items)


def _fill(machine: Machine, items: list[Any]) -> None:
    target = machine.stack[-1]
    keys, values = items[::2], items[1::2]
    if len(keys) != len(values):
        raise PickleRefusedError("a key has no value")
    machine.spend(100 * len(keys))
    if type(target) is Record:
        target.items.extend(zip(keys, values, strict=True))
    elif type(target) is dict:
        target.update(zip(checked_keys(keys), values, strict=True))
    else:
        raise PickleRefusedError(f"values are set in {_shown(target)}")


def _recall(machine: Machine, slot: int) -> None:
    if slot not in machine.memo:
        raise PickleRefusedError(f"the memo has no entry {slot}")
    machine.stack.append(machine.memo[slot])


def _line(machine: Machine) -> str:
    machine.need(machine.at + MAX_LINE)
    stop = machine.data.find(b"\n", machine.at, machine.at + MAX_LINE)
    if stop < 0:
        raise PickleRefusedError(f"GLOBAL: no name ends within {MAX_LINE} bytes")
    line = machine.take(stop + 1 - machine.at)
    try:
        return line[:-1].decode("utf-8")
    except UnicodeDecodeError:
        raise PickleRefusedError("GLOBAL: a name is not UTF-8") from None


def _instance(made: Any, args: Any, named: Any) -> Record:
    if type(made) is not Global or not made.record or type(args) is not tuple:
        raise PickleRefusedError(f"NEWOBJ makes an object of {_shown(made)}", hostile=True)
    if named is not None and type(named) is not dict:
        raise PickleRefusedError("NEWOBJ_EX: expected named arguments")
    return Record(made.name, args, named or None)


def _shown(value: Any) -> str:
    return short(value.name) if type(value) is Global else f"a {type(value).__name__}"
