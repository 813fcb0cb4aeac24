"""slm-gate: decides whether a fine-tuned small language model may ship."""

GROUND = {
    "errors": "what users are told: what, where, what next",
    "stats": "arrays in, estimates out",
    "metrics": "the catalogue of metrics, their units, and how numbers become text",
    "system": "child processes, the store, locks, progress",
    "machine": "what a machine is and does, and whether two of them may be compared",
    "config": "gate.toml: schema, loading, diagnosis with line numbers",
    "grading": "is one answer right, and has it the right form",
    "pack": "the domain pack: reading users' data, and every way to choose cases from it",
    "toolchain": "the second environment, and the scripts that run inside it and are never imported",
    "runtime": "the session protocol; onnxruntime-genai and a fake behind it",
    "prompts": "from a conversation to tokens: chat templates and PromptTemplate",
}
"""What every step stands on; a room imports only from rooms above it in this list."""

WAY = {
    "source": "a model as it comes: folder, hub id, adapter; its weights and reference logits",
    "recipes": "what a variant asks of the converter",
    "artifact": "a converted folder: what its graph really is, and the store that keeps it",
    "convert": "conversion jobs for Olive, and why one failed",
    "verify": "is the graph the source, rounded, and nothing more",
    "pipeline": "the one way from what the user names to verified variants, and their delivery",
    "foundry": "Foundry Local: host, registration, sessions, the doctor",
    "measure": "one module a measurement: sessions and a pack in, estimates out",
    "serving": "measurements of the served model: same answers, refusals, load, endurance",
    "checks": "limit and estimate in, verdict and exit status out",
    "report": "events, the record and its readers, tables",
    "regression": "is one thing slower than another, and what did a change cost",
    "cli": "the command line, one module a command",
}
"""The way of a model through the gate, in order."""

ROOMS = {**GROUND, **WAY}
"""Every room of the house, in the order of imports; README, docs and a test derive from it."""
