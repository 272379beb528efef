"""The work of `tfcli pairs`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tfcli.errors import UsageError, hint
from tfcli.pairs.pack import pack_pairs
from tfcli.pairs.read import Pair, read_pairs
from tfcli.pairs.spec import PairsResult, PairsSpec, PairsSplit
from tfcli.pairs.write import require_lines, write_lengths, write_pairs
from tfcli.recipe.job import Job
from tfcli.tokenizers.load import Tokenizer, load_tokenizer
from tfcli.units import plural


@dataclass(frozen=True)
class _Counters:
    """The tokenizers of sources and of targets, which some translators cut otherwise."""

    source: Tokenizer
    target: Tokenizer

    def lengths(self, pairs: Sequence[Pair]) -> list[tuple[int, int]]:
        """The tokens of each pair's texts, with those that stand around a text."""
        sources = self.source.encode_batch([pair.source for pair in pairs])
        targets = self.target.encode_batch([pair.target for pair in pairs])
        return [(len(one), len(other)) for one, other in zip(sources, targets, strict=True)]


def run(spec: PairsSpec, job: Job) -> PairsResult:
    """Read, pack and write the pairs of every split.

    Raises:
        UsageError: nothing there, or a split that is not.
        WorkError: broken data, or a text with a line break where each is a line.
    """
    counters = None
    if spec.tokenizer is not None:
        counters = _Counters(
            load_tokenizer(spec.tokenizer), load_tokenizer(spec.tokenizer, target=True)
        )
    found = read_pairs(spec)
    job.has_read(spec.source)
    packed = () if spec.pack_tokens is None else spec.pack_splits
    for split in packed:
        if split not in found:
            raise UsageError(
                f"there is no split {split!r} to pack", where="pack_splits", fix=hint(split, found)
            )
    for split, pairs in found.items():
        if spec.format == "lines":
            require_lines(split, pairs)
    splits, files = {}, []
    for split, pairs in found.items():
        splits[split], names = _split(spec, split, pairs, counters, split in packed, job)
        files += names
    return PairsResult(source=spec.source, splits=splits, files=files)


def _split(
    spec: PairsSpec,
    split: str,
    pairs: list[Pair],
    counters: _Counters | None,
    packed: bool,
    job: Job,
) -> tuple[PairsSplit, list[str]]:
    read, longer = len(pairs), None
    if packed:
        assert counters is not None and spec.pack_tokens is not None, "the spec asks for both"
        most, source, target = spec.pack_tokens, counters.source, counters.target
        longer = sum(max(both) > most for both in counters.lengths(pairs))
        pairs = pack_pairs(
            pairs,
            most,
            lambda text: len(source.encode(text)),
            lambda text: len(target.encode(text)),
        )
        if longer:
            job.console.warn(
                f"{split}: {plural(longer, 'pair')} of more than {most} tokens; they stay alone"
            )
    files = write_pairs(job.output, split, pairs, spec.format)
    lengths = None if counters is None else counters.lengths(pairs)
    if lengths is not None and spec.lengths is not None:
        of_pairs = [max(both) if spec.lengths == "longer" else both[0] for both in lengths]
        files.append(write_lengths(job.output, split, of_pairs))
    made = PairsSplit(
        read=read,
        written=len(pairs),
        longer=longer,
        source_tokens=None if lengths is None else sum(source for source, _ in lengths),
        target_tokens=None if lengths is None else sum(target for _, target in lengths),
    )
    return made, files
