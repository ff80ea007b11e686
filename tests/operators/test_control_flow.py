"""If, Loop and Scan: branches, trips and derivatives through Python bodies, and ONNX's cases."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from service import errors
from service.operators import control_flow
from service.operators.registry import resolve

TRUE, FALSE = torch.tensor(True), torch.tensor([False])


def run(op, inputs, outputs=1, opset=21, **attributes):
    return resolve(op, opset)(inputs, attributes, outputs)


def test_if_evaluates_one_branch():
    x = torch.tensor([1.0, 2.0], dtype=torch.float64)

    def never():
        raise AssertionError("the other branch")

    (y,) = run("If", [TRUE], then_branch=lambda: (x * 2,), else_branch=never)
    assert torch.equal(y, x * 2)
    (y,) = run("If", [FALSE], then_branch=never, else_branch=lambda: (x + 1,))
    assert torch.equal(y, x + 1)


def counting(i, cond, total):
    return cond, total + i, total


@pytest.mark.parametrize(
    ("M", "cond", "trips"),
    [
        pytest.param(3, None, 3, id="for"),
        pytest.param(3, TRUE, 3, id="for-while"),
        pytest.param(3, FALSE, 0, id="never"),
        pytest.param(0, TRUE, 0, id="no-trips"),
        pytest.param(-2, None, 0, id="negative"),
    ],
)
def test_loop_trips(M, cond, trips):
    total, seen = run("Loop", [torch.tensor(M), cond, torch.tensor(10)], outputs=2, body=counting)
    assert total == 10 + sum(range(trips))
    assert seen.tolist() == [10 + sum(range(i)) for i in range(trips)]
    assert (seen.dtype, seen.shape) == (torch.int64, (trips,))


def test_loop_until_its_body_says_no():
    def body(i, cond, x):
        return x < 20, 2 * x

    for M in (None, torch.tensor([100])):
        assert run("Loop", [M, TRUE, torch.tensor(3.0)], body=body)[0] == 48
    assert run("Loop", [torch.tensor(2), None, torch.tensor(100.0)], body=body)[0] == 400


def test_loop_without_an_end_is_refused(monkeypatch):
    monkeypatch.setattr(control_flow, "TRIP_LIMIT", 10)
    assert run("Loop", [torch.tensor(10), None, torch.tensor(0)], body=counting, outputs=2)[0] == 45
    for M in (None, torch.tensor(2**62)):
        with pytest.raises(errors.TooLarge):
            run("Loop", [M, TRUE, torch.tensor(0)], body=counting, outputs=2)


def test_an_empty_scan_output_has_the_element_s_shape():
    def body(i, cond, x):
        return cond, x, torch.stack([x, x])

    x, seen = run("Loop", [torch.tensor(0), None, torch.ones(3)], outputs=2, body=body)
    assert torch.equal(x, torch.ones(3))
    assert (seen.shape, seen.dtype) == ((0, 2, 3), torch.float32)


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 4), st.integers(-2, 1), st.integers(-2, 1), st.integers(0, 1), st.integers(0, 1))
def test_scan_is_a_running_sum(length, in_axis, out_axis, backwards, prepend):
    x = np.arange(2.0 * length).reshape((length, 2) if in_axis % 2 == 0 else (2, length))
    total, sums = run(
        "Scan",
        [torch.zeros(2, dtype=torch.float64), torch.from_numpy(x)],
        outputs=2,
        body=lambda s, e: (s + e, s + e),
        num_scan_inputs=1,
        scan_input_axes=(in_axis,),
        scan_input_directions=(backwards,),
        scan_output_axes=(out_axis,),
        scan_output_directions=(prepend,),
    )
    rows = np.moveaxis(x, in_axis, 0)[:: -1 if backwards else 1]
    expected = np.cumsum(rows, 0)[:: -1 if prepend else 1]
    np.testing.assert_array_equal(total, rows.sum(0))
    np.testing.assert_array_equal(sums, np.moveaxis(expected, 0, out_axis))


@pytest.mark.parametrize("backwards", [0, 1], ids=["forward", "reverse"])
def test_scan_8_runs_each_sample_for_its_length(backwards):
    x = torch.arange(12.0).reshape(2, 3, 2)
    last, sums = run(
        "Scan",
        [torch.tensor([3, 2]), torch.zeros(2, 2), x],
        outputs=2,
        opset=8,
        body=lambda s, e: (s + e, s + e),
        num_scan_inputs=1,
        directions=(backwards,),
    )
    assert torch.equal(last, torch.stack([x[0].sum(0), x[1, :2].sum(0)]))
    second = x[1, :2].flip(0) if backwards else x[1, :2]
    assert torch.equal(sums[1], torch.cat([second.cumsum(0), torch.zeros(1, 2)]))


def test_scan_refuses():
    def body(*values):
        return values

    with pytest.raises(errors.ShapeMismatch):
        run("Scan", [torch.ones(2), torch.ones(3)], body=body, num_scan_inputs=2)
    with pytest.raises(errors.InvalidGraph):
        run("Scan", [torch.ones(2)], body=body, num_scan_inputs=2)
    with pytest.raises(errors.TooLarge):
        run("Scan", [torch.ones(control_flow.TRIP_LIMIT + 1)], body=body, num_scan_inputs=1)
