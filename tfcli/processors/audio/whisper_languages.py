"""The languages that Whisper knows (Radford et al. 2022; Cantonese since large-v3)."""

from __future__ import annotations

from tfcli.errors import UsageError, hint

# In the order of their tokens: <|en|> follows <|startoftranscript|>.
_LISTED = """
en english,zh chinese,de german,es spanish,ru russian,ko korean,fr french,ja japanese,pt portuguese,
tr turkish,pl polish,ca catalan,nl dutch,ar arabic,sv swedish,it italian,id indonesian,hi hindi,
fi finnish,vi vietnamese,he hebrew,uk ukrainian,el greek,ms malay,cs czech,ro romanian,da danish,
hu hungarian,ta tamil,no norwegian,th thai,ur urdu,hr croatian,bg bulgarian,lt lithuanian,la latin,
mi maori,ml malayalam,cy welsh,sk slovak,te telugu,fa persian,lv latvian,bn bengali,sr serbian,
az azerbaijani,sl slovenian,kn kannada,et estonian,mk macedonian,br breton,eu basque,is icelandic,
hy armenian,ne nepali,mn mongolian,bs bosnian,kk kazakh,sq albanian,sw swahili,gl galician,
mr marathi,pa punjabi,si sinhala,km khmer,sn shona,yo yoruba,so somali,af afrikaans,oc occitan,
ka georgian,be belarusian,tg tajik,sd sindhi,gu gujarati,am amharic,yi yiddish,lo lao,uz uzbek,
fo faroese,ht haitian creole,ps pashto,tk turkmen,nn nynorsk,mt maltese,sa sanskrit,
lb luxembourgish,my myanmar,bo tibetan,tl tagalog,mg malagasy,as assamese,tt tatar,haw hawaiian,
ln lingala,ha hausa,ba bashkir,jw javanese,su sundanese,yue cantonese
"""

LANGUAGES: dict[str, str] = {
    code: name for code, _, name in (entry.strip().partition(" ") for entry in _LISTED.split(","))
}
"""Code -> English name."""

OTHER_NAMES = {
    "burmese": "my",
    "castilian": "es",
    "flemish": "nl",
    "haitian": "ht",
    "letzeburgesch": "lb",
    "mandarin": "zh",
    "moldavian": "ro",
    "moldovan": "ro",
    "panjabi": "pa",
    "pushto": "ps",
    "sinhalese": "si",
    "valencian": "ca",
}
"""Further names -> code."""

_CODES = {**{name: code for code, name in LANGUAGES.items()}, **OTHER_NAMES}


def language_code(language: str) -> str:
    """The code of a language that is named by it, by its token or by an English name.

    Raises:
        UsageError: none that Whisper knows.
    """
    plain = language.lower().removeprefix("<|").removesuffix("|>")
    if plain in LANGUAGES:
        return plain
    if plain in _CODES:
        return _CODES[plain]
    raise UsageError(
        f"Whisper knows no language {language[:40]!r}",
        where="language",
        fix=hint(plain, LANGUAGES if len(plain) < 4 else _CODES),
    )
