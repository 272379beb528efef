from tests.models.media_case import MediaCase
from tests.models.media_cases import clip, llava, siglip

CASES: list[MediaCase] = [*llava.CASES, *clip.CASES, *siglip.CASES]
