"""Which regular expressions of a tokenizer are taken: those whose time follows the text."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Regex, normalizers

from tfcli.tokenizers.regex_cost import check_pattern, may_be_empty
from tfcli.tokenizers.regex_syntax import Unclear

IN_USE = {
    "gpt2": r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+",
    "qwen2": r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
    "cl100k": r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}++|\p{N}{1,3}+"
    r"| ?[^\s\p{L}\p{N}]++[\r\n]*+|\s++$|\s*[\r\n]|\s+(?!\S)|\s",
    "o200k": r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+"
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s+",
    "kimi": r"[\p{Han}]+|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lo}&&[^\p{Han}]]*[\p{Ll}&&[^\p{Han}]]+|\s+",
    "bloom": r" ?[^(\s|[.,!?…。\uff0c、।\u06d4،])]+",
    "digits from the right": r"\p{N}{1,3}(?=(?:\p{N}{3})*(?!\p{N}))",
    "ends of lines": r"(?:\r?\n)+(?!\r?\n)",
    "a tag": r"<[^>]+>",
    "the ends of a text": r"\A\s+|\s+\z",
}
TOO_SLOW = {
    "exponential": [r"(a+)+$", r"(a|a)*b", r"(a|aa)+$", r"(\w+\s?)*x", r"(?i)(a|A)*x"],
    "exponential inside": [r"(?:(a+)+b)*", r"(?=(a+)+b)", r"(?>(a+)+b)", r"(?:\w|\d)+\z"],
    "of letters that no sample has": [
        r"(?:\p{Ethiopic}+)+x",
        r"[\x{1200}-\x{137F}]+[\x{1200}-\x{137F}]+x",
        r"\p{Ethiopic}+\p{Ethiopic}+x",
    ],
    "counted": [r"(?:a?){30}a{30}b", r"(a+){2,10}b", r"((a{1,100}){1,100}){1,100}"],
    "cubic": [r"a*a*b", r"\s*\s+x", r"(?:a*){3}b", r"\s+\s++x", r"\s+(?=\s*x)", r"\s+(?>\s+)x"],
    "from every place": [r".*x", r"[\s\S]+[\x00-\x01]", r"(?=.*x)", r"(?:x|.*y)+", r".++\x00"],
    "of no known cost": [r"(a)\1", r"(?<a>b\g<a>?)", r"(?~a)", r"(?x) a", r"(?(1)a)", "(a", "a)"],
    "too large": ["(" * 30 + "a" + ")" * 30, "a" * 5_000, "a{5000}"],
}


@pytest.mark.parametrize("pattern", IN_USE.values(), ids=IN_USE)
def test_patterns_in_use_are_taken(pattern):
    check_pattern(pattern)


@pytest.mark.parametrize("pattern", [one for kind in TOO_SLOW.values() for one in kind])
def test_patterns_that_take_too_long_are_not(pattern):
    with pytest.raises(Unclear):
        check_pattern(pattern)


def test_what_cannot_fail_is_not_tried_again():
    """`(a+)+` divides a text in many ways, but the first of them is good."""
    check_pattern(r"(a+)+")
    check_pattern(r"(?>a+)b|\s*[\r\n]+")


def test_which_may_be_of_no_length():
    empty = {
        "x*": True,
        "": True,
        "^": True,
        "(?=a)": True,
        "a|b?": True,
        "a": False,
        "a+b?": False,
    }
    assert {one: may_be_empty(check_pattern(one)) for one in empty} == empty


PIECES = st.sampled_from(["a", "b", "[ab]", " ", r"\s", r"\w", "[^c]", "(?!b)"])
PATTERNS = st.recursive(
    PIECES,
    lambda inner: st.one_of(
        st.tuples(inner, inner).map("".join),
        st.tuples(inner, inner).map("(?:{0[0]}|{0[1]})".format),
        st.tuples(inner, st.sampled_from(["*", "+", "?", "*?", "++", "{2,20}"])).map(
            "(?:{0[0]}){0[1]}".format
        ),
    ),
    max_leaves=8,
)
TEXTS = ["a" * 2000 + "!", "ab" * 1000, " " * 2000 + "x", ("a" * 30 + " ") * 40]


@settings(deadline=None, max_examples=300)
@given(PATTERNS, st.sampled_from(["", "c", "$", "!"]))
def test_no_pattern_that_is_taken_reaches_the_engines_limit(pattern, end):
    """Oniguruma gives up after ten million ways from one place, with a panic."""
    try:
        check_pattern(pattern + end)
        step = normalizers.Replace(Regex(pattern + end), "")
    except Exception as error:  # noqa: BLE001 - the library raises no other
        assert isinstance(error, Unclear) or "Oniguruma error" in str(error)
        return
    for text in TEXTS:
        step.normalize_str(text)
