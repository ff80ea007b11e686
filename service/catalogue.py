"""What operators there are: the one table behind validation, `GET /v1/operators` and the documentation.

Imports neither torch nor onnx, so that the serving process can read it; a test holds that every line has its kernels
in `service.operators`, one for each version, and the other way round.
"""

from dataclasses import dataclass

MICROSOFT = "com.microsoft"
ML = "ai.onnx.ml"
EXPRESSION = "jacobian"
"""The domain of the one operator that the expression language adds (`Promote`)."""


@dataclass(frozen=True, slots=True)
class Operator:
    """One operator.

    Attributes:
        name: ONNX's name.
        versions: the opset versions at which its meaning changes; the first is the oldest that is understood.
        differentiable: whether a gradient flows through any of its inputs.
        unsupported: what of it is refused, a sentence; empty if nothing.
        domain: ONNX's domain, "" for ai.onnx.
    """

    name: str
    versions: tuple[int, ...] = (1,)
    differentiable: bool = True
    unsupported: str = ""
    domain: str = ""


# Each family below names the file of `service/operators/` that has its kernels.
ELEMENTWISE: tuple[Operator, ...] = ()
ACTIVATIONS: tuple[Operator, ...] = ()
REDUCTIONS: tuple[Operator, ...] = ()
LINEAR: tuple[Operator, ...] = ()
SHAPING: tuple[Operator, ...] = ()
GATHERING: tuple[Operator, ...] = ()
CREATION: tuple[Operator, ...] = ()
CONVOLUTION: tuple[Operator, ...] = ()
POOLING: tuple[Operator, ...] = ()
NORMALIZATION: tuple[Operator, ...] = ()
RECURRENT: tuple[Operator, ...] = ()
RESAMPLING: tuple[Operator, ...] = ()
ATTENTION: tuple[Operator, ...] = ()
CONTROL_FLOW: tuple[Operator, ...] = ()
QUANTIZATION: tuple[Operator, ...] = ()
EXPRESSIONS: tuple[Operator, ...] = (Operator("Promote", (1,), domain=EXPRESSION),)

FAMILIES: dict[str, tuple[Operator, ...]] = {
    "elementwise": ELEMENTWISE,
    "activations": ACTIVATIONS,
    "reductions": REDUCTIONS,
    "linear": LINEAR,
    "shaping": SHAPING,
    "gathering": GATHERING,
    "creation": CREATION,
    "convolution": CONVOLUTION,
    "pooling": POOLING,
    "normalization": NORMALIZATION,
    "recurrent": RECURRENT,
    "resampling": RESAMPLING,
    "attention": ATTENTION,
    "control_flow": CONTROL_FLOW,
    "quantization": QUANTIZATION,
    "expression": EXPRESSIONS,
}
OPERATORS: dict[tuple[str, str], Operator] = {(o.domain, o.name): o for family in FAMILIES.values() for o in family}
"""(domain, name) -> the operator. In a model, the domain "ai.onnx" is written ""."""
