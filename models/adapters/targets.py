"""Which modules an adapter changes, as PEFT reads the same words."""

from __future__ import annotations

import re
from collections.abc import Sequence

from torch import nn

from tfcli.models.adapters.bases import is_linear, takes_adapter
from tfcli.models.adapters.settings import ALL_LINEAR, AdapterSettings
from tfcli.models.adapters.walk import hub_name, plain_modules
from tfcli.models.errors import ModelError, hint
from tfcli.models.model import Model

_SAID = {"ia3": "IA3", "adalora": "AdaLoRA"}
Words = Sequence[str] | str


def find_targets(model: Model, settings: AdapterSettings) -> list[str]:
    """The names of the modules that an adapter changes, in the model's order.

    Args:
        model: with or without adapters.
        settings: of the adapter.

    Raises:
        ModelError: a word that no module is called by, a module that takes no adapter, a pattern
            that is none, or nothing is left of the targets.
    """
    modules, words = dict(plain_modules(model)), settings.target_modules
    names = {path: (path, hub_name(model, path)) for path in modules}
    if isinstance(words, str) and words.lower() == ALL_LINEAR:
        found = _all_linears(model, modules)
    else:
        found = _named(words, names, modules, "target_modules")
        _require_adaptable(found, modules)
    if settings.type != "lora":
        tables = [path for path in found if not is_linear(modules[path])]
        if tables:
            kind = type(modules[tables[0]]).__name__
            raise ModelError(
                f"{_SAID[settings.type]} changes linears, and this is a {kind}",
                where=f"target_modules: {tables[0]}",
            )
    barred = set(find_saved(model, settings.modules_to_save))
    if settings.exclude_modules:
        barred |= set(_named(settings.exclude_modules, names, modules, "exclude_modules"))
    found = [path for path in found if not _within(path, barred)]
    if settings.layers is not None:
        found = [path for path in found if _layer(path) in settings.layers]
    if not found:
        raise ModelError(
            "no module is left that the adapter changes",
            where="target_modules",
            fix="name others, or exclude fewer",
        )
    return found


def find_saved(model: Model, words: Sequence[str]) -> list[str]:
    """The modules that are trained whole, by name.

    Raises:
        ModelError: a word that no module is called by.
    """
    modules = dict(plain_modules(model))
    names = {path: (path, hub_name(model, path)) for path in modules}
    return _named(list(words), names, modules, "modules_to_save") if words else []


def is_feedforward(model: Model, path: str, words: Words) -> bool:
    """Whether a module is one of IA3's feedforward modules."""
    return any(_is_called(words, name) for name in (path, hub_name(model, path)))


def _all_linears(model: Model, modules: dict[str, nn.Module]) -> list[str]:
    """Every linear of the backbone: heads give answers, and are trained whole or not at all."""
    own = f"{model.base()}."
    return [path for path, each in modules.items() if is_linear(each) and path.startswith(own)]


def _named(
    words: Words, names: dict[str, tuple[str, str]], modules: dict[str, nn.Module], key: str
) -> list[str]:
    """The modules that some words name.

    Raises:
        ModelError: a word that names none.
    """
    for word in [words] if isinstance(words, str) else words:
        only = word if isinstance(words, str) else [word]
        if any(_is_called(only, name) for pair in names.values() for name in pair):
            continue
        ends = [path.rpartition(".")[2] for path, each in modules.items() if takes_adapter(each)]
        raise ModelError(
            f"no module is called {word!r}", where=key, fix=hint(word, dict.fromkeys(ends))
        )
    return [path for path, pair in names.items() if any(_is_called(words, name) for name in pair)]


def _is_called(words: Words, name: str) -> bool:
    if not isinstance(words, str):
        return any(name == word or name.endswith(f".{word}") for word in words)
    try:
        return re.fullmatch(words, name) is not None
    except re.error as error:
        raise ModelError(f"{words!r} is no regular expression: {error}") from error


def _require_adaptable(found: list[str], modules: dict[str, nn.Module]) -> None:
    for path in found:
        if not takes_adapter(modules[path]):
            raise ModelError(
                f"adapters go on linears and tables, and this is a {type(modules[path]).__name__}",
                where=f"target_modules: {path}",
                fix="name what is in it, or train it whole: modules_to_save",
            )


def _within(path: str, others: set[str]) -> bool:
    return any(path == other or path.startswith(f"{other}.") for other in others)


def _layer(path: str) -> int | None:
    """The number of the block that a module is in: the first in its name, as PEFT counts."""
    match = re.match(r".*?\.[^.]*\.(\d+)\.", path)
    return int(match[1]) if match else None
