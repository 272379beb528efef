"""Every model class by its Hugging Face name: `from tfcli.models.classes import LlamaForCausalLM`.

The registry joins a head and a backbone into a class on first use. This module is where such a
class says that it lives, so that a model of it can be pickled and sent to another process.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tfcli.models.errors import nearest
from tfcli.models.registry import FAMILIES

if TYPE_CHECKING:
    from tfcli.models.model import Model


def __getattr__(name: str) -> type[Model]:
    for family in FAMILIES.values():
        for task, known in family.names.items():
            if known == name:
                return family.model_class(task)
    guess = nearest(name, __dir__()) if name[:1].isupper() else None
    meant = f"; did you mean {guess!r}?" if guess else ""
    raise AttributeError(f"no built-in or registered family has a class {name!r}{meant}")


def __dir__() -> list[str]:
    return sorted({name for family in FAMILIES.values() for name in family.names.values()})
