"""Models of JAX by jax2onnx, float64; derivatives by jax.jacobian."""

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from folders import DOUBLE, Example, write
from jax2onnx import to_onnx
from numpy.typing import NDArray

Array = NDArray[np.float64]


def example(name: str, title: str, function: Callable[..., jax.Array], inputs: Sequence[Array]) -> Example:
    """A function of arrays at a point, all of them xs."""
    model = to_onnx(function, [jax.ShapeDtypeStruct(v.shape, v.dtype) for v in inputs], enable_double_precision=True)
    xs = tuple(value.name for value in model.graph.input)
    (y,) = (value.name for value in model.graph.output)
    value = np.asarray(function(*inputs))
    first = jax.jacobian(function, tuple(range(len(inputs))))(*inputs)
    return Example(
        name=name,
        title=title,
        framework=f"jax {jax.__version__}",
        exporter="jax2onnx",
        model=model,
        inputs=dict(zip(xs, inputs, strict=True)),
        xs=xs,
        outputs={y: value},
        jacobians={
            (y, x): np.asarray(block).reshape(value.size, v.size) for x, v, block in zip(xs, inputs, first, strict=True)
        },
        tolerance=DOUBLE,
    )


def double_pendulum(state: jax.Array, lengths: jax.Array) -> jax.Array:
    """The state after twenty steps of a double pendulum, as a scan of semi-implicit Euler steps."""

    def step(state: jax.Array, _: None) -> tuple[jax.Array, None]:
        angles, speeds = state[:2], state[2:]
        cosine, sine = jnp.cos(angles[0] - angles[1]), jnp.sin(angles[0] - angles[1])
        mass = jnp.array([[2.0, 0.0], [0.0, 1.0]]) * lengths**2 + cosine * lengths.prod() * (1 - jnp.eye(2))
        coupling = lengths.prod() * sine * jnp.stack([-(speeds[1] ** 2), speeds[0] ** 2])
        force = coupling - 9.81 * jnp.array([2.0, 1.0]) * lengths * jnp.sin(angles)
        determinant = mass[0, 0] * mass[1, 1] - mass[0, 1] * mass[1, 0]
        acceleration = (
            jnp.stack([mass[1, 1] * force[0] - mass[0, 1] * force[1], mass[0, 0] * force[1] - mass[1, 0] * force[0]])
            / determinant
        )
        speeds = speeds + 0.02 * acceleration
        return jnp.concatenate([angles + 0.02 * speeds, speeds]), None

    return jax.lax.scan(step, state, None, length=20)[0]


if __name__ == "__main__":
    jax.config.update("jax_enable_x64", True)
    state, lengths = np.array([0.5, -0.3, 0.2, 0.9]), np.array([1.0, 0.7])
    write(example("jax_pendulum", "A double pendulum by lax.scan", double_pendulum, (state, lengths)))
