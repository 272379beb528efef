"""What the families' masked-language-model heads have in common."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from tests.models.test_loading import IDS, checkpoint
from tfcli.models.config import config_from_recipe
from tfcli.models.loading import build, initialize
from tfcli.models.registry import FAMILIES

TINY = {
    "vocab_size": 23,
    "hidden_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 24,
    "max_position_embeddings": 32,
    "pad_token_id": 1,
}
OTHER_SIZES = {  # of a family that has others
    "funnel": {"vocab_size": 23, "d_model": 16, "n_head": 2, "d_inner": 24, "block_sizes": [1, 1]}
}
WITH_WORDS = [name for name, family in FAMILIES.items() if "masked-lm" in family.heads]


@pytest.mark.parametrize("model_type", WITH_WORDS)
def test_the_decoder_shares_the_token_table_while_the_config_ties_them(model_type):
    sizes = OTHER_SIZES.get(model_type, TINY)
    config = config_from_recipe({"model_type": model_type, **sizes})
    for tied in (True, False):
        model = initialize(build(config.replace(tie_word_embeddings=tied), "masked-lm"))
        names = dict(model.named_parameters(remove_duplicate=False))
        assert model.possible_ties(model.config)
        for name, origin in model.possible_ties(model.config).items():
            assert (names[name] is names[origin]) == tied, name
        table = f"{model.base()}.{model.body_class.tokens}.weight"
        assert table in model.possible_ties(model.config).values()
        assert model(IDS).logits.shape == (1, 8, 23)


def test_words_that_are_not_masked_do_not_count():
    model, _ = checkpoint("bert", "masked-lm")
    labels = torch.full_like(IDS, -100)
    labels[0, 3] = 7
    output = model(IDS, labels=labels)
    assert torch.allclose(output.loss, F.cross_entropy(output.logits[0, 3:4], labels[0, 3:4]))
