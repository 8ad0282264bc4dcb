"""What is kept of the sources of evidence: refused where it cannot be, averaged by name."""

from __future__ import annotations

import math

import pytest

from napari_medmeta.core import InputError, Structure
from napari_medmeta.core.trust import mean_trust, require_trust


def test_factors_are_averaged_over_those_that_name_the_source() -> None:
    assert mean_trust([{"shape": 0.5, "trees": 2.0}, {}, {"shape": 1.5}]) == {"shape": 1.0, "trees": 2.0}
    assert mean_trust([{}, {}]) == {}


@pytest.mark.parametrize("factor", [-0.1, 5.1, math.nan, math.inf])
def test_a_factor_that_cannot_be_is_refused(factor: float) -> None:
    require_trust({"shape": 5.0, "trees": 0.0})
    with pytest.raises(InputError, match="cannot be"):
        require_trust({"shape": factor})
    with pytest.raises(InputError, match="cannot be"):
        Structure(1, "liver", "#aa0000", trust=(("shape", factor),))


def test_a_source_without_a_name_is_refused() -> None:
    with pytest.raises(InputError, match="cannot be"):
        require_trust({"": 1.0})
