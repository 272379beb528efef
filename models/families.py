"""The families that are built in, as data. Importing this imports no torch.

By convention a family's config is `configs/<module>.py: <Stem>Config` and its backbone
`<room>/<module>.py: <Stem>Model`, where the module is its model_type; an entry says only what
differs from that.
"""

from __future__ import annotations

from collections.abc import Mapping

from tfcli.models.family import Family

# Types that some parameters are not cast to: those whose numbers end at 65504, or all of two bytes.
NOT_FP16 = ("float16",)
NOT_HALF = ("float16", "bfloat16")
# task -> how the names of its classes end in `architectures`
SUFFIXES = {
    "causal-lm": "ForCausalLM",
    "masked-lm": "ForMaskedLM",
    "seq2seq-lm": "ForConditionalGeneration",
    "sequence-classification": "ForSequenceClassification",
    "token-classification": "ForTokenClassification",
    "question-answering": "ForQuestionAnswering",
    "multiple-choice": "ForMultipleChoice",
    "embedding": "Model",
    "pretraining": "ForPreTraining",
    "image-classification": "ForImageClassification",
    "masked-image-modeling": "ForMaskedImageModeling",
    "feature-maps": "Backbone",
    "contrastive": "Model",
    "image-text-to-text": "ForConditionalGeneration",
    "speech-seq2seq": "ForConditionalGeneration",
    "ctc": "ForCTC",
    "audio-classification": "ForAudioClassification",
}
_HEADS = "tfcli.models.heads"
DECODER_HEADS = {
    "causal-lm": f"{_HEADS}.causal_lm:CausalLM",
    "sequence-classification": f"{_HEADS}.sequence_classification:LastTokenClassification",
    "token-classification": f"{_HEADS}.token_classification:TokenScore",
    "question-answering": f"{_HEADS}.question_answering:QuestionAnswering",
    "embedding": f"{_HEADS}.embedding:Embedding",
}
ENCODER_HEADS = {
    "sequence-classification": f"{_HEADS}.sequence_classification:SequenceClassification",
    "token-classification": f"{_HEADS}.token_classification:TokenClassification",
    "question-answering": f"{_HEADS}.question_answering:QuestionAnswering",
    "multiple-choice": f"{_HEADS}.multiple_choice:MultipleChoice",
    "embedding": f"{_HEADS}.embedding:Embedding",
}
# Where the modules of a family's own are, by its kind.
ROOMS = {
    "decoder": "text",
    "recurrent": "text",
    "encoder": "text",
    "encoder-decoder": "text",
    "vision": "vision",
    "audio": "audio",
    "dual encoder": "multimodal",
    "vision-language": "multimodal",
}


def but(heads: Mapping[str, str], *tasks: str) -> dict[str, str]:
    """The heads but those of some tasks."""
    return {task: heads[task] for task in heads if task not in tasks}


def only(heads: Mapping[str, str], *tasks: str) -> dict[str, str]:
    """The heads of some tasks."""
    return {task: heads[task] for task in tasks}


def family(
    model_type: str,
    stem: str,
    kind: str,
    heads: Mapping[str, str],
    *features: str,
    config: str | None = None,
    backbone: str | None = None,
    names: Mapping[str, str] | None = None,
    aliases: Mapping[str, str] | None = None,
    keep_fp32: Mapping[str, tuple[str, ...]] | None = None,
) -> Family:
    """A family whose class names are a stem and a suffix, such as `Qwen3ForCausalLM`.

    Args:
        stem: how its class names begin.
        heads: task -> `module:Class`; those of its own below `tfcli.models`.
        features: what it has that others lack, for the documentation.
        config: `module:Class` below `tfcli.models.configs`, where it is not the convention's.
        backbone: the same below the room of its kind.
        names: task -> class name, where it is not the stem and the task's suffix.

    The others are those of `Family`.
    """
    module = model_type.replace("-", "_")
    return Family(
        model_type=model_type,
        kind=kind,
        config=f"tfcli.models.configs.{config or f'{module}:{stem}Config'}",
        backbone=f"tfcli.models.{ROOMS[kind]}.{backbone or f'{module}:{stem}Model'}",
        heads={task: _whole_path(head) for task, head in heads.items()},
        names={task: stem + SUFFIXES[task] for task in heads if task in SUFFIXES}
        | dict(names or {}),
        aliases=aliases or {},
        features=features,
        keep_fp32=keep_fp32 or {},
    )


