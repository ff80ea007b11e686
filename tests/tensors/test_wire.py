import base64
import json
import math

import ml_dtypes
import numpy as np
import orjson
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from service import errors
from service.tensors.dtypes import DTYPES, NAMES
from service.tensors.wire import cast, decode, encode, members, settle

LIMITS = {"elements": 1000, "rank": 4}


def read(value):
    return decode(value, "/inputs/x", **LIMITS)


def text_of(array):
    return base64.b64encode(array.tobytes()).decode()


def refusal(call):
    with pytest.raises(errors.Problem) as caught:
        call()
    (fault,) = caught.value.faults
    assert fault.detail == caught.value.detail
    return caught.value, fault.pointer


# --- what is read ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "array"),
    [
        pytest.param(1.5, np.array(1.5), id="number"),
        pytest.param(3, np.array(3), id="integer"),
        pytest.param(True, np.array(True), id="boolean"),
        pytest.param([], np.zeros(0), id="empty"),
        pytest.param([[], []], np.zeros((2, 0)), id="empty-rows"),
        pytest.param([1, 2.5], np.array([1, 2.5]), id="integers-among-floats"),
        pytest.param([[1, 2], [3, 4]], np.array([[1, 2], [3, 4]]), id="nested"),
        pytest.param([[[True]], [[False]]], np.array([[[True]], [[False]]]), id="nested-booleans"),
        pytest.param(["NaN", 1, "-Infinity"], np.array([math.nan, 1, -math.inf]), id="not-finite"),
        pytest.param([["Infinity"], [0.0]], np.array([[math.inf], [0]]), id="not-finite-nested"),
        pytest.param([2**64], np.array([2.0**64]), id="beyond-int64"),
        pytest.param({"data": [1, 2]}, np.array([1, 2]), id="object-without-dtype"),
        pytest.param({"data": [1, 2], "shape": [2, 1]}, np.array([[1], [2]]), id="object-with-shape"),
        pytest.param({"data": [5], "shape": []}, np.array(5), id="object-0-d"),
        pytest.param({"data": [], "shape": [0, 3]}, np.zeros((0, 3)), id="object-empty"),
    ],
)
def test_bare_numbers_are_untyped(value, array):
    tensor = read(value)
    assert not tensor.typed
    assert tensor.array.dtype == array.dtype
    np.testing.assert_array_equal(tensor.array, array, strict=True)


@pytest.mark.parametrize("name", NAMES)
def test_data_and_base64_say_the_same(name):
    dtype = DTYPES[name].numpy
    array = np.array([[0, 1, 1], [1, 0, 0]]).astype(dtype)
    by_data = read({"dtype": name, "shape": [2, 3], "data": [0, 1, 1, 1, 0, 0]})
    by_bytes = read({"dtype": name, "shape": [2, 3], "base64": text_of(array)})
    for tensor in (by_data, by_bytes):
        assert tensor.typed
        assert tensor.array.dtype == dtype
        np.testing.assert_array_equal(tensor.array, array)
    flat = read({"dtype": name, "base64": text_of(array)})
    assert flat.array.shape == (6,)


def test_base64_holds_what_is_not_finite():
    array = np.array([math.nan, math.inf, -0.0])
    assert read({"dtype": "float64", "base64": text_of(array)}).array.tobytes() == array.tobytes()


@pytest.mark.parametrize("value", [2**63 - 1, -(2**63), 2**53 + 1], ids=str)
def test_integers_keep_their_value(value):
    assert settle(read([value]), "int64", "/x").tolist() == [value]
    assert read({"dtype": "int64", "data": [value]}).array.tolist() == [value]


