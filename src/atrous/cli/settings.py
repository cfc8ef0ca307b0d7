"""The section `[tool.atrous]` of a pyproject.toml: which networks keep which rules."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from atrous.analysis.check import known_code
from atrous.analysis.requirements import QUANTITIES, Rule, parse_rules
from atrous.analysis.scale import check_scales
from atrous.errors import ReadError, concerning, unknown

__all__ = ["Asked", "asked_checks", "asked_in", "asked_on_line"]

_KEYS = (
    "source",
    "input",
    "value",
    "layer",
    "no",
    "causal",
    "baseline",
    "rate",
    "training",
    "pixel",
    *QUANTITIES,
)


@dataclass(frozen=True, slots=True)
class Asked:
    """One network to check, the rules that it keeps, and the findings that it must not have."""

    source: str | None
    inputs: tuple[str, ...]
    layer: str | None
    rules: tuple[Rule, ...]
    forbidden: tuple[str, ...]
    values: tuple[str, ...] = ()
    causal: bool = False
    baseline: str | None = None
    rate: str | None = None
    training: str | None = None
    pixel: str | None = None

    @property
    def optimizer(self) -> str | None:
        """What trains where a rule is on the memory of training, sgd if left out; else None."""
        rules = any(rule.quantity == "training-memory" for rule in self.rules)
        return self.training or "sgd" if rules else None

    @property
    def something(self) -> bool:
        """Whether there is anything to check."""
        return bool(self.rules or self.forbidden or self.causal)


def asked_checks(line: Asked, config: str) -> tuple[Asked, ...]:
    """What is to be checked: what the command line asks of its source, else what the file asks for.

    A source without rules is checked against those of the section itself. Raises `ReadError` where
    nothing is asked for.
    """
    source = line.source
    if line.something:
        if source is None:
            raise ReadError("give the SOURCE that these rules are for, before or after them.")
        return (line,)
    if source is not None and not Path(config).exists():
        raise ReadError(
            f"there are no rules for {source}: give rules, such as --macs '<=20G', or write them "
            f"into [tool.atrous] of {config}."
        )
    found = asked_in(Path(config))
    if source is not None:
        if len(found) != 1 or not found[0].something:
            raise ReadError(
                f"there are no rules for {source}: give some, such as --macs '<=20G', or write "
                f"them into [tool.atrous] of {config}."
            )
        own = found[0]
        return (
            replace(
                own,
                source=source,
                inputs=line.inputs,
                values=line.values,
                layer=line.layer or own.layer,
                baseline=line.baseline or own.baseline,
                rate=line.rate or own.rate,
                training=line.training or own.training,
                pixel=line.pixel or own.pixel,
            ),
        )
    beside = line.inputs or line.values or line.baseline or line.rate or line.training or line.pixel
    if beside or line.layer is not None:
        raise ReadError(
            "--input, --value, --layer, --baseline, --rate, --pixel and --training go with a "
            "SOURCE; give one."
        )
    if not found:
        raise ReadError(f"{config}: there are no checks in [tool.atrous]; give SOURCE and rules.")
    for asked in found:
        if asked.source is None:
            raise ReadError(f'{config}: a check has no source; add one, such as source = "a:b".')
        if not asked.something:
            raise ReadError(f"{config}: the check of {asked.source} has no rules; add some.")
    return found


def asked_on_line(
    source: str | None,
    inputs: list[str] | None,
    layer: str | None,
    rules: Mapping[str, Sequence[str] | None],
    forbidden: list[str] | None,
    values: list[str] | None = None,
    *,
    causal: bool = False,
    baseline: str | None = None,
    rate: str | None = None,
    training: str | None = None,
    pixel: str | None = None,
) -> Asked:
    """What the options of one command line ask for.

    >>> asked = asked_on_line("zoo:vgg16", None, None, {"macs": ["<=20G"]}, ["gridding,subgrids"])
    >>> [str(rule) for rule in asked.rules], asked.forbidden
    (['macs <=20G'], ('gridding', 'subgrids'))
    """
    check_scales(rate, pixel)
    parsed = [r for key, texts in rules.items() for text in texts or () for r in _typed(key, text)]
    found = [code for text in forbidden or () for code in _codes(text)]
    if forbidden and not found:
        raise ReadError("--no is empty; name findings, such as --no gridding,checkerboard.")
    return Asked(
        source,
        tuple(inputs or ()),
        layer,
        tuple(parsed),
        tuple(found),
        tuple(values or ()),
        causal,
        baseline,
        rate,
        training,
        pixel,
    )


def _typed(quantity: str, text: str) -> tuple[Rule, ...]:
    """The rules of an option, which errors name as it is typed."""
    try:
        return parse_rules(quantity, text)
    except ReadError as error:
        error.args = (f"--{error}",)
        raise


def asked_in(path: Path) -> tuple[Asked, ...]:
    """The checks that `[tool.atrous]` of a file asks for; none where it has no such section.

    Its keys are those of the options: `source`, `input`, `value`, `layer`, `no` and the rules.
    Several networks are tables `[[tool.atrous.check]]` with the same keys, of which they take over
    what they leave out from the section itself.
    """
    with concerning(str(path)):
        try:
            data = tomllib.loads(path.read_text(encoding="utf-8"))
        except OSError as error:
            reason = error.strerror or type(error).__name__
            raise ReadError(f"{reason}; give SOURCE, or name the file with --config.") from None
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise ReadError(f"not TOML: {error}.") from None
        tool = data.get("tool", {})
        section = tool.get("atrous", {}) if isinstance(tool, dict) else None
        if not isinstance(section, dict):
            raise ReadError("[tool.atrous] is a table of keys.")
        several = section.get("check", [])
        if not isinstance(several, list) or not all(isinstance(one, dict) for one in several):
            raise ReadError("checks of several networks are tables [[tool.atrous.check]].")
        shared = {key: value for key, value in section.items() if key != "check"}
        tables = [{**shared, **one} for one in several] or ([shared] if shared else [])
        return tuple(_asked(table) for table in tables)


def _asked(table: Mapping[str, Any]) -> Asked:
    rules: list[Rule] = []
    for key, value in table.items():
        if key not in _KEYS:
            raise unknown("key of [tool.atrous]", key, (*_KEYS, "check"))
        if key in QUANTITIES:
            if not isinstance(value, str):
                raise ReadError(f'{key} is {value!r}; write a rule in quotes, such as "=={value}".')
            rules += parse_rules(key, value)
    return Asked(
        _text(table, "source"),
        _inputs(table.get("input")),
        _text(table, "layer"),
        tuple(rules),
        _listed(table.get("no", [])),
        _values(table.get("value", {})),
        _flag(table, "causal"),
        _text(table, "baseline"),
        _rate(table.get("rate")),
        _text(table, "training"),
        _text(table, "pixel"),
    )


def _flag(table: Mapping[str, Any], key: str) -> bool:
    value = table.get(key, False)
    if not isinstance(value, bool):
        raise ReadError(f"{key} is {value!r}; write true or false.")
    return value


def _rate(value: Any) -> str | None:
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ReadError(f'rate is {value!r}; write samples per second, such as 16000 or "44.1k".')
    return str(value)


def _text(table: Mapping[str, Any], key: str) -> str | None:
    value = table.get(key)
    if value is not None and not isinstance(value, str):
        raise ReadError(f"{key} is {value!r}; write it in quotes.")
    return value


def _inputs(value: Any) -> tuple[str, ...]:
    """A shape as text or as a list of numbers, a list of such texts, or a table of them by name."""
    if value is None:
        return ()
    if isinstance(value, str):
        return (value,)
    if _are_sizes(value) and value:
        return (",".join(map(str, value)),)
    if isinstance(value, list) and value and all(isinstance(text, str) for text in value):
        return tuple(value)
    if isinstance(value, dict) and all(type(v) is int or _are_sizes(v) for v in value.values()):
        # A trailing comma tells a shape of one size from a size.
        return tuple(
            f"{name}={size if type(size) is int else ','.join(map(str, size)) + ',' * bool(size)}"
            for name, size in value.items()
        )
    raise ReadError(
        f"input is {value!r}; write a shape, such as [1, 3, 512, 512], or a table of shapes."
    )


def _are_sizes(value: Any) -> bool:
    return isinstance(value, list) and all(type(size) is int for size in value)


def _values(value: Any) -> tuple[str, ...]:
    """Values by the names of inputs, as options give them."""
    if not isinstance(value, dict):
        raise ReadError(f"value is {value!r}; write a table, such as {{ sr = 16000 }}.")
    texts = []
    for name, given in value.items():
        numbers = given if isinstance(given, list) else [given]
        if not numbers or not all(isinstance(number, int | float) for number in numbers):
            raise ReadError(f"the value of {name} is {given!r}; write a number or a list of them.")
        texts.append(f"{name}={','.join(map(str, numbers))}{',' * isinstance(given, list)}")
    return tuple(texts)


def _listed(value: Any) -> tuple[str, ...]:
    texts = [value] if isinstance(value, str) else value
    if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
        raise ReadError(f'no is {value!r}; write a list of findings, such as ["gridding"].')
    return tuple(code for text in texts for code in _codes(text))


def _codes(text: str) -> list[str]:
    return [known_code(code.strip()) for code in text.split(",") if code.strip()]
