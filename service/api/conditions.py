"""Conditional requests (RFC 9110, section 13)."""

import re

from service.errors import InvalidRequest, PreconditionFailed

_TAG = r'(?:W/)?"[\x21\x23-\x7e\x80-\xff]*"'
_TAGS = re.compile(rf"\s*{_TAG}(?:\s*,\s*{_TAG})*\s*")


def not_modified(if_none_match: str | None, etag: str) -> bool:
    """Whether the client has the representation of that tag already: the weak comparison.

    Raises:
        InvalidRequest: the header is no list of entity tags.
    """
    if if_none_match is None:
        return False
    tags = _tags(if_none_match, "If-None-Match")
    return tags is None or etag.removeprefix("W/") in {tag.removeprefix("W/") for tag in tags}


def require_match(if_match: str, revision: int) -> None:
    """Hold a session's revision against `If-Match`: the strong comparison, so that a weak tag matches nothing.

    Raises:
        InvalidRequest: the header is no list of entity tags.
        PreconditionFailed: the session is at another revision.
    """
    tags = _tags(if_match, "If-Match")
    if tags is not None and revision_tag(revision) not in tags:
        raise PreconditionFailed(f"the session is at revision {revision}, If-Match asks for {if_match.strip()}")


def revision_tag(revision: int) -> str:
    """The entity tag of a session."""
    return f'"{revision}"'


def _tags(header: str, name: str) -> list[str] | None:
    """The entity tags of a header, None for `*`."""
    if header.strip() == "*":
        return None
    if not _TAGS.fullmatch(header):
        raise InvalidRequest(f'{name} is {header!r}; it is * or a list of entity tags such as "3"', f"#/header/{name}")
    return re.findall(_TAG, header)
