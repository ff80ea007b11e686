"""Every representation of a slice says the same, to the readers that the world has for it."""

import io
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import ml_dtypes
import numpy as np
import pyarrow as pa
import pytest
import safetensors.numpy
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from matplotlib import colormaps, image

from service.api.encoders import arrow, csv_text, png, safetensors_file
from service.errors import NotAcceptable
from service.sessions.session import SliceResult
from tests.contract.conftest import OpenSession

FLOATS = [np.dtype(name) for name in ("f2", "f4", "f8")]
ARROW = "application/vnd.apache.arrow.stream"


def slice_of(array: Any, index: str = ":", known: Any = None, names: tuple[str, ...] = ("y", "x")) -> SliceResult:
    parameters = ("y", "x") if len(names) == 2 else ("y", "x1", "x2")
    return SliceResult(dict(zip(parameters, names, strict=True)), index, 1, np.asarray(array), 0, 0, "", {}, known)


def slices(dtypes: list[np.dtype], most: int) -> st.SearchStrategy[np.ndarray]:
    return hnp.arrays(st.sampled_from(dtypes), hnp.array_shapes(min_dims=0, max_dims=most, min_side=0, max_side=4))


def joined(pieces: Any) -> bytes:
    return b"".join(pieces)


# --- Arrow -----------------------------------------------------------------------------------------------------------


def read_arrow(content: bytes) -> np.ndarray:
    table = pa.ipc.open_stream(content).read_all()
    assert table.column_names == ["jacobian"]
    column = table["jacobian"].combine_chunks()
    assert isinstance(column.type, pa.FixedShapeTensorType)
    return column.to_numpy_ndarray()


@given(slices(FLOATS, 3))
@settings(max_examples=60, deadline=None)
def test_arrow_has_a_tensor_for_each_entry_of_the_first_axis(array: np.ndarray) -> None:
    found = read_arrow(joined(arrow.encode(slice_of(array))))
    np.testing.assert_array_equal(found, np.atleast_1d(array), strict=True)


def test_arrow_copies_no_array() -> None:
    array = np.zeros((100, 100))
    pieces = arrow.encode(slice_of(array))
    assert len(pieces) == 3
    assert np.shares_memory(np.frombuffer(pieces[1], np.uint8), array.view(np.uint8))


# --- CSV -------------------------------------------------------------------------------------------------------------


def read_csv(content: bytes) -> list[list[str]]:
    lines = content.decode("ascii").split("\r\n")
    assert lines.pop() == ""
    return [line.split(",") if line else [] for line in lines]


@given(slices(FLOATS, 2))
@settings(max_examples=100, deadline=None)
def test_csv_gives_every_number_back(array: np.ndarray) -> None:
    table = array if array.ndim == 2 else array.reshape(-1, 1)
    lines = read_csv(joined(csv_text.encode(slice_of(array))))
    assert len(lines) == len(table)
    found = np.array([[float(number) for number in line] for line in lines], array.dtype).reshape(table.shape)
    np.testing.assert_array_equal(found, table, strict=True)


@pytest.mark.parametrize("shape", [(40_000, 3), (3, 40_000), (50_000,)], ids=["long", "wide", "column"])
def test_csv_in_pieces_is_whole(shape: tuple[int, ...]) -> None:
    array = np.random.default_rng(0).standard_normal(shape)
    array[0] = np.nan
    pieces = csv_text.encode(slice_of(array))
    assert len(pieces) > 2
    found = np.loadtxt(io.BytesIO(joined(pieces)), delimiter=",", ndmin=2)
    np.testing.assert_array_equal(found, array.reshape(shape[0], -1))


@pytest.mark.parametrize(
    ("array", "text"),
    [
        pytest.param(np.float64(0.1), "0.1\r\n", id="0-d"),
        pytest.param(np.array([0.1, 1.0], "f4"), "0.1\r\n1.0\r\n", id="float32-in-its-own-digits"),
        pytest.param([[np.nan, -np.inf], [np.inf, 0]], "NaN,-Infinity\r\nInfinity,0.0\r\n", id="not-finite"),
        pytest.param(np.zeros((2, 0)), "\r\n\r\n", id="no-columns"),
        pytest.param(np.zeros((0, 2)), "", id="no-rows"),
    ],
)
def test_csv_text(array: Any, text: str) -> None:
    assert joined(csv_text.encode(slice_of(array))).decode() == text


