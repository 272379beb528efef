"""Masked and encoder-decoder models against a direct computation."""

from __future__ import annotations

import json

import pytest
import torch

from tfcli.checkpoints.folder import save_model
from tfcli.commands.app import run
from tfcli.errors import UsageError
from tfcli.evaluate.predict import (
    PASSES,
    decoded_tokens,
    decoder_begin,
    masked_tokens,
    predictor,
)
from tfcli.evaluate.score import score
from tfcli.evaluate.windows import Plan, plan_windows
from tfcli.generation.rules import Rules
from tfcli.generation.settings import TextSettings
from tfcli.models.config import config_from_recipe
from tfcli.models.loading import build, initialize
from tfcli.tokenizers.load import load_tokenizer

MASK, CLS, SEP, START = 1, 2, 3, 0
BERT = {
    "model_type": "bert",
    "vocab_size": 320,
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 24,
    "max_position_embeddings": 64,
    "initializer_range": 0.5,
}
T5 = {
    "model_type": "t5",
    "vocab_size": 320,
    "d_model": 16,
    "d_kv": 8,
    "d_ff": 24,
    "num_layers": 2,
    "num_heads": 2,
    "decoder_start_token_id": START,
}


def model(settings):
    return initialize(build(config_from_recipe(settings)), seed=1).eval()


@torch.no_grad()
def test_each_token_is_masked_once():
    bert = model(BERT)
    ids = torch.randint(4, 320, (2, 12), generator=torch.Generator().manual_seed(0))
    scored = 9
    rows = torch.cat((torch.full((2, 1), CLS), ids), 1)
    found = bert.logits_of(masked_tokens(MASK, [SEP])(bert, rows, scored)).view(2, scored, -1)
    for token in range(scored):
        whole = torch.cat((rows, torch.full((2, 1), SEP)), 1)
        hidden = [at for at in range(scored) if at % PASSES == token % PASSES]
        for at in hidden:
            whole[:, 1 + 3 + at] = MASK
        wanted = bert(whole).logits[:, 1 + 3 + token]
        assert torch.allclose(found[:, token], wanted, atol=1e-5)


@torch.no_grad()
def test_a_decoder_goes_on_from_what_the_encoder_reads():
    t5 = model(T5)
    ids = torch.randint(4, 320, (2, 8), generator=torch.Generator().manual_seed(0))
    found = t5.logits_of(decoded_tokens((START,), [SEP])(t5, ids, 3)).view(2, 3, -1)
    source = torch.cat((ids[:, :5], torch.full((2, 1), SEP)), 1)
    for token in range(3):
        target = torch.cat((torch.full((2, 1), START), ids[:, 5 : 5 + token]), 1)
        wanted = t5(input_ids=source, decoder_input_ids=target).logits[:, -1]
        assert torch.allclose(found[:, token], wanted, atol=1e-5)


@pytest.mark.parametrize(
    ("settings", "predict"),
    [(BERT, masked_tokens(MASK, [SEP])), (T5, decoded_tokens((START,), [SEP]))],
    ids=["bert", "t5"],
)
def test_every_token_but_the_first_is_scored_once(settings, predict):
    documents = [torch.arange(4, 4 + n).tolist() for n in (2, 17, 30)]
    windows = plan_windows([len(ids) for ids in documents], Plan(10, 5))
    found = score(model(settings), documents, windows, predict=predict)
    assert len(found.loss) == 1 + 16 + 29
    again = score(model(settings), documents, windows, predict=predict, batch_size=1)
    assert torch.allclose(found.loss.sort().values, again.loss.sort().values, atol=1e-5)


@torch.no_grad()
def alone(kind, row, scored, begin=()):
    """The losses of a row's last tokens, computed without any batch."""
    losses = []
    if kind.task == "masked-lm":
        whole = torch.tensor([[*row, SEP]])
        first = len(row) - scored
        for at in range(min(PASSES, scored)):
            hidden = list(range(first + at, len(row), PASSES))
            logits = kind(whole.index_fill(1, torch.tensor(hidden), MASK)).logits[0]
            losses += [-float(logits[at].log_softmax(-1)[row[at]]) for at in hidden]
        return losses
    source, target = torch.tensor([[*row[:-scored], SEP]]), [*begin, *row[-scored:]]
    logits = kind(input_ids=source, decoder_input_ids=torch.tensor([target])).logits[0]
    for at, token in enumerate(row[-scored:], len(begin) - 1):
        losses.append(-float(logits[at].log_softmax(-1)[token]))
    return losses


@pytest.mark.parametrize(("each", "stride"), [(True, 5), (True, 15), (False, 15), (True, 16)])
@pytest.mark.parametrize("begin", [(START,), (START, 7)])
@pytest.mark.parametrize("settings", [BERT, T5], ids=["masked", "seq2seq"])
def test_each_window_has_its_own_prefix_whatever_stands_beside_it_in_a_batch(
    settings, begin, each, stride
):
    """Windows of one shape run together, with a prefix and without one."""
    draw = torch.Generator().manual_seed(0)
    documents = [torch.randint(8, 320, (n,), generator=draw).tolist() for n in (40, 33, 25, 8)]
    windows = plan_windows([40, 33, 25, 8], Plan(16, stride, prefix=1, each=each))
    kind = model(settings)
    masked = kind.task == "masked-lm"
    predict = masked_tokens(MASK, [SEP]) if masked else decoded_tokens(begin, [SEP])
    wanted = []
    for window in windows:
        row = [CLS] * window.begins + documents[window.document][window.start : window.end]
        wanted += alone(kind, row, window.scored, begin)
    for size in (1, 3, 8):
        found = score(kind, documents, windows, predict=predict, prefix=(CLS,), batch_size=size)
        assert torch.allclose(
            found.loss.sort().values, torch.tensor(wanted).double().sort().values, atol=1e-4
        )


@pytest.mark.parametrize(
    ("settings", "prefix", "wanted"),
    [
        (TextSettings(), (), (3,)),
        (TextSettings(), (9,), (3, 9)),  # a target begins as every text does
        (TextSettings(rules=Rules(forced_bos=5)), (9,), (3, 5)),  # or in its own language
        (TextSettings(start=4), (), (4,)),
    ],
)
def test_a_decoder_sees_its_start_and_what_its_texts_begin_with(settings, prefix, wanted):
    config = config_from_recipe({**T5, "decoder_start_token_id": 3})
    assert decoder_begin(settings, config, prefix) == wanted
    assert decoder_begin(TextSettings(), config_from_recipe(BERT), prefix) == ()


def test_a_tokenizer_without_a_mask_is_refused(tiny_tokenizer):
    with pytest.raises(UsageError, match="declares no mask_token"):
        predictor("masked-lm", load_tokenizer(tiny_tokenizer), config_from_recipe(BERT), ())


def test_the_command_measures_what_the_model_is_for(tmp_path, tiny_tokenizer, text_file, capsys):
    save_model(model(T5), tmp_path / "t5", tokenizer_from=tiny_tokenizer)
    command = ["eval", str(tmp_path / "t5"), "--data", str(text_file), "--window", "32", "--json"]
    assert run(command) == 0
    assert json.loads(capsys.readouterr().out)["task"] == "seq2seq-perplexity"
    assert run([*command, "--task", "perplexity"]) == 2
    assert "t5 cannot be measured by perplexity" in capsys.readouterr().err
