"""From a config and named tensors to a model: nothing copied that need not be, nothing unnamed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch
from torch import nn
from torch.nn.modules.module import register_module_parameter_registration_hook

from tfcli.models.attention_heads import prune_as_declared
from tfcli.models.config import BaseConfig
from tfcli.models.config_values import WHERE
from tfcli.models.errors import ModelError, TooLargeError
from tfcli.models.initialization import random_values
from tfcli.models.layouts.packing import takes_shape
from tfcli.models.matching import LoadAccount, check_ties, match_names, some
from tfcli.models.model import Model
from tfcli.models.parts import owner_of
from tfcli.models.registry import get_family
from tfcli.models.rules import Place, stacked
from tfcli.models.sharding import (
    Unread,
    fitted,
    is_spread,
    part_of,
    read_part,
    spread_like,
)

if TYPE_CHECKING:
    from tfcli.models.quantized import PackedFilled

_LARGE = 1 << 26
"""Bytes of a module above which it is filled before the others, where modules are replaced."""

_FEW = 1_000  # parameters: as many are made in a tenth of a second
_FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)


def build(
    config: BaseConfig,
    task: str | None = None,
    *,
    attention: str = "sdpa",
    at_most: int | None = None,
) -> Model:
    """Make a model on the meta device: shapes without memory.

    Args:
        config: the family's config. With `quantization`, the linears that it names are quantized
            layers.
        task: such as `causal-lm`; None takes the one that the checkpoint was saved for.
        attention: name of the attention backend.
        at_most: how many values the parameters may have; modules take time to make, so that a
            config of many more than there are in the files is refused meanwhile.

    Raises:
        TooLargeError: more values than `at_most`.
        ModelError: the family has no such task, the backend is not there, or the config asks for
            a tensor of more values than can be counted.
    """
    family = get_family(config.model_type)
    task = family.task_of(config.architectures) if task is None else task
    model_class = family.model_class(task)
    with torch.device("meta"), _counted(at_most):
        model = model_class(config, attention)
        prune_as_declared(model)
        if config.quantization is not None:
            from tfcli.models.quantized import swap_quantized

            swap_quantized(model, config.quantization)
    return model


@contextmanager
def _counted(at_most: int | None) -> Iterator[None]:
    """Within the block, refuse parameters that are many and have more than so many values.

    A few are made in no time, whatever their sizes, and a wrong one is named when it is filled.
    """
    total = parameters = 0

    def count(module: nn.Module, name: str, parameter: nn.Parameter | None) -> None:
        nonlocal total, parameters
        parameters += 1
        total += 0 if parameter is None else parameter.numel()
        if at_most is not None and total > at_most and parameters > _FEW:
            raise TooLargeError(
                f"the config asks for more than {at_most:,} values, which are not in the weights",
                where=WHERE,
                fix="check that the config belongs to these weights",
            )

    hook = register_module_parameter_registration_hook(count)
    try:
        yield
    except RuntimeError as error:
        if "overflow" not in str(error):
            raise
        raise ModelError(
            "the config asks for a tensor of more values than can be counted",
            where=WHERE,
            fix="make its sizes smaller",
        ) from error
    finally:
        hook.remove()


def load_weights(
    model: Model,
    source: Mapping[str, torch.Tensor],
    *,
    dtype: torch.dtype | None = None,
    device: torch.device | str = "cpu",
    new_head: bool = False,
    seed: int = 0,
    filled: Callable[[str], None] | None = None,
) -> LoadAccount:
    """Put the tensors of a checkpoint in place. Tensors of the right dtype are not copied.

    Where the model is spread over processes, each fills what it holds; see `sharding`.

    Args:
        model: from `build`.
        source: names as in the checkpoint; read once each, in its order, and only in part where it
            can (`PartlyRead`) and a process holds no more.
        dtype: of the parameters; None keeps the checkpoint's, and where parameters differ, gives
            all of them the one that most bytes have. In a type of 16 bits, those that the family
            keeps in fp32 are in fp32; see `Family.cast_to`.
        device: where the model goes.
        new_head: give the task's head new random values where the checkpoint lacks it.
        seed: of these values.
        filled: called with the name of each packed linear that is whole, before more is read, so
            that another module may take its place. Large ones come first then: two forms of one
            are in memory while there is little else.

    Returns:
        what became of every tensor

    Raises:
        ModelError: a tensor is missing, not expected, of the wrong shape or dtype, or a tied pair
            differs. Every such tensor is named.
    """
    account = LoadAccount()
    if model.config.quantization is not None:
        from tfcli.models.quantized import give_back_dense

        give_back_dense(model, source)
    expected = model.state_dict(keep_vars=True)
    plan = match_names(model, source, expected, account)
    defaults = _defaults(model, plan)
    packed = None
    if model.config.quantization is not None:
        from tfcli.models.quantized import PackedFilled, left_out

        defaults |= left_out(model, plan)
        packed = PackedFilled(model, plan, filled)
    given = {*plan, *account.tied, *defaults}
    missing = [name for name in expected if name not in given]
    fresh = [name for name in missing if new_head and model.may_be_new(name)]
    missing = [name for name in missing if name not in fresh]
    if missing:
        head_alone = all(model.may_be_new(name) for name in missing)
        raise ModelError(
            f"the checkpoint lacks {some(missing)}",
            where=type(model).__name__,
            fix=f"ask for a new {model.task} head, and train it"
            if head_alone
            else "check that the config belongs to these weights",
        )
    check_ties(model, source, plan, account)
    for name, value in defaults.items():
        _assign(model, name, value.to(device))
        account.computed.append(name)
    if filled is not None:
        plan = _large_first(plan, expected)
    _fill(model, source, plan, expected, account, dtype, device, packed)
    model.tie_weights()
    if dtype is None:
        dtype = _one_dtype(model, account)
    for name in fresh:
        _assign(
            model, name, random_values(model, name, seed).to(device, _cast_to(model, name, dtype))
        )
        account.initialized.append(name)
    _require_filled(model)
    return account


def _large_first(
    plan: Mapping[str, Place], expected: Mapping[str, torch.Tensor]
) -> dict[str, Place]:
    """The plan with the tensors of large modules before the others; those of one stay together."""
    sizes: Counter[str] = Counter()
    for name in plan:
        sizes[name.rpartition(".")[0]] += expected[name].nbytes
    large = {path: size for path, size in sizes.items() if size >= _LARGE}
    return dict(sorted(plan.items(), key=lambda item: -large.get(item[0].rpartition(".")[0], 0)))


def load_part(
    model: Model,
    source: Mapping[str, torch.Tensor],
    names: Collection[str],
    places: Mapping[str, Place],
    dtype: torch.dtype | None,
    device: torch.device | str,
) -> None:
    """Put some tensors of a model in place, and leave the others on the meta device.

    Args:
        model: from `build`.
        source: names as in the checkpoint.
        names: parameters and buffers of the model.
        places: where the checkpoint keeps them; of a stack, all that is in it. Of buffers that are
            not stored, the values follow from the config.
        dtype: of the parameters; None keeps the checkpoint's.
        device: where they go.

    Raises:
        ModelError: a tensor does not fit the config, or there is nothing that gives its values.
    """
    account = LoadAccount()
    expected = {name: _tensor(model, name) for name in names}
    _fill(model, source, places, expected, account, dtype, device)
    for name in names:
        if name in places:
            continue
        value = model.default(name)
        if value is None:
            raise ModelError(f"no values for {name}", where=type(model).__name__)
        _assign(model, name, value.to(device))


def initialize(
    model: Model,
    seed: int = 0,
    *,
    dtype: torch.dtype = torch.float32,
    device: torch.device | str = "cpu",
) -> Model:
    """Give every parameter new random values, as transformers does for the family.

    Matrices are normal with the config's initializer_range, biases 0, norms 1. A parameter's
    values follow from the seed and its name alone, on every device.

    Args:
        model: from `build`.
        seed: equal seeds give equal weights.
        dtype: of the parameters, but those that the family keeps in fp32.
        device: where the model goes.

    Returns:
        the same model
    """
    with torch.no_grad():
        for name, _ in list(model.named_parameters()):
            values = random_values(model, name, seed)
            _assign(model, name, values.to(device, _cast_to(model, name, dtype)))
    for name, value in {**_first_buffers(model), **_defaults(model)}.items():
        _assign(model, name, value.to(device))
    model.tie_weights()
    _require_filled(model)
    return model


def _first_buffers(model: Model) -> dict[str, torch.Tensor]:
    """Values of the buffers of a new model that training moves, by their names in the model."""
    found = {}
    for name, buffer in model.named_buffers():
        body, inner = owner_of(model.body, name.removeprefix(f"{model.base()}."))
        value = body.initial(inner, buffer.shape)
        if value is not None:
            found[name] = value
    return found


def _defaults(model: Model, stored: Collection[str] = ()) -> dict[str, torch.Tensor]:
    """Values of the buffers that need not be stored, by their names in the model."""
    names = [name for name, _ in model.named_buffers() if name not in stored]
    found = {name: model.default(name) for name in names}
    return {name: value for name, value in found.items() if value is not None}


def _fill(
    model: Model,
    source: Mapping[str, torch.Tensor],
    plan: Mapping[str, Place],
    expected: Mapping[str, torch.Tensor],
    account: LoadAccount,
    dtype: torch.dtype | None,
    device: torch.device | str,
    packed: PackedFilled | None = None,
) -> None:
    """Put every tensor of the plan in place; name all that do not fit."""
    wrong = []
    stacks = {name: len(parts) for name, parts in stacked(plan).items()}
    left = Counter(place.name for place in plan.values())
    held: dict[str, torch.Tensor] = {}  # stacks, read once for all that are in them
    for name, place in plan.items():
        slot = expected[name]
        stored: torch.Tensor | Unread | None = _unread(source, place.name, slot)
        if stored is None:
            stored = held.pop(place.name) if place.name in held else source[place.name]
        left[place.name] -= 1
        if left[place.name] and isinstance(stored, torch.Tensor):
            held[place.name] = stored
        if place.index is not None and stored.shape[0] != stacks[place.name]:
            wrong.append(f"{place.name} stacks {stored.shape[0]}, not {stacks[place.name]}")
            continue
        problem = _mismatch(slot, place.shape(stored.shape), stored.dtype)
        if problem:
            wrong.append(f"{place.name} {problem}")
            continue
        target = None
        if dtype is not None and isinstance(slot, nn.Parameter) and slot.is_floating_point():
            target = _cast_to(model, name, dtype)
        if isinstance(stored, torch.Tensor):
            tensor = _placed(name, place.read(stored), target, device, account)
        else:
            assert is_spread(slot), "only then are parts read"
            part = read_part(stored, place, part_of(slot))
            tensor = spread_like(slot, _placed(name, part, target, device, account))
        _assign(model, name, tensor)
        account.loaded.append(name)
        if packed is not None:
            del stored, tensor  # nothing but the model holds them when it is replaced
            packed.has(name)
    if wrong:
        raise ModelError(
            f"the checkpoint does not fit the config: {some(wrong, '; ')}",
            where=type(model).__name__,
            fix="check that the config belongs to these weights",
        )


def _unread(source: object, name: str, slot: torch.Tensor) -> Unread | None:
    """A stored tensor of which only this process's part is to be read."""
    unread = getattr(source, "unread", None)
    return unread(name) if unread is not None and is_spread(slot) else None


