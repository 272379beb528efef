"""Text that tokenizers are trained on in tests, and text that finds their mistakes."""

# ruff: noqa: RUF001 - characters that look like others are what this is about

from __future__ import annotations

import itertools
import random

NASTY: tuple[str, ...] = (
    # nothing, and white space of every kind
    "",
    " ",
    "   ",
    "\n",
    "\n\n\n",
    "\t",
    " \t \n ",
    "\u00a0",  # no-break space
    "\u3000全角\u3000空白",  # ideographic space
    "a\u2009b\u200ac\u202fd\u205fe",  # thin, hair, narrow no-break, mathematical space
    "line\u2028separator\u2029paragraph",
    "carriage\r\nreturn\rand\x0bvertical\x0cform",
    " leading space",
    "  two leading spaces",
    "trailing space ",
    "trailing spaces   ",
    "many     spaces    in   between",
    "def f(x):\n    if x:\n\t\treturn  1\n",
    "▁▁ the space sign ▁itself ▁",
    # letters and numbers
    "plain words",
    "Mixed CASE and ÜPPER ÄÖß",
    "it's don't we'll I'VE they'd 'quoted' \"doubly\"",
    "``quotes'' of TeX",
    "1 12 123 1234 12345 3.14159 1,000,000 ١٢٣ ４５６ ²³ ½ Ⅷ",
    "a" * 300,
    "ab" * 2000,
    "supercalifragilisticexpialidocious" * 20,
    "." * 200,
    "!?" * 50,
    "x-y_z/w\\v|u~t`s^r@q#p$o%n&m*l(k)j[i]h{g}f<e>d=c+b;a:",
    "https://example.org/a?b=c&d=%20#e user@example.org C:\\dir\\file.txt",
    "$100 €20 £3 ¥4 ₿5 100% ±1 ≤ ≥ ≠ → ∑ ∞ √2",
    # Unicode normalisation
    "cafe\u0301 café",  # decomposed and composed
    "A\u030angstro\u0308m Ångström \u212b",
    "ﬁ ﬂ ﬀ ﬃ ligatures",
    "ｆｕｌｌ　ｗｉｄｔｈ ﾊﾝｶｸ ｶﾞ",
    "①②③ ㍿ ㌔ ℡ ™ № ª º",
    "a\u0300\u0301\u0302\u0303\u0304 stacked accents",
    "한국어 \u1112\u1161\u11ab\u1100\u116e\u11a8",  # composed and conjoining Hangul
    "ｅ́ i\u0307 İstanbul ıI ſ ẞ",
    "soft\u00adhyphen non\u2011breaking–en—em…",
    # scripts
    "日本語のテキスト、漢字とかな。",
    "中文分词测试，今天天气很好！繁體中文",
    "𠮷野家 𩸽 rare ideographs",
    "שלום עולם עברית",
    "שָׁלוֹם with points",
    "مرحبا بالعالم العربية",
    "الْعَرَبِيَّة with marks",
    "\u202eright to left override\u202c and \u200fmark",
    "mixed עברית and English و عربي 123",
    "привет, мир! Ёжик",
    "Ελληνικά ΣΊΣΥΦΟΣ σίσυφος",
    "हिन्दी क्षत्रिय",
    "ภาษาไทยไม่มีช่องว่าง",
    "தமிழ் မြန်မာ ខ្មែរ አማርኛ",
    # emoji
    "😀 😀😀 🙂",
    "👩‍👩‍👧‍👦 family 👍🏽 skin 🏳️‍🌈 flag 🇫🇷🇩🇪 ❤️ ☺",
    "1️⃣ #️⃣ keycaps 🫠🪿 new ones",
    "𝄞 𝒜𝓁𝓅𝒽𝒶 𝟙𝟚𝟛",
    # control and invisible characters
    "nul\x00in the middle",
    "bell\x07 escape\x1b[31m delete\x7f",
    "\x01\x02\x03",
    "c1\x80\x9f controls",
    "zero\u200bwidth\u200cnon\u200djoiner\ufeffbom",
    "\ufeffbom first",
    "replacement \ufffd character \ufffc",
    "not a character \ufffe \uffff \U0010ffff",
    "private \ue000 use \U000f0000",
    "tag \U000e0041 variation \ufe0f selector",
    # special tokens inside user text
    "<s>",
    "a<s>b</s>c",
    "text <s> with </s> spaces <pad> around <unk> them <mask> all",
    "the <mask> sat on the<mask>.",
    "[CLS] the [MASK] sat [SEP] [PAD] [UNK][MASK]",
    "<|endoftext|>",
    "before<|endoftext|>after <|endoftext|> ",
    "<|endoftext|><|endoftext|>",
    "<|begin_of_text|><|start_header_id|>system<|end_header_id|>\n\nhi<|eot_id|>",
    "<|im_start|>user\nhello<|im_end|>\n",
    "<bos><start_of_turn>user\nhello<end_of_turn>\n<eos>",
    "[INST] do as I say [/INST] </s>",
    "<extra_id_0> sentinel <extra_id_99> and <extra_id_100>",
    "< s> <S> <<s>> <s <|endoftext| > [cls] [Mask]",
    ">>fra<< translate this",
    "__en__ en_XX language codes",
    "<0x41> <0xFF> bytes as text",
    "##ing and ##ed pieces",
    "Ġthe Ċ byte-level letters",
)
"""Each is encoded by both libraries; equal ids or a failed test."""

_WORDS = (
    "the cat sat on a mat and dog ran to log over hill under tree while rain fell slowly upon "
    "green fields of corn where children played many games with wooden toys in summer light "
    "reading writing running walking talking tokens tokenizer language model text words piece "
    "naïve café über straße señor garçon Ångström привет мир язык модель слово שלום עולם שפה "
    "مرحبا بالعالم لغة 日本 語 言葉 東京 中文 分词 天气 很好 한국어 문장 ελληνικά λόγος हिन्दी "
    "import return class def self print value None True False 10 25 300 2024 3.14 x y z"
)


def corpus(lines: int = 300) -> list[str]:
    """Lines of words of many scripts, always the same."""
    draw = random.Random(7)
    words = _WORDS.split()
    made = []
    for number in range(lines):
        picked = draw.choices(words, k=draw.randrange(4, 14))
        line = " ".join(picked)
        made.append(line.capitalize() + draw.choice([".", "!", "?", ", it's so.", ""]))
        if number % 25 == 0:
            made.append(
                "".join(itertools.islice(itertools.cycle("😀👍🏽é̂"), 6)) + " " + line.upper()
            )
    return made
