"""A second model is loaded beside the first one only where both fit."""

import pytest

from harness.errors import MeasureError
from harness.measure.activations import require_room_beside

GIB = 2**30


@pytest.mark.parametrize(("size_gib", "free_gib"), [(1, 2), (0.01, 0.5), (4, 64)])
def test_what_fits_is_compared(size_gib, free_gib):
    require_room_beside(int(size_gib * GIB), free_gib * GIB)


@pytest.mark.parametrize(("size_gib", "free_gib"), [(1, 1.9), (4, 0)])
def test_what_does_not_fit_is_told_with_the_figures(size_gib, free_gib):
    with pytest.raises(MeasureError, match=rf"needs about {2 * size_gib}.0 GiB of memory, "):
        require_room_beside(int(size_gib * GIB), free_gib * GIB)
