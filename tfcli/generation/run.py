"""The work of `tfcli generate`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from time import perf_counter
from typing import Any

import torch

from tfcli.checkpoints.beside import load_generation_config
from tfcli.checkpoints.checkpoint import Checkpoint
from tfcli.checkpoints.folder import open_model
from tfcli.console import Console
from tfcli.devices import dtype_name, pick_device
from tfcli.errors import UsageError
from tfcli.generation.display import Write, nowhere, writer
from tfcli.generation.grammar import grammar_of
from tfcli.generation.keys import GenerationKeys
from tfcli.generation.media import Prompt, given_media, read_media, require_media_model
from tfcli.generation.processors import Allowed
from tfcli.generation.prompts import read_prompts
from tfcli.generation.settings import TextSettings, read_settings
from tfcli.generation.spec import Answer, GenerateResult, GenerateSpec, is_answer, shown_before
from tfcli.generation.strategies.assistants import open_assistant
from tfcli.generation.strategies.choice import check_choice
from tfcli.generation.tasks import ANSWERS, read_alone, room_after, text_task
from tfcli.generation.words import biases, forced, unwanted
from tfcli.generation.writing import Writing
from tfcli.models.config import BaseConfig
from tfcli.models.configs.text import TextConfig
from tfcli.models.model import Model
from tfcli.quantize.load_in import load_in
from tfcli.ready import load_ready
from tfcli.recipe.job import Job
from tfcli.tokenizers.chat_folder import choose_template, declared_bos, find_templates
from tfcli.tokenizers.fits import check_fits, check_ids
from tfcli.tokenizers.load import Tokenizer, load_tokenizer


def run(spec: GenerateSpec, job: Job) -> GenerateResult:
    """Make a text from a prompt, or from each prompt of a file.

    Raises:
        UsageError: a model that makes no text, an empty prompt, one that leaves no room in the
            model's positions, or a conversation with a model that has no chat template.
        WorkError: files that cannot be read, a tokenizer of another model, a chat template that
            fails, NaN in the model's output.
    """
    if spec.transcribes:
        from tfcli.generation.speech_run import run_speech

        return run_speech(spec, job)
    device = pick_device(spec.device)
    prompts = read_prompts(spec)
    job.has_read(*filter(None, [spec.prompts]))
    checkpoint = load_in(open_model(spec.model), spec.load_in, job.console)
    for note in checkpoint.notes:
        job.console.note(note)
    task = text_task(checkpoint.model_config)
    folder, config = checkpoint.beside, checkpoint.model_config.text
    tokenizer = load_tokenizer(folder)
    check_fits(tokenizer, config, spec.model)
    if tokenizer.chat_template is not None and not spec.chat:
        job.console.note("the model has a chat template: --chat puts the prompt into it")
    require_media_model(spec, task, checkpoint.model_config.model_type)
    read = [read_prompt(prompt, spec, checkpoint, tokenizer, task) for prompt in prompts]
    job.has_read("image", "audio")
    lengths = [new_length(spec, task, prompt.ids, checkpoint.model_config) for prompt in read]
    _warn_of_short_texts(spec, lengths, job.console)
    settings = text_settings(spec, load_generation_config(folder), config, tokenizer, job.console)
    job.has_read(*filter(None, [spec.json_schema, spec.grammar]))
    settings = _with_negative(settings, spec, checkpoint, tokenizer, task)
    helper = None
    if spec.assistant_model is not None:
        helper = open_assistant(spec.assistant_model, task, tokenizer, config)
    model = load_ready(
        checkpoint,
        job.console,
        task=task,
        dtype=spec.dtype,
        device=device,
        attention=spec.attention,
        keep_packed=spec.load_in is not None,
    )
    assistant = None if helper is None else _loaded(helper, spec, task, device, job.console)
    answers_it = is_answer(task, spec.chat)
    echo = not answers_it if spec.echo is None else spec.echo
    writing = Writing(model, tokenizer, task, settings, spec.cache, spec.seed, assistant)
    began = perf_counter()
    with _screen(job, sum(lengths) * settings.sequences) as (write, advance):
        answers: list[Answer] = []
        for batch in batches(read, spec.batch_size, checkpoint.model_config.text):
            together = [read[number] for number in batch]
            alone = len(batch) * settings.sequences == 1  # shown while it is made
            if alone:
                write(shown_before(together[0].text, answers_it) if echo else "", dim=True)
            made = writing.answers(
                together,
                [lengths[number] for number in batch],
                show=(lambda number, piece: write(piece)) if alone else _unseen,
                advance=advance,
            )
            for answer in () if alone else made:
                write(shown_before(answer.prompt, answers_it) if echo else "", dim=True)
                write(f"{answer.text}\n")
            write("\n" if alone else "")
            answers += made
    seconds = perf_counter() - began
    draw = settings.draw
    one = spec.prompts is None and len(answers) == 1
    single = answers[0].model_dump() if one else dict.fromkeys(Answer.model_fields)
    return GenerateResult(
        model=spec.model,
        task=task,
        **single,
        answers=None if one else answers,
        chat=spec.chat,
        system=spec.system,
        generation=dict(settings.said),
        temperature=0.0 if draw is None else draw.temperature,
        stop=list(settings.stop_strings),
        echo=echo,
        seed=spec.seed,
        load_in=spec.load_in,
        dtype=dtype_name(model.dtype),
        device=device.type,
        cache=spec.cache,
        seconds=seconds,
        tokens_per_second=sum(len(answer.token_ids) for answer in answers) / seconds,
    )


def answer_one(
    spec: GenerateSpec,
    checkpoint: Checkpoint,
    model: Model,
    tokenizer: Tokenizer,
    allowed: Allowed | None = None,
) -> Answer:
    """The answer to the prompt of a spec, by a model that is loaded.

    Args:
        spec: what is asked for.
        checkpoint, model, tokenizer: what it is asked of.
        allowed: says which tokens may come; None: any.

    Raises:
        UsageError, WorkError: as `run`.
    """
    task = text_task(checkpoint.model_config)
    folder, config = checkpoint.beside, checkpoint.model_config.text
    assert spec.prompt is not None, "the caller gives a prompt"
    require_media_model(spec, task, checkpoint.model_config.model_type)
    prompt = read_prompt(spec.prompt, spec, checkpoint, tokenizer, task)
    length = new_length(spec, task, prompt.ids, checkpoint.model_config)
    silent = Console.silent()
    settings = text_settings(spec, load_generation_config(folder), config, tokenizer, silent)
    settings = _with_negative(settings, spec, checkpoint, tokenizer, task)
    if settings.sequences > 1:
        raise UsageError("one text is asked for", where="num_return_sequences", fix="leave it out")
    assistant = None
    if spec.assistant_model is not None:
        helper = open_assistant(spec.assistant_model, task, tokenizer, config)
        assistant = _loaded(helper, spec, task, model.device, silent)
    writing = Writing(model, tokenizer, task, settings, spec.cache, spec.seed, assistant, allowed)
    return writing.answers([prompt], [length])[0]


def _loaded(
    helper: Checkpoint, spec: GenerateSpec, task: str, device: torch.device, console: Console
) -> Model:
    """The model that drafts, as the one that it drafts for is loaded."""
    return load_ready(
        helper, console, task=task, dtype=spec.dtype, device=device, attention=spec.attention
    )


def batches(prompts: Sequence[Prompt], size: int, config: TextConfig) -> Iterator[list[int]]:
    """Numbers of prompts that are read together, in order.

    Those that have media are read by themselves, and so are those of models that must read each
    text alone.
    """
    if read_alone(config):
        size = 1
    batch: list[int] = []
    for number, prompt in enumerate(prompts):
        if batch and (len(batch) == size or prompt.media or prompts[batch[-1]].media):
            yield batch
            batch = []
        batch.append(number)
    if batch:
        yield batch


def _unseen(number: int, piece: str) -> None:
    """Texts that are made beside each other are shown when they are whole."""


def new_length(spec: GenerateSpec, task: str, ids: Sequence[int], config: BaseConfig) -> int:
    """How many new tokens come after a prompt at most: what is asked for, as far as there is room.

    A text mostly ends before, so that asking for more than fits is no reason to make none.

    Raises:
        UsageError: the prompt leaves no room.
        WorkError: the model has no embedding for one of the ids.
    """
    room = room_after(task, ids, config.text)
    check_ids(ids, config, spec.model)
    return min(spec.most_new_tokens, room)


def _warn_of_short_texts(spec: GenerateSpec, lengths: Sequence[int], console: Console) -> None:
    least, asked = min(lengths), spec.most_new_tokens
    if least < asked:
        console.warn(
            f"the model's positions end before max_new_tokens does: there is room for {least:,} of "
            f"{asked:,} new tokens" + (" after the longest prompt" if len(lengths) > 1 else "")
        )


@contextmanager
def _screen(job: Job, total: int) -> Iterator[tuple[Write, Callable[[int], None]]]:
    """Where text goes while it is made, and who is told of each token: text on standard output
    shows how far it is by itself, and otherwise a bar does."""
    if job.out is None:
        with job.console.progress("generating", total, "tok") as bar:
            yield nowhere, bar.advance
        return
    write = writer(job.out)
    try:
        yield write, lambda count: None
    except KeyboardInterrupt:
        write("\n")  # what was written stays, and what is said of it begins a line
        raise


def text_settings(
    spec: GenerationKeys,
    generation_config: Mapping[str, Any],
    config: TextConfig,
    tokenizer: Tokenizer,
    console: Console,
) -> TextSettings:
    """The checkpoint's settings under the user's; says what of the checkpoint's is not followed."""
    settings = read_settings(generation_config, config, spec.asked())
    check_choice(settings, spec.given)
    if settings.ignored:
        console.warn(
            f"generation_config.json asks for what is not followed: {', '.join(settings.ignored)}"
        )
    bias = (*unwanted(spec.bad_words, tokenizer), *biases(spec.sequence_bias, tokenizer))
    rules = replace(settings.rules, bias=(*settings.rules.bias, *bias))
    beams = settings.beams
    if beams is not None and spec.force_words:
        words = (*beams.force_words, *forced(spec.force_words, tokenizer))
        settings = replace(settings, beams=replace(beams, force_words=words))
    stops = tuple(dict.fromkeys((*settings.stop_strings, *spec.stop)))
    special = {
        token.content: index
        for index, token in tokenizer.backend.get_added_tokens_decoder().items()
        if token.special
    }
    # A special token is not in the text that is looked at, so it stops as an id.
    ids = {special[stop] for stop in stops if stop in special}
    stop = settings.stop | ids
    grammar = grammar_of(spec, tokenizer, sorted(stop))
    return replace(settings, rules=rules, stop_strings=stops, stop=stop, grammar=grammar)


def _with_negative(
    settings: TextSettings,
    spec: GenerateSpec,
    checkpoint: Checkpoint,
    tokenizer: Tokenizer,
    task: str,
) -> TextSettings:
    """The same, with what the model reads of the negative prompt."""
    if spec.negative_prompt is None:
        return settings
    ids = prompt_ids(spec.negative_prompt, spec, checkpoint, tokenizer, task)
    check_ids(ids, checkpoint.model_config, spec.model)
    return replace(settings, negative=tuple(ids))


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
