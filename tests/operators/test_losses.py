"""Losses of classification against ONNX's cases and torch's own in float64."""

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from service import errors
from tests.operators.cases import apply

RNG = np.random.default_rng(8)
OPS = ["NegativeLogLikelihoodLoss", "SoftmaxCrossEntropyLoss"]
REDUCTIONS = ["none", "sum", "mean"]


@pytest.mark.parametrize("shape", [(4, 3), (2, 3, 2), (2, 3, 2, 2)], ids=str)
@pytest.mark.parametrize("ignored", [None, 1, -100], ids=str)
@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("weighted", [False, True], ids=["plain", "weighted"])
def test_torch_s_losses(shape, ignored, reduction, weighted):
    x, weight = RNG.standard_normal(shape), RNG.random(3)
    target = RNG.integers(0, 3, (shape[0], *shape[2:]))
    if ignored == -100:
        target.flat[0] = ignored
    given = {} if ignored is None else {"ignore_index": ignored}
    arrays = (x, target, weight) if weighted else (x, target)
    for op, reference in zip(OPS, (F.nll_loss, F.cross_entropy), strict=True):
        loss = apply(op, *arrays, reduction=reduction, **given)[0]
        expected = reference(*map(torch.from_numpy, arrays), reduction=reduction, **given)
        np.testing.assert_allclose(loss, expected, rtol=1e-12)


@pytest.mark.parametrize("op", OPS)
def test_refusals(op):
    with pytest.raises(errors.ShapeMismatch):
        apply(op, np.ones((2, 3)), np.zeros(3, int))
    with pytest.raises(errors.InvalidGraph):
        apply(op, np.ones((2, 3)), np.zeros(2, int), reduction="max")
