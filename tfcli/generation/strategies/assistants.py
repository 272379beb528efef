"""Which model may draft for another one, and how drafts are made."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from tfcli.checkpoints.checkpoint import Checkpoint
from tfcli.checkpoints.folder import open_model
from tfcli.errors import UsageError
from tfcli.generation.processors import Process
from tfcli.generation.readers import Reader
from tfcli.generation.settings import TextSettings
from tfcli.generation.strategies.drafted import Drafted
from tfcli.generation.strategies.drafters import Assistant, Drafter, Lookup
from tfcli.models.cache import Cache
from tfcli.models.caches.recurrent import ShiftStore, StateStore
from tfcli.models.configs.text import TextConfig
from tfcli.models.model import Model
from tfcli.models.registry import get_family
from tfcli.tokenizers.load import Tokenizer, load_tokenizer

KEY, LOOKUP = "assistant_model", "prompt_lookup_num_tokens"


def open_assistant(name: str, task: str, tokenizer: Tokenizer, config: TextConfig) -> Checkpoint:
    """The checkpoint of a model that can draft for another one; its weights are not read.

    Args:
        name: of the assistant.
        task: of the model that it drafts for.
        tokenizer, config: of that model.

    Raises:
        UsageError: a model of another kind, with another tokenizer, or with fewer positions.
    """
    checkpoint = open_model(name)
    its = checkpoint.model_config
    if task not in get_family(its.model_type).heads:
        raise UsageError(
            f"{its.model_type} makes no text as the model does ({task}), and cannot draft for it",
            where=KEY,
            fix="name a smaller model of the same kind",
        )
    own = load_tokenizer(checkpoint.beside).backend.get_vocab(with_added_tokens=True)
    wanted = tokenizer.backend.get_vocab(with_added_tokens=True)
    if own != wanted:
        differ = {token for token, _ in own.items() ^ wanted.items()}
        raise UsageError(
            f"the assistant has another tokenizer: {len(differ):,} tokens differ, such as "
            f"{min(differ)!r}, and its ids would mean other words",
            where=KEY,
            fix="name a model of the same tokenizer",
        )
    if its.text.longest_text < config.longest_text:
        raise UsageError(
            f"the assistant has {its.text.longest_text:,} positions, fewer than the model's "
            f"{config.longest_text:,}",
            where=KEY,
            fix="name a model that reads texts as long",
        )
    return checkpoint


def drafted(
    reader: Reader,
    assistant: Reader | None,
    *,
    sources: Sequence[Sequence[int]],
    max_new_tokens: Sequence[int],
    settings: TextSettings,
    seeds: Sequence[int],
    process: Sequence[Process],
) -> Drafted:
    """The decoding with drafts that settings ask for.

    Args:
        reader: of the texts.
        assistant: of the same texts, by the model that drafts; None: the text itself does.
        sources: what an encoder read; empty where the model has none.
        max_new_tokens, seeds: of each text.
        settings: of the checkpoint and of the user.
        process: the rules.

    Raises:
        UsageError: a model that cannot take back what it has read.
    """
    key = LOOKUP if assistant is None else KEY
    longest = reader.begin.shape[1] + max(max_new_tokens)
    for each in filter(None, (reader, assistant)):
        require_taking_back(each.model, each.cache, longest, key)
    config = reader.model.config.text
    drafts, generators = settings.drafts, [torch.Generator().manual_seed(seed) for seed in seeds]
    drafter: Drafter
    if assistant is None:
        drafter = Lookup(sources, drafts.max_matching_ngram_size)
    else:
        drafter = Assistant(
            assistant,
            process=process,
            vocab=getattr(config, "decoder_rows", config.vocab_size),
            draw=settings.draw,
            generators=generators,
            sure=drafts.assistant_confidence_threshold,
        )
    return Drafted(
        reader,
        max_new_tokens=max_new_tokens,
        drafter=drafter,
        tokens=drafts.prompt_lookup_num_tokens or drafts.num_assistant_tokens,
        stop=settings.stop,
        process=process,
        draw=settings.draw,
        generators=generators,
        max_time=settings.max_time,
    )


def require_taking_back(model: Model, cache: Cache, longest: int, key: str) -> None:
    """Refuse models whose caches cannot forget the last tokens alone.

    Args:
        model: that reads.
        cache: of the model, which has read nothing.
        longest: positions of the texts.
        key: what asks for drafts.

    Raises:
        UsageError: says what keeps them from it.
    """
    config = model.config.text
    stores = cache.stores.values()
    windows = [config.window(layer) for layer in range(config.num_hidden_layers)]
    reason = None
    if any(isinstance(store, StateStore | ShiftStore) for store in stores):
        reason = "its recurrent layers have no state of an earlier position"
    elif any(window is not None and window < longest for window in windows):
        reason = f"layers that see {min(filter(None, windows))} positions keep no more than these"
    elif config.rotation_switch is not None:
        reason = "it reads longer texts otherwise"
    if reason is not None:
        raise UsageError(
            f"{model.config.model_type} cannot take back drafted tokens: {reason}",
            where=key,
            fix="leave it out, or ask for texts that are shorter",
        )
