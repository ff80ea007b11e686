import io
import pickle
import struct
import zipfile

import ml_dtypes
import numpy as np
import orjson
import pytest
import safetensors.numpy
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from service import errors
from service.tensors.dtypes import DTYPES
from service.tensors.files import npy, npy_header, read_arrays
from service.tensors.files import safetensors as safetensors_file

HELD = [d.numpy for d in DTYPES.values() if d.name != "bfloat16"]
LIMITS = {"elements": 1000, "rank": 4, "total": 8000}

NAMES = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=8).filter(
    lambda name: name != "__metadata__"
)


def arrays_of(dtypes):
    shapes = hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4)
    return st.dictionaries(NAMES, hnp.arrays(st.sampled_from(dtypes), shapes), max_size=4)


def read(content):
    return read_arrays(io.BytesIO(content), "/inputs", **LIMITS)


def npz(arrays, save=np.savez):
    file = io.BytesIO()
    save(file, **arrays)
    return file.getvalue()


def zip_of(members, **options):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", **options) as archive:
        for name, content in members:
            archive.writestr(name, content)
    return file.getvalue()


def npy_file(array):
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


def tensors_file(header, content=b""):
    text = header if isinstance(header, bytes) else orjson.dumps(header)
    return len(text).to_bytes(8, "little") + text + content


def check_read(content, arrays):
    found = read(content)
    assert found.keys() == arrays.keys()
    for name, array in arrays.items():
        assert found[name].typed
        wanted = array.astype(array.dtype.newbyteorder("<"))
        np.testing.assert_array_equal(found[name].array, wanted, strict=True)


def check_refused(content, problem, pointer, words):
    with pytest.raises(problem, match=words) as caught:
        read(content)
    assert [fault.pointer for fault in caught.value.faults] == [pointer]


# --- what is written -------------------------------------------------------------------------------------------------


@given(hnp.arrays(st.sampled_from(HELD), hnp.array_shapes(min_dims=0, max_dims=4, min_side=0)), st.booleans())
@settings(max_examples=100, deadline=None)
def test_the_file_is_that_of_numpy(array, transposed):
    array = array.T if transposed else array
    file = b"".join(npy(array))
    numpys = io.BytesIO()
    np.save(numpys, np.array(array, order="C"))
    assert file == numpys.getvalue()
    np.testing.assert_array_equal(np.load(io.BytesIO(file)), array, strict=True)


@pytest.mark.parametrize("dtype", HELD, ids=str)
def test_the_bytes_begin_at_a_multiple_of_64(dtype):
    for size in range(0, 10**6, 99_991):
        assert len(npy_header(dtype, (size,) * 5)) % 64 == 0


def test_a_contiguous_array_is_not_copied():
    array = np.zeros((3, 4))
    assert np.shares_memory(np.frombuffer(npy(array)[1]), array)


def test_bfloat16_has_no_file():
    with pytest.raises(errors.NotAcceptable, match="cannot hold bfloat16"):
        npy(np.zeros(2, ml_dtypes.bfloat16))


@given(arrays_of(HELD))
@settings(max_examples=60, deadline=None)
def test_safetensors_are_read_by_their_own_library(arrays):
    found = safetensors.numpy.load(b"".join(safetensors_file(arrays, {"revision": "3"})))
    assert found.keys() == arrays.keys()
    for name, array in arrays.items():
        np.testing.assert_array_equal(found[name], array, strict=True)


def test_safetensors_say_what_they_are_and_copy_nothing():
    array = np.arange(6, dtype=ml_dtypes.bfloat16).reshape(2, 3)
    head, content = safetensors_file({"x": array}, {"revision": "3"})
    ((name, tensor),) = safetensors.deserialize(head + bytes(content))
    assert (name, tensor["dtype"], tensor["shape"]) == ("x", "BF16", [2, 3])
    assert b'"__metadata__":{"revision":"3"}' in head
    assert len(head) % 8 == 0
    assert np.shares_memory(np.frombuffer(content, np.uint8), array.view(np.uint8))


# --- what is read ----------------------------------------------------------------------------------------------------


@given(arrays_of(HELD))
@settings(max_examples=60, deadline=None)
def test_safetensors_of_their_own_library_are_read(arrays):
    check_read(safetensors.numpy.save(arrays, {"of": "a test"}), arrays)


@given(
    arrays_of([*HELD, np.dtype(">f8"), np.dtype(">i2")]),
    st.sampled_from([np.savez, np.savez_compressed]),
    st.booleans(),
)
@settings(max_examples=60, deadline=None)
def test_npz_files_of_numpy_are_read(arrays, save, transposed):
    named = {f"{i}/a.b": array.T if transposed else array for i, array in enumerate(arrays.values())}
    check_read(npz(named, save), named)


