"""An artifact's tokenizer.json is compared by what it says; what the runtime makes of it is told."""

import copy
import json
from types import SimpleNamespace

import pytest

from harness.errors import ArtifactError
from harness.prompts.corpus import CorpusText
from harness.prompts.token_causes import WHITESPACE
from harness.runtime.prompting import RuntimePrompts
from harness.source.source_tokens import SourceTokens
from harness.verify import tokenizer as module
from harness.verify.tokenizer import CategoryCount, TokenizerComparison, compare_tokenizer, file_differences

BYTE_LEVEL = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False}
FILE = {
    "added_tokens": [{"id": 4, "content": "<end>", "special": True, "lstrip": False, "rstrip": False, "single_word": False, "normalized": False}],
    "normalizer": {"type": "NFC"},
    "pre_tokenizer": {"type": "Sequence", "pretokenizers": [{"type": "Split", "pattern": {"Regex": "a+"}}, BYTE_LEVEL]},
    "post_processor": BYTE_LEVEL,
    "decoder": {"type": "ByteLevel"},
    "model": {"type": "BPE", "vocab": {"a": 0, "b": 1, "ab": 2, "ba": 3}, "merges": ["a b", "b a"], "byte_fallback": False},
}  # fmt: skip
SPLIT_FIRST = {"type": "Sequence", "pretokenizers": [{"type": "Split", "pattern": {"Regex": "b+"}}, BYTE_LEVEL]}


def said(**replaced):
    return SourceTokens(**{"texts": (), "ids": (), "prompts": {}, "controls": {}, **replaced})


@pytest.fixture
def folders(tmp_path):
    def write(change, source=FILE):
        ours = copy.deepcopy(FILE)
        change(ours)
        for name, content in (("ours", ours), ("source", source)):
            (tmp_path / name).mkdir(exist_ok=True)
            if content is not None:
                (tmp_path / name / "tokenizer.json").write_text(json.dumps(content))
        return tmp_path / "ours", tmp_path / "source"

    return write


def set_in(*keys, value):
    def change(content):
        for key in keys[:-1]:
            content = content[key]
        content[keys[-1]] = value

    return change


FAULTS = [
    (set_in("model", "vocab", value={"a": 1, "b": 0, "ab": 2, "ba": 3}), "its vocabulary has 'a' as 1, the source's as 0"),
    (set_in("model", "vocab", value={"a": 0, "b": 1, "ab": 2}), "its vocabulary has 'ba' as None, the source's as 3"),
    (set_in("model", "merges", value=["b a", "a b"]), "merge 0 is 'b a', the source's 'a b'"),
    (set_in("model", "merges", value=["a b"]), "merge 1 is None, the source's 'b a'"),
    (set_in("normalizer", value=None), 'its normalizer is null in place of {"type": "NFC"}'),
    (set_in("normalizer", value={"type": "NFKC"}), 'its normalizer is {"type": "NFKC"}'),
    (set_in("pre_tokenizer", value=SPLIT_FIRST), "its pre_tokenizer is"),
    (set_in("pre_tokenizer", "pretokenizers", 1, "add_prefix_space", value=True), "its pre_tokenizer is"),
    (set_in("decoder", value=None), "its decoder is null"),
    (set_in("post_processor", value={"type": "TemplateProcessing", "single": ["<s>"]}), "its post_processor is"),
    (set_in("model", "byte_fallback", value=True), "its model says byte_fallback True in place of False"),
    (set_in("model", "type", value="WordPiece"), "its model says type 'WordPiece'"),
    (set_in("added_tokens", value=[]), "its added token 4 is null"),
    (set_in("added_tokens", 0, "content", value="<END>"), "its added token 4 is"),
    (set_in("added_tokens", 0, "lstrip", value=True), "its added token 4 is"),
    (set_in("added_tokens", 0, "id", value=5), "its added token 4 is null"),
    (set_in("added_tokens", 0, "special", value=False), "its added token 4 is"),  # shown in an answer's text, or hidden
]  # fmt: skip


@pytest.mark.parametrize(("change", "told"), FAULTS, ids=map(str, range(len(FAULTS))))
def test_what_a_tokenizer_file_says_otherwise_is_named(folders, change, told):
    ours, source = folders(change)
    assert any(one.startswith(told) for one in file_differences(ours, source, said()))


@pytest.mark.parametrize(
    "change",
    [
        lambda content: None,
        set_in("model", "merges", value=[["a", "b"], ["b", "a"]]),
        set_in("model", "vocab", value={"ba": 3, "ab": 2, "b": 1, "a": 0}),
        set_in("pre_tokenizer", "pretokenizers", 1, "trim_offsets", value=False),
        set_in("post_processor", "trim_offsets", value=False),
        set_in("normalizer", value={"type": "Sequence", "normalizers": [{"type": "NFC"}]}),
        set_in("model", "continuing_subword_prefix", value=""),
        set_in("model", "ignore_merges", value=False),
        set_in("truncation", value={"max_length": 8}),
    ],
    ids=map(str, range(9)),
)
def test_what_changes_no_token_is_not_compared(folders, change):
    ours, source = folders(change)
    assert list(file_differences(ours, source, said())) == []


def test_a_step_may_be_as_transformers_makes_it_on_loading(folders):
    ours, source = folders(set_in("pre_tokenizer", value={"type": "Metaspace"}))
    rebuilt = {
        "normalizer": FILE["normalizer"],
        "pre_tokenizer": {"type": "Metaspace"},
        "post_processor": None,
        "decoder": None,
    }
    assert list(file_differences(ours, source, said(rebuilt_parts=rebuilt))) == []
    assert list(file_differences(ours, source, said()))


