from tests.models.media_case import MediaCase
from tests.models.media_cases import (
    clip,
    gemma3,
    llava,
    llava_next,
    paligemma,
    qwen2_vl,
    siglip,
    siglip2,
    vit,
    wav2vec2,
    whisper,
)

CASES: list[MediaCase] = [
    *llava.CASES,
    *clip.CASES,
    *siglip.CASES,
    *siglip2.CASES,
    *vit.CASES,
    *llava_next.CASES,
    *gemma3.CASES,
    *paligemma.CASES,
    *qwen2_vl.CASES,
    *whisper.CASES,
    *wav2vec2.CASES,
]
