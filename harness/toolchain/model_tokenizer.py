"""Loads the tokenizer that a model was trained with, and says what it is.

A part of the scripts that run in the toolchain, where the harness cannot be imported.

transformers 5 builds some tokenizers (LlamaTokenizer among them) from the vocabulary alone, with the steps of its own
class in place of those that tokenizer.json states; transformers 4 obeyed the file. So a folder may describe two
tokenizers, and which of them a model was trained with follows from who wrote the folder:

* tokenizer_config.json has `backend`: transformers 5 wrote tokenizer.json from what it had in memory: the file.
* otherwise config.json's `transformers_version` is 5 or later: training loaded these files with it: the class.
* otherwise transformers 4, or another library that obeys the file: the file.
"""

import hashlib
import json
from pathlib import Path
from typing import Any

PARTS = ("normalizer", "pre_tokenizer", "post_processor", "decoder")


def load_tokenizer(path: str, trust: bool) -> tuple[Any, dict[str, Any]]:
    """The tokenizer in a model's folder, and what it says of itself.

    The facts: `class` (its name in transformers), `pipeline` (`file` or `class`: whose steps it has), `is_rebuilt`
    (whether these differ), `trained_with` (release of transformers that wrote config.json, or None), `is_saved_by_5`
    (whether transformers 5 wrote tokenizer.json), `parts` (its own
    steps as in tokenizer.json), `vocabulary` (SHA-256 of its vocabulary).
    """
    tokenizer, facts = _load(path, trust)
    template = _processor_template(Path(path))
    if template is not None:
        tokenizer.chat_template = template
    return tokenizer, facts


def _load(path: str, trust: bool) -> tuple[Any, dict[str, Any]]:
    import transformers  # only in the toolchain

    tokenizer = transformers.AutoTokenizer.from_pretrained(path, trust_remote_code=trust)
    facts: dict[str, Any] = {
        "class": type(tokenizer).__name__,
        "trained_with": _trained_with(Path(path)),
        "is_saved_by_5": _is_saved_by_5(Path(path)),
    }
    file, backend = Path(path, "tokenizer.json"), getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:
        return tokenizer, {**facts, "pipeline": "class", "is_rebuilt": False, "parts": None, "vocabulary": None}
    said = json.loads(backend.to_str())
    stated = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else said
    facts["is_rebuilt"] = any(_plain(said.get(part)) != _plain(stated.get(part)) for part in PARTS[:2])
    facts["pipeline"] = "class" if not facts["is_rebuilt"] or _was_built_by_class(Path(path)) else "file"
    if facts["is_rebuilt"] and facts["pipeline"] == "file":
        tokenizer = transformers.PreTrainedTokenizerFast.from_pretrained(path)
        backend = tokenizer.backend_tokenizer
    own = json.loads(backend.to_str())
    model = {key: value for key, value in own["model"].items() if key not in ("vocab", "merges")}
    facts["parts"] = {**{part: own.get(part) for part in PARTS}, "model": model, "added_tokens": own["added_tokens"]}
    facts["rebuilt_parts"] = {part: said.get(part) for part in PARTS}
    facts["vocabulary"] = _digest(own["model"].get("vocab"))
    return tokenizer, facts


def _processor_template(folder: Path) -> Any:
    """The template in chat_template.json, which transformers reads for processors only; None where it counts less."""
    return (
        None
        if (folder / "chat_template.jinja").is_file()
        else _read(folder / "chat_template.json").get("chat_template")
    )


def _was_built_by_class(folder: Path) -> bool:
    if _is_saved_by_5(folder):
        return False
    major = str(_trained_with(folder) or "0").split(".")[0]
    return major.isdigit() and int(major) >= 5


def _is_saved_by_5(folder: Path) -> bool:
    """Whether transformers 5 wrote tokenizer.json, from what it had in memory."""
    return "backend" in _read(folder / "tokenizer_config.json")


def _trained_with(folder: Path) -> Any:
    return _read(folder / "config.json").get("transformers_version")


def _read(file: Path) -> dict[str, Any]:
    content = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
    return content if isinstance(content, dict) else {}


def _plain(part: Any) -> Any:
    """A step without what changes no token: offsets, and lists of one step or none."""
    if not isinstance(part, dict):
        return part
    plain = {key: value for key, value in part.items() if key != "trim_offsets"}
    for key in ("normalizers", "pretokenizers"):
        if plain.get("type") == "Sequence" and key in plain:
            steps = [_plain(step) for step in plain[key]]
            return None if not steps else steps[0] if len(steps) == 1 else {"type": "Sequence", key: steps}
    return plain


def _digest(vocabulary: Any) -> str:
    """Of a vocabulary in any order: a mapping, or a list of pieces and scores."""
    entries = sorted(vocabulary.items()) if isinstance(vocabulary, dict) else vocabulary
    return hashlib.sha256(json.dumps(entries).encode()).hexdigest()
