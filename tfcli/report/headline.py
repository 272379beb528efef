"""The figures at the top of the report."""

from __future__ import annotations

from collections.abc import Sequence

from tfcli.report.models import DENSE, Models
from tfcli.report.page import Tile
from tfcli.report.quality import Measure
from tfcli.report.text import megabytes, ratio_text, small


def headline(measures: Sequence[Measure], models: Models) -> list[Tile]:
    """What was reached, each figure beside the one that gives it a meaning."""
    return [*_compression(measures), *_divergence(measures), *_size(models)]


def _compression(measures: Sequence[Measure]) -> list[Tile]:
    """The best dense model's bits per byte, beside the compressors' on the same text."""
    if not measures:
        return []
    # A quantized model that comes out ahead does so by chance.
    dense = [measure for measure in measures if measure.model.method == DENSE]
    best = min(dense or measures, key=lambda measure: measure.bits_per_byte)
    baselines = next((m.baselines for m in measures if m.data == best.data and m.baselines), {})
    beside = ", ".join(f"{name} {bits:.3f}" for name, bits in baselines.items())
    return [Tile(f"{best.bits_per_byte:.3f}", f"bits per byte, {best.model.label}", beside)]


def _divergence(measures: Sequence[Measure]) -> list[Tile]:
    """For each number of bits: how much closer the best method stays than the worst."""
    compared = [m for m in measures if m.model.bits and m.divergence]
    tiles = []
    for bits in sorted({m.model.bits for m in compared if m.model.bits}, reverse=True):
        members = [m for m in compared if m.model.bits == bits and m.data == compared[0].data]
        ranked = sorted((m.divergence or 0.0, m.model.label) for m in members)
        (best, best_label), (worst, worst_label) = ranked[0], ranked[-1]
        if len(ranked) < 2:
            tiles.append(Tile(small(best), f"KL divergence, {best_label}"))
            continue
        beside = f"{best_label} {small(best)}, {worst_label} {small(worst)}"
        tiles.append(Tile(ratio_text(worst / best), f"less KL divergence at {bits} bits", beside))
    return tiles


def _size(models: Models) -> list[Tile]:
    """How much smaller the smallest quantized model is than the dense one."""
    dense = [model for model in models.all if model.method == DENSE and model.bytes]
    small_ones = [model for model in models.all if model.bits and model.bytes]
    if not dense or not small_ones:
        return []
    large = max(dense, key=lambda model: model.bytes or 0)
    least = min(small_ones, key=lambda model: model.bytes or 0)
    assert large.bytes and least.bytes
    beside = f"{least.label} {megabytes(least.bytes)} MB, {large.label} {megabytes(large.bytes)} MB"
    return [Tile(ratio_text(large.bytes / least.bytes), "smaller on disk", beside)]
