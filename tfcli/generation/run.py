"""The work of `tfcli generate`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from time import perf_counter

import torch

from tfcli.checkpoints.beside import load_generation_config
from tfcli.checkpoints.checkpoint import Checkpoint
from tfcli.checkpoints.folder import open_model
from tfcli.console import Console
from tfcli.devices import dtype_name, pick_device
from tfcli.errors import UsageError
from tfcli.generation.asked import beginning_with, text_settings, tokenizer_of, with_negative
from tfcli.generation.caches import chosen_cache
from tfcli.generation.display import Write, nowhere, writer
from tfcli.generation.media import Prompt, require_media_model
from tfcli.generation.processors import Allowed
from tfcli.generation.prompts import read_prompts
from tfcli.generation.reading import read_prompt
from tfcli.generation.spec import Answer, GenerateResult, GenerateSpec, is_answer, shown_before
from tfcli.generation.strategies.assistants import open_assistant
from tfcli.generation.tasks import read_alone, room_after, text_task
from tfcli.generation.writing import Writing
from tfcli.models.config import BaseConfig
from tfcli.models.configs.text import TextConfig
from tfcli.models.model import Model
from tfcli.quantize.load_in import load_in
from tfcli.ready import load_ready
from tfcli.recipe.job import Job
from tfcli.tokenizers.fits import check_fits, check_ids
from tfcli.tokenizers.load import Tokenizer


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
    tokenizer, first = tokenizer_of(spec, folder)
    check_fits(tokenizer, config, spec.model)
    if tokenizer.chat_template is not None and not spec.chat:
        job.console.note("the model has a chat template: --chat puts the prompt into it")
    require_media_model(spec, task, checkpoint.model_config.model_type)
    read = [read_prompt(prompt, spec, checkpoint, tokenizer, task) for prompt in prompts]
    job.has_read(*spec.image, *filter(None, [spec.audio]))
    lengths = [new_length(spec, task, prompt.ids, checkpoint.model_config) for prompt in read]
    _warn_of_short_texts(spec, lengths, job.console)
    said = load_generation_config(folder)
    settings = text_settings(spec, said, config, tokenizer, job.console)
    cache = chosen_cache(spec.cache, said)
    job.has_read(*filter(None, [spec.json_schema, spec.grammar]))
    settings = with_negative(settings, spec, checkpoint, tokenizer, task)
    settings = beginning_with(settings, first)
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
    writing = Writing(
        model,
        tokenizer,
        task,
        settings,
        cache,
        spec.seed,
        assistant,
        logprobs=spec.logprobs,
    )
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
        cache=cache,
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
    first = None
    if spec.source_language is not None or spec.target_language is not None:
        tokenizer, first = tokenizer_of(spec, folder)
    require_media_model(spec, task, checkpoint.model_config.model_type)
    prompt = read_prompt(spec.prompt, spec, checkpoint, tokenizer, task)
    length = new_length(spec, task, prompt.ids, checkpoint.model_config)
    silent = Console.silent()
    said = load_generation_config(folder)
    settings = text_settings(spec, said, config, tokenizer, silent)
    cache = chosen_cache(spec.cache, said)
    settings = with_negative(settings, spec, checkpoint, tokenizer, task)
    settings = beginning_with(settings, first)
    if settings.sequences > 1:
        raise UsageError("one text is asked for", where="num_return_sequences", fix="leave it out")
    assistant = None
    if spec.assistant_model is not None:
        helper = open_assistant(spec.assistant_model, task, tokenizer, config)
        assistant = _loaded(helper, spec, task, model.device, silent)
    writing = Writing(
        model, tokenizer, task, settings, cache, spec.seed, assistant, allowed, spec.logprobs
    )
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
