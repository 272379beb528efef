"""Documents with their middle put last."""

from __future__ import annotations

import pytest
from tokenizers import Tokenizer as Backend
from tokenizers import models, pre_tokenizers

from tests.train.conftest import sentences
from tests.train.objectives.conftest import refused, rows_file  # noqa: F401 - a fixture
from tests.train.objectives.support import fed
from tfcli.tokenizers.load import load_tokenizer
from tfcli.tokenizers.run import train_bpe, write_tokenizer
from tfcli.train.feeds.fim import FIMStream, FIMTokens, Part, encode_parts, rearranged
from tfcli.train.objectives.spec import FIMSection

QWEN = ("<|fim_prefix|>", "<|fim_suffix|>", "<|fim_middle|>")
DEEPSEEK = (
    "<\uff5cfim\u2581begin\uff5c>",
    "<\uff5cfim\u2581hole\uff5c>",
    "<\uff5cfim\u2581end\uff5c>",
)
CODELLAMA = ("\u2581<PRE>", "\u2581<SUF>", "\u2581<MID>")
STARCODER = ("<fim_prefix>", "<fim_suffix>", "<fim_middle>")
TEXTS = [f"{text} \u00e9\u4f60" for text in sentences(0, 40, 12)]


def with_tokens(folder, tokens):
    write_tokenizer(train_bpe(sentences(0), 300, tokens), folder)
    return load_tokenizer(folder)


@pytest.fixture(scope="session")
def tokenizer(tmp_path_factory):
    return with_tokens(tmp_path_factory.mktemp("fim"), QWEN)


def documents(ids, tokenizer) -> list[list[int]]:
    """The stream's documents, without what begins and ends each."""
    found, (begin,) = [], tokenizer.prefix
    for id in ids.tolist():
        if id == begin:
            found.append([])
        else:
            found[-1].append(id)
    return [each for each in found if each]


def restored(ids, tokenizer) -> tuple[str, str]:
    """What a document was, and its form: plain, psm or spm."""
    marks = FIMTokens.of(tokenizer)

    def text(part):
        return tokenizer.decode(part)

    if ids[0] != marks.prefix:
        return text(ids), "plain"
    middle, suffix = ids.index(marks.middle), ids.index(marks.suffix)
    if suffix == 1:  # the prefix and the middle follow each other
        return text(ids[middle + 1 :]) + text(ids[2:middle]), "spm"
    parts = ids[1:suffix], ids[middle + 1 :], ids[suffix + 1 : middle]
    return "".join(map(text, parts)), "psm"


def test_documents_are_whole_and_the_shares_are_those_asked_for(tokenizer):
    stream = FIMStream(TEXTS * 10, tokenizer, FIMSection(rate=0.6, spm_rate=0.25), seed=0)
    found = [restored(each, tokenizer) for each in documents(stream.ids(0), tokenizer)]
    assert [text for text, _ in found] == TEXTS * 10
    forms = [form for _, form in found]
    assert forms.count("plain") / 400 == pytest.approx(0.4, abs=0.08)
    assert forms.count("spm") / 400 == pytest.approx(0.15, abs=0.06)


def test_what_is_drawn_follows_from_the_seed_and_the_epoch(tokenizer):
    def ids(epoch, seed=0):
        given = FIMSection(rate=0.5)
        return FIMStream(TEXTS, tokenizer, given, seed).ids(epoch).tolist()

    assert ids(3) == ids(3)
    assert len({tuple(each) for each in (ids(0), ids(1), ids(0, seed=1), ids("validation"))}) == 4


def test_a_rate_of_0_is_the_stream_that_there_is_without(rows_file, make_spec):  # noqa: F811
    one = fed(make_spec(data=rows_file([{"text": text} for text in TEXTS])))[1]
    two = fed(make_spec(data=rows_file([{"text": text} for text in TEXTS]), fim={"rate": 0}))[1]
    assert one.train.stream(0).tolist() == two.train.stream(0).tolist()


def test_the_forms_are_those_of_the_paper():
    marks = FIMTokens(prefix=1, suffix=2, middle=3)
    assert rearranged([10, 11], [20], [30], marks, spm=False) == [1, 10, 11, 2, 30, 3, 20]
    assert rearranged([10, 11], [20], [30], marks, spm=True) == [1, 2, 30, 3, 10, 11, 20]
    ended = FIMTokens(prefix=1, suffix=2, middle=3, end=4)  # CodeLlama's <EOT>
    assert rearranged([10], [20], [30], ended, spm=False) == [1, 10, 2, 30, 3, 20, 4]


@pytest.mark.parametrize("names", [QWEN, DEEPSEEK, STARCODER, (*CODELLAMA, "\u2581<EOT>")])
def test_every_familys_tokens_are_found(tmp_path, names):
    tokenizer = with_tokens(tmp_path, names)
    marks = FIMTokens.of(tokenizer)
    known = tokenizer.backend.get_vocab(with_added_tokens=True)
    found = (marks.prefix, marks.suffix, marks.middle, marks.end)
    assert found == tuple(known[name] for name in names) + (None,) * (4 - len(names))


def test_what_is_missing_is_named(tmp_path, make_spec, rows_file):  # noqa: F811
    with_tokens(tmp_path, QWEN[:2])
    data = rows_file([{"text": text} for text in TEXTS])
    problem = refused(lambda: fed(make_spec(data=data, tokenizer=str(tmp_path), fim={"rate": 0.5})))
    assert "lacks <|fim_middle|>, which" in problem.what and problem.where == "fim"


def test_rows_have_no_middle(make_spec, rows_file):  # noqa: F811
    data = rows_file([{"prompt": "the cat", "completion": " sat"}] * 3)
    problem = refused(lambda: fed(make_spec(data=data, fim={"rate": 0.5})))
    assert problem.where == "fim"
    with pytest.raises(ValueError, match="give one"):
        make_spec(fim={"rate": 0.5}, bpe_dropout=0.1)


def test_no_space_is_put_before_an_inner_part(tmp_path):
    """As CodeLlama's own code does: its tokenizer puts one before every text."""
    words = ["<unk>", "\u2581", "a", "b", "\u2581a", "\u263a", "\u2581b"]
    backend = Backend(
        models.BPE(
            {word: id for id, word in enumerate(words)},
            [("\u2581", "a"), ("\u2581", "b")],
            unk_token="<unk>",
        )
    )
    backend.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="always", split=False)
    backend.save(str(tmp_path / "tokenizer.json"))
    tokenizer = load_tokenizer(tmp_path)
    parts = [Part("ab"), Part("ab", inner=True), Part(" ab", inner=True), Part("", inner=True)]
    assert encode_parts(parts, tokenizer) == [[4, 3], [2, 3], [4, 3], []]
