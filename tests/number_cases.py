#!/usr/bin/env python3
"""Makes the table of what INCREMENT and DECREMENT make of which texts (tests/numbers.txt).

Written from the rules (clacks-protocol(7), NUMBERS) and not from the server: with exact fractions for what a
text is worth, with `struct` for which doubles there are, and rounding to doubles and to 15 digits done here,
by hand. Run it as `tests/number_cases.py > tests/numbers.txt`. The tests need the table alone.

A line is a case: the value before (`-` for none, or `=` and the text), `+` or `-`, the step (`-` for none, or
`=` and the text), and the value after, with tabs between them. In texts `\\t`, `\\v`, `\\f`, `\\\\` and `\\xNN`
stand for bytes.
"""

import random
import struct
from fractions import Fraction

LEAST, MOST = -(2**63), 2**64 - 1
BLANKS = b" \t\x0b\x0c"
# The largest double, and how far from it the next one would be.
LARGEST = (2**53 - 1) * 2**971


class Double:
    """A double that is no whole number of 64 bits: a fraction, or the name of one that is none."""

    def __init__(self, value):
        self.value = value


def to_double(exact):
    """The double nearest to a fraction, of two the one with the even last digit, as a fraction; or inf, -inf."""
    if exact == 0:
        return Fraction(0)
    sign, size = (-1, -exact) if exact < 0 else (1, exact)
    # The exponent of the last of 53 binary digits.
    last = size.numerator.bit_length() - size.denominator.bit_length() - 53
    while size / Fraction(2) ** last >= 2**53:
        last += 1
    while size / Fraction(2) ** last < 2**52:
        last -= 1
    last = max(last, -1074)
    scaled = size / Fraction(2) ** last
    digits, rest = divmod(scaled.numerator, scaled.denominator)
    half = 2 * rest - scaled.denominator
    if half > 0 or (half == 0 and digits % 2 == 1):
        digits += 1
    rounded = digits * Fraction(2) ** last
    if rounded > LARGEST:
        return "inf" if sign > 0 else "-inf"
    # Which doubles there are is the machine's word; what is made by hand has to be one.
    assert Fraction(struct.unpack("<d", struct.pack("<d", float(rounded)))[0]) == rounded
    return sign * rounded


def of_fraction(exact):
    double = to_double(exact)
    if isinstance(double, str):
        return Double(double)
    if double.denominator == 1 and LEAST <= double <= MOST:
        return int(double)
    return Double(double)


def decimal(text):
    """The longest beginning that is a number: its length, its exact value, whether it is written as an integer."""
    at = 1 if text[:1] in (b"+", b"-") else 0
    sign = -1 if text[:1] == b"-" else 1

    def digits(start):
        end = start
        while end < len(text) and text[end] in b"0123456789":
            end += 1
        return text[start:end]

    whole = digits(at)
    end, fraction, is_integer = at + len(whole), b"", True
    if text[end : end + 1] == b".":
        fraction = digits(end + 1)
        if whole or fraction:
            end, is_integer = end + 1 + len(fraction), False
    if not whole and not fraction:
        return None
    exponent = 0
    if text[end : end + 1] in (b"e", b"E"):
        has_sign = text[end + 1 : end + 2] in (b"+", b"-")
        start = end + 2 if has_sign else end + 1
        written = digits(start)
        if written:
            exponent = int(written) * (-1 if has_sign and text[end + 1 : start] == b"-" else 1)
            end, is_integer = start + len(written), False
    mantissa = int(whole + fraction or b"0")
    exponent -= len(fraction)
    if mantissa == 0:
        value = Fraction(0)
    else:
        # Beyond these it is 0 or infinite in any case.
        size = len(str(mantissa)) + exponent
        exponent += min(0, 400 - size) + max(0, -400 - size)
        value = mantissa * Fraction(10) ** exponent
    return end, sign * value, is_integer


def literal(text, parsed):
    _, exact, is_integer = parsed
    if is_integer and LEAST <= exact <= MOST:
        return int(exact)
    return of_fraction(exact)


def named(text):
    text = text.rstrip(BLANKS).lower()
    sign = "-" if text[:1] == b"-" else ""
    name = text[1:] if text[:1] in (b"+", b"-") else text
    if name in (b"inf", b"infinity"):
        return Double(sign + "inf")
    return Double("nan") if name == b"nan" else None


def value_of(text):
    text = text.lstrip(BLANKS)
    parsed = decimal(text)
    if parsed and not text[parsed[0] :].strip(BLANKS):
        return literal(text, parsed)
    return named(text) or 0


def step_of(text):
    text = text.lstrip(BLANKS)
    parsed = decimal(text)
    return literal(text, parsed) if parsed else named(text) or 0


