"""RNN, GRU and LSTM against ONNX's cases, torch's modules where the meaning coincides, and their formulas."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from service import errors
from tests.operators.cases import apply

T, BATCH, INPUT, HIDDEN = 4, 3, 3, 2
GATES = {"RNN": 1, "GRU": 3, "LSTM": 4}
PEEPHOLES = np.linspace(-0.6, 0.8, 3 * HIDDEN)[None]
ONNX_TO_TORCH = {"RNN": [0], "GRU": [1, 0, 2], "LSTM": [0, 2, 3, 1]}


def arguments(op, directions=1, steps=T, batch=BATCH):
    """X, W, R, B and the initial states."""
    generator = np.random.default_rng(3)

    def normal(*shape):
        return generator.standard_normal(shape) / 2

    gates = GATES[op] * HIDDEN
    states = [normal(directions, batch, HIDDEN) for _ in range(2 if op == "LSTM" else 1)]
    return (
        normal(steps, batch, INPUT),
        normal(directions, gates, INPUT),
        normal(directions, gates, HIDDEN),
        normal(directions, 2 * gates),
        states,
    )


@pytest.mark.parametrize("direction", ["forward", "bidirectional"])
@pytest.mark.parametrize("layout", [0, 1], ids=["time-first", "batch-first"])
@pytest.mark.parametrize("op", list(GATES))
def test_torch_s_modules(op, direction, layout):
    directions = 2 if direction == "bidirectional" else 1
    X, W, R, B, states = arguments(op, directions)
    module = getattr(torch.nn, op)(INPUT, HIDDEN, bidirectional=directions == 2).double()
    order = ONNX_TO_TORCH[op]

    def rearranged(a):
        return torch.from_numpy(np.concatenate([np.split(a, GATES[op])[i] for i in order]))

    with torch.no_grad():
        for d, suffix in enumerate(["", "_reverse"][:directions]):
            getattr(module, f"weight_ih_l0{suffix}").copy_(rearranged(W[d]))
            getattr(module, f"weight_hh_l0{suffix}").copy_(rearranged(R[d]))
            wb, rb = np.split(B[d], 2)
            getattr(module, f"bias_ih_l0{suffix}").copy_(rearranged(wb))
            getattr(module, f"bias_hh_l0{suffix}").copy_(rearranged(rb))
        initial = [torch.from_numpy(s) for s in states]
        expected, last = module(torch.from_numpy(X), tuple(initial) if op == "LSTM" else initial[0])
    extra = {"linear_before_reset": 1} if op == "GRU" else {}
    turned = [a.swapaxes(0, 1) for a in (X, *states)] if layout else [X, *states]
    Y, *finals = apply(
        op,
        turned[0],
        W,
        R,
        B,
        None,
        *turned[1:],
        outputs=3,
        direction=direction,
        layout=layout,
        hidden_size=HIDDEN,
        **extra,
    )
    if layout:
        Y, finals = Y.transpose(1, 2, 0, 3), [f.swapaxes(0, 1) for f in finals]
    wanted = expected.reshape(T, BATCH, directions, HIDDEN).transpose(1, 2)
    np.testing.assert_allclose(Y, wanted, rtol=1e-12, atol=1e-14)
    for final, one in zip(finals, last if op == "LSTM" else [last], strict=True):
        np.testing.assert_allclose(final, one, rtol=1e-12, atol=1e-14)


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def test_gru_with_the_reset_before_the_product():
    X, W, R, B, (h,) = arguments("GRU")
    Y, Y_h = apply("GRU", X, W, R, B, None, h, outputs=2)
    h = h[0]
    (wz, wr, wh), (rz, rr, rh) = np.split(W[0], 3), np.split(R[0], 3)
    bz, br, bh, cz, cr, ch = np.split(B[0], 6)
    for t in range(T):
        z = sigmoid(X[t] @ wz.T + h @ rz.T + bz + cz)
        r = sigmoid(X[t] @ wr.T + h @ rr.T + br + cr)
        new = np.tanh(X[t] @ wh.T + (r * h) @ rh.T + bh + ch)
        h = (1 - z) * new + z * h
        np.testing.assert_allclose(Y[t, 0], h, rtol=1e-12)
    np.testing.assert_allclose(Y_h[0], h, rtol=1e-12)


@pytest.mark.parametrize("input_forget", [0, 1], ids=["separate", "coupled"])
def test_lstm_with_peepholes_and_clip(input_forget):
    X, W, R, B, (h, c) = arguments("LSTM")
    P = PEEPHOLES
    Y, _, Y_c = apply("LSTM", X, W, R, B, None, h, c, P, outputs=3, clip=0.4, input_forget=input_forget)
    h, c = h[0], c[0]
    pi, po, pf = np.split(P[0], 3)
    bias = B[0, : 4 * HIDDEN] + B[0, 4 * HIDDEN :]
    for t in range(T):
        i, o, f, new = np.split(X[t] @ W[0].T + h @ R[0].T + bias, 4, axis=1)
        i = sigmoid(np.clip(i + pi * c, -0.4, 0.4))
        f = 1 - i if input_forget else sigmoid(np.clip(f + pf * c, -0.4, 0.4))
        c = f * c + i * np.tanh(np.clip(new, -0.4, 0.4))
        h = sigmoid(np.clip(o + po * c, -0.4, 0.4)) * np.tanh(c)
        np.testing.assert_allclose(Y[t, 0], h, rtol=1e-12)
    np.testing.assert_allclose(Y_c[0], c, rtol=1e-12)


@settings(max_examples=30, deadline=None)
@given(
    st.sampled_from(list(GATES)),
    st.sampled_from(["forward", "reverse", "bidirectional"]),
    st.lists(st.integers(0, T), min_size=BATCH, max_size=BATCH),
)
def test_each_sequence_is_run_for_its_own_length(op, direction, lengths):
    directions = 2 if direction == "bidirectional" else 1
    X, W, R, B, states = arguments(op, directions)
    results = apply(op, X, W, R, B, np.array(lengths, np.int32), *states, outputs=3, direction=direction)
    for b, length in enumerate(lengths):
        one = apply(op, X[:length, [b]], W, R, B, None, *(s[:, [b]] for s in states), outputs=3, direction=direction)
        np.testing.assert_allclose(results[0][:length, :, b], one[0][:, :, 0], rtol=1e-12)
        assert (results[0][length:, :, b] == 0).all()
        for many, single in zip(results[1:], one[1:], strict=True):
            np.testing.assert_allclose(many[:, b], single[:, 0], rtol=1e-12)


@pytest.mark.parametrize(
    ("name", "alpha", "beta", "function"),
    [
        pytest.param("Affine", 2.0, 0.5, lambda x: 2 * x + 0.5, id="Affine"),
        pytest.param("Elu", 0.7, None, lambda x: np.where(x > 0, x, 0.7 * np.expm1(x)), id="Elu"),
        pytest.param("HardSigmoid", 0.3, 0.4, lambda x: np.clip(0.3 * x + 0.4, 0, 1), id="HardSigmoid"),
        pytest.param("HardSigmoid", None, None, lambda x: np.clip(0.2 * x + 0.5, 0, 1), id="HardSigmoid-default"),
        pytest.param("LeakyRelu", 0.2, None, lambda x: np.where(x > 0, x, 0.2 * x), id="LeakyRelu"),
        pytest.param("Relu", None, None, lambda x: np.maximum(x, 0), id="Relu"),
        pytest.param("ScaledTanh", 1.5, 0.5, lambda x: 1.5 * np.tanh(0.5 * x), id="ScaledTanh"),
        pytest.param("Sigmoid", None, None, sigmoid, id="Sigmoid"),
        pytest.param("Softplus", None, None, lambda x: np.logaddexp(x, 0), id="Softplus"),
        pytest.param("Softsign", None, None, lambda x: x / (1 + np.abs(x)), id="Softsign"),
        pytest.param("tanh", None, None, np.tanh, id="case-does-not-matter"),
        pytest.param("ThresholdedRelu", 0.1, None, lambda x: np.where(x > 0.1, x, 0), id="ThresholdedRelu"),
    ],
)
def test_activations(name, alpha, beta, function):
    X, W, R, _, _ = arguments("RNN", steps=1)
    given = {"activation_alpha": (alpha,)} if alpha is not None else {}
    given |= {"activation_beta": (beta,)} if beta is not None else {}
    Y, _ = apply("RNN", X * 3, W, R, outputs=2, activations=(name,), **given)
    np.testing.assert_allclose(Y[0, 0], function(3 * X[0] @ W[0].T), rtol=1e-12, atol=1e-14)


def test_alphas_go_to_the_activations_that_have_one():
    X, W, R, _, _ = arguments("RNN", 2, steps=1)
    Y, _ = apply(
        "RNN",
        X,
        W,
        R,
        outputs=2,
        direction="bidirectional",
        activations=("Tanh", "Affine"),
        activation_alpha=(3.0,),
        activation_beta=(1.0,),
    )
    np.testing.assert_allclose(Y[0, 0], np.tanh(X[0] @ W[0].T), rtol=1e-12)
    np.testing.assert_allclose(Y[0, 1], 3 * X[0] @ W[1].T + 1, rtol=1e-12)


def test_no_time_steps():
    X, W, R, B, (h,) = arguments("RNN", steps=0)
    Y, Y_h = apply("RNN", X, W, R, B, None, h, outputs=2)
    assert Y.shape == (0, 1, BATCH, HIDDEN)
    np.testing.assert_array_equal(Y_h, h)


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        pytest.param({"direction": "sideways"}, errors.InvalidGraph, id="direction"),
        pytest.param({"direction": "bidirectional"}, errors.ShapeMismatch, id="weights-of-one-direction"),
        pytest.param({"activations": ("Cube",)}, errors.InvalidGraph, id="activation"),
        pytest.param({"activations": ()}, errors.InvalidGraph, id="no-activation"),
        pytest.param({"layout": 2}, errors.InvalidGraph, id="layout"),
    ],
)
def test_refusals(change, problem):
    X, W, R, _, _ = arguments("RNN")
    with pytest.raises(problem):
        apply("RNN", X, W, R, **change)


def test_initial_states_must_fit():
    X, W, R, B, _ = arguments("RNN")
    with pytest.raises(errors.ShapeMismatch):
        apply("RNN", X, W, R, B, None, np.zeros((1, BATCH + 1, HIDDEN)))
