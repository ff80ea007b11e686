import io

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from service import errors
from service.tensors.dtypes import DTYPES
from service.tensors.files import npy, npy_header

HELD = [d.numpy for d in DTYPES.values() if d.name != "bfloat16"]


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
