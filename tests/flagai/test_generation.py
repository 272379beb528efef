from __future__ import annotations

import pytest
import torch
from tokenizers import AddedToken, Tokenizer, decoders, pre_tokenizers
from tokenizers.models import WordLevel

from tests.flagai.folders import make, write
from tfcli.errors import UsageError
from tfcli.flagai import models
from tfcli.flagai.blanks import BlankTokens
from tfcli.flagai.generation import fill, fill_ids
from tfcli.generation.sampling import Draw, sampler
from tfcli.tokenizers.load import load_tokenizer

SPECIAL = ["[PAD]", "[CLS]", "[MASK]", "[sMASK]", "[gMASK]", "<|startofpiece|>", "<|endofpiece|>"]
TOKENS = BlankTokens(2, 3, 4, 5, 6)


def by_hand(model, ids, tokens, limit, pick):
    """The same without a cache: the whole sequence anew for each word."""
    everything, filled = list(ids), []
    positions, blocks = list(range(len(ids))), [0] * len(ids)
    for place in [at for at, index in enumerate(ids) if index in tokens.masks]:
        everything, blocks = [*everything, tokens.sop], [*blocks, 1]
        positions.append(place)
        words = []
        while len(words) < limit:
            with torch.no_grad():
                logits = model(
                    torch.tensor([everything]), torch.tensor([[positions, blocks]]), len(ids)
                )["logits"][0, -1]
            word = pick(logits)
            if word == tokens.eop:
                break
            words.append(word)
            everything, blocks = [*everything, word], [*blocks, blocks[-1] + 1]
            positions.append(place)
        filled.append(words)
    return filled


@pytest.mark.parametrize("mask", [2, 3, 4])
@pytest.mark.parametrize("seed", range(4))
def test_filling_with_a_cache_equals_filling_anew(mask, seed):
    model = make(models.GLMModel, seed=seed)
    ids = [1, 20, 21, mask, 22, 23, 2, 24, mask]
    found = fill_ids(model, ids, TOKENS, max_new_tokens=6)
    expected = by_hand(model, ids, TOKENS, 6, lambda logits: int(logits.argmax()))
    assert found == expected
    assert len(found) == 3


def test_a_blank_ends_at_eop_and_others_go_on():
    model = make(models.GLMModel)
    words = iter([30, 31, TOKENS.eop, TOKENS.eop, 32, 33, 34])
    found = fill_ids(
        model,
        [1, 2, 20, 2, 21, 2],
        TOKENS,
        max_new_tokens=3,
        pick=lambda _: torch.tensor([next(words)]),
    )
    assert found == [[30, 31], [], [32, 33, 34]]


def test_a_later_blank_sees_an_earlier_one():
    model = make(models.GLMModel)
    ids = [1, 2, 20, 21, 2]
    seen = []

    def pick(first):
        words = iter([first, TOKENS.eop, TOKENS.eop])
        return lambda logits: (seen.append(logits.clone()), next(words))[1]

    for first in (40, 41):
        fill_ids(model, ids, TOKENS, pick=pick(first), max_new_tokens=2)
    assert torch.equal(seen[0], seen[3])
    assert not torch.allclose(seen[2], seen[5])


def test_sampling_follows_its_seed():
    model = make(models.GLMModel)
    ids = [1, 20, 21, 4]
    drawn = [
        fill_ids(
            model,
            ids,
            TOKENS,
            max_new_tokens=8,
            pick=sampler(Draw(temperature=2.0, top_k=20), [seed]),
        )
        for seed in (1, 1, 2)
    ]
    assert drawn[0] == drawn[1] != drawn[2]


def test_what_cannot_be_filled_is_refused():
    model = make(models.GLMModel)
    with pytest.raises(UsageError, match="no blank"):
        fill_ids(model, [1, 20], TOKENS)
    with pytest.raises(UsageError, match="48 positions"):
        fill_ids(model, [1, 2] * 30, TOKENS, max_new_tokens=4)
    with pytest.raises(UsageError, match="48 positions"):
        fill_ids(model, [1, 2], TOKENS, max_new_tokens=48)
    assert len(fill_ids(model, [1, *[20] * 46, 2], TOKENS, max_new_tokens=47)) == 1
    with pytest.raises(UsageError, match="at least 1"):
        fill_ids(model, [1, 2], TOKENS, max_new_tokens=0)


def tokenizer_in(folder, special=SPECIAL):
    names = [*special, *(f"w{i}" for i in range(61 - len(special)))]
    backend = Tokenizer(WordLevel({name: i for i, name in enumerate(names)}, unk_token="[PAD]"))
    backend.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    backend.decoder = decoders.Fuse()
    backend.add_special_tokens([AddedToken(name, special=True) for name in special])
    folder.mkdir(exist_ok=True)
    backend.save(str(folder / "tokenizer.json"))
    return load_tokenizer(folder)


def test_a_text_is_filled_and_its_masks_are_gone(tmp_path):
    model = make(models.GLMModel)
    write(tmp_path / "mine", model)
    tokenizer = tokenizer_in(tmp_path / "mine")
    words = iter([10, 11, TOKENS.eop, 12, TOKENS.eop])
    text = fill(
        model,
        tokenizer,
        "w0 [MASK] w1 [gMASK]",
        max_new_tokens=9,
        pick=lambda _: torch.tensor([next(words)]),
    )
    assert text.replace(" ", "") == "w0w3w4w1w5"


def test_the_special_tokens_are_found_by_their_names(tmp_path):
    tokens = BlankTokens.of(tokenizer_in(tmp_path / "one"))
    assert (*tokens.masks, tokens.sop, tokens.eop) == (2, 3, 4, 5, 6)
    assert tokens.fixed == frozenset(range(7))
    plain = [name for name in SPECIAL if name not in ("[sMASK]", "[gMASK]")]
    assert BlankTokens.of(tokenizer_in(tmp_path / "two", plain)).masks == (2, 2, 2)
    with pytest.raises(UsageError, match=r"no token <\|startofpiece\|>"):
        BlankTokens.of(tokenizer_in(tmp_path / "three", SPECIAL[:5]))


def test_signs_that_end_sentences_are_found(tmp_path):
    names = {"[MASK]": 0, "<|startofpiece|>": 1, "<|endofpiece|>": 2, "。": 3, "end.": 4, "w": 5}
    backend = Tokenizer(WordLevel(names, unk_token="w"))
    (tmp_path / "plain").mkdir()
    backend.save(str(tmp_path / "plain" / "tokenizer.json"))
    assert BlankTokens.of(load_tokenizer(tmp_path / "plain")).ends == {3, 4}
