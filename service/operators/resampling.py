"""Resize and Upsample by interpolation along one axis after the other; GridSample and AffineGrid by coordinates.

Interpolation gathers, for every output element, the few input elements (taps) that it is a weighted sum of. What it
does not touch does not enter its derivative, so the Jacobian is as sparse as the operator.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import floor, isclose

import numpy as np
import torch
from torch import Tensor

from service import errors
from service.operators.numerics import widened
from service.operators.registry import Floats, Ints, bounded, kernel

_NEAREST: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "round_prefer_floor": lambda x: np.ceil(x - 0.5),
    "round_prefer_ceil": lambda x: np.floor(x + 0.5),
    "floor": np.floor,
    "ceil": np.ceil,
}


@dataclass(frozen=True, slots=True)
class _Line:
    """Resizing along one axis.

    Attributes:
        size: elements of the input.
        out: elements of the output.
        scale: output by input, as given; `size * scale` need not be a whole number.
        start: where the cropped region starts, as a part of the input.
        end: where it ends.
    """

    size: int
    out: int
    scale: float
    start: float = 0.0
    end: float = 1.0

    @property
    def is_identity(self) -> bool:
        """Whether nothing changes along this axis."""
        return self.size == self.out and isclose(self.scale, 1) and isclose(self.start, 0) and isclose(self.end, 1)


@dataclass(frozen=True, slots=True)
class _Method:
    """How Resize interpolates: its attributes by ONNX's names."""

    mode: str
    coordinate_transformation_mode: str = "half_pixel"
    nearest_mode: str = "round_prefer_floor"
    cubic_coeff_a: float = -0.75
    antialias: int = 0
    exclude_outside: int = 0
    extrapolation_value: float = 0.0


def _coordinates(line: _Line, transformation: str) -> np.ndarray:
    """Where each output element lies in the input, `[out]`, float64."""
    x = np.arange(line.out, dtype=np.float64)
    width = line.scale * line.size
    match transformation:
        case "half_pixel":
            return (x + 0.5) / line.scale - 0.5
        case "half_pixel_symmetric":
            return line.size / 2 * (1 - line.out / width) + (x + 0.5) / line.scale - 0.5
        case "pytorch_half_pixel":
            return (x + 0.5) / line.scale - 0.5 if width != 1 else np.full_like(x, -0.5)
        case "asymmetric":
            return x / line.scale
        case "align_corners":
            return x * (line.size - 1) / (width - 1) if width != 1 else np.zeros_like(x)
        case "tf_half_pixel_for_nn":
            return (x + 0.5) / line.scale
        case "tf_crop_and_resize":
            last = line.size - 1
            if width == 1:
                return np.full_like(x, (line.start + line.end) / 2 * last)
            return line.start * last + x * (line.end - line.start) * last / (width - 1)
    raise errors.InvalidGraph(f"Resize: coordinate_transformation_mode {transformation!r} is unknown")


def _triangle(distance: np.ndarray) -> np.ndarray:
    return np.where(np.abs(distance) < 1, 1 - np.abs(distance), 0)


def _cubic(distance: np.ndarray, a: float) -> np.ndarray:
    """Keys' kernel (IEEE ASSP 29, 1981, equation 4, with a free parameter a)."""
    d = np.abs(distance)
    near = ((a + 2) * d - (a + 3)) * d * d + 1
    far = ((a * d - 5 * a) * d + 8 * a) * d - 4 * a
    return np.where(d <= 1, near, np.where(d < 2, far, 0))


