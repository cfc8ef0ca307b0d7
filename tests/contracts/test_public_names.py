"""The public names: each is found where the stub says, and nothing hides one."""

from __future__ import annotations

import ast
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from pkgutil import walk_packages
from types import ModuleType

import pytest

import atrous

STUB = Path(atrous.__file__).with_suffix(".pyi").read_text()


def names_in(stub: str) -> dict[str, str]:
    """Name -> module, of what a stub exports."""
    names = {}
    for statement in ast.parse(stub).body:
        if isinstance(statement, ast.ImportFrom):
            for alias in statement.names:
                # `import X` and not `import X as X` is no export for a strict checker.
                name = alias.asname or f"{alias.name} (not exported)"
                names[name] = f"atrous.{statement.module}"
    return names


HOMES = names_in(STUB)


@pytest.mark.parametrize("name", sorted(HOMES))
def test_each_public_name_is_what_its_home_has(name):
    assert getattr(atrous, name) is getattr(import_module(HOMES[name]), name)


def test_type_checkers_see_the_names_that_resolve():
    assert sorted(HOMES) == sorted(atrous.__all__)


def test_a_name_that_type_checkers_cannot_see_is_noticed():
    wrong = STUB.replace("import Window as Window", "import Window")
    assert wrong != STUB
    assert sorted(names_in(wrong)) != sorted(atrous.__all__)


def test_a_star_import_and_dir_have_every_public_name():
    namespace = {}
    exec("from atrous import *", namespace)
    assert set(HOMES) <= namespace.keys()
    assert set(HOMES) | {"__version__"} <= set(dir(atrous))


def test_the_version_is_the_installed_one():
    assert atrous.__version__ == version("atrous")


def test_an_unknown_name_is_an_attribute_error_that_says_the_name():
    with pytest.raises(AttributeError, match="module 'atrous' has no attribute 'inspekt'"):
        _ = atrous.inspekt


def hidden_names(package: ModuleType) -> list[str]:
    """The public names under which there is a module."""
    return [n for n in package.__all__ if isinstance(getattr(package, n), ModuleType)]


def test_no_module_hides_a_public_name_once_every_module_is_imported():
    for found in walk_packages(atrous.__path__, "atrous."):
        if not found.name.endswith("__main__"):
            import_module(found.name)
    assert hidden_names(atrous) == []


def test_a_module_that_hides_a_public_name_is_noticed(monkeypatch):
    monkeypatch.setattr(atrous, "convert", import_module("atrous.cli.convert"))
    assert hidden_names(atrous) == ["convert"]
