"""Write tapex.json with the tokenizer of TAPEX, which newer transformers do not have:

python -m venv .tapex && .tapex/bin/pip install transformers==4.46.3 pandas
.tapex/bin/python tests/tokenizers/golden/make_tapex.py

Its vocabulary is of single bytes, so that a token is a byte in any version of any library.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path

import pandas
from transformers.models.deprecated.tapex.tokenization_tapex import TapexTokenizer, bytes_to_unicode

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))

from tapex_tables import CASES, TABLES  # noqa: E402


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        tokens = ["<s>", "<pad>", "</s>", "<unk>", "<mask>", *bytes_to_unicode().values()]
        vocab, merges = Path(name) / "vocab.json", Path(name) / "merges.txt"
        vocab.write_text(json.dumps({token: index for index, token in enumerate(tokens)}))
        merges.write_text("#version: 0.2\n")
        tokenizer = TapexTokenizer(str(vocab), str(merges))
    found = []
    for table, question in CASES:
        header, *rows = TABLES[table]
        frame = pandas.DataFrame(rows, columns=header, dtype=str)
        ids = tokenizer(table=frame, query=question)["input_ids"]
        found.append({"table": table, "question": question, "text": tokenizer.decode(ids[1:-1])})
    text = json.dumps(found, indent=1, ensure_ascii=False)
    (HERE / "tapex.json").write_text(text + "\n", encoding="utf-8")


main()
