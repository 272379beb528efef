"""Conversations as a model reads them: a chat template rendered, and its text encoded.

The rules are those of transformers' `apply_chat_template`, and the text is the same; what a
template may do and use is less (`chat_sandbox`).
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from tfcli.errors import UsageError, WorkError
from tfcli.limits import MAX_CHAT_TEMPLATE
from tfcli.tokenizers.chat_messages import conversation, copy, cut_final, mappings, mark_final
from tfcli.tokenizers.chat_sandbox import SANDBOX, Limits
from tfcli.tokenizers.chat_tools import Function, tool_schemas
from tfcli.tokenizers.load import Tokenizer

# Twice what the longest known template has; it bounds compiling.
LONGEST_TEMPLATE = MAX_CHAT_TEMPLATE


@dataclass(frozen=True)
class Rendered:
    """A conversation as text.

    Args:
        text: what the model reads, special tokens spelt out.
        generation_spans: start and end, in characters of `text`, of what the template marks as the
            assistant's by `{% generation %}`, in order. None when it marks nothing, or works on
            what it has marked, as by trimming it, so that the place is not known.
    """

    text: str
    generation_spans: tuple[tuple[int, int], ...] | None


@dataclass(frozen=True)
class Encoded:
    """A conversation as ids.

    Args:
        ids: with a BOS where one is declared or the template writes one, and never two.
        assistant_mask: 1 for each id of the assistant's parts, else 0. None when the template does
            not say which these are.
    """

    ids: list[int]
    assistant_mask: list[int] | None


def render_chat(
    template: str,
    messages: Sequence[Mapping[str, Any]],
    *,
    tools: Sequence[Mapping[str, Any] | Function] | None = None,
    documents: Sequence[Mapping[str, Any]] | None = None,
    add_generation_prompt: bool = False,
    continue_final_message: bool = False,
    special_tokens: Mapping[str, str],
    variables: Mapping[str, Any] | None = None,
    now: datetime | None = None,
    limits: Limits | None = None,
) -> Rendered:
    """Turn a conversation into the text that a model was trained on.

    Args:
        template: the Jinja source.
        messages: each has `role`, and `content`: a text, or a list of parts.
        tools: the functions that the model may call, or their JSON schemas.
        documents: texts to answer from, such as `{"title": ..., "text": ...}`.
        add_generation_prompt: end with the beginning of the assistant's turn.
        continue_final_message: end with the last message's content, for the model to go on.
        special_tokens: `bos_token` and the like, as the template's variables.
        variables: more of them, such as `enable_thinking`.
        now: the date that the template sees; left out, today's.
        limits: of time, text and memory; left out, `Limits()`.

    Raises:
        UsageError: both ways to end at once.
        WorkError: messages of the wrong form; a template that cannot be compiled, refuses the
            messages, fails, or does what it may not; a function without what a schema needs.
    """
    if add_generation_prompt and continue_final_message:
        raise UsageError(
            "a text ends with the beginning of a new message or continues the last one, not both",
            where="add_generation_prompt, continue_final_message",
            fix="leave one of the two out",
        )
    chat = conversation(messages)
    values = {
        **copy(dict(special_tokens), "special_tokens"),
        **copy(dict(variables or {}), "variables"),
        "tools": mappings(tool_schemas(tools), "tools"),
        "documents": mappings(documents, "documents"),
        "add_generation_prompt": add_generation_prompt,
        "messages": chat,
    }
    content = mark_final(chat) if continue_final_message else ""
    if len(template) > LONGEST_TEMPLATE:
        raise WorkError(
            f"the chat template is longer than {LONGEST_TEMPLATE:,} characters",
            where="chat template",
            fix="use a template from a source you trust",
        )
    text, spans = SANDBOX.render(template, values, now or datetime.now(), limits or Limits())
    if continue_final_message:
        text = cut_final(text, content)
        spans = [(start, min(end, len(text))) for start, end in spans or () if start < len(text)]
    return Rendered(text, tuple(spans) if spans else None)


def encode_chat(
    tokenizer: Tokenizer,
    messages: Sequence[Mapping[str, Any]],
    *,
    template: str | None = None,
    special_tokens: Mapping[str, str] | None = None,
    add_bos: bool | None = None,
    **options: Any,
) -> Encoded:
    """Turn a conversation into ids.

    Special tokens in the text become their ids, those in a user's message too, as the template's
    own do.

    Args:
        tokenizer: of the model.
        messages: as in `render_chat`.
        template: left out, the tokenizer's own.
        special_tokens: as in `render_chat`; left out, those that the tokenizer declares.
        add_bos: whether a BOS begins every text. Left out, as the tokenizer does with plain text.
        options: the others of `render_chat`.

    Raises:
        UsageError: as `render_chat`, and when there is no template.
        WorkError: as `render_chat`, and when a BOS is declared that the tokenizer does not have.
    """
    template = tokenizer.chat_template if template is None else template
    if template is None:
        raise UsageError("the tokenizer has no chat template", fix="give one")
    if special_tokens is None:
        special_tokens = written_special_tokens(tokenizer)
    rendered = render_chat(template, messages, special_tokens=special_tokens, **options)
    return encode_rendered(tokenizer, rendered, add_bos=add_bos)


def encode_rendered(
    tokenizer: Tokenizer, rendered: Rendered, *, add_bos: bool | None = None
) -> Encoded:
    """Turn the text of a conversation into ids, all of it at once.

    An id belongs to the assistant's parts when one of its characters does.

    Args:
        add_bos: as in `encode_chat`.

    Raises:
        WorkError: a BOS is declared that the tokenizer does not have.
    """
    if add_bos and tokenizer.bos_id is None:
        raise WorkError("a BOS token is declared, but not which", where="tokenizer_config.json")
    found = tokenizer.batch([rendered.text], return_offsets=True, add_special_tokens=False)
    ids, offsets, spans = found.ids[0], (found.offsets or [[]])[0], rendered.generation_spans
    mask = [in_spans(first, last, spans) for first, last in offsets] if spans else None
    bos, written = tokenizer.bos_id, 0
    while written < len(ids) and ids[written] == bos:
        written += 1
    wanted = [bos] if bos is not None and (written or _declared(tokenizer, add_bos)) else []
    return Encoded(
        [*wanted, *ids[written:]],
        None if mask is None else [0] * len(wanted) + mask[written:],
    )


def written_special_tokens(tokenizer: Tokenizer) -> dict[str, str]:
    """Role -> the text of the special tokens that a tokenizer declares, as templates take them."""
    to_text = tokenizer.backend.id_to_token
    return {role: to_text(id) or "" for role, id in tokenizer.special_ids.items()}


def _declared(tokenizer: Tokenizer, add_bos: bool | None) -> bool:
    return tokenizer.bos_id in tokenizer.prefix if add_bos is None else add_bos


def in_spans(first: int, last: int, spans: tuple[tuple[int, int], ...]) -> int:
    """1 when the characters from `first` to `last` reach into one of the spans."""
    at = bisect_left(spans, (last, 0)) - 1  # the last one that starts before `last`
    return int(at >= 0 and first < spans[at][1])
