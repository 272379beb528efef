"""What answers of OpenAI's interface are made of."""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Sequence
from time import time
from typing import Any

from tfcli.serve.ask import End, Reason, Token
from tfcli.tokenizers.load import Tokenizer

FINISH: dict[Reason, str] = {"stop": "stop", "length": "length", "time": "length"}
"""Why a text ended, in this interface. Time is a length too."""


def head(kind: str, prefix: str, model: str) -> dict[str, Any]:
    """What every answer begins with."""
    return {
        "id": f"{prefix}-{secrets.token_hex(12)}",
        "object": kind,
        "created": int(time()),
        "model": model,
    }


def usage(
    prompt: int, written: int, ends: Iterable[End], thought: int | None = None
) -> dict[str, Any]:
    """How many tokens were read and written; `cached` of them were known of earlier texts, and
    `thought` of them are thoughts, where these are told apart."""
    cached = max((end.cached for end in ends), default=0)
    parts = {} if thought is None else {"completion_tokens_details": {"reasoning_tokens": thought}}
    return {
        **parts,
        "prompt_tokens": prompt,
        "completion_tokens": written,
        "total_tokens": prompt + written,
        "prompt_tokens_details": {"cached_tokens": cached},
    }


def chat_logprobs(tokenizer: Tokenizer, tokens: Sequence[Token]) -> dict[str, Any]:
    """The probabilities of a message's tokens."""
    return {
        "content": [
            {
                **_spelled(tokenizer, token.id, token.logprob),
                "top_logprobs": [_spelled(tokenizer, *each) for each in token.likeliest],
            }
            for token in tokens
        ],
        "refusal": None,
    }


def text_logprobs(tokenizer: Tokenizer, tokens: Sequence[Token], at: int) -> dict[str, Any]:
    """The same of a completion, which begins at character `at`."""
    spelled = [_text(tokenizer, token.id) for token in tokens]
    offsets = [at + sum(map(len, spelled[:number])) for number in range(len(spelled))]
    return {
        "tokens": spelled,
        "token_logprobs": [token.logprob for token in tokens],
        "top_logprobs": [
            {_text(tokenizer, one): logprob for one, logprob in token.likeliest} for token in tokens
        ],
        "text_offset": offsets,
    }


def _spelled(tokenizer: Tokenizer, token: int, logprob: float | None) -> dict[str, Any]:
    text = _text(tokenizer, token)
    return {"token": text, "logprob": logprob, "bytes": list(text.encode())}


def _text(tokenizer: Tokenizer, token: int) -> str:
    return tokenizer.decode([token], skip_special_tokens=False)