def _whole_path(head: str) -> str:
    return head if head.startswith("tfcli.") else f"tfcli.models.{head}"


_LM_ALONE = only(DECODER_HEADS, "causal-lm", "embedding")
_NO_SPANS = but(DECODER_HEADS, "question-answering")
_NO_TOKENS = but(DECODER_HEADS, "token-classification")
_TEXTS = only(DECODER_HEADS, "causal-lm", "sequence-classification", "embedding")
# Earlier decoders call the linear of a token's label `classifier`, as encoders do.
_EARLIER = DECODER_HEADS | only(ENCODER_HEADS, "token-classification")

_DECODERS = (
    family(
        "llama",
        "Llama",
        "decoder",
        DECODER_HEADS,
        "rotary in all scalings",
        "grouped-query attention",
        aliases={"LLaMAForCausalLM": "causal-lm"},
    ),
    family("mistral", "Mistral", "decoder", DECODER_HEADS, "sliding window"),
    family(
        "qwen2",
        "Qwen2",
        "decoder",
        DECODER_HEADS,
        "biases on queries, keys and values",
        "windows in the upper layers",
    ),
    family(
        "qwen3",
        "Qwen3",
        "decoder",
        DECODER_HEADS,
        "norms of queries and keys",
        "windows in the upper layers",
    ),
    family("gemma", "Gemma", "decoder", _NO_SPANS, "scaled embeddings", "norms stored less 1"),
    family(
        "gemma2",
        "Gemma2",
        "decoder",
        _NO_SPANS,
        "capped scores and logits",
        "windows by layer",
        "norms before and after",
    ),
    family(
        "gemma3_text",
        "Gemma3Text",
        "decoder",
        _TEXTS,
        "windows and positions by layer",
        "norms of queries and keys",
        "both directions",
        names={"causal-lm": "Gemma3ForCausalLM"},
    ),
    family("phi3", "Phi3", "decoder", _NO_SPANS, "fused linears", "LongRoPE", "sliding window"),
    family(
        "smollm3",
        "SmolLM3",
        "decoder",
        DECODER_HEADS,
        "layers without positions",
        "windows by layer",
    ),
    family(
        "stablelm",
        "StableLm",
        "decoder",
        _NO_SPANS,
        "rotary in a part of each head",
        "layer norms",
        "parallel residual",
    ),
    family(
        "cohere",
        "Cohere",
        "decoder",
        _LM_ALONE,
        "parallel blocks",
        "interleaved rotary",
        "norms of queries and keys",
    ),
    family(
        "olmo2",
        "Olmo2",
        "decoder",
        _TEXTS,
        "norms after attention and mlp",
        "norms of queries and keys",
    ),
    family(
        "glm4",
        "Glm4",
        "decoder",
        _NO_SPANS,
        "norms before and after",
        "interleaved rotary in a part of each head",
    ),
    family(
        "granite",
        "Granite",
        "decoder",
        _LM_ALONE,
        "factors on embeddings, scores, residuals and logits",
    ),
    family("starcoder2", "Starcoder2", "decoder", _NO_SPANS, "layer norms", "sliding window"),
    family(
        "cohere2",
        "Cohere2",
        "decoder",
        _LM_ALONE,
        "parallel blocks",
        "interleaved rotary",
        "windows and positions by layer",
    ),
    family(
        "olmo3",
        "Olmo3",
        "decoder",
        _TEXTS,
        "norms after attention and mlp",
        "norms of queries and keys",
        "windows and positions by layer",
    ),
    family(
        "phi",
        "Phi",
        "decoder",
        _NO_SPANS,
        "rotary in a part of each head",
        "parallel blocks",
        "layer norms",
    ),
    family(
        "nemotron",
        "Nemotron",
        "decoder",
        DECODER_HEADS,
        "rotary in a part of each head",
        "layer norms stored less 1",
    ),
    family(
        "exaone4",
        "Exaone4",
        "decoder",
        DECODER_HEADS,
        "norms after attention and mlp",
        "norms of queries and keys",
        "windows and positions by layer",
    ),
    family(
        "ernie4_5",
        "Ernie4_5",
        "decoder",
        _LM_ALONE,
        "interleaved rotary",
        config="ernie4_5:Ernie45Config",
        backbone="ernie4_5:Ernie45Model",
    ),
    family(
        "hunyuan_v1_dense",
        "HunYuanDenseV1",
        "decoder",
        _TEXTS,
        "norms of queries and keys after rotary",
    ),
    family("bitnet", "BitNet", "decoder", _LM_ALONE, "norms within attention and mlp"),
)