def test_a_source_without_the_file_is_compared_by_what_transformers_says(folders, tmp_path):
    ours, source = folders(lambda content: None, source=None)
    parts = {key: value for key, value in FILE.items() if key != "model"} | {"model": FILE["model"]}
    digest = module.vocabulary_digest(FILE)
    assert list(file_differences(ours, source, said(parts=parts, vocabulary=digest))) == []
    assert list(file_differences(ours, source, said(parts=parts, vocabulary="other"))) == [
        "its vocabulary is another one"
    ]


def test_an_artifact_without_the_file_is_left_to_the_ids(tmp_path):
    assert list(file_differences(tmp_path, tmp_path, said())) == []


@pytest.mark.parametrize("text", ["[1", "[]"])
def test_a_file_that_cannot_be_read_is_an_error(folders, text):
    ours, source = folders(lambda content: None)
    (ours / "tokenizer.json").write_text(text)
    with pytest.raises(ArtifactError, match=r"tokenizer\.json"):
        list(file_differences(ours, source, said()))


@pytest.fixture
def compare(folders, monkeypatch, bare_workspace):
    """`compare_tokenizer` with what runtime and source say of four texts and no conversation."""

    def run(found, prompts_of_runtime=None, change=lambda content: None, **of_source):
        ours, source = folders(change)
        (ours / "chat_template.jinja").write_text("{{ messages[0].content }}<end>")
        texts = ("ab", "a  b", "<end>", "a<end>b <end> \n<end>")
        tokens = said(
            **of_source,
            texts=tuple(
                CorpusText(category="control tokens" if "<end>" in text else "prose", text=text) for text in texts
            ),
            ids=((2,), (0, 1), (4,), (0, 4, 1, 4, 4)),
            controls={"<end>": 4},
        )
        reference = SimpleNamespace(
            ensure=lambda *_: None, source_tokens=lambda: tokens, source=SimpleNamespace(path=source)
        )
        monkeypatch.setattr(
            module, "_asked", lambda *_: RuntimePrompts(ids=tuple(found), prompts=prompts_of_runtime or {})
        )
        return compare_tokenizer(SimpleNamespace(path=ours, variant="int4"), reference, bare_workspace)

    return run


SAME = ((2,), (0, 1), (4,), (0, 4, 1, 4, 4))


def test_a_healthy_artifact_has_no_remark(compare):
    found = compare(SAME)
    found.require()
    assert found.remarks() == []
    assert found.as_dict()["corpus"]["prose"] == {"differing": 0, "total": 2}


def test_other_ids_inform_by_category_and_never_advise_to_convert_again(compare):
    found = compare(((2,), (0, 2), *SAME[2:]))
    found.require()
    (told,) = found.remarks()
    assert "1 of 4 texts of the built-in corpus other token ids than transformers\n  prose 1 of 2 (50 %)" in told
    assert "'a  b': transformers has ['a', 'b']" in told
    assert "converting again changes nothing" in told
    assert found.as_dict()["causes"]


def test_a_split_control_token_of_the_template_is_an_error(compare):
    with pytest.raises(
        ArtifactError, match="splits the chat template's control tokens: '<end>' is not the single token 4"
    ):
        compare((*SAME[:2], (0, 0), (0, 0, 0, 1, 0))).require()


def test_a_runtime_that_refuses_every_text_is_an_error_and_one_text_is_not(compare):
    with pytest.raises(ArtifactError, match="cannot tokenise any text"):
        compare((None,) * 4).require()
    found = compare((None, *SAME[1:]))
    found.require()
    assert found.refused == 1
    assert "refuses" in found.remarks()[0]


def test_another_file_is_an_error_with_its_difference(compare):
    with pytest.raises(ArtifactError, match=r"tokenizer.json is not the source's: its normalizer is null") as caught:
        compare(SAME, change=set_in("normalizer", value=None)).require()
    assert "convert it again" in caught.value.next_step


def test_which_of_two_tokenizers_is_the_models_is_told(compare):
    two = {"is_rebuilt": True, "class_name": "LlamaTokenizer"}
    (told,) = compare(SAME, **two, pipeline="file", trained_with="4.31.0").remarks()
    assert "transformers 5 rebuilds this one as LlamaTokenizer" in told
    assert "The model's is that of tokenizer.json (config.json names transformers 4.31.0)" in told
    (told,) = compare(SAME, **two, pipeline="class", trained_with="5.2.0").remarks()
    assert "The model's is the rebuilt one (config.json names transformers 5.2.0" in told


def test_a_conversation_that_is_rendered_otherwise_informs(compare):
    name = "a single question"
    of_source = {"prompts": {name: "What does E4 mean?<end>"}}
    assert compare(SAME, {name: "What does E4 mean?<end>"}, **of_source).remarks() == []
    found = compare(SAME, {name: "What does E4 mean?"}, **of_source)
    found.require()
    assert found.remarks()[0].startswith("chat template: the runtime renders 1 of 1 built-in conversations otherwise")


def test_counts_show_their_share():
    assert str(CategoryCount(differing=1, total=40)) == "1 of 40 (2 %)"


def test_causes_are_those_of_all_texts():
    assert (
        WHITESPACE
        in TokenizerComparison(
            where="here",
            file_differences=(),
            split_controls=(),
            refused=0,
            counts={"prose": CategoryCount(differing=3, total=4)},
            causes={WHITESPACE: 3},
            differences=(),
            deviations=(),
            conversations=0,
            pipeline=None,
        ).remarks()[0]
    )
