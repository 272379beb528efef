"""A tiny config that a family is tested with."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

DECODER_TASKS = (
    "causal-lm",
    "sequence-classification",
    "token-classification",
    "question-answering",
    "embedding",
)
ENCODER_TASKS = (
    "masked-lm",
    "sequence-classification",
    "token-classification",
    "question-answering",
    "multiple-choice",
    "embedding",
)


@dataclass(frozen=True)
class Case:
    """One tiny config. It runs through every test of test_parity.py that fits its tasks.

    Args:
        name: shown by pytest.
        config: name of the transformers config class.
        settings: its arguments.
        tasks: which heads to test. All tests run with the first, the main ones with the others.
        length: tokens in the test input; past the trained length for stretched positions.
        steady: whether positions are turned alike at any length. Where not, decoding step by step
            differs from one pass over a long input, in transformers too.
        attention: the backend of the transformers model. Theirs drop what a fused one cannot do.
        refuses: our backends that say that they cannot compute it.
        attends: whether there are attention weights to compare.
        carries: what transformers calls the cache among its arguments and outputs.
        their_cache: whether transformers decodes step by step to what it gives in one pass.
        records_inputs: whether transformers records the input of each block among the hidden
            states, as we do; where not, it records the outputs.
        passes: how often the first block runs in a forward pass, where layers share it.
        drops_alike: whether dropout draws its numbers in the same order as in transformers.
        extra: inputs beside token ids, from `parity.EXTRA_INPUTS`.
        leaks: whether padding changes what transformers computes, so that padded rows cannot be
            compared with theirs. Ours must not change all the same.
        derived: regular expression found in the names of tensors that transformers stores though
            they follow from the config. Ours are neither stored nor needed.
    """

    name: str
    config: str
    settings: dict[str, Any] = field(repr=False)
    tasks: tuple[str, ...] = ("causal-lm",)
    length: int = 17
    steady: bool = True
    attention: str = "sdpa"
    refuses: tuple[str, ...] = ()
    attends: bool = True
    carries: str = "past_key_values"
    their_cache: bool = True
    records_inputs: bool = True
    passes: int = 1
    drops_alike: bool = True
    extra: tuple[str, ...] = ()
    leaks: bool = False
    derived: str = "(?!)"  # none
