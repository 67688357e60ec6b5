"""Golden values of the solved start: penalised logistic regressions over all candidates of its grid.

Written from the definition in crates/models/src/warm_start.rs, in double precision with numpy and scipy only:
`python make_solved_start.py FOLDER`.
"""

import itertools
import pathlib
import sys

import numpy as np
from safetensors.numpy import save_file
from scipy.optimize import minimize

PENALTIES = (1.0, 0.3, 0.1, 0.03, 0.005)
ORDERS = ((0.0, 0.0), (0.25, 0.18), (0.5, 0.35))
SPREADS = (0.0, 0.25)
MOVING = (0.0, 0.75, 1.5)
TEMPERATURES = (0.125, 0.25, 0.5, 1, 2, 4, 8)
MOST = 27.6


def log_softmax(logits):
    shifted = logits - logits.max(1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(1, keepdims=True))


def statistics(frames, moving):
    """mean, moving patches, first and second cosine coefficient, deviation: [N, D] each"""
    steps = frames.shape[1]
    time = np.arange(steps) + 0.5
    cosine = [np.einsum("t,ntd->nd", np.cos(np.pi * j * time / steps), frames) for j in (1, 2)]
    return [frames.mean(1), moving.mean(1), *cosine, frames.std(1)]


def rows(parts, weights, known):
    out = []
    for part, weight in zip(parts, weights):
        deviation = part[known].std(0)
        deviation[deviation < 1e-9] = 1
        out.append(weight * (part - part[known].mean(0)) / deviation / np.sqrt(part.shape[1]))
    return np.concatenate(out, 1)


def regression(z, classes, count, penalty):
    """The minimum: weights [D, K], bias [K], and the objective. Two starts of L-BFGS until nothing is gained."""
    truth = np.eye(count)[classes]
    weight = 1 / np.bincount(classes, minlength=count)[classes]
    weight /= weight.mean()
    # In the span of the rows.
    values, vectors = np.linalg.eigh(z @ z.T)
    keep = values > values[-1] * 1e-12
    vectors, lengths = vectors[:, keep], np.sqrt(values[keep])
    a = vectors * lengths

    def objective(flat):
        w, b = flat[: a.shape[1] * count].reshape(-1, count), flat[a.shape[1] * count :]
        log = log_softmax(a @ w + b)
        miss = (np.exp(log) - truth) * weight[:, None]
        loss = -(weight[:, None] * truth * log).sum() + 0.5 * penalty * (w**2).sum()
        return loss, np.concatenate([(a.T @ miss + penalty * w).ravel(), miss.sum(0)])

    flat = np.zeros((a.shape[1] + 1) * count)
    for _ in range(4):
        flat = minimize(
            objective, flat, jac=True, method="L-BFGS-B", options=dict(maxiter=20000, maxfun=40000, gtol=1e-11, ftol=1e-16, maxcor=40)
        ).x
    w, b = flat[: a.shape[1] * count].reshape(-1, count), flat[a.shape[1] * count :]
    return z.T @ (vectors / lengths) @ w, b, objective(flat)[0]


def case(count, shots, width, steps, seed):
    generator = np.random.default_rng(seed)
    classes = np.repeat(np.arange(count), shots)
    centre = generator.normal(size=(count, width))
    drift = generator.normal(size=(count, width))
    time = np.linspace(-1, 1, steps)
    frames = 0.7 * centre[classes][:, None] + 0.3 * time[None, :, None] * drift[classes][:, None]
    frames = (frames + generator.normal(size=frames.shape)).astype(np.float32).astype(float)
    moving = (0.5 * centre[::-1][classes][:, None] + generator.normal(size=frames.shape)).astype(np.float32).astype(float)
    folds = np.tile(np.arange(min(4, shots)), count * shots)[: count * shots]
    parts = statistics(frames, moving)
    grid = [
        (penalty, (1.0, moves, *order, spread))
        for moves, order, spread in itertools.product(MOVING, ORDERS, SPREADS)
        for penalty in PENALTIES
    ]
    held = np.zeros((len(grid), len(classes), count))
    objectives, whole = [], []
    for index, (penalty, weights) in enumerate(grid):
        for fold in range(folds.max() + 1):
            known = np.flatnonzero(folds != fold)
            z = rows(parts, weights, known)
            w, b, _ = regression(z[known], classes[known], count, penalty)
            held[index, folds == fold] = (z @ w + b)[folds == fold]
        z = rows(parts, weights, np.arange(len(classes)))
        w, b, loss = regression(z, classes, count, penalty)
        objectives.append(loss)
        whole.append(z @ w + b)
    sums, factors = [], []
    for logits in held:
        losses = [
            (np.minimum(-log_softmax(logits * t)[np.arange(len(classes)), classes], MOST), t) for t in TEMPERATURES
        ]
        best, factor = min(losses, key=lambda pair: pair[0].mean())
        sums.append(best.sum())
        factors.append(factor)
    shares = np.exp(min(sums) - np.array(sums))
    shares /= shares.sum()
    weight = shares * np.array(factors)
    return {
        "frames": frames.astype(np.float32),
        "moving": moving.astype(np.float32),
        "classes": classes,
        "folds": folds,
        "objectives": np.array(objectives),
        "shares": shares,
        "held_out": np.einsum("c,cnk->nk", weight, held),
        "scores": np.einsum("c,cnk->nk", weight, np.array(whole)),
    }


if __name__ == "__main__":
    tensors = {}
    for count, shots, width, steps in ((8, 4, 12, 6), (20, 3, 16, 8)):
        for name, value in case(count, shots, width, steps, count).items():
            tensors[f"{count}.{name}"] = np.ascontiguousarray(value)
    save_file(tensors, pathlib.Path(sys.argv[1]) / "solved_start.safetensors")
