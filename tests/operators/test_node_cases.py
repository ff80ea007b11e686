"""ONNX's own node cases, every one whose dtypes are in the contract's table."""

import importlib

import pytest

from service.catalogue import MICROSOFT, OPERATORS, Operator
from tests.operators.cases import check_node_cases

# Its cases are written in ONNX's text form, by which `node_cases` does not find them.
importlib.import_module("onnx.backend.test.case.node.scan")

SLOW = {"AveragePool", "LpPool", "MaxPool"}
"""Operators whose cases take ONNX many seconds to make."""
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
    pytest.param(o, id=".".join(filter(None, key)), marks=[pytest.mark.slow] if o.name in SLOW else [])
    for key, o in OPERATORS.items()
    if o.domain != MICROSOFT
]


@pytest.mark.parametrize("operator", CASES)
def test_node_cases(operator: Operator) -> None:
    check_node_cases(operator.name, operator.domain, EXCLUDED)
