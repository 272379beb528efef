"""The families that are built in, as data. Importing this imports no torch.

By convention a family's config is `configs/<module>.py: <Stem>Config` and its backbone
`<room>/<module>.py: <Stem>Model`, where the module is its model_type; an entry says only what
differs from that.
"""

from __future__ import annotations

from tfcli.models.families.audio import AUDIO
from tfcli.models.families.decoders import DECODERS
from tfcli.models.families.dual_encoders import DUAL_ENCODERS
from tfcli.models.families.earlier_decoders import EARLIER_DECODERS
from tfcli.models.families.encoder_decoders import ENCODER_DECODERS
from tfcli.models.families.encoders import ENCODERS
from tfcli.models.families.entry import DECODER_HEADS, ENCODER_HEADS, family
from tfcli.models.families.flagai import FLAGAI
from tfcli.models.families.mixtures import MIXTURES
from tfcli.models.families.recurrent import HYBRIDS, RECURRENT
from tfcli.models.families.text_towers import TEXT_PARTS, TEXT_TOWERS
from tfcli.models.families.vision import VISION
from tfcli.models.families.vision_language import VISION_LANGUAGE
from tfcli.models.family import Family

__all__ = ["DECODER_HEADS", "ENCODER_HEADS", "FAMILIES", "PARTS"]

FAMILIES: tuple[Family, ...] = (
    *DECODERS,
    *MIXTURES,
    *EARLIER_DECODERS,
    *RECURRENT,
    *HYBRIDS,
    *ENCODERS,
    *ENCODER_DECODERS,
    *FLAGAI,
    *VISION,
    *TEXT_TOWERS,
    *TEXT_PARTS,
    *DUAL_ENCODERS,
    *VISION_LANGUAGE,
    *AUDIO,
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
