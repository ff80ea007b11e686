"""Content negotiation (RFC 9110, section 12.5.1)."""

from collections.abc import Iterator
from functools import lru_cache

from service.errors import NotAcceptable


@lru_cache(maxsize=256)
def choose(accept: str, offered: tuple[str, ...]) -> str:
    """The media type to answer with.

    Args:
        accept: the `Accept` header; empty where there is none, which accepts anything.
        offered: the media types there are, the default first. Of equally welcome ones the earlier is taken.

    Raises:
        NotAcceptable: none of them is accepted.
    """
    if not accept.strip():
        return offered[0]
    ranges = tuple(_ranges(accept))
    best = max(offered, key=lambda media_type: _quality(media_type, ranges))
    if _quality(best, ranges) > 0:
        return best
    raise NotAcceptable(f"Accept: {accept[:200]} leaves nothing to answer with; there is {', '.join(offered)}")


def _ranges(accept: str) -> Iterator[tuple[str, float]]:
    """Each media range with its quality; a quality that is not a number from 0 to 1 makes a range unwelcome."""
    for element in accept.split(","):
        media_range, *parameters = (part.strip().lower() for part in element.split(";"))
        quality = next((p[2:] for p in parameters if p.startswith("q=")), "1")
        try:
            yield media_range, max(0.0, min(1.0, float(quality)))
        except ValueError:
            yield media_range, 0.0


def _quality(media_type: str, ranges: tuple[tuple[str, float], ...]) -> float:
    """What the most specific range says of a media type, 0 where none matches."""
    kind = media_type.partition("/")[0]
    for specific in (media_type, f"{kind}/*", "*/*"):
        qualities = [quality for media_range, quality in ranges if media_range == specific]
        if qualities:
            return max(qualities)
    return 0.0
