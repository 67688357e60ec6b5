"""Clips and runs of the built-in experiment, made once with the installed program."""

import subprocess
import sys
from pathlib import Path
from typing import Callable

import pytest

Sif = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture(scope="session")
def sif() -> Sif:
    """The installed command, with its words."""
    command = Path(sys.executable).with_name("sif")

    def run(*words: object, **more: object) -> "subprocess.CompletedProcess[str]":
        line = [str(command), *map(str, words)]
        return subprocess.run(line, capture_output=True, text=True, check=False, **more)  # type: ignore[call-overload, no-any-return]

    return run


@pytest.fixture(scope="session")
def demo(sif: Sif, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `clips` and `runs`."""
    place = tmp_path_factory.mktemp("demo")
    options = "--videos clips --out out --shots 3 --test-clips 2 --steps 10"
    done = sif("demo", *options.split(), cwd=place)
    assert done.returncode == 0, done.stderr
    return place


@pytest.fixture(scope="session")
def runs(demo: Path) -> dict[str, Path]:
    """The folders of the trained runs by name."""
    found = {path.parents[1].name: path.parents[1] for path in demo.glob("out/**/checkpoints")}
    assert found
    return found


@pytest.fixture(scope="session")
def clips(demo: Path) -> list[Path]:
    return sorted((demo / "clips" / "test").glob("*/*.avi"))[:6]
