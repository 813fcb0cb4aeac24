"""Test splits in every format, about 200 rows of the demo's domain each, in the manner of real files: with their dirt.

PYTHONPATH=. python -m tests.pack.samples FOLDER        # writes them all, to be tried by hand
"""

from __future__ import annotations

import csv
import gzip
import io
import json
import random
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

CASES = Path(__file__).resolve().parents[2] / "fixtures/data/demo/pack/cases.jsonl"
COUNT = 200


@dataclass
class Sample:
    """One file, and the rows in it that must be told."""

    file: Path
    dirt: dict[int, str] = field(default_factory=dict)
    """What must be said of a line, by its number."""


def demo_rows(seed: int, *, is_single: bool = True) -> list[dict[str, Any]]:
    """Cases of the demo pack, spread over its kinds."""
    rows = [json.loads(line) for line in CASES.read_text(encoding="utf-8").splitlines()]
    rows = [row for row in rows if len(row["messages"]) == 1 or not is_single]
    random.Random(seed).shuffle(rows)
    return rows[:COUNT]


def answer_text(row: dict[str, Any]) -> str:
    return json.dumps(row["expected"], ensure_ascii=False)


Dirt = Callable[[Any], tuple[Any, str]]


def with_dirt(rows: list[Any], dirt: list[Dirt], seed: int, first: int = 1) -> tuple[list[Any], dict[int, str]]:
    """Replace some rows by dirty ones; `first` is the line of the first row."""
    places = random.Random(seed).sample(range(10, len(rows)), len(dirt))
    told = {}
    for place, make in zip(sorted(places), dirt, strict=True):
        rows[place], what = make(rows[place])
        if what:
            told[place + first] = what
    return rows, told


def write_lines(file: Path, rows: list[Any]) -> None:
    texts = [row if isinstance(row, str) else json.dumps(row, ensure_ascii=False) for row in rows]
    file.write_text("\n".join(texts) + "\n", encoding="utf-8")


def with_answer(row: dict[str, Any], answer: Any) -> dict[str, Any]:
    turns = [*row["messages"][:-1], {**row["messages"][-1], "content": answer}]
    return {**row, "messages": turns}


def messages_jsonl(folder: Path) -> Sample:
    """Chat fine-tuning: a shared system prompt, `weight`, an unanswered turn, tool calls, contradictions."""
    system = {"role": "system", "content": "You answer questions about appliances with one JSON object."}
    rows = [
        {"messages": [system, *row["messages"], {"role": "assistant", "content": answer_text(row)}]}
        for row in demo_rows(1, is_single=False)
    ]
    call = {"role": "assistant", "content": None, "tool_calls": [{"id": "1", "type": "function"}]}
    again = rows[3]
    other = with_answer(rows[4], '{"status": "out_of_scope"}')
    dirt: list[Dirt] = [
        lambda row: (with_answer(row, ""), "is empty"),
        lambda row: (with_answer(row, row["messages"][-1]["content"][:-1]), "not JSON"),
        lambda row: (with_answer(row, row["messages"][-1]["content"] + "<|im_end|>"), ""),
        lambda row: ({"messages": [*row["messages"][:-1], call]}, "calls a tool"),
        lambda row: ({"messages": [system, *row["messages"][2:]]}, "begin with the user"),
        lambda row: ({"messages": [*row["messages"][:-1], {**row["messages"][-1], "weight": 0}]}, "weight"),
        lambda row: ({"messages": [*row["messages"], {"role": "user", "content": "Thanks!"}]}, ""),
        lambda row: ({"messages": [{**turn, "role": turn["role"].replace("user", "customer")} for turn in row["messages"]]}, "'customer'"),
        lambda row: (again, "asks what line 4 asks"),
        lambda row: (other, "expect different answers"),
        lambda row: ('{"messages": [{"role": "user", "content": "E4', "not a JSON object"),
        lambda row: ({"messages": []}, "empty one"),
        lambda row: ({"text": "A page of the manual."}, "no question and answer"),
        lambda row: (with_answer(row, f"```json\n{row['messages'][-1]['content']}\n```"), ""),
    ]  # fmt: skip
    rows, told = with_dirt(rows, dirt, 1)
    told[5] = "expect different answers"
    file = folder / "messages.jsonl"
    write_lines(file, rows)
    return Sample(file=file, dirt=told)


def messages_gz(folder: Path) -> Sample:
    """The same in gzip, with a byte order mark and the line ends of Windows."""
    plain = messages_jsonl(folder)
    file = folder / "messages.windows.jsonl.gz"
    content = b"\xef\xbb\xbf" + plain.file.read_bytes().replace(b"\n", b"\r\n")
    file.write_bytes(gzip.compress(content))
    return Sample(file=file, dirt=plain.dirt)


