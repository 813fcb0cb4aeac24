"""(g) The divergence from sparse reference rows against the dense one, of the same logits."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from functools import partial

import numpy as np
import numpy.typing as npt

from benchmarks.scale_parts.common import DEMO, Table, artifacts, demo_pack, say
from harness.runtime.genai import GenaiSession
from harness.stats.divergence import diverge
from harness.stats.sparse import diverge_from, sparsify
from harness.toolchain.workspace import Workspace

VOCABULARY = 151_936
POSITIONS, PER_CHUNK = 1024, 64
Rows = npt.NDArray[np.float32]
NOISES = (0.01, 0.1, 0.5)
"""Standard deviation of what is added to logits: about fp16 (1e-4 nats), int8 and int4 of a small model."""


def measure(place: Workspace) -> Table:
    """The demo on its own texts, and Zipf-like distributions over a vocabulary of 151,936."""
    table = Table(head=("what", "vocabulary", "positions", "dense, nats", "sparse, nats", "difference", "shown error"))
    made = artifacts(DEMO / "model", place, "fp16,int8,int4")
    texts = [text.text for text in demo_pack().texts]
    with closing(GenaiSession(made["fp16"].path)) as source:
        reference = [source.logits(source.encode(text)) for text in texts]
        for variant in ("int8", "int4"):
            with closing(GenaiSession(made[variant].path)) as session:
                pairs = [(one, session.logits(source.encode(text))) for one, text in zip(reference, texts, strict=True)]
            table.rows.append(_row(f"demo, {variant} against fp16", iter(pairs).__next__, len(pairs)))
    for noise in NOISES:
        say(f"distributions with noise {noise}")
        rng = np.random.default_rng(7)
        table.rows.append(_row(f"Zipf, noise {noise}", partial(_zipf_pair, rng, noise), POSITIONS // PER_CHUNK))
    table.notes.append(
        "Means over all positions. Zipf: logits of a token of rank r are -1.1 ln r times a sharpness "
        "that is drawn for each position; the candidate's logits have normal noise added. 256 tokens are kept and 16 "
        "drawn for each position."
    )
    return table


def _zipf_pair(rng: np.random.Generator, noise: float) -> tuple[Rows, Rows]:
    base = -1.1 * np.log(np.arange(1, VOCABULARY + 1))
    sharpness = rng.uniform(0.8, 2.0, (PER_CHUNK, 1))
    rows = (sharpness * base).astype(np.float32)  # in the order of ranks: no order changes a sum
    return rows, rows + noise * rng.standard_normal(rows.shape, dtype=np.float32)


def _row(what: str, next_pair: Callable[[], tuple[Rows, Rows]], chunks: int) -> tuple[object, ...]:
    dense, sparse, variance, vocabulary = [], [], 0.0, 0
    for number in range(chunks):
        rows, candidate = next_pair()
        vocabulary = rows.shape[1]
        dense.append(diverge(rows, candidate, np.zeros(len(rows), dtype=np.int64)).kld_nats)
        found = diverge_from(sparsify(rows, seed=number), candidate)
        sparse.append(found.kld_nats)
        variance += float((found.kld_error_nats**2).sum())
    exact, estimate = np.concatenate(dense), np.concatenate(sparse)
    difference = estimate.mean() / exact.mean() - 1
    error = np.sqrt(variance) / len(exact) / exact.mean()
    return (what, f"{vocabulary:,}", f"{len(exact):,}", f"{exact.mean():.4g}", f"{estimate.mean():.4g}",
            f"{100 * difference:+.2f} %", f"{100 * error:.2f} %")  # fmt: skip