_MIXTURES = (
    family(
        "mixtral",
        "Mixtral",
        "decoder",
        DECODER_HEADS,
        "mixture of experts",
        "sliding window",
    ),
    family(
        "qwen2_moe",
        "Qwen2Moe",
        "decoder",
        DECODER_HEADS,
        "mixture of experts in some layers",
        "gated shared expert",
        "sliding window",
    ),
    family(
        "qwen3_moe",
        "Qwen3Moe",
        "decoder",
        DECODER_HEADS,
        "mixture of experts in some layers",
        "norms of queries and keys",
    ),
    family(
        "olmoe",
        "Olmoe",
        "decoder",
        _LM_ALONE,
        "mixture of experts",
        "norms of queries and keys",
        "clipped attention",
    ),
    family(
        "deepseek_v3",
        "DeepseekV3",
        "decoder",
        _NO_SPANS,
        "latent attention",
        "mixture of experts in groups",
        "shared experts",
        keep_fp32={r"e_score_correction_bias$": NOT_HALF},
    ),
    family(
        "gpt_oss",
        "GptOss",
        "decoder",
        _NO_SPANS,
        "mixture of experts",
        "attention sinks",
        "alternating windows",
        keep_fp32={r"norm\.weight$": NOT_FP16},
    ),
    family(
        "deepseek_v2",
        "DeepseekV2",
        "decoder",
        _TEXTS,
        "latent attention",
        "mixture of experts in groups",
        "shared experts",
    ),
    family(
        "glm4_moe",
        "Glm4Moe",
        "decoder",
        _LM_ALONE,
        "mixture of experts in groups",
        "shared experts",
        "rotary in a part of each head",
        keep_fp32={r"e_score_correction_bias$": NOT_HALF},
    ),
    family(
        "ernie4_5_moe",
        "Ernie4_5_Moe",
        "decoder",
        _LM_ALONE,
        "mixture of experts in some layers",
        "shared experts",
        "interleaved rotary",
        config="ernie4_5_moe:Ernie45MoeConfig",
        backbone="ernie4_5_moe:Ernie45MoeModel",
        keep_fp32={r"mlp\.gate\.weight$": NOT_HALF, r"\.moe_statics\.": NOT_HALF},
    ),
    family(
        "granitemoe",
        "GraniteMoe",
        "decoder",
        _LM_ALONE,
        "mixture of experts",
        "factors on embeddings, scores, residuals and logits",
    ),
    family(
        "granitemoeshared",
        "GraniteMoeShared",
        "decoder",
        _LM_ALONE,
        "mixture of experts",
        "shared experts",
        "factors on embeddings, scores, residuals and logits",
        config="granitemoe:GraniteMoeSharedConfig",
        backbone="granitemoe:GraniteMoeSharedModel",
    ),
    family(
        "llama4_text",
        "Llama4Text",
        "decoder",
        _LM_ALONE,
        "attention in stretches",
        "layers without positions",
        "mixture of experts in some layers",
        "shared experts",
        names={"causal-lm": "Llama4ForCausalLM"},
    ),
)