@pytest.mark.parametrize(
    ("encode", "array", "words"),
    [
        pytest.param(arrow.encode, np.zeros(2, ml_dtypes.bfloat16), "no bfloat16", id="arrow-bfloat16"),
        pytest.param(csv_text.encode, np.zeros(2, ml_dtypes.bfloat16), "no bfloat16", id="csv-bfloat16"),
        pytest.param(csv_text.encode, np.zeros((2, 3, 4)), "index one sample", id="csv-3-d"),
        pytest.param(png.encode, np.zeros((10, 2, 2)), "9 samples at most", id="png-of-10-samples"),
    ],
)
def test_what_a_representation_cannot_say_is_refused(encode: Any, array: np.ndarray, words: str) -> None:
    with pytest.raises(NotAcceptable, match=words):
        encode(slice_of(array))


# --- safetensors -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("revision", [3, None], ids=["revision", "elsewhere"])
def test_safetensors_have_slices_outputs_and_the_revision(revision: int | None) -> None:
    first, second, value = np.arange(6.0).reshape(2, 3), np.float32(2), np.array([True])
    content = joined(safetensors_file.encode([slice_of(first), slice_of(second)], {"out/y": value}, revision))
    found = safetensors.numpy.load(content)
    assert found.keys() == {"slices.0", "slices.1", "outputs.out/y"}
    for name, array in {"slices.0": first, "slices.1": np.asarray(second), "outputs.out/y": value}.items():
        np.testing.assert_array_equal(found[name], array, strict=True)
    assert (b'"revision":"3"' in content) is (revision is not None)


# --- pictures --------------------------------------------------------------------------------------------------------


def drawn(result: SliceResult, width: int = 400) -> np.ndarray:
    """The pixels of a picture, red, green and blue, 0 to 255."""
    picture = image.imread(io.BytesIO(joined(png.encode(result, width))))[..., :3]
    assert picture.shape[1] == width
    return np.round(picture * 255).astype(int)


def count(picture: np.ndarray, colour: tuple[int, ...]) -> int:
    return int((picture == colour).all(axis=-1).sum())


def colour_of(part: float) -> tuple[int, ...]:
    """The colour of a value, as a part of the largest."""
    return colormaps["RdBu_r"](part / 2 + 0.5, bytes=True)[:3]


SHAPES = {
    "0-d": ((), 300),
    "row": ((30,), 300),
    "matrix": ((3, 4), 300),
    "wide": ((3, 4000), 300),
    "large": ((900, 1300), 300),
    "large-in-large": ((900, 1300), 1000),
    "samples": ((9, 3, 4), 300),
}


@pytest.mark.parametrize(("shape", "width"), SHAPES.values(), ids=SHAPES)
def test_no_entry_disappears(shape: tuple[int, ...], width: int) -> None:
    """One entry that is not zero is seen, wherever it is."""
    array = np.zeros(shape)
    array.reshape(-1)[np.random.default_rng(0).integers(0, array.size)] = -2.0
    panels = drawn(slice_of(array, "..."), width)[:, : int(0.79 * width)]
    assert count(panels, colour_of(-1)) > 0


def test_colours_are_symmetric_about_zero() -> None:
    picture = drawn(slice_of([[1.0, -2.0], [0.0, 2.0]]), 600)
    cell = count(picture, colour_of(0.5))
    assert cell > 10_000
    for part in (-1, 0, 1):
        assert count(picture, colour_of(part)) == pytest.approx(cell, rel=0.05)


def test_what_is_not_finite_is_grey_and_does_not_set_the_scale() -> None:
    picture = drawn(slice_of([[np.nan, 1.0], [-1.0, np.inf]]), 600)
    cell = count(picture, colour_of(1))
    assert count(picture, png.NOT_FINITE) == pytest.approx(2 * cell, rel=0.1)


def test_rows_that_were_not_evaluated_are_hatched() -> None:
    array = np.ones((4, 5))
    known = np.ones(array.shape, bool)
    known[1] = False
    array[1] = 1e9
    picture = drawn(slice_of(array, known=known), 600)
    whole = drawn(slice_of(np.ones((4, 5))), 600)
    assert count(picture, colour_of(1)) == pytest.approx(0.75 * count(whole, colour_of(1)), rel=0.05)
    assert len(picture) > len(whole)


@pytest.mark.parametrize("largest", [5e-324, 1e-300, 1e308], ids=str)
def test_any_range_is_drawn(largest: float) -> None:
    assert count(drawn(slice_of([[largest, -largest]]), 300), colour_of(-1)) > 100


@pytest.mark.parametrize("name", ["in/x$1^{$", "\0\n", "θ", "x" * 500], ids=["formula", "control", "greek", "long"])
def test_any_name_is_written(name: str) -> None:
    assert len(drawn(slice_of(np.ones((2, 3)), names=(name, name, name)), 300)) > 50


def test_an_empty_slice_is_a_picture_too() -> None:
    assert count(drawn(slice_of(np.ones((0, 3))), 300), (255, 255, 255)) > 1000


