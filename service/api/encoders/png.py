"""`image/png`: a slice as a picture, for eyes.

Colours diverge about zero, grey is not finite, hatched is not evaluated. Where a picture has fewer pixels than the
slice has entries, a pixel shows the entry of largest magnitude of those that fall into it: no entry disappears.
"""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from io import BytesIO
from typing import Any

import numpy as np

from service.api.responses import Buffer
from service.errors import NotAcceptable
from service.lazy.index import Entry, parse
from service.sessions.session import SliceResult

COLOURS = "RdBu_r"
NOT_FINITE = (128, 128, 128)
INK = (0.2, 0.2, 0.2)
HATCH = {"facecolor": "white", "edgecolor": (0.65, 0.65, 0.65), "hatch": "////", "linewidth": 0.0}
DOTS_PER_INCH = 128
"""A power of two, so that a size in inches is exact in pixels."""

MOST_PANELS = 9
COLUMNS = 2
"""The place of the columns among samples, rows and columns."""

SCALE = (-1.0, -0.5, 0.0, 0.5, 1.0)
SCALE_LETTERS = 7


@dataclass(frozen=True, slots=True)
class Axis:
    """An axis of a picture.

    Attributes:
        title: what its entries are.
        numbers: which of the block's each entry is.
    """

    title: str
    numbers: Sequence[int]


SINGLE = Axis("", range(1))
"""In the place of an axis that the slice lacks; it bears no numbers."""


@dataclass(frozen=True, slots=True)
class _Layout:
    """Where things stand, in pixels.

    Attributes:
        width: of the picture.
        height: of the picture.
        font: the height of letters.
        left: of the first panel.
        top: of the first panel, from above.
        panel: width and height of a panel.
        step: from a panel to its neighbours, to the right and down.
        across: how many panels stand side by side.
        count: how many there are.
    """

    width: int
    height: int
    font: float
    left: int
    top: int
    panel: tuple[int, int]
    step: tuple[int, int]
    across: int
    count: int


def encode(result: SliceResult, width: int = 800) -> list[Buffer]:
    """Draw a slice.

    Args:
        result: 0-D and 1-D are one row or column; 3-D is a panel for each sample, all on one scale.
        width: of the picture, in pixels; its height follows from the shape.

    Raises:
        NotAcceptable: more samples than can be told apart.
    """
    panels, rows, columns = axes(result)
    shape = (len(panels.numbers), len(rows.numbers), len(columns.numbers))
    if shape[0] > MOST_PANELS:
        raise NotAcceptable(
            f"a picture has {MOST_PANELS} samples at most, the slice has {shape[0]}; index one or some, as in 0:4"
        )
    if result.array.size == 0:
        figure = _words(f"nothing to see: the slice has shape {list(result.array.shape)}", width)
    else:
        array = result.array.reshape(shape)
        known = None if result.known is None else result.known.reshape(shape)
        figure = _drawn(array, known, (panels, rows, columns), _title(result), width)
    content = BytesIO()
    figure.savefig(content, format="png", metadata={"Software": None})
    return [content.getbuffer()]


# --- what the axes are -----------------------------------------------------------------------------------------------


def axes(result: SliceResult) -> tuple[Axis, Axis, Axis]:
    """Panels, rows and columns: the axes of the slice, with axes of one entry for those that it lacks."""
    *_, y, x = map(_short, result.names.values())
    entries = _entries(result)
    titles = ("samples", f"elements of {y}", f"elements of {x}" if len(entries) > 1 else "elements")
    left = _left(list(zip(range(3 - len(entries), 3), entries, strict=True)))
    axes = [_axis(titles[at], entry, size) for (at, entry), size in zip(left, result.array.shape, strict=True)]
    if len(axes) == 1 and left[0][0] != COLUMNS:
        axes.append(SINGLE)
    panels, rows, columns = [SINGLE] * (3 - len(axes)) + axes
    return panels, rows, columns