def _mismatch(slot: torch.Tensor, shape: tuple[int, ...], dtype: torch.dtype) -> str | None:
    """What keeps a tensor from filling a slot of the model, or None."""
    is_buffer = not isinstance(slot, nn.Parameter)
    if shape != slot.shape and not (is_buffer and takes_shape(tuple(slot.shape), shape)):
        return f"has shape {list(shape)}, the config asks for {list(slot.shape)}"
    if slot.dtype in _FLOATS:
        fits = dtype in _FLOATS
    else:
        fits = dtype == slot.dtype
    if fits:
        return None
    wanted = "a float dtype" if slot.dtype in _FLOATS else str(slot.dtype).removeprefix("torch.")
    return f"is {str(dtype).removeprefix('torch.')}, the model needs {wanted}"


def _placed(
    name: str,
    tensor: torch.Tensor,
    dtype: torch.dtype | None,
    device: torch.device | str,
    account: LoadAccount,
) -> torch.Tensor:
    if dtype is not None and tensor.dtype != dtype:
        account.cast[name] = tensor.dtype
        # While it is copied anyway, a transposed view becomes an ordinary tensor.
        tensor = tensor.to(dtype, memory_format=torch.contiguous_format)
    return tensor.to(device)


def _cast_to(model: Model, name: str, dtype: torch.dtype) -> torch.dtype:
    """The type that a parameter has in a model of the type `dtype`."""
    family = get_family(model.config.model_type)
    wanted: torch.dtype = getattr(torch, family.cast_to(name, str(dtype).removeprefix("torch.")))
    return wanted


