"""From a spec to what the loop needs; what can be wrong is found here, before the work."""

from __future__ import annotations

import dataclasses
import math
import os
import shutil
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from tfcli.checkpoints.io.dtypes import dtype_code
from tfcli.console import Console
from tfcli.errors import ModelError, UsageError, WorkError
from tfcli.models.config import BaseConfig, config_from_recipe, config_keys
from tfcli.models.configs.text import TextConfig
from tfcli.models.registry import get_family
from tfcli.models.sharding import whole
from tfcli.train.adapter import begin_trained, check_base, held_dtype, shape_trained, widen
from tfcli.train.evaluating import evaluating
from tfcli.train.freezing import freeze
from tfcli.train.optimizer import require_optimizer
from tfcli.train.spec import TrainSpec

DTYPES = {
    "float32": torch.float32,
    "bfloat16": torch.bfloat16,
    "float16": torch.float16,
}

if TYPE_CHECKING:
    from tfcli.checkpoints.checkpoint import Checkpoint
    from tfcli.models.model import Model
    from tfcli.models.output import ModelOutput
    from tfcli.tokenizers.load import Tokenizer
    from tfcli.train.feeds.feed import Feed
    from tfcli.train.strategies.strategy import Strategy


def check_machine(spec: TrainSpec, device: str) -> None:
    """Refuse options that this machine cannot serve.

    Raises:
        UsageError: a missing library, compiler or kernel.
    """
    require_optimizer(spec.optimizer.name, device, spec.strategy)
    if spec.attention == "flex" and device == "cpu":
        raise UsageError(
            "flex attention has no backward pass on a CPU",
            where="attention",
            fix="attention: sdpa",
        )
    if spec.compile and spec.strategy not in (None, "single", "ddp"):
        raise UsageError(
            f"a compiled model does not go with strategy: {spec.strategy}",
            where="compile",
            fix="leave out compile, or take strategy: ddp",
        )
    compilers = [os.environ.get("CXX") or "g++", "clang++"]
    if spec.compile and device == "cpu" and not any(map(shutil.which, compilers)):
        raise UsageError(
            "compiling for the CPU needs a C++ compiler, and there is none",
            where="compile",
            fix="install g++, or leave out compile",
        )


def check_packing(spec: TrainSpec, start: Checkpoint | None) -> None:
    """Refuse to pack rows for a model in which they would see each other.

    Raises:
        UsageError: naming the family.
    """
    if not spec.rows.packing:
        return
    values: Any = start.config if start else spec.config or {}
    types = [values.get("model_type")]
    if start is not None and isinstance(values.get("text_config"), Mapping):
        types.append(start.model_config.text.model_type)
    for model_type in map(str, types):
        if not get_family(model_type).backbone_class().packs:
            raise UsageError(
                f"{model_type} takes no packed rows: what it carries from token to token would run "
                "from one into the next",
                where="rows.packing",
                fix="leave it out; rows.group_by_length saves filling up, too",
            )


def in_steps(spec: TrainSpec, feed: Feed) -> TrainSpec:
    """The spec with as many steps as its epochs take, the last of which may begin another epoch.

    Raises:
        UsageError: a warm-up longer than that.
    """
    if spec.epochs is None:
        return spec
    steps = math.ceil(spec.epochs * feed.part_length / feed.items_per_step)
    made = spec.model_copy(update={"max_steps": steps, "epochs": None})
    if made.warmup_steps > steps:
        raise UsageError(
            f"{made.warmup_steps} steps of warm-up are more than the {steps} steps of "
            f"{spec.epochs:g} epochs",
            where="schedule.warmup_steps",
        )
    return made


def new_config(values: dict[str, Any], tokenizer: Tokenizer | None) -> BaseConfig:
    """The config of a new model; the tokenizer fills in what it leaves open of the vocabulary.

    Raises:
        UsageError: a value that does not fit, or a model of several parts.
    """
    takes_words = "vocab_size" in config_keys(values)
    made = _read_new({**(_vocabulary(tokenizer) if takes_words else {}), **values})
    if getattr(made, "text_config", None) is not None:
        raise UsageError(
            f"{made.model_type} is made of several models, and is not trained from nothing",
            where="config.model_type",
            fix="put the parts together by tfcli compose, and give its output as model",
        )
    return made


