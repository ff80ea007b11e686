"""RNN, GRU and LSTM as a loop over time with plain cells: torch's fused ones have no second derivative.

The inputs' projections of all time steps are one product before the loop; in it, the gates are one product a step.
A sequence shorter than the longest keeps its state after its end (before its beginning, in reverse), and its outputs
there are 0.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import torch
import torch.nn.functional as F
from torch import Tensor

from service import errors
from service.operators.registry import Floats, kernel

Activation: TypeAlias = Callable[[Tensor], Tensor]
States: TypeAlias = tuple[Tensor, ...]
Cell: TypeAlias = Callable[[Tensor, States], States]


def _hard_sigmoid(x: Tensor) -> Tensor:
    """`x` limited to [0, 1], with derivative 0 at the limits, as torch's hardsigmoid has it."""
    return torch.where(x <= 0, 0, torch.where(x >= 1, 1, x))


# name -> the function of x, alpha and beta, and the defaults of alpha and beta; None where it has no such parameter.
_ACTIVATIONS: dict[str, tuple[Callable[[Tensor, float, float], Tensor], float | None, float | None]] = {
    "affine": (lambda x, a, b: a * x + b, 1.0, 0.0),
    "elu": (lambda x, a, b: F.elu(x, a), 1.0, None),
    "hardsigmoid": (lambda x, a, b: _hard_sigmoid(a * x + b), 0.2, 0.5),
    "leakyrelu": (lambda x, a, b: F.leaky_relu(x, a), 0.01, None),
    "relu": (lambda x, a, b: torch.relu(x), None, None),
    "scaledtanh": (lambda x, a, b: a * torch.tanh(b * x), 1.0, 1.0),
    "sigmoid": (lambda x, a, b: torch.sigmoid(x), None, None),
    "softplus": (lambda x, a, b: torch.logaddexp(x, torch.zeros_like(x)), None, None),
    "softsign": (lambda x, a, b: x / (1 + x.abs()), None, None),
    "tanh": (lambda x, a, b: torch.tanh(x), None, None),
    "thresholdedrelu": (lambda x, a, b: torch.where(x > a, x, 0), 1.0, None),
}


@dataclass(frozen=True, slots=True)
class _Setting:
    """The attributes that the three operators share, checked."""

    op: str
    reverse: tuple[bool, ...]
    activations: tuple[Activation, ...]
    layout: int


def _setting(
    op: str,
    direction: str,
    names: Sequence[str],
    alphas: Sequence[float] | None,
    betas: Sequence[float] | None,
    clip: float | None,
    layout: int,
    cell: int,
) -> _Setting:
    """Read the shared attributes; alphas and betas are given, in order, to the activations that have one.

    Raises:
        InvalidGraph: an unknown direction, layout or activation, or the wrong number of activations.
    """
    reverses = {"forward": (False,), "reverse": (True,), "bidirectional": (False, True)}
    if direction not in reverses or layout not in {0, 1}:
        raise errors.InvalidGraph(f"{op}: direction is one of {', '.join(reverses)}, layout 0 or 1")
    directions = len(reverses[direction])
    if len(names) != cell * directions:
        raise errors.InvalidGraph(f"{op}: {len(names)} activations; {cell} for each of {directions} directions are due")
    spare_alphas, spare_betas = iter(alphas or ()), iter(betas or ())
    activations = []
    for name in names:
        if name.lower() not in _ACTIVATIONS:
            raise errors.InvalidGraph(f"{op}: the activation {name!r} is none of {', '.join(sorted(_ACTIVATIONS))}")
        function, alpha, beta = _ACTIVATIONS[name.lower()]
        a = 0.0 if alpha is None else next(spare_alphas, alpha)
        b = 0.0 if beta is None else next(spare_betas, beta)
        activations.append(_activation(function, a, b, clip))
    return _Setting(op, reverses[direction], tuple(activations), layout)


def _activation(
    function: Callable[[Tensor, float, float], Tensor], alpha: float, beta: float, clip: float | None
) -> Activation:
    if clip is None:
        return lambda x: function(x, alpha, beta)
    return lambda x: function(x.clamp(-clip, clip), alpha, beta)


