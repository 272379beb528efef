"""Models that read one text and write another."""

from __future__ import annotations

from tfcli.models.families.entry import HEADS, NOT_FP16, family, only

_PLAIN = f"{HEADS}.seq2seq_plain"
_ANSWERS = {"question-answering": f"{_PLAIN}:Seq2SeqQuestionAnswering"}
_TRANSLATOR = {
    "seq2seq-lm": f"{HEADS}.seq2seq_lm:Seq2SeqLM",
    "embedding": f"{_PLAIN}:Seq2SeqEmbedding",
}
_BART = {
    **only(_TRANSLATOR, "seq2seq-lm"),
    "sequence-classification": f"{_PLAIN}:Seq2SeqClassification",
    **_ANSWERS,
    **only(_TRANSLATOR, "embedding"),
}
_T5 = {
    "seq2seq-lm": "text.t5:T5ForConditionalGeneration",
    "sequence-classification": "text.t5:T5ForSequenceClassification",
    "token-classification": "text.t5:T5ForTokenClassification",
    **_ANSWERS,
    "embedding": "text.t5:T5EncoderModel",
}

ENCODER_DECODERS = (
    family(
        "t5",
        "T5",
        "encoder-decoder",
        _T5,
        "relative position bias",
        "plain and gated mlps",
        names={"embedding": "T5EncoderModel"},
        aliases={"T5Model": "seq2seq-lm", "T5WithLMHeadModel": "seq2seq-lm"},
        keep_fp32={r"\.wo\.weight$": NOT_FP16},
    ),
    family(
        "mt5",
        "MT5",
        "encoder-decoder",
        _T5,
        "relative position bias",
        "plain and gated mlps",
        config="t5:MT5Config",
        backbone="t5:T5Model",
        names={"embedding": "MT5EncoderModel"},
        aliases={"MT5Model": "seq2seq-lm"},
        keep_fp32={r"\.wo\.weight$": NOT_FP16},
    ),
    family("bart", "Bart", "encoder-decoder", _BART, "learned positions"),
    family(
        "mbart",
        "MBart",
        "encoder-decoder",
        _BART,
        "learned positions",
        "targets begin with their language",
    ),
    family("pegasus", "Pegasus", "encoder-decoder", _TRANSLATOR, "sinusoidal positions"),
    family(
        "marian",
        "Marian",
        "encoder-decoder",
        _TRANSLATOR,
        "sinusoidal positions",
        "one vocabulary or two",
        names={"seq2seq-lm": "MarianMTModel"},
    ),
    family("m2m_100", "M2M100", "encoder-decoder", _TRANSLATOR, "sinusoidal positions"),
    family("blenderbot", "Blenderbot", "encoder-decoder", _TRANSLATOR, "learned positions"),
    family(
        "umt5",
        "UMT5",
        "encoder-decoder",
        _T5,
        "relative position bias in each layer",
        "plain and gated mlps",
        config="t5:UMT5Config",
        backbone="t5:T5Model",
        names={"embedding": "UMT5EncoderModel"},
        aliases={"UMT5Model": "seq2seq-lm"},
        keep_fp32={r"\.wo\.weight$": NOT_FP16},
    ),
    family(
        "led",
        "LED",
        "encoder-decoder",
        {**only(_TRANSLATOR, "seq2seq-lm"), **_ANSWERS, **only(_TRANSLATOR, "embedding")},
        "learned positions",
        "windows and chosen tokens in the encoder",
    ),
    family(
        "t5gemma",
        "T5Gemma",
        "encoder-decoder",
        only(_TRANSLATOR, "seq2seq-lm"),
        "two stacks of any sizes",
        "capped scores and logits",
        "windows by layer",
        "norms before and after",
        aliases={"T5GemmaModel": "seq2seq-lm"},
    ),
    family(
        "fsmt",
        "FSMT",
        "encoder-decoder",
        only(_TRANSLATOR, "seq2seq-lm"),
        "sinusoidal positions",
        "two vocabularies",
        aliases={"FSMTModel": "seq2seq-lm"},
    ),
)
