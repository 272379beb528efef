"""The memory of a model that is run, from one pass that is made with tensors without values."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch

from tfcli.checkpoints.checkpoint import Checkpoint
from tfcli.checkpoints.folder import open_model
from tfcli.devices import pick_dtype
from tfcli.errors import UsageError
from tfcli.estimate.account import Account
from tfcli.estimate.heap import Heap
from tfcli.estimate.live import Live, give_memory
from tfcli.evaluate.spec import EvalSpec
from tfcli.generation.caches import CACHES
from tfcli.generation.prompts import read_prompts
from tfcli.generation.spec import GenerateSpec
from tfcli.generation.tasks import text_task
from tfcli.inspect.memory import longest
from tfcli.models.loading import build
from tfcli.tokenizers.load import load_tokenizer

USUAL_WINDOW = 2048
"""Tokens of an evaluation's window that a recipe leaves open, as `tfcli eval` has it."""
_DECODED = ("causal-lm",)


@dataclass(frozen=True)
class Pass:
    """What is run.

    Args:
        model: names the checkpoint.
        rows: texts at once.
        read: tokens of each that are read in one pass.
        written: tokens that come after these, one at a time.
        cache: the kind of cache; None runs without one.
        dtype: of the weights.
        task: the head; None takes the one that makes text.
    """

    model: str
    rows: int
    read: int
    written: int = 0
    cache: str | None = None
    dtype: str = "auto"
    attention: str = "sdpa"

    @classmethod
    def of_generate(cls, spec: GenerateSpec) -> Pass:
        """The longest prompt of a spec, and what it makes of it."""
        tokenizer = load_tokenizer(open_model(spec.model).beside)
        read = max(len(tokenizer.encode(prompt)) for prompt in read_prompts(spec))
        written = spec.most_new_tokens
        return cls(spec.model, 1, read, written, spec.cache, spec.dtype, spec.attention)

    @classmethod
    def of_eval(cls, spec: EvalSpec) -> Pass:
        """A batch of windows."""
        window = spec.sequence_length
        if window is None:
            text = open_model(spec.model).model_config.text
            window = min(longest(text), USUAL_WINDOW)
        return cls(
            spec.model,
            spec.batch_size,
            window,
            dtype=spec.dtype,
            attention=spec.attention,
        )

    @classmethod
    def of_model(cls, model: str, context: int | None, rows: int) -> Pass:
        """Texts of as many tokens as the model's longest."""
        length = context or longest(open_model(model).model_config.text)
        return cls(model, rows, length, cache="dynamic")


def count_pass(run: Pass, heap: Heap | None) -> Account:
    """What a process holds that runs it.

    Packed weights count as they are stored.

    Raises:
        UsageError: a model that makes no text.
    """
    checkpoint = open_model(run.model)
    config = checkpoint.model_config
    task = text_task(config)
    if task not in _DECODED:
        raise UsageError(
            f"memory is counted for models that go on with a text, and {config.model_type} is "
            f"loaded as {task}",
            where="model",
        )
    packed = config.quantization is not None
    model = build(
        replace(config, quantization=None) if packed else config, task, attention=run.attention
    )
    dtype = pick_dtype(run.dtype, config.quantization) or _stored(checkpoint)
    with Live((config.text.vocab_size,), heap) as live, torch.inference_mode():
        with live.making("weights"):
            give_memory(model, dict.fromkeys(dict(model.named_parameters()), dtype))
            model.tie_weights()
        model.eval()
        weights = live.now["weights"]
        options = {}
        if run.cache is not None:
            kind, settings = CACHES[run.cache]
            options["cache"] = model.make_cache(kind, run.read + run.written, **settings)
        ids = torch.zeros(run.rows, run.read, dtype=torch.long)
        if run.cache is None:
            made = model(input_ids=ids, targets=ids, return_logits=False)
        else:
            made = model(input_ids=ids, logits_to_keep=1, **options)
        del made
        peak = dict(live.peak)
    if run.cache is not None and run.cache != "static":
        per_token = config.text.cached_per_position * config.text.cached_layers * dtype.itemsize
        peak["cache"] = peak.get("cache", 0) + per_token * run.rows * run.written
    if packed:
        peak["weights"] = sum(tensor.nbytes for tensor in checkpoint)
    held = sum(live.peak.values())
    allocator = 0 if heap is None else max(0, heap.peak - held)
    parameters = sum(math.prod(each.shape) for each in model.parameters())
    assert weights, "a model has weights"
    return Account({k: v for k, v in peak.items() if v}, allocator, parameters, None)


def _stored(checkpoint: Checkpoint) -> torch.dtype:
    from tfcli.train.prepare import start_dtype

    return start_dtype(checkpoint)
