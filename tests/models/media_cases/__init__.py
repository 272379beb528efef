from tests.models.media_case import MediaCase
from tests.models.media_cases import clip, llava, siglip, vit

CASES: list[MediaCase] = [*llava.CASES, *clip.CASES, *siglip.CASES, *vit.CASES]