def _read_new(values: dict[str, Any]) -> BaseConfig:
    try:
        return config_from_recipe(values)
    except ModelError as error:
        raise UsageError(error.what, where=f"config: {error.where}", fix=error.fix) from error


def _vocabulary(tokenizer: Tokenizer | None) -> dict[str, Any]:
    """What a tokenizer says of a config; nothing where there is none."""
    if tokenizer is None:
        return {}
    means_more = tokenizer.pad_id in (tokenizer.bos_id, tokenizer.eos_id)
    return {
        "vocab_size": tokenizer.vocab_size,
        "bos_token_id": tokenizer.bos_id,
        "eos_token_id": tokenizer.eos_id,
        # Readers keep the embedding of pad_token_id at 0, which must not happen to a token that
        # texts use. A family's own default names some token of another tokenizer.
        "pad_token_id": None if means_more else tokenizer.pad_id,
    }


def config_of(config: BaseConfig | None, start: Checkpoint | None) -> BaseConfig:
    """The config that training begins with: a new model's, or that of the start."""
    if config is not None:
        return config
    assert start is not None, "the spec asks for one of the two"
    return start.model_config


def check_task(config: BaseConfig, task: str) -> None:
    """Refuse a family that has no head for an objective.

    Raises:
        UsageError: naming the tasks that it has.
    """
    heads = get_family(config.model_type).heads
    if task not in heads:
        raise UsageError(
            f"{config.model_type} has no task {task!r}, which the objective trains",
            where="objective",
            fix=f"its tasks are {', '.join(heads)}",
        )


def check_config(config: BaseConfig, spec: TrainSpec, tokenizer: Tokenizer | None) -> None:
    """Refuse a model that cannot be trained as it is packed, or that the tokenizer or the windows
    do not fit.

    Raises:
        UsageError: naming the key.
    """
    check_base(config.quantization, spec)
    if tokenizer is not None:
        media = getattr(config, "media_tokens", {})
        _check_words(config.text, spec, tokenizer, frozenset(media.values()))


def _check_words(
    config: TextConfig, spec: TrainSpec, tokenizer: Tokenizer, media: frozenset[int]
) -> None:
    # What stands for features of media alone needs no embedding.
    beyond = sum(id >= config.token_id_limit for id in media)
    if config.token_id_limit < tokenizer.vocab_size - beyond:
        raise UsageError(
            f"the model has {config.token_id_limit:,} embeddings, "
            f"the tokenizer has {tokenizer.vocab_size:,} tokens",
            where="config.vocab_size" if spec.config else "tokenizer",
            fix="leave vocab_size out" if spec.config else "use the model's own tokenizer",
        )
    virtual = spec.adapter.virtual_tokens if spec.adapter.has_virtual_tokens else 0
    if virtual and spec.sequence_length + virtual > config.longest_input:
        raise UsageError(
            f"sequence_length is {spec.sequence_length} beside {virtual} virtual tokens, the model "
            f"has {config.longest_input} positions",
            where="sequence_length",
            fix=f"at most {config.longest_input - virtual}",
        )
    if spec.sequence_length > config.longest_input:
        raise UsageError(
            f"sequence_length is {spec.sequence_length}, the model has "
            f"{config.longest_input} positions (max_position_embeddings)",
            where="sequence_length",
            fix=f"at most {config.longest_input}",
        )


