"""The content of adapter_config.json for an adapter that is on a model."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from torch import nn

from tfcli.models.adapters.adalora import AdaLora
from tfcli.models.adapters.adapted import Adapted, Replaced
from tfcli.models.adapters.change import Change
from tfcli.models.adapters.ia3 import Ia3
from tfcli.models.adapters.lora import Lora
from tfcli.models.adapters.prompt_encoder import EncodedPrompt
from tfcli.models.adapters.prompts import Prefix, VirtualTokens
from tfcli.models.adapters.settings import Biases
from tfcli.models.adapters.walk import hub_name, plain_modules, prompt_of, wrappers
from tfcli.models.errors import ModelError
from tfcli.models.model import Model

TASKS = {
    "causal-lm": "CAUSAL_LM",
    "seq2seq-lm": "SEQ_2_SEQ_LM",
    "sequence-classification": "SEQ_CLS",
    "token-classification": "TOKEN_CLS",
    "question-answering": "QUESTION_ANS",
    "embedding": "FEATURE_EXTRACTION",
}
"""The registry's name of a task -> PEFT's."""


def changes_of(model: nn.Module, name: str) -> dict[str, Change]:
    """What an adapter does to each module that it changes, by the module's name."""
    return {
        path: each.change(name)
        for path, each in wrappers(model).items()
        if isinstance(each, Adapted) and name in each.changes
    }


def copies_of(model: nn.Module, name: str) -> dict[str, nn.Module]:
    """The modules that an adapter has whole, by name."""
    return {
        path: each.copies[name]
        for path, each in wrappers(model).items()
        if isinstance(each, Replaced) and name in each.copies
    }


def peft_config(model: Model, name: str, *, base: str | None, bias: Biases) -> dict[str, Any]:
    """What PEFT reads an adapter by.

    Args:
        model: with the adapter.
        name: of the adapter.
        base: what it was trained on, as a path or a hub id.
        bias: the biases of the base that go with it.

    Raises:
        ModelError: an adapter of several kinds, for which PEFT has no config.
    """
    prompt = prompt_of(model, name)
    if prompt is not None:
        return _prompt_config(model, prompt, base)
    changes = changes_of(model, name)
    if not changes:
        raise ModelError("PEFT has no config for whole modules alone", where=name)
    common = {
        "base_model_name_or_path": base,
        "task_type": TASKS.get(model.task),
        "inference_mode": True,
        "fan_in_fan_out": any(model.place_of(f"{path}.weight").transposed for path in changes),
        "modules_to_save": [hub_name(model, path) for path in copies_of(model, name)] or None,
    }
    if all(isinstance(each, Ia3) for each in changes.values()):
        inputs = [
            path for path, each in changes.items() if isinstance(each, Ia3) and each.feedforward
        ]
        short = _by_ends(model, changes) and _by_ends(model, inputs)
        return {
            "peft_type": "IA3",
            **common,
            "target_modules": _called(model, changes, short),
            "feedforward_modules": _called(model, inputs, short),
        }
    adaptive = {path: each for path, each in changes.items() if isinstance(each, AdaLora)}
    if len(adaptive) == len(changes):
        return {
            "peft_type": "ADALORA",
            **common,
            "target_modules": _called(model, changes, _by_ends(model, changes)),
            "bias": bias,
            **_shares(model, adaptive),
        }
    loras = {path: each for path, each in changes.items() if isinstance(each, Lora)}
    if len(loras) != len(changes):
        raise ModelError("PEFT has no config for several kinds in one adapter", where=name)
    return {
        "peft_type": "LORA",
        **common,
        "target_modules": _called(model, changes, _by_ends(model, changes)),
        "bias": bias,
        "init_lora_weights": True,
        **_sizes(model, loras),
    }


