from tests.models.media_case import MediaCase
from tests.models.media_cases import llava, wav2vec2, whisper

CASES: list[MediaCase] = [*llava.CASES, *whisper.CASES, *wav2vec2.CASES]
