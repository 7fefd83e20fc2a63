import itertools
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from supernet_onnx.train import Constant, Cosine, Exponential, Linear

POSITIVE = st.floats(1e-3, 1e3)


def test_each_curve_passes_through_the_points_of_its_formula() -> None:
    assert [Linear(1.0, 0.0, steps=4)(step) for step in (0, 1, 2, 4, 9)] == [1.0, 0.75, 0.5, 0.0, 0.0]
    assert [Exponential(8.0, 0.5, steps=4)(step) for step in (0, 1, 2, 4, 9)] == [8.0, 4.0, 2.0, 0.5, 0.5]
    halfway = 0.5 + (1 - math.sqrt(0.5)) / 4  # at a quarter from the end of a fall from 1 to 1/2
    assert Cosine(1.0, 0.5, steps=4)(3) == pytest.approx(halfway)
    assert [Cosine(1.0, 0.5, steps=4)(step) for step in (0, 2, 4, 9)] == pytest.approx([1.0, 0.75, 0.5, 0.5])
    assert Constant(0.3)(100) == 0.3


@given(first=POSITIVE, last=POSITIVE, steps=st.integers(1, 50), kind=st.sampled_from([Linear, Exponential, Cosine]))
def test_a_curve_is_monotone_from_its_first_value_to_exactly_its_last(
    first: float, last: float, steps: int, kind: type[Linear]
) -> None:
    curve = kind(first, last, steps=steps)
    values = [curve(step) for step in range(steps + 3)]
    assert values[0] == pytest.approx(first)
    assert values[steps:] == [last] * 3
    sign = math.copysign(1, last - first)
    assert all(sign * (b - a) >= -1e-9 * max(first, last) for a, b in itertools.pairwise(values))


@pytest.mark.parametrize("kind", [Linear, Exponential, Cosine])
@pytest.mark.parametrize("steps", [0, -1, 2.5, True])
def test_a_curve_needs_steps(kind: type[Linear], steps: int) -> None:
    with pytest.raises(ValueError, match="steps must be a whole number of at least 1"):
        kind(1.0, 0.5, steps=steps)


@pytest.mark.parametrize("value", [math.nan, math.inf, "1", None])
def test_values_must_be_numbers(value: float) -> None:
    for make in (lambda: Constant(value), lambda: Linear(1.0, value, steps=3), lambda: Cosine(value, 1.0, steps=3)):
        with pytest.raises(ValueError, match="must be a finite number"):
            make()


def test_an_exponential_curve_does_not_reach_zero() -> None:
    with pytest.raises(ValueError, match="take Linear or Cosine to reach 0"):
        Exponential(1.0, 0.0, steps=5)
