"""slm-gate: decides whether a fine-tuned small language model may ship.

The packages follow one arrow: model -> deploy -> runtime -> measure -> checks -> report.
"""
