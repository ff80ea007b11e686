"""Attention without a softmax, and the causal convolution before it: recurrences with a state that a graph carries."""

from math import sqrt

import torch
import torch.nn.functional as F
from torch import Tensor

from service import errors
from service.operators.numerics import widened
from service.operators.registry import kernel

RULES = {"linear": (False, False), "gated": (True, False), "delta": (False, True), "gated_delta": (True, True)}
"""What an update rule takes: decay, beta."""


@kernel("LinearAttention", 27)
def linear_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    past_state: Tensor | None = None,
    decay: Tensor | None = None,
    beta: Tensor | None = None,
    *,
    chunk_size: int = 64,
    kv_num_heads: int,
    q_num_heads: int,
    scale: float = 0.0,
    update_rule: str = "gated_delta",
) -> tuple[Tensor, Tensor]:
    """`S = exp(g) S + k (beta (v - S' k))'` and `o = scale S' q`, step by step; a rule may have no g or no beta.

    Args:
        query: `[B, T, Hq * K]`.
        key: `[B, T, H * K]`; H divides Hq.
        value: `[B, T, H * V]`.
        past_state: `[B, H, K, V]`, zeros by default.
        decay: g, `[B, T, H * K]` or `[B, T, H]`, of the gated rules.
        beta: `[B, T, H]` or `[B, T, 1]`, of the delta rules.
        chunk_size: a hint, without effect.
        kv_num_heads: H.
        q_num_heads: Hq.
        scale: of the output, `1 / sqrt(K)` if it is 0.
        update_rule: linear, gated, delta or gated_delta.

    Returns:
        `[B, T, Hq * V]`, dtype of the query, and the last state, dtype of the past one.

    Raises:
        InvalidGraph: the rule is unknown, or has not the inputs that it takes.
        ShapeMismatch: the heads do not fit.
    """
    if update_rule not in RULES:
        raise errors.InvalidGraph(f'LinearAttention: update_rule is one of {", ".join(RULES)}, not "{update_rule}"')
    gated, corrected = RULES[update_rule]
    if (decay is not None, beta is not None) != (gated, corrected):
        wanted = " and ".join(["decay"] * gated + ["beta"] * corrected) or "neither decay nor beta"
        raise errors.InvalidGraph(f'LinearAttention: the rule "{update_rule}" takes {wanted}')
    if min(q_num_heads, kv_num_heads) < 1 or q_num_heads % kv_num_heads:
        raise errors.ShapeMismatch(f"LinearAttention: {q_num_heads} query heads are no multiple of {kv_num_heads}")
    q, k, v = _heads(query, q_num_heads), _heads(key, kv_num_heads), _heads(value, kv_num_heads)
    g = None if decay is None else _heads(decay, kv_num_heads)
    rate = None if beta is None else _heads(beta, beta.shape[2])
    shape = (*k.shape[:2], k.shape[3], v.shape[3])
    state = k.new_zeros(shape) if past_state is None else widened(past_state)
    if tuple(state.shape) != shape:
        raise errors.ShapeMismatch(f"LinearAttention: the past state is {list(state.shape)}; {list(shape)} is due")
    outputs = []
    for t in range(query.shape[1]):
        if g is not None:
            state = state * torch.exp(g[:, :, t, :, None])
        written = v[:, :, t]
        if rate is not None:
            written = rate[:, :, t] * (written - (state * k[:, :, t, :, None]).sum(2))
        state = state + k[:, :, t, :, None] * written[:, :, None]
        read = state.repeat_interleave(q_num_heads // kv_num_heads, 1)
        outputs.append((read * q[:, :, t, :, None]).sum(2))
    stacked = torch.stack(outputs, 1) if outputs else q.new_zeros((q.shape[0], 0, q_num_heads, v.shape[3]))
    factor = scale or 1 / sqrt(q.shape[3])
    like = query if past_state is None else past_state
    return (factor * stacked).flatten(2).to(query.dtype), state.to(like.dtype)


def _heads(x: Tensor, count: int) -> Tensor:
    """`[B, T, H * D]` as `[B, H, T, D]`, in the dtype to accumulate in."""
    if x.ndim != 3 or x.shape[2] % count:
        raise errors.ShapeMismatch(
            f"LinearAttention: a tensor of shape {list(x.shape)} is no {count} heads of one size"
        )
    return torch.unflatten(widened(x), 2, (count, -1)).transpose(1, 2)


@kernel("CausalConvWithState", 27)
def causal_conv_with_state(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    past_state: Tensor | None = None,
    *,
    activation: str = "none",
) -> tuple[Tensor, Tensor]:
    """Each channel's own convolution over the present and the k - 1 steps before it, then perhaps `x sigmoid(x)`.

    Args:
        input: `[B, C, L]`.
        weight: `[C, 1, k]`.
        bias: `[C]`.
        past_state: `[B, C, k - 1]`, what came before the input; zeros by default.
        activation: none, silu or swish.

    Returns:
        `[B, C, L]`, and the last k - 1 steps, `[B, C, k - 1]`.

    Raises:
        InvalidGraph: the activation is unknown.
        ShapeMismatch: the weight does not fit.
    """
    if activation not in {"none", "silu", "swish"}:
        raise errors.InvalidGraph(f'CausalConvWithState: activation is none, silu or swish, not "{activation}"')
    if input.ndim != 3 or weight.ndim != 3 or tuple(weight.shape[:2]) != (input.shape[1], 1):
        raise errors.ShapeMismatch(
            f"CausalConvWithState: the input is {list(input.shape)}, [B, C, L] is due; "
            f"the weight is {list(weight.shape)}, [C, 1, k] is due"
        )
    before = weight.shape[2] - 1
    joined = F.pad(input, (before, 0)) if past_state is None else torch.cat([past_state, input], 2)
    result = F.conv1d(joined, weight, bias, groups=input.shape[1])
    return (result if activation == "none" else result * torch.sigmoid(result)), joined[:, :, input.shape[2] :]
