"""Documents as token ids: texts as they stand, conversations by the model's chat template."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from tfcli.data.documents import Conversation, Document
from tfcli.errors import UsageError, WorkError
from tfcli.tokenizers.chat import encode_chat
from tfcli.tokenizers.chat_folder import choose_template, declared_bos, find_templates
from tfcli.tokenizers.load import Tokenizer


def document_ids(
    documents: Sequence[Document], tokenizer: Tokenizer, folder: Path
) -> list[list[int]]:
    """The ids of documents as the model reads them, with the special tokens that belong to them.

    Args:
        documents: texts, and conversations with media in none of their messages.
        tokenizer: of the model.
        folder: of the tokenizer, which has the chat template.

    Raises:
        UsageError: there is a conversation, and the model has no chat template.
        WorkError: a conversation that the template does not take; names file and line.
    """
    chat = next((each for each in documents if isinstance(each, Conversation)), None)
    template, bos = "", None
    if chat is not None:
        templates = find_templates(folder)
        if not templates:
            raise UsageError(
                "the line is a conversation, and the model has no chat template",
                where=chat.where,
                fix="give lines with text, or put a chat_template.jinja into the model's folder",
            )
        template, bos = choose_template(templates), declared_bos(folder)
    return [
        _conversation(each, tokenizer, template, bos)
        if isinstance(each, Conversation)
        else tokenizer.encode(each.text, add_special_tokens=True)
        for each in documents
    ]


def _conversation(
    chat: Conversation, tokenizer: Tokenizer, template: str, bos: bool | None
) -> list[int]:
    medium = _medium(chat.messages)
    if medium is not None:
        raise WorkError(
            f"a message has a part of type {medium!r}, and only texts are read",
            where=chat.where,
            fix="leave the line out",
        )
    try:
        return encode_chat(tokenizer, chat.messages, template=template, add_bos=bos).ids
    except WorkError as error:
        place = "" if error.where is None else f", {error.where}"
        raise WorkError(
            error.what,
            where=f"{chat.where}{place}",
            fix=error.fix or 'a line is like {"messages": [{"role": "user", "content": "..."}]}',
        ) from error


def _medium(messages: object) -> str | None:
    """The type of the first part of a message that is no text."""
    for message in messages if isinstance(messages, list) else ():
        content = message.get("content") if isinstance(message, Mapping) else None
        for part in content if isinstance(content, list) else ():
            kind = part.get("type", "text") if isinstance(part, Mapping) else "text"
            if kind != "text":
                return str(kind)
    return None
