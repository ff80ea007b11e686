"""First and second derivatives of every operator in the table, and that the table is complete."""

import pytest

from service import catalogue
from tests.operators.derivatives import DERIVATIVES, Example, check

FAMILIES = (
    catalogue.ELEMENTWISE,
    catalogue.ACTIVATIONS,
    catalogue.REDUCTIONS,
    catalogue.LINEAR,
    catalogue.SHAPING,
    catalogue.GATHERING,
    catalogue.CREATION,
    catalogue.QUANTIZATION,
)
CASES = [
    pytest.param(key, example, i == 0, id=f"{'.'.join(filter(None, key))}-{i}")
    for key, examples in DERIVATIVES.items()
    for i, example in enumerate(examples)
]


def test_every_differentiable_operator_has_an_example() -> None:
    assert {(o.domain, o.name) for family in FAMILIES for o in family if o.differentiable} == set(DERIVATIVES)


@pytest.mark.parametrize(("key", "example", "traced"), CASES)
def test_derivatives(key: tuple[str, str], example: Example, traced: bool) -> None:
    check(*key, example, traced)
