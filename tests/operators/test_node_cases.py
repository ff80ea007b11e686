"""ONNX's own node cases by their kernels alone, but those that the same run sends over HTTP, and pools.

All of them, pools too, run over HTTP among the slow tests: `tests/conformance/test_onnx_cases.py`.
"""

import pytest

from service.catalogue import MICROSOFT, OPERATORS, Operator
from tests.conformance.onnx_cases import POOLS
from tests.operators.cases import check_node_cases

ROUNDING = "where the exact value is 0, the case has float32 rounding errors above its own tolerance"
SAMPLE = "the numbers drawn from a seed are those of NumPy's older generator"
RANDOM = "there is no seed"
EXCLUDED = {
    "test_dft_inverse": ROUNDING,
    "test_dft_inverse_opset19": ROUNDING,
    "test_training_dropout": SAMPLE,
    "test_training_dropout_default": SAMPLE,
    "test_training_dropout_default_mask": SAMPLE,
    "test_training_dropout_mask": SAMPLE,
    "test_bernoulli": RANDOM,
    "test_bernoulli_double": RANDOM,
    "test_bernoulli_seed": SAMPLE,
}
CASES = [
    pytest.param(o, id=".".join(filter(None, key)))
    for key, o in OPERATORS.items()
    if o.domain != MICROSOFT and o.name not in POOLS.values()
]


@pytest.mark.parametrize("operator", CASES)
def test_node_cases(operator: Operator) -> None:
    check_node_cases(operator.name, operator.domain, EXCLUDED)
