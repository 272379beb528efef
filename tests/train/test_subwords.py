"""BPE dropout from a seed."""

from __future__ import annotations

import itertools
import json
import random

import numpy as np
import pytest
from tokenizers import Tokenizer as Backend
from tokenizers import models, pre_tokenizers, processors, trainers

from tests.train.conftest import sentences
from tfcli.data.tokens import token_stream
from tfcli.errors import UsageError
from tfcli.tokenizers.load import Tokenizer, load_tokenizer
from tfcli.train.subwords import SubwordSampler

TEXTS = [*sentences(5, 4), "Umlauts äöü, 数字 and\n\n\ttabs <|endoftext|> within   spaces", ""]


@pytest.fixture(scope="module")
def tokenizer(texts):
    return load_tokenizer(texts / "tokenizer")


def test_without_dropout_it_is_the_librarys_encoding(tokenizer):
    sampler = SubwordSampler(TEXTS, tokenizer, 0.0)
    assert sampler.sample(1).tolist() == token_stream(TEXTS, tokenizer).tolist()


@pytest.mark.parametrize("dropout", [0.1, 0.5, 0.99])
def test_every_sample_spells_the_same_text(tokenizer, dropout):
    ids = SubwordSampler(TEXTS, tokenizer, dropout).sample(7).tolist()
    whole = token_stream(TEXTS, tokenizer).tolist()
    assert len(ids) > len(whole)
    assert tokenizer.decode(ids, False) == tokenizer.decode(whole, False)


def test_a_seed_gives_one_sample_and_seeds_differ(tokenizer):
    first, second = (SubwordSampler(TEXTS, tokenizer, 0.3) for _ in range(2))
    assert np.array_equal(first.sample(1), second.sample(1))
    assert not np.array_equal(first.sample(1), first.sample(2))


def test_the_share_of_merges_left_out_is_that_of_the_paper(tokenizer):
    """Against algorithm 1 of Provilkov et al., word by word."""
    merges = json.loads(tokenizer.backend.to_str())["model"]["merges"]
    rank = {tuple(merge): number for number, merge in enumerate(merges)}
    chance = random.Random(0)

    def length(word: str) -> int:
        symbols = list(word)
        while True:
            pairs = [
                (rank[pair], at)
                for at, pair in enumerate(itertools.pairwise(symbols))
                if pair in rank and chance.random() >= 0.3
            ]
            if not pairs:
                return len(symbols)
            _, at = min(pairs)
            symbols[at : at + 2] = [symbols[at] + symbols[at + 1]]

    text = " ".join(sentences(9, 4))
    words = [w for w, _ in tokenizer.backend.pre_tokenizer.pre_tokenize_str(text)]
    wanted = np.mean([sum(map(length, words)) for _ in range(40)])
    sampler = SubwordSampler([text], tokenizer, 0.3)
    got = np.mean([len(sampler.sample(seed)) - 2 for seed in range(40)])
    assert got == pytest.approx(wanted, rel=0.02)


def test_a_tokenizer_whose_documents_end_with_an_eos_keeps_it(tokenizer):
    bare = Backend.from_str(tokenizer.backend.to_str())
    bare.post_processor = processors.ByteLevel()  # adds no special tokens
    ending = Tokenizer(bare, eos_id=0)
    sampler = SubwordSampler(["the cat", "a dog"], ending, 0.0)
    assert sampler.sample(0).tolist() == token_stream(["the cat", "a dog"], ending).tolist()
    assert sampler.sample(0).tolist().count(0) == 2


def test_long_texts_are_merged_in_pieces(tokenizer, monkeypatch):
    monkeypatch.setattr("tfcli.train.subwords.CHUNK", 50)
    sampler = SubwordSampler(TEXTS, tokenizer, 0.0)
    assert sampler.sample(1).tolist() == token_stream(TEXTS, tokenizer).tolist()


def test_a_tokenizer_without_merges_is_refused():
    backend = Backend(models.WordLevel(unk_token="?"))
    backend.pre_tokenizer = pre_tokenizers.Whitespace()
    backend.train_from_iterator(["a b"], trainers.WordLevelTrainer(special_tokens=["?"]))
    with pytest.raises(UsageError, match="needs a BPE tokenizer, this one is WordLevel"):
        SubwordSampler(["a b"], Tokenizer(backend), 0.1)


def test_a_tokenizer_that_does_not_split_text_is_refused(tokenizer):
    with pytest.raises(UsageError, match="splits text into words"):
        SubwordSampler(["x" * 2001], tokenizer, 0.1)
