"""Which models make text, and how each kind does it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from tfcli.errors import UsageError
from tfcli.generation.loop import Decoding, Steps, Watch
from tfcli.generation.media import LOOKS
from tfcli.generation.prepared import make_reader, require_room
from tfcli.generation.processors import Allowed
from tfcli.generation.readers import Reader
from tfcli.generation.rows import lengths, rows_of
from tfcli.generation.rules import processes
from tfcli.generation.sampling import Draw, greedy, sampler
from tfcli.generation.settings import TextSettings
from tfcli.generation.strategies.assistants import drafted
from tfcli.generation.strategies.beams import Beams, Ends
from tfcli.generation.strategies.constrained import Constrained
from tfcli.generation.strategies.contrastive import Contrastive
from tfcli.generation.strategies.dola import LayerContrast, dola_layers
from tfcli.generation.strategies.groups import Groups
from tfcli.generation.strategies.guidance import Guidance
from tfcli.generation.strategies.marks import marks
from tfcli.models.config import BaseConfig
from tfcli.models.configs.text import TextConfig
from tfcli.models.heads.seq2seq_lm import Seq2SeqLM
from tfcli.models.model import Model
from tfcli.models.registry import get_family

CONTINUES, ANSWERS = "causal-lm", "seq2seq-lm"
"""A text is continued; or it is read, and another one is written."""
TASKS = (CONTINUES, ANSWERS, LOOKS)
SPOKEN, LETTERS = "speech-seq2seq", "ctc"
"""What is said in a recording is written token by token; or a letter is predicted each moment."""


def text_task(config: BaseConfig) -> str:
    """The head that a model makes text with.

    Raises:
        UsageError: its family has none, or the config takes from it what texts are made with.
    """
    heads = get_family(config.model_type).heads
    bidirectional = config.has_text and config.text.bidirectional
    for task in TASKS:
        if task in heads and not bidirectional:
            return task
    if SPOKEN in heads or LETTERS in heads:
        raise UsageError(
            f"{config.model_type} writes down recordings, and reads no text",
            where="model",
            fix="give it one with --audio FILE, and no prompt",
        )
    can = ", ".join(task for task in heads if task != CONTINUES)
    reason = " with tokens that see those after them" if bidirectional else ""
    raise UsageError(
        f"{config.model_type}{reason} cannot generate text",
        where="model",
        fix=f"what it can do: {can}",
    )


def speech_task(config: BaseConfig) -> str:
    """The head that a model writes down recordings with.

    Raises:
        UsageError: its family has none.
    """
    heads = get_family(config.model_type).heads
    for task in (SPOKEN, LETTERS):
        if task in heads:
            return task
    raise UsageError(
        f"{config.model_type} cannot hear",
        where="audio",
        fix="name a model of speech, such as whisper or wav2vec2",
    )


def room_after(task: str, prompt: Sequence[int], config: TextConfig) -> int:
    """How many new tokens the model has positions for, at least one.

    Args:
        task: how the model makes text.
        prompt: what it reads.
        config: of the model.

    Raises:
        UsageError: a prompt that is empty, or that leaves no room; says what fits.
    """
    if task == ANSWERS:
        check_source(prompt, config)
        return config.max_position_embeddings
    if not prompt:
        raise UsageError(
            "the prompt has no tokens, and the model has no BOS to begin with",
            where="prompt",
            fix="give a text to continue",
        )
    limit = config.longest_text
    if len(prompt) >= limit:
        raise UsageError(
            f"the prompt has {len(prompt):,} tokens, which leaves no room for new ones in the "
            f"model's {limit:,} positions",
            where="prompt",
            fix="shorten the prompt",
        )
    return limit - len(prompt)


def check_source(source_ids: Sequence[int], config: TextConfig) -> None:
    """Refuse a source that is longer than the model's positions, or empty.

    Raises:
        UsageError: says what fits.
    """
    limit = config.max_position_embeddings
    if not source_ids:
        raise UsageError("the source has no tokens", where="prompt", fix="give a text")
    if len(source_ids) > limit:
        raise UsageError(
            f"the source has {len(source_ids):,} tokens, more than the model's {limit:,} positions",
            where="prompt",
            fix="shorten the text",
        )


def read_alone(config: TextConfig) -> bool:
    """Whether texts must be read one by one, as another length would change what they become."""
    return config.rotation_switch is not None


def decoding(
    model: Model,
    prompts: Sequence[Sequence[int]],
    *,
    max_new_tokens: Sequence[int],
    settings: TextSettings,
    seeds: Sequence[int] = (),
    cache: str = "dynamic",
    media: Mapping[str, Tensor] | None = None,
    watch: Watch | None = None,
    reader: Reader | None = None,
    ends: Ends | None = None,
    assistant: Model | None = None,
    allowed: Allowed | None = None,
) -> Steps:
    """The decoding of the texts that a model makes of prompts, by the strategy that is asked for.

    Args:
        model: with the head of `text_task`, in eval mode.
        prompts: token ids; for an encoder-decoder the texts that the encoder reads. Where several
            texts are made of one, it is there as often, beside itself.
        max_new_tokens: of each text at most.
        settings: of the checkpoint and of the user.
        seeds: of each text's draws, where tokens are drawn.
        cache: one of `caches.CACHES`.
        media: what goes along with the prompts, by name.
        watch: is shown every step of tokens that are picked one at a time.
        ends: whether a text is stopped by what its new ids say. Texts that come piece by piece are
            ended by `Steps.end`; of those that come whole, it looks at each that might be.
        assistant: drafts tokens, see `assistants.open_assistant`.
        allowed: says which tokens may come in a row; None: any.
        reader: of the prompts, where there is one that has read a part of them.

    Raises:
        UsageError: tokens are drafted, and the model or the assistant cannot take them back; or a
            negative prompt that leaves no room.
    """
    beams = settings.beams
    if beams is not None:  # the texts of a prompt are the best of them
        every = slice(None, None, settings.sequences)
        prompts, max_new_tokens, seeds = prompts[every], max_new_tokens[every], seeds[every]
    most = max(max_new_tokens)
    if reader is None:
        alike = settings.sequences if beams is None else 1
        reader = make_reader(model, prompts, most, settings, cache, media, alike)
    if settings.dola_layers is not None:
        reader = LayerContrast(reader, dola_layers(model, settings.dola_layers))
    copies = 1 if beams is None else beams.num_beams
    start = lengths(reader.begin).repeat_interleave(copies)
    rules = processes(
        settings.rules,
        source=rows_of(prompts, model.device).repeat_interleave(copies, 0),
        start=start,
        max_new_tokens=torch.tensor(
            [limit for limit in max_new_tokens for _ in range(copies)], device=model.device
        ),
        stop=sorted(settings.stop),
        allowed=allowed,
        copies=copies,
    )
    if settings.grammar is not None:  # after the rules: nothing may come back that it excludes
        rules.append(settings.grammar.process(start))
    draw = settings.draw
    if settings.guidance != 1:
        others = [list(settings.negative) or list(prompt[-1:]) for prompt in prompts]
        require_room(model, max(map(len, others)), most)
        other = make_reader(model, others, most, settings, cache)
        rules.insert(0, Guidance(settings.guidance, other, reader.begin.shape[1]))
    if settings.watermark is not None:
        if draw is not None:  # the mark is the last that is done, and stands for itself
            kept = draw.kept
            rules.append(lambda ids, logits: kept(logits))
            draw = Draw()
        rules.append(marks(settings.watermark, model.config.text.vocab_size, start))
    if beams is not None:
        make = Constrained if beams.force_words else Groups if beams.num_beam_groups > 1 else Beams
        return make(
            reader,
            max_new_tokens=max_new_tokens,
            settings=beams,
            texts=settings.sequences,
            stop=settings.stop,
            process=rules,
            draw=draw,
            seeds=seeds,
            ends=ends,
            max_time=settings.max_time,
        )
    if settings.contrast is not None:
        return Contrastive(
            reader,
            max_new_tokens=max_new_tokens,
            settings=settings.contrast,
            stop=settings.stop,
            process=rules,
            max_time=settings.max_time,
        )
    if assistant is not None or settings.drafts.prompt_lookup_num_tokens:
        return drafted(
            reader,
            None if assistant is None else make_reader(assistant, prompts, most, settings, cache),
            sources=prompts if isinstance(model, Seq2SeqLM) else (),
            max_new_tokens=max_new_tokens,
            settings=replace(settings, draw=draw),
            seeds=seeds,
            process=rules,
        )
    return Decoding(
        reader,
        max_new_tokens=max_new_tokens,
        pick=greedy if draw is None else sampler(draw, seeds),
        stop=settings.stop,
        process=rules,
        watch=watch,
        max_time=settings.max_time,
    )
