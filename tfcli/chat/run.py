"""The work of `tfcli chat`."""

from __future__ import annotations

from pathlib import Path

from tfcli.chat.commands import Talk, obey, read_list, read_messages
from tfcli.chat.screen import messages_typed, screen_of
from tfcli.chat.session import Conversation, Talking
from tfcli.chat.spec import ChatResult, ChatSpec
from tfcli.checkpoints.beside import load_generation_config
from tfcli.checkpoints.folder import open_model
from tfcli.console import Console
from tfcli.devices import pick_device
from tfcli.errors import Problem, UsageError
from tfcli.generation.asked import text_settings
from tfcli.generation.display import printable
from tfcli.generation.sampling import row_seed
from tfcli.generation.settings import TextSettings
from tfcli.generation.tasks import ANSWERS, text_task
from tfcli.quantize.load_in import load_in
from tfcli.ready import load_ready
from tfcli.recipe.job import Job
from tfcli.tokenizers.fits import check_fits
from tfcli.tokenizers.load import load_tokenizer


def run(spec: ChatSpec, job: Job) -> ChatResult:
    """Answer what is typed, or the lines of standard input, until there is no more.

    Raises:
        UsageError: a model that makes no text or has no chat template.
        WorkError: files that cannot be read, a tokenizer of another model.
    """
    device = pick_device(spec.device)
    checkpoint = load_in(open_model(spec.model), spec.load_in, job.console)
    for note in checkpoint.notes:
        job.console.note(note)
    task = text_task(checkpoint.model_config)
    if task == ANSWERS:
        raise UsageError(
            f"{checkpoint.model_config.model_type} answers a text, and knows no conversations",
            where="model",
            fix="tfcli generate MODEL PROMPT",
        )
    config = checkpoint.model_config.text
    tokenizer = load_tokenizer(checkpoint.beside)
    check_fits(tokenizer, config, spec.model)
    tools = [] if spec.tools is None else read_list(Path(spec.tools))
    conversation = Conversation(checkpoint, tokenizer, task, tools)
    if spec.history is not None:
        conversation.messages = read_messages(Path(spec.history))
    if spec.system is not None:
        conversation.set_system(spec.system)
    said = load_generation_config(checkpoint.beside)

    def settings_of(asked: ChatSpec, console: Console) -> TextSettings:
        return text_settings(asked, said, config, tokenizer, console)

    settings = settings_of(spec, job.console)
    job.has_read(*filter(None, [spec.tools, spec.history, spec.json_schema, spec.grammar]))
    talking = None
    if not spec.dry_run:
        model = load_ready(
            checkpoint,
            job.console,
            task=task,
            dtype=spec.dtype,
            device=device,
            attention=spec.attention,
            keep_packed=spec.load_in is not None,
        )
        talking = Talking(model, conversation, spec.max_new_tokens, spec.cache)
    screen = screen_of(job.out, job.console)

    def changed(asked: ChatSpec) -> None:
        nonlocal settings
        settings = settings_of(asked, Console.silent())
        if talking is not None:
            talking.max_new_tokens = asked.max_new_tokens

    talk = Talk(spec, conversation, changed)
    job.console.note("/help says what can be said beside messages; Ctrl-D ends the conversation")
    for line in messages_typed(job.console):
        before = list(conversation.messages)
        try:
            if line.startswith("/"):
                job.console.note(obey(line, talk))
                continue
            conversation.say(line)
            if talking is None:
                _show_template(conversation, job)
                continue
            seed = row_seed(talk.spec.seed, talking.turns)
            with screen.answer() as show:
                talking.answer(settings, seed, show)
        except KeyboardInterrupt:
            job.console.note("(interrupted: what was said so far is kept)")
        except Problem as problem:  # the conversation goes on as if it had not been said
            conversation.messages = before
            job.console.warn(str(problem))
    return _result(spec, conversation, talking)


def _show_template(conversation: Conversation, job: Job) -> None:
    """What the model would read."""
    ids = conversation.prompt().ids
    text = conversation.rendered()
    if job.out is not None:
        job.out.write(f"{printable(text)}\n{ids}\n")
        job.out.flush()
    job.console.note(f"{len(ids):,} tokens")


def _result(spec: ChatSpec, conversation: Conversation, talking: Talking | None) -> ChatResult:
    figures = {}
    if talking is not None:
        names = ("turns", "new_tokens", "read_tokens", "seconds")
        figures = {name: getattr(talking, name) for name in names}
    return ChatResult(model=spec.model, messages=conversation.messages, **figures)
