"""Blanks of texts: what a batch holds, and losses beside the paper's formula, row by row."""

from __future__ import annotations

import pytest
import torch

from tests.train.conftest import sentences
from tests.train.objectives.conftest import refused
from tests.train.objectives.support import LLAMA, fed, made, parts, straight_and_resumed
from tfcli.flagai.blanks import BlankTokens
from tfcli.tokenizers.load import load_tokenizer
from tfcli.tokenizers.run import train_bpe, write_tokenizer
from tfcli.train.log import read_metrics

TOKENS = ("[MASK]", "[sMASK]", "[gMASK]", "<|startofpiece|>", "<|endofpiece|>")
GLM = {
    "model_type": "glm",
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "max_position_embeddings": 64,
    "initializer_range": 0.2,
    "embedding_dropout_prob": 0.0,
    "attention_dropout_prob": 0.0,
    "output_dropout_prob": 0.0,
}


@pytest.fixture(scope="session")
def blanks(tmp_path_factory) -> str:
    """A folder with a tokenizer that has GLM's tokens."""
    folder = tmp_path_factory.mktemp("blanks")
    write_tokenizer(train_bpe(sentences(0), 300, TOKENS), folder)
    return str(folder)


@pytest.fixture
def spec_of(spec_of, blanks):
    """The same with a GLM."""

    def make(**changes):
        rows = [{"text": text} for text in sentences(0, 4)]
        values = {"config": GLM, "tokenizer": blanks, "sequence_length": 32}
        return spec_of("glm", rows, **{**values, **changes})

    return make


def plain_loss(model, example, tokens: BlankTokens) -> torch.Tensor:
    """The summed loss of a row's blanks, one position after another and from what it may see."""
    ids, places = example["input_ids"], example["position_ids"]
    seen = int(example["prefix_lengths"])
    total = torch.zeros(())
    for at in range(seen, len(ids)):
        # Of part A all is seen, of part B what stands before: the rest can just be left out.
        logits = model(
            ids[None, : at + 1],
            position_ids=places[None, :, : at + 1],
            prefix_lengths=torch.tensor([seen]),
        ).logits[0, -1]
        ends = at + 1 == len(ids) or ids[at + 1] == tokens.sop
        total = total - logits.log_softmax(-1)[tokens.eop if ends else ids[at + 1]]
    return total


def test_loss_and_gradients_are_those_of_every_word_by_itself(spec_of, blanks):
    objective, examples, config = fed(spec_of())
    rows = sorted(examples.train.part(0), key=lambda each: len(each["input_ids"]))[:3]
    batch, model = objective.collate(rows), made(objective, config)
    assert len({len(each["input_ids"]) for each in rows}) > 1
    tokens = BlankTokens.of(load_tokenizer(blanks))
    gradients = []
    for loss in (
        objective.loss(model, batch),
        torch.stack([plain_loss(model, each, tokens) for each in rows]).sum(),
    ):
        model.zero_grad()
        loss.backward()
        gradients.append((loss.item(), torch.cat([p.grad.flatten() for p in model.parameters()])))
    (ours, grad), (wanted, expected) = gradients
    assert ours == pytest.approx(wanted, rel=1e-6)
    assert (grad - expected).norm() <= 1e-6 * expected.norm()


def test_part_a_is_the_text_around_its_blanks(spec_of, blanks):
    """Putting the contents back in the places of their masks gives the row again."""
    objective, examples, _ = fed(spec_of())
    tokens = BlankTokens.of(load_tokenizer(blanks))
    for number in range(4):
        again = [_filled(examples.train._example(epoch, number), tokens) for epoch in (0, 1, 5)]
        # Each mask takes room, so that a row with many blanks loses its end.
        longest = max(again, key=len)
        assert all(each == longest[: len(each)] for each in again)
    assert objective.count(objective.collate(examples.train.part(0)[:2])) > 2


def _filled(example, tokens: BlankTokens) -> list[int]:
    ids, seen = example["input_ids"].tolist(), int(example["prefix_lengths"])
    places, within = example["position_ids"].tolist()
    assert places[:seen] == list(range(seen)) and not any(within[:seen])
    contents: dict[int, list[int]] = {}
    for id, place, at in zip(ids[seen:], places[seen:], within[seen:], strict=True):
        assert (id == tokens.sop) == (at == 1)
        contents.setdefault(place, []).extend([] if at == 1 else [id])
    assert all(ids[place] in tokens.masks for place in contents)
    return [id for at in range(seen) for id in contents.get(at, [ids[at]])]


def test_blanks_follow_from_the_seed_and_the_epoch(spec_of):
    first, second, other = (fed(spec_of(seed=seed))[1] for seed in (0, 0, 1))

    def drawn(examples, epoch):
        return [each["input_ids"].tolist() for each in examples.train.part(epoch)]

    assert drawn(first, 1) == drawn(second, 1)
    assert drawn(first, 1) != drawn(first, 0) and drawn(first, 1) != drawn(other, 1)


def test_any_split_of_a_step_gives_the_same_gradients(spec_of, tmp_path):
    objective, examples, config = fed(spec_of())
    parts(objective, config, examples.train.part(0)[:8], tmp_path)


def test_a_small_task_is_learned_and_a_resumed_run_cuts_the_same(spec_of, tmp_path):
    spec = spec_of(max_steps=30, checkpoint_every=20, optimizer={"lr": 1e-2})
    straight, resumed = straight_and_resumed(spec, tmp_path)
    assert straight == resumed
    losses = [line["loss"] for line in read_metrics(tmp_path / "straight/metrics.jsonl")]
    assert sum(losses[-5:]) / 5 < losses[0] - 1


def test_what_cannot_fill_blanks_is_refused(spec_of, texts):
    problem = refused(lambda: fed(spec_of(config=LLAMA)))
    assert "llama does not fill blanks" in problem.what and problem.where == "objective"
    problem = refused(lambda: fed(spec_of(tokenizer=str(texts / "tokenizer"))))
    assert "[MASK]" in problem.what and problem.where == "tokenizer"
    nothing = dict.fromkeys(("span_weight", "sentence_weight", "generation_weight"), 0)
    assert refused(lambda: fed(spec_of(blanks=nothing))).where == "blanks"
