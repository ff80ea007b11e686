"""What moves data, against NumPy and Python's own slices."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from service.errors import InvalidGraph, ShapeMismatch, TooLarge
from tests.operators.cases import apply

X = np.arange(24.0).reshape(2, 3, 4)
FAR = 2**63 - 1
ends = st.one_of(st.integers(-7, 7), st.sampled_from([FAR, -FAR - 1]))


@given(start=ends, end=ends, step=st.integers(-3, 3).filter(bool), size=st.integers(0, 5))
@settings(max_examples=100, deadline=None)
def test_slices_are_pythons(start: int, end: int, step: int, size: int) -> None:
    x = np.arange(2 * size).reshape(2, size)
    (result,) = apply("Slice", x, [start], [end], [1], [step])
    np.testing.assert_array_equal(result, x[:, start:end:step])


def test_slices_of_the_first_axes_and_by_attributes() -> None:
    np.testing.assert_array_equal(apply("Slice", X, [0, 1], [1, 3])[0], X[0:1, 1:3])
    np.testing.assert_array_equal(apply("Slice", X, starts=(1,), ends=(FAR,), axes=(-1,), opset=9)[0], X[..., 1:])
    with pytest.raises(InvalidGraph, match="no step 0"):
        apply("Slice", X, [0], [1], [0], [0])


@pytest.mark.parametrize(
    ("shape", "allowzero", "expected"),
    [((0, -1), 0, (2, 12)), ((4, 0, 2), 0, (4, 3, 2)), ((-1,), 0, (24,)), ((2, 3, 4, 1), 1, (2, 3, 4, 1))],
    ids=str,
)
def test_reshape(shape: tuple[int, ...], allowzero: int, expected: tuple[int, ...]) -> None:
    np.testing.assert_array_equal(apply("Reshape", X, shape, allowzero=allowzero)[0], X.reshape(expected))


def test_reshape_of_empty_and_0d_tensors() -> None:
    assert apply("Reshape", np.zeros((0, 3)), [3, 0], allowzero=1)[0].shape == (3, 0)
    assert apply("Reshape", np.zeros((0, 3)), [-1, 3])[0].shape == (0, 3)
    assert apply("Reshape", np.array(2.0), [1, 1])[0].shape == (1, 1)
    assert apply("Reshape", np.ones((1, 1)), np.zeros(0, np.int64))[0].shape == ()


@pytest.mark.parametrize("shape", [(5, -1), (-1, -1), (2, 3), (2, 3, 4, 0), (-2, 12)], ids=str)
def test_reshape_refuses_what_does_not_fit(shape: tuple[int, ...]) -> None:
    with pytest.raises(ShapeMismatch, match=r"\[2, 3, 4\]"):
        apply("Reshape", X, shape)


def test_shape_and_size() -> None:
    np.testing.assert_array_equal(apply("Shape", X)[0], [2, 3, 4])
    np.testing.assert_array_equal(apply("Shape", X, start=-2, end=9)[0], [3, 4])
    assert apply("Shape", np.array(1.0))[0].shape == (0,)
    assert apply("Size", X)[0] == 24


@pytest.mark.parametrize("axis", range(-3, 4))
def test_flatten(axis: int) -> None:
    rows = int(np.prod(X.shape[:axis])) if axis else 1
    np.testing.assert_array_equal(apply("Flatten", X, axis=axis)[0], X.reshape(rows, -1))


def test_squeeze_and_unsqueeze() -> None:
    x = np.ones((1, 2, 1, 3))
    assert apply("Squeeze", x)[0].shape == (2, 3)
    assert apply("Squeeze", x, [-2])[0].shape == (1, 2, 3)
    assert apply("Squeeze", x, axes=(0,), opset=11)[0].shape == (2, 1, 3)
    assert apply("Unsqueeze", X, [-1, 0])[0].shape == (1, 2, 3, 4, 1)
    assert apply("Unsqueeze", X, axes=(1, 2), opset=11)[0].shape == (2, 1, 1, 3, 4)
    with pytest.raises(ShapeMismatch, match="size 1"):
        apply("Squeeze", x, [1])


def test_transpose() -> None:
    np.testing.assert_array_equal(apply("Transpose", X)[0], X.T)
    np.testing.assert_array_equal(apply("Transpose", X, perm=(1, 0, 2))[0], X.transpose(1, 0, 2))
    with pytest.raises(InvalidGraph, match="permutation"):
        apply("Transpose", X, perm=(0, 0, 1))


def test_concat_with_an_empty_operand() -> None:
    np.testing.assert_array_equal(apply("Concat", X, X[:, :0], X, axis=-2)[0], np.concatenate([X, X], 1))


@pytest.mark.parametrize(
    ("length", "count", "sizes"),
    [(7, 3, [3, 3, 1]), (6, 3, [2, 2, 2]), (2, 3, [1, 1, 0])],
    ids=["uneven", "even", "few"],
)
def test_split_into_a_number_of_pieces(length: int, count: int, sizes: list[int]) -> None:
    pieces = apply("Split", np.arange(length), num_outputs=count, outputs=count)
    assert [len(p) for p in pieces] == sizes
    np.testing.assert_array_equal(np.concatenate(pieces), np.arange(length))


def test_split_by_sizes() -> None:
    for pieces in (
        apply("Split", X, [1, 3], axis=2, outputs=2),
        apply("Split", X, split=(1, 3), axis=2, outputs=2, opset=11),
    ):
        np.testing.assert_array_equal(pieces[1], X[..., 1:])
    with pytest.raises(ShapeMismatch, match="4 elements"):
        apply("Split", X, [1, 2], axis=2, outputs=2)


def test_expand_goes_both_ways() -> None:
    np.testing.assert_array_equal(apply("Expand", X[:, :1], [5, 1, 3, 1])[0], np.broadcast_to(X[:, :1], (5, 2, 3, 4)))
    with pytest.raises(ShapeMismatch, match="broadcast"):
        apply("Expand", X, [5])


def test_tile() -> None:
    np.testing.assert_array_equal(apply("Tile", X, [1, 0, 2])[0], np.tile(X, (1, 0, 2)))
    with pytest.raises(InvalidGraph, match="3 numbers"):
        apply("Tile", X, [2])


@pytest.mark.parametrize("dtype", [np.float64, np.float16, np.int64, np.uint8, np.bool_], ids=lambda d: d.__name__)
@pytest.mark.parametrize("k", [-1, 0, 2, FAR], ids=str)
def test_triangles(k: int, dtype: type) -> None:
    x = np.ones((2, 3, 4), dtype)
    near = min(k, 99)
    np.testing.assert_array_equal(apply("Trilu", x, np.array(k))[0], np.triu(x, near))
    np.testing.assert_array_equal(apply("Trilu", x, np.array(k), upper=0)[0], np.tril(x, near))


# --- padding ----------------------------------------------------------------------------------------------------------

MODES = ["constant", "edge", "reflect", "wrap"]


@given(
    x=arrays.arrays(np.int64, arrays.array_shapes(min_dims=1, max_dims=3, max_side=4)),
    mode=st.sampled_from(MODES),
    data=st.data(),
)
@settings(max_examples=80, deadline=None)
def test_padding_is_numpys_by_any_number_of_periods(x: np.ndarray, mode: str, data: st.DataObject) -> None:
    widths = [(data.draw(st.integers(0, 9)), data.draw(st.integers(0, 9))) for _ in x.shape]
    pads = [w[0] for w in widths] + [w[1] for w in widths]
    np.testing.assert_array_equal(apply("Pad", x, pads, mode=mode)[0], np.pad(x, widths, mode=mode))


@pytest.mark.parametrize("mode", MODES)
def test_negative_pads_crop(mode: str) -> None:
    np.testing.assert_array_equal(apply("Pad", X, [-1, -2], None, [-1], mode=mode)[0], X[..., 1:-2])


@pytest.mark.parametrize(
    "value",
    [np.array(1.5), np.array(7, np.int32), np.array(True), np.array(0.5, np.float16)],
    ids=lambda v: v.dtype.name,
)
def test_constants_of_any_dtype(value: np.ndarray) -> None:
    x = np.zeros((2, 2), value.dtype)
    (result,) = apply("Pad", x, [1, 0, 0, 0], value)
    assert result.dtype == x.dtype
    np.testing.assert_array_equal(result, np.pad(x, ((1, 0), (0, 0)), constant_values=value))


def test_padding_by_attributes() -> None:
    np.testing.assert_array_equal(apply("Pad", [1.0], pads=(1, 0), value=2.5, opset=2)[0], [2.5, 1.0])


@pytest.mark.parametrize(
    ("pads", "attributes", "message"),
    [([1], {}, "two for each"), ([1] * 6, {"mode": "mirror"}, "mode must be"), ([-5] + [0] * 5, {}, "crop more")],
    ids=["too-few", "mode", "too-much"],
)
def test_padding_refuses(pads: list[int], attributes: dict[str, str], message: str) -> None:
    with pytest.raises(InvalidGraph, match=message):
        apply("Pad", X, pads, **attributes)


def test_an_empty_axis_cannot_be_padded_with_itself() -> None:
    with pytest.raises(ShapeMismatch, match="nothing to pad with"):
        apply("Pad", np.zeros((0,)), [1, 1], mode="reflect")


@pytest.mark.parametrize("size", [1, 2, 3, 4, 5, 8], ids=str)
def test_centre_crop_and_pad_undo_each_other(size: int) -> None:
    x = np.arange(1.0, 5.0)
    (there,) = apply("CenterCropPad", x, [size])
    assert there.shape == (size,)
    (back,) = apply("CenterCropPad", there, [4])
    kept = np.isin(x, there)
    assert kept.sum() == min(size, 4)
    if size >= 4:
        np.testing.assert_array_equal(back, x)


@pytest.mark.parametrize("mode", ["DCR", "CRD"])
def test_space_to_depth_is_the_reverse_of_depth_to_space(mode: str) -> None:
    x = np.arange(48.0).reshape(1, 12, 2, 2)
    (image,) = apply("DepthToSpace", x, blocksize=2, mode=mode)
    np.testing.assert_array_equal(apply("SpaceToDepth", image, blocksize=2, mode=mode)[0], x)
    with pytest.raises(ShapeMismatch, match="blocksize"):
        apply("DepthToSpace", x, blocksize=5)


@pytest.mark.parametrize(
    ("op", "inputs"),
    [
        ("Expand", (X, [2**20, 2**20, 2, 3, 4])),
        ("Tile", (X, [2**20, 2**20, 1])),
        ("Pad", (X, [0, 0, 0, 2**40, 0, 0])),
        ("CenterCropPad", (X, [2**20, 2**20, 1])),
    ],
    ids=["Expand", "Tile", "Pad", "CenterCropPad"],
)
def test_sizes_in_data_are_bounded(op: str, inputs: tuple[object, ...]) -> None:
    with pytest.raises(TooLarge):
        apply(op, *inputs)
