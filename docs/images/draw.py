"""Draw the pictures of this folder: Jacobians by their closed forms, through the service's own encoder.

python docs/images/draw.py
"""

from pathlib import Path

import numpy as np

from service.api.encoders import png
from service.sessions.session import SliceResult


def banded(size: int = 40, viscosity: float = 0.05) -> np.ndarray:
    """The Jacobian of the residual of a steady Burgers equation, u u' - viscosity u'', by central differences."""
    grid = np.linspace(0, 2 * np.pi, size)
    u, step = np.sin(grid) + 0.3, grid[1]
    lower = -u / (2 * step) - viscosity / step**2
    upper = u / (2 * step) - viscosity / step**2
    middle = np.gradient(u, step) + 2 * viscosity / step**2
    jacobian = np.diag(middle) + np.diag(lower[1:], -1) + np.diag(upper[:-1], 1)
    jacobian[[0, -1]] = np.eye(size)[[0, -1]]
    return jacobian


def dense() -> np.ndarray:
    """The Jacobian of a small multilayer perceptron, V tanh(W x)."""
    random = np.random.default_rng(4)
    w, v, x = random.standard_normal((32, 48)) / 7, random.standard_normal((24, 32)) / 6, random.standard_normal(48)
    return (v * (1 - np.tanh(w @ x) ** 2)) @ w


def draw(file: str, array: np.ndarray, y: str, x: str, known: np.ndarray | None = None) -> None:
    """Draw a block, whole."""
    block = SliceResult({"y": y, "x": x}, ":", 1, array, 0, 0, "", {}, known)
    Path(__file__).with_name(file).write_bytes(b"".join(png.encode(block, 640)))


if __name__ == "__main__":
    block = dense()
    evaluated = np.zeros(block.shape, np.bool_)
    evaluated[[*range(6), 9, 13, 14, 20]] = True
    draw("banded.png", banded(), "residual", "u")
    draw("dense.png", block, "y", "x")
    draw("lazy.png", block, "y", "x", evaluated)
