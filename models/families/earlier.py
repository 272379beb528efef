"""Decoders from before Llama."""

from __future__ import annotations

from tfcli.models.families.heads import DECODER_HEADS, ENCODER_HEADS, family, only
from tfcli.models.family import Family

_CLASSIFIER = {"token-classification": ENCODER_HEADS["token-classification"]}
_NO_SPANS = ("causal-lm", "sequence-classification", "token-classification", "embedding")
_NO_TOKENS = ("causal-lm", "sequence-classification", "question-answering", "embedding")

FAMILIES: tuple[Family, ...] = (
    family(
        "gpt2",
        "GPT2",
        "decoder",
        DECODER_HEADS | _CLASSIFIER,
        config="gpt2:GPT2Config",
        backbone="gpt2:GPT2Model",
        names={"causal-lm": "GPT2LMHeadModel"},
        features=("learned positions",),
    ),
    family(
        "gpt_neo",
        "GPTNeo",
        "decoder",
        DECODER_HEADS | _CLASSIFIER,
        config="gpt_neo:GPTNeoConfig",
        backbone="gpt_neo:GPTNeoModel",
        features=("learned positions", "a window in every second layer"),
    ),
    family(
        "gptj",
        "GPTJ",
        "decoder",
        only(DECODER_HEADS, *_NO_TOKENS),
        config="gptj:GPTJConfig",
        backbone="gptj:GPTJModel",
        features=("rotary of neighbours in a part of each head", "parallel blocks"),
    ),
    family(
        "gpt_neox",
        "GPTNeoX",
        "decoder",
        DECODER_HEADS | _CLASSIFIER,
        config="gpt_neox:GPTNeoXConfig",
        backbone="gpt_neox:GPTNeoXModel",
        features=("rotary in a part of each head", "parallel residual"),
    ),
    family(
        "gpt_bigcode",
        "GPTBigCode",
        "decoder",
        only(DECODER_HEADS | _CLASSIFIER, *_NO_SPANS),
        config="gpt_bigcode:GPTBigCodeConfig",
        backbone="gpt_bigcode:GPTBigCodeModel",
        aliases={"GPTBigCodeLMHeadModel": "causal-lm"},
        features=("learned positions", "one key head"),
    ),
    family(
        "codegen",
        "CodeGen",
        "decoder",
        only(DECODER_HEADS, "causal-lm", "embedding"),
        config="codegen:CodeGenConfig",
        backbone="codegen:CodeGenModel",
        features=("rotary of neighbours in a part of each head", "parallel blocks"),
    ),
    family(
        "bloom",
        "Bloom",
        "decoder",
        DECODER_HEADS | _CLASSIFIER,
        config="bloom:BloomConfig",
        backbone="bloom:BloomModel",
        features=("ALiBi", "norm of embeddings"),
    ),
    family(
        "opt",
        "OPT",
        "decoder",
        only(DECODER_HEADS, *_NO_TOKENS),
        config="opt:OPTConfig",
        backbone="opt:OPTModel",
        features=("learned positions", "norms before or after", "narrow embeddings"),
    ),
    family(
        "falcon",
        "Falcon",
        "decoder",
        DECODER_HEADS | _CLASSIFIER,
        config="falcon:FalconConfig",
        backbone="falcon:FalconModel",
        features=("rotary or ALiBi", "few key heads", "parallel blocks"),
    ),
)
