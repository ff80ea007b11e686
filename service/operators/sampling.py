"""GridSample and AffineGrid: data read at coordinates that are data themselves, differentiable in both."""

import torch
from torch import Tensor

from service import errors
from service.operators.numerics import widened
from service.operators.registry import Ints, bounded, kernel

_CUBIC = -0.75


@kernel("AffineGrid", 20)
def affine_grid(theta: Tensor, size: Ints, *, align_corners: int = 0) -> Tensor:
    """The coordinates, in [-1, 1], of every element of an image under an affine map.

    Args:
        theta: `[N, D, D + 1]`, D is 2 or 3.
        size: the image's shape, `[N, C, *spatial]`.
        align_corners: whether -1 and 1 are the centres of the outermost elements, rather than their outer edges.

    Returns:
        `[N, *spatial, D]`, the last spatial axis's coordinate first; dtype of theta.

    Raises:
        ShapeMismatch: theta does not fit the size.
    """
    spatial = bounded(size)[2:]
    rank = len(spatial)
    if tuple(theta.shape) != (size[0], rank, rank + 1):
        raise errors.ShapeMismatch(f"AffineGrid: theta is {list(theta.shape)}; [{size[0]}, {rank}, {rank + 1}] is due")
    wide = widened(theta)
    lines = [_centres(n, bool(align_corners), wide) for n in spatial]
    mesh = torch.meshgrid(*lines, indexing="ij")
    points = torch.stack([*reversed(mesh), torch.ones_like(mesh[0])], -1).reshape(-1, rank + 1)
    return (points @ wide.transpose(1, 2)).reshape(size[0], *spatial, rank).to(theta.dtype)


def _centres(n: int, align_corners: bool, like: Tensor) -> Tensor:
    index = torch.arange(n, dtype=like.dtype, device=like.device)
    if align_corners:
        return index * 2 / (n - 1) - 1 if n > 1 else index
    return (2 * index + 1) / n - 1


@kernel("GridSample", 16)
def grid_sample_16(
    X: Tensor, grid: Tensor, *, align_corners: int = 0, mode: str = "bilinear", padding_mode: str = "zeros"
) -> Tensor:
    """As from opset 20 on, with the modes bilinear, nearest and bicubic."""
    names = {"bilinear": "linear", "bicubic": "cubic", "nearest": "nearest"}
    return grid_sample(X, grid, align_corners=align_corners, mode=names.get(mode, mode), padding_mode=padding_mode)


@kernel("GridSample", 20)
def grid_sample(
    X: Tensor, grid: Tensor, *, align_corners: int = 0, mode: str = "linear", padding_mode: str = "zeros"
) -> Tensor:
    """Interpolate X at the grid's points.

    Args:
        X: `[N, C, *spatial]`, D spatial axes.
        grid: `[N, *out, D]`, D axes of any size, coordinates in [-1, 1], the last spatial axis's first.
        align_corners: whether -1 and 1 are the centres of the outermost elements, rather than their outer edges.
        mode: linear, nearest or cubic (Keys' kernel with a = -0.75).
        padding_mode: what is beyond the edges: zeros, border or reflection.

    Returns:
        `[N, C, *out]`, dtype of X.

    Raises:
        ShapeMismatch: the grid does not fit X.
    """
    rank = X.ndim - 2
    if rank < 1 or grid.ndim != rank + 2 or grid.shape[0] != X.shape[0] or grid.shape[-1] != rank:
        raise errors.ShapeMismatch(
            f"GridSample: X is {list(X.shape)} and the grid {list(grid.shape)}; [N, *out, D] is due for D spatial axes"
        )
    if mode not in {"linear", "nearest", "cubic"} or padding_mode not in {"zeros", "border", "reflection"}:
        raise errors.InvalidGraph(
            f"GridSample: mode is linear, nearest or cubic, padding_mode zeros, border or reflection; "
            f"not {mode!r} and {padding_mode!r}"
        )
    wide, points = widened(X), widened(grid).reshape(grid.shape[0], -1, rank)
    index = torch.zeros((*points.shape[:2], 1), dtype=torch.int64, device=X.device)
    weights = torch.ones_like(points[..., :1])
    for i, size in enumerate(X.shape[2:]):
        unit = points[..., rank - 1 - i]
        x = (unit + 1) / 2 * (size - 1) if align_corners else ((unit + 1) * size - 1) / 2
        if mode != "cubic":
            x = _within(x, size, bool(align_corners), padding_mode)
        taps, share = _taps(x, mode)
        if mode == "cubic":
            taps = _within(taps, size, bool(align_corners), padding_mode)
        inside = (taps >= 0) & (taps <= size - 1)
        here = torch.where(inside, taps, 0).long()
        index = (index[..., None] * size + here[..., None, :]).flatten(2)
        weights = (weights[..., None] * torch.where(inside, share, 0)[..., None, :]).flatten(2)
    values = torch.unflatten(
        wide.flatten(2).gather(2, index.flatten(1)[:, None].expand(-1, X.shape[1], -1)), 2, index.shape[1:]
    )
    return (values * weights[:, None]).sum(3).reshape(*X.shape[:2], *grid.shape[1:-1]).to(X.dtype)


def _taps(x: Tensor, mode: str) -> tuple[Tensor, Tensor]:
    """The coordinates of the elements next to x, whole numbers, and their weights, both `[..., taps]`."""
    if mode == "nearest":
        return torch.round(x.detach())[..., None], torch.ones_like(x)[..., None]
    low = torch.floor(x.detach())
    t = x - low
    if mode == "linear":
        return torch.stack([low, low + 1], -1), torch.stack([1 - t, t], -1)
    a = _CUBIC
    near = [((a + 2) * s - (a + 3)) * s * s + 1 for s in (t, 1 - t)]
    far = [((a * s - 5 * a) * s + 8 * a) * s - 4 * a for s in (1 + t, 2 - t)]
    return torch.stack([low - 1, low, low + 1, low + 2], -1), torch.stack([far[0], *near, far[1]], -1)


def _within(x: Tensor, size: int, align_corners: bool, padding_mode: str) -> Tensor:
    """Coordinates brought into the image, as the padding mode has it."""
    if padding_mode == "zeros":
        return x
    if padding_mode == "reflection":
        low, high = (0.0, size - 1.0) if align_corners else (-0.5, size - 0.5)
        x = _reflected(x, low, high - low)
    return x.clamp(0, size - 1)


def _reflected(x: Tensor, low: float, span: float) -> Tensor:
    """Coordinates reflected at both ends of `[low, low + span]` until they lie within."""
    if span == 0:
        return torch.zeros_like(x)
    away = (x - low).abs()
    turns = torch.floor(away.detach() / span)
    rest = away - turns * span
    return torch.where(turns % 2 == 0, rest, span - rest) + low
