"""How far a candidate's logits lie from the reference's, as a share of what the reference's logits say.

KL divergence depends on how sure the reference is: the same rounding costs a thousand times more where two tokens are
near than where one is certain. The error of the logits themselves hardly depends on the text, so one place that stands
out is a fault of the graph and not of the text.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt


def logit_noise(reference: npt.NDArray[np.float32], candidate: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
    """Root mean square error of a candidate's logits in units of the reference's standard deviation, shape [positions].

    Both have shape [positions, tokens] and are centred at each position, as softmax does not see a shift. 0: equal;
    1: as much noise as there is signal; 1.4: unrelated; 2: the sign is changed. NaN where a logit is not finite,
    infinite where the reference prefers no token and the candidate does.
    """
    width = min(reference.shape[1], candidate.shape[1])
    theirs = reference[:, :width].astype(np.float64)
    error = candidate[:, :width].astype(np.float64) - theirs
    with np.errstate(invalid="ignore", divide="ignore"):
        off, spread = error.std(axis=1), theirs.std(axis=1)
        return np.asarray(np.where((off == 0) & (spread == 0), 0.0, off / spread))