def _taps(line: _Line, method: _Method) -> tuple[np.ndarray, np.ndarray]:
    """The input elements that each output element is made of, and their weights, both `[out, taps]`."""
    x = _coordinates(line, method.coordinate_transformation_mode)
    if method.mode == "nearest":
        if method.nearest_mode not in _NEAREST:
            raise errors.InvalidGraph(f"Resize: nearest_mode is one of {', '.join(_NEAREST)}")
        index = _NEAREST[method.nearest_mode](x).astype(np.int64)[:, None]
        return index.clip(0, line.size - 1), np.ones(index.shape)
    radius = 1 if method.mode == "linear" else 2
    stretch = min(line.scale, 1.0) if method.antialias else 1.0
    reach = int(-(-radius // stretch)) if line.out else radius
    index = np.floor(x).astype(np.int64)[:, None] + np.arange(1 - reach, reach + 1)
    distance = (index - x[:, None]) * stretch
    weights = _triangle(distance) if method.mode == "linear" else _cubic(distance, method.cubic_coeff_a)
    if method.exclude_outside:
        weights = np.where((index < 0) | (index >= line.size), 0, weights)
    if method.exclude_outside or method.antialias:
        total = weights.sum(1, keepdims=True)
        weights = weights / np.where(total == 0, 1, total)
    return index.clip(0, line.size - 1), weights


def _along_axis(X: Tensor, axis: int, line: _Line, method: _Method) -> Tensor:
    index, weights = _taps(line, method)
    result = X.index_select(axis, torch.tensor(index.reshape(-1), device=X.device))
    after = [1] * (X.ndim - axis - 1)
    if method.mode != "nearest":
        shares = torch.tensor(weights, dtype=X.dtype, device=X.device).reshape(*index.shape, *after)
        result = (torch.unflatten(result, axis, index.shape) * shares).sum(axis + 1)
    if method.coordinate_transformation_mode == "tf_crop_and_resize":
        x = _coordinates(line, "tf_crop_and_resize")
        outside = torch.tensor((x < 0) | (x > line.size - 1), device=X.device).reshape(-1, *after)
        result = torch.where(outside, method.extrapolation_value, result).to(X.dtype)
    return result


def _interpolate(X: Tensor, lines: Sequence[_Line], method: _Method) -> Tensor:
    """Resize every axis.

    Raises:
        InvalidGraph: the mode is unknown, or an empty axis is to be filled.
        TooLarge: the output is too large.
    """
    if method.mode not in {"nearest", "linear", "cubic"}:
        raise errors.InvalidGraph(f"Resize: mode is nearest, linear or cubic, not {method.mode!r}")
    if any(line.out < 0 or (line.size == 0 and line.out > 0) for line in lines):
        raise errors.InvalidGraph(f"Resize: {[v.size for v in lines]} cannot become {[v.out for v in lines]}")
    bounded([line.out for line in lines])
    floating = X.dtype.is_floating_point
    wide = X if method.mode == "nearest" else widened(X) if floating else X.double()
    for axis, line in enumerate(lines):
        if not line.is_identity:
            wide = _along_axis(wide, axis, line, method)
    if floating or method.mode == "nearest":
        return wide.to(X.dtype)
    limits = torch.iinfo(X.dtype)
    return wide.clamp(limits.min, limits.max).to(X.dtype)


def _scaled(X: Tensor, scales: Sequence[float], op: str) -> list[_Line]:
    if len(scales) != X.ndim or min(scales, default=1.0) <= 0:
        raise errors.InvalidGraph(f"{op}: {X.ndim} scales greater than 0 are due, not {list(scales)}")
    return [_Line(n, floor(n * s), s) for n, s in zip(X.shape, scales, strict=True)]


@kernel("Upsample", 7)
def upsample_7(X: Tensor, *, mode: str = "nearest", scales: Floats) -> Tensor:
    """As from opset 9 on, with the scales as an attribute."""
    return upsample(X, scales, mode=mode)


@kernel("Upsample", 9)
def upsample(X: Tensor, scales: Floats, *, mode: str = "nearest") -> Tensor:
    """Interpolate at `x / scale`, by nearest (rounded down) or linear neighbours.

    Args:
        X: any shape.
        scales: one for each axis.
        mode: nearest or linear.

    Returns:
        Axis i has `floor(size * scale)` elements; dtype of X.
    """
    return _interpolate(X, _scaled(X, scales, "Upsample"), _Method(mode, "asymmetric", "floor"))


@kernel("Resize", 10)
def resize_10(X: Tensor, scales: Floats, *, mode: str = "nearest") -> Tensor:
    """Interpolate at `x / scale`, as Upsample; scales less than 1 are allowed."""
    return _interpolate(X, _scaled(X, scales, "Resize"), _Method(mode, "asymmetric", "floor"))


@kernel("Resize", 18)
def resize(
    X: Tensor,
    roi: Floats | None = None,
    scales: Floats | None = None,
    sizes: Ints | None = None,
    *,
    antialias: int = 0,
    axes: Ints | None = None,
    coordinate_transformation_mode: str = "half_pixel",
    cubic_coeff_a: float = -0.75,
    exclude_outside: int = 0,
    extrapolation_value: float = 0.0,
    keep_aspect_ratio_policy: str = "stretch",
    mode: str = "nearest",
    nearest_mode: str = "round_prefer_floor",
) -> Tensor:
    """Interpolate along each axis.

    Args:
        X: any shape.
        roi: for tf_crop_and_resize, where the region starts on each of the axes and where it ends, in [0, 1].
        scales: one for each of the axes; or
        sizes: the output's.
        antialias: whether the filter is stretched where the output is smaller.
        axes: those that are resized, all by default.
        coordinate_transformation_mode: where an output element lies in the input.
        cubic_coeff_a: the parameter of the cubic kernel.
        exclude_outside: whether elements beyond the edge weigh nothing, rather than repeat the edge.
        extrapolation_value: the output outside of the input, for tf_crop_and_resize.
        keep_aspect_ratio_policy: stretch, not_larger or not_smaller, for sizes.
        mode: nearest, linear or cubic.
        nearest_mode: how a coordinate is rounded.

    Returns:
        The resized X, of its dtype.

    Raises:
        InvalidGraph: not exactly one of scales and sizes is given, or an attribute is unknown.
        TooLarge: the output is too large.
    """
    chosen = tuple(a % X.ndim for a in axes) if axes else tuple(range(X.ndim))
    if bool(scales) == bool(sizes) or len(scales or sizes or ()) != len(chosen):
        raise errors.InvalidGraph(f"Resize: either scales or sizes, for {len(chosen)} axes, must be given")
    crop = roi if coordinate_transformation_mode == "tf_crop_and_resize" else None
    if coordinate_transformation_mode == "tf_crop_and_resize" and len(roi or ()) != 2 * len(chosen):
        raise errors.InvalidGraph(f"Resize: tf_crop_and_resize needs a roi of {2 * len(chosen)} numbers")
    lines = [_Line(n, n, 1.0) for n in X.shape]
    for i, (axis, (out, scale)) in enumerate(
        zip(chosen, _outputs(X, chosen, scales, sizes, keep_aspect_ratio_policy), strict=True)
    ):
        start, end = (crop[i], crop[len(chosen) + i]) if crop else (0.0, 1.0)
        lines[axis] = _Line(X.shape[axis], out, scale, start, end)
    method = _Method(
        mode,
        coordinate_transformation_mode,
        nearest_mode,
        cubic_coeff_a,
        antialias,
        exclude_outside,
        extrapolation_value,
    )
    return _interpolate(X, lines, method)


def _outputs(
    X: Tensor, axes: Sequence[int], scales: Floats | None, sizes: Ints | None, policy: str
) -> list[tuple[int, float]]:
    """The size and the scale of each of the axes."""
    if scales:
        if min(scales) <= 0:
            raise errors.InvalidGraph(f"Resize: scales must be greater than 0, not {list(scales)}")
        return [(floor(X.shape[a] * s), s) for a, s in zip(axes, scales, strict=True)]
    pairs = list(zip(axes, sizes or (), strict=True))
    ratios = [size / X.shape[a] if X.shape[a] else 1.0 for a, size in pairs]
    match policy:
        case "stretch":
            return [(size, ratio) for (_, size), ratio in zip(pairs, ratios, strict=True)]
        case "not_larger" | "not_smaller":
            ratio = min(ratios) if policy == "not_larger" else max(ratios)
            return [(floor(ratio * X.shape[a] + 0.5), ratio) for a in axes]
    raise errors.InvalidGraph(f"Resize: keep_aspect_ratio_policy {policy!r} is unknown")


@kernel("Resize", 11)
def resize_11(
    X: Tensor,
    roi: Floats | None = None,
    scales: Floats | None = None,
    sizes: Ints | None = None,
    *,
    coordinate_transformation_mode: str = "half_pixel",
    cubic_coeff_a: float = -0.75,
    exclude_outside: int = 0,
    extrapolation_value: float = 0.0,
    mode: str = "nearest",
    nearest_mode: str = "round_prefer_floor",
) -> Tensor:
    """As from opset 18 on, over all axes."""
    return resize(
        X,
        roi,
        None if sizes else scales,
        sizes,
        coordinate_transformation_mode=coordinate_transformation_mode,
        cubic_coeff_a=cubic_coeff_a,
        exclude_outside=exclude_outside,
        extrapolation_value=extrapolation_value,
        mode=mode,
        nearest_mode=nearest_mode,
    )
