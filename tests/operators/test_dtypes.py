"""Every differentiable operator in every floating-point dtype: it answers in its input's dtype, right to rounding."""

import numpy as np
import pytest

from service.tensors.dtypes import DTYPES
from tests.operators.cases import apply
from tests.operators.derivatives import DERIVATIVES, Example

CONVERTS = {"Cast", "DequantizeLinear", "DynamicQuantizeLinear"}
"""Operators whose outputs have a dtype of their own."""
STASHES = {"LayerNormalization", "SkipLayerNormalization"}
"""Operators whose further outputs are in float32 at least."""
ROUNDINGS = 16
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
        given = len(example.inputs)
        shown = 1 if key[1] in STASHES else example.outputs
        return apply(key[1], *inputs[:given], captured=inputs[given:], **rest)[:shown]

    dtype = DTYPES[name].numpy
    values = (*example.inputs, *example.captured)
    rounded = [converted(v, dtype) for v in values]
    widened = [w if w is v else w.astype(np.float64) for v, w in zip(values, rounded, strict=True)]
    exact = run(widened)
    for result, expected in zip(run(rounded), exact, strict=True):
        assert result.dtype == (dtype if expected.dtype == np.float64 else expected.dtype)
        bound = ROUNDINGS * PRECISION[name] * max(np.abs(expected).max(), 1)
        np.testing.assert_allclose(result.astype(np.float64), expected, rtol=0, atol=bound)
