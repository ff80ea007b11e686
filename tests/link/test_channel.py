"""Messages and arrays come out of a stream as they went in, however it is cut."""

import asyncio
import socket

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as st_numpy

from service.link import codec, messages
from service.link.channel import FrameReader, ServerChannel, WorkerChannel
from service.tensors.dtypes import DTYPES

POINT = messages.Point("sha256:a", "b")
FUNCTION = messages.Function("y", ("a", "b"), "a", 0)
INFO = messages.GraphInfo(
    "sha256:a",
    21,
    (messages.ValueInfo("x", None, None), messages.ValueInfo("z", "float32", (1, "B", None), True)),
    (),
    {"MatMul": 1},
)
MESSAGES = [
    messages.Compile({"format": "onnx", "model": b"\x00"}, messages.SessionNames(("y",), ("x",), ("x", "e"))),
    messages.Open(messages.Question(POINT, messages.Content(b"model", ("x",)))),
    messages.Rows(messages.Question(POINT), FUNCTION, (0, 5)),
    messages.Values(messages.Question(POINT), ("y",)),
    messages.Product(messages.Question(POINT), ("y",), ("x",), (), ("x",), True),
    messages.Check(messages.Question(POINT), ("y",), ("x",), ("x",), ("y",)),
    messages.Cancel(7),
    messages.Ready("cuda:0"),
    messages.Beat(),
    messages.Compiled(b"model", INFO),
    messages.Opened((messages.ValueInfo("y", "float64", ()),), True),
    messages.RowsPart((0, 5), True, 0.5, 0.25),
    messages.Checked(1e-16),
    messages.Done(("y",), 0.5),
    messages.Missing(),
    messages.Refused("invalid-graph", "why", (("/nodes/0", "there"),)),
]

ARRAYS = st.lists(
    st.sampled_from([d.numpy for d in DTYPES.values() if d.name != "bfloat16"]).flatmap(
        lambda dtype: st_numpy.arrays(dtype, st_numpy.array_shapes(min_dims=0, min_side=0, max_side=4))
    ),
    max_size=3,
)


@given(
    sent=st.lists(st.tuples(st.integers(0, 2**32 - 1), st.sampled_from(MESSAGES), ARRAYS), min_size=1, max_size=4),
    cut=st.integers(1, 50),
)
def test_frames_come_out_as_they_went_in(sent, cut):
    stream = b"".join(bytes(piece) for frame in sent for piece in codec.encode(*frame))
    reader = FrameReader()
    got = [frame for i in range(0, len(stream), cut) for frame in reader.feed(stream[i : i + cut])]
    assert [(r, m) for r, m, _ in got] == [(r, m) for r, m, _ in sent]
    for (_, _, a), (_, _, b) in zip(got, sent, strict=True):
        for x, y in zip(a, b, strict=True):
            assert x.dtype == y.dtype
            np.testing.assert_array_equal(x, y)


def test_bfloat16_and_strided_arrays():
    bfloat16 = np.arange(6).astype(DTYPES["bfloat16"].numpy).reshape(2, 3)
    arrays = [bfloat16.T, np.arange(9.0)[::-2]]
    stream = b"".join(bytes(p) for p in codec.encode(1, messages.Done(("a", "b"), 0.5), arrays))
    ((_, _, (a, b)),) = FrameReader().feed(stream)
    np.testing.assert_array_equal(a.astype(float), bfloat16.T.astype(float))
    np.testing.assert_array_equal(b, [8, 6, 4, 2, 0])


async def test_a_large_array_goes_both_ways_and_the_end_is_noticed():
    ours, theirs = socket.socketpair()
    got = asyncio.Queue()
    closed = asyncio.Event()
    server = ServerChannel(ours, lambda *frame: got.put_nowait(frame), closed.set)
    worker = WorkerChannel(theirs)
    array = np.random.default_rng(0).standard_normal(500_000)

    def echo():
        frames = []
        while not frames:
            frames = worker.receive(wait=True)
        worker.send(*frames[0])

    server.send(9, messages.Done(("a",), 0.5), [array])
    await asyncio.to_thread(echo)
    request, message, (back,) = await asyncio.wait_for(got.get(), 10)
    assert (request, message) == (9, messages.Done(("a",), 0.5))
    np.testing.assert_array_equal(back, array)
    theirs.close()
    await asyncio.wait_for(closed.wait(), 10)
    server.send(1, messages.Missing())


def test_a_worker_notices_that_the_server_has_gone():
    ours, theirs = socket.socketpair()
    ours.close()
    with pytest.raises((EOFError, OSError)):
        WorkerChannel(theirs).receive(wait=True)
    theirs.close()
