"""What the classes that read SentencePiece models do with them.

A class may order ids in its own way, and it normalizes and surrounds text as transformers does. Its
ids are those of transformers; the sentencepiece library's own may differ from them.
"""

from __future__ import annotations

import re
import string
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from tokenizers import AddedToken, Regex, normalizers, pre_tokenizers
from tokenizers import Tokenizer as Backend

from tfcli.errors import WorkError, hint
from tfcli.tokenizers.declared import Declared
from tfcli.tokenizers.languages import MBART, MBART50
from tfcli.tokenizers.special import (
    CLS_SEP,
    LIKE_BERT,
    ROBERTA,
    add_tokens,
    bos_eos_template,
    role_text,
    template,
)
from tfcli.tokenizers.spm import (
    SPACE,
    Parts,
    as_written,
    bpe,
    own_tokens,
    set_words,
    special_tokens,
    spell_decoder,
    unigram,
)
from tfcli.tokenizers.spm_model import SpmModel, read_spm

Scored = list[tuple[str, float]]
Specials = dict[str, str | AddedToken]

BETWEEN = (
    "{bos_token} $A {eos_token}",
    "{bos_token} $A {eos_token} {eos_token} $B {eos_token}",
)
STRIPPED_MASK = AddedToken("<mask>", lstrip=True, special=True)


def t5(model: SpmModel, declared: Declared) -> Parts:
    """Raffel et al. 2020: sentinels `<extra_id_N>` after the pieces, the last first."""
    count = declared.config.get("extra_ids", 100)
    if isinstance(count, bool) or not isinstance(count, int) or not 0 <= count <= 10_000:
        raise WorkError("extra_ids must be in 0..10,000", where=declared.config_file)
    sentinels = [f"<extra_id_{place}>" for place in reversed(range(count))]
    specials = {"eos_token": "</s>", "unk_token": "<unk>", "pad_token": "<pad>"}
    pieces = model.pieces + [(token, 0.0) for token in sentinels]
    backend = Backend(unigram(model, pieces, role_text(declared, specials, "unk_token")))
    set_charsmap(backend, model)
    set_words(backend, "always", split_first=True)
    extra = [*own_tokens(model), *special_tokens(sentinels)]
    return Parts(backend, specials, extra, ("$A {eos_token}", "$A {eos_token} $B {eos_token}"))


def siglip(model: SpmModel, declared: Declared) -> Parts:
    """Zhai et al. 2023: small letters, no punctuation of ASCII's; one token ends and pads."""
    token = {
        role: AddedToken(text, lstrip=True, rstrip=True, normalized=False, special=True)
        for role, text in (("eos_token", "</s>"), ("unk_token", "<unk>"), ("pad_token", "</s>"))
    }
    backend = Backend(unigram(model, model.pieces, role_text(declared, token, "unk_token")))
    small = [normalizers.Lowercase()] if declared.flag("do_lower_case", True) else []
    plain = Regex(f"[{re.escape(string.punctuation)}]")
    steps = [*small, normalizers.Replace(plain, ""), normalizers.Replace(Regex(r"\s+"), " ")]
    if model.charsmap:
        steps.append(normalizers.Precompiled(model.charsmap))
    backend.normalizer = normalizers.Sequence(steps)
    set_words(backend, "always", split_first=True)
    return Parts(backend, token, (), ("$A {eos_token}", "$A {eos_token} $B {eos_token}"))


def xlm_roberta(model: SpmModel, declared: Declared) -> Parts:
    """Conneau et al. 2020: four special tokens of fairseq come first, the mask last."""
    pieces = fairseq(model, declared, [role_text(declared, ROBERTA, "mask_token")])
    backend = Backend(unigram(model, pieces, role_text(declared, ROBERTA, "unk_token")))
    set_charsmap(backend, model)
    set_words(backend, always_or_never(declared), split_first=True)
    return Parts(backend, ROBERTA, own_tokens(model), BETWEEN)


def camembert(model: SpmModel, declared: Declared) -> Parts:
    """Martin et al. 2020: as XLM-R, but the pieces keep the `<s>` and `</s>` that are in use."""
    specials: Specials = {**ROBERTA, "mask_token": STRIPPED_MASK}
    unk = role_text(declared, specials, "unk_token")
    pieces: Scored = [
        ("<s>NOTUSED", 0.0),
        (role_text(declared, specials, "pad_token"), 0.0),
        ("</s>NOTUSED", 0.0),
        (unk, 0.0),
        ("<unk>NOTUSED", -100.0),
        *model.pieces[1:],
        (role_text(declared, specials, "mask_token"), 0.0),
    ]
    backend = Backend(unigram(model, pieces, unk))
    set_charsmap(backend, model)
    set_words(backend, always_or_never(declared), split_first=True)
    return Parts(backend, specials, own_tokens(model), BETWEEN)


