"""The PyTorch module beside the program: the same probabilities."""

from pathlib import Path

import pytest
from conftest import Sif

from seeing_in_flowing import features, load_run, predict

torch = pytest.importorskip("torch")

from seeing_in_flowing.torch import SeeingInFlowing  # noqa: E402


def test_every_ablation_has_the_scores_of_the_program(
    sif: Sif, runs: dict[str, Path], clips: list[Path], tmp_path: Path
) -> None:
    compared = 0
    for name, run in runs.items():
        if load_run(run).config["model"]["system"] != "seeing_in_flowing":
            continue
        out = tmp_path / name
        assert sif("export", run, out).returncode == 0
        model = SeeingInFlowing.load(out)
        frames = torch.from_numpy(features(clips, out, frames=8, tokens=model.tokens))
        with torch.no_grad():
            probabilities = model.probabilities(frames)
        for row, answer in zip(probabilities, predict(clips, checkpoint=out, top=10, precision="fp32")):
            found = {one["label"]: one["score"] for one in answer["predictions"]}
            for label, ours in zip(model.names, row.tolist()):
                assert ours == pytest.approx(found[label], abs=1e-5), (name, label)
        compared += 1
    assert compared >= 8


def test_other_labels_and_gradients(sif: Sif, runs: dict[str, Path], tmp_path: Path) -> None:
    run = next(run for name, run in runs.items() if name.startswith("best-full"))
    assert sif("export", run, tmp_path / "model").returncode == 0
    model = SeeingInFlowing.load(tmp_path / "model")
    frames = torch.randn(2, 8, 128)
    logits = model(frames, ["waving", "a long walk in the rain"])
    assert logits.shape == (2, 2)
    logits.sum().backward()
    missing = [name for name, one in model.named_parameters() if one.grad is None]
    assert not missing
    assert set(dict(model.named_parameters())) == set(load_run(run).tensors)
