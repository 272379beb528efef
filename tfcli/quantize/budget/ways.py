"""What each linear could become, and which linears must become the same."""

from __future__ import annotations

from dataclasses import dataclass

from tfcli.models.layouts.packing import Packing
from tfcli.quantize.output import Output
from tfcli.quantize.plan import DEFAULT_GROUP_SIZES, LinearPlan

_BITS = (2, 3, 4, 8)
_K_TYPES = ("Q2_K", "Q3_K", "Q4_K", "Q5_K", "Q6_K", "Q8_0")
_OLD_TYPES = ("Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0")
"""Of GGUF: those with blocks of 256, and what stands in for them in rows that these do not fill."""


@dataclass(frozen=True)
class Group:
    """Linears that get the same width: those that share inputs, which serving programs fuse, and
    all experts of a layer.

    Args:
        unit: path of their block.
        linears: at least one.
        sizes: word of an override -> the bytes that all of them take with it.
    """

    unit: str
    linears: tuple[LinearPlan, ...]
    sizes: dict[str, int]

    @property
    def weights(self) -> int:
        """How many weights they have."""
        return sum(linear.weights for linear in self.linears)

    def nearest(self, bits: float) -> str:
        """The word that comes nearest to some bits a weight."""
        return min(self.sizes, key=lambda w: abs(8 * self.sizes[w] / self.weights - bits))


def groups_of(output: Output) -> list[Group]:
    """The groups of a plan's blocks, in the order in which they run."""
    chains = {chain.blocks: chain for chain in output.model.walks}
    found = []
    for unit in output.plan.blocks:
        chain = chains[unit.path.rpartition(".")[0]]
        wanted = {linear.name: linear for linear in unit.linears}
        for stage in chain.stages(output.model.get_submodule(unit.path)):
            groups = [[f"{unit.path}.{name}" for name in names] for names in stage.groups]
            if stage.idles:
                groups = [[name for names in groups for name in names]]
            for names in groups:
                linears = tuple(wanted[name] for name in names if name in wanted)
                if linears:
                    found.append(Group(unit.path, linears, _sizes(output, linears)))
    return found


def _sizes(output: Output, linears: tuple[LinearPlan, ...]) -> dict[str, int]:
    for words in _words(output):
        sizes = {}
        for word in words:
            packings = [_packing(output, linear, word) for linear in linears]
            if None not in packings:
                pairs = zip(linears, packings, strict=True)
                sizes[word] = sum(p.nbytes(x.in_features, x.out_features) for x, p in pairs if p)
        if words[0] in sizes:
            return sizes
    raise AssertionError(f"{linears[0].name} has a width, so its neighbours of fewer bits fit too")


def _words(output: Output) -> list[tuple[str, ...]]:
    """Words of overrides to choose from; those after the first are for where none of it fits."""
    if output.layout.name == "gguf":
        return [_K_TYPES, _OLD_TYPES]
    size = output.method.group_size
    sizes = {size} if output.spec.group_size is not None else {size, DEFAULT_GROUP_SIZES[-1]}
    return [tuple(f"{bits}bit:{each}" for bits in _BITS for each in sorted(sizes, reverse=True))]


def _packing(output: Output, linear: LinearPlan, word: str) -> Packing | None:
    """How a layout stores a linear with a word; None where it cannot."""
    form = output.method.at(word).format(linear.name)
    problem = output.layout.problem(form, linear.in_features, linear.out_features)
    return None if problem else output.layout.packing_for(form)