# --- what is refused -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "problem", "pointer", "told"),
    [
        pytest.param(None, errors.InvalidRequest, "", "null is no number", id="null"),
        pytest.param("abc", errors.InvalidRequest, "", "'abc' is no number", id="word"),
        pytest.param([0, None], errors.InvalidRequest, "/1", "null is no number", id="null-in-list"),
        pytest.param([0, {}], errors.InvalidRequest, "/1", "an object is no number", id="object-in-list"),
        pytest.param([0, "1.5"], errors.InvalidRequest, "/1", "'1.5' is no number", id="number-in-quotes"),
        pytest.param(["NaN", "nan"], errors.InvalidRequest, "/1", "'nan' is no number", id="lower-case-nan"),
        pytest.param([[0, 1], [2, "x" * 99]], errors.InvalidRequest, "/1/1", "xxx...' is no number", id="long-word"),
        pytest.param([0, math.nan], errors.InvalidRequest, "/1", "not finite", id="nan-token"),
        pytest.param(["NaN", math.inf], errors.InvalidRequest, "/1", "not finite", id="infinity-token"),
        pytest.param([10**400], errors.InvalidRequest, "/0", "not finite", id="enormous-integer"),
        pytest.param([1, True], errors.InvalidRequest, "/1", "do not mix", id="boolean-among-numbers"),
        pytest.param([True, 0.5], errors.InvalidRequest, "/1", "do not mix", id="number-among-booleans"),
        pytest.param(
            [[1, 2], [3]], errors.ShapeMismatch, "/1", "a list of 1, in the first place a list of 2", id="ragged"
        ),
        pytest.param([[1], 2], errors.ShapeMismatch, "/1", "here stands 2", id="number-among-lists"),
        pytest.param([1, [2]], errors.ShapeMismatch, "/1", "a list of 1 where a number", id="list-among-numbers"),
        pytest.param([[[1], [2]], [[3], [4, 5]]], errors.ShapeMismatch, "/1/1", "a list of 2", id="ragged-deep"),
        pytest.param([[[[[1]]]]], errors.TooLarge, "", "more than 4 deep", id="too-deep"),
        pytest.param([0] * 1001, errors.TooLarge, "", "the limit is 1000", id="too-long"),
        pytest.param([[0] * 101] * 10, errors.TooLarge, "", "the limit is 1000", id="too-many"),
        pytest.param({}, errors.InvalidRequest, "", "either data or base64", id="object-empty"),
        pytest.param({"data": [], "base64": ""}, errors.InvalidRequest, "", "either data or base64", id="object-both"),
        pytest.param(
            {"data": [1], "a/b~": 1}, errors.InvalidRequest, "/a~1b~0", "no member 'a/b~'", id="unknown-member"
        ),
        pytest.param({"data": [0, "x"]}, errors.InvalidRequest, "/data/1", "'x' is no number", id="word-in-data"),
        pytest.param({"data": [0, math.inf]}, errors.InvalidRequest, "/data/1", "not finite", id="infinity-in-data"),
        pytest.param({"data": [[1]]}, errors.ShapeMismatch, "/data/0", "a list of 1 where", id="data-nested"),
        pytest.param({"data": 1}, errors.InvalidRequest, "/data", "a flat list", id="data-number"),
        pytest.param({"data": None}, errors.InvalidRequest, "/data", "a flat list", id="data-null"),
        pytest.param({"data": [0] * 1001}, errors.TooLarge, "/data", "the limit is 1000", id="data-too-long"),
        pytest.param(
            {"data": [1], "dtype": "float"}, errors.InvalidRequest, "/dtype", "use one of float16", id="dtype"
        ),
        pytest.param(
            {"data": [1], "dtype": None}, errors.InvalidRequest, "/dtype", "null is not a dtype", id="dtype-null"
        ),
        pytest.param(
            {"data": [1], "shape": 1}, errors.InvalidRequest, "/shape", "a list of integers", id="shape-number"
        ),
        pytest.param(
            {"data": [1], "shape": [1, -1]}, errors.InvalidRequest, "/shape/1", "-1 is not a size", id="negative"
        ),
        pytest.param(
            {"data": [1], "shape": [True]}, errors.InvalidRequest, "/shape/0", "true is not a size", id="boolean"
        ),
        pytest.param(
            {"data": [1], "shape": [1.0]}, errors.InvalidRequest, "/shape/0", "1.0 is not a size", id="fraction"
        ),
        pytest.param(
            {"data": [], "shape": [0, 2**62]}, errors.TooLarge, "/shape/1", "the limit is 1000", id="huge-axis"
        ),
        pytest.param({"data": [], "shape": [500, 500]}, errors.TooLarge, "/shape", "250000 elements", id="huge-shape"),
        pytest.param(
            {"data": [], "shape": [1] * 5}, errors.TooLarge, "/shape", "5 axes; the limit is 4", id="many-axes"
        ),
        pytest.param(
            {"data": [1, 2], "shape": [3]}, errors.ShapeMismatch, "/shape", "3 elements, data has 2", id="shape-data"
        ),
        pytest.param({"base64": ""}, errors.InvalidRequest, "", "base64 needs a dtype", id="base64-untyped"),
        pytest.param({"dtype": "int8", "base64": [1]}, errors.InvalidRequest, "/base64", "a string", id="base64-list"),
        pytest.param(
            {"dtype": "int8", "base64": "A"}, errors.InvalidRequest, "/base64", "not base64", id="base64-short"
        ),
        pytest.param(
            {"dtype": "int8", "base64": "AA"}, errors.InvalidRequest, "/base64", "not base64", id="base64-unpadded"
        ),
        pytest.param(
            {"dtype": "int8", "base64": "A A="}, errors.InvalidRequest, "/base64", "not base64", id="base64-blank"
        ),
        pytest.param(
            {"dtype": "int8", "base64": "A-_="}, errors.InvalidRequest, "/base64", "not base64", id="base64-url"
        ),
        pytest.param(
            {"dtype": "int8", "base64": "äöü="}, errors.InvalidRequest, "/base64", "not base64", id="base64-umlaut"
        ),
        pytest.param(
            {"dtype": "float32", "base64": "AAAA"}, errors.ShapeMismatch, "/base64", "3 bytes", id="base64-part"
        ),
        pytest.param(
            {"dtype": "int8", "base64": "A" * 1400}, errors.TooLarge, "/base64", "1000 elements", id="base64-long"
        ),
        pytest.param(
            {"dtype": "int8", "base64": "AAAA", "shape": [2]},
            errors.ShapeMismatch,
            "/shape",
            "base64 has 3",
            id="base64-shape",
        ),
        pytest.param(
            {"dtype": "int8", "base64": "AAAAAAAA", "shape": [2]},
            errors.ShapeMismatch,
            "/shape",
            "more bytes",
            id="base64-more",
        ),
        pytest.param(
            {"dtype": "bool", "base64": "Ag=="}, errors.InvalidRequest, "/base64", "0 and 1", id="base64-bool"
        ),
    ],
)
def test_refuses_with_the_place(value, problem, pointer, told):
    caught, where = refusal(lambda: read(value))
    assert type(caught) is problem
    assert where == "/inputs/x" + pointer
    assert told in caught.detail


