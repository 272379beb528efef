"""The figures at the top of the report."""

from __future__ import annotations

from collections.abc import Sequence

from tfcli.report.models import DENSE, Models
from tfcli.report.page import Tile
from tfcli.report.quality import Measure, by_conditions, by_reference
from tfcli.report.text import megabytes, ratio_text, small


def headline(measures: Sequence[Measure], models: Models) -> list[Tile]:
    """What was reached, each figure beside the one that gives it a meaning.

    Only figures of equal conditions stand beside one another: those under which most was measured.
    """
    groups = by_conditions(measures)
    most = max(groups, key=len) if groups else []
    return [*_compression(most, measures), *_divergence(most), *_size(models)]


def _compression(members: Sequence[Measure], all_: Sequence[Measure]) -> list[Tile]:
    """The best dense model's bits per byte, beside the compressors' on the same text."""
    measured = [(m.bits_per_byte, m) for m in members if m.bits_per_byte is not None]
    if not measured:
        return []
    # A quantized model that comes out ahead does so by chance.
    dense = [pair for pair in measured if pair[1].model.method == DENSE]
    bits, best = min(dense or measured, key=lambda pair: pair[0])
    text = best.conditions.data_sha256
    same_text = [m.baselines for m in all_ if m.conditions.data_sha256 == text and m.baselines]
    baselines = same_text[0] if same_text else {}
    beside = ", ".join(f"{name} {value:.3f}" for name, value in baselines.items())
    return [Tile(f"{bits:.3f}", f"bits per byte, {best.model.label}", beside)]


def _divergence(members: Sequence[Measure]) -> list[Tile]:
    """For each number of bits: how much closer the best method stays than the worst, of models
    with one reference and one group size."""
    tiles = []
    for reference, compared in by_reference(members):
        alike: dict[tuple[int, int | None], list[tuple[float, str]]] = {}
        for measure in compared:
            model, far = measure.model, measure.divergence
            if model.bits and far:
                alike.setdefault((model.bits, model.group_size), []).append((far, model.label))
        several = len({bits for bits, _ in alike}) < len(alike)
        for (bits, group), found in sorted(
            alike.items(), key=lambda item: (-item[0][0], item[0][1] or 0)
        ):
            (best, best_label), (worst, worst_label) = min(found), max(found)
            if len(found) < 2:
                tiles.append(
                    Tile(small(best), f"KL divergence, {best_label}", f"from {reference.label}")
                )
                continue
            size = f", {'whole rows' if group == -1 else f'groups of {group}'}" if several else ""
            beside = f"{best_label} {small(best)}, {worst_label} {small(worst)}"
            name = f"less KL divergence at {bits} bits{size}"
            tiles.append(Tile(ratio_text(worst / best), name, beside))
    return tiles


def _size(models: Models) -> list[Tile]:
    """How much smaller a quantized model is than what it was made of: the one that is most."""
    found = [
        (model.source_bytes / model.bytes, model)
        for model in models.all
        if model.bytes and model.source_bytes
    ]
    if not found:
        return []
    ratio, model = max(found, key=lambda pair: pair[0])
    beside = (
        f"{model.label} {megabytes(model.bytes)} MB, {model.made_of} "
        f"{megabytes(model.source_bytes)} MB"
    )
    return [Tile(ratio_text(ratio), "smaller on disk", beside)]
