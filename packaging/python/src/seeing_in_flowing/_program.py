"""The program `sif`: found with the libtorch of the installed torch, which is not imported."""

from __future__ import annotations

import os
import sys
from importlib import metadata, util
from pathlib import Path
from typing import NoReturn

#: The torch whose libtorch the program is linked with.
TORCH = "2.13"

_PACKAGE = Path(__file__).resolve().parent
_PROGRAM = _PACKAGE / "_native" / "bin" / "trainer"


class Error(RuntimeError):
    """The program cannot be started, or did not do what was asked."""


def program() -> tuple[Path, dict[str, str]]:
    """The program and its environment.

    It looks for libtorch beside this package, by its own place. A torch that lies elsewhere is put into
    the environment.
    """
    torch = _torch()
    environment = dict(os.environ)
    if torch.parent != _PACKAGE.parent:
        inherited = environment.get("LD_LIBRARY_PATH")
        folders = [str(torch / "lib"), *([inherited] if inherited else [])]
        environment["LD_LIBRARY_PATH"] = os.pathsep.join(folders)
    return _PROGRAM, environment


def _torch() -> Path:
    """The folder of the installed torch, if its version is the right one."""
    own = f"seeing-in-flowing {metadata.version('seeing-in-flowing')} needs torch {TORCH}"
    cure = f"pip install 'torch=={TORCH}.*'"
    found = util.find_spec("torch")
    if found is None or found.origin is None:
        raise Error(f"{own}, and none is installed: {cure}")
    version = metadata.version("torch")
    if version.split(".")[:2] != TORCH.split("."):
        raise Error(
            f"{own}, and torch {version} is installed: {cure}, or install the wheel of "
            f"seeing-in-flowing for torch {'.'.join(version.split('.')[:2])}"
        )
    return Path(found.origin).resolve().parent


def main() -> NoReturn:
    """Replaces this process with the program."""
    try:
        path, environment = program()
        os.execve(path, ["sif", *sys.argv[1:]], environment)
    except Error as error:
        print(f"error: {error}", file=sys.stderr)
    except OSError as error:
        print(f"error: cannot start {_PROGRAM}: {error.strerror}", file=sys.stderr)
    sys.exit(3)