@pytest.mark.parametrize(
    ("dtype", "data", "at", "told"),
    [
        pytest.param("int8", [127, 128], 1, "128 does not fit int8, which holds integers from -128 to 127", id="above"),
        pytest.param("uint8", [0, -1], 1, "-1 does not fit uint8", id="below"),
        pytest.param("int32", [0.0, 0.5], 1, "0.5 does not fit int32", id="fraction"),
        pytest.param("int64", ["NaN"], 0, "nan does not fit int64", id="nan-for-an-integer"),
        pytest.param("int64", ["Infinity"], 0, "inf does not fit int64", id="infinity-for-an-integer"),
        pytest.param("int64", [2**63], 0, "does not fit int64", id="beyond-int64"),
        pytest.param("int64", [1e17], 0, "beyond 2**53", id="float-too-large-to-be-exact"),
        pytest.param("bool", [1, 2], 1, "2 does not fit bool", id="two-for-a-boolean"),
        pytest.param("bool", [0.5], 0, "0.5 does not fit bool", id="fraction-for-a-boolean"),
        pytest.param("float16", [65504, 65536], 1, "65536 does not fit float16", id="float16"),
        pytest.param("float32", [1e300], 0, "1e+300 does not fit float32", id="float32"),
        pytest.param("bfloat16", [3.4e38], 0, "does not fit bfloat16", id="bfloat16"),
        pytest.param("float64", [True], None, "booleans are no float64", id="booleans-for-floats"),
        pytest.param("int8", [True], None, "booleans are no int8", id="booleans-for-integers"),
    ],
)
def test_numbers_must_fit_the_dtype(dtype, data, at, told):
    for call, pointer in (
        (lambda: read({"dtype": dtype, "data": data}), "/inputs/x" + ("" if at is None else f"/data/{at}")),
        (lambda: settle(read({"data": data}), dtype, "/inputs/x"), "/inputs/x" + ("" if at is None else f"/data/{at}")),
        (lambda: settle(read([data]), dtype, "/inputs/x"), "/inputs/x" + ("" if at is None else f"/0/{at}")),
    ):
        caught, where = refusal(call)
        assert isinstance(caught, errors.InvalidRequest)
        assert told in caught.detail
        assert where == pointer


# --- what a tensor meets ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_bare_numbers_take_the_dtype_they_meet(name):
    array = settle(read([[0, 1], [1, 0]]), name, "/x")
    assert array.dtype == DTYPES[name].numpy
    assert array.flags.c_contiguous
    np.testing.assert_array_equal(array.astype(int), [[0, 1], [1, 0]])
    assert settle(read(1), name, "/x").shape == ()
    assert settle(read([]), name, "/x").shape == (0,)


def test_a_typed_tensor_keeps_its_dtype():
    tensor = read({"dtype": "float32", "data": [1]})
    assert settle(tensor, "float32", "/x").dtype == np.float32
    caught, where = refusal(lambda: settle(tensor, "float64", "/x"))
    assert caught.detail == "the tensor is float32; float64 is wanted here"
    assert where == "/x/dtype"


