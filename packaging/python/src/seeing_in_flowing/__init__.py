"""Recognise human actions in video: the program `sif` from Python.

`seeing_in_flowing.torch` has the model as a plain PyTorch module.
"""

from __future__ import annotations

import csv
import io
import json
import logging
import os
import re
import subprocess
import tempfile
from importlib.metadata import version
from pathlib import Path
from typing import Any, Generator, Iterable, Iterator, NamedTuple, Sequence, Union

import numpy as np
import numpy.typing as npt

from ._program import Error, program

__all__ = ["Error", "Run", "features", "load_run", "predict"]
__version__ = version("seeing-in-flowing")

PathLike = Union[str, "os.PathLike[str]"]
_log = logging.getLogger(__name__)


class Run(NamedTuple):
    """A trained run."""

    #: The trained tensors by name.
    tensors: dict[str, npt.NDArray[Any]]
    #: Options of the `model`, `labels`, `frames`, `backbone` and `calibration`.
    config: dict[str, Any]


def predict(
    paths: Iterable[PathLike],
    labels: Iterable[str] | None = None,
    checkpoint: PathLike | None = None,
    **options: Any,
) -> Generator[dict[str, Any], None, None]:
    """Yields the answer for each video, or each window, as soon as it is there.

    Each is an object of `sif predict --json`; that of a video without an answer has `error`. `checkpoint` is
    a run, a folder of `sif export`, or a CLIP by its path or id on a hub. `options` are those of `sif
    predict`: `window="2s"` is `--window 2s`, `threads=4` is `--threads 4`. Notes go to the log.

    Raises:
        Error: Nothing was answered: no labels, no checkpoint, a wrong option.
    """
    words = ["predict", "--json", *_options(options)]
    if labels is not None:
        words.append("--labels=" + _comma_separated(labels))
    if checkpoint is not None:
        words.append(f"--checkpoint={os.fspath(checkpoint)}")
    words += ["--", *(os.fspath(path) for path in paths)]
    for line in _lines(words):
        yield json.loads(line)


def features(
    paths: Sequence[PathLike],
    checkpoint: PathLike,
    frames: int = 8,
    tokens: str = "class",
    precision: str = "fp32",
    **options: Any,
) -> npt.NDArray[np.float32]:
    """Frame features of videos: (N, frames, F), not normalised.

    F is the joint width D of the CLIP at `checkpoint`, which may be a folder of `sif export`, times the
    number of `tokens` of each frame ("class", or those of a model). It computes in `precision`, which "auto"
    leaves to the program. `options` are those of `sif
    export-embeddings`.

    Raises:
        Error: A video cannot be decoded, or the checkpoint cannot be read.
    """
    with tempfile.TemporaryDirectory(prefix="seeing-in-flowing-") as place:
        clips, out = Path(place, "clips", "all"), Path(place, "out")
        clips.mkdir(parents=True)
        for number, path in enumerate(paths):
            (clips / f"{number:09}{Path(path).suffix}").symlink_to(Path(path).resolve(strict=True))
        settings = {
            "data.frames": frames,
            "data.tokens": tokens,
            # No motion block, whose steps limit the number of frames.
            "model.row": "probe",
            "backbone.precision": precision,
            "data.cache": json.dumps(str(Path(place, "cache"))),
            "data.cache_precision": "f32",
            "data.follow_links": "true",
        }
        words = ["export-embeddings", "--quiet", "--dataset=folder", f"--root={clips.parent}"]
        words += [f"--weights={os.fspath(checkpoint)}", f"--out={out}", *_options(options)]
        words += [f"--set={key}={value}" for key, value in settings.items()]
        said = list(_lines(words))
        rows = json.loads((out / "clips.json").read_text("utf-8"))
        known = [int(Path(row["id"]).stem) for row in rows]
        missing = sorted(set(range(len(paths))) - set(known))
        if missing:
            names = ", ".join(os.fspath(paths[at]) for at in missing)
            raise Error(f"cannot be decoded: {names} ({' '.join(said)})")
        order = np.argsort(known)
        loaded: npt.NDArray[np.float32] = np.load(out / "frames.npy")[order]
        return loaded


def load_run(path: PathLike) -> Run:
    """The newest checkpoint of a run's first seed, or a folder of `sif export`.

    Raises:
        Error: The folder is neither.
    """
    from safetensors.numpy import load_file

    folder = Path(path)
    card = folder / "seeing_in_flowing.json"
    if card.is_file():
        config = json.loads(card.read_text("utf-8"))
        return Run(load_file(folder / "trained.safetensors"), config)
    seeds = sorted(folder.glob("seed-*"), key=lambda seed: int(re.sub(r"\D", "", seed.name) or 0))
    steps = sorted(Path(seeds[0] if seeds else folder, "checkpoints").glob("step-*"))
    if not steps:
        raise Error(f"{folder}: expected a trained run or a folder of `sif export`")
    state = json.loads((steps[-1] / "state.json").read_text("utf-8"))
    return Run(load_file(steps[-1] / "trained.safetensors"), state["run"]["card"])


def _options(options: dict[str, Any]) -> Iterator[str]:
    for name, value in options.items():
        option = "--" + name.replace("_", "-")
        for one in value if isinstance(value, (list, tuple)) else [value]:
            if one is True:
                yield option
            elif one is not False and one is not None:
                yield f"{option}={one}"


def _comma_separated(labels: Iterable[str]) -> str:
    line = io.StringIO()
    csv.writer(line, lineterminator="").writerow(labels)
    return line.getvalue()


def _lines(words: Sequence[str]) -> Iterator[str]:
    """The lines that the program prints."""
    path, environment = program()
    with tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as said:
        command = ["sif", *words]
        started = subprocess.Popen(
            command,
            executable=path,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=said,
            encoding="utf-8",
        )
        printed = 0
        assert started.stdout is not None
        try:
            for line in started.stdout:
                printed += 1
                yield line
            started.wait()
        finally:
            # A caller that has enough ends the program.
            started.terminate()
            started.stdout.close()
            status = started.wait()
        said.seek(0)
        messages = said.read().strip()
        if status != 0 and not printed:
            raise Error(messages.removeprefix("error: "))
        for message in messages.splitlines():
            _log.info("%s", message)