def _run(
    setting: _Setting,
    X: Tensor,
    W: Tensor,
    R: Tensor,
    lengths: Tensor | None,
    initial: Sequence[Tensor | None],
    cells: Sequence[Cell],
    biases: Sequence[Tensor | None],
) -> tuple[Tensor, ...]:
    """Run every direction.

    Args:
        setting: the shared attributes.
        X: `[T, B, I]`, or `[B, T, I]` with layout 1.
        W: `[D, G * H, I]`.
        R: `[D, G * H, H]`.
        lengths: `[B]`, integers.
        initial: the states, each `[D, B, H]`, or `[B, D, H]` with layout 1; None is 0.
        cells: for each direction, what makes the next states of a step's projected input.
        biases: for each direction, what is added to the projected input, `[G * H]`.

    Returns:
        Y `[T, D, B, H]` and the last states, each `[D, B, H]`; with layout 1 `[B, T, D, H]` and `[B, D, H]`.

    Raises:
        ShapeMismatch: the weights or states do not fit X.
    """
    X = X.transpose(0, 1) if setting.layout else X
    states = [None if s is None else s.transpose(0, 1) if setting.layout else s for s in initial]
    hidden, directions = R.shape[-1], len(setting.reverse)
    if X.ndim != 3 or W.ndim != 3 or W.shape[0] != directions or W.shape[2] != X.shape[2] or R.shape[0] != directions:
        raise errors.ShapeMismatch(
            f"{setting.op}: X is {list(X.shape)}, W {list(W.shape)} and R {list(R.shape)} in {directions} directions; "
            "W is [directions, gates * hidden, input], R [directions, gates * hidden, hidden]"
        )
    shape = (directions, X.shape[1], hidden)
    if any(s is not None and s.shape != shape for s in states):
        raise errors.ShapeMismatch(f"{setting.op}: the initial states must have shape {list(shape)}")
    outputs, finals = [], []
    for d, reverse in enumerate(setting.reverse):
        projected = X @ W[d].T
        bias = biases[d]
        start = tuple(X.new_zeros(shape[1:]) if s is None else s[d] for s in states)
        y, final = _over_time(cells[d], projected if bias is None else projected + bias, start, reverse, lengths)
        outputs.append(y)
        finals.append(final)
    Y = torch.stack(outputs, 1)
    last = [torch.stack(each) for each in zip(*finals, strict=True)]
    if setting.layout:
        return Y.permute(2, 0, 1, 3), *(s.transpose(0, 1) for s in last)
    return Y, *last


def _over_time(
    cell: Cell, projected: Tensor, states: States, reverse: bool, lengths: Tensor | None
) -> tuple[Tensor, States]:
    outputs = []
    steps = range(projected.shape[0])
    for t in reversed(steps) if reverse else steps:
        new = cell(projected[t], states)
        if lengths is not None:
            within = (t < lengths)[:, None]
            new = tuple(torch.where(within, n, s) for n, s in zip(new, states, strict=True))
            outputs.append(torch.where(within, new[0], 0))
        else:
            outputs.append(new[0])
        states = new
    if not outputs:
        return states[0].new_zeros((0, *states[0].shape)), states
    return torch.stack(outputs[::-1] if reverse else outputs), states


def _halves(B: Tensor | None, d: int) -> tuple[Tensor | None, Tensor | None]:
    """The biases of the input's and of the state's products in one direction."""
    return (None, None) if B is None else tuple(B[d].chunk(2))  # type: ignore[return-value]  # two chunks


def _sum(left: Tensor | None, right: Tensor | None) -> Tensor | None:
    return None if left is None or right is None else left + right