def _entries(result: SliceResult) -> list[Entry]:
    """The entries of the index, one for each axis of the block."""
    given = list(parse(result.index))
    axes = result.array.ndim + sum(isinstance(entry, int) for entry in given)
    if Ellipsis not in given:
        given.append(Ellipsis)
    at = given.index(Ellipsis)
    return [*given[:at], *[slice(None)] * (axes - len(given) + 1), *given[at + 1 :]]


def _left(axes: list[tuple[int, Entry]]) -> list[tuple[int, Entry]]:
    """The axes that an index leaves, in NumPy's order: a list that is apart from an integer comes first."""
    advanced = [at for at, (_, entry) in enumerate(axes) if not isinstance(entry, slice)]
    left = [axis for axis in axes if not isinstance(axis[1], int)]
    if advanced and advanced[-1] - advanced[0] >= len(advanced):
        left.sort(key=lambda axis: isinstance(axis[1], slice))
    return left


def _axis(title: str, entry: Entry, size: int) -> Axis:
    """An axis of the slice, by the block's numbers where the index alone tells them, else by its own."""
    match entry:
        case slice(start=None | int() as start, step=None | int() as step) if (start or 0) >= 0 and (step or 1) > 0:
            start, step = start or 0, step or 1
            return Axis(title, range(start, start + step * size, step))
        case list() if min(entry, default=0) >= 0:
            return Axis(title, entry)
        case _:
            return Axis(f"{title}, as in the slice", range(size))


def _title(result: SliceResult) -> str:
    names = list(map(_short, result.names.values()))
    index = re.sub(r"\s*,\s*", ", ", result.index.strip())
    wanted = f"∂{names[0]}/∂{names[1]}" if len(names) == 2 else f"∂²{names[0]}/∂{names[1]}∂{names[2]}"
    return f"{wanted} [{index}]"


def _short(name: str, room: int = 24) -> str:
    shown = "".join(letter if letter.isprintable() else "?" for letter in name)
    return shown if len(shown) <= room else f"{shown[: room - 1]}…"


# --- what the entries are --------------------------------------------------------------------------------------------


