"""What a benchmark will measure, and what is refused before anything is loaded."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.util import find_spec
from itertools import product
from pathlib import Path

import torch

from tfcli.benchmark.spec import CACHED, OF_A_TEXT, BenchmarkSpec
from tfcli.benchmark.task import Task
from tfcli.checkpoints.checkpoint import Checkpoint
from tfcli.checkpoints.folder import open_model
from tfcli.checkpoints.io.dtypes import FLOATS, torch_dtype
from tfcli.console import Console
from tfcli.devices import dtype_name, pick_dtype
from tfcli.errors import UsageError
from tfcli.generation.caches import memory_of
from tfcli.generation.tasks import CONTINUES, text_task
from tfcli.hub import resolve
from tfcli.models.configs.text import TextConfig
from tfcli.quantize.load_in import load_in
from tfcli.units import format_bytes

LENGTH = 512
PACKAGES = {"transformers": "transformers", "llama.cpp": "xllamacpp"}
"""What is measured beside tfcli -> the package that it needs."""
LACKS = {"transformers": (), "llama.cpp": ("train",)}
"""What is measured beside tfcli -> the cases that it has not."""


@dataclass(frozen=True)
class Subject:
    """A model that is measured.

    Args:
        ref: as the user names it.
        hash: of its config and the names, types and shapes of its tensors.
        dtype: of most of its weights in memory, where they are not quantized.
        weight_bytes: as they are stored, or as load_in makes them.
        quantized: whether its weights are packed.
    """

    ref: str
    config: TextConfig
    hash: str
    dtype: str
    weight_bytes: int
    quantized: bool


@dataclass(frozen=True)
class Planned:
    """One row to be: a task of a model."""

    subject: Subject
    task: Task

    def placed(self, places: Mapping[tuple[str, str], str]) -> Planned:
        """With what the side loads, where that is not what the user names.

        Args:
            places: side and model -> what it loads.
        """
        model = places.get((self.task.side, self.subject.ref), self.subject.ref)
        return replace(self, task=replace(self.task, model=model))

    def conditions(self) -> dict[str, str | int | None]:
        """What the figures depend on, by the names of a row's fields."""
        of_a_text, task = self.task.case in OF_A_TEXT, self.task
        return {
            "model_hash": self.subject.hash,
            "side": task.side,
            "case": task.case,
            "batch_size": task.batch_size if of_a_text else None,
            "length": task.length if of_a_text else None,
            "new_tokens": task.new_tokens if task.case == "decode" else None,
            "cache": task.cache if task.case in CACHED else None,
            "load_in": task.load_in,
            "dtype": self.subject.dtype,
            "attention": task.attention,
        }


def subject(ref: str, spec: BenchmarkSpec, device: str) -> Subject:
    """Open a model and see that its texts are what is timed: a prompt and its continuation.

    Raises:
        UsageError: it makes no text, reads its prompt with an encoder, or cannot be loaded or
            trained as asked.
    """
    checkpoint = load_in(open_model(ref), spec.load_in, Console.silent())
    config = checkpoint.model_config
    if text_task(config) != CONTINUES:
        raise UsageError(
            f"{config.model_type} reads its prompt with an encoder, which is not timed",
            where=ref,
            fix="give models that continue a text",
        )
    quantized = config.quantization is not None
    if quantized and "train" in spec.case:
        raise UsageError(
            "its weights are packed, and packed weights are not trained",
            where=ref,
            fix="leave the case train out, or give a dense model",
        )
    dtype = pick_dtype(spec.dtype, config.quantization, torch.device(device).type)
    return Subject(
        ref,
        config.text,
        _hash(checkpoint),
        dtype_name(dtype or _stored(checkpoint)),
        checkpoint.nbytes,
        quantized,
    )


def lengths(spec: BenchmarkSpec, subjects: Sequence[Subject]) -> list[int]:
    """The lengths of the texts: as asked for, or what every model has room for.

    Raises:
        UsageError: a model has too few positions.
    """
    if not set(spec.case) & set(OF_A_TEXT):
        return []
    decodes = "decode" in spec.case
    new = spec.new_tokens if decodes else 0
    shortest = min(subjects, key=lambda each: each.config.longest_text)
    limit = shortest.config.longest_text
    wanted = list(spec.length) or [max(1, min(LENGTH, limit - new))]
    if max(wanted) + new > limit:
        tokens = f"{max(wanted):,} tokens of text"
        raise UsageError(
            f"{shortest.ref} has {limit:,} positions, too few for {tokens}"
            + (f" and {new:,} new ones" if decodes else ""),
            where="length" if spec.length else "new_tokens",
            fix="ask for fewer",
        )
    return wanted


