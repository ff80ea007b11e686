"""Conditional requests, by tables."""

from contextlib import nullcontext

import pytest

from service.api.conditions import not_modified, require_match
from service.errors import InvalidRequest, PreconditionFailed


@pytest.mark.parametrize(
    ("header", "same"),
    [
        pytest.param(None, False, id="absent"),
        pytest.param('W/"a.json"', True, id="equal"),
        pytest.param('"a.json"', True, id="weak-comparison"),
        pytest.param('W/"b.json"', False, id="other"),
        pytest.param('W/"b.json", W/"a.json"', True, id="list"),
        pytest.param("*", True, id="star"),
        pytest.param('W/"a.npy"', False, id="other-representation"),
    ],
)
def test_if_none_match(header: str | None, same: bool) -> None:
    assert not_modified(header, 'W/"a.json"') is same


@pytest.mark.parametrize(
    ("header", "refusal"),
    [
        pytest.param('"3"', None, id="equal"),
        pytest.param("*", None, id="star"),
        pytest.param('"2", "3"', None, id="list"),
        pytest.param('"2"', PreconditionFailed, id="other"),
        pytest.param('W/"3"', PreconditionFailed, id="weak-matches-nothing"),
        pytest.param('"x"', PreconditionFailed, id="no-revision"),
        pytest.param("3", InvalidRequest, id="unquoted"),
        pytest.param('"3" "4"', InvalidRequest, id="no-comma"),
        pytest.param("", InvalidRequest, id="empty"),
    ],
)
def test_if_match(header: str, refusal: type[Exception] | None) -> None:
    with pytest.raises(refusal) if refusal else nullcontext():
        require_match(header, 3)