def _one_dtype(model: Model, account: LoadAccount) -> torch.dtype:
    """Give all parameters the dtype that most of their bytes have, so that they can be mixed.

    Those that are fp32 among halves in any case are not asked.
    """
    held: Counter[torch.dtype] = Counter()
    for name, parameter in model.named_parameters():
        if parameter.is_meta or not parameter.is_floating_point():
            continue
        if _cast_to(model, name, torch.float16) == torch.float16:
            held[parameter.dtype] += parameter.nbytes
    if not held:
        return torch.float32
    dtype = held.most_common(1)[0][0]
    for name, parameter in list(model.named_parameters()):
        wanted = _cast_to(model, name, dtype)
        if parameter.is_floating_point() and parameter.dtype != wanted and not parameter.is_meta:
            account.cast[name] = parameter.dtype
            _assign(model, name, parameter.detach().to(wanted))
    model.tie_weights()
    return dtype


def _tensor(model: nn.Module, name: str) -> torch.Tensor:
    path, _, leaf = name.rpartition(".")
    found: torch.Tensor = getattr(model.get_submodule(path), leaf)
    return found


def _assign(model: nn.Module, name: str, tensor: torch.Tensor) -> None:
    path, _, leaf = name.rpartition(".")
    module = model.get_submodule(path)
    setattr(module, leaf, fitted(getattr(module, leaf), tensor))


def _require_filled(model: nn.Module) -> None:
    empty = [name for name, tensor in model.named_buffers() if tensor.is_meta]
    empty += [name for name, tensor in model.named_parameters() if tensor.is_meta]
    if empty:
        raise ModelError(f"no values for {some(empty)}", where=type(model).__name__)
