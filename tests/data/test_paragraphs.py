"""Each paragraph once, over all documents."""

from tfcli.data.documents import Document
from tfcli.data.paragraphs import keep_once


def test_a_paragraph_is_kept_where_it_stands_first():
    clean = keep_once(
        [Document("a", "one\n\ntwo\n\none\n"), Document("b", "two\n \nthree"), Document("c", "one")]
    )
    assert clean.documents == [Document("a", "one\n\ntwo\n"), Document("b", "three\n")]
    assert (clean.paragraphs, clean.paragraphs_dropped, clean.documents_dropped) == (3, 3, 1)


def test_indentation_and_line_breaks_do_not_hide_a_repeat_and_are_kept():
    clean = keep_once([Document("a", "   if x:\n      y"), Document("b", "if x: y\r\n\r\n  new")])
    assert [d.text for d in clean.documents] == ["   if x:\n      y\n", "  new\n"]


def test_python_docs_repeat_themselves_and_no_longer_do():
    from tfcli.data.documents import python_docs

    clean = keep_once(python_docs())
    paragraphs = [p for d in clean.documents for p in d.text.split("\n\n")]
    assert clean.paragraphs_dropped > 100
    assert len({" ".join(p.split()) for p in paragraphs}) == len(paragraphs) == clean.paragraphs
