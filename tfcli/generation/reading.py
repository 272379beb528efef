"""What a model reads of a prompt: its ids, and media where there are any."""

from __future__ import annotations

from pathlib import Path

from tfcli.checkpoints.checkpoint import Checkpoint
from tfcli.generation.media import Prompt, given_media, read_media
from tfcli.generation.spec import GenerateSpec
from tfcli.generation.tasks import ANSWERS
from tfcli.tokenizers.chat_folder import choose_template, declared_bos, find_templates
from tfcli.tokenizers.load import Tokenizer


def read_prompt(
    prompt: str, spec: GenerateSpec, checkpoint: Checkpoint, tokenizer: Tokenizer, task: str
) -> Prompt:
    """What the model reads of a prompt: its ids, and media where there are any."""
    if given_media(spec):
        return read_media(prompt, spec, checkpoint)
    return Prompt(prompt, prompt_ids(prompt, spec, checkpoint, tokenizer, task))


def prompt_ids(
    prompt: str, spec: GenerateSpec, checkpoint: Checkpoint, tokenizer: Tokenizer, task: str
) -> list[int]:
    """What the model reads: the prompt itself, or the conversation that it begins.

    A continuation of nothing begins with the BOS, as in transformers, where a tokenizer puts none
    before other texts too.
    """
    if spec.chat:
        return _conversation_ids(prompt, spec, checkpoint.beside, tokenizer)
    ids = tokenizer.encode(prompt)
    if task == ANSWERS:
        return ids
    ids = ids[: len(ids) - len(tokenizer.suffix)]  # an EOS would end it before it began
    declared = (tokenizer.bos_id, checkpoint.model_config.text.bos_token_id)
    return ids or [bos for bos in declared if bos is not None][:1]


def _conversation_ids(
    prompt: str, spec: GenerateSpec, folder: Path, tokenizer: Tokenizer
) -> list[int]:
    from tfcli.tokenizers.chat import encode_chat

    template = choose_template(find_templates(folder))
    messages = [{"role": "user", "content": prompt}]
    if spec.system is not None:
        messages.insert(0, {"role": "system", "content": spec.system})
    return encode_chat(
        tokenizer,
        messages,
        template=template,
        add_bos=declared_bos(folder),
        add_generation_prompt=True,
    ).ids
