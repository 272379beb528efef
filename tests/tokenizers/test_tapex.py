"""Tables as text, beside what TAPEX's own tokenizer made of them (golden/make_tapex.py)."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tokenizers import pre_tokenizers

from tests.tokenizers.folders import write
from tests.tokenizers.golden.tapex_tables import TABLES
from tfcli.errors import WorkError
from tfcli.tokenizers.load import load_tokenizer
from tfcli.tokenizers.tables import linearize

GOLDEN = json.loads((Path(__file__).parent / "golden" / "tapex.json").read_text("utf-8"))


@pytest.fixture
def tokenizer(tmp_path):
    specials = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    tokens = [*specials, *sorted(pre_tokenizers.ByteLevel.alphabet())]
    vocab = {token: index for index, token in enumerate(tokens)}
    files = {"vocab.json": vocab, "merges.txt": "#version: 0.2\n"}
    return load_tokenizer(write(tmp_path, {**files, "config.json": {"model_type": "bart"}}))


@pytest.mark.parametrize("case", GOLDEN, ids=lambda case: f"{case['table']} {case['question'][:8]}")
def test_texts_are_those_of_tapex(case, tokenizer):
    table = TABLES[case["table"]]
    assert linearize(table, case["question"], tokenizer=tokenizer) == case["text"]


def test_without_a_tokenizer_cells_stay_whole():
    text = linearize(TABLES["games"], "Where?", lowercase=False)
    assert text == (
        "Where? col : Year | City | Country row 1 : 1896 | Athens | Greece "
        "row 2 : 2008 | Beijing  |  China "
        "row 3 : 2012 | London, the capital of the United Kingdom | UK"
    )


def test_a_table_of_the_wrong_form_is_refused():
    with pytest.raises(WorkError, match="1 cells, the table 2 columns"):
        linearize([["a", "b"], ["c"]])
