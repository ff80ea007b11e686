"""Whether samples mix: never a wrong yes, and a yes where it is plain."""

import numpy as np
import pytest

RNG = np.random.default_rng(1)

SEPARATE = {
    "elementwise": "tanh(x) * 2 + x ** 2",
    "a weight a sample": "x * c",
    "matmul from the right": "x @ W",
    "matmul of the transposed": "transpose(transpose(W) @ transpose(x))",
    "softmax over features": "softmax(x, axis=1)",
    "sum over features": "sum(x, axis=1, keepdims=True) * x",
    "slice of features": "x[:, 1:3]",
    "reshape within samples": "reshape(reshape(x, (3, 2, 2)) * 2, (3, 4))",
    "concatenated features": "concatenate([x, sin(x)], axis=1)",
    "stacked features": "reshape(stack([x, x * x], axis=2), (3, 8))",
    "mean and variance of features": "(x - mean(x, axis=1, keepdims=True)) / sqrt(var(x, axis=1, keepdims=True) + 1)",
    "layers": "relu(x @ W + b) @ transpose(W)",
    "where": "where(x > 0, x, exp(x))",
    "batched matmul": "reshape(reshape(x, (3, 2, 2)) @ reshape(x, (3, 2, 2)), (3, 4))",
    "a constant": "c * 2",
}
MIXING = {
    "sum over samples": "x - sum(x, axis=0)",
    "softmax over samples": "softmax(x, axis=0)",
    "matmul from the left": "S @ x",
    "reversed samples": "x[::-1]",
    "cumulated samples": "cumsum(x, axis=0)",
    "gram matrix": "x @ transpose(x)",
    "flattened": "reshape(reshape(x, (12,)) * reshape(transpose(x), (12,)), (3, 4))",
    "a sample for all": "x * x[0]",
    "mean of all": "x - mean(x)",
}


def point_of(expression, text):
    engine = expression(y=text)
    names = {i.name for i in engine.info.inputs}
    values = {
        "x": RNG.standard_normal((3, 4)),
        "W": RNG.standard_normal((4, 4)),
        "S": RNG.standard_normal((3, 3)),
        "b": RNG.standard_normal(4),
        "c": RNG.standard_normal((3, 4)),
    }
    return engine, engine.point(**{n: v for n, v in values.items() if n in names})


@pytest.mark.parametrize("text", SEPARATE.values(), ids=SEPARATE)
def test_samples_that_plainly_do_not_mix(expression, text):
    _, point = point_of(expression, text)
    xs = ("x",) if "x" in point.inputs else ("c",)
    assert point.separate("y", xs)


@pytest.mark.parametrize("text", MIXING.values(), ids=MIXING)
def test_samples_that_mix(expression, text):
    _, point = point_of(expression, text)
    assert not point.separate("y", ("x",))


@pytest.mark.parametrize("text", [*SEPARATE.values(), *MIXING.values()], ids=[*SEPARATE, *MIXING])
def test_rows_of_a_batch_are_those_of_the_whole_jacobian(expression, text):
    """J[b, m, n] is the part of the unbatched Jacobian that joins sample b with itself."""
    engine, point = point_of(expression, text)
    x = "x" if "x" in point.inputs else "c"
    whole = engine.rows(point, "y", x)
    samples = point.values["y"].shape[0]
    parts = whole.reshape(samples, -1, point.inputs[x].shape[0], point.inputs[x][0].numel())
    wanted = np.stack([parts[b, :, b] for b in range(samples)])
    np.testing.assert_allclose(engine.rows(point, "y", x, batch_axis=0), wanted, rtol=1e-12, atol=1e-14)
