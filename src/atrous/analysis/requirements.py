"""Rules about a report, as they are typed: `>=300`, `<=20G`, `==1`."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from fractions import Fraction
from typing import Literal, NoReturn, get_args

from atrous.analysis.scale import Scale
from atrous.errors import ReadError, unknown

__all__ = ["QUANTITIES", "Quantity", "Relation", "Rule", "bytes_of", "lengths_in", "parse_rules"]

Quantity = Literal[
    "receptive-field",
    "coverage",
    "output-stride",
    "look-back",
    "look-ahead",
    "macs",
    "flops",
    "params",
    "memory",
    "training-memory",
]
Relation = Literal["<=", ">=", "==", "!=", "<", ">"]

QUANTITIES: tuple[Quantity, ...] = get_args(Quantity)

_RELATIONS: dict[Relation, Callable[[Fraction, Fraction], bool]] = {
    "<=": operator.le,
    ">=": operator.ge,
    "==": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    ">": operator.gt,
}
_COUNTS = {"": 1, "k": 10**3, "M": 10**6, "G": 10**9, "T": 10**12}
_BYTES = {
    "B": 1,
    **{f"{letter}iB": 2 ** (10 * power) for power, letter in enumerate("KMGT", 1)},
    **{f"{letter}B": 10 ** (3 * power) for power, letter in enumerate("kMGT", 1)},
}
_MILLISECONDS: dict[str, int | Fraction] = {"us": Fraction(1, 1000), "ms": 1, "s": 1000}
_MICROMETRES: dict[str, int | Fraction] = {
    "nm": Fraction(1, 1000),
    "um": 1,
    "mm": 10**3,
    "cm": 10**4,
    "m": 10**6,
    "km": 10**9,
}
_UNITS: dict[Quantity, dict[str, int | Fraction]] = {
    "receptive-field": {"": 1, **_MILLISECONDS, **_MICROMETRES},
    "coverage": {"": 1, "%": Fraction(1, 100)},
    "output-stride": {"": 1, **_MILLISECONDS, **_MICROMETRES},
    "look-back": {"": 1, **_MILLISECONDS},
    "look-ahead": {"": 1, **_MILLISECONDS},
    "macs": {**_COUNTS},
    "flops": {**_COUNTS},
    "params": {**_COUNTS},
    "memory": {**_BYTES},
    "training-memory": {**_BYTES},
}
_EXAMPLES: dict[Quantity, str] = {
    "receptive-field": ">=300",
    "coverage": "==100%",
    "output-stride": "==8",
    "look-back": "<=1000",
    "look-ahead": "<=40ms",
    "macs": "<=20G",
    "flops": "<=40G",
    "params": "<=25M",
    "memory": "<=512MiB",
    "training-memory": "<=8GB",
}
_SIGN = re.compile(r"[<>=!]+")
_NUMBER = re.compile(r"(\d[\d_]*)(\.\d+|/\d+)?", re.ASCII)
_LONGEST = 120


@dataclass(frozen=True, slots=True)
class Rule:
    """One bound on one quantity. `value` is exact and in the quantity's own unit.

    Shares are fractions of 1, memory is in bytes; `text` is the rule as it was written. Of a rule
    with a sign, `value` is how much more or less than the baseline's there may be: a `"share"` of
    it, or an `"amount"`. `unit` says that `value` is in ms or um, not in positions, and `written`
    in which unit it was given, such as s or mm.

    >>> parse_rules("macs", "<=1.5G")[0].holds(Fraction(1_500_000_000))
    True
    >>> rule = parse_rules("macs", "<=+2%")[0]
    >>> rule.holds(Fraction(102), rule.limit(Fraction(100)))
    True
    """

    quantity: Quantity
    relation: Relation
    value: Fraction
    text: str
    beside: Literal["", "share", "amount"] = ""
    unit: Literal["", "ms", "um"] = ""
    written: str = ""

    def holds(self, got: Fraction, limit: Fraction | None = None) -> bool:
        """Whether `got` keeps the rule, whose limit is its value or the one that is given."""
        return _RELATIONS[self.relation](got, self.value if limit is None else limit)

    def fits(self, scale: Scale) -> bool:
        """Whether a scale is of the kind that the rule is in: time or length."""
        return bool(self.unit) and (self.unit == "ms") == (scale.unit == "ms")

    def length(self, scale: Scale, positions: Fraction) -> Fraction:
        """So many positions of an axis of that scale, in the unit of a rule on times or lengths.

        >>> from atrous.analysis.scale import per_rate
        >>> parse_rules("look-back", "<=2s")[0].length(per_rate(16000), Fraction(8000))
        Fraction(1, 2)
        """
        return scale.of(positions) * lengths_in(scale.unit) / lengths_in(self.written)

    def limit(self, base: Fraction) -> Fraction:
        """What the rule allows beside a baseline of `base`; in its unit."""
        if self.beside == "share":
            return base * (1 + self.value)
        value = self.value / lengths_in(self.written) if self.unit else self.value
        return base + value if self.beside else value

    def __str__(self) -> str:
        return f"{self.quantity} {self.text}"


def parse_rules(quantity: str, text: str) -> tuple[Rule, ...]:
    """The rules on `quantity` that a text names: bounds separated by commas, all of which hold.

    A bound is one of `<= >= == != < >` and a number, with a unit where the quantity has one: k, M,
    G, T for macs, flops and params, B, KiB to TiB and kB to TB for memory, % for coverage, us, ms
    and s for look-ahead and look-back, and these or nm to km for receptive field and stride.
    Numbers may be quotients, such as `1/2`. With a sign, as in `<=+2%` or `<=-1M`, they count from
    a baseline's.

    Raises `UnknownNameError` for a quantity that there is not, `ReadError` for a text that does not
    parse: its first line says what is wrong, the lines below it show where.

    >>> [str(rule) for rule in parse_rules("receptive-field", ">=300, <=500")]
    ['receptive-field >=300', 'receptive-field <=500']
    >>> parse_rules("look-ahead", "<=40m")
    Traceback (most recent call last):
        ...
    atrous.errors.ReadError: look-ahead: 'm' is no unit of look-ahead; use us, ms or s.
      <=40m
          ^
    """
    if quantity not in QUANTITIES:
        raise unknown("rule", quantity, QUANTITIES)
    known: Quantity = quantity
    return _Text(known, text).rules()


def bytes_of(size: int | str) -> int:
    """A size of memory in bytes, from a number of them or a text with a unit.

    >>> bytes_of("1.5GiB"), bytes_of(4096)
    (1610612736, 4096)
    """
    if isinstance(size, str):
        with suppress(ReadError):
            rule, *others = parse_rules("memory", f"<={size}")
            if not (others or rule.beside) and rule.value >= 1:
                return int(rule.value)
    elif size >= 1 and not isinstance(size, bool):
        return size
    raise ReadError(
        f"budget={size!r} is no size of memory; give a number and a unit, such as 8GiB."
    )


def lengths_in(unit: str) -> Fraction:
    """How many of a unit of time or length the unit is in which rules are held: ms or um.

    >>> lengths_in("ms"), lengths_in("mm"), lengths_in("nm")
    (Fraction(1, 1), Fraction(1000, 1), Fraction(1, 1000))
    """
    return Fraction({**_MILLISECONDS, **_MICROMETRES}[unit])


def _rule_unit(unit: str) -> tuple[Literal["", "ms", "um"], str]:
    """In which unit rules of this unit are held, and the unit itself; nothing for others."""
    held: Literal["", "ms", "um"]
    held = "ms" if unit in _MILLISECONDS else "um" if unit in _MICROMETRES else ""
    return held, unit if held else ""


class _Text:
    def __init__(self, quantity: Quantity, text: str) -> None:
        self.quantity, self.text = quantity, text

    def rules(self) -> tuple[Rule, ...]:
        if len(self.text) > _LONGEST:
            raise ReadError(
                f"{self.quantity}: a rule has at most {_LONGEST} letters, got {len(self.text)}."
            )
        found, at = [], 0
        while True:
            rule, at = self._rule(self._skip(at))
            found.append(rule)
            if at == len(self.text):
                return tuple(found)
            at += 1

    def _rule(self, start: int) -> tuple[Rule, int]:
        sign = _SIGN.match(self.text, start)
        if sign is None:
            self._fail(start, "a rule starts with one of <= >= == != < >")
        relation = next((r for r in _RELATIONS if r == sign.group()), None)
        if relation is None:
            hint = {"=": "==", "=>": ">=", "=<": "<="}.get(sign.group(), "<= >= == != < or >")
            self._fail(start, f"{sign.group()!r} compares nothing; write {hint}")
        at = self._skip(sign.end())
        beside = self.text[at : at + 1] if self.text[at : at + 1] in ("+", "-") else ""
        at = self._skip(at + len(beside))
        number = _NUMBER.match(self.text, at)
        if number is None:
            self._fail(at, "a number goes here")
        at = self._skip(number.end())
        comma = self.text.find(",", at)
        end = len(self.text) if comma < 0 else comma
        unit = self.text[at:end].strip()
        units = _UNITS[self.quantity]
        if beside and unit == "%":
            units = {"%": Fraction(1, 100)}
        if unit not in units:
            self._fail(at, self._no_unit(unit))
        try:
            value = Fraction(number.group().replace("_", "")) * units[unit]
        except ZeroDivisionError:
            self._fail(number.start(2) + 1, "nothing can be divided by 0")
        if self.quantity == "coverage" and value > 1:
            self._fail(number.start(), "coverage is a share of at most 1; write 90% or 0.9")
        text = self.text[start:end].strip()
        if beside:
            share = unit == "%" and self.quantity != "coverage"
            signed = -value if beside == "-" else value
            return Rule(
                self.quantity,
                relation,
                signed,
                text,
                "share" if share else "amount",
                *_rule_unit(unit),
            ), end
        return Rule(self.quantity, relation, value, text, "", *_rule_unit(unit)), end

    def _no_unit(self, unit: str) -> str:
        names = [name for name in _UNITS[self.quantity] if name]
        listed = f"{', '.join(names[:-1])} or {names[-1]}" if len(names) > 1 else "".join(names)
        if not unit:
            return f"{self.quantity} needs a unit; use {listed}"
        if unit[:1] in "<>=!":
            return f"{unit!r} is another rule; put a comma before it"
        if unit == "%":
            return "a share of the baseline has a sign, such as <=+2%"
        if not names:
            return f"{unit!r} is no unit of {self.quantity}, which has none"
        return f"{unit!r} is no unit of {self.quantity}; use {listed}"

    def _skip(self, at: int) -> int:
        while at < len(self.text) and self.text[at].isspace():
            at += 1
        return at

    def _fail(self, at: int, message: str) -> NoReturn:
        shown = "".join(c if c.isprintable() else " " for c in self.text)
        example = "" if ";" in message else f", such as {_EXAMPLES[self.quantity]}"
        raise ReadError(f"{self.quantity}: {message}{example}.\n  {shown}\n  {' ' * at}^")