def test_bfloat16_is_read_from_safetensors():
    array = np.array([1.5, -2, np.nan], ml_dtypes.bfloat16)
    found = read(b"".join(safetensors_file({"x": array}, {})))["x"].array
    assert found.dtype == array.dtype
    assert found.tobytes() == array.tobytes()


# --- what is refused -------------------------------------------------------------------------------------------------

VALUES = np.arange(4.0)
ENTRY = {"dtype": "F64", "shape": [4], "data_offsets": [0, 32]}


def entry(**members):
    return tensors_file({"a/b": {**ENTRY, **members}}, VALUES.tobytes())


with pytest.warns(UserWarning, match="Duplicate name"):
    TWICE = zip_of([("x.npy", npy_file(VALUES))] * 2)


class Trap:
    """What must never be unpickled."""

    def __reduce__(self):
        return pytest.fail, ("it was unpickled",)


def test_the_plain_entry_is_read():
    np.testing.assert_array_equal(read(entry())["a/b"].array, VALUES)


@pytest.mark.parametrize(
    ("content", "problem", "pointer", "words"),
    [
        pytest.param(b"", errors.InvalidRequest, "/inputs", "neither a safetensors nor", id="nothing"),
        pytest.param(b"PK", errors.InvalidRequest, "/inputs", "neither", id="two-letters"),
        pytest.param(npy_file(VALUES), errors.InvalidRequest, "/inputs", "neither", id="npy"),
        pytest.param(pickle.dumps({"x": [1.0]}), errors.InvalidRequest, "/inputs", "neither", id="pickle"),
        pytest.param(tensors_file(b"{"), errors.InvalidRequest, "/inputs", "not JSON", id="header-not-json"),
        pytest.param(tensors_file({"x": 1}), errors.InvalidRequest, "/inputs/x", "an object", id="entry-not-object"),
        pytest.param(
            struct.pack("<Q", 2**62) + b"{}", errors.TooLarge, "/inputs", "header has", id="header-of-exabytes"
        ),
        pytest.param(entry(dtype="U16"), errors.InvalidRequest, "/inputs/a~1b", "U16; use one of", id="uint16"),
        pytest.param(entry(dtype=None), errors.InvalidRequest, "/inputs/a~1b", "use one of", id="no-dtype"),
        pytest.param(entry(shape=[5]), errors.InvalidRequest, "/inputs/a~1b", "takes 40 bytes", id="shape-lies"),
        pytest.param(
            entry(shape=[2**40]), errors.TooLarge, "/inputs/a~1b/shape/0", "the limit is 1000", id="shape-huge"
        ),
        pytest.param(
            entry(shape=[-4]), errors.InvalidRequest, "/inputs/a~1b/shape/0", "sizes are", id="shape-negative"
        ),
        pytest.param(entry(shape=[1] * 5), errors.TooLarge, "/inputs/a~1b/shape", "axes", id="shape-deep"),
        pytest.param(
            entry(data_offsets=[8, 40]), errors.InvalidRequest, "/inputs/a~1b", "8 to 40", id="beyond-the-end"
        ),
        pytest.param(entry(data_offsets=[0]), errors.InvalidRequest, "/inputs/a~1b", "data_offsets", id="one-offset"),
        pytest.param(entry() + b"more", errors.InvalidRequest, "/inputs", "4 bytes belong", id="bytes-left-over"),
        pytest.param(entry()[:-1], errors.InvalidRequest, "/inputs/a~1b", "of 31", id="cut-off"),
        pytest.param(
            tensors_file({"x": ENTRY, "y": ENTRY}, VALUES.tobytes()),
            errors.InvalidRequest,
            "/inputs/y",
            "from 32 on",
            id="overlap",
        ),
        pytest.param(
            tensors_file({"x": {"dtype": "BOOL", "shape": [1], "data_offsets": [0, 1]}}, b"\2"),
            errors.InvalidRequest,
            "/inputs/x",
            "bool are 0 and 1",
            id="bool-of-2",
        ),
        pytest.param(
            b"".join(safetensors_file({"x": np.zeros(600), "y": np.zeros(600)}, {})),
            errors.TooLarge,
            "/inputs/y",
            "8000 bytes together",
            id="too-many-bytes",
        ),
        pytest.param(npz({"x": VALUES})[:-9], errors.InvalidRequest, "/inputs", "cut off", id="npz-cut-off"),
        pytest.param(npz({"x": np.array([Trap()])}), errors.InvalidRequest, "/inputs/x", "dtype is", id="npz-pickle"),
        pytest.param(npz({"x": np.zeros(2, "c16")}), errors.InvalidRequest, "/inputs/x", "<c16", id="npz-complex"),
        pytest.param(npz({"x": np.zeros(2, "U3")}), errors.InvalidRequest, "/inputs/x", "<U3", id="npz-text"),
        pytest.param(npz({"x": np.zeros(2, "f4,i4")}), errors.InvalidRequest, "/inputs/x", "dtype", id="npz-structure"),
        pytest.param(
            npz({"x": np.zeros(2, ml_dtypes.bfloat16)}), errors.InvalidRequest, "/inputs/x", "V2", id="npz-bfloat16"
        ),
        pytest.param(
            npz({"x": np.zeros(10**6)}, np.savez_compressed),
            errors.TooLarge,
            "/inputs/x/shape/0",
            "the limit is 1000",
            id="npz-bomb",
        ),
        pytest.param(
            npz({"x": np.zeros(600), "y": np.zeros(600)}, np.savez_compressed),
            errors.TooLarge,
            "/inputs/y",
            "8000 bytes together",
            id="npz-bombs",
        ),
        pytest.param(
            zip_of([("x.npy", npy_file(VALUES)[:-8])]), errors.InvalidRequest, "/inputs/x", "takes 32", id="npz-short"
        ),
        pytest.param(
            zip_of([("x.npy", npy_file(VALUES) + bytes(10**6))], compression=zipfile.ZIP_DEFLATED),
            errors.InvalidRequest,
            "/inputs/x",
            "takes 32",
            id="npz-bomb-behind",
        ),
        pytest.param(
            TWICE,
            errors.InvalidRequest,
            "/inputs/x",
            "once",
            id="npz-twice",
        ),
        pytest.param(zip_of([("x.txt", b"1")]), errors.InvalidRequest, "/inputs/x.txt", "end with", id="npz-text-file"),
        pytest.param(zip_of([("x.npy", b"1")]), errors.InvalidRequest, "/inputs/x", "damaged", id="npz-no-npy"),
        pytest.param(
            zip_of([("x.npy", npy_file(VALUES))], compression=zipfile.ZIP_LZMA),
            errors.InvalidRequest,
            "/inputs/x",
            "stored or deflated",
            id="npz-lzma",
        ),
        pytest.param(
            zip_of([("x.npy", b"\x93NUMPY\2\0" + struct.pack("<I", 2**31))]),
            errors.InvalidRequest,
            "/inputs/x",
            "version 1.0",
            id="npz-header-of-gigabytes",
        ),
        pytest.param(
            zip_of([(f"{i:0100}.npy", b"") for i in range(8000)]), errors.TooLarge, "/inputs", "contents", id="npz-many"
        ),
        pytest.param(
            npz({"x": VALUES}).replace(npy_file(VALUES)[-8:], npy_file(VALUES)[-16:-8]),
            errors.InvalidRequest,
            "/inputs/x",
            "damaged: Bad CRC",
            id="npz-checksum",
        ),
    ],
)
def test_what_cannot_be_read_is_refused_with_its_place(content, problem, pointer, words):
    check_refused(content, problem, pointer, words)


