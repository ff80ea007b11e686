"""The text of an index becomes a tuple that NumPy understands; what a block makes of it is `selection`'s matter.

An entry is an integer, a slice, `...` (once) or a list of integers (once), as between the brackets in NumPy. Words are
read by an allowlist and nothing is evaluated.
"""

import re
from types import EllipsisType
from typing import TypeAlias, final

from service import errors

Entry: TypeAlias = int | slice | list[int] | EllipsisType
Index: TypeAlias = tuple[Entry, ...]

LENGTH_LIMIT = 100_000
"""The most characters of an index."""

DIGITS_LIMIT = 18
"""The most digits of an integer, so that each fits an int64."""

TOKEN = re.compile(r"[:,\[\]()]|-\s*[^\s:,\[\]()-]+|[^\s:,\[\]()-]+|-", re.ASCII)
INTEGER = re.compile(r"(-?)\s*(0|[1-9][0-9]*)", re.ASCII)


def parse(text: str) -> Index:
    """Read an index.

    Args:
        text: what stands between the brackets; blanks are ignored, `()` is the empty index.

    Raises:
        InvalidIndex: anything else than integers, slices, `...` and a list of integers, with its position (from 1).
    """
    if len(text) > LENGTH_LIMIT:
        raise errors.InvalidIndex(f"the index has {len(text)} characters; the limit is {LENGTH_LIMIT}")
    reader = _Reader(text)
    if reader.words == ["(", ")"]:
        return ()
    entries: list[Entry] = []
    while not (entries and reader.ended):
        place = reader.place
        entry = _entry(reader)
        if isinstance(entry, list | EllipsisType) and any(type(e) is type(entry) for e in entries):
            name = "list" if isinstance(entry, list) else "'...'"
            raise errors.InvalidIndex(f"a second {name} {place} of the index; it has one at most")
        entries.append(entry)
        if not reader.take(",") and not reader.ended:
            raise reader.fault("',' or the end")
    return tuple(entries)


def whole(shape: tuple[int, ...]) -> str:
    """What an index that is left out stands for on a block of that shape."""
    return ":" if shape else "..."


@final
class _Reader:
    """The words of an index, taken one after the other."""

    def __init__(self, text: str) -> None:
        matches = list(TOKEN.finditer(text))
        self.words = [m[0] for m in matches]
        self._places = [f"at position {m.start() + 1}" for m in matches]
        self._at = 0

    @property
    def ended(self) -> bool:
        return self._at == len(self.words)

    @property
    def word(self) -> str:
        return "" if self.ended else self.words[self._at]

    @property
    def place(self) -> str:
        return "at the end" if self.ended else self._places[self._at]

    def take(self, word: str) -> bool:
        """Pass over the next word if it is this one."""
        found = self.word == word
        self._at += found
        return found

    def integer(self) -> int | None:
        """The next word if it is an integer, which is passed over."""
        match = INTEGER.fullmatch(self.word)
        if match is None:
            return None
        sign, digits = match.groups()
        if len(digits) > DIGITS_LIMIT:
            raise errors.InvalidIndex(f"an integer of {len(digits)} digits {self.place}; the limit is {DIGITS_LIMIT}")
        self._at += 1
        return int(sign + digits)

    def fault(self, wanted: str) -> errors.InvalidIndex:
        found = f"{self.word[:40]!r} {self.place}" if self.word else "nothing at the end"
        return errors.InvalidIndex(f"{found} of the index, where {wanted} is wanted")


def _entry(reader: _Reader) -> Entry:
    if reader.take("..."):
        return Ellipsis
    if reader.take("["):
        return _list(reader)
    start = reader.integer()
    if reader.take(":"):
        return _slice(start, reader)
    if start is None:
        raise reader.fault("an integer, a slice, '...' or a list of integers")
    return start


def _list(reader: _Reader) -> list[int]:
    numbers: list[int] = []
    while not reader.take("]"):
        number = reader.integer()
        if number is None:
            raise reader.fault("an integer or ']'")
        numbers.append(number)
        if not reader.take(",") and reader.word != "]":
            raise reader.fault("',' or ']'")
    return numbers


def _slice(start: int | None, reader: _Reader) -> slice:
    stop = reader.integer()
    if not reader.take(":"):
        return slice(start, stop)
    place = reader.place
    step = reader.integer()
    if step == 0:
        raise errors.InvalidIndex(f"a step of zero {place} of the index; a step is any other integer")
    return slice(start, stop, step)
