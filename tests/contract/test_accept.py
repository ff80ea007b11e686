"""Content negotiation, by a table."""

import pytest

from service.api.accept import choose
from service.errors import NotAcceptable

OFFERED = ("application/json", "application/x-npy", "application/octet-stream")


@pytest.mark.parametrize(
    ("accept", "chosen"),
    [
        pytest.param("", "application/json", id="none"),
        pytest.param("*/*", "application/json", id="anything"),
        pytest.param("application/*", "application/json", id="any-application"),
        pytest.param("application/x-npy", "application/x-npy", id="exact"),
        pytest.param("Application/X-NPY ; version=1", "application/x-npy", id="case-and-parameters"),
        pytest.param("application/json;q=0.5, application/x-npy", "application/x-npy", id="quality"),
        pytest.param("application/json;q=0.5, */*;q=0.4", "application/json", id="wildcard-is-worth-less"),
        pytest.param("application/json;q=0, */*", "application/x-npy", id="refused-by-zero"),
        pytest.param("text/html, application/octet-stream;q=0.1", "application/octet-stream", id="unknown-beside"),
        pytest.param("application/json, application/problem+json", "application/json", id="generated-client"),
        pytest.param("application/json;q=much, application/x-npy;q=0.1", "application/x-npy", id="bad-quality"),
        pytest.param(
            "application/octet-stream, application/x-npy",
            "application/x-npy",
            id="equal-quality",
        ),
    ],
)
def test_choose(accept: str, chosen: str) -> None:
    assert choose(accept, OFFERED) == chosen


@pytest.mark.parametrize(
    "accept",
    [
        pytest.param("text/csv", id="unknown"),
        pytest.param("json", id="no-media-type"),
        pytest.param("application/json;q=0", id="zero"),
        pytest.param("text/*", id="other-kind"),
        pytest.param(",", id="commas"),
    ],
)
def test_refusal_names_what_there_is(accept: str) -> None:
    with pytest.raises(NotAcceptable) as refused:
        choose(accept, OFFERED)
    assert all(media_type in refused.value.detail for media_type in OFFERED)
