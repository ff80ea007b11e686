"""Scaled dot-product attention and rotary embeddings, from primitives: the fused kernels have no second derivative."""

from math import sqrt

import torch
import torch.nn.functional as F
from torch import Tensor

from service import errors
from service.operators.numerics import widened
from service.operators.registry import kernel, torch_dtype


@kernel("Attention", 25)
def attention(
    Q: Tensor,
    K: Tensor,
    V: Tensor,
    attn_mask: Tensor | None = None,
    past_key: Tensor | None = None,
    past_value: Tensor | None = None,
    nonpad_kv_seqlen: Tensor | None = None,
    *,
    is_causal: int = 0,
    kv_num_heads: int | None = None,
    left_window_size: int = -1,
    q_num_heads: int | None = None,
    qk_matmul_output_mode: int = 0,
    right_window_size: int = -1,
    scale: float | None = None,
    softcap: float = 0.0,
    softmax_precision: int | None = None,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """`softmax(softcap(scale * Q K') + mask) V`, head by head.

    Query `i` stands at position `i + offset` among the keys; the offset is the number of keys that come before the
    queries: those of the past, or `nonpad_kv_seqlen - Lq`, else 0. A query that may attend no key gives 0.

    Args:
        Q: `[B, Hq, Lq, E]`, or `[B, Lq, Hq * E]`.
        K: `[B, H, Lk, E]`, or `[B, Lk, H * E]`; H divides Hq.
        V: `[B, H, Lk, Ev]`, or `[B, Lk, H * Ev]`.
        attn_mask: boolean (true attends) or added to the scores; broadcastable to `[B, Hq, Lq, keys]`. Where its
            last axis is shorter than the keys, those beyond are not attended.
        past_key: `[B, H, past, E]`, keys before K.
        past_value: `[B, H, past, Ev]`.
        nonpad_kv_seqlen: `[B]`, how many keys of each sample are not padding.
        is_causal: whether a query attends no key after its position.
        kv_num_heads: H, with 3-D inputs.
        left_window_size: how far back a query attends, -1 without bound.
        q_num_heads: Hq, with 3-D inputs.
        qk_matmul_output_mode: what the last output is: the scaled scores (0), these after the softcap (1), after the
            mask (2) or after the softmax (3).
        right_window_size: how far ahead a query attends, -1 without bound.
        scale: of the scores, `1 / sqrt(E)` by default.
        softcap: scores become `softcap * tanh(score / softcap)`, unless it is 0.
        softmax_precision: ONNX's number of the least precise dtype for the softmax.

    Returns:
        Y in the layout of Q; keys and values with those of the past, `[B, H, keys, E]`; `[B, Hq, Lq, keys]`.

    Raises:
        InvalidGraph: heads or the past are given by half.
        ShapeMismatch: the heads do not divide the hidden size, or each other.
    """
    flat = Q.ndim == 3
    if flat and (q_num_heads is None or kv_num_heads is None):
        raise errors.InvalidGraph("Attention: 3-D inputs need q_num_heads and kv_num_heads")
    if (past_key is None) != (past_value is None):
        raise errors.InvalidGraph("Attention: past_key and past_value must be given together")
    query = _heads(Q, q_num_heads) if flat else Q
    key, value = (_heads(t, kv_num_heads) if flat else t for t in (K, V))
    if past_key is not None and past_value is not None:
        key, value = torch.cat([past_key, key], 2), torch.cat([past_value, value], 2)
    if query.shape[1] % key.shape[1] or query.shape[3] != key.shape[3]:
        raise errors.ShapeMismatch(
            f"Attention: queries {list(query.shape)} do not fit keys {list(key.shape)} ([batch, heads, length, size])"
        )
    repeats = query.shape[1] // key.shape[1]
    keys, values = (widened(t).repeat_interleave(repeats, 1) if repeats > 1 else widened(t) for t in (key, value))
    factor = sqrt(scale if scale is not None else 1 / sqrt(query.shape[3]))
    scores = (widened(query) * factor) @ (keys * factor).transpose(2, 3)
    capped = softcap * torch.tanh(scores / softcap) if softcap else scores

    queries, count = scores.shape[2:]
    if nonpad_kv_seqlen is not None:
        offset: Tensor | int = nonpad_kv_seqlen.reshape(-1, 1, 1, 1) - queries
    else:
        offset = 0 if past_key is None else past_key.shape[2]
    position = torch.arange(queries, device=Q.device)[:, None] + offset
    j = torch.arange(count, device=Q.device)
    attended = torch.ones((queries, count), dtype=torch.bool, device=Q.device)
    if is_causal:
        attended = attended & (j <= position)
    if left_window_size >= 0:
        attended = attended & (j >= position - left_window_size)
    if right_window_size >= 0:
        attended = attended & (j <= position + right_window_size)
    if nonpad_kv_seqlen is not None:
        attended = attended & (j < nonpad_kv_seqlen.reshape(-1, 1, 1, 1))
    biased = capped
    if attn_mask is not None:
        missing = count - attn_mask.shape[-1]
        if attn_mask.dtype == torch.bool:
            attended = attended & F.pad(attn_mask, (0, missing), value=False)
        else:
            biased = biased + F.pad(attn_mask.to(capped.dtype), (0, missing), value=float("-inf"))
    biased = torch.where(attended, biased, float("-inf"))

    weights = _softmax(biased, softmax_precision)
    y = (weights @ values).to(Q.dtype)
    shown = (scores, capped, biased, weights)[qk_matmul_output_mode].to(Q.dtype)
    return y.transpose(1, 2).flatten(2) if flat else y, key, value, shown


def _softmax(scores: Tensor, precision: int | None) -> Tensor:
    """The softmax over the last axis; 0 where every score is minus infinity."""
    wide = scores if precision is None else scores.to(torch.promote_types(scores.dtype, torch_dtype(precision)))
    nothing = (wide == float("-inf")).all(-1, keepdim=True)
    return torch.where(nothing, 0, torch.softmax(torch.where(nothing, 0, wide), -1)).to(scores.dtype)


def _heads(value: Tensor, count: int | None) -> Tensor:
    """`[B, L, H * E]` as `[B, H, L, E]`."""
    if not count or value.shape[2] % count:
        raise errors.ShapeMismatch(f"{value.shape[2]} elements are no {count} heads of one size")
    return torch.unflatten(value, 2, (count, -1)).transpose(1, 2)


@kernel("Attention", 24)
def attention_24(
    Q: Tensor,
    K: Tensor,
    V: Tensor,
    attn_mask: Tensor | None = None,
    past_key: Tensor | None = None,
    past_value: Tensor | None = None,
    nonpad_kv_seqlen: Tensor | None = None,
    *,
    is_causal: int = 0,
    kv_num_heads: int | None = None,
    q_num_heads: int | None = None,
    qk_matmul_output_mode: int = 0,
    scale: float | None = None,
    softcap: float = 0.0,
    softmax_precision: int | None = None,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """As from opset 25 on, without a window."""
    return attention(
        Q,
        K,
        V,
        attn_mask,
        past_key,
        past_value,
        nonpad_kv_seqlen,
        is_causal=is_causal,
        kv_num_heads=kv_num_heads,
        q_num_heads=q_num_heads,
        qk_matmul_output_mode=qk_matmul_output_mode,
        scale=scale,
        softcap=softcap,
        softmax_precision=softmax_precision,
    )


@kernel("Attention", 23)
def attention_23(
    Q: Tensor,
    K: Tensor,
    V: Tensor,
    attn_mask: Tensor | None = None,
    past_key: Tensor | None = None,
    past_value: Tensor | None = None,
    *,
    is_causal: int = 0,
    kv_num_heads: int | None = None,
    q_num_heads: int | None = None,
    qk_matmul_output_mode: int = 0,
    scale: float | None = None,
    softcap: float = 0.0,
    softmax_precision: int | None = None,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """As from opset 24 on, without padded keys."""
    return attention(
        Q,
        K,
        V,
        attn_mask,
        past_key,
        past_value,
        is_causal=is_causal,
        kv_num_heads=kv_num_heads,
        q_num_heads=q_num_heads,
        qk_matmul_output_mode=qk_matmul_output_mode,
        scale=scale,
        softcap=softcap,
        softmax_precision=softmax_precision,
    )


@kernel("RotaryEmbedding", 23)
def rotary_embedding(
    X: Tensor,
    cos_cache: Tensor,
    sin_cache: Tensor,
    position_ids: Tensor | None = None,
    *,
    interleaved: int = 0,
    num_heads: int | None = None,
    rotary_embedding_dim: int = 0,
) -> Tensor:
    """Rotate pairs of each head's elements by the angle of their position.

    Args:
        X: `[B, H, L, E]`, or `[B, L, H * E]`.
        cos_cache: `[positions, R / 2]` with position_ids, else `[B, L, R / 2]`.
        sin_cache: likewise.
        position_ids: `[B, L]`, integers.
        interleaved: whether a pair is two neighbours, rather than an element of each half.
        num_heads: H, with a 3-D input.
        rotary_embedding_dim: R, how many of a head's elements are rotated; 0 is all.

    Returns:
        The shape and dtype of X.

    Raises:
        ShapeMismatch: the caches do not fit.
    """
    heads = _heads(X, num_heads) if X.ndim == 3 else X
    rotated = rotary_embedding_dim or heads.shape[3]
    cos, sin = (t if position_ids is None else t[position_ids] for t in (cos_cache, sin_cache))
    expected = (heads.shape[0], heads.shape[2], rotated // 2)
    if tuple(cos.shape) != expected or tuple(sin.shape) != expected or rotated % 2:
        raise errors.ShapeMismatch(
            f"RotaryEmbedding: the caches give {list(cos.shape)} and {list(sin.shape)}; {list(expected)} is due"
        )
    cos, sin = cos[:, None], sin[:, None]
    turning, rest = heads[..., :rotated], heads[..., rotated:]
    if interleaved:
        left, right = torch.unflatten(turning, 3, (-1, 2)).unbind(-1)
    else:
        left, right = turning.chunk(2, -1)
    pair = cos * left - sin * right, sin * left + cos * right
    turned = torch.stack(pair, -1).flatten(3) if interleaved else torch.cat(pair, -1)
    result = torch.cat([turned, rest], -1)
    return result.transpose(1, 2).flatten(2) if X.ndim == 3 else result