def add(a, b):
    if isinstance(a, int) and isinstance(b, int) and LEAST <= a + b <= MOST:
        return a + b
    a, b = (to_double(Fraction(x)) if isinstance(x, int) else x.value for x in (a, b))
    if isinstance(a, str) or isinstance(b, str):
        names = {x for x in (a, b) if isinstance(x, str)}
        return Double(names.pop() if len(names) == 1 else "nan")
    return Double(to_double(a + b))


def negative(x):
    if isinstance(x, int):
        return -x
    if isinstance(x.value, str):
        return Double({"inf": "-inf", "-inf": "inf", "nan": "nan"}[x.value])
    return Double(-x.value)


def printed(x):
    if isinstance(x, int):
        return str(x)
    if isinstance(x.value, str):
        return {"inf": "Inf", "-inf": "-Inf", "nan": "NaN"}[x.value]
    if x.value == 0:
        return "0"
    sign, size = ("-", -x.value) if x.value < 0 else ("", x.value)
    exponent = len(str(size.numerator)) - len(str(size.denominator))
    while size >= Fraction(10) ** (exponent + 1):
        exponent += 1
    while size < Fraction(10) ** exponent:
        exponent -= 1
    scaled = size * Fraction(10) ** (14 - exponent)
    digits, rest = divmod(scaled.numerator, scaled.denominator)
    half = 2 * rest - scaled.denominator
    if half > 0 or (half == 0 and digits % 2 == 1):
        digits += 1
    if digits == 10**15:
        digits, exponent = 10**14, exponent + 1
    digits = str(digits).rstrip("0")
    if not -4 <= exponent < 15:
        point = "." if len(digits) > 1 else ""
        return f"{sign}{digits[0]}{point}{digits[1:]}e{'-' if exponent < 0 else '+'}{abs(exponent):02}"
    if exponent < 0:
        return sign + "0." + "0" * (-1 - exponent) + digits
    digits = digits.ljust(exponent + 1, "0")
    point = "." if len(digits) > exponent + 1 else ""
    return sign + digits[: exponent + 1] + point + digits[exponent + 1 :]


def escaped(text):
    if text is None:
        return "-"
    names = {9: "\\t", 11: "\\v", 12: "\\f", 92: "\\\\"}
    return "=" + "".join(
        names.get(byte) or (chr(byte) if 32 <= byte < 127 else f"\\x{byte:02x}") for byte in text
    )


def texts():
    """Texts that may or may not be numbers, each for a reason."""
    integers = [0, 1, 2, 7, 9, 10, 42, 99, 100, 255, 1000, 65535, 123456789]
    for bits in (15, 16, 31, 32, 52, 53, 54, 62, 63, 64, 65, 100):
        integers += [2**bits - 2, 2**bits - 1, 2**bits, 2**bits + 1, 2**bits + 2]
    for digits in range(13, 23):
        integers += [10**digits - 1, 10**digits, 10**digits + 1]
    signed = [sign + str(number) for number in integers for sign in ("", "-")]
    fractions = """
        0.1 0.2 0.3 0.5 0.7 1.5 2.5 1.50 3.14159265358979 2.718281828459045 0.30000000000000004 0.0001 0.00001
        0.00009999999999999999 0.000099999999999999995 99999999999999.25 99999999999999.95 999999999999999.4
        999999999999999.5 999999999999999.6 9999999999999995 123456789012345.6 123456789012345.5 12345678901234.5
        1234567890.12345 0.1234567890123456789 1.000000000000001 1.0000000000000005 1.00000000000000049 4.35
        0.999999999999999 0.9999999999999995 0.99999999999999956 1.005 2.675 1e15 1e16 1.5e15 1.5e16 1e-4 1e-5 1e22
        1e23 5e-324 2e-324 3e-324 2.4703282292062327e-324 2.4703282292062328e-324 2.2250738585072014e-308
        2.2250738585072011e-308 1.7976931348623157e308 1.7976931348623158e308 1.7976931348623159e308
        1.79769313486231580793e308 8.98846567431158e307 1e308 1e309 1e400 1e-400 1e99999999999999999999
        1e-99999999999999999999 0e99999999999999999999 9007199254740992.5 9007199254740993.0 9007199254740993e0
        9007199254740995e0 18446744073709551615.0 18446744073709551616.0 18446744073709551615e0 9223372036854775807.0
        9223372036854775808.5 9223372036854774784e0 9223372036854775295.9 9223372036854775296.1 1e18 1e19 1.8e19
        1.9e19 1844674407370955161e1 1844674407370955162e1 0.5e1 50e-1 500e-2 0.05e2 123.456e3 123456.789e-2
        4503599627370496.5 4503599627370497.5 4503599627370495.5
    """.split()
    signed += [sign + number for number in fractions for sign in ("", "-")]
    forms = """
        +5 +0 -0 -0.0 +0.0 0.0 00 007 -007 +007 0000000000000000000000000000000000000001 .5 -.5 +.5 5. -5. 5.e2 .5e1
        .e1 . -. +. - + -- ++ +- --1 ++1 +-1 -+1 1- 1+ 1e 1e+ 1e- 1E5 1E+5 1e+05 1e005 1e-005 1e5.5 1e5e5 1.5.5 .5.5
        1..5 e5 E5 e .e 1e+5x 12abc abc12 7up 0x10 0X1F 0x1p3 0b11 0o17 1_000 1,000 1'000 1.000,5 $5 5$ 50% 1/2 5=
        inf Inf INF iNf +inf -inf infinity Infinity INFINITY -Infinity +INFINITY infinit infinityx infx inf5 in nan NaN
        NAN nAn +nan -nan nanx nan(1) nan5 na NULL null true false undef 1f 1d 1L 1u 0xinf +-inf --inf 1e+inf
        1e1000inf ٣ ½ １ − −5 ∞
    """.split()
    signed += forms + ["", " ", "  ", "1 2", "1 x", "- 5", "+ 5", "1 e5", "1e 5", "1. 5", "- inf", "0 x10", "5 apples"]
    result = [text.encode() for text in signed]
    for inner in (b"7", b"-7", b"+7", b"1.5", b"1e2", b"inf", b"-inf", b"nan", b"Infinity", b"x", b"", b"7up"):
        for blank in (b" ", b"\t", b"\x0b", b"\x0c", b"  \t", b"\x00", b"\xc2\xa0", b"\xa0", b"\x08", b"\x0e"):
            result += [blank + inner, inner + blank, blank + inner + blank]
    # Halfway between two doubles, and a digit far behind that; more digits than any double has.
    for far in (1, 30, 300, 800, 1100):
        half = b"9007199254740993." + b"0" * far
        result += [half, half + b"1", half + b"e0", b"-" + half + b"1", b"0." + b"0" * far + b"1", b"1" + b"0" * far]
        result += [b"0." + b"0" * far + b"125e" + str(far + 1).encode(), b"9" * far + b"e-" + str(far).encode()]
    return list(dict.fromkeys(result))


