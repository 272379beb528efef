"""Time how texts are made on one side, in one of several ways. Prints a JSON object:

    generating.py rows tfcli|transformers FOLDER DTYPE    8 prompts of different lengths together
    generating.py drafts FOLDER                           with a draft model that is mostly right
    generating.py form FOLDER                             with a JSON schema and without one
    generating.py python FOLDER                           a model of two layers, whole answers

FOLDER has a model, of random weights or not, and for the last two a tokenizer.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from itertools import pairwise
from statistics import median
from time import perf_counter
from typing import Any

import torch

from tfcli.benchmark.memory import peak_memory
from tfcli.checkpoints.checkpoint import Checkpoint
from tfcli.generation.loop import Decoding
from tfcli.generation.readers import TextReader
from tfcli.generation.settings import TextSettings
from tfcli.models.model import Model

LENGTHS = (16, 24, 40, 56, 72, 96, 112, 128)
NEW, REPEATS = 48, 3
DRAFTED, AGREES, LIKE = 5, 0.7, 128
"""Tokens of a draft, how often the draft model is right, and its width."""
SCHEMA = {
    "type": "array",
    "minItems": 500,
    "items": {
        "type": "object",
        "properties": {
            "name": {"type": "string", "maxLength": 24},
            "kind": {"enum": ["first", "second", "third"]},
            "count": {"type": "integer"},
            "share": {"type": "number"},
            "tags": {"type": "array", "items": {"type": "string", "maxLength": 8}, "maxItems": 3},
        },
        "required": ["name", "kind", "count", "share", "tags"],
        "additionalProperties": False,
    },
}


def prompts(lengths: Sequence[int], most: int = 3_000) -> list[list[int]]:
    draw = torch.Generator().manual_seed(0)
    return [torch.randint(100, most, (each,), generator=draw).tolist() for each in lengths]


def moments(steps: Iterable[object]) -> list[float]:
    """When it began, and when each step came."""
    found = [perf_counter()]
    for _ in steps:
        found.append(perf_counter())
    return found


def rate(steps: Iterable[object]) -> float:
    """Steps a second after the first."""
    began = moments(steps)[1:]
    return (len(began) - 1) / (began[-1] - began[0])


def opened(folder: str, dtype: str) -> tuple[Model, Checkpoint]:
    from tfcli.checkpoints.folder import open_model
    from tfcli.console import Console
    from tfcli.ready import load_ready

    checkpoint, here = open_model(folder), torch.device("cpu")
    return load_ready(checkpoint, Console.silent(), dtype=dtype, device=here), checkpoint


def rows(name: str, folder: str, dtype: str) -> dict[str, float]:
    """First tokens of 8 prompts, and the rate of those after them."""
    texts = prompts(LENGTHS)
    steps = tfcli_steps(folder, dtype) if name == "tfcli" else transformers_steps(folder, dtype)
    steps(texts, 4)
    runs = [steps(texts, NEW) for _ in range(REPEATS)]
    return {
        "first": median(run[1] - run[0] for run in runs),
        "rate": median(len(texts) * (len(run) - 2) / (run[-1] - run[1]) for run in runs),
        "longest_step": median(max(b - a for a, b in pairwise(run[1:])) for run in runs),
        "peak_bytes": peak_memory(),
    }


def tfcli_steps(folder: str, dtype: str) -> Callable[[list[list[int]], int], list[float]]:
    model, _ = opened(folder, dtype)
    return lambda texts, new: moments(Decoding(TextReader(model, texts), max_new_tokens=new))


def transformers_steps(folder: str, dtype: str) -> Callable[[list[list[int]], int], list[float]]:
    from transformers import LlamaForCausalLM, logging

    logging.disable_progress_bar()
    model: Any = LlamaForCausalLM.from_pretrained(folder, dtype=getattr(torch, dtype)).eval()
    longest = max(LENGTHS)

    def steps(texts: list[list[int]], new: int) -> list[float]:
        ids = torch.tensor([[0] * (longest - len(text)) + text for text in texts])
        mask = torch.tensor([[0] * (longest - len(text)) + [1] * len(text) for text in texts])
        found = [perf_counter()]

        def seen(ids: torch.Tensor, scores: torch.Tensor, **more: object) -> torch.Tensor:
            found.append(perf_counter())
            return torch.zeros(len(ids), dtype=torch.bool)

        counts = {"max_new_tokens": new, "min_new_tokens": new, "pad_token_id": 0}
        model.generate(
            input_ids=ids, attention_mask=mask, do_sample=False, stopping_criteria=[seen], **counts
        )
        return found

    return steps


def drafts(folder: str) -> dict[str, float]:
    """The rate with drafts and without, of models that were made to agree so often.

    Both take the next token from the same narrow part of the last one's embedding; what the large
    model's blocks add is noise, made as strong as it must be.
    """
    from tfcli.generation.strategies.assistants import drafted

    model, _ = opened(folder, "float32")
    draft = narrow(model)
    ids = torch.tensor(prompts((128,)))
    low, high = 0.0, 64.0
    for _ in range(8):
        strength = (low + high) / 2
        strengthen(model, strength)
        low, high = (strength, high) if agreement(model, draft, ids) > AGREES else (low, strength)
    texts = prompts((32,))
    settings = TextSettings()
    settings = replace(
        settings,
        drafts=replace(
            settings.drafts, num_assistant_tokens=DRAFTED, assistant_confidence_threshold=0.0
        ),
    )
    found: dict[str, list[float]] = {"plain": [], "drafted": [], "kept": []}
    for _ in range(REPEATS):
        plain = moments(Decoding(TextReader(model, texts), max_new_tokens=NEW))
        steps = drafted(
            TextReader(model, texts),
            TextReader(draft, texts),
            sources=(),
            max_new_tokens=[NEW],
            settings=settings,
            seeds=[0],
            process=(),
        )
        quick = moments(steps)
        # With the prompt on both sides: a first round of drafts is several tokens.
        found["plain"].append(NEW / (plain[-1] - plain[0]))
        found["drafted"].append(NEW / (quick[-1] - quick[0]))
        found["kept"].append(steps.kept / steps.drafted)
    return {name: median(each) for name, each in found.items()} | {
        "agree": agreement(model, draft, ids)
    }


def narrow(model: Model) -> Model:
    """A model of one block that adds nothing, which sees a part of another's embeddings; the
    other's head looks at little else from now on."""
    from tfcli.models.loading import build, initialize
    from tfcli.models.registry import read_config

    vocab = model.config.text.vocab_size
    small = {
        "model_type": "llama",
        "tie_word_embeddings": False,
        "vocab_size": vocab,
        "hidden_size": LIKE,
        "intermediate_size": LIKE,
        "num_hidden_layers": 1,
        "num_attention_heads": 4,
        "max_position_embeddings": model.config.text.max_position_embeddings,
    }
    draft = initialize(build(read_config(small), "causal-lm"), 1)
    draw = torch.Generator().manual_seed(2)
    with torch.no_grad():
        named, large = dict(draft.named_parameters()), dict(model.named_parameters())
        for name, each in named.items():
            if name.endswith(("o_proj.weight", "down_proj.weight")):
                each.zero_()
        for table in ("embed_tokens.weight", "lm_head.weight"):
            of_draft = next(each for name, each in named.items() if name.endswith(table))
            of_large = next(each for name, each in large.items() if name.endswith(table))
            of_draft.copy_(torch.randn(vocab, LIKE, generator=draw))
            of_large.mul_(0.01)
            of_large[:, :LIKE] = of_draft
    return draft.eval()


