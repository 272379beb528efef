"""How much memory a checkpoint needs, by arithmetic alone.

load   the stored bytes of the weights. tfcli maps them from the file, so the system can drop
       and read them again; on an accelerator they are all held.
run    load + key/value cache + activations, for one sequence of `context` tokens: the config's
       longest, or 4096 where it has none.
         cache        2 * kv_heads * head_dim * context * e for each layer of a decoder, and as
                      much for the encoder's states that it looks at; at most its window of the
                      context, and nothing in recurrent layers
         activations  context * (4 * hidden + 2 * intermediate) * e + 4 * vocab
                      the widest moment of one block, and one position's logits in fp32
       with e the bytes of a number in the dtype that it computes in.
train  16 bytes a parameter: fp32 weight, gradient, and AdamW's two moments. Activations come on
       top; they depend on the batch.
"""

from __future__ import annotations

from collections.abc import Mapping

from tfcli.checkpoints.io.dtypes import BITS, FLOATS, TORCH_NAMES
from tfcli.inspect.spec import Memory
from tfcli.models.configs.text import TextConfig
from tfcli.models.limits import LIMIT

DEFAULT_CONTEXT = 4096
_TRAIN_BYTES = 4 + 4 + 8


def estimate(
    config: TextConfig | None,
    task: str | None,
    *,
    nbytes: int,
    parameters: int,
    dtypes: Mapping[str, int],
    context: int | None = None,
) -> Memory:
    """Estimate the memory to load, run and train.

    Args:
        config: the family's config; None when it is not understood, and then `run` is None.
        task: what makes text has a key/value cache.
        nbytes: of the stored tensors.
        parameters: of the model.
        dtypes: stored values by dtype code.
        context: tokens of the sequence; None for the config's longest.
    """
    train = parameters * _TRAIN_BYTES
    if config is None:
        return Memory(
            load=nbytes, run=None, train=train, context=None, kv_cache=None, activations=None
        )
    size = _number_bytes(config.dtype, dtypes)
    context = context or longest(config)
    cache, activations = while_running(config, task, context, size)
    return Memory(
        load=nbytes,
        run=nbytes + cache + activations,
        train=train,
        context=context,
        kv_cache=cache,
        activations=activations,
    )


def longest(config: TextConfig) -> int:
    """Tokens of the config's longest sequence."""
    return config.longest_input if config.longest_input < LIMIT else DEFAULT_CONTEXT


def while_running(
    config: TextConfig, task: str | None, context: int, size: float
) -> tuple[int, int]:
    """Bytes of the key/value cache and of the activations of one sequence.

    Args:
        config: the family's config.
        task: what makes text has a cache.
        context: its tokens.
        size: bytes of a number in the dtype that it computes in.
    """
    cache = 0.0
    if task in ("causal-lm", "seq2seq-lm", "image-text-to-text"):
        windows = [config.window(layer) or context for layer in range(config.cached_layers)]
        positions = sum(min(window, context) for window in windows)
        cache = config.cached_per_position * positions * size
    middle = getattr(config, "intermediate_size", None) or 4 * config.hidden_size
    activations = context * (4 * config.hidden_size + 2 * middle) * size + 4 * config.vocab_size
    return int(cache), int(activations)


def _number_bytes(dtype: str | None, dtypes: Mapping[str, int]) -> int:
    """Bytes of a number in the dtype that the model computes in."""
    codes = {name: code for code, name in TORCH_NAMES.items()}
    stored = [code for code in dtypes if code in FLOATS]
    if dtype in codes:
        return BITS[codes[dtype]] // 8
    return BITS[max(stored, key=lambda code: dtypes[code])] // 8 if stored else 2
