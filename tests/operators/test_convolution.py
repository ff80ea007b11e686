"""Conv, ConvTranspose and Col2Im against ONNX's cases, plain loops and each other."""

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from service import errors
from service.operators.registry import resolve
from tests.operators.cases import apply

RNG = np.random.default_rng(0)


def padded_by(auto_pad, size, span, stride, pads):
    if auto_pad == "NOTSET":
        return pads
    if auto_pad == "VALID":
        return 0, 0
    total = max((-(-size // stride) - 1) * stride + span - size, 0)
    halves = total // 2, total - total // 2
    return halves if auto_pad == "SAME_UPPER" else halves[::-1]


def convolved(X, W, strides, dilations, pads, group):
    """Conv by its definition: a sum over a window, output element by output element."""
    rank = X.ndim - 2
    X = np.pad(X, [(0, 0), (0, 0), *zip(pads[:rank], pads[rank:], strict=True)])
    spans = [(k - 1) * d + 1 for k, d in zip(W.shape[2:], dilations, strict=True)]
    counts = [(n - s) // t + 1 for n, s, t in zip(X.shape[2:], spans, strides, strict=True)]
    Y = np.zeros((X.shape[0], W.shape[0], *counts))
    per_group = W.shape[0] // group
    for m, at in itertools.product(range(W.shape[0]), np.ndindex(*counts)):
        first = m // per_group * W.shape[1]
        window = tuple(slice(p * t, p * t + s, d) for p, t, s, d in zip(at, strides, spans, dilations, strict=True))
        part = X[(slice(None), slice(first, first + W.shape[1]), *window)]
        Y[(slice(None), m, *at)] = (part * W[m]).reshape(len(X), -1).sum(1)
    return Y


@st.composite
def convolutions(draw):
    rank = draw(st.integers(1, 3))
    each = lambda low, high: [draw(st.integers(low, high)) for _ in range(rank)]  # noqa: E731
    kernel, strides, dilations = each(1, 3), each(1, 3), each(1, 2)
    spans = [(k - 1) * d + 1 for k, d in zip(kernel, dilations, strict=True)]
    sizes = [s + draw(st.integers(0, 3)) for s in spans]
    group, c, m = draw(st.integers(1, 2)), draw(st.integers(1, 2)), draw(st.integers(1, 2))
    pads = each(0, 2) + each(0, 2)
    auto_pad = draw(st.sampled_from(["NOTSET", "VALID", "SAME_UPPER", "SAME_LOWER"]))
    X = RNG.standard_normal((draw(st.integers(1, 2)), c * group, *sizes))
    W = RNG.standard_normal((m * group, c, *kernel))
    return X, W, strides, dilations, pads, auto_pad, group


@settings(max_examples=60, deadline=None)
@given(convolutions())
def test_conv_is_its_definition(case):
    X, W, strides, dilations, pads, auto_pad, group = case
    rank = X.ndim - 2
    pairs = [
        padded_by(
            auto_pad, X.shape[2 + i], (W.shape[2 + i] - 1) * dilations[i] + 1, strides[i], (pads[i], pads[rank + i])
        )
        for i in range(rank)
    ]
    explicit = [p[0] for p in pairs] + [p[1] for p in pairs]
    attributes = {"pads": tuple(pads)} if auto_pad == "NOTSET" else {}
    (Y,) = apply(
        "Conv", X, W, strides=tuple(strides), dilations=tuple(dilations), group=group, auto_pad=auto_pad, **attributes
    )
    np.testing.assert_allclose(Y, convolved(X, W, strides, dilations, explicit, group), rtol=1e-12, atol=1e-12)


@settings(max_examples=60, deadline=None)
@given(convolutions())
def test_conv_transpose_is_the_transpose_of_conv(case):
    X, W, strides, dilations, pads, _, group = case
    rank = X.ndim - 2
    shared = {"strides": tuple(strides), "dilations": tuple(dilations), "pads": tuple(pads), "group": group}
    (Y,) = apply("Conv", X, W, **shared)
    V = RNG.standard_normal(Y.shape)
    spans = [(k - 1) * d + 1 for k, d in zip(W.shape[2:], dilations, strict=True)]
    lost = [(X.shape[2 + i] + pads[i] + pads[rank + i] - spans[i]) % strides[i] for i in range(rank)]
    (U,) = apply("ConvTranspose", V, W, output_padding=tuple(lost), **shared)
    assert U.shape == X.shape
    np.testing.assert_allclose((U * X).sum(), (V * Y).sum(), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(
    ("attributes", "size"),
    [
        pytest.param({"output_shape": (10, 8), "strides": (3, 2)}, (10, 8), id="output_shape"),
        pytest.param({"output_shape": (1, 2, 10, 8), "strides": (3, 2)}, (10, 8), id="output_shape-with-channels"),
        pytest.param({"output_shape": (12, 9), "strides": (3, 2)}, (12, 9), id="output_shape-beyond"),
        pytest.param({"auto_pad": "SAME_UPPER", "strides": (2, 2)}, (6, 6), id="same-upper"),
        pytest.param({"auto_pad": "SAME_LOWER", "strides": (4, 1)}, (12, 3), id="same-lower-long-stride"),
        pytest.param({"auto_pad": "VALID", "strides": (2, 1)}, (7, 5), id="valid"),
        pytest.param({"output_padding": (3, 0)}, (8, 5), id="output_padding-beyond-stride"),
    ],
)
def test_conv_transpose_sizes(attributes, size):
    X, W, B = RNG.standard_normal((1, 2, 3, 3)), RNG.standard_normal((2, 2, 3, 3)), np.array([1.0, -2.0])
    (Y,) = apply("ConvTranspose", X, W, B, **attributes)
    assert Y.shape == (1, 2, *size)
    strides = attributes.get("strides", (1, 1))
    (full,) = apply("ConvTranspose", X, W, B, strides=strides)
    begin = [max(f - s, 0) for f, s in zip(full.shape[2:], size, strict=True)]
    begin = [b // 2 if attributes.get("auto_pad") == "SAME_UPPER" else b - b // 2 for b in begin]
    overlap = full[:, :, begin[0] : begin[0] + size[0], begin[1] : begin[1] + size[1]]
    np.testing.assert_allclose(Y[:, :, : overlap.shape[2], : overlap.shape[3]], overlap)
    assert (Y[:, :, overlap.shape[2] :] == B.reshape(2, 1, 1)).all()


@pytest.mark.parametrize(
    ("block", "strides", "dilations", "pads"),
    [
        pytest.param((2, 2), (1, 1), (1, 1), (0, 0, 0, 0), id="plain"),
        pytest.param((3, 2), (2, 1), (1, 2), (1, 0, 2, 1), id="asymmetric"),
        pytest.param((2,), (3,), (2,), (1, 1), id="one-axis"),
    ],
)
def test_col2im_is_the_transpose_of_taking_windows(block, strides, dilations, pads):
    image = (5, 4)[: len(block)]
    kernel = np.eye(2 * np.prod(block)).reshape(-1, 2, *block)
    X = RNG.standard_normal((2, 2, *image))
    (windows,) = apply("Conv", X, kernel, strides=strides, dilations=dilations, pads=pads)
    columns = RNG.standard_normal((2, windows.shape[1], int(np.prod(windows.shape[2:]))))
    (Y,) = apply("Col2Im", columns, np.array(image), np.array(block), strides=strides, dilations=dilations, pads=pads)
    assert Y.shape == X.shape
    np.testing.assert_allclose((Y * X).sum(), (columns * windows.reshape(columns.shape)).sum(), rtol=1e-12)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64], ids=str)
def test_conv_keeps_the_dtype(dtype):
    X, W = torch.ones(1, 1, 4, 4, dtype=dtype), torch.ones(1, 1, 2, 2, dtype=dtype)
    for op in ("Conv", "ConvTranspose"):
        (Y,) = resolve(op, 22)([X, W], {})
        assert Y.dtype == dtype


@pytest.mark.parametrize(
    ("arrays", "attributes", "problem"),
    [
        pytest.param(((1, 3, 4, 4), (2, 2, 2, 2)), {}, errors.ShapeMismatch, id="channels"),
        pytest.param(((1, 2, 4, 4), (2, 2, 2)), {}, errors.ShapeMismatch, id="ranks"),
        pytest.param(((1, 2, 4, 4), (2, 2, 2, 2)), {"kernel_shape": (3, 3)}, errors.ShapeMismatch, id="kernel_shape"),
        pytest.param(((1, 2, 4, 4), (2, 2, 5, 5)), {}, errors.InvalidGraph, id="window-too-large"),
        pytest.param(((1, 2, 4, 4), (2, 2, 2, 2)), {"strides": (0, 1)}, errors.InvalidGraph, id="stride-0"),
        pytest.param(((1, 2, 4, 4), (2, 2, 2, 2)), {"pads": (1, 1)}, errors.InvalidGraph, id="pads-length"),
        pytest.param(((1, 2, 4, 4), (2, 2, 2, 2)), {"auto_pad": "FULL"}, errors.InvalidGraph, id="auto_pad"),
        pytest.param(((1, 2, 2, 2, 2, 2), (2, 2, 1, 1, 1, 1)), {}, errors.UnsupportedOperator, id="four-axes"),
    ],
)
def test_conv_refuses(arrays, attributes, problem):
    with pytest.raises(problem):
        apply("Conv", *(np.ones(shape) for shape in arrays), **attributes)