@kernel("RNN", 7)
def rnn(
    X: Tensor,
    W: Tensor,
    R: Tensor,
    B: Tensor | None = None,
    sequence_lens: Tensor | None = None,
    initial_h: Tensor | None = None,
    *,
    activation_alpha: Floats | None = None,
    activation_beta: Floats | None = None,
    activations: tuple[str, ...] = ("Tanh", "Tanh"),
    clip: float | None = None,
    direction: str = "forward",
    hidden_size: int | None = None,
    layout: int = 0,
) -> tuple[Tensor, ...]:
    """`H[t] = f(X[t] W' + H[t - 1] R' + B)`.

    Args:
        X: `[T, B, I]`, or `[B, T, I]` with layout 1.
        W: `[D, H, I]`.
        R: `[D, H, H]`.
        B: `[D, 2 H]`, the biases of both products.
        sequence_lens: `[B]`.
        initial_h: `[D, B, H]`, or `[B, D, H]` with layout 1.
        activation_alpha: for the activations that have one, in order.
        activation_beta: likewise.
        activations: one for each direction, Tanh if not given.
        clip: bounds what the activations are applied to.
        direction: forward, reverse or bidirectional.
        hidden_size: H.
        layout: whether the batch comes first.

    Returns:
        Y `[T, D, B, H]` and Y_h `[D, B, H]`, or with layout 1 `[B, T, D, H]` and `[B, D, H]`; dtype of X.
    """
    count = 2 if direction == "bidirectional" else 1
    setting = _setting("RNN", direction, activations[:count], activation_alpha, activation_beta, clip, layout, 1)

    def cell(d: int) -> Cell:
        f = setting.activations[d]
        return lambda x, states: (f(x + states[0] @ R[d].T),)

    directions = range(len(setting.reverse))
    biases = [_sum(*_halves(B, d)) for d in directions]
    return _run(setting, X, W, R, sequence_lens, [initial_h], [cell(d) for d in directions], biases)


@kernel("GRU", 7)
def gru(
    X: Tensor,
    W: Tensor,
    R: Tensor,
    B: Tensor | None = None,
    sequence_lens: Tensor | None = None,
    initial_h: Tensor | None = None,
    *,
    activation_alpha: Floats | None = None,
    activation_beta: Floats | None = None,
    activations: tuple[str, ...] | None = None,
    clip: float | None = None,
    direction: str = "forward",
    hidden_size: int | None = None,
    layout: int = 0,
    linear_before_reset: int = 0,
) -> tuple[Tensor, ...]:
    """Gated recurrent units, gates in the order update z, reset r, hidden h.

    `z = f(X Wz' + H Rz' + Bz)`, `r = f(X Wr' + H Rr' + Br)`, `h = g(X Wh' + (r * H) Rh' + Bh)`, or with
    `linear_before_reset` `h = g(X Wh' + Wbh + r * (H Rh' + Rbh))`; `H[t] = (1 - z) * h + z * H[t - 1]`.

    Args:
        X: `[T, B, I]`, or `[B, T, I]` with layout 1.
        W: `[D, 3 H, I]`.
        R: `[D, 3 H, H]`.
        B: `[D, 6 H]`, the biases of both products.
        sequence_lens: `[B]`.
        initial_h: `[D, B, H]`, or `[B, D, H]` with layout 1.
        activation_alpha: for the activations that have one, in order.
        activation_beta: likewise.
        activations: f and g for each direction, Sigmoid and Tanh if not given.
        clip: bounds what the activations are applied to.
        direction: forward, reverse or bidirectional.
        hidden_size: H.
        layout: whether the batch comes first.
        linear_before_reset: whether the reset gate comes after the product with Rh.

    Returns:
        Y `[T, D, B, H]` and Y_h `[D, B, H]`, or with layout 1 `[B, T, D, H]` and `[B, D, H]`; dtype of X.
    """
    count = 2 if direction == "bidirectional" else 1
    names = activations or ("Sigmoid", "Tanh") * count
    setting = _setting("GRU", direction, names, activation_alpha, activation_beta, clip, layout, 2)
    H = R.shape[-1]

    def cell(d: int) -> Cell:
        f, g = setting.activations[2 * d : 2 * d + 2]
        recurrent, bias = R[d], _halves(B, d)[1]

        def after(x: Tensor, states: States) -> States:
            (h,) = states
            product = h @ recurrent.T if bias is None else h @ recurrent.T + bias
            z, r = f(x[:, : 2 * H] + product[:, : 2 * H]).chunk(2, 1)
            new = g(x[:, 2 * H :] + r * product[:, 2 * H :])
            return ((1 - z) * new + z * h,)

        def before(x: Tensor, states: States) -> States:
            (h,) = states
            z, r = f(x[:, : 2 * H] + h @ recurrent[: 2 * H].T).chunk(2, 1)
            new = g(x[:, 2 * H :] + (r * h) @ recurrent[2 * H :].T)
            return ((1 - z) * new + z * h,)

        return after if linear_before_reset else before

    directions = range(len(setting.reverse))
    biases = [_halves(B, d)[0] if linear_before_reset else _sum(*_halves(B, d)) for d in directions]
    return _run(setting, X, W, R, sequence_lens, [initial_h], [cell(d) for d in directions], biases)


