"""The one calibration loop: block by block, each fed by the quantized blocks before it.

A block is read from the checkpoint when its turn comes, in fp32, and freed when its outputs have
become the inputs of the next one. So memory follows one block; the hidden states are in a file.
Beside the quantized model the dense one can run, for methods that look at how far the two drift
apart.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn

from tfcli.models.calibration import CalibrationWalk, Stage
from tfcli.models.folding import apply_fold, folds_of
from tfcli.models.layouts.values import Values
from tfcli.models.model import Model
from tfcli.process_group import ALONE, Processes
from tfcli.quantize.finite import require_finite
from tfcli.quantize.methods.method import Method, Quantized
from tfcli.quantize.plan import LinearPlan, Unit
from tfcli.quantize.predicted import Ending, next_token_states
from tfcli.quantize.runs import (
    AtTheEnd,
    BlockAlone,
    EncoderInFile,
    Inputs,
    Replay,
    Runs,
    Stream,
    Visitor,
    WholeModel,
    capture,
    has_encoder_states,
)
from tfcli.quantize.states import States
from tfcli.quantize.weights import StreamedWeights, free, with_weights

_AT_ONCE = 1 << 28
"""Numbers that the statistics of experts may hold at a time, 1 GiB: a square of each one's inputs.
More experts than fit take further passes over the block."""


@dataclass
class Done:
    """A linear that was quantized.

    Args:
        linear: which.
        weight (Tensor): fp32 [m, n], as it was.
        quantized: what became of it.
        tokens: how many calibration tokens it got; None of one that gets all of them.
        enough: whether these were enough to go by.
    """

    linear: LinearPlan
    weight: Tensor
    quantized: Quantized
    tokens: int | None
    enough: bool


Finished = Callable[[Unit], Mapping[str, Values] | None]
"""What an earlier process made of a unit's linears, by full name; None if it did not get so far."""