FILES = {
    "safetensors": b"".join(safetensors_file({"x": VALUES, "b/y": np.array([[True, False]])}, {"revision": "3"})),
    "npz": npz({"x": VALUES, "b/y": np.array([[True, False]])}),
    "deflated": npz({"x": VALUES, "b/y": np.zeros((2, 9), ">i4")}, np.savez_compressed),
}


def check_never_fails(content):
    """A problem with a place below the inputs, or arrays within the limits."""
    problem, found = None, {}
    try:
        found = read(content)
    except errors.Problem as raised:
        problem = raised
    if problem is not None:
        assert type(problem) in {errors.InvalidRequest, errors.TooLarge}
        assert all(fault.pointer.startswith("/inputs") for fault in problem.faults)
    assert sum(given.array.nbytes for given in found.values()) <= LIMITS["total"]
    assert all(given.typed and given.array.dtype in HELD for given in found.values())


@pytest.mark.parametrize("file", FILES.values(), ids=FILES)
@given(data=st.data())
@settings(max_examples=60, deadline=None)
def test_damaged_files_are_refused_or_read(file, data):
    content = bytearray(file)
    for _ in range(data.draw(st.integers(1, 3))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    check_never_fails(bytes(content))


@pytest.mark.parametrize("file", FILES.values(), ids=FILES)
def test_files_that_are_cut_off_are_refused(file):
    for length in range(len(file)):
        with pytest.raises(errors.Problem):
            read(file[:length])


@given(st.binary(max_size=200), st.sampled_from([b"", b"PK\3\4", b"PK\5\6", b"\x20" + bytes(7) + b"{"]))
@settings(max_examples=100, deadline=None)
def test_noise_is_refused_or_read(noise, start):
    check_never_fails(start + noise)
