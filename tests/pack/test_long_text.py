import re

import pytest

from harness.errors import MeasureError
from harness.pack.long_text import over_any_context, over_context_text

TOKENIZERS = {
    "bytes": lambda text: list(text.encode()),
    "words": lambda text: re.findall(r"\S{1,12}|\s", text),
    "repeated words merge": lambda text: re.findall(r"(?:word ){1,16}|a a a a |.", text, re.DOTALL),
    "runs of blanks merge": lambda text: re.findall(r" {1,40}|\S", text),
    "three digits a token": lambda text: re.findall(r"[0-9]{1,3}| |[^ 0-9]{1,9}", text),
    "digits with their blank": lambda text: re.findall(r" ?[0-9]{1,3}|.", text),
}


@pytest.mark.parametrize("encode", TOKENIZERS.values(), ids=TOKENIZERS)
@pytest.mark.parametrize("content", ["word ", "a a a a ", "  ", "Lorem ipsum dolor sit amet. ", "x", "你好"])
@pytest.mark.parametrize("context", [1, 100, 2048])
def test_a_repeated_text_is_longer_than_the_context(encode, content, context):
    text = over_context_text(content, encode, context)
    assert len(encode(text)) > context
    assert text.replace(content, "") == ""


@pytest.mark.parametrize("content", ["", "zzz"])
def test_a_text_that_never_gets_there_is_told(content):
    with pytest.raises(MeasureError, match="cannot be repeated"):
        over_context_text(content, lambda text: re.findall("z+", text), 2048)


@pytest.mark.parametrize("encode", TOKENIZERS.values(), ids=TOKENIZERS)
@pytest.mark.parametrize("context", [100, 2048, 32768])
def test_digits_are_longer_than_any_context(encode, context):
    assert len(encode(over_any_context(context))) > context
