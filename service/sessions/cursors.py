"""The cursor of a list: the place after which the next page begins, opaque to clients."""

from base64 import urlsafe_b64decode, urlsafe_b64encode

from service import errors


def write_cursor(created_at: float, session_id: str) -> str:
    """The cursor of the page after this session."""
    return urlsafe_b64encode(f"{created_at!r} {session_id}".encode()).decode().rstrip("=")


def read_cursor(cursor: str) -> tuple[float, str]:
    """When the last session of the page before was created, and its id.

    Raises:
        InvalidRequest: the text is no cursor that was given out.
    """
    try:
        created_at, session_id = urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)).decode().split(" ")
        return float(created_at), session_id
    except ValueError:
        raise errors.InvalidRequest(
            "the cursor is none that this service gave out; take next_cursor as it was answered", "#/query/cursor"
        ) from None