def build_model(
    spec: TrainSpec,
    config: BaseConfig | None,
    start: Checkpoint | None,
    task: str,
    strategy: Strategy,
    console: Console,
    keys: Mapping[str, Any] = MappingProxyType({}),
    new_head: bool = False,
    trained: bool = True,
) -> Model:
    """The model to train, float32, on the strategy's device and spread as it spreads it: new where
    there is a config, else loaded.

    Its config gets `keys`. With `new_head` a checkpoint may lack the task's head. `trained` puts
    the adapter on it, or freezes what is not trained.

    No row of its token table is frozen. A model's pad_token_id may be a token that texts use, as
    the one that ends them; and as windows hold no padding, a row that is none of these keeps its
    values anyway.

    Raises:
        UsageError: names or patterns that the model has nothing for.
    """
    from tfcli.checkpoints.folder import load_model
    from tfcli.checkpoints.io.memory import freed_is_kept
    from tfcli.models.adapters.walk import bare
    from tfcli.models.loading import build, initialize

    adapted = trained and spec.has_adapter

    def shape(model: Model) -> None:
        if start is not None:
            free_rows(model)
        if adapted:
            shape_trained(model, spec, console)
        strategy.spread(model)

    freed_is_kept()
    if config is not None:
        model = build(config.replace(**keys), task, attention=spec.attention)
        shape(model)
        initialize(model, spec.seed, device=strategy.device)
        free_rows(model)
    else:
        assert start is not None
        model = load_model(
            with_keys(start, keys),
            task=task,
            dtype=held_dtype(spec, start, strategy.device.type),
            device=strategy.device,
            attention=spec.attention,
            new_head=new_head,
            seed=spec.seed,
            spread=shape,
        )
        with bare(model):
            widen(model)
    if adapted:
        begin_trained(model, spec)
    if not any(parameter.requires_grad for parameter in model.parameters()):
        raise WorkError("the model has no parameters to train", where="model")
    if trained and (spec.freeze or spec.train_only):
        freeze(model, spec)
    model.set_activation_checkpointing(spec.activation_checkpointing)
    return model


def free_rows(model: Model) -> None:
    """Let every row of the token table learn; what looks at images alone has none."""
    table = dict(model.body.named_modules()).get(model.body.tokens)
    if isinstance(table, nn.Embedding):
        table.padding_idx = None


def frozen_model(
    spec: TrainSpec,
    strategy: Strategy,
    trained: Model,
    start: Callable[[], Model],
    ref: str | None,
) -> Callable[..., ModelOutput]:
    """A model that is compared with and not trained, float32, in eval mode, where the run computes
    and spread as its strategy spreads.

    Args:
        trained: the model that is trained. Without its adapter it is the one that training begins
            with, so that there is no second one in memory.
        start: makes the model that training begins with once more.
        ref: a checkpoint of a causal language model; None for that model.
    """
    from tfcli.checkpoints.folder import load_model

    if ref is None and spec.has_adapter and spec.adapter.bias == "none":
        return partial(without_adapter, trained, strategy.uncompiled(trained))
    if ref is None:
        model = start()
    else:
        model = load_model(
            ref,
            dtype=torch.float32,
            device=strategy.device,
            attention=spec.attention,
            spread=strategy.spread,
        )
    model.set_activation_checkpointing(False)
    return model.requires_grad_(False).eval()


def without_adapter(
    model: Model, forward: Callable[..., ModelOutput], **inputs: Any
) -> ModelOutput:
    """What a model that is trained gives without its adapter and without dropout."""
    from tfcli.models.adapters.control import disabled

    with evaluating(model), disabled(model):
        return forward(**inputs)


def with_keys(start: Checkpoint, keys: Mapping[str, Any]) -> Checkpoint:
    """A checkpoint with other values for some keys of its config.json."""
    if not keys:
        return start
    config = {key: value for key, value in start.config.items() if key != "num_labels"}
    return dataclasses.replace(start, config={**config, **keys})


def start_dtype(start: Checkpoint | None) -> torch.dtype:
    """The dtype that most bytes of the start's weights have; float32 for a new model."""
    known = {dtype_code(dtype): dtype for dtype in DTYPES.values()}
    held: Counter[torch.dtype] = Counter()
    for tensor in start or ():
        if tensor.dtype in known:
            held[known[tensor.dtype]] += tensor.nbytes
    return held.most_common(1)[0][0] if held else torch.float32


def written_dtype(weights: Iterable[Tensor], dtype: torch.dtype, console: Console) -> torch.dtype:
    """The dtype to write weights in: `dtype`, unless float16 has no number for one of them.

    Losing the run would be worse than a larger file.
    """
    if dtype == torch.float16:
        highest = max(float(whole(tensor.detach().abs().max())) for tensor in weights)
        if highest > torch.finfo(torch.float16).max:
            console.warn(f"a weight is {highest:.3g}, too large for float16: float32 is written")
            return torch.float32
    return dtype


def compile_model(model: Model, first: Callable[[], object]) -> None:
    """Compile a model that is on its device, in place, so that names and state stay as they are.

    A first forward fills what the model computes once, such as rotary frequencies. Within the
    compiled code that would be a change of state, and everything would be compiled twice.

    Args:
        first: does this forward.
    """
    with torch.no_grad():
        first()
    model.compile()
