"""The report's part on quality: what the evals measured of each model, beside its size."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePath

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
    """One eval of one model.

    Args:
        data: the hash of the text it was measured on, the window and the stride: evals that agree
            in these can be compared.
        setting: the same for people.
        divergence: mean KL divergence from the reference model, in nats a token.
        agreement: share of tokens where both models find the same token the likeliest.
        baselines: compressor -> bits a byte on the same text.
    """

    model: Model
    data: tuple[object, ...]
    setting: str
    perplexity: float
    bits_per_byte: float
    divergence: float | None
    agreement: float | None
    reference: Model | None
    baselines: dict[str, float]


def measures_of(steps: Sequence[Step], models: Models) -> list[Measure]:
    """What the evals among the steps measured, in their order."""
    return [_measure(step, models) for step in steps if step.command == "eval"]


def _measure(step: Step, models: Models) -> Measure:
    found = step.value(EvalResult)
    documents = "1 document" if found.documents == 1 else f"{found.documents} documents"
    return Measure(
        model=models.of(step, found.model),
        data=(found.data_sha256, found.window, found.stride),
        setting=(
            f"{PurePath(found.data).name} ({documents}, {found.tokens:,} tokens, "
            f"{format_bytes(found.bytes)}) in windows of {found.window}, stride {found.stride}"
        ),
        perplexity=found.perplexity,
        bits_per_byte=found.bits_per_byte,
        divergence=found.kl_divergence,
        agreement=found.same_top_token,
        reference=models.of(step, found.reference) if found.reference else None,
        baselines={
            name.replace("_", " "): bits for name, bits in (found.compression or {}).items()
        },
    )


def quality_sections(measures: Sequence[Measure], models: Models) -> list[Section]:
    """Size against quality, and compression, for each text that was measured on."""
    groups: dict[tuple[object, ...], list[Measure]] = {}
    for measure in measures:
        groups.setdefault(measure.data, []).append(measure)
    sections = []
    for members in groups.values():
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
    rows = [_row(measure.model, measure) for measure in members]
    # A model that was made and never measured is in the table all the same.
    if models:
        rows += [_row(model, None) for model in models.all if model not in measured]
    figures = []
    bits = size_figure(_dots(members, "bits_per_byte"), "bits per byte", log=False)
    if bits:
        figures.append(Figure(bits, "Lower is better; the smaller the model, the further left."))
    divergence = size_figure(_dots(members, "divergence"), "KL divergence, nats", log=True)
    if divergence:
        reference = next(m.reference.label for m in members if m.reference is not None)
        caption = f"Mean divergence of the next-token distributions from {reference}, log scale."
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


def _row(model: Model, measure: Measure | None) -> tuple[str, ...]:
    facts = [
        model.label,
        model.method or "made elsewhere",
        str(model.bits) if model.bits else EMPTY,
        group_text(model).removeprefix("g") or EMPTY,
        megabytes(model.bytes),
    ]
    if measure is None:
        return (*facts, *[EMPTY] * 4)
    facts += [f"{measure.perplexity:.3f}", f"{measure.bits_per_byte:.4f}"]
    if measure.divergence is None:
        return (*facts, EMPTY, EMPTY)
    agreement = EMPTY if measure.agreement is None else f"{measure.agreement:.2%}"
    return (*facts, small(measure.divergence), agreement)


def _compression(members: Sequence[Measure], ending: str) -> Section | None:
    baselines = next((m.baselines for m in members if m.baselines), {})
    if not baselines:
        return None
    rows = [(name, value, COMPRESSOR) for name, value in baselines.items()]
    rows += [(m.model.label, m.bits_per_byte, m.model.color) for m in members]
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
