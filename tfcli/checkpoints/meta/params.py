"""Meta's params.json beside config.json, in both directions."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from tfcli.errors import UsageError, WorkError
from tfcli.models.limits import LIMIT, MAX_LAYERS

if TYPE_CHECKING:
    from tfcli.models.configs.rotary import RotaryConfig

PARAMS = "params.json"
# The scaling of Llama 3.1's positions: Meta's code has the numbers, params.json only a switch.
_SCALING = {
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 8192,
    "rope_type": "llama3",
}
_LARGEST_NUMBER = 1e30  # of those with fractions; what is computed with it is finite
LLAMA3_VOCAB = 128_000  # the ranks of its tokenizer; the special tokens come after them


@dataclasses.dataclass(frozen=True)
class Params:
    """The sizes that params.json states.

    Args:
        dim: width of the states.
        n_layers: blocks.
        n_heads: heads of queries. n_kv_heads: of keys and values.
        head_dim: values of one head.
        vocab_size: -1 where the embedding is to be asked.
        norm_eps: of the norms.
        rope_theta: base of the rotary frequencies.
        rest: the whole file.
    """

    dim: int
    n_layers: int
    n_heads: int
    n_kv_heads: int
    head_dim: int
    vocab_size: int
    norm_eps: float
    rope_theta: float
    rest: Mapping[str, Any]

    @property
    def is_mistral(self) -> bool:
        """Mistral states the width of its MLP; Llama says how it is computed."""
        return "hidden_dim" in self.rest


def read_params(found: Mapping[str, Any], *, where: str) -> Params:
    """Check the content of params.json.

    Raises:
        WorkError: a key that is missing, is no number, or belongs to a model of another kind.
    """
    for key in ("moe", "vision_encoder", "vision_chunk_size", "lora", "quantization"):
        if found.get(key):
            raise WorkError(
                f"{key}: this is no plain Llama or Mistral; those of text, dense and not "
                "quantized, are read",
                where=where,
                fix="take the model's Hugging Face folder",
            )

    def count(key: str, default: int | None = None, most: int = LIMIT) -> int:
        value = found.get(key, default)
        value = default if value is None else value
        if type(value) is not int or not 0 < value <= most:
            raise WorkError(
                f"{key}: expected a whole number up to {most:,}, found {value!r:.40}", where=where
            )
        return value

    def number(key: str, default: float | None = None) -> float:
        value = found.get(key, default)
        if type(value) not in (int, float) or not 0 < value <= _LARGEST_NUMBER:
            raise WorkError(f"{key}: expected a number, found {value!r:.40}", where=where)
        return float(value)

    dim, heads = count("dim"), count("n_heads")
    head_dim = count("head_dim", dim // heads or None)
    if head_dim % 2:
        raise WorkError(f"head_dim: {head_dim} is odd; rotary positions turn pairs", where=where)
    if "head_dim" not in found and dim % heads:
        raise WorkError(f"n_heads: {heads} heads do not divide a dim of {dim}", where=where)
    vocab = -1 if found.get("vocab_size", -1) == -1 else count("vocab_size")
    return Params(
        dim=dim,
        n_layers=count("n_layers", most=MAX_LAYERS),
        n_heads=heads,
        n_kv_heads=count("n_kv_heads", heads),
        head_dim=head_dim,
        vocab_size=vocab,
        norm_eps=number("norm_eps"),
        rope_theta=number("rope_theta", 10000.0),
        rest=dict(found),
    )


def config_of(params: Params, *, vocab: int, ffn: int, dtype: str, tied: bool) -> dict[str, Any]:
    """config.json for the sizes of params.json and those of the tensors.

    Meta does not write how long a text may be. It is taken from what else tells the releases
    apart: scaled positions (Llama 3.1 on) 131072, a base of 500000 (Llama 3) 8192, of a million
    (Code Llama) 16384, an epsilon of 1e-6 (Llama 1) 2048, otherwise (Llama 2) 4096.

    Args:
        params: as read.
        vocab: rows of the embedding.
        ffn: rows of the MLP's first layer.
        dtype: torch's name of the weights' type.
        tied: there is no output layer but the embedding.
    """
    kind = "mistral" if params.is_mistral else "llama"
    config: dict[str, Any] = {
        "architectures": [f"{kind.capitalize()}ForCausalLM"],
        "model_type": kind,
        "hidden_size": params.dim,
        "intermediate_size": ffn,
        "num_hidden_layers": params.n_layers,
        "num_attention_heads": params.n_heads,
        "num_key_value_heads": params.n_kv_heads,
        "head_dim": params.head_dim,
        "hidden_act": "silu",
        "vocab_size": vocab,
        "rms_norm_eps": params.norm_eps,
        "rope_theta": params.rope_theta,
        "max_position_embeddings": _context(params),
        "tie_word_embeddings": tied,
        "bos_token_id": 1,
        "eos_token_id": 2,
        "dtype": dtype,
    }
    if params.is_mistral:
        window = params.rest.get("sliding_window")
        config["sliding_window"] = window if type(window) is int and window > 0 else None
        return config
    if vocab >= LLAMA3_VOCAB:
        config |= {"bos_token_id": LLAMA3_VOCAB, "eos_token_id": LLAMA3_VOCAB + 1}
    if params.rest.get("use_scaled_rope"):
        scaling = {**_SCALING, "factor": _factor(params)}
        scaling["high_freq_factor"] = params.rest.get("rope_high_freq_factor") or 4.0
        config["rope_scaling"] = scaling
    return config


def _context(params: Params) -> int:
    for key in ("max_position_embeddings", "max_seq_len"):
        stated = params.rest.get(key)
        if type(stated) is int and 0 < stated <= LIMIT:
            return stated
    if params.is_mistral:
        return 32768
    if params.rest.get("use_scaled_rope"):
        return 131072
    known = {500_000.0: 8192, 1_000_000.0: 16384}
    return known.get(params.rope_theta, 2048 if params.norm_eps <= 1e-6 else 4096)


def _factor(params: Params) -> float:
    """Llama 3.2's small models, 1B and 3B, scale by 32; the larger ones of 3.1 on by 8."""
    stated = params.rest.get("rope_scaling_factor")
    if type(stated) in (int, float) and stated > 0:  # type: ignore[operator]
        return float(stated)  # type: ignore[arg-type]
    return _default_factor(params.dim)