_EARLIER_DECODERS = (
    family(
        "gpt2",
        "GPT2",
        "decoder",
        _EARLIER,
        "learned positions",
        names={"causal-lm": "GPT2LMHeadModel"},
    ),
    family(
        "gpt_neo",
        "GPTNeo",
        "decoder",
        _EARLIER,
        "learned positions",
        "a window in every second layer",
    ),
    family(
        "gptj",
        "GPTJ",
        "decoder",
        _NO_TOKENS,
        "interleaved rotary in a part of each head",
        "parallel blocks",
    ),
    family(
        "gpt_neox",
        "GPTNeoX",
        "decoder",
        _EARLIER,
        "rotary in a part of each head",
        "parallel residual",
    ),
    family(
        "gpt_bigcode",
        "GPTBigCode",
        "decoder",
        but(_EARLIER, "question-answering"),
        "learned positions",
        "multi-query attention",
        aliases={"GPTBigCodeLMHeadModel": "causal-lm"},
    ),
    family(
        "codegen",
        "CodeGen",
        "decoder",
        _LM_ALONE,
        "interleaved rotary in a part of each head",
        "parallel blocks",
    ),
    family("bloom", "Bloom", "decoder", _EARLIER, "ALiBi", "norm of embeddings"),
    family(
        "opt",
        "OPT",
        "decoder",
        _NO_TOKENS,
        "learned positions",
        "norms before or after",
        "narrow embeddings",
    ),
    family(
        "falcon",
        "Falcon",
        "decoder",
        _EARLIER,
        "rotary or ALiBi",
        "grouped-query attention",
        "parallel blocks",
    ),
    family("mpt", "Mpt", "decoder", _EARLIER, "ALiBi", "no biases"),
    family(
        "ctrl",
        "CTRL",
        "decoder",
        _TEXTS,
        "sinusoidal positions",
        "codes in front of a text",
        names={"causal-lm": "CTRLLMHeadModel"},
    ),
)

_RECURRENT = (
    family("mamba", "Mamba", "recurrent", _LM_ALONE, "selective state space"),
    family(
        "mamba2",
        "Mamba2",
        "recurrent",
        _LM_ALONE,
        "state space with one decay a head",
        config="mamba:Mamba2Config",
    ),
    family(
        "rwkv",
        "Rwkv",
        "recurrent",
        _LM_ALONE | {"causal-lm": "text.rwkv:RwkvCausalLM"},
        "attention as a running average",
        keep_fp32={r"time_(decay|first)$": NOT_FP16},
    ),
)

_HYBRIDS = (
    family(
        "qwen3_next",
        "Qwen3Next",
        "decoder",
        DECODER_HEADS,
        "gated delta networks",
        "gated attention",
        "mixture of experts in some layers",
        "gated shared expert",
    ),
    family(
        "qwen3_5_text",
        "Qwen3_5Text",
        "decoder",
        _TEXTS,
        "gated delta networks",
        "gated attention",
        config="qwen3_5:Qwen35TextConfig",
        backbone="qwen3_5:Qwen35TextModel",
        names={"causal-lm": "Qwen3_5ForCausalLM"},
    ),
    family(
        "qwen3_5_moe_text",
        "Qwen3_5MoeText",
        "decoder",
        _LM_ALONE,
        "gated delta networks",
        "gated attention",
        "mixture of experts",
        "gated shared expert",
        config="qwen3_5:Qwen35MoeTextConfig",
        backbone="qwen3_5:Qwen35MoeTextModel",
        names={"causal-lm": "Qwen3_5MoeForCausalLM"},
    ),
    family(
        "lfm2",
        "Lfm2",
        "decoder",
        _LM_ALONE,
        "short convolutions in some layers",
        "norms of queries and keys",
    ),
    family(
        "granitemoehybrid",
        "GraniteMoeHybrid",
        "decoder",
        _LM_ALONE,
        "state spaces in most layers",
        "mixture of experts beside an mlp",
        "factors on embeddings, scores, residuals and logits",
    ),
    family(
        "falcon_h1",
        "FalconH1",
        "decoder",
        _LM_ALONE,
        "state spaces beside attention",
        "factors on inputs, outputs and logits",
    ),
    family(
        "jamba",
        "Jamba",
        "decoder",
        _TEXTS,
        "selective state spaces in most layers",
        "mixture of experts in some layers",
        "no positions",
    ),
    family(
        "minimax",
        "MiniMax",
        "decoder",
        DECODER_HEADS,
        "lightning attention in some layers",
        "mixture of experts",
        "factors on residuals",
    ),
)

