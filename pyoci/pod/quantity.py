# SPDX-License-Identifier: Apache-2.0
"""Kubernetes quantities: ``100m`` of a processor, ``64Mi`` of memory.

The grammar is that of ``k8s.io/apimachinery/pkg/api/resource``: a decimal number, followed by a binary suffix
(Ki Mi Gi Ti Pi Ei), the decimal ones (n u m k M G T P E) or a decimal exponent (e3, E3).
"""

from __future__ import annotations

import re
from fractions import Fraction

_QUANTITY = re.compile(r"([+-]?)(\d+(?:\.\d*)?|\.\d+)(?:([KMGTPE]i)|([numkMGTPE])|[eE]([+-]?\d{1,2}))?")
_BINARY = {name: 1024**power for power, name in enumerate(("Ki", "Mi", "Gi", "Ti", "Pi", "Ei"), 1)}
_DECIMAL = {
    "n": Fraction(1, 10**9), "u": Fraction(1, 10**6), "m": Fraction(1, 1000),
    "k": Fraction(10**3), "M": Fraction(10**6), "G": Fraction(10**9), "T": Fraction(10**12), "P": Fraction(10**15),
    "E": Fraction(10**18),
}  # fmt: skip
_LARGEST = 2**63 - 1


def parse(value: object) -> Fraction:
    """Returns the exact number of a quantity.

    value: a string, or a number from YAML. Raises ValueError (one line, without the value) if it is not a
    quantity, is negative, or is larger than 2^63-1.
    """
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise ValueError("is not a quantity")
    text = repr(value) if isinstance(value, float) else str(value)
    match = _QUANTITY.fullmatch(text) if len(text) <= 64 else None
    if match is None:
        raise ValueError("is not a quantity such as 100m, 0.5, 64Mi or 1G")
    sign, digits, binary, decimal, exponent = match.groups()
    number = Fraction(digits if digits[-1] != "." else digits + "0")
    if binary:
        number *= _BINARY[binary]
    elif decimal:
        number *= _DECIMAL[decimal]
    elif exponent:
        number *= Fraction(10) ** int(exponent)
    if sign == "-" and number:
        raise ValueError("is negative")
    if number > _LARGEST:
        raise ValueError("is larger than 2^63-1")
    return number


def millis(value: object) -> int:
    """Returns a CPU quantity in thousandths of a CPU, rounded up, as in the API server."""
    return _up(parse(value) * 1000)


def whole(value: object) -> int:
    """Returns a memory quantity in bytes, rounded up."""
    return _up(parse(value))


def _up(number: Fraction) -> int:
    return -(-number.numerator // number.denominator)
