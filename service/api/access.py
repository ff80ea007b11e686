"""Who is asking."""

from starlette.requests import Request

PUBLIC = "public"


def tenant_of(request: Request) -> str:
    """The tenant that a request speaks for. Without keys there is one, whom everything belongs to."""
    return PUBLIC
