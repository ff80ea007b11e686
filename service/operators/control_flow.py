"""If, Loop and Scan: Python's own control flow, decided by the values at the point.

Subgraphs arrive as functions that see the values around them. Branches and trip counts are constants of a program;
derivatives flow through the branch taken and the trips made.
"""

from collections.abc import Sequence
from itertools import count

import torch
from torch import Tensor

from service import errors
from service.operators.registry import Body, Ints, Static, kernel

TRIP_LIMIT = 100_000
"""The most trips of one Loop or Scan."""


@kernel("If", 1)
def if_(cond: Static, *, else_branch: Body, then_branch: Body) -> tuple[Tensor, ...]:
    """The outputs of the branch that `cond`, one boolean, chooses."""
    return then_branch() if bool(cond) else else_branch()


@kernel("Loop", 1)
def loop(
    M: Ints | None = None, cond: Static | None = None, *v_initial: Tensor, body: Body, outputs: int
) -> tuple[Tensor, ...]:
    """Run the body while its condition holds, at most `M` times.

    Args:
        M: the most trips, one number; without end if it is left out.
        cond: whether there is a first trip; true if it is left out, and then the body's condition is ignored.
        v_initial: the carried values at first.
        body: the trip's number (int64), the condition and the carried values to the condition, the carried values
            and the scanned elements.
        outputs: how many the node names.

    Returns:
        The carried values at last, and each scanned element stacked over the trips.

    Raises:
        TooLarge: more than `TRIP_LIMIT` trips.
    """
    carried = v_initial
    device = next((v.device for v in (cond, *v_initial) if v is not None), torch.device("cpu"))
    holds = torch.ones((), dtype=torch.bool, device=device) if cond is None else cond
    most = M[0] if M else None
    trips: list[tuple[Tensor, ...]] = []
    for trip in count():
        if (most is not None and trip >= most) or (cond is not None and not bool(holds)):
            break
        if trip >= TRIP_LIMIT:
            raise errors.TooLarge(f"Loop makes more than {TRIP_LIMIT} trips")
        holds, *values = body(torch.tensor(trip, device=device), holds, *carried)
        carried = tuple(values[: len(carried)])
        trips.append(tuple(values[len(carried) :]))
    if trips:
        return *carried, *(torch.stack(elements) for elements in zip(*trips, strict=True))
    if outputs == len(carried):
        return carried
    _, *values = body(torch.tensor(0, device=device), holds, *carried)
    return *carried, *(_none_of(element, 0) for element in values[len(carried) :])


@kernel("Scan", 9)
def scan(
    *initial_state_and_scan_inputs: Tensor,
    body: Body,
    num_scan_inputs: int,
    scan_input_axes: Ints | None = None,
    scan_input_directions: Ints | None = None,
    scan_output_axes: Ints | None = None,
    scan_output_directions: Ints | None = None,
) -> tuple[Tensor, ...]:
    """Run the body once for each element along an axis of the scanned inputs.

    Args:
        initial_state_and_scan_inputs: the states at first, then the scanned inputs.
        body: the states and one element of each scanned input to the states and one element of each scanned output.
        num_scan_inputs: how many of the inputs are scanned.
        scan_input_axes: the axis of each scanned input, 0 if not given.
        scan_input_directions: 1 where a scanned input is read backwards.
        scan_output_axes: the axis of each scanned output, 0 if not given.
        scan_output_directions: 1 where a scanned output is written backwards.

    Returns:
        The states at last, and the scanned outputs.

    Raises:
        ShapeMismatch: the scanned inputs have different lengths.
        TooLarge: more than `TRIP_LIMIT` trips.
    """
    states, scanned = _split(initial_state_and_scan_inputs, num_scan_inputs)
    axes = scan_input_axes or (0,) * len(scanned)
    lengths = {x.shape[axis] for x, axis in zip(scanned, axes, strict=True)}
    if len(lengths) != 1:
        raise errors.ShapeMismatch(f"Scan: its inputs have lengths {sorted(lengths)}; they must be equal")
    (length,) = lengths
    backwards = scan_input_directions or (0,) * len(scanned)

    def elements(trip: int) -> list[Tensor]:
        return [
            x.select(axis, length - 1 - trip if back else trip)
            for x, axis, back in zip(scanned, axes, backwards, strict=True)
        ]

    if length > TRIP_LIMIT:
        raise errors.TooLarge(f"Scan makes {length} trips; the limit is {TRIP_LIMIT}")
    trips: list[tuple[Tensor, ...]] = []
    current = states
    for trip in range(length):
        values = body(*current, *elements(trip))
        current = values[: len(states)]
        trips.append(values[len(states) :])
    if not trips:
        blank = [
            x.new_zeros([n for i, n in enumerate(x.shape) if i != a % x.ndim])
            for x, a in zip(scanned, axes, strict=True)
        ]
        made = body(*states, *blank)[len(states) :]
        out_axes = scan_output_axes or (0,) * len(made)
        return *states, *(_none_of(e, a) for e, a in zip(made, out_axes, strict=True))
    results = []
    for i, made in enumerate(zip(*trips, strict=True)):
        order = made[::-1] if scan_output_directions and scan_output_directions[i] else made
        results.append(torch.stack(order, scan_output_axes[i] if scan_output_axes else 0))
    return *current, *results


@kernel("Scan", 8)
def scan_8(
    sequence_lens: Ints | None = None,
    *initial_state_and_scan_inputs: Tensor,
    body: Body,
    directions: Ints | None = None,
    num_scan_inputs: int,
) -> tuple[Tensor, ...]:
    """Scan along axis 1, by itself for each element of axis 0; outputs after a sequence's end are 0.

    Args:
        sequence_lens: trips for each element of axis 0; all of axis 1 if it is left out.
        initial_state_and_scan_inputs: the states at first, then the scanned inputs.
        body: as from opset 9 on.
        directions: 1 where a scanned input is read backwards.
        num_scan_inputs: how many of the inputs are scanned.

    Returns:
        The states at last, and the scanned outputs.
    """
    states, scanned = _split(initial_state_and_scan_inputs, num_scan_inputs)
    size, longest = scanned[0].shape[:2]
    lengths = sequence_lens or (longest,) * size
    samples = []
    for b, length in enumerate(lengths):
        inputs = [*(s[b] for s in states), *(x[b, :length] for x in scanned)]
        values = scan(*inputs, body=body, num_scan_inputs=num_scan_inputs, scan_input_directions=directions)
        padded = [torch.cat([v, v.new_zeros((longest - length, *v.shape[1:]))]) for v in values[len(states) :]]
        samples.append((*values[: len(states)], *padded))
    return tuple(torch.stack(each) for each in zip(*samples, strict=True))


def _split(values: Sequence[Tensor], scanned: int) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
    if not 1 <= scanned <= len(values):
        raise errors.InvalidGraph(f"Scan: num_scan_inputs is {scanned}; the node has {len(values)} inputs")
    return tuple(values[:-scanned]), tuple(values[-scanned:])


def _none_of(element: Tensor, axis: int) -> Tensor:
    """A stack of no such elements."""
    return torch.stack([element], axis).narrow(axis, 0, 0)
