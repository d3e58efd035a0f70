"""Numbers and names as they stand in figures, tables and terminals."""

import math
import re

SIGNIFICANT = 3
RAISED = str.maketrans("-0123456789", "\u207b\u2070\u00b9\u00b2\u00b3\u2074\u2075\u2076\u2077\u2078\u2079")


def number(value: float, significant: int = SIGNIFICANT) -> str:
    """So many significant digits, powers of ten where they are shorter, a sign for what is not finite."""
    if math.isnan(value):
        return "\u2013"
    if math.isinf(value):
        return "\u221e" if value > 0 else "\u2212\u221e"
    if value == 0:
        return "0"
    if 1e-3 <= abs(value) < 1e5:
        digits = max(0, significant - 1 - math.floor(math.log10(abs(value))))
        return f"{value:.{digits}f}".replace("-", "\u2212")
    mantissa, _, exponent = f"{value:.{significant - 1}e}".partition("e")
    return f"{mantissa}\u00d710{str(int(exponent)).translate(RAISED)}".replace("-", "\u2212")


def percent(share: float, significant: int = 4) -> str:
    """0.95 as 95%."""
    return f"{number(100 * share, significant)}%" if 0 < abs(share) < 1e-5 else f"{hundredths(share, significant)}%"


def hundredths(share: float, significant: int = SIGNIFICANT) -> str:
    """0.951 as 95.1, and 14.2 as 1,420: no powers of ten."""
    text = f"{100 * share:.{significant}g}"
    return f"{100 * share:,.0f}" if "e" in text and abs(share) >= 1 else text


def short(value: float) -> str:
    """Two significant digits, for a cell of a figure."""
    return number(value, 2)


def printable(text: str) -> str:
    """Text for a terminal: control characters of names, which would act on it, as their escapes."""
    return "".join(sign if sign.isprintable() or sign == "\n" else repr(sign)[1:-1] for sign in text)


def naturally(text: str) -> list[tuple[bool, int, str]]:
    """A key that sorts epoch2 before epoch10."""
    parts = re.split(r"(\d+)", text)
    return [(part.isdigit(), int(part) if part.isdigit() else 0, part) for part in parts]


def lasting(seconds: float) -> str:
    """A duration in the unit that leaves few digits."""
    if math.isnan(seconds):
        return "unknown time"
    for unit, length in (("h", 3600.0), ("min", 60.0)):
        if seconds >= 1.5 * length:
            return f"{seconds / length:.3g} {unit}"
    return f"{seconds:.2g} s" if seconds < 10 else f"{seconds:.0f} s"


def readable(size: int | float) -> str:
    """Bytes in the unit that leaves few digits."""
    for unit, factor in (("TB", 1e12), ("GB", 1e9), ("MB", 1e6)):
        if size >= factor:
            return f"{size / factor:.3g} {unit}"
    return f"{size / 1e3:.3g} kB"


def evenly(count: int, most: int) -> list[int]:
    """At most so many places among `count`, evenly apart, the first and the last among them."""
    kept = min(count, most)
    return sorted({round(i * (count - 1) / max(kept - 1, 1)) for i in range(kept)})
