"""From a config and named tensors to a model: nothing copied that need not be, nothing unnamed."""

from __future__ import annotations

import dataclasses
import re
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace

import torch
from torch import nn

from tfcli.models.config import ModelConfig
from tfcli.models.errors import ModelError
from tfcli.models.initialization import random_values
from tfcli.models.model import Model
from tfcli.models.registry import get_family
from tfcli.models.rules import Place, current_name, place_of, stacked

_FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)


@dataclasses.dataclass
class LoadAccount:
    """What became of every tensor.

    Args:
        loaded: names in the model that were filled from the checkpoint.
        tied: name in the model -> the name that it shares.
        skipped: name in the checkpoint -> why it is not needed.
        initialized: names in the model that were given new random values on request.
        computed: names of buffers that the checkpoint leaves out and the config gives.
        cast: name in the model -> the dtype it had in the checkpoint, where that was changed.
    """

    loaded: list[str] = dataclasses.field(default_factory=list)
    tied: dict[str, str] = dataclasses.field(default_factory=dict)
    skipped: dict[str, str] = dataclasses.field(default_factory=dict)
    initialized: list[str] = dataclasses.field(default_factory=list)
    computed: list[str] = dataclasses.field(default_factory=list)
    cast: dict[str, torch.dtype] = dataclasses.field(default_factory=dict)


def build(config: ModelConfig, task: str | None = None, *, attention: str = "sdpa") -> Model:
    """Make a model on the meta device: shapes without memory.

    Args:
        config: the family's config. With `quantization`, the linears that it names are quantized
            layers.
        task: such as `causal-lm`; None takes the one that the checkpoint was saved for.
        attention: name of the attention backend.

    Raises:
        ModelError: the family has no such task, or the backend is not there.
    """
    family = get_family(config.model_type)
    task = family.task_of(config.architectures) if task is None else task
    model_class = family.model_class(task)
    with torch.device("meta"):
        model = model_class(config, attention)
        if config.quantization is not None:
            from tfcli.models.quantized import swap_quantized

            swap_quantized(model, config.quantization)
    return model