def _prompt_config(model: Model, prompt: VirtualTokens, base: str | None) -> dict[str, Any]:
    """The keys of virtual tokens. PEFT counts a prefix in heads of keys and values."""
    config = model.config.text
    common = {
        "base_model_name_or_path": base,
        "task_type": TASKS.get(model.task),
        "inference_mode": True,
        "num_virtual_tokens": prompt.count,
        "num_transformer_submodules": 1,
        "num_layers": config.num_hidden_layers,
    }
    if isinstance(prompt, Prefix):
        return {
            "peft_type": "PREFIX_TUNING",
            **common,
            "num_attention_heads": prompt.heads,
            "token_dim": prompt.heads * prompt.head_dim,
            "prefix_projection": False,
        }
    common |= {
        "num_attention_heads": config.num_attention_heads,
        "token_dim": prompt.embedding.shape[1],
    }
    if isinstance(prompt, EncodedPrompt):
        return {
            "peft_type": "P_TUNING",
            **common,
            "encoder_reparameterization_type": prompt.encoder.kind.upper(),
            "encoder_hidden_size": prompt.width,
            "encoder_num_layers": prompt.encoder.layers,
            "encoder_dropout": prompt.encoder.dropout,
        }
    return {"peft_type": "PROMPT_TUNING", **common, "prompt_tuning_init": "RANDOM"}


def _sizes(model: Model, loras: Mapping[str, Lora]) -> dict[str, Any]:
    """Ranks and factors: the most usual ones, and the modules with others."""
    ranks = {path: each.whole_rank for path, each in loras.items()}
    scales = {path: each.scale for path, each in loras.items()}
    first = next(iter(loras.values()))
    rslora = all(each.rslora for each in loras.values())
    alphas = {
        path: _plain(scales[path] * (rank**0.5 if rslora else rank)) for path, rank in ranks.items()
    }
    rank, alpha = _usual(ranks.values()), _usual(alphas.values())
    names = {path: hub_name(model, path) for path in loras}
    return {
        "r": rank,
        "lora_alpha": alpha,
        "lora_dropout": first.dropout.p if isinstance(first.dropout, nn.Dropout) else 0.0,
        "use_rslora": rslora,
        "use_dora": any(each.lora_magnitude_vector is not None for each in loras.values()),
        "lora_bias": any(
            isinstance(part, nn.Linear) and part.bias is not None
            for each in loras.values()
            for part in each.children()
        ),
        "rank_pattern": {names[path]: each for path, each in ranks.items() if each != rank},
        "alpha_pattern": {names[path]: each for path, each in alphas.items() if each != alpha},
    }


def _shares(model: Model, changes: Mapping[str, AdaLora]) -> dict[str, Any]:
    """AdaLoRA's keys. PEFT wants a number of steps in any case."""
    first = next(iter(changes.values()))
    how = first.allocation
    least = how.first_steps + how.last_steps + 1
    left = {
        f"{hub_name(model, path)}.lora_E": each.mask.bool().tolist()
        for path, each in changes.items()
    }
    fewer = any(not all(each) for each in left.values())
    return {
        "init_r": first.rank,
        "target_r": how.target_rank,
        "tinit": how.first_steps,
        "tfinal": how.last_steps,
        "deltaT": how.every,
        "beta1": how.beta1,
        "beta2": how.beta2,
        "orth_reg_weight": how.orthogonality,
        "total_step": how.total_steps or least,
        "rank_pattern": left if fewer else None,
        "lora_alpha": _plain(first.alpha),
        "lora_dropout": first.dropout.p if isinstance(first.dropout, nn.Dropout) else 0.0,
        "init_lora_weights": True,
    }


def _plain(number: float) -> float | int:
    near = round(number, 9)
    return int(near) if near == int(near) else near


def _usual(values: Iterable[Any]) -> Any:
    return Counter(values).most_common(1)[0][0]


def _called(model: Model, paths: Iterable[str], short: bool) -> list[str]:
    names = [hub_name(model, path) for path in paths]
    return sorted({name.rpartition(".")[2] for name in names}) if short else names


def _by_ends(model: Model, paths: Iterable[str]) -> bool:
    """Whether the last parts of some modules' names are those of no other modules."""
    wanted = {hub_name(model, path) for path in paths}
    ends = {name.rpartition(".")[2] for name in wanted}
    every = {hub_name(model, path) for path, _ in plain_modules(model)}
    return {name for name in every if name.rpartition(".")[2] in ends} == wanted
