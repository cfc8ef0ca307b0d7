"""Every code block of the documents does what it says.

In one document the blocks run in order, in one empty folder. `python` blocks share their names, and
follow doctest's rules where they hold `>>>`. A line `$ command` in a `console` block runs in bash,
80 columns wide, and prints what follows it, exactly, where a line `...` stands for any lines; with
nothing after it, it only has to succeed. A line that is `atrous` and plain words runs in this
process, without starting a shell and the imports anew, where it says the same. `pip install` is
left to CI, whose script is compared.
"""

from __future__ import annotations

import doctest
import itertools
import re
import shlex
from dataclasses import dataclass
from pathlib import Path
from subprocess import CompletedProcess

import pytest

from tests.command import atrous_terminal
from tests.processes import ROOT, run_shell

EXECUTED = ("python", "console")
SHOWN = ("text", "json", "toml", "yaml")
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
FENCE = re.compile(r"^```(\w*)[^\n]*\n(.*?)^```[ \t]*$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True, slots=True)
class Block:
    """A fenced block: its language, its text, and the line on which the text starts."""

    language: str
    text: str
    line: int


@dataclass(frozen=True, slots=True)
class Command:
    """A command line and the output that the document shows for it."""

    line: str
    output: str


def blocks(document: str) -> list[Block]:
    return [
        Block(found[1], found[2], document.count("\n", 0, found.start(2)) + 1)
        for found in FENCE.finditer(document)
    ]


def commands(block: Block) -> list[Command]:
    found: list[tuple[str, list[str]]] = []
    for line in block.text.splitlines():
        if line.startswith("$ "):
            found.append((line[2:], []))
        elif found and found[-1][0].endswith("\\"):
            found[-1] = (f"{found[-1][0][:-1].rstrip()} {line.strip()}", [])
        elif found:
            found[-1][1].append(line)
        else:
            raise AssertionError(f"a console block starts with `$ `, got {line!r}")
    return [Command(line, stripped("\n".join(output))) for line, output in found]


def stripped(text: str) -> str:
    """The text without trailing blanks, which editors remove, and without blank ends."""
    return "\n".join(line.rstrip() for line in text.splitlines()).strip("\n")


def after_install(line: str) -> str:
    """What is left of a command line to run here, in an environment that is already installed."""
    parts = [part.strip() for part in line.split("&&")]
    return " && ".join(
        part for part in parts if not part.startswith("pip install") and part != "pytest"
    )


def run_line(line: str, folder: Path) -> CompletedProcess[str]:
    """Runs a command line as bash does; a plain call of `atrous`, whose words bash hands on as they
    stand, without bash.
    """
    words = shlex.split(line)
    bare = re.sub(r'"[^"$`\\!]*"', "", line)
    if words[0] == "atrous" and re.fullmatch(r"[\w\s.,:=/@%+-]*", bare):
        return atrous_terminal(*words[1:], cwd=folder)
    return run_shell(line, folder)


def assert_shows(shown: str, printed: str, where: str) -> None:
    pattern = "".join(
        r"(?:.*\n)*?" if line.strip() == "..." else re.escape(line) + r"\n"
        for line in shown.splitlines()
    )
    if re.fullmatch(pattern, stripped(printed) + "\n") is None:
        raise AssertionError(f"{where} prints\n\n{stripped(printed)}\n\nand not\n\n{shown}")


def assert_document_holds(path: Path, folder: Path) -> None:
    names: dict[str, object] = {"__name__": "__main__"}
    for block in blocks(path.read_text(encoding="utf-8")):
        where = f"{path.name}:{block.line}"
        if block.language == "python" and ">>> " in block.text:
            test = doctest.DocTestParser().get_doctest(
                block.text, names, where, where, block.line - 1
            )
            report: list[str] = []
            runner = doctest.DocTestRunner(verbose=False, optionflags=doctest.ELLIPSIS)
            runner.run(test, out=report.append, clear_globs=False)
            names.update(test.globs)
            assert not runner.failures, "".join(report)
        elif block.language == "python":
            exec(compile("\n" * (block.line - 1) + block.text, str(path), "exec"), names)
        elif block.language == "console":
            for command in commands(block):
                line = after_install(command.line)
                if not line:
                    continue
                result = run_line(line, folder)
                if command.output:
                    assert_shows(command.output, result.stdout, f"{where}: `{line}`")
                else:
                    assert result.returncode == 0, f"{where}: `{line}` prints\n\n{result.stdout}"


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_every_code_block_does_what_it_says(path, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert_document_holds(path, tmp_path)


@pytest.mark.parametrize(
    "path",
    [*DOCUMENTS, ROOT / "CONTRIBUTING.md"],
    ids=lambda path: path.relative_to(ROOT).as_posix(),
)
def test_every_code_block_has_a_language_that_is_executed_or_only_shown(path):
    languages = {block.language for block in blocks(path.read_text(encoding="utf-8"))}
    assert languages <= {*EXECUTED, *SHOWN}


@pytest.mark.parametrize(
    "text",
    [
        "```python\nassert 1 + 1 == 3\n```\n",
        "```python\n>>> 1 + 1\n3\n```\n",
        "```python\nx = 1\n```\n\n```python\n>>> x\n2\n```\n",
        "```console\n$ echo two\nthree\n```\n",
        "```console\n$ echo one; echo two\none\n```\n",
        "```console\n$ echo one; echo two\nzero\n...\n```\n",
        "```console\n$ pip install . && echo two\nthree\n```\n",
        "```console\n$ false\n```\n",
        "```console\necho two\n```\n",
        "```console\n$ atrous --version\nseven\n```\n",
        "```console\n$ atrous inspect zoo:nothing\n```\n",
    ],
)
def test_a_document_that_is_wrong_is_noticed(tmp_path, text):
    path = tmp_path / "wrong.md"
    path.write_text(text)
    with pytest.raises(AssertionError):
        assert_document_holds(path, tmp_path)


RIGHT = r"""
```python
x = 2
```

```python
>>> x
2
>>> x += 1
```

```python
assert x == 3
```

```console
$ pip install . && echo one; \
  printf 'two  \n\nthree\n'
one
...
three
```
"""


def test_a_document_that_is_right_holds(tmp_path):
    path = tmp_path / "right.md"
    path.write_text(RIGHT)
    assert_document_holds(path, tmp_path)


def ci_steps(script: str) -> list[list[str]]:
    """What CI runs, environment by environment: the parts of each command line, in their order."""
    found: list[list[str]] = []
    for line in re.finditer(r"^ *(?:fresh (\w+)|run '([^'\n]*)'(?: .*)?)$", script, re.MULTILINE):
        if line[1]:
            found.append([])
        else:
            found[-1] += line[2].split(" && ")
    return found


def is_run(line: str, steps: list[list[str]]) -> bool:
    """Whether one environment sees every part of a command line, in the line's order."""
    for steps_of_one in steps:
        rest = iter(steps_of_one)
        if all(part in rest for part in line.split(" && ")):
            return True
    return False


SCRIPT = (ROOT / ".ci" / "run").read_text(encoding="utf-8")


def test_ci_runs_the_commands_of_contributing():
    shown = blocks((ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8"))
    lines = [c.line for b in shown if b.language == "console" for c in commands(b)]
    assert len(lines) == 3
    assert [line for line in lines if not is_run(line, ci_steps(SCRIPT))] == [".ci/run"]


def test_ci_runs_the_installs_of_the_documents():
    shown = itertools.chain.from_iterable(blocks(p.read_text(encoding="utf-8")) for p in DOCUMENTS)
    lines = [c.line for b in shown if b.language == "console" for c in commands(b)]
    installs = {line for line in lines if "pip install" in line}
    assert installs
    assert [line for line in installs if not is_run(line, ci_steps(SCRIPT))] == []


@pytest.mark.parametrize(
    ("line", "runs"),
    [
        ("pip install . && one", True),
        ("pip install . && two --fast", True),
        ("two --fast && one", False),  # another order
        ("pip install . && three", False),  # another environment
        ("two", False),  # part of a part
    ],
)
def test_a_line_that_ci_does_not_run_is_noticed(line, runs):
    script = (
        "fresh a\nrun 'pip install .'\n  run 'one && two --fast' | tee x\nfresh b\nrun 'three'\n"
    )
    assert is_run(line, ci_steps(script)) is runs
