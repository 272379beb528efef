"""Translation models put the language of a text before or after it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from tokenizers import Tokenizer as Backend
from tokenizers import processors

from tfcli.errors import WorkError, hint
from tfcli.tokenizers.declared import Declared
from tfcli.tokenizers.special import template

# The languages of each model, in the order of their ids.
_MBART = (
    "ar_AR cs_CZ de_DE en_XX es_XX et_EE fi_FI fr_XX gu_IN hi_IN it_IT ja_XX kk_KZ ko_KR lt_LT "
    "lv_LV my_MM ne_NP nl_XX ro_RO ru_RU si_LK tr_TR vi_VN zh_CN"
)
_MBART50 = (
    "af_ZA az_AZ bn_IN fa_IR he_IL hr_HR id_ID ka_GE km_KH mk_MK ml_IN mn_MN mr_IN pl_PL ps_AF "
    "pt_XX sv_SE sw_KE ta_IN te_IN th_TH tl_XX uk_UA ur_PK xh_ZA gl_ES sl_SI"
)
_M2M100 = (
    "af am ar ast az ba be bg bn br bs ca ceb cs cy da de el en es et fa ff fi fr fy ga gd gl gu "
    "ha he hi hr ht hu hy id ig ilo is it ja jv ka kk km kn ko lb lg ln lo lt lv mg mk ml mn mr "
    "ms my ne nl no ns oc or pa pl ps pt ro ru sd si sk sl so sq sr ss su sv sw ta th tl tn tr uk "
    "ur uz vi wo xh yi yo zh zu"
)
MBART = tuple(_MBART.split())
MBART50 = (*MBART, *_MBART50.split())
M2M100 = tuple(_M2M100.split())


@dataclass(frozen=True)
class Languages:
    """How one class marks the language of a text.

    Args:
        token: the token of a language code.
        default: the code where nothing says.
        around: what stands around one and two texts.
    """

    token: str
    default: str
    around: tuple[str, str]


BEFORE = ("{lang} $A {eos_token}", "{lang} $A $B {eos_token}")
LANGUAGES = {
    "M2M100Tokenizer": Languages("__{}__", "en", BEFORE),
    "MBart50Tokenizer": Languages("{}", "en_XX", BEFORE),
    "MBartTokenizer": Languages(
        "{}", "en_XX", ("$A {eos_token} {lang}", "$A $B {eos_token} {lang}")
    ),
    "NllbTokenizer": Languages("{}", "eng_Latn", BEFORE),
}


def language_template(
    backend: Backend,
    declared: Declared,
    ids: Mapping[str, int],
    language: str | None,
    target: bool,
) -> processors.PostProcessor | None:
    """What stands around a text in a language, for the classes that say it.

    Args:
        language: its code; None: `src_lang` of tokenizer_config.json, `tgt_lang` for a target.
        target: the text is a translation.

    Returns:
        None where the class has no languages.

    Raises:
        WorkError: a language that the vocabulary does not have, or one for a class without any.
    """
    kind = LANGUAGES.get(declared.family or "")
    if kind is None:
        if language is not None:
            raise WorkError(
                f"this tokenizer does not mark languages, so it cannot take {language!r}",
                where=str(declared.folder),
            )
        return None
    declared_code = declared.config.get("tgt_lang" if target else "src_lang")
    code = language or declared_code or kind.default
    index = backend.token_to_id(kind.token.format(code))
    if index is None:
        known = [
            code for code in (*MBART50, *M2M100) if backend.token_to_id(kind.token.format(code))
        ]
        raise WorkError(
            f"there is no token for the language {code!r}",
            where=str(declared.folder),
            fix=hint(str(code), known),
        )
    return template(backend, {**ids, "lang": index}, *kind.around)
