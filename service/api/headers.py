"""Headers of what was evaluated."""

from collections.abc import Mapping, Sequence

import numpy as np

from service.tensors.dtypes import dtype_of

PHASES = ("queue", "forward", "rows")
"""What happens to a request before its answer is encoded; 0 s where it was not needed."""


def described(shape: Sequence[int], dtype: np.dtype) -> dict[str, str]:
    """What the values are."""
    return {"Jacobian-Shape": ",".join(map(str, shape)), "Jacobian-Dtype": dtype_of(np.empty(0, dtype)).name}


def origin(revision: int | None, residual: float | None) -> dict[str, str]:
    """The session's revision where the values are its own, and the residual of the adjoint identity if there is one."""
    own = {} if revision is None else {"Jacobian-Revision": str(revision)}
    return own if residual is None else {**own, "Jacobian-Check": f"{residual:.3e}"}


def counted(computed: int, cached: int) -> dict[str, str]:
    """The rows that it took."""
    return {"Jacobian-Rows-Computed": str(computed), "Jacobian-Rows-Cached": str(cached)}


def timed(timings: Mapping[str, float]) -> dict[str, str]:
    """Seconds by phase."""
    return {"Server-Timing": ", ".join(f"{phase};dur={1000 * seconds:.3f}" for phase, seconds in timings.items())}


def timed_whole(timings: Mapping[str, float], encode: float) -> dict[str, str]:
    """Seconds of every phase and of the encoding."""
    return timed({**{phase: timings.get(phase, 0.0) for phase in PHASES}, "encode": encode})
