"""LinearAttention and CausalConvWithState: in float64 their definition, and the state goes on where it ended."""

import numpy as np
import pytest

from service import errors
from tests.operators.cases import apply

RNG = np.random.default_rng(9)
BATCH, STEPS, HEADS, GROUPS, KEY, VALUE = 2, 5, 4, 2, 3, 2
RULES = {"linear": (False, False), "gated": (True, False), "delta": (False, True), "gated_delta": (True, True)}


def arguments(rule: str) -> list[np.ndarray | None]:
    gated, corrected = RULES[rule]
    return [
        RNG.normal(size=(BATCH, STEPS, HEADS * KEY)),
        RNG.normal(size=(BATCH, STEPS, GROUPS * KEY)),
        RNG.normal(size=(BATCH, STEPS, GROUPS * VALUE)),
        RNG.normal(size=(BATCH, GROUPS, KEY, VALUE)),
        -RNG.random((BATCH, STEPS, GROUPS * KEY)) if gated else None,
        RNG.random((BATCH, STEPS, GROUPS)) if corrected else None,
    ]


@pytest.mark.parametrize("rule", RULES)
def test_recurrence_is_its_definition(rule: str) -> None:
    q, k, v, state, g, beta = arguments(rule)
    y, last = apply(
        "LinearAttention", q, k, v, state, g, beta, q_num_heads=4, kv_num_heads=2, update_rule=rule, outputs=2
    )
    for b, h in np.ndindex(BATCH, GROUPS):
        S = state[b, h].copy()
        for t in range(STEPS):
            key, value = k[b, t].reshape(GROUPS, KEY)[h], v[b, t].reshape(GROUPS, VALUE)[h]
            if g is not None:
                S = np.diag(np.exp(g[b, t].reshape(GROUPS, KEY)[h])) @ S
            S = S + np.outer(key, value if beta is None else beta[b, t, h] * (value - S.T @ key))
            for head in (2 * h, 2 * h + 1):
                query = q[b, t].reshape(HEADS, KEY)[head]
                shown = y[b, t].reshape(HEADS, VALUE)[head]
                np.testing.assert_allclose(shown, S.T @ query / np.sqrt(KEY), rtol=1e-11, atol=1e-12)
        np.testing.assert_allclose(last[b, h], S, rtol=1e-11, atol=1e-12)


def test_attention_goes_on_from_its_state() -> None:
    q, k, v, _, g, beta = arguments("gated_delta")
    given = {"q_num_heads": HEADS, "kv_num_heads": GROUPS, "scale": 0.5, "outputs": 2}
    whole, last = apply("LinearAttention", q, k, v, None, g, beta, **given)
    first, state = apply("LinearAttention", *(a[:, :2] for a in (q, k, v)), None, g[:, :2], beta[:, :2], **given)
    rest, end = apply("LinearAttention", *(a[:, 2:] for a in (q, k, v)), state, g[:, 2:], beta[:, 2:], **given)
    np.testing.assert_allclose(np.concatenate([first, rest], 1), whole, rtol=1e-11)
    np.testing.assert_allclose(end, last, rtol=1e-11)


def test_a_convolution_goes_on_from_its_state() -> None:
    x, w, b = RNG.normal(size=(2, 3, 7)), RNG.normal(size=(3, 1, 4)), RNG.normal(size=3)
    whole, last = apply("CausalConvWithState", x, w, b, outputs=2)
    first, state = apply("CausalConvWithState", x[:, :, :2], w, b, outputs=2)
    rest, end = apply("CausalConvWithState", x[:, :, 2:], w, b, state, outputs=2)
    np.testing.assert_allclose(np.concatenate([first, rest], 2), whole, rtol=1e-12, atol=1e-14)
    np.testing.assert_array_equal(end, last)
    padded = np.pad(x, [(0, 0), (0, 0), (3, 0)])
    expected = sum(w[:, 0, j, None] * padded[:, :, j : j + 7] for j in range(4)) + b[:, None]
    np.testing.assert_allclose(whole, expected, rtol=1e-12, atol=1e-14)
    for name in ("silu", "swish"):
        activated = apply("CausalConvWithState", x, w, b, activation=name)[0]
        np.testing.assert_allclose(activated, expected / (1 + np.exp(-expected)), rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        pytest.param({"update_rule": "cubic"}, errors.InvalidGraph, id="rule"),
        pytest.param({"update_rule": "linear"}, errors.InvalidGraph, id="inputs-of-another-rule"),
        pytest.param({"kv_num_heads": 3}, errors.ShapeMismatch, id="heads"),
        pytest.param({"kv_num_heads": 1}, errors.ShapeMismatch, id="state"),
    ],
)
def test_attention_refuses(change: dict[str, object], problem: type[errors.Problem]) -> None:
    with pytest.raises(problem):
        apply("LinearAttention", *arguments("gated_delta"), **({"q_num_heads": 4, "kv_num_heads": 2} | change))


def test_a_convolution_refuses() -> None:
    x = np.ones((1, 2, 3))
    with pytest.raises(errors.ShapeMismatch):
        apply("CausalConvWithState", x, np.ones((2, 2, 2)))
    with pytest.raises(errors.InvalidGraph):
        apply("CausalConvWithState", x, np.ones((2, 1, 2)), activation="relu")
