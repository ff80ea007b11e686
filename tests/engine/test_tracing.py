"""Traces hold at every point of their program, agree with `torch.func`, and are refused where they do not."""

import numpy as np
import pytest
import torch

from service.engine import pullbacks as engine_pullbacks
from service.engine.targets import target
from service.engine.tracing import Trace, trace
from service.link.messages import Function

RNG = np.random.default_rng(2)

TEXTS = {
    "vector": "tanh(W @ x) * x",
    "matrix product": "reshape(x, (2, 2)) @ reshape(x, (2, 2))",
    "softmax": "softmax(W @ x)",
    "reductions": "sum(x) * mean(x) + max(x) + norm(x) + prod(x)",
    "moved": "concatenate([x[1:], x[::-1]])",
    "where and comparisons": "where(x > 0, exp(x), x ** 3)",
    "cumulated": "cumsum(sin(x)) / (1 + cumsum(x * x))",
    "einsum": "einsum('i,ij->j', x, W)",
    "constant": "x * 0 + 1",
    "independent of x": "W @ W",
    "layers": "W @ relu(W @ tanh(W @ x))",
}


@pytest.mark.parametrize("size", [1, 4, 16], ids=lambda n: f"batch {n}")
@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS)
def test_a_trace_is_the_pullback_at_every_point(expression, text, size):
    engine = expression(y=text)
    names = {i.name for i in engine.info.inputs}

    def point():
        values = {"x": RNG.standard_normal(4), "W": RNG.standard_normal((4, 4))}
        return engine.point(**{n: v for n, v in values.items() if n in names})

    function = Function("y", tuple(sorted(names)))
    made = trace(point(), function, True, size)
    for _ in range(3):
        at = point()
        values = [at.inputs[x] for x in function.xs]
        result, pullback = torch.func.vjp(target(at.program, at.inputs, function, True), *values)
        cotangents = torch.randn(max(1, size - 1), *result.shape, dtype=result.dtype)
        wanted = torch.func.vmap(pullback)(cotangents)
        got = made.rows(cotangents, made.keep(at.inputs))
        for a, b in zip(got, wanted, strict=True):
            torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-12)


def test_what_is_used_again_is_traced_and_what_is_not_is_not(expression):
    engine = expression(y="W @ tanh(W @ x)")
    point = engine.point(W=RNG.standard_normal((3, 3)), x=np.ones(3))
    engine.rows(point, "y", "x")
    assert not engine.pullbacks.work()
    engine.rows(point, "y", "x")
    assert engine.pullbacks.work()
    assert isinstance(point.program.derived[Function("y", ("x",)), 4], Trace)


def test_a_trace_that_disagrees_is_not_used(expression, monkeypatch):
    def wrong(*args):
        made = trace(*args)
        made.rows = lambda cotangents, kept: [2 * g for g in Trace.rows(made, cotangents, kept)]
        return made

    monkeypatch.setattr(engine_pullbacks, "trace", wrong)
    engine = expression(y="sin(x)")
    point = engine.point(x=np.ones(3))
    for _ in range(4):
        np.testing.assert_allclose(engine.rows(point, "y", "x"), np.diag(np.cos(np.ones(3))))
        engine.pullbacks.work()
    assert point.program.derived[Function("y", ("x",)), 4] is None


def test_a_long_graph_is_not_traced(expression, monkeypatch):
    monkeypatch.setattr(engine_pullbacks, "LONGEST_TRACE", 3)
    engine = expression(y="sin(cos(sin(cos(x))))")
    point = engine.point(x=np.ones(3))
    for _ in range(3):
        engine.rows(point, "y", "x")
        engine.pullbacks.work()
    assert point.program.derived[Function("y", ("x",)), 4] is None
