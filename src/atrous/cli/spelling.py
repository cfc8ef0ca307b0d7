"""Arguments in messages, spelled as the options of the verb that runs."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextvars import ContextVar
from typing import Any

__all__ = ["blamed", "options_of", "speaking", "spelled", "typed"]

# What the library's functions call what the command line calls otherwise.
_CALLED = {
    "values": "value",
    "enough": "at_least",
    "images": "image",
    "example": "input",
    "kernels": "kernel",
}
_VALUE = r"\.\.\.|'[^']*'|\"[^\"]*\"|\([^()]*\)|[\w.+-]*[\w]|"
_SHORT = {"-l": "--layer", "-i": "--input", "-o": "--output", "-s": "--output-stride"}
_speaking: ContextVar[Mapping[str, tuple[str, str]]] = ContextVar("options")


def options_of(command: Any) -> dict[str, tuple[str, str]]:
    """What a verb's options are called in Python, each with its option and what that takes."""
    found: dict[str, tuple[str, str]] = {}
    for param in command.params:
        option = next((name for name in param.opts if name.startswith("--")), None)
        if option is not None:
            takes = "" if getattr(param, "is_flag", False) else param.metavar or param.name.upper()
            found[option.removeprefix("--").replace("-", "_")] = (option, takes)
    return found | {there: found[here] for there, here in _CALLED.items() if here in found}


def speaking(options: Mapping[str, tuple[str, str]]) -> None:
    """From here on messages are spelled for these options."""
    _speaking.set(options)


def spelled(text: str, options: Mapping[str, tuple[str, str]] | None = None) -> str:
    """A message in which each argument that is an option is written as that option.

    Settings inside the name of a source (`timm:NAME?output_stride=8`) stay.

    >>> options = {
    ...     "outputs": ("--outputs", "NAMES"), "input": ("--input", "SHAPE"),
    ...     "resample": ("--resample", ""), "output_stride": ("--output-stride", "STRIDE"),
    ... }
    >>> spelled("convert the part before it (outputs=...), or resample=True.", options)
    'convert the part before it (--outputs NAMES), or --resample.'
    >>> spelled("give input=(1, 3, 64, 64); such as outputs='layer4'.", options)
    'give --input 1,3,64,64; such as --outputs layer4.'
    >>> spelled("output_stride is 0; timm:resnet18?output_stride=8 has 8.", options)
    '--output-stride is 0; timm:resnet18?output_stride=8 has 8.'
    """
    known = _speaking.get({}) if options is None else options
    if not known:
        return text
    names = "|".join(sorted(known, key=len, reverse=True))
    # An option's own value may have a name: `--input input=1,3,64,64`.
    argument = rf"(?P<within>--[\w-]+ )?(?<![\w?&.=/-])(?P<name>{names})=(?P<value>{_VALUE})"
    text = re.sub(argument, lambda m: m[0] if m["within"] else _given(known, m), text)
    text = re.sub(
        rf"^((?:\S+: )?)({names}) is '([^']*)': use (.*)$",
        lambda m: f"{m[1]}{known[m[2]][0]} is {m[3]}: use {m[4].replace(chr(39), '')}",
        text,
    )
    snakes = "|".join(name for name in known if "_" in name)
    if not snakes:
        return text
    return re.sub(rf"(?<![\w?&.=/-])({snakes})(?![\w=])", lambda m: known[m[1]][0], text)


_FILES = {"--baseline", "--diff", "--image"}
_UNKNOWN = re.compile(r"no [\w ]+ is named '([^']*)'")


def blamed(text: str, arguments: Sequence[str]) -> str:
    """A message that leads with the option which the command line gave an unknown name to.

    Of a rule of `check`, the quantity that leads a message is its option already.

    >>> blamed("no layer is named 'cnv'; near: conv.", ["inspect", "net.onnx", "--layer", "cnv"])
    "--layer: no layer is named 'cnv'; near: conv."
    >>> blamed("macs: <=+2% counts from a baseline.", ["check", "net.onnx", "--macs", "<=+2%"])
    '--macs: <=+2% counts from a baseline.'
    >>> blamed("a.json: it is no JSON", ["inspect", "net.onnx", "--diff", "a.json"])
    '--diff a.json: it is no JSON'
    """
    given = [
        (option, value)
        for option, value in _pairs(arguments)
        if option.startswith("--") and value is not None
    ]
    unknown = _UNKNOWN.match(text)
    for option, value in given:
        if text.startswith(f"{option.removeprefix('--')}: ") and value[:1] in "<>=!":
            return f"--{text}"
        if unknown and unknown[1] in {value, *map(str.strip, value.split(","))}:
            return f"{option}: {text}"
        if option in _FILES and arguments[1:2] != [value] and option not in text:
            if value and text.startswith((f"{value}: ", f"'{value}' is no ")):
                return f"{option} {text}"
            if not value and text.startswith((": ", "the source is empty: ")):
                return f"{option} is empty: {text.partition(': ')[2]}"
    return text


def _pairs(arguments: Sequence[str]) -> Iterator[tuple[str, str | None]]:
    """Each argument with the one behind it; `--name=value` is both."""
    for place, word in enumerate(arguments):
        option, equals, value = word.partition("=")
        if equals and option.startswith("--"):
            yield option, value
        else:
            behind = arguments[place + 1] if place + 1 < len(arguments) else None
            yield _SHORT.get(word, word), behind


_USAGE = (
    (r"^Invalid value for '([^']*)': (Input should be .*)$", r"\1: \2"),
    (r"Input should be a valid integer.*", "give a whole number"),
    (r"Input should be a valid number.*", "give a number"),
    (r"Input should be greater than or equal to (\S+)", r"give \1 or more"),
    (r"Input should be less than or equal to (\S+)", r"give \1 or less"),
    (r"\. Did you mean ('[^']*')\?", r"; near: \1"),
    (r" \(Possible options: (.*)\)", r"; near: \1"),
)


def typed(text: str) -> str:
    """What click says of a command line, in the words of the other messages.

    >>> typed("Invalid value for '--top': Input should be greater than or equal to 1")
    '--top: give 1 or more'
    >>> typed("No such command 'inspekt'. Did you mean 'inspect'?")
    "No such command 'inspekt'; near: 'inspect'"
    """
    text = text.rstrip(".")
    for said, ours in _USAGE:
        text = re.sub(said, ours, text)
    return text


def _given(known: Mapping[str, tuple[str, str]], found: re.Match[str]) -> str:
    option, takes = known[found["name"]]
    value = found["value"].strip("'\"")
    if found["value"] in ("''", '""'):
        return f"{option} ''"
    if not takes:
        return option if value != "False" else f"--no-{option.removeprefix('--')}"
    if value in ("", "..."):
        return f"{option} {takes}"
    return f"{option} {value.strip('()').replace(', ', ',').rstrip(',')}"
