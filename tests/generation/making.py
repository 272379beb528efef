"""Texts of single prompts, for tests of what a model writes."""

from __future__ import annotations

import torch

from tfcli.generation.loop import Decoding
from tfcli.generation.readers import TargetReader, TextReader
from tfcli.generation.rows import lengths, rows_of
from tfcli.generation.rules import processes


def continued(model, prompt, *, cache=None, compile_with=None, **options):
    """The ids that a causal model adds to a prompt; options are those of `Decoding`."""
    reader = TextReader(model, [prompt], cache=cache, compile_with=compile_with)
    return Decoding(reader, **options).texts()[0]


def answered(model, source, *, start=None, cache=None, **options):
    """The ids that an encoder-decoder makes of a source."""
    reader = TargetReader.of_sources(model, [source], start=start, cache=cache)
    return Decoding(reader, **options).texts()[0]


def processes_of(rules, prompts, *, stop=(), max_new_tokens=8):
    """What rules do to the logits of a model that continues prompts."""
    rows = rows_of(prompts)
    limits = torch.full((len(rows),), max_new_tokens)
    return processes(rules, source=rows, start=lengths(rows), max_new_tokens=limits, stop=stop)