@kernel("LSTM", 7)
def lstm(
    X: Tensor,
    W: Tensor,
    R: Tensor,
    B: Tensor | None = None,
    sequence_lens: Tensor | None = None,
    initial_h: Tensor | None = None,
    initial_c: Tensor | None = None,
    P: Tensor | None = None,
    *,
    activation_alpha: Floats | None = None,
    activation_beta: Floats | None = None,
    activations: tuple[str, ...] | None = None,
    clip: float | None = None,
    direction: str = "forward",
    hidden_size: int | None = None,
    input_forget: int = 0,
    layout: int = 0,
) -> tuple[Tensor, ...]:
    """Long short-term memory, gates in the order input i, output o, forget f, cell c.

    `i = f(X Wi' + H Ri' + Pi * C + Bi)`, `f = f(X Wf' + H Rf' + Pf * C + Bf)`, `c = g(X Wc' + H Rc' + Bc)`;
    `C[t] = f * C[t - 1] + i * c`, `o = f(X Wo' + H Ro' + Po * C[t] + Bo)`, `H[t] = o * h(C[t])`.

    Args:
        X: `[T, B, I]`, or `[B, T, I]` with layout 1.
        W: `[D, 4 H, I]`.
        R: `[D, 4 H, H]`.
        B: `[D, 8 H]`, the biases of both products.
        sequence_lens: `[B]`.
        initial_h: `[D, B, H]`, or `[B, D, H]` with layout 1.
        initial_c: likewise.
        P: `[D, 3 H]`, the peepholes of i, o and f.
        activation_alpha: for the activations that have one, in order.
        activation_beta: likewise.
        activations: f, g and h for each direction, Sigmoid, Tanh and Tanh if not given.
        clip: bounds what the activations of the gates are applied to.
        direction: forward, reverse or bidirectional.
        hidden_size: H.
        input_forget: whether the forget gate is `1 - i`.
        layout: whether the batch comes first.

    Returns:
        Y `[T, D, B, H]`, Y_h and Y_c `[D, B, H]`, or with layout 1 `[B, T, D, H]` and `[B, D, H]`; dtype of X.
    """
    count = 2 if direction == "bidirectional" else 1
    names = activations or ("Sigmoid", "Tanh", "Tanh") * count
    gates = _setting("LSTM", direction, names, activation_alpha, activation_beta, clip, layout, 3)
    plain = _setting("LSTM", direction, names, activation_alpha, activation_beta, None, layout, 3)

    def cell(d: int) -> Cell:
        f, g = gates.activations[3 * d : 3 * d + 2]
        h_of = plain.activations[3 * d + 2]
        peepholes = None if P is None else P[d].chunk(3)

        def step(x: Tensor, states: States) -> States:
            h, c = states
            i, o, forget, new = (x + h @ R[d].T).chunk(4, 1)
            if peepholes is not None:
                i, forget = i + peepholes[0] * c, forget + peepholes[2] * c
            i = f(i)
            c = (1 - i if input_forget else f(forget)) * c + i * g(new)
            o = f(o if peepholes is None else o + peepholes[1] * c)
            return o * h_of(c), c

        return step

    directions = range(len(gates.reverse))
    biases = [_sum(*_halves(B, d)) for d in directions]
    return _run(gates, X, W, R, sequence_lens, [initial_h, initial_c], [cell(d) for d in directions], biases)
