"""Quantised matrices as ONNX Runtime stores them: blocks of weights, packed into bytes, that share a scale."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True, kw_only=True)
class PackedMatrix:
    """A quantised matrix as it is stored."""

    bits: int
    """Bits of one weight."""

    packed: npt.NDArray[np.uint8]
    """[rows, blocks, bytes of a block]"""

    scales: Array
    """[rows, blocks, 1]"""

    zeros: Array
    """The same, or one for all."""

    @property
    def shape(self) -> tuple[int, int, int]:
        """Rows, blocks in a row, weights in a block."""
        rows, blocks, size = self.packed.shape
        return rows, blocks, size * 8 // self.bits

    def values(self, rows: slice) -> tuple[Array, Array]:
        """Weights of some rows, [rows, blocks, weights of a block], and the step of each block, [rows, blocks, 1]."""
        scales = self.scales[rows]
        zeros = self.zeros[rows] if self.zeros.shape[0] > 1 else self.zeros
        return (_unpacked(self.packed[rows], self.bits).astype(np.float32) - zeros) * scales, np.abs(scales)


def packed_matrix(
    tensors: Sequence[npt.NDArray[Any]], numbers: Mapping[str, float], rows: int, width: int
) -> PackedMatrix:
    """A matrix of shape [rows, width] from its stored weights, scales and, where it has them, zero points.

    `numbers` are the attributes of the operator that reads it: `block_size` and `bits`.
    """
    bits, blocks = int(numbers.get("bits", 4)), -(-width // int(numbers["block_size"]))
    zeros: Any = np.full((1, 1, 1), 1 << (bits - 1))
    if len(tensors) > 2:
        stored = tensors[2]
        zeros = _unpacked(stored.reshape(rows, -1), bits)[:, :blocks] if stored.dtype == np.uint8 else stored
        zeros = zeros.reshape(rows, blocks, 1)
    return PackedMatrix(
        bits=bits,
        packed=tensors[0].reshape(rows, blocks, -1).view(np.uint8),
        scales=np.asarray(tensors[1], dtype=np.float32).reshape(rows, blocks, 1),
        zeros=np.asarray(zeros, dtype=np.float32),
    )


def _unpacked(packed: npt.NDArray[Any], bits: int) -> npt.NDArray[Any]:
    """The numbers packed into bytes, lowest bits first."""
    shifts = np.arange(0, 8, bits, dtype=np.uint8)
    parts = (packed[..., None] >> shifts) & ((1 << bits) - 1)
    return parts.reshape(*packed.shape[:-1], -1)


def in_blocks(matrix: Array, blocks: int, block_size: int) -> Array:
    """[rows, width] as [rows, blocks, weights of a block], the last block filled up with 0."""
    filled = np.zeros((len(matrix), blocks * block_size), dtype=np.float32)
    filled[:, : matrix.shape[1]] = matrix
    return filled.reshape(len(matrix), blocks, block_size)