def prompt_completion(folder: Path) -> Sample:
    """Prompt and completion, texts and messages beside each other, with the old separators around them."""
    rows: list[Any] = []
    for at, row in enumerate(demo_rows(2)):
        prompt = row["messages"][0]["content"]
        if at % 5:
            rows.append({"prompt": f"{prompt}\n\n", "completion": f" {answer_text(row)}</s>"})
        else:
            turn = [{"role": "assistant", "content": answer_text(row)}]
            rows.append({"prompt": row["messages"], "completion": turn})
    dirt: list[Dirt] = [
        lambda row: ({**row, "prompt": ""}, "prompt: is empty"),
        lambda row: ({**row, "completion": None}, "completion: is empty"),
        lambda row: ({**row, "completion": " NaN"}, "' NaN' is no answer"),
        lambda row: ({**row, "prompt": "<|im_start|>user\nE4?<|im_end|>"}, "chat template"),
        lambda row: ({**row, "prompt": 17}, "17 is no text"),
        lambda row: ({"prompt": row["prompt"]}, "completion: is missing"),
        lambda row: (rows[6], "asks what line 7 asks"),
    ]
    rows, told = with_dirt(rows, dirt, 2)
    file = folder / "prompt_completion.jsonl"
    write_lines(file, rows)
    return Sample(file=file, dirt=told)


def alpaca(folder: Path) -> Sample:
    """A JSON list over many lines, as Alpaca's; some rows with an input, some without."""
    rows = []
    for at, row in enumerate(demo_rows(3)):
        question = row["messages"][0]["content"]
        instruction, added = ("Answer the customer.", question) if at % 3 == 0 else (question, "")
        rows.append({"instruction": instruction, "input": added, "output": answer_text(row), "category": row["kind"]})
    dirt: list[Dirt] = [
        lambda row: ({**row, "output": "   "}, "output: is empty"),
        lambda row: ({**row, "instruction": "", "input": ""}, "instruction: is empty"),
        lambda row: ({**row, "output": "Sorry, I do not know."}, "not JSON"),
        lambda row: (
            {**row, "output": row["output"].replace('"status"', '"statsu"')},
            "statsu is a field that no other has (did you mean 'status'?)",
        ),
        lambda row: ({**row, "output": row["output"].replace("{", "{{")}, "not JSON"),
    ]
    rows, told = with_dirt(rows, dirt, 3, first=0)
    file = folder / "alpaca.json"
    file.write_text(json.dumps(rows, indent=2, ensure_ascii=False), encoding="utf-8")
    height = 6  # a row stands on its four fields and two braces
    return Sample(file=file, dirt={2 + at * height: what for at, what in told.items()})


def share_gpt(folder: Path) -> Sample:
    """ShareGPT: conversations of several turns, one beginning with the model, observations of tools."""
    rows: list[Any] = []
    for at, row in enumerate(demo_rows(4, is_single=False)):
        names = {"user": "human", "assistant": "gpt", "system": "system"}
        turns = [{"from": names[turn["role"]], "value": turn["content"]} for turn in row["messages"]]
        rows.append({"id": f"chat_{at}", "conversations": [*turns, {"from": "gpt", "value": answer_text(row)}]})
    dirt: list[Dirt] = [
        lambda row: ({**row, "conversations": [{"from": "gpt", "value": "Hello!"}, *row["conversations"]]}, "begin with the user"),
        lambda row: ({**row, "conversations": [*row["conversations"], {"from": "observation", "value": "{}"}]}, "'observation'"),
        lambda row: ({**row, "conversations": row["conversations"][-2:-1]}, "no answer of the assistant"),
        lambda row: ({**row, "conversations": [{"from": "human", "value": " "}, row["conversations"][-1]]}, "is empty"),
        lambda row: ({"id": row["id"], "messages": [{"role": "user", "content": "hi"}]}, "is messages"),
    ]  # fmt: skip
    rows, told = with_dirt(rows, dirt, 4)
    file = folder / "sharegpt.jsonl"
    write_lines(file, rows)
    return Sample(file=file, dirt=told)


def input_ideal(folder: Path) -> Sample:
    """OpenAI's evals: messages, with one ideal answer or several."""
    rows: list[Any] = []
    for at, row in enumerate(demo_rows(9)):
        answer = answer_text(row)
        rows.append(
            {
                "input": row["messages"],
                "ideal": [answer, '{"status": "need_info", "missing": "code"}'] if at % 41 == 7 else answer,
            }
        )
    dirt: list[Dirt] = [
        lambda row: ({**row, "ideal": []}, "ideal: is empty"),
        lambda row: ({**row, "ideal": {"a": []}}, "a is a field that no other has"),
        lambda row: ({**row, "input": [*row["input"], {"role": "assistant", "content": "ok"}]}, "nothing is asked"),
        lambda row: ({**row, "input": None}, "no list of turns"),
    ]
    rows, told = with_dirt(rows, dirt, 9)
    file = folder / "input_ideal.jsonl"
    write_lines(file, rows)
    return Sample(file=file, dirt=told)


