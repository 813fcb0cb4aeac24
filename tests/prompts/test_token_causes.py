"""Why a runtime gives a text other ids, told from the pieces around the first difference."""

import json

import pytest

from harness.prompts.token_causes import (
    ADDED,
    NORMALIZER,
    PREFIX,
    REFUSED,
    REPETITION,
    SPLIT,
    WHITESPACE,
    TokenizerFile,
    compare_ids,
    count_causes,
    describe_differences,
)

VOCABULARY = [
    "a",
    "b",
    "\u2581",
    "\u2581\u2581",
    "\u2581a",
    "<0x0A>",
    "xx",
    "x",
    "<end>",
    "ab",
    "\u00e9",
    "e",
    "\u0301",
]
ID = {piece: number for number, piece in enumerate(VOCABULARY)}


@pytest.fixture
def read(tmp_path):
    def write(**steps):
        content = {
            "model": {"vocab": ID},
            "added_tokens": [{"id": ID["<end>"], "content": "<end>", "special": True}],
            **steps,
        }
        (tmp_path / "tokenizer.json").write_text(json.dumps(content))
        return TokenizerFile.read(tmp_path / "tokenizer.json")

    return write


def ids(*pieces):
    return [ID[piece] for piece in pieces]


PREPEND = {"type": "Sequence", "normalizers": [{"type": "Prepend"}, {"type": "Replace"}]}


@pytest.mark.parametrize(
    ("steps", "text", "expected", "found", "cause"),
    [
        ({"normalizer": {"type": "NFC"}}, "e\u0301", ids("\u00e9"), ids("e", "\u0301"), NORMALIZER),
        ({"normalizer": {"type": "NFC"}}, "a  b", ids("a", "\u2581\u2581", "b"), ids("a", "\u2581", "\u2581", "b"), WHITESPACE),
        ({}, "e\u0301", ids("e", "\u0301"), ids("\u00e9"), SPLIT),
        ({}, "a\n b", ids("a", "<0x0A>", "\u2581", "b"), ids("a", "\u2581", "b"), WHITESPACE),
        ({"normalizer": PREPEND}, " a", ids("\u2581a"), ids("\u2581", "\u2581a"), PREFIX),
        ({"normalizer": PREPEND}, "<end>a", ids("<end>", "a"), ids("<end>", "\u2581a"), PREFIX),
        ({"pre_tokenizer": {"type": "Metaspace"}}, "a", ids("\u2581a"), ids("a"), PREFIX),
        ({}, "a", ids("\u2581a"), ids("a"), SPLIT),
        ({}, "a<end>", ids("a", "<end>"), ids("a", "b"), ADDED),
        ({}, "xxx", ids("xx", "x"), ids("x", "xx"), REPETITION),
        ({}, "ab", ids("ab"), ids("a", "b"), SPLIT),
        ({}, "ab", ids("ab"), None, REFUSED),
    ],
)  # fmt: skip
def test_the_cause_is_told(read, steps, text, expected, found, cause):
    assert compare_ids(text, expected, found, read(**steps)).cause == cause


def test_equal_ids_are_no_difference(read):
    assert compare_ids("ab", ids("ab"), ids("ab"), read()) is None


def test_the_pieces_around_the_difference_are_shown(read):
    difference = compare_ids("b\nab", ids("b", "<0x0A>", "ab"), ids("b", "<0x0A>", "a", "b"), read())
    assert difference.shown == "'b\\nab': transformers has ['\\n', 'ab'] at token 1, the runtime ['\\n', 'a', 'b']"


def test_byte_level_pieces_are_shown_as_text(tmp_path):
    content = {"model": {"vocab": {"\u0120caf\u00c3\u00a9": 0, "\u010a": 1}}, "pre_tokenizer": {"type": "ByteLevel"}}
    (tmp_path / "tokenizer.json").write_text(json.dumps(content))
    assert TokenizerFile.read(tmp_path / "tokenizer.json").texts([0, 1, 7]) == [" caf\u00e9", "\n", "?"]


def test_parts_of_characters_are_shown_by_their_ids_and_long_pieces_cut(tmp_path):
    content = {
        "model": {"vocab": {"\u00c3": 0, "\u00a9": 1, "\u0120" * 40: 2, "a": 3}},
        "pre_tokenizer": {"type": "ByteLevel"},
    }
    (tmp_path / "tokenizer.json").write_text(json.dumps(content))
    tokenizer = TokenizerFile.read(tmp_path / "tokenizer.json")
    difference = compare_ids("x", [0, 1, 3], [2, 3], tokenizer)
    assert difference.shown == "'x': transformers has ['#0', '#1', 'a'] at token 0, the runtime ['    ...(40)', 'a']"


def test_unigram_vocabularies_are_lists(tmp_path):
    (tmp_path / "tokenizer.json").write_text(json.dumps({"model": {"vocab": [["<unk>", 0], ["\u2581a", -1.5]]}}))
    assert TokenizerFile.read(tmp_path / "tokenizer.json").texts([1]) == [" a"]


def test_a_file_that_cannot_be_read_explains_nothing(tmp_path):
    assert TokenizerFile.read(tmp_path / "none.json").texts([0]) == ["?"]


def test_causes_are_counted(read):
    tokenizer = read()
    found = [compare_ids("ab", ids("ab"), other, tokenizer) for other in (ids("a", "b"), None, ids("b"))]
    assert count_causes(found) == {SPLIT: 2, REFUSED: 1}
    told = describe_differences(found)
    assert told.splitlines()[0] == f"likely cause: {SPLIT} (2); {REFUSED} (1)"
    assert len(told.splitlines()) == 2
