"""Every process gives the values of transformers' class, on random logits."""

from __future__ import annotations

import pytest
import torch
import transformers.generation.logits_process as theirs

from tfcli.generation.rules import Rules, processes
from tfcli.generation.sampling import Draw
from tfcli.generation.watermark import Watermark, marked

VOCAB, LENGTH, START, LIMIT = 120, 9, 4, 6
STOP = [3, 8]
GENERATOR = torch.Generator().manual_seed(0)
IDS = torch.randint(0, 12, (5, LENGTH), generator=GENERATOR)
SOURCE = torch.randint(0, 12, (5, 7), generator=GENERATOR)
SOURCE[0, 2:4] = torch.tensor([int(IDS[0, -1]), 5])
LOGITS = torch.randn(5, VOCAB, generator=GENERATOR) * 3
STRANGE = LOGITS.clone()
STRANGE[0, 3], STRANGE[1, 4], STRANGE[2, 5] = torch.nan, torch.inf, -torch.inf
BIAS = (((5,), 2.0), ((int(IDS[0, -1]), 6), -3.0), ((7,), 1.5))
THEIR_BIAS = [[list(ids), number] for ids, number in BIAS]

RULES = {
    "repetition_penalty": (
        Rules(repetition_penalty=1.7),
        theirs.RepetitionPenaltyLogitsProcessor(1.7),
    ),
    "encoder_repetition_penalty": (
        Rules(encoder_repetition_penalty=2.5),
        theirs.EncoderRepetitionPenaltyLogitsProcessor(2.5, SOURCE),
    ),
    "no_repeat_ngram_size": (Rules(no_repeat_ngram_size=2), theirs.NoRepeatNGramLogitsProcessor(2)),
    "encoder_no_repeat_ngram_size": (
        Rules(encoder_no_repeat_ngram_size=2),
        theirs.EncoderNoRepeatNGramLogitsProcessor(2, SOURCE),
    ),
    "sequence_bias": (Rules(bias=BIAS), theirs.SequenceBiasLogitsProcessor(THEIR_BIAS)),
    "bad_words_ids": (
        Rules(bias=(((5, 6), -torch.inf), ((7,), -torch.inf))),
        theirs.NoBadWordsLogitsProcessor([[5, 6], [7]], torch.tensor(STOP)),
    ),
    "min_length": (Rules(min_length=10), theirs.MinLengthLogitsProcessor(10, torch.tensor(STOP))),
    "min_new_tokens": (
        Rules(min_new_tokens=6),
        theirs.MinNewTokensLengthLogitsProcessor(START, 6, torch.tensor(STOP)),
    ),
    "forced_eos_token_id": (
        Rules(forced_eos=(8,)),
        theirs.ForcedEOSTokenLogitsProcessor(START + LIMIT, 8),
    ),
    "exponential_decay_length_penalty": (
        Rules(decay=(2, 1.3)),
        theirs.ExponentialDecayLengthPenalty((2, 1.3), torch.tensor(STOP), START),
    ),
    "suppress_tokens": (
        Rules(suppress_tokens=(4, 9)),
        theirs.SuppressTokensLogitsProcessor([4, 9]),
    ),
    "remove_invalid_values": (
        Rules(remove_invalid_values=True),
        theirs.InfNanRemoveLogitsProcessor(),
    ),
}
DRAWS = {
    "temperature": (Draw(temperature=0.6), theirs.TemperatureLogitsWarper(0.6)),
    "top_k": (Draw(top_k=7), theirs.TopKLogitsWarper(7)),
    "top_p": (Draw(top_p=0.7), theirs.TopPLogitsWarper(0.7)),
    "top_h": (Draw(top_h=0.5), theirs.TopHLogitsWarper(0.5)),
    "min_p": (Draw(min_p=0.1), theirs.MinPLogitsWarper(0.1)),
    "typical_p": (Draw(typical_p=0.6), theirs.TypicalLogitsWarper(0.6)),
    "epsilon_cutoff": (Draw(epsilon_cutoff=0.02), theirs.EpsilonLogitsWarper(0.02)),
    "eta_cutoff": (Draw(eta_cutoff=0.1), theirs.EtaLogitsWarper(0.1)),
}


def ours(rules, ids, logits, start=START):
    made = processes(
        rules,
        source=SOURCE,
        start=torch.full((5,), start),
        max_new_tokens=torch.full((5,), LIMIT),
        stop=STOP,
    )
    for process in made:
        logits = process(ids, logits)
    return logits


@pytest.mark.parametrize("name", RULES)
def test_a_rule_gives_the_values_of_theirs(name):
    rules, wanted = RULES[name]
    logits = STRANGE if name == "remove_invalid_values" else LOGITS
    found = ours(rules, IDS, logits.clone())
    torch.testing.assert_close(found, wanted(IDS, logits.clone()))
    assert not torch.equal(found, logits)


def test_the_first_token_is_forced_or_not_as_theirs_is():
    one = IDS[:, :1]
    wanted = theirs.ForcedBOSTokenLogitsProcessor(6)
    assert torch.equal(ours(Rules(forced_bos=6), one, LOGITS, 1), wanted(one, LOGITS.clone()))
    begin = theirs.SuppressTokensAtBeginLogitsProcessor([4, 9], START)
    rules, ids = Rules(begin_suppress_tokens=(4, 9)), IDS[:, :START]
    assert torch.equal(ours(rules, ids, LOGITS), begin(ids, LOGITS.clone()))


@pytest.mark.parametrize("name", DRAWS)
def test_a_draw_gives_the_values_of_theirs(name):
    draw, wanted = DRAWS[name]
    found = draw.kept(LOGITS)
    torch.testing.assert_close(found, wanted(IDS, LOGITS.clone()))
    assert not torch.equal(found, LOGITS)


@pytest.mark.parametrize("scheme", ["lefthash", "selfhash"])
def test_a_mark_gives_the_values_of_theirs(scheme):
    mark = {"seeding_scheme": scheme, "context_width": 2, "bias": 1.5}
    wanted = theirs.WatermarkLogitsProcessor(VOCAB, "cpu", **mark)
    found = marked(Watermark(**mark), VOCAB)(IDS, LOGITS)
    torch.testing.assert_close(found, wanted(IDS, LOGITS.clone()))
