"""First and second derivatives of every operator in the catalogue, and that the table of examples is complete."""

import pytest

from service.catalogue import OPERATORS
from tests.operators.derivatives import DERIVATIVES, Example, check

CASES = [
    pytest.param(
        *(key, example, i == 0),
        id=f"{'.'.join(filter(None, key))}-{i}",
        marks=[pytest.mark.slow] if example.slow else [],
    )
    for key, examples in DERIVATIVES.items()
    for i, example in enumerate(examples)
]


def test_every_differentiable_operator_has_an_example() -> None:
    assert {key for key, operator in OPERATORS.items() if operator.differentiable} == set(DERIVATIVES)


@pytest.mark.parametrize(("key", "example", "traced"), CASES)
def test_derivatives(key: tuple[str, str], example: Example, traced: bool) -> None:
    check(*key, example, traced)
