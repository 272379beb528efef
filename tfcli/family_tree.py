"""docs/families/<model_type>.md: what a family is made of, read off a tiny model of it."""

from __future__ import annotations

import inspect
from pathlib import Path

from torch import nn

from tfcli.models.model import Model
from tfcli.models.registry import get_family

_TORCH = {"training", "inplace"}  # what every module has, or what says nothing of a family
_HEAD = """\
# {model_type}

Written by `scripts/reference` from a tiny model; do not edit. Sizes are those of the test's config,
classes and options those of every model of the family. Blocks that are alike come once.

| | |
|---|---|
| config | {config} |
| backbone | {backbone} |
{heads}
| tasks | {tasks} |

```text
{tree}
```

{classes}
"""


def family_tree(model: Model, root: Path) -> str:
    """The page of a model's family.

    Args:
        model: of the family's first task; may be on the meta device.
        root: the repository's folder, from which files are named.
    """
    family = get_family(model.config.model_type)
    head = type(model).__mro__[1]
    return _HEAD.format(
        model_type=family.model_type,
        config=_chain(type(model.config), root),
        backbone=_chain(type(model.body), root),
        heads=f"| head | {_chain(head, root)} |",
        tasks=", ".join(f"{task} (`{family.names[task]}`)" for task in family.heads),
        tree="\n".join(_lines("", model, 0)),
        classes="\n".join(f"- `{name}`: {place}" for name, place in _classes(model, root).items()),
    )


def _classes(model: Model, root: Path) -> dict[str, str]:
    """Name -> place of every class of ours that the model is made of, and of the family's heads.

    Lines are those of the family's own file, the one with its backbone: a change in a file that
    families share is then no change of every page.
    """
    own = type(model.body).__module__
    family = get_family(model.config.model_type)
    heads = [family.model_class(task).__mro__[1] for task in family.heads]
    classes = {type(module) for module in model.modules()} - {type(model)}
    classes |= {head for head in heads if head.__module__ == own}
    found = {}
    for cls in classes:
        if cls.__module__.startswith("tfcli.models"):
            place = str(Path(inspect.getfile(cls)).resolve().relative_to(root))
            if cls.__module__ == own:
                lines, first = inspect.getsourcelines(cls)
                place += f", lines {first} to {first + len(lines) - 1}"
            found[cls.__name__] = place
    return dict(sorted(found.items()))


def _chain(cls: type, root: Path) -> str:
    """A class and those of ours that it is made from, each with its file."""
    found = []
    for each in cls.__mro__:
        if not each.__module__.startswith("tfcli.models"):
            break
        path = Path(inspect.getfile(each)).resolve().relative_to(root)
        found.append(f"`{each.__name__}` ({path})")
    return ", ".join(found)


def _lines(name: str, module: nn.Module, depth: int) -> list[str]:
    """A module and its children, indented; neighbours in a list that are alike come once."""
    shapes = [f"{key} {list(p.shape)}" for key, p in module.named_parameters(recurse=False)]
    shapes += [f"{key} {list(b.shape)}" for key, b in module.named_buffers(recurse=False)]
    parts = [f"{'  ' * depth}{name or type(module).__name__}"]
    if name:
        parts.append(type(module).__name__)
    parts += [", ".join(_options(module)), "; ".join(shapes)]
    found = ["  ".join(part for part in parts if part)]
    alike: dict[str, list[str]] = {}  # what children are -> their names
    for key, child in module.named_children():
        own = "" if isinstance(module, nn.ModuleList) else key
        alike.setdefault("\n".join([own, *_lines("", child, 0)]), []).append(key)
    children = dict(module.named_children())
    for keys in alike.values():
        found += _lines(", ".join(keys), children[keys[0]], depth + 1)
    return found


def _options(module: nn.Module) -> list[str]:
    """What a module was told, where that is a number, a truth or a word; the layer's number not."""
    if isinstance(module, nn.Linear | nn.Embedding):
        return []  # their shapes say it
    own = vars(module)
    return [
        f"{key}={value}"
        for key, value in own.items()
        if not key.startswith("_")
        and key not in _TORCH
        and key != "layer"
        and type(value) in (int, float, bool, str)
    ]
