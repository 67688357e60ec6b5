"""The package as it is installed: its program, its functions, and what it refuses."""

import os
from pathlib import Path

import numpy as np
import pytest
from conftest import Sif

import seeing_in_flowing
from seeing_in_flowing import Error, _program, features, load_run, predict

LABELS = ["growing", "moving left, slowly", 'so-called "fading"']


def backbone() -> Path:
    share = Path(seeing_in_flowing.__file__).parent / "_native/share/seeing-in-flowing"
    return share / "demo/backbone"


def test_the_program_says_its_versions(sif: Sif) -> None:
    said = sif("--version")
    assert said.returncode == 0, said.stderr
    assert seeing_in_flowing.__version__ in said.stdout
    assert "libtorch 2.13" in said.stdout


def test_answers_come_in_order_and_labels_may_hold_commas(clips: list[Path]) -> None:
    answers = list(predict(clips, LABELS, backbone(), device="cpu", top=3))
    assert [answer["video"] for answer in answers] == [str(clip) for clip in clips]
    for answer in answers:
        assert {found["label"] for found in answer["predictions"]} == set(LABELS)


def test_a_broken_video_is_an_answer_and_a_wrong_option_an_error(
    clips: list[Path], tmp_path: Path
) -> None:
    broken = tmp_path / "-broken.avi"
    broken.write_bytes(b"<html>")
    good, bad = predict([clips[0], broken], LABELS, backbone())
    assert "predictions" in good and "error" in bad
    with pytest.raises(Error, match="--no-such-option"):
        list(predict(clips, LABELS, backbone(), no_such_option=1))
    with pytest.raises(Error, match="no labels"):
        list(predict(clips, checkpoint=backbone()))


def test_a_caller_that_has_enough_ends_the_program(clips: list[Path]) -> None:
    answers = predict(clips, LABELS, backbone())
    next(answers)
    answers.close()


def test_features_are_rows_in_the_order_of_the_paths(clips: list[Path], tmp_path: Path) -> None:
    rows = features(clips, backbone(), frames=4, tokens="moving")
    assert rows.shape == (len(clips), 4, 2 * 64) and rows.dtype == np.float32
    again = features(clips[::-1], backbone(), frames=4, tokens="moving")
    np.testing.assert_array_equal(again, rows[::-1])
    broken = tmp_path / "broken.avi"
    broken.write_bytes(b"<html>")
    with pytest.raises(Error, match="broken.avi"):
        features([clips[0], broken], backbone())


def test_a_run_and_its_export_hold_the_same(sif: Sif, runs: dict[str, Path], tmp_path: Path) -> None:
    name, run = next(item for item in runs.items() if item[0].startswith("best-full"))
    out = tmp_path / name
    done = sif("export", run, out, "--license", "mit")
    assert done.returncode == 0, done.stderr
    ours, theirs = load_run(run), load_run(out)
    assert ours.tensors.keys() == theirs.tensors.keys() and ours.tensors
    for key, tensor in ours.tensors.items():
        np.testing.assert_array_equal(tensor, theirs.tensors[key])
    assert ours.config["model"] == theirs.config["model"]
    assert len(theirs.config["labels"]) == 10
    with pytest.raises(Error, match="expected a trained run"):
        load_run(tmp_path)


def test_another_torch_is_named_before_anything_is_loaded(sif: Sif, tmp_path: Path) -> None:
    (tmp_path / "torch").mkdir()
    (tmp_path / "torch" / "__init__.py").write_text("raise SystemExit('imported')")
    info = tmp_path / "torch-2.12.1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: torch\nVersion: 2.12.1\n")
    said = sif("--version", env={**os.environ, "PYTHONPATH": str(tmp_path)})
    assert said.returncode == 3 and said.stdout == ""
    assert "needs torch 2.13, and torch 2.12.1 is installed" in said.stderr
    assert "for torch 2.12" in said.stderr and len(said.stderr.splitlines()) == 1


def test_no_torch_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(Error, match="needs torch 2.13, and none is installed"):
        list(predict(["clip.mp4"], ["wave"]))


def test_torch_elsewhere_is_put_into_the_environment(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert _program.program()[1].get("LD_LIBRARY_PATH") == os.environ.get("LD_LIBRARY_PATH")
    monkeypatch.setattr(_program, "_torch", lambda: tmp_path / "torch")
    folders = _program.program()[1]["LD_LIBRARY_PATH"].split(os.pathsep)
    assert folders[0] == str(tmp_path / "torch/lib")
