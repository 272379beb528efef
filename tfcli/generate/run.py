"""The work of `tfcli generate`."""

from __future__ import annotations

from time import perf_counter

from tfcli.checkpoints.folder import load_config, load_generation_config, load_model
from tfcli.errors import UsageError, WorkError
from tfcli.generate.loop import generate, stop_ids
from tfcli.generate.preview import preview
from tfcli.generate.sampling import Choose, greedy, sampler
from tfcli.generate.spec import GenerateResult, GenerateSpec
from tfcli.hub import resolve
from tfcli.models.config import ModelConfig
from tfcli.recipe.job import Job
from tfcli.runtime import dtype_name, pick_device, pick_dtype
from tfcli.tokenizers.load import load_tokenizer
from tfcli.tokenizers.stream import StreamDecoder


def run(spec: GenerateSpec, job: Job) -> GenerateResult:
    """Continue a prompt.

    Raises:
        UsageError: an empty prompt, or one that leaves too little room in the model's positions.
        WorkError: files that cannot be read, a tokenizer of another model, NaN in its output.
    """
    device, dtype = pick_device(spec.device), pick_dtype(spec.dtype)
    folder = resolve(spec.model)
    tokenizer, config = load_tokenizer(folder), load_config(folder)
    prompt = tokenizer.encode(spec.prompt)
    prompt = prompt[: len(prompt) - len(tokenizer.suffix)]  # an EOS would end it before it began
    check_length(prompt, spec, config)
    stop = stop_ids(load_generation_config(folder), config)
    model = load_model(folder, dtype=dtype, device=device, attention=spec.attention)
    decoder, tokens = StreamDecoder(tokenizer), []
    began = perf_counter()
    with preview(job.console, spec.prompt) as add:
        for token in generate(
            model,
            prompt,
            max_new_tokens=spec.max_new_tokens,
            choose=choice(spec),
            stop=stop,
        ):
            tokens.append(token)
            add(decoder.push(token))
    seconds = perf_counter() - began
    return GenerateResult(
        model=spec.model,
        prompt=spec.prompt,
        prompt_ids=prompt,
        token_ids=tokens,
        text=tokenizer.decode(tokens),
        finish_reason="stop" if tokens[-1] in stop else "length",
        temperature=spec.temperature,
        top_k=spec.top_k,
        top_p=spec.top_p,
        seed=spec.seed,
        dtype=dtype_name(model.dtype),
        device=device.type,
        seconds=seconds,
        tokens_per_second=len(tokens) / seconds,
    )


def choice(spec: GenerateSpec) -> Choose:
    """How the spec wants tokens chosen."""
    if spec.temperature == 0:
        return greedy
    return sampler(temperature=spec.temperature, top_k=spec.top_k, top_p=spec.top_p, seed=spec.seed)


def check_length(prompt: list[int], spec: GenerateSpec, config: ModelConfig) -> None:
    """Refuse a prompt that is empty, does not fit, or has ids that the model lacks."""
    if not prompt:
        raise UsageError(
            "the prompt has no tokens, and this tokenizer adds none",
            where="prompt",
            fix="give a text to continue",
        )
    limit = config.max_position_embeddings
    room = limit - len(prompt)
    if spec.max_new_tokens > room:
        raise UsageError(
            f"{len(prompt):,} prompt tokens and {spec.max_new_tokens:,} new ones are more than "
            f"the model's {limit:,} positions",
            where="max_new_tokens",
            fix=f"--max-new-tokens {room}" if room > 0 else "shorten the prompt",
        )
    if max(prompt) >= config.token_id_limit:
        raise WorkError(
            f"the tokenizer gives id {max(prompt)}, but the model has {config.token_id_limit:,}",
            where=spec.model,
            fix="the tokenizer and the weights belong to different models",
        )