def test_a_typed_tensor_can_be_cast():
    tensor = read({"dtype": "float64", "base64": text_of(np.array([0.1, math.nan, -math.inf, 1e-300]))})
    np.testing.assert_array_equal(cast(tensor, "float32", "/x"), np.array([0.1, math.nan, -math.inf, 0], np.float32))
    _, where = refusal(lambda: cast(tensor, "int8", "/x"))
    assert where == "/x/base64"
    assert cast(read({"dtype": "bfloat16", "data": [2]}), "int8", "/x").tolist() == [2]


# --- writing ---------------------------------------------------------------------------------------------------------


def arrays():
    names = st.sampled_from([n for n in NAMES if n != "bfloat16"])
    return names.flatmap(lambda n: hnp.arrays(DTYPES[n].numpy, hnp.array_shapes(min_dims=0, max_dims=3, min_side=0)))


@given(arrays(), st.booleans())
@example(np.array(math.nan), False)
@example(np.array([[math.nan, 1.0], [math.inf, -math.inf]], np.float16), False)
@example(np.full(300, 60000, np.float16), False)
@example(np.array([1e308, 1e308]), False)
@settings(max_examples=100, deadline=None)
def test_what_is_written_reads_back(array, as_base64):
    tensor = read(orjson.loads(encode(array, as_base64)))
    assert tensor.typed
    np.testing.assert_array_equal(tensor.array, array, strict=True)


@given(hnp.arrays(np.float32, hnp.array_shapes(max_dims=2)), st.booleans())
@settings(max_examples=50, deadline=None)
def test_bfloat16_reads_back(array, as_base64):
    with np.errstate(all="ignore"):
        array = array.astype(ml_dtypes.bfloat16)
    tensor = read(orjson.loads(encode(array, as_base64)))
    np.testing.assert_array_equal(tensor.array.astype(float), array.astype(float))


@pytest.mark.parametrize(
    ("array", "text"),
    [
        pytest.param(np.array(0.1), '{"dtype":"float64","shape":[],"data":[0.1]}', id="0-d"),
        pytest.param(np.array([0.1], np.float32), '{"dtype":"float32","shape":[1],"data":[0.1]}', id="float32"),
        pytest.param(np.array([True, False]), '{"dtype":"bool","shape":[2],"data":[true,false]}', id="bool"),
        pytest.param(np.zeros((2, 0), np.int8), '{"dtype":"int8","shape":[2,0],"data":[]}', id="empty"),
        pytest.param(
            np.array([math.nan, math.inf, -math.inf, 0]),
            '{"dtype":"float64","shape":[4],"data":["NaN","Infinity","-Infinity",0.0]}',
            id="not-finite",
        ),
        pytest.param(
            np.arange(6).reshape(2, 3).T, '{"dtype":"int64","shape":[3,2],"data":[0,3,1,4,2,5]}', id="strided"
        ),
    ],
)
def test_the_text_of_a_tensor(array, text):
    assert encode(array, base64=False).decode() == text
    assert b"{" + members(array, base64=False) + b"}" == encode(array, base64=False)
    by_bytes = json.loads(encode(array, base64=True))
    assert by_bytes["base64"] == text_of(array)
    assert list(by_bytes) == ["dtype", "shape", "base64"]


def test_a_large_flat_list_is_read_to_the_last_bit():
    numbers = np.random.default_rng(0).normal(size=200_000)
    tensor = decode(numbers.tolist(), "/x", elements=10**6, rank=1)
    assert tensor.array.tobytes() == numbers.tobytes()


@pytest.mark.parametrize("at", [3, 65_533, 65_535, 65_536], ids=str)
def test_padding_stands_only_at_the_end(at):
    text = text_of(np.zeros(20_000))
    padded = text[: at - at % 4] + "AA==" + text[at - at % 4 + 4 :]
    _, pointer = refusal(lambda: decode({"dtype": "uint8", "base64": padded}, "/x", elements=10**6, rank=1))
    assert pointer == "/x/base64"


def test_large_arrays_are_written_and_read_in_pieces():
    array = np.random.default_rng(0).standard_normal(50_000)
    array[[0, 16_383, 16_384, -1]] = math.nan, math.inf, -math.inf, 0
    value = json.loads(encode(array, base64=False))
    assert value["data"][:1] + value["data"][16_383:16_385] == ["NaN", "Infinity", "-Infinity"]
    by_bytes = json.loads(encode(array, base64=True))
    assert by_bytes["base64"] == text_of(array)
    nested = [value["data"][start : start + 500] for start in range(0, 50_000, 500)]
    for given_value in (value, by_bytes, value["data"], nested):
        found = decode(given_value, "/x", elements=50_000, rank=2).array
        np.testing.assert_array_equal(found.reshape(-1), array)