@torch.no_grad()
def strengthen(model: Model, strength: float) -> None:
    """Have blocks add so much."""
    draw = torch.Generator().manual_seed(3)
    for name, each in model.named_parameters():
        if name.endswith(("o_proj.weight", "down_proj.weight")):
            each.normal_(0, strength / each.shape[1] ** 0.5 / 16, generator=draw)


@torch.inference_mode()
def agreement(model: Model, draft: Model, ids: torch.Tensor) -> float:
    """The share of places after which both take the same token for the likeliest."""
    best = [each(ids).logits.argmax(-1) for each in (model, draft)]
    return float((best[0] == best[1]).float().mean())


def form(folder: str) -> dict[str, float]:
    """Rates of a text that follows a schema and of one that follows none, in turn."""
    from tfcli.generation.grammar import schema_grammar
    from tfcli.tokenizers.load import load_tokenizer

    model, checkpoint = opened(folder, "float32")
    tokenizer = load_tokenizer(checkpoint.beside)
    grammar = schema_grammar(json.dumps(SCHEMA), tokenizer, [tokenizer.eos_id or 0])
    texts = prompts((32,))
    found: dict[str, list[float]] = {"free": [], "held": []}
    for number in range(2 * REPEATS):
        reader = TextReader(model, texts)
        found["free"].append(rate(Decoding(reader, max_new_tokens=NEW)))
        reader = TextReader(model, texts)
        process = [grammar.process(torch.tensor([32]))]
        held = rate(Decoding(reader, max_new_tokens=NEW, process=process))
        if number:  # the first time, llguidance learns the vocabulary
            found["held"].append(held)
    return {name: median(each) for name, each in found.items()}


def python(folder: str) -> dict[str, float]:
    """Milliseconds of a token of a model that takes none: what the rest of a text takes."""
    from tfcli.generation.media import Prompt
    from tfcli.generation.sampling import Draw
    from tfcli.generation.writing import Writing
    from tfcli.tokenizers.load import load_tokenizer

    model, checkpoint = opened(folder, "float32")
    tokenizer = load_tokenizer(checkpoint.beside)
    found = {}
    for name, draw in (("greedy", None), ("drawn", Draw(temperature=1.0, top_k=50, top_p=0.9))):
        writing = Writing(model, tokenizer, "causal-lm", TextSettings(draw=draw))
        asked = [Prompt("", prompts((16,), 1_000)[0])]
        writing.answers(asked, [16])
        times = []
        for _ in range(REPEATS):
            began = perf_counter()
            (answer,) = writing.answers(asked, [512])
            times.append(1e3 * (perf_counter() - began) / len(answer.token_ids))
        found[name] = median(times)
    return found


def main() -> None:
    name, *words = sys.argv[1:]
    ways: dict[str, Callable[..., dict[str, float]]] = {
        "rows": rows,
        "drafts": drafts,
        "form": form,
        "python": python,
    }
    print(json.dumps(ways[name](*words)))


if __name__ == "__main__":
    main()