def load_weights(
    model: Model,
    source: Mapping[str, torch.Tensor],
    *,
    dtype: torch.dtype | None = None,
    device: torch.device | str = "cpu",
    new_head: bool = False,
    seed: int = 0,
) -> LoadAccount:
    """Put the tensors of a checkpoint in place. Tensors of the right dtype are not copied.

    Args:
        model: from `build`.
        source: names as in the checkpoint; read once each, in its order.
        dtype: of the parameters; None keeps the checkpoint's, and where parameters differ, gives
            all of them the one that most bytes have.
        device: where the model goes.
        new_head: give the task's head new random values where the checkpoint lacks it.
        seed: of these values.

    Returns:
        what became of every tensor

    Raises:
        ModelError: a tensor is missing, not expected, of the wrong shape or dtype, or a tied pair
            differs. Every such tensor is named.
    """
    account = LoadAccount()
    expected = model.state_dict(keep_vars=True)
    plan = match_names(model, source, expected, account)
    defaults = _defaults(model, plan)
    given = {*plan, *account.tied, *defaults}
    missing = [name for name in expected if name not in given]
    fresh = [name for name in missing if new_head and model.may_be_new(name)]
    missing = [name for name in missing if name not in fresh]
    if missing:
        head_alone = all(model.may_be_new(name) for name in missing)
        raise ModelError(
            f"the checkpoint lacks {_some(missing)}",
            where=type(model).__name__,
            fix=f"ask for a new {model.task} head, and train it"
            if head_alone
            else "check that the config belongs to these weights",
        )
    _check_ties(model, source, plan, account)
    _fill(model, source, plan, expected, account, dtype, device)
    model.tie_weights()
    if dtype is None:
        dtype = _one_dtype(model, account)
    for name in fresh:
        _assign(model, name, random_values(model, name, seed).to(device, dtype))
        account.initialized.append(name)
    for name, value in defaults.items():
        _assign(model, name, value.to(device))
        account.computed.append(name)
    _require_filled(model)
    if model.config.quantization is not None:
        from tfcli.models.quantized import verify_quantized

        verify_quantized(model)
    return account


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
        dtype: of the parameters.
        device: where the model goes.

    Returns:
        the same model
    """
    with torch.no_grad():
        for name, _ in list(model.named_parameters()):
            _assign(model, name, random_values(model, name, seed).to(device, dtype))
    for name, value in {**_first_buffers(model), **_defaults(model)}.items():
        _assign(model, name, value.to(device))
    model.tie_weights()
    _require_filled(model)
    return model


def match_names(
    model: Model,
    source: Iterable[str],
    expected: Mapping[str, torch.Tensor],
    account: LoadAccount,
) -> dict[str, Place]:
    """Model name -> where this checkpoint keeps it, in the checkpoint's order.

    Fills in tied and skipped. Where nothing of the model's own head is there, another task's head
    is skipped too.
    """
    stored = _current_names(model, source)
    plan: dict[str, Place] = {}
    used: set[str] = set()
    prefix = f"{model.base()}."
    for name in expected:
        place = place_of(model.rules(), name)
        candidates = dict.fromkeys((place.name, place.name.removeprefix(prefix)))
        found = [spelt for spelt in candidates if spelt in stored]
        if len(found) > 1:
            raise _twice(model, found[0], stored[found[0]], stored[found[1]])
        if found:
            plan[name] = replace(place, name=stored[found[0]])
            used.add(found[0])
    ties = model.active_ties()
    head = [name for name in expected if not name.startswith(prefix) and name not in ties]
    headless = model.headless or (bool(head) and not any(name in plan for name in head))
    another_head = headless and any(name.startswith(prefix) for name in stored)
    unexpected = []
    for name, spelt in stored.items():
        if name in used:
            continue
        reason = _not_needed(model, name, another_head=another_head)
        if reason is None:
            unexpected.append(spelt)
        else:
            account.skipped[spelt] = reason
    if unexpected:
        raise ModelError(
            f"the checkpoint holds {_some(unexpected)}, which the model has no place for",
            where=type(model).__name__,
            fix="check model_type and the task",
        )
    for name, origin in ties.items():
        if name in plan and origin not in plan:
            plan[origin] = plan.pop(name)
        if origin in plan:
            account.tied[name] = origin
    order = {name: position for position, name in enumerate(stored.values())}
    return dict(sorted(plan.items(), key=lambda item: order[item[1].name]))


def _first_buffers(model: Model) -> dict[str, torch.Tensor]:
    """Values of the buffers of a new model that training moves, by their names in the model."""
    found = {}
    for name, buffer in model.named_buffers():
        value = model.body.initial(name.removeprefix(f"{model.base()}."), buffer.shape)
        if value is not None:
            found[name] = value
    return found


def _defaults(model: Model, stored: Collection[str] = ()) -> dict[str, torch.Tensor]:
    """Values of the buffers that need not be stored, by their names in the model."""
    names = [name for name, _ in model.named_buffers() if name not in stored]
    found = {name: model.default(name) for name in names}
    return {name: value for name, value in found.items() if value is not None}


def _current_names(model: Model, source: Iterable[str]) -> dict[str, str]:
    """Today's spelling of every name of a checkpoint -> the checkpoint's own."""
    stored: dict[str, str] = {}
    for spelt in source:
        name = current_name(model.rules(), spelt)
        if name in stored:
            raise _twice(model, name, stored[name], spelt)
        stored[name] = spelt
    return stored


def _twice(model: Model, name: str, first: str, second: str) -> ModelError:
    return ModelError(
        f"the checkpoint holds {name} twice, as {first} and as {second}",
        where=type(model).__name__,
        fix="remove one of them",
    )


def _not_needed(model: Model, name: str, *, another_head: bool) -> str | None:
    """Why a tensor that no parameter wants may be left out; None if it may not."""
    for pattern, why in model.ignorable().items():
        if re.search(pattern, name):
            return why
    inner = name.removeprefix(f"{model.base()}.")
    if model.body_class.optional and inner.startswith(model.body_class.optional):
        return f"{model.task} does not use it"
    return "part of another task's head" if another_head and inner == name else None


def _fill(
    model: Model,
    source: Mapping[str, torch.Tensor],
    plan: Mapping[str, Place],
    expected: Mapping[str, torch.Tensor],
    account: LoadAccount,
    dtype: torch.dtype | None,
    device: torch.device | str,
) -> None:
    """Put every tensor of the plan in place; name all that do not fit."""
    wrong = []
    stacks = {name: len(parts) for name, parts in stacked(plan).items()}
    for name, place in plan.items():
        stored = source[place.name]
        if place.index is not None and stored.shape[0] != stacks[place.name]:
            wrong.append(f"{place.name} stacks {stored.shape[0]}, not {stacks[place.name]}")
            continue
        tensor = place.read(stored)
        problem = _mismatch(expected[name], tensor)
        if problem:
            wrong.append(f"{place.name} {problem}")
            continue
        target = dtype if dtype is not None and isinstance(expected[name], nn.Parameter) else None
        _assign(model, name, _placed(name, tensor, target, device, account))
        account.loaded.append(name)
    if wrong:
        raise ModelError(
            f"the checkpoint does not fit the config: {_some(wrong, '; ')}",
            where=type(model).__name__,
            fix="check that the config belongs to these weights",
        )


def _check_ties(
    model: Model, source: Mapping[str, torch.Tensor], plan: dict[str, Place], account: LoadAccount
) -> None:
    """Drop the second of two equal tied tensors from the plan; refuse two that differ.

    Where the family's configs do not say which is meant, two that differ are kept apart.
    """
    for name, origin in list(account.tied.items()):
        if name not in plan:
            continue
        place, kept = plan[name], plan[origin]
        first, second = kept.read(source[kept.name]), place.read(source[place.name])
        if first.dtype == second.dtype and torch.equal(first, second):
            del plan[name]
        elif model.may_untie(name):
            model.untie()
            del account.tied[name]
        else:
            raise ModelError(
                f"{place.name} and {kept.name} differ, but the config ties them",
                where=type(model).__name__,
                fix="set tie_word_embeddings: false in config.json",
            )


def _mismatch(slot: torch.Tensor, tensor: torch.Tensor) -> str | None:
    """What keeps a tensor from filling a slot of the model, or None."""
    if tensor.shape != slot.shape:
        return f"has shape {list(tensor.shape)}, the config asks for {list(slot.shape)}"
    if slot.dtype in _FLOATS:
        fits = tensor.dtype in _FLOATS
    else:
        fits = tensor.dtype == slot.dtype
    if fits:
        return None
    wanted = "a float dtype" if slot.dtype in _FLOATS else str(slot.dtype).removeprefix("torch.")
    return f"is {str(tensor.dtype).removeprefix('torch.')}, the model needs {wanted}"


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


def _one_dtype(model: Model, account: LoadAccount) -> torch.dtype:
    """Give all parameters the dtype that most of their bytes have, so that they can be mixed."""
    held: Counter[torch.dtype] = Counter()
    for parameter in model.parameters():
        if not parameter.is_meta:
            held[parameter.dtype] += parameter.nbytes
    if not held:
        return torch.float32
    dtype = held.most_common(1)[0][0]
    for name, parameter in list(model.named_parameters()):
        if parameter.dtype != dtype and not parameter.is_meta:
            account.cast[name] = parameter.dtype
            _assign(model, name, parameter.detach().to(dtype))
    model.tie_weights()
    return dtype


def _assign(model: nn.Module, name: str, tensor: torch.Tensor) -> None:
    path, _, leaf = name.rpartition(".")
    module = model.get_submodule(path)
    slot = getattr(module, leaf)
    if isinstance(slot, nn.Parameter):
        tensor = nn.Parameter(tensor, requires_grad=slot.requires_grad)
    setattr(module, leaf, tensor)


def _require_filled(model: nn.Module) -> None:
    empty = [name for name, tensor in model.named_buffers() if tensor.is_meta]
    empty += [name for name, tensor in model.named_parameters() if tensor.is_meta]
    if empty:
        raise ModelError(f"no values for {_some(empty)}", where=type(model).__name__)


def _some(names: list[str], separator: str = ", ") -> str:
    """The first names and how many more there are."""
    shown = separator.join(names[:8])
    return f"{shown} and {len(names) - 8} more" if len(names) > 8 else shown
