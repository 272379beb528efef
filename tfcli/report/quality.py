"""The report's part on quality: what the evals measured of each model, beside its size."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import PurePath

from tfcli.evaluate.conditions import Conditions
from tfcli.evaluate.spec import EvalResult
from tfcli.report.figures import Dot, compression_figure, size_figure
from tfcli.report.models import Model, Models, group_text
from tfcli.report.page import Figure, Section, Table
from tfcli.report.steps import Step
from tfcli.report.text import megabytes, small
from tfcli.units import format_bytes

EMPTY = "–"  # noqa: RUF001 - the sign of an empty cell
COMPRESSOR = 5


@dataclass(frozen=True)
class Measure:
    """One eval of one model, or what it measured of the model's reference on the way.

    Args:
        conditions: what its figures depend on.
        setting: the same for people.
        bits_per_byte: None where it was not measured.
        divergence: mean KL divergence from the reference model, in nats a token.
        agreement: share of tokens where both models find the same token the likeliest.
        baselines: compressor -> bits a byte on the same text.
    """

    model: Model
    conditions: Conditions
    setting: str
    perplexity: float
    bits_per_byte: float | None
    divergence: float | None
    agreement: float | None
    reference: Model | None
    baselines: dict[str, float]


def measures_of(steps: Sequence[Step], models: Models) -> list[Measure]:
    """What the evals of texts among the steps measured, in their order.

    A reference that has no eval of its own under the same conditions has what was measured of it
    beside another model.
    """
    found_by = [(step, step.value(EvalResult)) for step in steps if step.command == "eval"]
    evals = [(step, found) for step, found in found_by if not found.tasks]
    # A hash is told where the words beside it do not tell two things apart.
    seen: dict[str, set[str]] = {}
    for _, found in evals:
        for name, sha256 in _hashes(found).items():
            seen.setdefault(name, set()).add(sha256)
    told = {name for name, several in seen.items() if len(several) > 1}
    measures = [_measure(step, found, models, told) for step, found in evals]
    own = {(measure.model, measure.conditions) for measure in measures}
    for (_, found), measure in zip(evals, list(measures), strict=True):
        reference = measure.reference
        if reference is None or found.reference_perplexity is None:
            continue
        if (reference, measure.conditions) not in own:
            own.add((reference, measure.conditions))
            measures.append(
                replace(
                    measure,
                    model=reference,
                    perplexity=found.reference_perplexity,
                    bits_per_byte=_bits(found.reference_perplexity, found),
                    divergence=None,
                    agreement=None,
                    reference=None,
                )
            )
    return measures


def _bits(perplexity: float, found: EvalResult) -> float | None:
    """Bits a byte of a model with this perplexity on the tokens and bytes of an eval."""
    if not found.bytes or found.tokens is None:
        return None
    return math.log2(perplexity) * found.tokens / found.bytes


def _hashes(found: EvalResult) -> dict[str, str]:
    name = PurePath(found.data or found.task).name
    assert found.tokenizer_sha256 is not None, "a text was measured"
    return {name: found.data_sha256, "tokenizer": found.tokenizer_sha256}


def _measure(step: Step, found: EvalResult, models: Models, told: set[str]) -> Measure:
    assert found.data is not None and found.perplexity is not None, "a text was measured"
    documents = "1 document" if found.documents == 1 else f"{found.documents} documents"
    before = {"each": "each window", "first": "each document", "none": "no window"}[found.bos]
    said = [
        f"{PurePath(found.data).name} ({documents}, {found.tokens or 0:,} tokens, "
        f"{format_bytes(found.bytes or 0)}) in windows of {found.window}",
        f"stride {found.stride}",
    ]
    said += [f"a prefix of {found.bos_tokens} before {before}"] if found.bos_tokens else []
    said += [found.dtype]
    said += [found.task] if found.task != "perplexity" else []
    said += [f"{name} {sha256[:8]}" for name, sha256 in _hashes(found).items() if name in told]
    return Measure(
        model=models.of(step, found.model),
        conditions=found.conditions,
        setting=", ".join(said),
        perplexity=found.perplexity,
        bits_per_byte=found.bits_per_byte,
        divergence=found.kl_divergence,
        agreement=found.same_top_token,
        reference=models.of(step, found.reference) if found.reference else None,
        baselines={
            name.replace("_", " "): bits for name, bits in (found.compression or {}).items()
        },
    )


def by_conditions(measures: Sequence[Measure]) -> list[list[Measure]]:
    """The measures that compare with one another, in the order in which they come up."""
    groups: dict[Conditions, list[Measure]] = {}
    for measure in measures:
        groups.setdefault(measure.conditions, []).append(measure)
    return list(groups.values())


def by_reference(measures: Sequence[Measure]) -> list[tuple[Model, list[Measure]]]:
    """Each reference, and the measures of how far a model is from it."""
    groups: dict[Model, list[Measure]] = {}
    for measure in measures:
        if measure.reference is not None and measure.divergence is not None:
            groups.setdefault(measure.reference, []).append(measure)
    return list(groups.items())


def quality_sections(measures: Sequence[Measure], models: Models) -> list[Section]:
    """Size against quality, and compression, for all conditions that were measured under."""
    groups = by_conditions(measures)
    sections = []
    for members in groups:
        ending = f": {members[0].setting}" if len(groups) > 1 else ""
        sections.append(_quality(members, ending, models if len(groups) == 1 else None))
        compression = _compression(members, ending)
        if compression:
            sections.append(compression)
    if not groups and models.all:
        rows = tuple(_row(model, None) for model in models.all)
        sections.append(Section("Models", tables=(Table(COLUMNS, rows, words=2),)))
    return sections


COLUMNS = (
    "model",
    "method",
    "bits",
    "group",
    "MB",
    "perplexity",
    "bits per byte",
    "KL divergence",
    "same top token",
)


def _quality(members: Sequence[Measure], ending: str, models: Models | None) -> Section:
    measured = [measure.model for measure in members]
    references = by_reference(members)
    several = len(references) > 1
    rows = [_row(measure.model, measure, several) for measure in members]
    # A model that was made and never measured is in the table all the same.
    if models:
        rows += [_row(model, None) for model in models.all if model not in measured]
    figures = []
    bits = size_figure(_dots(members, "bits_per_byte"), "bits per byte", log=False)
    if bits:
        figures.append(Figure(bits, "Lower is better; the smaller the model, the further left."))
    for reference, compared in references:
        divergence = size_figure(_dots(compared, "divergence"), "KL divergence, nats", log=True)
        if divergence:
            caption = (
                "Mean divergence of the next-token distributions from "
                f"{reference.label}, log scale."
            )
            figures.append(Figure(divergence, caption))
    return Section(
        f"Quality against size{ending}",
        f"Measured on {members[0].setting}.",
        tuple(figures),
        tables=(Table(COLUMNS, tuple(rows), words=2),),
    )


def _dots(members: Sequence[Measure], figure: str) -> list[Dot]:
    dots = []
    for measure in members:
        model, value = measure.model, getattr(measure, figure)
        # A logarithmic axis has no place for the reference's own zero.
        if model.bytes and value is not None and value > 0:
            line = f"{model.method} {model.group_size}"
            dots.append(Dot(model.label, line, model.color, model.bytes, value))
    return dots


def _row(model: Model, measure: Measure | None, several: bool = False) -> tuple[str, ...]:
    """One line of the table.

    Args:
        several: models are compared with several references, so the line says with which.
    """
    facts = [
        model.label,
        model.method or "made elsewhere",
        str(model.bits) if model.bits else EMPTY,
        group_text(model).removeprefix("g") or EMPTY,
        megabytes(model.bytes),
    ]
    if measure is None:
        return (*facts, *[EMPTY] * 4)
    facts.append(f"{measure.perplexity:.3f}")
    facts.append(EMPTY if measure.bits_per_byte is None else f"{measure.bits_per_byte:.4f}")
    if measure.divergence is None:
        return (*facts, EMPTY, EMPTY)
    far = small(measure.divergence)
    far += f" from {measure.reference.label}" if several and measure.reference else ""
    agreement = EMPTY if measure.agreement is None else f"{measure.agreement:.2%}"
    return (*facts, far, agreement)


def _compression(members: Sequence[Measure], ending: str) -> Section | None:
    baselines = next((m.baselines for m in members if m.baselines), {})
    if not baselines:
        return None
    rows = [(name, value, COMPRESSOR) for name, value in baselines.items()]
    rows += [
        (m.model.label, m.bits_per_byte, m.model.color)
        for m in members
        if m.bits_per_byte is not None
    ]
    rows.sort(key=lambda row: -row[1])
    wide, narrow = compression_figure(rows, 1000), compression_figure(rows, 440)
    assert wide is not None
    numbers = Table(("", "bits per byte"), tuple((name, f"{bits:.4f}") for name, bits, _ in rows))
    figure = Figure(wide, "Bits for each byte of the text: shorter is better.", narrow, numbers)
    return Section(
        f"Beside compression programs{ending}",
        "A language model is a compressor: its bits per byte are what its predictions would take "
        "to store the text. The same bytes through compression programs say what that is worth.",
        (figure,),
    )