_BERT_LM = {"masked-lm": "text.bert:BertMaskedLM"}
_ROBERTA = {
    "masked-lm": "text.roberta:RobertaMaskedLM",
    **ENCODER_HEADS,
    "sequence-classification": "text.roberta:RobertaClassification",
}
_ENCODERS = (
    family(
        "bert",
        "Bert",
        "encoder",
        _BERT_LM | ENCODER_HEADS,
        "learned positions",
        "segments",
        aliases={"BertForPreTraining": "masked-lm"},
    ),
    *(
        family(
            model_type,
            stem,
            "encoder",
            _ROBERTA,
            "learned positions after the padding id",
            "segments",
            config=f"roberta:{stem}Config",
            backbone="roberta:RobertaModel",
        )
        for model_type, stem in (
            ("roberta", "Roberta"),
            ("xlm-roberta", "XLMRoberta"),
            ("camembert", "Camembert"),
        )
    ),
    family(
        "distilbert",
        "DistilBert",
        "encoder",
        {
            "masked-lm": "text.distilbert:DistilBertMaskedLM",
            **ENCODER_HEADS,
            "sequence-classification": "text.distilbert:DistilBertClassification",
            "question-answering": "text.distilbert:DistilBertQuestionAnswering",
            "multiple-choice": "text.distilbert:DistilBertMultipleChoice",
        },
        "learned or sinusoidal positions",
    ),
    family(
        "albert",
        "Albert",
        "encoder",
        {"masked-lm": "text.albert:AlbertMaskedLM", **ENCODER_HEADS},
        "learned positions",
        "segments",
        "narrow embeddings",
        "shared layers",
        aliases={"AlbertForPreTraining": "masked-lm"},
    ),
    family(
        "electra",
        "Electra",
        "encoder",
        {
            "masked-lm": "text.electra:ElectraMaskedLM",
            **ENCODER_HEADS,
            "sequence-classification": "text.electra:ElectraClassification",
            "multiple-choice": "text.electra:ElectraMultipleChoice",
            "pretraining": "text.electra:ElectraPretraining",
        },
        "learned positions",
        "segments",
        "narrow embeddings",
    ),
    family(
        "layoutlm",
        "LayoutLM",
        "encoder",
        _BERT_LM | but(ENCODER_HEADS, "multiple-choice"),
        "learned positions",
        "segments",
        "boxes on a page",
    ),
    family(
        "tapas",
        "Tapas",
        "encoder",
        {
            **_BERT_LM,
            **only(ENCODER_HEADS, "sequence-classification", "embedding"),
            "table-question-answering": f"{_HEADS}.table_question_answering:TableQuestionAnswering",
        },
        "learned positions in each cell",
        "columns and rows of a table",
        names={"table-question-answering": "TapasForQuestionAnswering"},
    ),
    family(
        "deberta-v2",
        "DebertaV2",
        "encoder",
        {
            "masked-lm": "text.deberta_v2:DebertaMaskedLM",
            **ENCODER_HEADS,
            "sequence-classification": "text.deberta_v2:DebertaSequenceClassification",
            "multiple-choice": "text.deberta_v2:DebertaMultipleChoice",
        },
        "disentangled attention",
        "position buckets",
        "convolution",
    ),
    family(
        "convbert",
        "ConvBert",
        "encoder",
        {
            "masked-lm": "text.electra:ElectraMaskedLM",
            **ENCODER_HEADS,
            "sequence-classification": "text.convbert:ConvBertClassification",
            "multiple-choice": "text.convbert:ConvBertMultipleChoice",
        },
        "convolving heads",
        "grouped linears",
        "narrow embeddings",
        "segments",
    ),
    family(
        "modernbert",
        "ModernBert",
        "encoder",
        {
            "masked-lm": "text.modernbert:ModernBertMaskedLM",
            "sequence-classification": "text.modernbert:ModernBertClassification",
            "token-classification": "text.modernbert:ModernBertTokenClassification",
            "question-answering": "text.modernbert:ModernBertQuestionAnswering",
            "multiple-choice": "text.modernbert:ModernBertMultipleChoice",
            **only(ENCODER_HEADS, "embedding"),
        },
        "rotary",
        "alternating windows on both sides",
        "gated mlp",
    ),
    family(
        "mpnet",
        "MPNet",
        "encoder",
        _ROBERTA,
        "learned positions after the padding id",
        "relative position bias",
    ),
    family(
        "esm",
        "Esm",
        "encoder",
        {
            "masked-lm": "text.esm:EsmMaskedLM",
            "sequence-classification": "text.roberta:RobertaClassification",
            **only(ENCODER_HEADS, "token-classification", "embedding"),
        },
        "proteins",
        "rotary or learned positions",
        "norms before attention and mlp",
    ),
    family(
        "nomic_bert",
        "NomicBert",
        "encoder",
        _BERT_LM
        | only(ENCODER_HEADS, "sequence-classification", "token-classification", "embedding"),
        "rotary",
        "segments",
        "gated mlp",
    ),
    family(
        "ernie",
        "Ernie",
        "encoder",
        _BERT_LM | ENCODER_HEADS,
        "learned positions",
        "segments",
        "tasks",
        aliases={"ErnieForPreTraining": "masked-lm"},
    ),
    family(
        "deberta",
        "Deberta",
        "encoder",
        {
            "masked-lm": "text.deberta_v2:DebertaMaskedLM",
            **but(ENCODER_HEADS, "multiple-choice"),
            "sequence-classification": "text.deberta_v2:DebertaSequenceClassification",
        },
        "disentangled attention",
        "fused linears",
    ),
    family(
        "longformer",
        "Longformer",
        "encoder",
        {
            **_ROBERTA,
            "sequence-classification": "text.longformer:LongformerClassification",
            "question-answering": "text.longformer:LongformerQuestionAnswering",
            "multiple-choice": "text.longformer:LongformerMultipleChoice",
        },
        "windows and chosen tokens",
        "learned positions after the padding id",
        "segments",
    ),
    family(
        "xlnet",
        "XLNet",
        "encoder",
        {
            "permutation-lm": "text.xlnet:XLNetLM",
            **ENCODER_HEADS,
            "sequence-classification": "text.xlnet:XLNetClassification",
            "multiple-choice": "text.xlnet:XLNetMultipleChoice",
        },
        "relative positions",
        "two streams",
        "remembered states",
        names={
            "permutation-lm": "XLNetLMHeadModel",
            "question-answering": "XLNetForQuestionAnsweringSimple",
        },
    ),
    family(
        "funnel",
        "Funnel",
        "encoder",
        {
            "masked-lm": "text.funnel:FunnelMaskedLM",
            **ENCODER_HEADS,
            "sequence-classification": "text.funnel:FunnelClassification",
            "multiple-choice": "text.funnel:FunnelMultipleChoice",
            "pretraining": "text.electra:ElectraPretraining",
            "pooled-embedding": "text.funnel:FunnelBaseModel",
        },
        "relative positions",
        "pooled states",
        names={"pooled-embedding": "FunnelBaseModel"},
    ),
)

