"""The work of `tfcli generate`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from time import perf_counter
from typing import Any

from tfcli.checkpoints.beside import load_generation_config
from tfcli.checkpoints.checkpoint import Checkpoint
from tfcli.checkpoints.folder import open_model
from tfcli.console import Console
from tfcli.devices import dtype_name, pick_device
from tfcli.generation.display import Write, writer
from tfcli.generation.ending import Ending
from tfcli.generation.media import Prompt, given_media, read_media, require_media_model
from tfcli.generation.prompts import read_prompts
from tfcli.generation.sampling import Choose, greedy, sampler
from tfcli.generation.settings import TextSettings, read_settings
from tfcli.generation.spec import Answer, GenerateResult, GenerateSpec, is_answer, shown_before
from tfcli.generation.tasks import ANSWERS, new_tokens, room_after, text_task
from tfcli.models.config import BaseConfig
from tfcli.models.configs.text import TextConfig
from tfcli.models.model import Model
from tfcli.quantize.load_in import load_in
from tfcli.ready import load_ready
from tfcli.recipe.job import Job
from tfcli.tokenizers.chat_folder import choose_template, declared_bos, find_templates
from tfcli.tokenizers.fits import check_fits, check_ids
from tfcli.tokenizers.load import Tokenizer, load_tokenizer
from tfcli.tokenizers.stream import StreamDecoder


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
    model = load_ready(
        checkpoint,
        job.console,
        task=task,
        dtype=spec.dtype,
        device=device,
        attention=spec.attention,
        keep_packed=spec.load_in is not None,
    )
    answers_it = is_answer(task, spec.chat)
    echo = not answers_it if spec.echo is None else spec.echo
    writing = Writing(model, tokenizer, task, spec, settings)
    began = perf_counter()
    with _screen(job, sum(lengths)) as (write, advance):
        answers = []
        for prompt, length in zip(read, lengths, strict=True):
            write(shown_before(prompt.text, answers_it) if echo else "", dim=True)
            answers.append(writing.answer(prompt, length, write, advance))
            write("\n")
    seconds = perf_counter() - began
    single = answers[0].model_dump() if spec.prompts is None else dict.fromkeys(Answer.model_fields)
    return GenerateResult(
        model=spec.model,
        task=task,
        **single,
        answers=None if spec.prompts is None else answers,
        chat=spec.chat,
        system=spec.system,
        temperature=spec.temperature,
        top_k=spec.top_k,
        top_p=spec.top_p,
        min_p=spec.min_p,
        repetition_penalty=settings.rules.repetition_penalty,
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
    spec: GenerateSpec, checkpoint: Checkpoint, model: Model, tokenizer: Tokenizer
) -> Answer:
    """The answer to the prompt of a spec, by a model that is loaded.

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
    writing = Writing(model, tokenizer, task, spec, settings)
    return writing.answer(prompt, length, _nowhere, lambda count: None)


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


@dataclass(frozen=True)
class Writing:
    """How one model writes its answers."""

    model: Model
    tokenizer: Tokenizer
    task: str
    spec: GenerateSpec
    settings: TextSettings

    def answer(
        self,
        prompt: Prompt,
        length: int,
        write: Write,
        advance: Callable[[int], None],
    ) -> Answer:
        """Make the text of one prompt.

        Args:
            prompt: what the model reads.
            length: new tokens at most; there is room for them.
            write: is given the text piece by piece.
            advance: is told of each token.
        """
        # What an encoder reads is another text.
        ids = prompt.ids
        decoder = StreamDecoder(self.tokenizer, () if self.task == ANSWERS else ids)
        ending = Ending(self.settings.stop_strings)
        pieces: list[str] = []
        tokens: list[int] = []

        def show(piece: str) -> None:
            if piece:
                pieces.append(piece)
                write(piece)

        for token in new_tokens(
            self.model,
            ids,
            max_new_tokens=length,
            choose=choice(self.spec),
            settings=self.settings,
            cache=self.spec.cache,
            media=prompt.media,
        ):
            tokens.append(token)
            advance(1)
            show(ending.push(decoder.push(token)))
            if ending.ended:
                break
        if not ending.ended:
            show(ending.push(decoder.finish()))
            show(ending.finish())
        ended = ending.ended or tokens[-1] in self.settings.stop
        return Answer(
            prompt=prompt.text,
            prompt_ids=list(ids),
            token_ids=tokens,
            text="".join(pieces),
            finish_reason="stop" if ended else "length",
        )


def _nowhere(text: str, *, dim: bool = False) -> None:
    """Text that is shown when it is whole."""


@contextmanager
def _screen(job: Job, total: int) -> Iterator[tuple[Write, Callable[[int], None]]]:
    """Where text goes while it is made, and who is told of each token: text on standard output
    shows how far it is by itself, and otherwise a bar does."""
    if job.out is None:
        with job.console.progress("generating", total, "tok") as bar:
            yield _nowhere, bar.advance
        return
    write = writer(job.out)
    try:
        yield write, lambda count: None
    except KeyboardInterrupt:
        write("\n")  # what was written stays, and what is said of it begins a line
        raise


def text_settings(
    spec: GenerateSpec,
    generation_config: Mapping[str, Any],
    config: TextConfig,
    tokenizer: Tokenizer,
    console: Console,
) -> TextSettings:
    """The checkpoint's settings under the user's; says what of the checkpoint's is not followed."""
    settings = read_settings(generation_config, config)
    if settings.ignored:
        console.warn(
            f"generation_config.json asks for what is not followed: {', '.join(settings.ignored)}"
        )
    if settings.draws and spec.temperature == 0:
        asked = ", ".join(settings.draws)
        console.note(f"generation_config.json asks for draws ({asked}); --temperature draws")
    rules = settings.rules
    if spec.repetition_penalty is not None:
        rules = replace(rules, repetition_penalty=spec.repetition_penalty)
    stops = tuple(dict.fromkeys((*settings.stop_strings, *spec.stop)))
    special = {
        token.content: index
        for index, token in tokenizer.backend.get_added_tokens_decoder().items()
        if token.special
    }
    # A special token is not in the text that is looked at, so it stops as an id.
    ids = {special[stop] for stop in stops if stop in special}
    return replace(settings, rules=rules, stop_strings=stops, stop=settings.stop | ids)


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


def choice(spec: GenerateSpec) -> Choose:
    """How the spec wants tokens chosen."""
    if spec.temperature == 0:
        return greedy
    return sampler(
        temperature=spec.temperature,
        top_k=spec.top_k,
        top_p=spec.top_p,
        min_p=spec.min_p,
        seed=spec.seed,
    )