@dataclass
class Walk:
    """One pass over a model.

    Args:
        weights: of the model.
        batches: of calibration windows.
        method: calibrated.
        scratch: folder for hidden states.
        finished: what is done already.
        least_tokens: of an expert that fewer calibration tokens go to, what was seen is forgotten.
        kept: what a finished unit's file holds beside linears, by name in the model.
        processes: those that each have a share of the batches.
        visitor: looks at blocks when they are done; only where all chains are `chained`.
        exact: multiply in fp32 also where the processor is faster in bfloat16; see `products`.

    Attributes:
        changed: full name -> the new value of what the method's factors changed in the unit at hand
            and is not quantized.
    """

    weights: StreamedWeights
    batches: Sequence[Inputs]
    method: Method
    scratch: Path
    finished: Finished
    least_tokens: int = 0
    kept: Callable[[Unit], Mapping[str, Tensor]] = lambda unit: {}
    processes: Processes = ALONE
    visitor: Visitor | None = None
    exact: bool = False
    changed: dict[str, Tensor] = field(default_factory=dict)
    _ended: dict[str, dict[bool, States]] = field(default_factory=dict)

    @torch.no_grad()
    def run(self, units: Sequence[Unit]) -> Iterator[tuple[Unit, list[Done]]]:
        """Quantize the linears of the units, chain after chain.

        Within a block the groups of linears that share an input are taken in the order in which
        they run, those of experts that run side by side together. For each group the block runs
        over all batches, from where the pass before it ended (`shortcuts.py`), while the method
        observes the inputs, which come out of groups and blocks that are quantized already.
        Towers, which no text runs through, are left as they are. A head comes last, from what the
        quantized model gives it.

        Yields:
            Each unit that was not finished before, with its linears in the order in which they were
            quantized.
        """
        blocks = {unit.path: unit for unit in units if unit.path}
        inside = tuple(f"{chain.blocks}." for chain in self._model.walks)
        heads = [unit for path, unit in blocks.items() if not path.startswith(inside)]
        heads = [unit for unit in heads if self.finished(unit) is None]
        for chain in self._model.walks:
            paths = [path for path in blocks if path.startswith(f"{chain.blocks}.")]
            if chain not in self._model.text_walks:
                self.changed = {}
                yield from ((blocks[path], []) for path in paths)
                continue
            own = [blocks[path] for path in paths]
            if chain.chained:
                read_on = bool(heads) or chain != self._model.text_walks[-1]
                yield from self._chain(chain, own, read_on=read_on)
            else:
                yield from self._whole(chain, own)
        for unit in heads:
            self.changed = {}
            yield unit, list(self._head(unit))

    @property
    def _model(self) -> Model:
        return self.weights.model

    def _chain(
        self, chain: CalibrationWalk, units: Sequence[Unit], *, read_on: bool
    ) -> Iterator[tuple[Unit, list[Done]]]:
        """Blocks each of which runs once, on what the one before it gave.

        Args:
            chain: which.
            units: its blocks.
            read_on: whether something reads what the last one gives.
        """
        streams = []
        for kind in (False, True)[: 1 + self._drifts]:
            ended = {path: states[kind] for path, states in self._ended.items()}
            streams.append(self._begin(chain, self.batches, ended, dense=kind))
        if self.visitor is not None:
            windows = self.visitor.windows
            self.visitor.begin(chain, partial(self._begin, chain, windows, dense=True))
        for unit in units:
            block = self.weights.fill(unit.path)
            dense = {linear.name: self._weight(linear).data for linear in unit.linears}
            alone = BlockAlone(block, streams, partial(self._as_it_was, dense), self.scratch)
            values = self.finished(unit)
            if values is None:
                yield unit, list(self._block(chain, unit, alone))
            else:
                for name, found in values.items():
                    self._set(name, found)
                if self.method.folds:
                    self._restore(unit)
            if read_on or unit is not units[-1]:
                alone.advance()
            if self.visitor is not None:
                self.visitor.passed(unit, block, partial(self._as_it_was, dense))
            free(block)
        if read_on:
            self._ended[chain.blocks] = {stream.dense: stream.states for stream in streams}

    def _whole(
        self, chain: CalibrationWalk, units: Sequence[Unit]
    ) -> Iterator[tuple[Unit, list[Done]]]:
        """Blocks that run more than once, or with something between them: the model stays in
        memory, and runs as a whole for each group."""
        self.weights.fill("")
        for unit in units:
            values = self.finished(unit)
            if values is None:
                yield unit, list(self._block(chain, unit, WholeModel(self._model, self.batches)))
            else:
                for name, found in values.items():
                    self._set(name, found)
                if self.method.folds:
                    self._restore(unit)
        free(self._model)

    def _head(self, unit: Unit) -> Iterator[Done]:
        """Quantize what stands after the blocks. Its weight, which is large, is read when what it
        gets has been seen."""
        for linear in unit.linears:
            runs = AtTheEnd(self._ends)
            self._observe([[linear.name]], {linear.name: linear}, runs, idles=False)
            with self.weights.head():
                yield self._quantized(linear, None)

    def _ends(self) -> Iterator[list[Tensor]]:
        """What the head gets for each batch, [b, s - 1, d], and what the dense model's gets."""
        (chain,) = self._model.text_walks
        states = self._ended[chain.blocks]
        several = [states[dense] for dense in (False, True)[: 1 + self._drifts]]
        yield from self.ending(several, self.batches, next_token_states)

    def _block(self, chain: CalibrationWalk, unit: Unit, runs: Runs) -> Iterator[Done]:
        """Quantize the linears of a block, group by group."""
        wanted = {linear.name: linear for linear in unit.linears}
        stages = list(chain.stages(self._model.get_submodule(unit.path)))
        self.changed = {}
        tokens: dict[str, int] = {}
        if self.method.folds:
            every = [
                groups
                for stage in stages
                for part in _parts(stage, self._model, unit.path, wanted)
                for groups in part
            ]
            tokens = self._observe(every, wanted, runs, idles=True)
            self._fold(unit, wanted)
        for stage in stages:
            for groups in _parts(stage, self._model, unit.path, wanted):
                if not self.method.folds:
                    tokens = self._observe(groups, wanted, runs, idles=stage.idles)
                for linear in (wanted[name] for names in groups for name in names):
                    done = self._quantized(linear, tokens[linear.name] if stage.idles else None)
                    self._set(linear.name, done.quantized.values)
                    yield done

    def _quantized(self, linear: LinearPlan, tokens: int | None) -> Done:
        """What the method makes of a linear that it has observed; see `Done`."""
        enough = tokens is None or tokens >= self.least_tokens
        if not enough:
            self.method.forget(linear)
        weight = self._weight(linear).data
        quantized = self.method.quantize(linear, weight)
        self.method.forget(linear)
        return Done(linear, weight, quantized, tokens, enough)

    def _observe(
        self,
        groups: Sequence[Sequence[str]],
        wanted: Mapping[str, LinearPlan],
        runs: Runs,
        *,
        idles: bool,
    ) -> dict[str, int]:
        """Show the method what groups of linears get; full name -> how many tokens it was."""
        linears = [[self._model.get_submodule(name) for name in names] for names in groups]
        tokens = dict.fromkeys(wanted, 0)
        for seen in runs.observe(linears, idles=idles):
            for names, (inputs, dense) in zip(groups, seen, strict=True):
                if inputs is not None:
                    self.method.observe([wanted[name] for name in names], inputs, dense)
                    rows = inputs.numel() // inputs.shape[-1]
                    tokens |= {name: tokens[name] + rows for name in names}
        if self.processes.count == 1:
            return tokens
        counts = torch.tensor([tokens[names[0]] for names in groups], device=self.processes.device)
        self.processes.add(counts)
        for names, count in zip(groups, counts.tolist(), strict=True):
            tokens |= dict.fromkeys(names, count)
            if count:
                self.method.merge([wanted[name] for name in names], self.processes)
        return tokens

    def _fold(self, unit: Unit, wanted: Mapping[str, LinearPlan]) -> None:
        """Move the method's factors between the operations of a block.

        What is written without being quantized has the type that the checkpoint has it in, here as
        in the file.
        """
        for fold in folds_of(self._model.get_submodule(unit.path)):
            pair = fold.below(unit.path)
            readers = [wanted[name] for name in pair.readers if name in wanted]
            if not readers or self.weights.shares(pair):
                continue
            factors = self.method.fold(pair, readers, [self._weight(r).data for r in readers])
            if factors is None:
                continue
            stored = self.weights.stored_dtype(f"{pair.source}.weight")
            for name, value in apply_fold(self._model, pair, factors, stored=stored).items():
                if name.removesuffix(".weight") not in wanted:
                    rounded = value.to(self.weights.stored_dtype(name))
                    require_finite(name, rounded)
                    self._model.get_parameter(name).data = rounded.float()
                    self.changed[name] = rounded

    def _restore(self, unit: Unit) -> None:
        """Give a block what an earlier process wrote of it beside linears."""
        parameters = dict(self._model.get_submodule(unit.path).named_parameters())
        for name, value in self.kept(unit).items():
            parameter = parameters.get(name.removeprefix(f"{unit.path}."))
            if parameter is not None:
                parameter.data = value.to(parameter.device, torch.float32)

    @property
    def _drifts(self) -> bool:
        return self.method.drifts

    def _weight(self, linear: LinearPlan) -> nn.Parameter:
        return self._model.get_submodule(linear.name).get_parameter("weight")

    def _set(self, name: str, values: Values) -> None:
        weight = self._model.get_submodule(name).get_parameter("weight")
        weight.data = values.dequantize().to(weight.device)

    def _as_it_was(self, dense: Mapping[str, Tensor]) -> AbstractContextManager[None]:
        """Within this context, linears have their weights of before."""
        return with_weights(self._model, dense)

    @torch.no_grad()
    def ending(
        self, several: Sequence[States], windows: Sequence[Inputs], states_of: Ending
    ) -> Iterator[list[Tensor]]:
        """What a model makes after its blocks, of states that these may have ended with.

        Args:
            several: at the end of the last chain that a text runs through, of each window.
            windows: what they were made from.
            states_of: runs the model.

        Yields:
            For each window what `states_of` gives, for each of several states.
        """
        *before, last = self._model.text_walks
        ended = {chain.blocks: None for chain in before} | {last.blocks: several[0]}
        with self.weights.outside(), _replaying(self._model, ended) as replays:
            first = next(replay for replay in replays if replay.states is not None)
            for number, batch in enumerate(windows):
                found = []
                for states in several:
                    first.states, first.batch = states, number
                    found.append(states_of(self._model, batch))
                yield found

    def _begin(
        self,
        chain: CalibrationWalk,
        batches: Sequence[Inputs],
        ended: Mapping[str, States],
        *,
        dense: bool,
    ) -> Stream:
        """What the first block of a chain gets, for each batch.

        Chains that have ended give what they gave at their ends, without running.
        """
        first = next(iter(self._model.get_submodule(chain.blocks).children()))
        inputs, hidden = [], []
        with self.weights.outside(), _replaying(self._model, ended) as replays:
            for number, batch in enumerate(batches):
                for replay in replays:
                    replay.batch = number
                found = capture(self._model, first, batch)
                hidden.append(found[0])
                inputs.append(found[1])
        device = self.weights.device
        shown = has_encoder_states(inputs[0])
        kept = EncoderInFile(inputs, self.scratch, device) if shown else inputs
        return Stream(dense, kept, States(self.scratch, hidden), device, self.exact)


