"""ONNX's own node cases, every one whose dtypes are in the contract's table, random operators aside."""

import pytest

from service import catalogue
from tests.operators.cases import check_node_cases

OPERATORS = [
    *catalogue.ELEMENTWISE,
    *catalogue.ACTIVATIONS,
    *catalogue.REDUCTIONS,
    *catalogue.LINEAR,
    *catalogue.SHAPING,
    *catalogue.GATHERING,
    *catalogue.CREATION,
    *catalogue.QUANTIZATION,
]
OF_ONNX = [pytest.param(o, id=o.name) for o in OPERATORS if o.domain != catalogue.MICROSOFT]


@pytest.mark.parametrize("operator", OF_ONNX)
def test_node_cases(operator: catalogue.Operator) -> None:
    check_node_cases(operator.name, operator.domain)