def _reduced(array: np.ndarray, known: np.ndarray | None, shape: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """At most so many rows and columns, each entry the one of largest magnitude of a group (NaN before all).

    Returns:
        The entries as float64, and whether any entry of the group is known.
    """
    tops, lefts = (_starts(size, most) for size, most in zip(array.shape, shape, strict=True))
    ends = [*tops[1:], array.shape[0]]
    high = np.empty((len(tops), array.shape[1]))
    low, seen = np.empty_like(high), np.ones(high.shape, np.bool_)
    for i, (top, end) in enumerate(zip(tops, ends, strict=True)):
        part = array[top:end].astype(np.float64, copy=False)
        if known is not None:
            part = np.where(known[top:end], part, 0.0)
            known[top:end].any(axis=0, out=seen[i])
        part.max(axis=0, out=high[i])
        part.min(axis=0, out=low[i])
    high, low = np.maximum.reduceat(high, lefts, axis=1), np.minimum.reduceat(low, lefts, axis=1)
    return np.where(high < -low, low, high), np.logical_or.reduceat(seen, lefts, axis=1)


def _starts(size: int, most: int) -> np.ndarray:
    count = min(size, most)
    return np.arange(count) * size // count


# --- drawing ---------------------------------------------------------------------------------------------------------


def _layout(shape: tuple[int, ...], label: int, width: int) -> _Layout:
    """Lay out a picture, without a legend.

    Args:
        shape: panels, rows, columns.
        label: the letters of the longest number of a row.
        width: of the picture.
    """
    count, rows, columns = shape
    font = min(max(6 + width / 95, 9.0), 30.0)
    left, right = int(font * (2.4 + 0.62 * label)), int(font * (2.8 + 0.62 * SCALE_LETTERS))
    across = math.ceil(math.sqrt(count))
    down = math.ceil(count / across)
    gaps = (int(font), int(2 * font))
    wide = max(1, (width - left - right - gaps[0] * (across - 1)) // across)
    high = int(min(max(wide * rows / columns, 3 * font, wide / 8), wide))
    top = int(font * (2.2 if count == 1 else 3.8))
    height = top + down * high + (down - 1) * gaps[1] + int(3.2 * font)
    return _Layout(width, height, font, left, top, (wide, high), (wide + gaps[0], high + gaps[1]), across, count)


def _drawn(array: np.ndarray, known: np.ndarray | None, axes: tuple[Axis, ...], title: str, width: int) -> Any:
    """The figure of some panels.

    Args:
        array: panels, rows, columns.
        known: which entries were evaluated, None for all.
        axes: what they are.
        title: above all.
        width: of the picture, in pixels.
    """
    from matplotlib import colormaps  # noqa: PLC0415 - large, and few ask for it

    panels, rows, columns = axes
    layout = _layout(array.shape, len(str(max(rows.numbers))), width)
    most = (layout.panel[1], layout.panel[0])
    parts = [_reduced(part, None if known is None else known[i], most) for i, part in enumerate(array)]
    values, seen = (np.stack(found) for found in zip(*parts, strict=True))
    finite = np.isfinite(values)
    largest = float(np.abs(values, where=finite, out=np.zeros_like(values)).max()) or 1.0
    colours = colormaps[COLOURS]
    pixels = colours(np.where(finite, values, 0.0) / largest / 2 + 0.5, bytes=True)
    pixels[~finite] = (*NOT_FINITE, 255)
    pixels[~seen] = 0
    marks: dict[str, tuple[np.ndarray, Mapping[str, Any]]] = {
        "not finite": (finite, {"facecolor": [part / 255 for part in NOT_FINITE]}),
        "not evaluated": (seen, HATCH),
    }
    legend = {name: style for name, (usual, style) in marks.items() if not usual.all()}

    sheet = _Sheet(replace(layout, height=layout.height + int(1.8 * layout.font)) if legend else layout)
    for place, (number, image) in enumerate(zip(panels.numbers, pixels, strict=True)):
        panel = sheet.panel(place, image, rows, columns)
        if layout.count > 1:
            panel.set_title(f"sample {number}", fontsize=sheet.points, pad=sheet.points / 3, color=INK)
    sheet.scale(colours, largest)
    sheet.write(title, rows.title, columns.title)
    sheet.legend(legend)
    return sheet.figure


def _words(text: str, width: int) -> Any:
    """The figure of a line of text."""
    layout = _layout((1, 1, 8), 1, width)
    sheet = _Sheet(layout)
    sheet.figure.text(0.5, 0.5, text, fontsize=sheet.points, ha="center", va="center", wrap=True, color=INK)
    return sheet.figure


class _Sheet:
    """A figure that is laid out in pixels."""

    def __init__(self, layout: _Layout) -> None:
        from matplotlib.backends.backend_agg import FigureCanvasAgg  # noqa: PLC0415
        from matplotlib.figure import Figure  # noqa: PLC0415

        self.layout = layout
        self.points = layout.font * 72 / DOTS_PER_INCH
        self.figure: Any = Figure((layout.width / DOTS_PER_INCH, layout.height / DOTS_PER_INCH), dpi=DOTS_PER_INCH)
        FigureCanvasAgg(self.figure)

    def panel(self, place: int, image: np.ndarray, rows: Axis, columns: Axis) -> Any:
        """Draw a panel; only those at the left and at the bottom have numbers."""
        layout = self.layout
        down, right = divmod(place, layout.across)
        wide, high = layout.panel
        axes = self._axes(layout.left + right * layout.step[0], layout.top + down * layout.step[1], wide, high)
        axes.patch.set(**HATCH)
        sizes = len(rows.numbers), len(columns.numbers)
        extent = (-0.5, sizes[1] - 0.5, sizes[0] - 0.5, -0.5)
        axes.imshow(image, interpolation="nearest", aspect="auto", extent=extent)
        font = layout.font
        letters = len(str(max(columns.numbers)))
        axes.set_xticks(*_ticks(columns, wide / font / (1.5 + 0.62 * letters)))
        axes.set_yticks(*_ticks(rows, high / font / 2))
        lowest = place + layout.across >= layout.count
        self._style(axes, labelleft=right == 0, labelbottom=lowest)
        return axes

    def scale(self, colours: Any, largest: float) -> None:
        """Draw the scale of colours, at the right of all panels."""
        layout = self.layout
        last = (layout.count - 1) // layout.across
        left = layout.left + (layout.across - 1) * layout.step[0] + layout.panel[0] + int(layout.font)
        high = last * layout.step[1] + layout.panel[1]
        axes = self._axes(left, layout.top, int(layout.font), high)
        ramp = colours(np.linspace(1.0, 0.0, 256), bytes=True)[:, None]
        axes.imshow(ramp, aspect="auto", extent=(0.0, 1.0, -1.0, 1.0))
        axes.set_xticks([])
        shown = SCALE if high > 8 * layout.font else SCALE[::2]
        axes.set_yticks(shown, [_number(part * largest) for part in shown])
        axes.yaxis.tick_right()
        self._style(axes)

    def write(self, title: str, rows: str, columns: str) -> None:
        """Write the title and what the axes are."""
        layout, font = self.layout, self.layout.font
        wide = layout.left + (layout.across - 1) * layout.step[0] + layout.panel[0]
        down = (layout.count - 1) // layout.across * layout.step[1] + layout.panel[1]
        style: dict[str, Any] = {"ha": "center", "va": "center", "color": INK, "parse_math": False}
        middle = (layout.left + wide) / 2
        room = int((layout.width - font) / font / 0.62)
        self._text(layout.width / 2, 1.1 * font, _short(title, room), 1.1, **style)
        self._text(
            middle, layout.top + down + 2.4 * font, _short(columns, int((wide - layout.left) / font / 0.55)), **style
        )
        self._text(0.9 * font, layout.top + down / 2, _short(rows, int(down / font / 0.55)), rotation=90, **style)

    def legend(self, marks: Mapping[str, Mapping[str, Any]]) -> None:
        """Tell what is not a number's colour, at the bottom."""
        from matplotlib.patches import Patch  # noqa: PLC0415

        if marks:
            patches = [Patch(**{"edgecolor": INK, **style}, label=name) for name, style in marks.items()]
            self.figure.legend(
                handles=patches,
                loc="lower center",
                ncols=len(patches),
                frameon=False,
                fontsize=self.points,
                borderaxespad=0.1,
            )

    def _axes(self, left: int, top: int, wide: int, high: int) -> Any:
        width, height = self.layout.width, self.layout.height
        return self.figure.add_axes((left / width, 1 - (top + high) / height, wide / width, high / height))

    def _text(self, left: float, top: float, text: str, scale: float = 1.0, **style: Any) -> None:
        x, y = left / self.layout.width, 1 - top / self.layout.height
        self.figure.text(x, y, text, fontsize=scale * self.points, **style)

    def _style(self, axes: Any, **labels: bool) -> None:
        width = self.points / 16
        axes.spines[:].set(linewidth=width, edgecolor=INK)
        axes.tick_params(
            labelsize=self.points, width=width, length=self.points / 3, pad=self.points / 4, colors=INK, **labels
        )


def _ticks(axis: Axis, most: float) -> tuple[list[int], list[str]]:
    """Round numbers of an axis where it has an even step, else entries at even distances: places and labels."""
    from matplotlib.ticker import MaxNLocator  # noqa: PLC0415

    if axis is SINGLE:
        return [], []
    numbers = axis.numbers
    steady = numbers if isinstance(numbers, range) else range(len(numbers))
    wanted = MaxNLocator(max(1, int(most)), steps=[1, 2, 5, 10], integer=True).tick_values(steady[0], steady[-1])
    places = sorted({round((number - steady[0]) / steady.step) for number in wanted} & set(range(len(numbers))))
    return places, [str(numbers[place]) for place in places]


def _number(value: float) -> str:
    """Three digits, with a short exponent."""
    return re.sub(r"e([+-])0*", lambda m: "e" + m[1].strip("+"), f"{value:.3g}")
