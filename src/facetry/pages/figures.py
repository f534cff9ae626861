"""How figures and names are written on a page."""

import re
from math import isfinite

from markupsafe import Markup, escape

DASH = "\N{EN DASH}"
MINUS = "\N{MINUS SIGN}"


def figure(value: float) -> str:
    """A figure from 0 to 1 as it is printed; a dash where there is none.

    >>> figure(0.62456)
    '0.625'
    """
    return f"{value:.3f}" if isfinite(value) else DASH


def signed(value: float) -> str:
    """A difference with its sign.

    >>> signed(0.04)
    '+0.040'
    """
    return f"{value:+.3f}".replace("-", MINUS) if isfinite(value) else DASH


def percent(value: float, low: float = 0.0, high: float = 1.0) -> str:
    """Where `value` lies between `low` and `high`, as a length in a style sheet.

    >>> percent(0.5), percent(0.75, 0.7, 0.8), percent(float("nan"))
    ('50.00%', '50.00%', '0.00%')
    """
    share = (value - low) / (high - low) if isfinite(value) else 0.0
    return f"{100 * min(1.0, max(0.0, share)):.2f}%"


def share(value: float) -> str:
    """A share from 0 to 1 as people read it; what is little is not written as nothing.

    >>> share(0.6249), share(0.0004), share(0.0), share(0.9999), share(1.0)
    ('62%', '<1%', '0%', '>99%', '100%')
    """
    if not isfinite(value):
        return DASH
    if 0 < value < 0.005:
        return "<1%"
    return ">99%" if 0.995 <= value < 1 else f"{value:.0%}"


def breakable(name: str) -> Markup:
    """A name that may be broken after its underscores.

    >>> breakable("fit_shape & more")
    Markup('fit_<wbr>shape &amp; more')
    """
    return Markup(re.sub("_(?=.)", "_<wbr>", str(escape(name))))  # noqa: S704  # escaped first