def mbart(model: SpmModel, declared: Declared) -> Parts:
    """Liu et al. 2020: as XLM-R, with the languages before the mask. Text is not normalized."""
    specials: Specials = {**ROBERTA, "mask_token": STRIPPED_MASK}
    pieces = fairseq(model, declared, [*MBART, role_text(declared, specials, "mask_token")])
    backend = Backend(unigram(model, pieces, role_text(declared, specials, "unk_token")))
    set_words(backend, "always", split_first=True)
    return Parts(backend, specials, special_tokens(MBART))


def mbart50(model: SpmModel, declared: Declared) -> Parts:
    """Tang et al. 2020: 52 languages, and runs of spaces are one."""
    specials: Specials = {**ROBERTA, "mask_token": STRIPPED_MASK}
    del specials["bos_token"]
    pieces = fairseq(model, declared, [*MBART50, role_text(declared, specials, "mask_token")])
    backend = Backend(unigram(model, pieces, role_text(declared, specials, "unk_token")))
    set_charsmap(backend, model, normalizers.Replace(Regex(" {2,}"), " "))
    set_words(backend, "always", split_first=False)
    return Parts(backend, specials, special_tokens(MBART50))


def albert(model: SpmModel, declared: Declared) -> Parts:
    """Lan et al. 2020: quotes are made equal, accents and capitals dropped unless kept."""
    specials = {**CLS_SEP, "unk_token": "<unk>", "pad_token": "<pad>"}
    backend = Backend(unigram(model, model.pieces, role_text(declared, specials, "unk_token")))
    steps: list[normalizers.Normalizer] = [
        normalizers.Replace("``", '"'),
        normalizers.Replace("''", '"'),
    ]
    if not declared.flag("keep_accents", False):
        steps += [normalizers.NFKD(), normalizers.StripAccents()]
    if declared.flag("do_lower_case", True):
        steps.append(normalizers.Lowercase())
    if model.charsmap:
        steps.append(normalizers.Precompiled(model.charsmap))
    backend.normalizer = normalizers.Sequence(steps)
    set_words(backend, always_or_never(declared), split_first=True)
    return Parts(backend, specials, own_tokens(model), LIKE_BERT)


def deberta_v2(model: SpmModel, declared: Declared) -> Parts:
    """He et al. 2021: text is composed (NFC), and the model's own character map is not used."""
    backend = Backend(unigram(model, model.pieces, role_text(declared, CLS_SEP, "unk_token")))
    steps: list[normalizers.Normalizer] = (
        [normalizers.Lowercase()] if declared.flag("do_lower_case", False) else []
    )
    steps += [
        normalizers.Replace(Regex(r"\s{2,}|[\n\r\t]"), " "),
        normalizers.NFC(),
        normalizers.Strip(left=False, right=True),
    ]
    backend.normalizer = normalizers.Sequence(steps)
    scheme = "always" if declared.flag("add_prefix_space", True) else "first"
    set_words(backend, scheme, split_first=False)
    if declared.flag("split_by_punct", False):
        cut = pre_tokenizers.Punctuation(behavior="isolated")
        backend.pre_tokenizer = pre_tokenizers.Sequence([cut, backend.pre_tokenizer])
    return Parts(backend, CLS_SEP, own_tokens(model), LIKE_BERT)


def pegasus(model: SpmModel, declared: Declared) -> Parts:
    """Zhang et al. 2020: two masks and 101 unused tokens come first, which moves the ids by 103."""
    offset = declared.config.get("offset", 103)
    if isinstance(offset, bool) or not isinstance(offset, int) or not 2 <= offset <= 10_000:
        raise WorkError("offset must be in 2..10,000", where=declared.config_file)
    specials = {
        "eos_token": "</s>",
        "unk_token": "<unk>",
        "pad_token": "<pad>",
        "mask_token": "<mask_2>",
    }
    unused = [f"<unk_{place}>" for place in range(2, offset)]
    first = [role_text(declared, specials, "pad_token"), role_text(declared, specials, "eos_token")]
    pieces: Scored = [(token, 0.0) for token in (*first, "<mask_1>", "<mask_2>")]
    pieces += [(token, -100.0) for token in unused] + model.pieces[2:]
    backend = Backend(unigram(model, pieces, role_text(declared, specials, "unk_token")))
    steps = [normalizers.Replace(Regex(" {2,}"), " ")]
    if not model.charsmap:
        steps.insert(0, normalizers.Replace(Regex(r"\n"), " "))
    set_charsmap(backend, model, *steps)
    set_words(backend, "always", split_first=False)
    extra = special_tokens(["<mask_1>", *unused])
    return Parts(backend, specials, extra, ("$A {eos_token}", "$A $B {eos_token}"))


