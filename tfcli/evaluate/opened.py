"""A model that is to answer: opened first, and loaded when its prompts are known to fit."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

import tfcli
from tfcli.checkpoints.beside import load_generation_config
from tfcli.checkpoints.checkpoint import Checkpoint
from tfcli.checkpoints.folder import open_model
from tfcli.devices import dtype_name
from tfcli.errors import UsageError
from tfcli.evaluate.answers import LanguageModel
from tfcli.evaluate.kept import Kept
from tfcli.evaluate.predict import decoder_begin, predictor
from tfcli.evaluate.run import model_task, plan_of, room
from tfcli.evaluate.spec import EvalSpec
from tfcli.evaluate.spread import load_shared
from tfcli.evaluate.tasks.prompts import Chat
from tfcli.evaluate.windows import Plan
from tfcli.generation.settings import read_settings
from tfcli.generation.tasks import text_task
from tfcli.process_group import Processes, join
from tfcli.quantize.load_in import load_in
from tfcli.recipe.content import READ_ONCE, digest_input
from tfcli.recipe.job import Job
from tfcli.tokenizers.chat import render_chat, written_special_tokens
from tfcli.tokenizers.chat_folder import choose_template, find_templates
from tfcli.tokenizers.fits import check_fits
from tfcli.tokenizers.load import Tokenizer, load_tokenizer


@dataclass(frozen=True)
class Opened:
    """A model whose weights are not loaded yet.

    Args:
        spec: how it is to be run.
        processes: those that share the work.
        checkpoint: of the model.
        tokenizer: of the model.
        task: how it predicts tokens.
    """

    spec: EvalSpec
    processes: Processes
    checkpoint: Checkpoint
    tokenizer: Tokenizer
    task: str

    @classmethod
    def of(cls, spec: EvalSpec, job: Job) -> Opened:
        """Open the model of a spec.

        Raises:
            UsageError: it predicts no tokens.
            WorkError: files that cannot be read.
        """
        processes = join(spec.device)
        checkpoint = load_in(open_model(spec.model), spec.load_in, job.console)
        for note in checkpoint.notes:
            job.console.note(note)
        tokenizer = load_tokenizer(checkpoint.beside)
        check_fits(tokenizer, checkpoint.model_config.text, spec.model)
        task = model_task(spec, checkpoint.model_config)
        return cls(spec, processes, checkpoint, tokenizer, task)

    @property
    def prefix(self) -> tuple[int, ...]:
        """What stands before every prompt."""
        return () if self.spec.bos == "none" else self.tokenizer.prefix

    def require_texts(self) -> None:
        """Refuse a model that scores texts and makes none, before a task asks it for one.

        Raises:
            UsageError: it is such a model.
        """
        made_by = text_task(self.checkpoint.model_config)
        if made_by != self.task:
            raise UsageError(
                f"{self.checkpoint.model_config.model_type} scores texts as {self.task} and makes "
                f"them as {made_by}",
                where="task",
                fix="leave out tasks that ask for text",
            )

    def chat(self) -> tuple[Chat, str]:
        """What makes a conversation of a prompt, and the hash of its template.

        Raises:
            UsageError: the model has no chat template.
        """
        template = choose_template(find_templates(self.checkpoint.beside))
        special = written_special_tokens(self.tokenizer)

        def chat(messages: list[dict[str, str]]) -> str:
            begun = messages[-1]["role"] == "assistant"
            return render_chat(
                template,
                messages,
                special_tokens=special,
                add_generation_prompt=not begun,
                continue_final_message=begun,
            ).text

        return chat, hashlib.sha256(template.encode()).hexdigest()

    def load(self, job: Job) -> tuple[LanguageModel, Plan]:
        """The model with its weights, and how it reads texts that are longer than it takes.

        The last window of a text is as long as the others, as in lm-evaluation-harness, where the
        text is.
        """
        spec, tokenizer, task = self.spec, self.tokenizer, self.task
        config = self.checkpoint.model_config.text
        settings = read_settings(load_generation_config(self.checkpoint.beside), config)
        begin = decoder_begin(settings, config, tokenizer.prefix) if task == "seq2seq-lm" else ()
        plan = plan_of(spec, task, tokenizer, config, begin)
        model = load_shared(spec, self.checkpoint, self.processes, job.console, task)
        answering = LanguageModel(
            model=model,
            tokenizer=tokenizer,
            config=config,
            task=task,
            predict=predictor(task, tokenizer, config, begin),
            settings=settings,
            prefix=self.prefix,
            room=room(config, task, len(self.prefix), tokenizer, begin),
            batch_size=spec.batch_size,
            exact=spec.exact,
            overlong=spec.overlong,
            processes=self.processes,
            kept=kept_answers(spec, self.checkpoint, self.processes, dtype_name(model.dtype)),
        )
        return answering, replace(plan, full=True)


def kept_answers(
    spec: EvalSpec, checkpoint: Checkpoint, processes: Processes, dtype: str, **more: Any
) -> Kept:
    """Answers of a model on this machine, run in one way; none where the model can be read only
    once, so that nothing stands for its content.

    Args:
        spec: how it is run.
        checkpoint: of the model.
        processes: those that share the work.
        dtype: of the weights.
        more: what else all answers depend on.
    """
    read = {"model": checkpoint.path, "adapter": checkpoint.adapter}
    digests = {name: digest_input(path, "model") for name, path in read.items() if path}
    if spec.family_file is not None:
        digests["family"] = digest_input(Path(spec.family_file), "code")
    if READ_ONCE in digests.values():
        return Kept(None, processes)
    return Kept.of(
        processes,
        **digests,
        load_in=spec.load_in,
        dtype=dtype,
        device=processes.device.type,
        attention=spec.attention,
        exact=spec.exact,
        tfcli=tfcli.__version__,
        torch=torch.__version__,
        **more,
    )
