"""Decoding of encoder-decoders gives what transformers gives, and what no cache gives."""

from dataclasses import replace

import pytest
import torch

from tests.generation.making import answered, processes_of
from tests.models.parity import pair_id, twin
from tests.models.seq2seq_parity import LM, reference
from tfcli.errors import ModelError, UsageError
from tfcli.generation.rules import Rules
from tfcli.generation.tasks import check_source, room_after

SOURCE = [12, 33, 7, 50, 5, 41, 2]
NEW = 20
# Theirs fills a source up to their widest window, and then asks for the first layer's.
GENERATING = [pair for pair in LM if pair[0].name != "led-windows"]
every_lm = pytest.mark.parametrize(("case", "task"), GENERATING, ids=pair_id)


def models(case, task):
    """The transformers model, which ends no text, and ours."""
    if "T5" in case.config:  # their generation counts the encoder's layers
        case = replace(case, settings=case.settings | {"num_decoder_layers": None})
    theirs = reference(case, task)
    theirs.generation_config.eos_token_id = None
    return theirs, twin(theirs, task)


def unseen(*seen):
    """Picks the likeliest token that has not come yet: random models repeat themselves."""
    used = list(seen)

    def pick(logits):
        used.append(int(logits[0].index_fill(0, torch.tensor(used), -torch.inf).argmax()))
        return torch.tensor(used[-1:])

    return pick


def first(token):
    """The rule that a text begins with a token."""
    return processes_of(Rules(forced_bos=token), [[0]])


def their_tokens(theirs, **options):
    """What transformers makes of the source, without the token that begins it."""
    ids, options = torch.tensor([SOURCE]), {"num_beams": 1, "use_cache": True, **options}
    return theirs.generate(ids, max_new_tokens=NEW, do_sample=False, **options)[0, 1:].tolist()


def tokens(model, **options):
    return answered(model, SOURCE, max_new_tokens=NEW, **options)


@pytest.fixture(scope="module")
def model():
    """A tiny BART, which has a start and learned positions."""
    case, task = next(pair for pair in LM if pair[0].name == "bart")
    return models(case, task)[1]


@every_lm
def test_greedy_is_that_of_transformers(case, task):
    theirs, ours = models(case, task)
    assert tokens(ours) == their_tokens(theirs)
    start, padding = ours.body.start_id(), ours.config.text.pad_token_id
    # Of a padding token that was chosen, FSMT says that there is nothing in its place.
    once = {"no_repeat_ngram_size": 1, "suppress_tokens": [padding]}
    own = tokens(ours, pick=unseen(start, padding))
    assert own == their_tokens(theirs, **once)
    assert len(set(own)) == len(own) == NEW
    options = once | {"eos_token_id": own[6]}
    assert tokens(ours, pick=unseen(start, padding), stop={own[6]}) == their_tokens(
        theirs, **options
    )
    forced = tokens(ours, pick=unseen(start, padding), process=first(9))
    options = once | {"forced_bos_token_id": 9}
    assert forced == their_tokens(theirs, **options)
    assert forced[0] == 9


@torch.no_grad()
def test_the_cache_changes_nothing(model):
    target = [3]
    for _ in range(NEW):
        logits = model(
            input_ids=torch.tensor([SOURCE]), decoder_input_ids=torch.tensor([target])
        ).logits
        target.append(int(logits[0, -1].argmax()))
    assert tokens(model) == target[1:]


def test_another_start_gives_another_text(model):
    own, same, other = (tokens(model, pick=unseen(0), start=s) for s in (None, 3, 2))
    assert own == same != other


def test_a_forced_token_may_be_the_only_one(model):
    assert answered(model, SOURCE, max_new_tokens=1, process=first(9)) == [9]
    assert tokens(model, process=first(9), stop={9}) == [9]


def test_a_pick_sees_the_models_logits(model):
    def least(logits):
        return logits.argmin(-1)

    assert tokens(model, pick=least) != tokens(model)


def test_the_target_may_fill_all_positions(model):
    limit = model.config.max_position_embeddings
    assert room_after("seq2seq-lm", SOURCE, model.config) == limit
    assert len(answered(model, SOURCE, max_new_tokens=limit)) == limit


def test_a_start_is_needed():
    case, task = next(pair for pair in LM if pair[0].name == "mbart")
    model = models(case, task)[1]
    model.config = model.body.config = model.config.replace(decoder_start_token_id=None)
    with pytest.raises(ModelError, match="decoder_start_token_id"):
        tokens(model)
    assert len(tokens(model, start=5)) == NEW


@pytest.mark.parametrize(
    ("source", "what"),
    [
        ([], "no tokens"),
        (range(25), "25 tokens, more than the model's 24 positions"),
    ],
)
def test_lengths_that_do_not_fit_are_refused(model, source, what):
    with pytest.raises(UsageError, match=what):
        check_source(source, model.config)
