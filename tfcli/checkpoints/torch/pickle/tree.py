"""From the object in a pickled checkpoint to tensors by name.

The rule, in three steps:

1. Wrapping is taken off. A dictionary whose weights are all under one of the keys `state_dict`,
   `model_state_dict`, `module` and `model` stands for what is under that key; this repeats. Beside
   it there may be tensors of the training's state, such as an optimizer's, which are left out;
   with any other tensor beside it the dictionary is taken whole.
2. What remains is flattened: nested dictionaries, lists and tuples join their keys and positions
   with dots, so that `{"encoder": {"weight": w}}` and `{"encoder.weight": w}` mean the same. A
   file of one bare tensor names it `tensor`.
3. What is no tensor is left out. All that is left out is kept by name, as plain data, in `extras`.

A pickle can mention one object many times, so that a small file unfolds into an endless tree.
Everything here therefore looks at an object once, or counts what it unfolds.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from typing import Any

from tfcli.checkpoints.strict_json import short
from tfcli.checkpoints.torch.pickle.values import PickleRefusedError, Record, StoredTensor

WRAPPERS = ("state_dict", "model_state_dict", "module", "model")
# How the names of a training's state begin, in what Megatron, DeepSpeed, Lightning and others save.
TRAINING = (
    "amp",
    "callbacks",
    "cuda",
    "ema",
    "frozen_param",
    "grad",
    "loops",
    "lr_",
    "metrics",
    "model_ema",
    "np_",
    "optim",
    "random",
    "rng",
    "scaler",
    "scheduler",
    "torch_",
)
MAX_DEPTH = 100
_MAX_PLACES = 400_000  # that flattening may visit
_MAX_NAMES = 32_000_000  # characters of all names together


def name_tensors(content: Any) -> tuple[dict[str, StoredTensor], dict[str, Any]]:
    """The tensors of a checkpoint by name, and by name what is no tensor of it.

    Raises:
        PickleRefusedError: objects that contain themselves or nest too deep, two tensors of one
            name, a key that is no name, or more places than a checkpoint has.
    """
    if type(content) is StoredTensor:
        return {"tensor": content}, {}
    holding = _holding(content)
    extras: dict[str, Any] = {}
    content = _unwrap(content, holding, extras)
    tensors: dict[str, StoredTensor] = {}
    if id(content) not in holding:
        extras[""] = content
        return tensors, extras
    characters = 0
    # The order of the file is kept: what comes first lies on top of the stack.
    waiting = [("", content)]
    for _ in range(_MAX_PLACES):
        if not waiting:
            return tensors, extras
        name, value = waiting.pop()
        if type(value) is not StoredTensor and id(value) in holding:
            places = [(_joined(name, key), part) for key, part in _parts(value, holding)]
            characters += sum(len(place) for place, _ in places)
            if characters > _MAX_NAMES:
                break
            waiting.extend(reversed(places))
        elif name in tensors or name in extras:
            raise PickleRefusedError(f"the name {short(name)} stands twice")
        elif type(value) is StoredTensor:
            tensors[name] = value
        else:
            extras[name] = value
    raise PickleRefusedError("the nested containers unfold into more names than a checkpoint has")


def describe(value: Any) -> str:
    """What an extra is, in a few words: `3`, `'adam'`, `argparse.Namespace`, `dict of 5`."""
    if value is None or type(value) in (bool, int, float, complex, str):
        return short(value) if type(value) is str else short(str(value)).strip("'")
    if type(value) is Record:
        return value.kind
    if isinstance(value, dict | list | tuple | set | frozenset | bytes):
        return f"{type(value).__name__} of {len(value)}"
    return repr(value) if type(value) is StoredTensor else type(value).__name__


class _Done:
    """Marks, in the list of what waits, that everything inside of a container has been seen."""

    __slots__ = ("value",)

    def __init__(self, value: Any) -> None:
        self.value = value


def _holding(root: Any) -> set[int]:
    """The ids of the containers that hold a tensor, directly or further in.

    Records are looked into for their depth, but no weights are expected in them.
    """
    holding: set[int] = set()
    depths: dict[int, int] = {}  # 0 while the inside is being looked at
    waiting: list[Any] = [root]
    while waiting:
        value = waiting.pop()
        if type(value) is _Done:
            value = value.value
            depth = 1 + max((depths.get(id(part), 0) for part in _inner(value)), default=0)
            depths[id(value)] = depth
            if type(value) is not Record and any(
                type(part) is StoredTensor or id(part) in holding for part in _inner(value)
            ):
                holding.add(id(value))
        elif id(value) not in depths:
            depths[id(value)] = depth = 0
            waiting.append(_Done(value))
            waiting.extend({id(part): part for part in _inner(value) if _nests(part)}.values())
        elif depths[id(value)] == 0:
            raise PickleRefusedError("an object contains itself")
        else:
            continue
        if depth > MAX_DEPTH:
            raise PickleRefusedError(f"objects are nested more than {MAX_DEPTH} deep")
    return holding


def _nests(value: Any) -> bool:
    return isinstance(value, dict | list | tuple | set | frozenset | Record)


def _inner(value: Any) -> Iterable[Any]:
    """What is directly inside of a container; nothing for anything else."""
    if type(value) is dict:
        return itertools.chain(value.values(), value)
    if type(value) is Record:
        return (*value.args, value.state, *value.items)
    return value if _nests(value) else ()


def _unwrap(content: Any, holding: set[int], extras: dict[str, Any]) -> Any:
    name = ""
    while type(content) is dict:
        keys = [
            key
            for key, value in content.items()
            if (type(value) is StoredTensor or id(value) in holding)
            and not (type(key) is str and key.startswith(TRAINING))
        ]
        if len(keys) != 1 or keys[0] not in WRAPPERS or type(content[keys[0]]) is not dict:
            break
        for key, value in content.items():
            if key != keys[0]:
                extras[_joined(name, _word(key))] = value
        name = _joined(name, keys[0])
        content = content[keys[0]]
    return content


def _parts(value: Any, holding: set[int]) -> Iterator[tuple[str, Any]]:
    if type(value) is not dict:
        yield from ((str(number), part) for number, part in enumerate(value))
        return
    for key, part in value.items():
        if type(key) not in (str, int) and (type(part) is StoredTensor or id(part) in holding):
            raise PickleRefusedError(f"a tensor has a {type(key).__name__} for a name")
        yield _word(key), part


def _word(key: Any) -> str:
    return key if type(key) is str else describe(key)


def _joined(name: str, key: str) -> str:
    return f"{name}.{key}" if name else key
