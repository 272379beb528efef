"""The work of `tfcli generate`."""

from __future__ import annotations

from pathlib import Path
from time import perf_counter

from tfcli.checkpoints.folder import load_generation_config
from tfcli.checkpoints.model import load_model, open_model
from tfcli.console import Console
from tfcli.generate.preview import preview
from tfcli.generate.sampling import Choose, greedy, sampler, without
from tfcli.generate.settings import read_settings
from tfcli.generate.spec import GenerateResult, GenerateSpec, is_answer
from tfcli.generate.tasks import ANSWERS, check_prompt, new_tokens, text_task
from tfcli.recipe.job import Job
from tfcli.runtime import dtype_name, pick_device, pick_dtype
from tfcli.tokenizers.chat_folder import choose_template, declared_bos, find_templates
from tfcli.tokenizers.fits import check_fits, check_ids
from tfcli.tokenizers.load import Tokenizer, load_tokenizer
from tfcli.tokenizers.stream import StreamDecoder


def run(spec: GenerateSpec, job: Job) -> GenerateResult:
    """Make a text from a prompt.

    Raises:
        UsageError: a model that makes no text, an empty prompt, one that leaves too little room in
            the model's positions, or a conversation with a model that has no chat template.
        WorkError: files that cannot be read, a tokenizer of another model, a chat template that
            fails, NaN in the model's output.
    """
    device, dtype = pick_device(spec.device), pick_dtype(spec.dtype)
    checkpoint = open_model(spec.model)
    folder, config = checkpoint.beside, checkpoint.model_config
    task = text_task(config)
    tokenizer = load_tokenizer(folder)
    check_fits(tokenizer, config, spec.model)
    prompt = prompt_ids(spec, folder, tokenizer, job.console, task)
    check_prompt(task, prompt, spec.max_new_tokens, config)
    check_ids(prompt, config, spec.model)
    settings = read_settings(load_generation_config(folder), config, job.console)
    model = load_model(checkpoint, task=task, dtype=dtype, device=device, attention=spec.attention)
    decoder, tokens = StreamDecoder(tokenizer), []
    began = perf_counter()
    with preview(job.console, spec.prompt + "\n" * is_answer(task, spec.chat)) as add:
        for token in new_tokens(
            model,
            prompt,
            max_new_tokens=spec.max_new_tokens,
            choose=without(choice(spec), settings.never),
            settings=settings,
            cache=spec.cache,
        ):
            tokens.append(token)
            add(decoder.push(token))
    seconds = perf_counter() - began
    return GenerateResult(
        model=spec.model,
        task=task,
        prompt=spec.prompt,
        chat=spec.chat,
        system=spec.system,
        prompt_ids=prompt,
        token_ids=tokens,
        text=tokenizer.decode(tokens),
        finish_reason="stop" if tokens[-1] in settings.stop else "length",
        temperature=spec.temperature,
        top_k=spec.top_k,
        top_p=spec.top_p,
        seed=spec.seed,
        dtype=dtype_name(model.dtype),
        device=device.type,
        cache=spec.cache,
        seconds=seconds,
        tokens_per_second=len(tokens) / seconds,
    )


def prompt_ids(
    spec: GenerateSpec, folder: Path, tokenizer: Tokenizer, console: Console, task: str
) -> list[int]:
    """What the model reads: the prompt itself, or the conversation that it begins."""
    if spec.chat:
        return _conversation_ids(spec, folder, tokenizer)
    if tokenizer.chat_template is not None:
        console.note("the model has a chat template: with --chat it answers the prompt")
    ids = tokenizer.encode(spec.prompt)
    if task == ANSWERS:
        return ids
    return ids[: len(ids) - len(tokenizer.suffix)]  # an EOS would end it before it began


def _conversation_ids(spec: GenerateSpec, folder: Path, tokenizer: Tokenizer) -> list[int]:
    from tfcli.tokenizers.chat import encode_chat

    template = choose_template(find_templates(folder))
    messages = [{"role": "user", "content": spec.prompt}]
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
    return sampler(temperature=spec.temperature, top_k=spec.top_k, top_p=spec.top_p, seed=spec.seed)
