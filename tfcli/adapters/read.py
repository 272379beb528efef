"""Reading an adapter, whichever tool wrote it, onto a model; every tensor is accounted for."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

from tfcli.adapters.prompts import is_prompt, read_prompt
from tfcli.checkpoints.strict_json import short
from tfcli.errors import ModelError, UsageError, WorkError
from tfcli.merge.adapter import Adapter, open_adapter
from tfcli.models.adapters.attach import DEFAULT, attach, shared_targets
from tfcli.models.adapters.bases import is_linear, sizes_of, takes_adapter
from tfcli.models.adapters.change import Change
from tfcli.models.adapters.ia3 import Ia3
from tfcli.models.adapters.lora import Lora, LoraEmbedding, LoraLinear
from tfcli.models.adapters.walk import hub_name, plain_modules
from tfcli.models.model import Model
from tfcli.models.rules import place_of

_TEXT = "language_model"


def read_adapter(model: Model, folder: Path, name: str = DEFAULT) -> list[str]:
    """Put an adapter from a folder on a model, and make it the active one.

    Args:
        model: the adapter's base, loaded.
        folder: of PEFT or MLX.
        name: that no adapter on the model has.

    Returns:
        the names of the modules that it changes, and of those that it has whole

    Raises:
        UsageError: no adapter, or one in a pickle.
        WorkError: broken files, or a tensor that belongs to nothing in the model.
    """
    if is_prompt(folder):
        return read_prompt(model, folder, name)
    adapter = open_adapter(str(folder))
    pickled = [path for path in adapter.files if path.suffix != ".safetensors"]
    if pickled:
        raise UsageError(
            f"{pickled[0].name} is a pickle, and adapters are run from safetensors files",
            where=str(folder),
            fix="save it again with PEFT's save_pretrained, or work it into its base: "
            "tfcli merge BASE ADAPTER OUTPUT",
        )
    if adapter.method == "full":
        raise UsageError(
            "it holds whole tensors alone, which take the places of the base's",
            where=str(folder),
            fix="put them there: tfcli merge BASE ADAPTER OUTPUT",
        )
    if adapter.unknown:
        raise WorkError(
            f"{short(adapter.unknown[0])} is no tensor of LoRA, DoRA, AdaLoRA or IA3",
            where=str(adapter.files[0]),
        )
    modules = dict(plain_modules(model))
    spelt = _spellings(model, list(modules))
    changes: dict[str, Change] = {}
    for module, roles in adapter.modules.items():
        path = spelt.get(module)
        if path is None or not takes_adapter(modules[path]):
            what = "no module" if path is None else "no linear and no table"
            raise _stray(adapter, next(iter(roles.values())), f"the model has {what} {module}")
        if path in changes:
            raise _stray(adapter, next(iter(roles.values())), f"{path} is changed by two of it")
        changes[path] = _change(adapter, module, modules[path])
    saved, in_place = _whole(model, adapter, modules, spelt)
    whole = sorted({path for path, _ in saved})
    _require_own(model, adapter, [*changes, *whole])
    try:
        copies = attach(model, name, changes, whole)
    except ModelError as error:
        raise WorkError(error.what, where=f"{folder}: {error.where}", fix=error.fix) from error
    with torch.no_grad():
        for (path, leaf), stored in saved.items():
            place = model.place_of(f"{path}.{leaf}")
            _copy(adapter, stored, _tensor(copies[path], leaf), place.transposed)
        for parameter, stored in in_place.items():
            path, _, leaf = parameter.rpartition(".")
            transposed = model.place_of(parameter).transposed
            _copy(adapter, stored, _tensor(modules[path], leaf), transposed)
    for each in model.parameters():
        each.requires_grad_(False)
    return [*changes, *copies]


def _require_own(model: Model, adapter: Adapter, paths: list[str]) -> None:
    """Refuse an adapter that was trained as a change of two tied modules at once."""
    shared = shared_targets(model, paths) if adapter.keeps_ties else {}
    for path, other in shared.items():
        raise UsageError(
            f"it was trained as a change of {path} and of {other}, which share a weight",
            where=str(adapter.folder),
            fix="work it into its base: tfcli merge BASE ADAPTER OUTPUT",
        )


def _change(adapter: Adapter, module: str, base: nn.Module) -> Change:
    """What an adapter does to one module, with its values."""
    roles = adapter.modules[module]
    found = {role: adapter.tensor(module, role) for role in roles}
    tensors = {role: each.float() for role, each in found.items() if each is not None}
    inputs, outputs = sizes_of(base)
    made: Change
    if roles.keys() == {"ia3"}:
        factors = tensors["ia3"]
        feedforward = factors.shape[0] == 1 and inputs != 1
        made = Ia3(base, feedforward=feedforward)
        values: dict[str, Tensor | None] = {"ia3": made.ia3_l}
    else:
        a, b = ("a", "b") if is_linear(base) else ("embedding_a", "embedding_b")
        if not {a, b} <= roles.keys() <= {a, b, "values", "magnitude", "bias"}:
            raise _stray(adapter, next(iter(roles.values())), f"{module} has not both factors")
        made, values = _lora(adapter, module, base, tensors, (a, b), inputs, outputs)
    with torch.no_grad():
        for role, slot in values.items():
            assert slot is not None
            if slot.shape != tensors[role].shape:
                raise _stray(
                    adapter,
                    roles[role],
                    f"it is {list(tensors[role].shape)}, and {module} needs {list(slot.shape)}",
                )
            slot.copy_(tensors[role])
    return made


def _lora(
    adapter: Adapter,
    module: str,
    base: nn.Module,
    tensors: dict[str, Tensor],
    factors: tuple[str, str],
    inputs: int,
    outputs: int,
) -> tuple[Lora, dict[str, Tensor | None]]:
    """LoRA without values, and its tensors by their roles."""
    a, b = factors
    rank = tensors[a].shape[0]
    said = adapter.rank(module)
    if adapter.wrote == "PEFT" and said not in (None, rank):
        stored = adapter.modules[module][a]
        raise _stray(adapter, stored, f"its rank is {rank}, and the config says {said}")
    alpha = adapter.scale(module) * rank
    made: Lora
    if isinstance(base, nn.Embedding):
        made = LoraEmbedding(base, rank, alpha)
    else:
        made = LoraLinear(base, rank, alpha, bias="bias" in tensors)
    first, second = made.factors
    values: dict[str, Tensor | None] = {a: first, b: second}
    if "magnitude" in tensors:
        if isinstance(base, nn.Embedding) and not adapter.magnitudes_by_column:
            raise UsageError(
                f"DoRA of {module} counts the lengths of a table's rows, and is only merged",
                where=str(adapter.folder),
                fix="tfcli merge BASE ADAPTER OUTPUT",
            )
        made.lora_magnitude_vector = nn.Parameter(torch.empty(outputs))
        values["magnitude"] = made.lora_magnitude_vector
    if isinstance(made, LoraLinear) and "bias" in tensors:
        values["bias"] = made.lora_B.bias
    return made, values


def _whole(
    model: Model, adapter: Adapter, modules: dict[str, nn.Module], spelt: dict[str, str]
) -> tuple[dict[tuple[str, str], str], dict[str, str]]:
    """The tensors that take the place of others.

    Returns:
        those of modules that the adapter has whole: module and name in it -> stored name; and
        those of the base itself, as biases: name -> stored name
    """
    words = list(adapter.config.get("modules_to_save") or ())
    saved, in_place = {}, {}
    for parameter, stored in adapter.whole.items():
        module, _, leaf = parameter.rpartition(".")
        path = spelt.get(module)
        if path is None:
            raise _stray(adapter, stored, f"the model has no module {module}")
        owner = _saved_within(path, module, words, spelt)
        if owner is not None and stored not in adapter.in_place:
            saved[owner, f"{path}.{leaf}".removeprefix(f"{owner}.")] = stored
        elif stored in adapter.in_place or _goes_along(model, path, leaf, adapter):
            in_place[f"{path}.{leaf}"] = stored
        else:
            raise _stray(adapter, stored, f"modules_to_save does not name {module}")
    for path, _ in list(saved):
        there = {leaf for owner, leaf in saved if owner == path}
        missing = sorted(modules[path].state_dict().keys() - there)
        if missing:
            raise WorkError(
                f"the adapter has {path} whole, and lacks {missing[0]} of it",
                where=str(adapter.files[0]),
            )
    return saved, in_place


def _goes_along(model: Model, path: str, leaf: str, adapter: Adapter) -> bool:
    """Whether a tensor of the base's own goes with an adapter: a trained bias, or the table or the
    head of a vocabulary, which PEFT writes where it was resized."""
    if leaf == "bias":
        return adapter.config.get("bias") in ("all", "lora_only")
    return leaf == "weight" and path in (f"{model.base()}.{model.body.tokens}", model.word_head)


def _saved_within(path: str, module: str, words: list[str], spelt: dict[str, str]) -> str | None:
    """The module of `modules_to_save` that a module is, or is in."""
    parts = module.split(".")
    for count in range(len(parts), 0, -1):
        name = ".".join(parts[:count])
        if name.endswith(tuple(words)):  # `classifier` is `pre_classifier` too, for PEFT
            return spelt.get(name)
    return None


def _spellings(model: Model, paths: list[str]) -> dict[str, str]:
    """What files may call a module -> its name here: Hugging Face's, the model's own and that of
    checkpoints, with the backbone's prefix or without, inside of a model that sees or by itself."""
    found: dict[str, str] = {}
    prefix = f"{model.base()}."
    for path in paths:
        place = place_of(model.rules(), f"{path}.weight")
        # A stack is called as no one of the modules in it.
        stored = path if place.index is not None else place.name.removesuffix(".weight")
        for name in (hub_name(model, path), path, stored):
            plain = ".".join(part for part in name.split(".") if part != _TEXT)
            for each in (name, plain):
                for spelt in (each, prefix + each, each.removeprefix(prefix)):
                    found.setdefault(spelt, path)
    return {**found, **{path: path for path in paths}}


def _tensor(module: nn.Module, leaf: str) -> Tensor:
    path, _, last = leaf.rpartition(".")
    found: Tensor = getattr(module.get_submodule(path), last)
    return found


def _copy(adapter: Adapter, stored: str, slot: Tensor, transposed: bool) -> None:
    tensor = adapter.source[stored]
    tensor = tensor.t() if transposed else tensor
    if tensor.shape != slot.shape:
        raise _stray(
            adapter,
            stored,
            f"it is {list(tensor.shape)}, and the model has {list(slot.shape)} there",
        )
    slot.copy_(tensor)


def _stray(adapter: Adapter, stored: str, why: str) -> WorkError:
    """The error for a tensor that belongs to nothing in the model."""
    return WorkError(
        f"{short(stored)}: {why}",
        where=str(adapter.folder),
        fix="check that it belongs to this base; those that resize it are for tfcli merge",
    )
