from tests.models.media_case import MediaCase
from tests.models.media_cases import llava, whisper

CASES: list[MediaCase] = [*llava.CASES, *whisper.CASES]
