"""A figure as SVG for a page, in the page's theme, with nothing in it that could be markup."""

from __future__ import annotations

import io
import re
import warnings
import xml.etree.ElementTree as ET

from markupsafe import Markup
from matplotlib.figure import Figure

from untrue.report.format import label

# Colours that stand for those of the page, so that a plot follows its light or dark theme.
INK, MUTED, RULE, CARD = "#010203", "#040506", "#070809", "#0a0b0c"
BLUE, WORSE = "#0072b2", "#b34700"  # too dark for a dark page
_THEME = {
    INK: "currentColor",
    MUTED: "var(--muted)",
    RULE: "var(--rule)",
    CARD: "var(--card)",
    BLUE: "var(--blue)",
    WORSE: "var(--worse)",
}

_ELEMENTS = {"svg", "defs", "clipPath", "g", "path", "rect", "use", "text", "tspan"}
_ATTRIBUTES = {"viewBox", "id", "d", "style", "transform", "x", "y", "width", "height", "clip-path", "href"}


def to_svg(figure: Figure, key: str, title: str, description: str) -> Markup:
    """The figure as one `<svg>` element, to be put into a page as it is.

    Only drawing elements and attributes that are named here survive, and all text is escaped, so no label can become
    markup. It has no fixed size: it fills the width of what holds it.

    Args:
        figure: The figure, drawn in the theme's colours.
        key: What makes its ids unique in the page.
        title: What it shows, for those who cannot see it.
        description: Its figures in words.
    """
    buffer = io.BytesIO()
    with warnings.catch_warnings():  # a browser has the letters that matplotlib's own font lacks
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        figure.savefig(buffer, format="svg", transparent=True)
    root = ET.fromstring(buffer.getvalue())
    _clean(root, key)
    root.attrib = {"viewBox": root.attrib["viewBox"], "role": "img", "aria-labelledby": f"{key}-title {key}-desc"}
    for index, (tag, text) in enumerate([("title", title), ("desc", description)]):
        element = ET.Element(tag, {"id": f"{key}-{tag}"})
        element.text = label(text, 2000)
        root.insert(index, element)
    return Markup(ET.tostring(root, encoding="unicode"))


def _clean(element: ET.Element, key: str) -> None:
    element.tag = _local(element.tag)
    attributes = {_local(name): value for name, value in element.attrib.items()}
    element.attrib = {name: _shorten(name, value, key) for name, value in attributes.items() if name in _ATTRIBUTES}
    if element.tag == "g":
        element.attrib.pop("id", None)
    if element.tag not in {"text", "tspan"}:
        element.text = None
    element.tail = None
    for child in list(element):
        if isinstance(child.tag, str) and _local(child.tag) in _ELEMENTS:
            _clean(child, key)
        else:
            element.remove(child)


def _local(name: str) -> str:
    return name.rpartition("}")[2]


def _shorten(name: str, value: str, key: str) -> str:
    if name == "style":
        # The page's own font; older matplotlibs write size and family as one property.
        value = re.sub(r"font-family: [^;]*(; |$)", "", re.sub(r"font: (\S+px)[^;]*", r"font-size: \1", value))
        return re.sub(r"#\w{6}", lambda match: _THEME.get(match[0], match[0]), value)
    if name == "id":
        return f"{key}-{value}"
    if name in {"href", "clip-path"}:
        return value.replace("#", f"#{key}-")
    return re.sub(r"\d+\.\d{3,}", lambda match: f"{float(match[0]):.2f}", value)
