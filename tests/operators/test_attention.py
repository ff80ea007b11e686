"""Attention and RotaryEmbedding against ONNX's cases and NumPy in float64."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from service import errors
from service.operators.registry import resolve
from tests.operators.cases import apply

RNG = np.random.default_rng(7)
BATCH, HEADS, GROUPS, QUERIES, KEYS, SIZE = 2, 4, 2, 3, 5, 2


def normal(*shape):
    return RNG.standard_normal(shape)


def inputs():
    return (
        normal(BATCH, HEADS, QUERIES, SIZE),
        normal(BATCH, GROUPS, KEYS, SIZE),
        normal(BATCH, GROUPS, KEYS, 3),
    )


def attended(Q, K, V, bias):
    """Attention by its formula, with -inf in the bias where a key is not attended."""
    K, V = K.repeat(HEADS // GROUPS, 1), V.repeat(HEADS // GROUPS, 1)
    scores = Q @ K.swapaxes(2, 3) / np.sqrt(SIZE) + bias
    high = scores.max(-1, keepdims=True)
    shares = np.exp(scores - np.where(np.isinf(high), 0, high))
    total = shares.sum(-1, keepdims=True)
    return shares / np.where(total == 0, 1, total) @ V


@settings(max_examples=50, deadline=None)
@given(
    st.booleans(),
    st.integers(-1, 3),
    st.integers(-1, 3),
    st.sampled_from(["none", "bool", "float", "short"]),
    st.sampled_from(["none", "past", "nonpad"]),
)
def test_masks_are_their_definition(causal, left, right, mask, cache):
    Q, K, V = inputs()
    past = nonpad = None
    offset = np.zeros(BATCH, int)
    keys = KEYS
    if cache == "past":
        past = normal(BATCH, GROUPS, 2, SIZE), normal(BATCH, GROUPS, 2, 3)
        offset, keys = offset + 2, KEYS + 2
    if cache == "nonpad":
        nonpad = np.array([5, 2])
        offset = nonpad - QUERIES
    allowed = np.ones((BATCH, 1, QUERIES, keys), bool)
    bias = np.zeros((BATCH, 1, QUERIES, keys))
    for b in range(BATCH):
        for i, j in np.ndindex(QUERIES, keys):
            at = i + offset[b]
            outside = (causal and j > at) or (left >= 0 and j < at - left) or (right >= 0 and j > at + right)
            allowed[b, 0, i, j] = not outside and (nonpad is None or j < nonpad[b])
    given = None
    if mask == "bool":
        given = RNG.random((QUERIES, keys)) < 0.7
        allowed = allowed & given
    elif mask in {"float", "short"}:
        width = keys if mask == "float" else keys - 1
        given = normal(BATCH, 1, QUERIES, width)
        bias = np.concatenate([given, np.full((BATCH, 1, QUERIES, keys - width), -np.inf)], -1)
    y, key, value = apply(
        "Attention",
        *(Q, K, V, given),
        *(past or (None, None)),
        nonpad,
        outputs=3,
        is_causal=int(causal),
        left_window_size=left,
        right_window_size=right,
    )[:3]
    if past:
        K, V = np.concatenate([past[0], K], 2), np.concatenate([past[1], V], 2)
    np.testing.assert_array_equal(key, K)
    np.testing.assert_array_equal(value, V)
    np.testing.assert_allclose(y, attended(Q, K, V, np.where(allowed, bias, -np.inf)), rtol=1e-9, atol=1e-12)


def test_packed_heads():
    Q, K, V = inputs()
    packed = [a.swapaxes(1, 2).reshape(BATCH, a.shape[2], -1) for a in (Q, K, V)]
    (y,) = apply("Attention", *packed, q_num_heads=HEADS, kv_num_heads=GROUPS)[:1]
    expected = attended(Q, K, V, 0).swapaxes(1, 2).reshape(BATCH, QUERIES, -1)
    np.testing.assert_allclose(y, expected, rtol=1e-9)


def test_a_query_that_attends_nothing_has_a_zero_derivative():
    Q, K, V = (torch.from_numpy(normal(1, 1, 2, 2)) for _ in "qkv")
    mask = torch.tensor([[False, False], [True, True]])

    def f(q):
        return resolve("Attention", 23)([q, K, V, mask], {})[0]

    jacobian = torch.autograd.functional.jacobian(f, Q)
    assert f(Q)[0, 0, 0].abs().max() == 0
    assert jacobian.isfinite().all()
    assert jacobian[0, 0, 0].abs().max() == 0
    assert jacobian[0, 0, 1].abs().max() > 0


@pytest.mark.parametrize("interleaved", [0, 1], ids=["halves", "pairs"])
@pytest.mark.parametrize("packed", [False, True], ids=["4d", "3d"])
def test_rotary_embedding_rotates_complex_numbers(interleaved, packed):
    X, angles = normal(2, 3, 4, 6), normal(2, 4, 2)
    given = {"rotary_embedding_dim": 4, "interleaved": interleaved}
    if packed:
        flat = X.swapaxes(1, 2).reshape(2, 4, 18)
        (y,) = apply("RotaryEmbedding", flat, np.cos(angles), np.sin(angles), num_heads=3, **given)
        y = y.reshape(2, 4, 3, 6).swapaxes(1, 2)
    else:
        (y,) = apply("RotaryEmbedding", X, np.cos(angles), np.sin(angles), **given)
    real, imag = (slice(0, 4, 2), slice(1, 4, 2)) if interleaved else (slice(0, 2), slice(2, 4))
    turned = (X[..., real] + 1j * X[..., imag]) * np.exp(1j * angles[:, None])
    np.testing.assert_allclose(y[..., real], turned.real, rtol=1e-12)
    np.testing.assert_allclose(y[..., imag], turned.imag, rtol=1e-12)
    np.testing.assert_array_equal(y[..., 4:], X[..., 4:])


def test_rotary_embedding_by_position():
    X, cos, sin = normal(1, 2, 3, 4), normal(5, 2), normal(5, 2)
    positions = np.array([[4, 0, 4]])
    (y,) = apply("RotaryEmbedding", X, cos, sin, positions)
    np.testing.assert_allclose(y, apply("RotaryEmbedding", X, cos[positions], sin[positions])[0])


@pytest.mark.parametrize(
    ("shapes", "attributes", "problem"),
    [
        pytest.param([(1, 2, 4)] * 3, {}, errors.InvalidGraph, id="no-heads"),
        pytest.param([(1, 2, 4)] * 3, {"q_num_heads": 3, "kv_num_heads": 1}, errors.ShapeMismatch, id="heads"),
        pytest.param([(1, 3, 2, 2), (1, 2, 2, 2), (1, 2, 2, 2)], {}, errors.ShapeMismatch, id="groups"),
    ],
)
def test_attention_refuses(shapes, attributes, problem):
    with pytest.raises(problem):
        apply("Attention", *(np.ones(shape) for shape in shapes), **attributes)


def test_past_key_and_value_go_together():
    with pytest.raises(errors.InvalidGraph):
        apply("Attention", *[np.ones((1, 1, 2, 2))] * 3, None, np.ones((1, 1, 1, 2)))