def check_room(
    spec: BenchmarkSpec, subjects: Sequence[Subject], texts: Sequence[int], device: str
) -> None:
    """Refuse batches whose keys and values alone are more than the device's memory.

    Args:
        texts: lengths, from `lengths`.

    Raises:
        UsageError: naming the model and both sizes.
    """
    if not texts or not set(spec.case) & set(CACHED):
        return
    positions = max(texts) + (spec.new_tokens if "decode" in spec.case else 0)
    there = memory_of(torch.device(device))
    for each in subjects:
        config = each.config
        layers = range(min(config.cached_layers, config.num_hidden_layers))
        seen = sum(min(config.window(layer) or positions, positions) for layer in layers)
        per_text = seen * config.cached_per_position * getattr(torch, each.dtype).itemsize
        # 4 bits a number is the least that a cache keeps.
        least = per_text // (8 if set(spec.cache) == {"quantized4"} else 1)
        if least * max(spec.batch_size) > there:
            raise UsageError(
                f"{max(spec.batch_size):,} texts of {positions:,} positions have "
                f"{format_bytes(least * max(spec.batch_size))} of keys and values in {each.ref}, "
                f"and there are {format_bytes(there)} of memory",
                where="batch_size",
                fix="ask for fewer texts or shorter ones",
            )


def check_peers(spec: BenchmarkSpec, subjects: Sequence[Subject]) -> list[str]:
    """See that what is measured beside tfcli is installed and reads the models; what it leaves out.

    Raises:
        UsageError: it is not installed, has none of the cases, or does not read a model.
    """
    notes = []
    for peer in spec.vs:
        if find_spec(PACKAGES[peer]) is None:
            raise UsageError(
                f"{peer} is not installed: the package {PACKAGES[peer]}",
                where="vs",
                fix="pip install 'tfcli[benchmark]'",
            )
        lacking = [case for case in spec.case if case in LACKS[peer]]
        if len(lacking) == len(spec.case):
            raise UsageError(f"{peer} has no case {lacking[0]}", where="vs", fix="leave it out")
        notes += [f"{peer} has no case {case}" for case in lacking]
    if spec.vs and set(spec.cache) - {"dynamic"} and set(spec.case) & set(CACHED):
        notes.append(f"{' and '.join(spec.vs)}: measured with a growing cache alone")
    if "transformers" in spec.vs:
        for each in subjects:
            if not (Path(resolve(each.ref)) / "config.json").is_file():
                raise UsageError(
                    "transformers is measured on folders of its own format alone",
                    where=each.ref,
                    fix="tfcli convert it first",
                )
    return notes


def plan(
    spec: BenchmarkSpec,
    subjects: Sequence[Subject],
    texts: Sequence[int],
    *,
    threads: int,
    device: str,
) -> list[Planned]:
    """Every case of every model and side, in the order of the rows.

    Args:
        texts: lengths, from `lengths`.
    """
    found = []
    for each in subjects:
        for case, batch, length, cache, side in _grid(spec, texts):
            own = side == "tfcli"
            task = Task(
                side=side,
                case=case,
                model=each.ref,
                batch_size=batch,
                length=length,
                new_tokens=spec.new_tokens if case == "decode" else 1,
                cache=cache,
                repeats=spec.repeats,
                threads=threads,
                load_in=spec.load_in,
                dtype=spec.dtype if own else each.dtype,
                device=device,
                attention=spec.attention,
                family_file=spec.family_file if own else None,
            )
            found.append(Planned(each, task))
    return found


def _grid(spec: BenchmarkSpec, texts: Sequence[int]) -> Iterator[tuple[str, int, int, str, str]]:
    """Case, batch, length, cache and side of every row of one model."""
    for case in spec.case:
        batches = spec.batch_size if case in OF_A_TEXT else [1]
        of_case = texts if case in OF_A_TEXT else [1]
        caches = spec.cache if case in CACHED else ["dynamic"]
        for batch, length, cache in product(batches, of_case, caches):
            yield case, batch, length, cache, "tfcli"
            for peer in spec.vs:
                if case not in LACKS[peer] and cache == "dynamic":
                    yield case, batch, length, cache, peer


def _hash(checkpoint: Checkpoint) -> str:
    """Equal for models that compute alike: values of weights change no time, and names no speed."""
    config = {k: v for k, v in checkpoint.config.items() if k not in ("_name_or_path",)}
    tensors = sorted((each.name, each.dtype, *each.shape) for each in checkpoint)
    told = json.dumps([config, tensors], sort_keys=True, default=str)
    return hashlib.sha256(told.encode()).hexdigest()[:16]


def _stored(checkpoint: Checkpoint) -> torch.dtype:
    """The floating-point type that most of the stored bytes have."""
    sizes: Counter[str] = Counter()
    for each in checkpoint:
        if each.dtype in FLOATS:
            sizes[each.dtype] += each.nbytes
    return torch_dtype(max(sizes, key=lambda code: sizes[code], default="F32"))