_PLAIN = f"{_HEADS}.seq2seq_plain"
_ANSWERS = {"question-answering": f"{_PLAIN}:Seq2SeqQuestionAnswering"}
_TRANSLATOR = {
    "seq2seq-lm": f"{_HEADS}.seq2seq_lm:Seq2SeqLM",
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
_ENCODER_DECODERS = (
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

_FLAGAI = (
    family(
        "glm",
        "GLM",
        "decoder",
        {
            **only(DECODER_HEADS, "causal-lm"),
            "sequence-classification": "text.glm:GLMSequenceClassification",
        },
        "bidirectional prefix",
        "two position tables",
        "blank infilling",
        names={"causal-lm": "GLMForConditionalGeneration"},
        aliases={"GLMModel": "causal-lm", "GLMForSeq2Seq": "causal-lm"},
    ),
)

_TOWER = {"embedding": f"{_HEADS}.tower:Tower"}
_CLASSIFIER = {"image-classification": f"{_HEADS}.image_classification:ImageClassification"}
_FILLS_IN = {"masked-image-modeling": f"{_HEADS}.masked_image_modeling:MaskedImageModeling"}
_MAPS = {"feature-maps": f"{_HEADS}.feature_maps:FeatureMaps"}
_VISION = (
    family(
        "vit",
        "ViT",
        "vision",
        _TOWER | _CLASSIFIER | _FILLS_IN | _MAPS,
        "class token",
        "learned positions resized for other images",
        "feature maps",
    ),
    family(
        "deit",
        "DeiT",
        "vision",
        {
            **_TOWER,
            **_CLASSIFIER,
            "distilled-image-classification": (
                f"{_HEADS}.image_classification:DistilledImageClassification"
            ),
            **_FILLS_IN,
            **_MAPS,
        },
        "a token that learns from a teacher",
        config="vit:DeiTConfig",
        backbone="vit:DeiTModel",
        names={
            "distilled-image-classification": "DeiTForImageClassificationWithTeacher",
        },
    ),
    family(
        "dinov2",
        "Dinov2",
        "vision",
        _TOWER | _CLASSIFIER | _MAPS,
        "scaled branches",
        "gated mlp",
        "positions resized for every image",
        "feature maps",
    ),
    family(
        "dinov2_with_registers",
        "Dinov2WithRegisters",
        "vision",
        _TOWER | _CLASSIFIER | _MAPS,
        "registers",
        "scaled branches",
        "positions resized for every image",
        "feature maps",
        config="dinov2:Dinov2WithRegistersConfig",
        backbone="dinov2:Dinov2WithRegistersModel",
    ),
    family(
        "clip_vision_model",
        "CLIPVision",
        "vision",
        {**_TOWER, "projection": "vision.clip:CLIPVisionProjection"},
        "class token",
        "learned positions resized for other images",
        config="clip:CLIPVisionConfig",
        backbone="clip:CLIPVisionModel",
        names={"projection": "CLIPVisionModelWithProjection"},
    ),
    family(
        "siglip_vision_model",
        "SiglipVision",
        "vision",
        _TOWER,
        "learned positions resized for other images",
        "pooled by attention",
        config="siglip:SiglipVisionConfig",
        backbone="siglip:SiglipVisionModel",
    ),
    family(
        "siglip2_vision_model",
        "Siglip2Vision",
        "vision",
        _TOWER,
        "images of any shape, as patches",
        "pooled by attention",
        config="siglip2:Siglip2VisionConfig",
        backbone="siglip2:Siglip2VisionModel",
    ),
    family(
        "qwen2_vl_vision",
        "Qwen2VLVision",
        "vision",
        _TOWER,
        "images and videos of any size, as patches",
        "rotary over rows and columns",
        config="qwen2_vl:Qwen2VLVisionConfig",
        backbone="qwen2_vl:Qwen2VLVisionModel",
        names={"embedding": "Qwen2VisionTransformerPretrainedModel"},
    ),
)

_TEXT_TOWERS = (
    family(
        "clip_text_model",
        "CLIPText",
        "encoder",
        {**_TOWER, "projection": "text.clip:CLIPTextProjection"},
        "causal",
        "learned positions",
        "pooled where the text ends",
        config="clip:CLIPTextConfig",
        backbone="clip:CLIPTextModel",
        names={"projection": "CLIPTextModelWithProjection"},
    ),
    family(
        "siglip_text_model",
        "SiglipText",
        "encoder",
        _TOWER,
        "learned positions",
        "pooled at the last token",
        config="siglip:SiglipTextConfig",
        backbone="siglip:SiglipTextModel",
    ),
    family(
        "siglip2_text_model",
        "Siglip2Text",
        "encoder",
        _TOWER,
        "learned positions",
        "pooled at the last token",
        config="siglip2:Siglip2TextConfig",
        backbone="siglip:SiglipTextModel",
    ),
)

_TEXT_PARTS = (
    family(
        "qwen2_vl_text",
        "Qwen2VLText",
        "decoder",
        _TOWER,
        "positions of time, height and width",
        config="qwen2_vl:Qwen2VLTextConfig",
        backbone="qwen2_vl:Qwen2VLTextModel",
    ),
)

_CONTRASTIVE = {"contrastive": f"{_HEADS}.contrastive:Contrastive"}
_DUAL_ENCODERS = (
    family(
        "clip",
        "CLIP",
        "dual encoder",
        {**_CONTRASTIVE, "image-classification": "multimodal.clip:CLIPImageClassification"},
        "two towers into one space",
        "cross entropy over pairs",
    ),
    family(
        "siglip",
        "Siglip",
        "dual encoder",
        {**_CONTRASTIVE, "image-classification": "multimodal.siglip:SiglipImageClassification"},
        "two towers into one space",
        "a yes or no for each pair",
    ),
    family(
        "siglip2",
        "Siglip2",
        "dual encoder",
        {**_CONTRASTIVE, "image-classification": "multimodal.siglip:Siglip2ImageClassification"},
        "two towers into one space",
        "images of any shape, as patches",
        backbone="siglip:Siglip2Model",
    ),
)

_ANSWERS_ON_IMAGES = {"image-text-to-text": f"{_HEADS}.image_text_to_text:ImageTextToText"}
_VISION_LANGUAGE = (
    family("llava", "Llava", "vision-language", _ANSWERS_ON_IMAGES, "any tower and decoder"),
    family(
        "multimodal",
        "Multimodal",
        "vision-language",
        {"image-text-to-text": "multimodal.modular:MultimodalLM"},
        "any encoders and decoder, put together by tfcli compose",
        config="modular:MultimodalConfig",
        backbone="modular:ModularModel",
    ),
    family(
        "llava_next",
        "LlavaNext",
        "vision-language",
        _ANSWERS_ON_IMAGES,
        "any tower and decoder",
        "images of any resolution, in tiles",
    ),
    family(
        "gemma3",
        "Gemma3",
        "vision-language",
        _ANSWERS_ON_IMAGES,
        "SigLIP and Gemma 3",
        "patches are pooled",
        "features of an image see each other",
    ),
    family(
        "paligemma",
        "PaliGemma",
        "vision-language",
        _ANSWERS_ON_IMAGES,
        "SigLIP and Gemma or Gemma 2",
        "image and prompt see each other",
    ),
    family(
        "qwen2_vl",
        "Qwen2VL",
        "vision-language",
        _ANSWERS_ON_IMAGES,
        "images and videos of any size",
        "positions of time, height and width",
    ),
)

_AUDIO = (
    family(
        "whisper",
        "Whisper",
        "audio",
        {
            "speech-seq2seq": f"{_HEADS}.speech_seq2seq:SpeechSeq2Seq",
            "audio-classification": f"{_HEADS}.audio_classification:WhisperClassification",
        },
        "windows of 30 seconds",
        "convolutions over spectrograms",
        "SpecAugment",
        aliases={"WhisperModel": "speech-seq2seq"},
    ),
    family(
        "wav2vec2",
        "Wav2Vec2",
        "audio",
        {
            "ctc": f"{_HEADS}.ctc:CTC",
            "audio-classification": f"{_HEADS}.audio_classification:AudioClassification",
            "embedding": f"{_HEADS}.embedding:Embedding",
        },
        "convolutions over waves",
        "convolved positions",
        "SpecAugment",
        names={"audio-classification": "Wav2Vec2ForSequenceClassification"},
        # The quantizer and its loss are not built.
        aliases={"Wav2Vec2ForPreTraining": "embedding"},
    ),
)

FAMILIES: tuple[Family, ...] = (
    *_DECODERS,
    *_MIXTURES,
    *_EARLIER_DECODERS,
    *_RECURRENT,
    *_HYBRIDS,
    *_ENCODERS,
    *_ENCODER_DECODERS,
    *_FLAGAI,
    *_VISION,
    *_TEXT_TOWERS,
    *_TEXT_PARTS,
    *_DUAL_ENCODERS,
    *_VISION_LANGUAGE,
    *_AUDIO,
)
# Found in other families' configs only: they have no task of their own, and no page.
PARTS: tuple[Family, ...] = (
    family(
        "t5_gemma_module",
        "T5GemmaModule",
        "encoder-decoder",
        {},
        "a stack of T5Gemma",
        config="t5gemma:T5GemmaModuleConfig",
        backbone="t5gemma:T5GemmaModuleModel",
    ),
)
