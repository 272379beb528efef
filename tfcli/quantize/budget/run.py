"""`target_bits` and `target_size`: survey, choose, and forecast what the choice costs."""

from __future__ import annotations

import json
import math
import re
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from tfcli.checkpoints.checkpoint import Checkpoint
from tfcli.checkpoints.gguf.mixes import BY_BITS
from tfcli.errors import UsageError
from tfcli.files import write_json
from tfcli.quantize.budget.held import Held
from tfcli.quantize.budget.passage import Passage
from tfcli.quantize.budget.solve import Way, allocate
from tfcli.quantize.budget.spec import Budget, Spent
from tfcli.quantize.budget.survey import Errors, SurveyFiles, Surveying
from tfcli.quantize.budget.ways import Group, groups_of
from tfcli.quantize.calibrate import walk_of
from tfcli.quantize.output import Output
from tfcli.quantize.spec import QuantizeSpec
from tfcli.quantize.text import CalibrationText
from tfcli.quantize.write import SCRATCH
from tfcli.recipe.job import Job
from tfcli.units import format_bytes

Make = Callable[[QuantizeSpec], Output]
"""Gives an output for a spec."""
_FOLDER = "survey"


@dataclass(frozen=True)
class Limit:
    """The bytes that the linears of blocks may take: a head has the word that it was given.

    Args:
        groups: of them.
        nbytes: that they may take.
    """

    groups: list[Group]
    nbytes: int

    @classmethod
    def of(cls, output: Output) -> Limit:
        """From what was asked for.

        Raises:
            UsageError: less than the options reach.
        """
        spec, groups = output.spec, groups_of(output)
        weights = sum(group.weights for group in groups)
        linears = {linear.reported for linear in output.plan.linears}
        others = sum(one.bytes for one in output.foreseen() if one.name not in linears)
        head = sum(linear.nbytes for linear in output.plan.heads)
        least = sum(min(group.sizes.values()) for group in groups)
        if spec.target_bits is not None:
            every = weights + sum(linear.weights for linear in output.plan.heads)
            nbytes = int(spec.target_bits * every / 8) - head
            where, reach = "target_bits", f"{math.ceil(8000 * (least + head) / every) / 1000:g}"
            because = "with scales and zero points" + (f", head: {spec.head}" if head else "")
        else:
            assert spec.target_bytes is not None, "one of both is given"
            others += head
            nbytes = spec.target_bytes - others
            where, reach = "target_size", str(least + others)
            because = f"of which {format_bytes(others)} are tensors outside of the blocks' linears"
        if nbytes < least:
            raise UsageError(
                f"the least that the widths of {output.layout.name} reach is {reach}, {because}",
                where=where,
                fix=f"{where}: {reach} or more",
            )
        return cls(groups, nbytes)

    @property
    def bits(self) -> float:
        """The same, as bits of a weight."""
        return 8 * self.nbytes / sum(group.weights for group in self.groups)


def start_of(spec: QuantizeSpec, checkpoint: Checkpoint) -> QuantizeSpec:
    """The spec with which what no block holds is rounded, where the layout rounds that too."""
    if spec.layout != "gguf":
        return spec
    bits = spec.target_bits
    if bits is None:
        assert spec.target_bytes is not None, "one of both is given"
        bits = 8 * spec.target_bytes / sum(math.prod(one.shape) for one in checkpoint)
    below = max((each for each in BY_BITS if each <= bits), default=min(BY_BITS))
    return spec.model_copy(update={"bits": below})


def spend(
    make: Make, output: Output, limit: Limit, text: CalibrationText, held: Held, job: Job
) -> tuple[Output, Callable[[float], Budget]]:
    """Choose the width of every linear.

    Args:
        make: gives an output for a spec.
        output: of `start_of`.
        limit: of it.
        text: that calibration sees.
        held: tells what a width costs.
        job: where what is seen on the way is kept, for a run that is killed.

    Returns:
        The output with the widths, and what gives the account of it from the measured divergence.
    """
    words = [group.nearest(limit.bits) for group in limit.groups]
    known = job.output / SCRATCH / "survey.json"
    known.parent.mkdir(exist_ok=True)
    if not known.is_file():
        # What blocks lose is seen below the dense head, whose own word is no choice.
        blocks = output.spec.model_copy(update={"head": None})
        seen = _survey(make(_with(blocks, limit.groups, words)), limit.groups, text, held, job)
        write_json(known, seen)
        shutil.rmtree(job.output / SCRATCH / _FOLDER)
    seen = json.loads(known.read_text())
    effects, errors = seen["effects"], seen["errors"]
    together = sum(effects)
    scale = seen["together"] / together if together > 0 else 1.0
    ways = [
        _ways(group, word, scale * max(effect, 0.0), errors)
        for group, word, effect in zip(limit.groups, words, effects, strict=True)
    ]
    chosen = allocate(ways, limit.nbytes)
    spent = [
        Spent(
            linears=[linear.name for linear in group.linears],
            width=word,
            bytes=group.sizes[word],
            forecast=own[word].harm,
        )
        for group, word, own in zip(limit.groups, chosen, ways, strict=True)
    ]

    def account(measured: float) -> Budget:
        return Budget(
            bytes=limit.nbytes,
            used=sum(one.bytes for one in spent),
            forecast=sum(one.forecast for one in spent),
            kl_divergence=measured,
            tokens=held.tokens,
            groups=spent,
        )

    return make(_with(output.spec, limit.groups, chosen)), account


def _with(spec: QuantizeSpec, groups: Sequence[Group], words: Sequence[str]) -> QuantizeSpec:
    """A spec with a width for each group."""
    overrides = [
        f"^{re.escape(linear.name)}$={word}"
        for group, word in zip(groups, words, strict=True)
        for linear in group.linears
    ]
    return spec.model_copy(update={"overrides": overrides})


def _survey(
    output: Output, groups: Sequence[Group], text: CalibrationText, held: Held, job: Job
) -> dict[str, Any]:
    """Walk once, with every group in one width, the others being solved for beside it."""
    folder = job.output / SCRATCH / _FOLDER
    files = SurveyFiles(folder, output)
    words = {linear.name: list(group.sizes) for group in groups for linear in group.linears}
    method = Surveying(output.method, words)
    passage = Passage(output.model, held, folder, groups, files.alone)
    walk = walk_of(output, method, text.windows, folder, files.finished, visitor=passage)
    units = output.plan.units[1:]
    with job.console.progress("survey", len(output.plan.linears), "linear") as bar:
        bar.advance(sum(len(u.linears) for u in units if files.finished(u) is not None))
        for unit, done in walk.run(units):
            errors, alone = method.take()
            files.save(unit, {one.linear.name: one.quantized.values for one in done}, alone, errors)
            bar.advance(len(done))
    together, *effects = passage.divergences(walk)
    errors = {name: one for unit in units for name, one in files.errors(unit).items()}
    return {"together": together, "effects": effects, "errors": errors}


def _ways(group: Group, word: str, effect: float, errors: Errors) -> dict[str, Way]:
    """What a group costs in each width: divergence grows with the share of outputs that is lost."""

    def share(other: str) -> float:
        own = [errors[linear.name] for linear in group.linears]
        return fmean(one[other] / one[word] if one[word] > 0 else 1.0 for one in own)

    return {each: Way(size, effect * share(each)) for each, size in group.sizes.items()}
