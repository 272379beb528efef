"""Tables and questions whose text TAPEX's own tokenizer has written down."""

TABLES = {
    "games": [
        ["Year", "City", "Country"],
        ["1896", "Athens", "Greece"],
        ["2008", "Beijing ", " China"],
        ["2012", "London, the capital of the United Kingdom", "UK"],
    ],
    "odd": [["A | b", ""], ["", "exactly 15 bytes"[:15]], ["ÄÖÜ äöü naïve 日本語", "row 1 : x"]],
}
QUESTIONS = ["In which Year did Beijing host the Olympic Games?", ""]
CASES = [(table, question) for table in TABLES for question in QUESTIONS]