def cases():
    everything = texts()
    # Each text by itself, as a value and as a step.
    for text in everything:
        yield text, "+", None
        yield text, "-", b"0"
        yield None, "+", text
        yield None, "-", text
    for sign in "+-":
        yield None, sign, None
    # The borders of integers, from both sides.
    borders = [0, 1, 2, 2**53 - 1, 2**53, 2**53 + 1, 2**62, 2**63 - 2, 2**63 - 1, 2**63, 2**63 + 1]
    borders += [2**64 - 2, 2**64 - 1, 2**64, 2**65, 10**18, 10**19, 10**20]
    borders = [str(sign * number).encode() for number in borders for sign in (1, -1)]
    for value in borders:
        for step in borders:
            yield value, "+", step
            yield value, "-", step
    # Sums whose last digits are rounded away, and differences that leave only errors.
    doubles = [b"0.1", b"0.2", b"0.7", b"1e15", b"1e16", b"1e-5", b"1.5", b"999999999999999.4", b"1e308"]
    doubles += [b"1.7976931348623157e308", b"5e-324", b"0.3", b"inf", b"-inf", b"nan", b"-0.0", b"9007199254740993"]
    doubles += [b"18446744073709551615", b"-9223372036854775808", b"0.6666666666666666", b"4503599627370496.5"]
    for value in doubles:
        for step in doubles:
            yield value, "+", step
            yield value, "-", step
    # Any others, the same in every run.
    draw = random.Random(1)
    for _ in range(1000):
        value, step = (number(draw) for _ in range(2))
        yield value, draw.choice("+-"), step


def number(draw):
    sign = draw.choice(["", "", "-", "+"])
    kind = draw.randrange(4)
    if kind == 0:
        return f"{sign}{draw.randrange(10 ** draw.randrange(1, 22))}".encode()
    if kind == 1:
        places = draw.randrange(1, 19)
        return f"{sign}{draw.randrange(10 ** draw.randrange(1, 18))}.{draw.randrange(10**places):0{places}}".encode()
    if kind == 2:
        digits = draw.randrange(10 ** draw.randrange(1, 20))
        return f"{sign}{digits}e{draw.randrange(-330, 310)}".encode()
    bits = draw.getrandbits(64)
    double = struct.unpack("<d", struct.pack("<Q", bits))[0]
    return repr(double).encode()


def main():
    seen = set()
    print("# Made by number_cases.py, which says what a line is.")
    for value, sign, step in cases():
        # An empty step, or one with `=` in it, is none in the right form.
        if step is not None and (not step or b"=" in step):
            continue
        case = (value, sign, step)
        if case in seen:
            continue
        seen.add(case)
        worth = value_of(value) if value is not None else 0
        by = step_of(step) if step is not None else 1
        result = add(worth, by if sign == "+" else negative(by))
        print(escaped(value), sign, escaped(step), printed(result), sep="\t")


main()