@contextmanager
def _replaying(model: Model, ended: Mapping[str, States | None]) -> Iterator[list[Replay]]:
    """Within the block, the first block of every chain that has ended gives its last states, or
    what comes where there are none, and the others hand them on."""
    replays, before = [], {}
    for path, states in ended.items():
        blocks = model.get_submodule(path)
        assert isinstance(blocks, nn.ModuleList)
        before[path] = list(blocks)
        for position in range(len(blocks)):
            blocks[position] = Replay(states if position == 0 else None)
        replays += [block for block in blocks if isinstance(block, Replay)]
    try:
        yield replays
    finally:
        for path, blocks_before in before.items():
            blocks = model.get_submodule(path)
            assert isinstance(blocks, nn.ModuleList)
            for position, block in enumerate(blocks_before):
                blocks[position] = block


def _parts(
    stage: Stage, model: nn.Module, prefix: str, wanted: Mapping[str, LinearPlan]
) -> Iterator[list[list[str]]]:
    """The full names of a stage's groups, as many groups at a time as `_AT_ONCE` lets through."""
    part: list[list[str]] = []
    numbers = 0
    for group in stage.groups:
        names = [f"{prefix}.{name}" for name in group if f"{prefix}.{name}" in wanted]
        if not names:
            continue
        square = model.get_submodule(names[0]).get_parameter("weight").shape[1] ** 2
        if part and numbers + square > _AT_ONCE:
            yield part
            part, numbers = [], 0
        part.append(names)
        numbers += square
    if part:
        yield part
