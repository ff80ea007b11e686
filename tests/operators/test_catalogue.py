"""The catalogue, the kernels and ONNX's own schemas say the same."""

import inspect

import numpy as np
import onnx
import pytest

from service.catalogue import EXPRESSION, INSTEAD, MICROSOFT, OPERATORS
from service.operators.registry import KERNELS, Input, Kernel
from tests.operators.cases import NEWEST

SCHEMAS: dict[tuple[str, str], list[onnx.defs.OpSchema]] = {}
for _schema in onnx.defs.get_all_schemas_with_history():
    SCHEMAS.setdefault((_schema.domain, _schema.name), []).append(_schema)

FORMS_OF_ONE_VALUE = {("", "Constant")}
"""Operators whose one required attribute became one of several forms in a later version."""


def named(key: tuple[str, str]) -> str:
    return ".".join(filter(None, key))


KEYS = [pytest.param(key, id=named(key)) for key in sorted(KERNELS)]
OF_ONNX = [pytest.param(key, id=named(key)) for key in sorted(KERNELS) if key[0] not in (MICROSOFT, EXPRESSION)]


def test_catalogue_and_kernels_name_the_same_operators() -> None:
    assert set(OPERATORS) == set(KERNELS)


def test_every_operator_of_onnx_is_supported_or_has_advice() -> None:
    of_onnx = {(s.domain, s.name) for s in onnx.defs.get_all_schemas()}
    assert {name for domain, name in of_onnx - set(OPERATORS)} == {n for n in INSTEAD if n not in OF_ONNX_RUNTIME}


OF_ONNX_RUNTIME = {"GroupQueryAttention", "MultiHeadAttention"}
"""Operators with advice that are not ONNX's own."""


@pytest.mark.parametrize("key", KEYS)
def test_versions_are_those_of_the_kernels(key: tuple[str, str]) -> None:
    assert OPERATORS[key].versions == tuple(sorted(k.since for k in KERNELS[key]))


def served(key: tuple[str, str]) -> list[tuple[Kernel, onnx.defs.OpSchema]]:
    """Every version of the schema with the kernel that serves it."""
    pairs = []
    for schema in SCHEMAS[key]:
        kernel = next((k for k in KERNELS[key] if k.since <= schema.since_version), None)
        if kernel is not None and not schema.deprecated:
            pairs.append((kernel, schema))
    return pairs


@pytest.mark.parametrize("key", OF_ONNX)
def test_each_kernel_is_of_a_version_of_onnx(key: tuple[str, str]) -> None:
    assert {k.since for k in KERNELS[key]} <= {s.since_version for s in SCHEMAS[key]}


@pytest.mark.parametrize("key", OF_ONNX)
def test_inputs_are_those_of_the_schema(key: tuple[str, str]) -> None:
    for kernel, schema in served(key):
        for position, formal in enumerate(schema.inputs):
            declared: Input = kernel.input_at(position)
            assert declared.variadic == (formal.option == onnx.defs.OpSchema.FormalParameterOption.Variadic), schema
            if formal.option == onnx.defs.OpSchema.FormalParameterOption.Optional:
                assert declared.optional, f"{schema.name} {schema.since_version}: {formal.name} is optional"
        extra = kernel.inputs[len(schema.inputs) :]
        assert all(i.optional for i in extra), f"{schema.name} {schema.since_version}: {extra}"


def _text(value: object) -> object:
    return value.decode() if isinstance(value, bytes) else value


@pytest.mark.parametrize("key", OF_ONNX)
def test_attributes_are_those_of_the_schema(key: tuple[str, str]) -> None:
    newest = max((s.since_version for s in SCHEMAS[key]), default=NEWEST)
    for kernel, schema in served(key):
        place = f"{schema.name} {schema.since_version}"
        assert set(schema.attributes) <= set(kernel.attributes), place
        if schema.since_version == newest:
            assert set(kernel.attributes) == set(schema.attributes), place
        for name, attribute in schema.attributes.items():
            given = kernel.attributes[name]
            if attribute.required:
                assert given is inspect.Parameter.empty or key in FORMS_OF_ONE_VALUE, f"{place}: {name} is required"
            elif attribute.default_value.type:
                expected = onnx.helper.get_attribute_value(attribute.default_value)
                expected = tuple(map(_text, expected)) if isinstance(expected, list) else _text(expected)
                same = np.float32(given) == np.float32(expected) if isinstance(expected, float) else given == expected
                assert same, f"{place}: the default of {name} is {expected}, not {given}"
            else:
                assert given is None, f"{place}: {name} has no default, not {given}"