def _default_factor(dim: int) -> float:
    return 32.0 if dim <= 3072 else 8.0


def params_of(config: RotaryConfig) -> dict[str, Any]:
    """params.json for a Llama or Mistral config.

    Raises:
        UsageError: a setting that Meta's format has no word for; names it.
    """
    kind = config.model_type
    if kind not in ("llama", "mistral"):
        raise _cannot("model_type", f"is {kind}; llama and mistral have Meta's format")
    for key in ("attention_bias", "mlp_bias"):
        if getattr(config, key, False):
            raise _cannot(key, "is set; Meta's format has no biases")
    if config.hidden_act != "silu":
        raise _cannot("hidden_act", f"is {config.hidden_act}; Meta's models use silu")
    rope = config.rope_parameters
    params: dict[str, Any] = {
        "dim": config.hidden_size,
        "n_layers": config.num_hidden_layers,
        "n_heads": config.num_attention_heads,
        "n_kv_heads": config.num_key_value_heads,
        "vocab_size": config.vocab_size,
        "norm_eps": config.rms_norm_eps,
        "rope_theta": rope["rope_theta"],
    }
    if kind == "mistral":
        if rope.get("rope_type", "default") != "default":
            raise _cannot("rope_parameters", f"are {rope['rope_type']}; Mistral's are not scaled")
        params |= {"head_dim": config.head_dim, "hidden_dim": config.intermediate_size}
        window = config.sliding_window  # type: ignore[attr-defined]
        return params | ({"sliding_window": window} if window else {})
    if config.head_dim * config.num_attention_heads != config.hidden_size:
        raise _cannot("head_dim", "times the heads is not the hidden size; Llama's is")
    return params | _ffn_keys(config.hidden_size, config.intermediate_size) | _scaled(config)


def _scaled(config: RotaryConfig) -> dict[str, Any]:
    rope = dict(config.rope_parameters)
    kind = rope.pop("rope_type", "default")
    rope.pop("rope_theta")
    if kind == "default":
        return {}
    factor, high = rope.pop("factor", None), rope.pop("high_freq_factor", None)
    fixed = {k: v for k, v in _SCALING.items() if k not in ("rope_type", "high_freq_factor")}
    if kind != "llama3" or rope != fixed:
        raise _cannot("rope_parameters", "are not those of Llama 3.1; Meta's format has no others")
    out: dict[str, Any] = {"use_scaled_rope": True}
    if factor != _default_factor(config.hidden_size):
        out["rope_scaling_factor"] = factor
    if high != _SCALING["high_freq_factor"]:
        out["rope_high_freq_factor"] = high
    return out


def _ffn_keys(dim: int, ffn: int) -> dict[str, Any]:
    """`multiple_of` and `ffn_dim_multiplier`, from which Meta's code computes the MLP's width.

    It takes two thirds of 4 * dim, times the multiplier, up to the next multiple.
    """
    base = int(2 * (4 * dim) / 3)
    multiple = math.gcd(ffn, 1024)
    for multiplier in (None, *(_near(ffn, multiple, base, digits) for digits in (1, 2, 3, 6, 12))):
        width = base if multiplier is None else int(multiplier * base)
        if multiple * ((width + multiple - 1) // multiple) == ffn:
            keys: dict[str, Any] = {"multiple_of": multiple}
            return keys if multiplier is None else {**keys, "ffn_dim_multiplier": multiplier}
    raise _cannot("intermediate_size", f"{ffn} is none that Meta's formula gives for {dim}")


def _near(ffn: int, multiple: int, base: int, digits: int) -> float:
    return round((ffn - (multiple - 1) / 2) / base, digits)


def _cannot(key: str, what: str) -> UsageError:
    return UsageError(f"{key} {what}", where="config.json", fix="keep the Hugging Face format")
