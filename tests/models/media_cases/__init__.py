from tests.models.media_case import MediaCase
from tests.models.media_cases import llava

CASES: list[MediaCase] = [*llava.CASES]
