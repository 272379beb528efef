"""What a forward pass must do at least: the weights that it reads, and the products that it makes.

Both are counted while a model runs, by hooks on the layers with a weight that are called. So a
mixture counts the experts that were chosen, and a head the positions that it was asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from torch import Tensor, nn

from tfcli.models.kernels.packed_rows import PackedRows


@dataclass(frozen=True)
class Work:
    """Of one pass.

    Args:
        weight_bytes: bytes of the weights of all layers that were called, each once.
        operations: multiplications and additions of their products.
    """

    weight_bytes: int
    operations: int


def count_work(model: nn.Module, run: Callable[[], object]) -> Work:
    """What `run` makes a model do. Products between inputs alone, as in attention, do not count."""
    called: dict[int, int] = {}
    operations = 0

    def see(module: nn.Module, _inputs: object, output: object) -> None:
        nonlocal operations
        if isinstance(output, Tensor):
            called[_identity(module)] = bytes_of(module)
            operations += 2 * output.numel() * int(module.in_features)  # type: ignore[arg-type]

    hooks = [each.register_forward_hook(see) for each in model.modules() if _multiplies(each)]
    try:
        run()
    finally:
        for hook in hooks:
            hook.remove()
    return Work(sum(called.values()), operations)


def weights_of(model: nn.Module) -> int:
    """Bytes of a model's parameters and buffers, and of what kernels hold in their place."""
    held = [*model.parameters(), *model.buffers()]
    storages = {each.untyped_storage().data_ptr(): each.untyped_storage().nbytes() for each in held}
    return sum(storages.values()) + sum(pack.nbytes for pack in _packs(model))


def bytes_of(module: nn.Module) -> int:
    """Bytes of one layer's weight and of what belongs to it."""
    held = [*module.parameters(recurse=False), *module.buffers(recurse=False)]
    return sum(each.nbytes for each in held) + sum(pack.nbytes for pack in _own_packs(module))


def _multiplies(module: nn.Module) -> bool:
    """Whether a layer has no parts and multiplies by a matrix, packed or not."""
    return hasattr(module, "in_features") and not any(True for _ in module.children())


def _identity(module: nn.Module) -> int:
    """Of the weight: two layers with a tied one read it once."""
    weight = getattr(module, "weight", None)
    return weight.data_ptr() if isinstance(weight, Tensor) else id(module)


def _packs(model: nn.Module) -> Iterator[PackedRows]:
    for module in model.modules():
        yield from _own_packs(module)


def _own_packs(module: nn.Module) -> Iterator[PackedRows]:
    yield from (each for each in vars(module).values() if isinstance(each, PackedRows))
