"""The small pack's healthy model."""

import json


def right(messages):
    """Answer the small pack's questions as they should be answered."""
    question = messages[-1]["content"]
    number = next((word.rstrip("?") for word in question.split() if word.rstrip("?").isdigit()), None)
    return json.dumps({"status": "ok", "part": number} if number else {"status": "out_of_scope"})
