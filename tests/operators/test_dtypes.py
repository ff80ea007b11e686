"""Every differentiable operator in every floating-point dtype: it answers in its input's dtype, right to rounding."""

import numpy as np
import pytest

from service.tensors.dtypes import DTYPES
from tests.operators.cases import apply
from tests.operators.derivatives import DERIVATIVES, Example

CONVERTS = {"Cast", "DequantizeLinear", "DynamicQuantizeLinear"}
"""Operators whose outputs have a dtype of their own."""
ROUNDINGS = 12
CASES = [
    pytest.param(key, example, id=f"{'.'.join(filter(None, key))}-{i}")
    for key, examples in DERIVATIVES.items()
    for i, example in enumerate(examples)
    if key[1] not in CONVERTS
]
PRECISION = {"float16": 2.0**-11, "bfloat16": 2.0**-8, "float32": 2.0**-24}


def converted(value: object, dtype: np.dtype) -> object:
    return value.astype(dtype) if isinstance(value, np.ndarray) and value.dtype == np.float64 else value


@pytest.mark.parametrize("name", PRECISION)
@pytest.mark.parametrize(("key", "example"), CASES)
def test_answers_in_the_dtype_of_the_input(key: tuple[str, str], example: Example, name: str) -> None:
    def run(inputs: list[object]) -> list[np.ndarray]:
        rest = {"domain": key[0], "opset": example.opset, "outputs": example.outputs, **example.attributes}
        return apply(key[1], *inputs, **rest)

    dtype = DTYPES[name].numpy
    rounded = [converted(v, dtype) for v in example.inputs]
    exact = run([v.astype(np.float64) if isinstance(v, np.ndarray) and v.dtype == dtype else v for v in rounded])
    for result, expected in zip(run(rounded), exact, strict=True):
        assert result.dtype == (dtype if expected.dtype == np.float64 else expected.dtype)
        bound = ROUNDINGS * PRECISION[name] * max(np.abs(expected).max(), 1)
        np.testing.assert_allclose(result.astype(np.float64), expected, rtol=0, atol=bound)