def llama(model: SpmModel, declared: Declared) -> Parts:
    """Touvron et al. 2023: BPE over the whole text; what has no piece is spelt in bytes.

    `legacy` puts a space after each special token too, otherwise only the text begins with one.
    """
    backend = Backend(bpe(model, unk=None, byte_fallback=True))
    space = declared.flag("add_prefix_space", True)
    scheme = ("always" if declared.flag("legacy", False) else "first") if space else "never"
    backend.pre_tokenizer = pre_tokenizers.Metaspace(SPACE, prepend_scheme=scheme, split=False)
    backend.decoder = spell_decoder(spaces=int(space))
    specials = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}
    return Parts(backend, specials, own_tokens(model))


def gemma(model: SpmModel, declared: Declared) -> Parts:
    """Gemma Team 2024: as Llama, without a space at the beginning."""
    specials = {
        "bos_token": "<bos>",
        "eos_token": "<eos>",
        "unk_token": "<unk>",
        "pad_token": "<pad>",
        "mask_token": "<mask>",
    }
    unk = role_text(declared, specials, "unk_token")
    backend = Backend(bpe(model, unk=unk, byte_fallback=True))
    backend.normalizer = normalizers.Replace(" ", SPACE)
    backend.decoder = spell_decoder(spaces=0)
    return Parts(backend, specials, own_tokens(model))


CLASSES: Mapping[str, Callable[[SpmModel, Declared], Parts]] = {
    "AlbertTokenizer": albert,
    "CamembertTokenizer": camembert,
    "DebertaV2Tokenizer": deberta_v2,
    "GemmaTokenizer": gemma,
    "LlamaTokenizer": llama,
    "MBart50Tokenizer": mbart50,
    "MBartTokenizer": mbart,
    "PegasusTokenizer": pegasus,
    "SiglipTokenizer": siglip,
    "T5Tokenizer": t5,
    "XLMRobertaTokenizer": xlm_roberta,
}


def load_spm(file: Path, declared: Declared) -> tuple[Backend, dict[str, int]]:
    """Build the tokenizer of a SentencePiece model.

    Returns:
        the backend, and role -> id of its special tokens

    Raises:
        WorkError: a broken file, or a class that is not covered.
    """
    family = declared.family
    if family is not None and family not in CLASSES:
        raise WorkError(
            f"tokenizer_class {family} with a SentencePiece model is not covered",
            where=str(file),
            fix=f"use a folder with a tokenizer.json; {hint(family, CLASSES)}",
        )
    model = read_spm(file)
    parts = CLASSES[family](model, declared) if family else as_written(model)
    backend = parts.backend
    ids = add_tokens(backend, declared, parts.specials, parts.extra)
    if parts.around is None:
        backend.post_processor = bos_eos_template(backend, declared, ids)
    else:
        backend.post_processor = template(backend, ids, *parts.around)
    return backend, ids


def fairseq(model: SpmModel, declared: Declared, last: Sequence[str]) -> Scored:
    """The pieces in the order of fairseq: its four special tokens, the pieces, further tokens."""
    first = [
        role_text(declared, ROBERTA, role)
        for role in ("bos_token", "pad_token", "eos_token", "unk_token")
    ]
    return [(token, 0.0) for token in first] + model.pieces[3:] + [(token, 0.0) for token in last]


def set_charsmap(backend: Backend, model: SpmModel, *further: normalizers.Normalizer) -> None:
    """Normalize with the model's character map, then with further steps."""
    steps = list(further)
    if model.charsmap:
        steps.insert(0, normalizers.Precompiled(model.charsmap))
    if steps:
        backend.normalizer = normalizers.Sequence(steps)


def always_or_never(declared: Declared) -> str:
    """Whether each word begins with a space."""
    return "always" if declared.flag("add_prefix_space", True) else "never"
