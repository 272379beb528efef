"""How a request wants its text made: the keys that interfaces share, and the `Ask`s of them."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from tfcli.console import Console
from tfcli.generation.asked import text_settings
from tfcli.generation.keys import DRAWS, GenerationKeys
from tfcli.generation.sampling import row_seed
from tfcli.limits import MAX_CHOICES
from tfcli.serve.ask import Ask
from tfcli.serve.budget import Budget
from tfcli.serve.served import Served

if TYPE_CHECKING:
    from torch import Tensor


TokenNumber = Annotated[int, Field(ge=0)]
Ids = Annotated[list[TokenNumber], Field(min_length=1)]
_TO_KEYS = (
    *("temperature", "top_p", "top_k", "min_p", "typical_p"),
    *("repetition_penalty", "frequency_penalty", "presence_penalty", "stop"),
)


class Body(BaseModel):
    """The body of a request. What there is no key for is refused, not passed over."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)


class Wishes(Body):
    """Keys of OpenAI's interface for how tokens are picked, and a few of generation_config.json's
    that it has not: top_k, min_p, typical_p and repetition_penalty."""

    model: str
    temperature: Annotated[float | None, Field(ge=0, le=100)] = None
    top_p: float | None = None
    top_k: int | None = None
    min_p: float | None = None
    typical_p: float | None = None
    repetition_penalty: float | None = None
    frequency_penalty: float | None = None
    presence_penalty: float | None = None
    logit_bias: dict[TokenNumber, Annotated[float, Field(ge=-100, le=100)]] | None = None
    stop: str | list[str] | None = None
    seed: int | None = None
    n: Annotated[int, Field(ge=1, le=MAX_CHOICES)] = 1
    stream: bool = False
    user: str | None = None


def asks(
    served: Served,
    ids: list[int],
    wishes: Wishes,
    *,
    max_tokens: int | None,
    logprobs: int | None = None,
    continues: bool = True,
    special: bool = False,
    media: Mapping[str, Tensor] | None = None,
    lark: str | None = None,
    budget: Budget | None = None,
) -> list[Ask]:
    """What an engine is asked for: a text for each of `n`.

    Args:
        served: the model.
        ids: what it reads.
        wishes: of the request.
        max_tokens: that it asks for; None: as many as the server gives.
        logprobs: see `Ask`.
        continues, special, media: see `Ask`.
        lark: the grammar of the text, see `lark_grammar`; None: any text.
        budget: see `Ask`.

    Raises:
        ValidationError, UsageError, WorkError: what is asked for cannot be.
    """
    given: dict[str, Any] = {
        key: getattr(wishes, key) for key in _TO_KEYS if getattr(wishes, key) is not None
    }
    if isinstance(wishes.stop, str):
        given["stop"] = [wishes.stop]
    if given.get("temperature") == 0:  # clients send the others beside it
        given = {key: each for key, each in given.items() if key not in DRAWS[1:]}
    keys = GenerationKeys(**given)
    config = served.checkpoint.model_config.text
    bias = [[[token], number] for token, number in (wishes.logit_bias or {}).items()]
    said = dict(served.generation_config)
    said.pop("num_return_sequences", None)
    if bias:
        said["sequence_bias"] = [*(said.get("sequence_bias") or []), *bias]
    settings = text_settings(keys, said, config, served.tokenizer, Console.silent())
    if lark is not None:
        settings = replace(settings, grammar=served.grammar(lark, sorted(settings.stop)))
    seed = secrets.randbits(63) if wishes.seed is None else wishes.seed % (1 << 64)
    new = served.new_tokens(ids, max_tokens)
    return [
        Ask(
            ids=ids,
            max_new_tokens=new,
            settings=settings,
            seed=row_seed(seed, number),
            logprobs=logprobs,
            continues=continues,
            special=special,
            media=media or {},
            max_time=served.timeout,
            adapter=served.adapter,
            budget=budget,
        )
        for number in range(wishes.n)
    ]