def test_pictures_are_drawn_in_threads() -> None:
    """The same bytes, however many are drawn at once."""
    results = [slice_of(np.random.default_rng(i).standard_normal((20, 20))) for i in range(2)]
    alone = [joined(png.encode(result, 300)) for result in results]
    barrier = threading.Barrier(len(results))

    def draw(result: SliceResult) -> bytes:
        barrier.wait(60)
        return joined(png.encode(result, 300))

    with ThreadPoolExecutor(len(results)) as pool:
        assert list(pool.map(draw, results)) == alone


INDEXES = {
    "start": ("4:7,:", (3, 5), [4, 5, 6], [0, 1, 2, 3, 4]),
    "step": ("1:6:2,2:4", (3, 2), [1, 3, 5], [2, 3]),
    "list": ("[7,2,9],:", (3, 2), [7, 2, 9], [0, 1]),
    "row": ("3", (2,), [0], [0, 1]),
    "column": (":,3", (2,), [0, 1], [0]),
    "ellipsis": ("...,5:7", (1, 2), [0], [5, 6]),
    "from-the-end": ("-2:,::-1", (2, 3), [0, 1], [0, 1, 2]),
    "of-a-sample": ("0,2:4,:", (2, 2), [2, 3], [0, 1]),
    "list-beside-integer": ("0,:,[4,9]", (2, 3), [4, 9], [0, 1, 2]),
}


@pytest.mark.parametrize(("index", "shape", "rows", "columns"), INDEXES.values(), ids=INDEXES)
def test_rows_and_columns_bear_the_numbers_of_the_block(
    index: str, shape: tuple[int, ...], rows: list[int], columns: list[int]
) -> None:
    _, *found = png.axes(slice_of(np.ones(shape), index))
    assert [list(axis.numbers) for axis in found] == [rows, columns]


@pytest.mark.parametrize(
    ("index", "shape", "titles"),
    [
        pytest.param(":", (2, 3), ["", "elements of y", "elements of x"], id="matrix"),
        pytest.param("...", (2, 3, 4), ["samples", "elements of y", "elements of x"], id="samples"),
        pytest.param(":,0", (2, 3), ["", "samples", "elements of x"], id="a-row-of-each-sample"),
        pytest.param("-2:", (2, 3), ["", "elements of y, as in the slice", "elements of x"], id="from-the-end"),
        pytest.param(":", (2,), ["", "", "elements"], id="vector"),
    ],
)
def test_axes_say_what_they_are(index: str, shape: tuple[int, ...], titles: list[str]) -> None:
    assert [axis.title for axis in png.axes(slice_of(np.ones(shape), index))] == titles


# --- over HTTP -------------------------------------------------------------------------------------------------------

TYPES = {
    "arrow": (ARROW, read_arrow),
    "csv": ("text/csv", lambda content: np.array(read_csv(content), float)),
    "npy": ("application/x-npy", lambda content: np.load(io.BytesIO(content))),
}


@pytest.mark.parametrize(("media_type", "read"), TYPES.values(), ids=TYPES)
def test_a_slice_is_the_same_in_every_type(
    client: httpx.Client, linear: dict[str, Any], media_type: str, read: Any
) -> None:
    path = f"/v1/sessions/{linear['id']}/jacobian"
    answer = client.get(path, params={"y": "y", "x": "x", "index": "1:"}, headers={"Accept": media_type})
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"].partition(";")[0] == media_type
    assert answer.headers["jacobian-shape"] == "2,2"
    assert int(answer.headers["content-length"]) == len(answer.content)
    np.testing.assert_array_equal(read(answer.content), [[3.0, 4.0], [5.0, 6.0]])


def test_a_picture_of_a_slice(client: httpx.Client, linear: dict[str, Any]) -> None:
    path = f"/v1/sessions/{linear['id']}/jacobian"
    answer = client.get(path, params={"y": "y", "x": "x"}, headers={"Accept": "image/png"})
    assert answer.headers["content-type"] == "image/png"
    assert image.imread(io.BytesIO(answer.content)).shape[1] == 800


def test_batches_have_no_csv(client: httpx.Client, open_session: OpenSession) -> None:
    session = open_session(
        {
            "graph": {"format": "expression", "outputs": {"y": "x**2"}},
            "inputs": {"x": [[1.0, 2.0], [3.0, 4.0]]},
            "batch_axis": 0,
        }
    )
    path = f"/v1/sessions/{session['id']}/jacobian"
    answer = client.get(path, headers={"Accept": "text/csv"})
    assert answer.status_code == 406
    assert "index one sample" in answer.json()["detail"]
    one = client.get(path, params={"index": "1"}, headers={"Accept": "text/csv"})
    assert one.text == "6.0,0.0\r\n0.0,8.0\r\n"
