"""Numbers as the report writes them."""

from __future__ import annotations


def duration(seconds: float) -> str:
    """12.5 ms, 1.42 s, 12.3 s, 4 min 05 s, 2 h 03 min."""
    if seconds < 0.1:
        return f"{seconds * 1000:.1f} ms"
    if seconds < 10:
        return f"{seconds:.2f} s"
    if seconds < 99.95:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min"


def small(value: float) -> str:
    """A figure that may be very small, in two or three digits: 8.6e-4, 4.0e-3, 0.021, 1.25."""
    if value == 0:
        return "0"
    if abs(value) < 0.01:
        mantissa, _, power = f"{value:.1e}".partition("e")
        return f"{mantissa}e{int(power)}"
    return f"{value:.2g}" if abs(value) < 0.1 else f"{value:.3g}"


def megabytes(count: int | None) -> str:
    """Bytes in MB with enough digits to compare, for one column; a dash when not known."""
    if count is None:
        return "–"  # noqa: RUF001 - the sign of an empty cell
    value = count / 1e6
    return f"{value:,.0f}" if value >= 1000 else f"{value:.2f}" if value < 100 else f"{value:.1f}"


def rate_text(rate: float) -> str:
    """Tokens a second in three digits."""
    return f"{rate:,.0f}" if rate >= 100 else small(rate)


def ratio_text(ratio: float) -> str:
    """How many times: 3.9 ×, 17 ×, 222 ×."""
    return (f"{ratio:.1f}" if ratio < 10 else f"{ratio:,.0f}") + " \N{MULTIPLICATION SIGN}"