def labels(folder: Path) -> Sample:
    """Labels of a closed set, spelled carelessly, with the task in a system turn."""
    rows: list[Any] = []
    for at, row in enumerate(demo_rows(5)):
        status = row["expected"]["status"]
        ideal = status.upper() if at % 37 == 5 else [status, "fault"] if at % 41 == 7 else status
        task = {"role": "system", "content": "Say of which kind the question is."}
        rows.append({"input": [task, *row["messages"]], "ideal": ideal})
    dirt: list[Dirt] = [
        lambda row: ({**row, "ideal": "falt"}, "did you mean 'fault'"),
        lambda row: ({**row, "ideal": []}, "ideal: is empty"),
        lambda row: ({**row, "input": [*row["input"], {"role": "assistant", "content": "ok"}]}, "nothing is asked"),
        lambda row: ({**row, "input": "  "}, "input: is empty"),
        lambda row: ({**row, "input": {"a": 1}}, "no list of turns"),
    ]
    rows, told = with_dirt(rows, dirt, 5)
    file = folder / "labels.jsonl"
    write_lines(file, rows)
    return Sample(file=file, dirt=told)


def columns_csv(folder: Path) -> Sample:
    """A table out of Excel: `sep=`, semicolons, line ends in cells, a delimiter without quotation marks."""
    rows = demo_rows(6)
    text = io.StringIO()
    writer = csv.writer(text, delimiter=";", lineterminator="\r\n")
    writer.writerow(["Nr", "Question", "Answer", "Split"])
    told, line = {}, 3
    for at, row in enumerate(rows):
        question = row["messages"][0]["content"].replace(". ", ".\n") if at % 4 == 0 else row["messages"][0]["content"]
        split = "train" if at == 50 else "test"
        answer = {20: "", 30: "#N/A"}.get(at, answer_text(row))
        if at in (20, 30, 50, 70):
            told[line] = {20: "Answer: is empty", 30: "not JSON", 50: "trained on it", 70: "5 columns"}[at]
        before = text.getvalue().count("\n")
        if at == 70:
            text.write(f"{at};E4; on the oven?;x;test\r\n")
        else:
            writer.writerow([at, question, answer, split])
        line += text.getvalue().count("\n") - before
    file = folder / "table.csv"
    file.write_bytes(("sep=;\r\n" + text.getvalue()).encode("utf-16"))
    return Sample(file=file, dirt=told)


def lm_eval_samples(folder: Path) -> Sample:
    """What lm-eval writes with --log_samples."""
    rows: list[Any] = [
        {
            "doc_id": at, "doc": {"q": row["messages"][0]["content"]}, "target": answer_text(row),
            "arguments": {"gen_args_0": {"arg_0": row["messages"][0]["content"], "arg_1": {"until": ["\n"]}}},
            "resps": [["{}"]], "filtered_resps": ["{}"], "exact_match": 0.0,
        }
        for at, row in enumerate(demo_rows(7))
    ]  # fmt: skip
    dirt: list[Dirt] = [
        lambda row: ({**row, "arguments": [["a", " b"], ["a", " c"]]}, "likelihoods"),
        lambda row: ({**row, "target": ""}, "target: is empty"),
    ]
    rows, told = with_dirt(rows, dirt, 7)
    file = folder / "samples_appliances.jsonl"
    write_lines(file, rows)
    return Sample(file=file, dirt=told)


def thinking_jsonl(folder: Path) -> Sample:
    """Answers of a reasoning model: each behind its thinking part, one of them cut."""
    rows: list[Any] = []
    for row in demo_rows(8):
        thought = f"<think>\nThe customer says: {row['messages'][0]['content']}\n</think>\n\n"
        answer = {"role": "assistant", "content": thought + answer_text(row)}
        rows.append({"messages": [*row["messages"], answer], "source": f"ticket {row['id'][:4]}"})
    dirt: list[Dirt] = [
        lambda row: (with_answer(row, "<think>\nThe customer says"), "not closed"),
        lambda row: (
            with_answer(row, row["messages"][-1]["content"].split("</think>")[0] + "</think>"),
            "nothing follows",
        ),
    ]
    rows, told = with_dirt(rows, dirt, 8)
    file = folder / "thinking.jsonl"
    write_lines(file, rows)
    return Sample(file=file, dirt=told)


SAMPLES: dict[str, Callable[[Path], Sample]] = {
    "messages": messages_jsonl,
    "messages in gzip": messages_gz,
    "prompt and completion": prompt_completion,
    "alpaca": alpaca,
    "sharegpt": share_gpt,
    "input and ideal": input_ideal,
    "labels": labels,
    "csv": columns_csv,
    "lm-eval samples": lm_eval_samples,
    "thinking": thinking_jsonl,
}

if __name__ == "__main__":
    target = Path(sys.argv[1])
    target.mkdir(parents=True, exist_ok=True)
    for write in SAMPLES.values():
        sys.stdout.write(f"{write(target).file}\n")
