"""Published few-shot heads in plain numpy and double precision, written from their formulas.

`python make_heads.py FOLDER` writes FOLDER/heads.safetensors: clips, texts, and for each head the
scores of test clips with every one of some settings (`METHOD.setting.I`), and with the setting that
the cross-validation over the training clips chooses (`METHOD.chosen`, `METHOD.index`).
"""
import sys
import numpy as np
from safetensors.numpy import save_file

K, D, SCALE = 3, 10, 20.0
CLIPS = [5, 4, 3]  # of each class


def unit(a):
    return a / np.linalg.norm(a, axis=1, keepdims=True)


def softmax(a):
    e = np.exp(a - a.max(1, keepdims=True))
    return e / e.sum(1, keepdims=True)


def one_hot(y):
    return np.eye(K)[y]


def cross_entropy(logits, y):
    top = logits.max(1)
    log_sum = top + np.log(np.exp(logits - top[:, None]).sum(1))
    return (log_sum - logits[np.arange(len(y)), y]).mean()


def kernel(a, b, beta):
    """exp(-beta |a - b|^2 / 2), which is exp(-beta (1 - a.b)) for unit vectors."""
    return np.exp(-beta * ((a[:, None] - b[None]) ** 2).sum(2) / 2)


# ---- the heads: fit(x, y, t, settings) gives one function of test clips per setting


def gda(x, y, t, settings):
    n = len(x)
    mu = np.stack([x[y == k].mean(0) for k in range(K)])
    sigma = sum((x[i] - mu[y[i]])[:, None] * (x[i] - mu[y[i]])[None] for i in range(n)) / (n - 1)
    if np.trace(sigma) < 1e-12:
        inverse = D / np.trace(np.cov(x.T)) * np.eye(D)
    else:
        inverse = D * np.linalg.inv((n - 1) * sigma + np.trace(sigma) * np.eye(D))
    b = np.array([np.log(1 / K) - m @ inverse @ m / 2 for m in mu])
    return [lambda q, a=a: SCALE * q @ t.T + a * (q @ inverse @ mu.T + b) for a in settings]


def tip(x, y, t, settings, keys=None):
    f = x if keys is None else keys

    def one(alpha, beta):
        return lambda q: SCALE * q @ t.T + alpha * np.exp(-beta * (1 - q @ f.T)) @ one_hot(y)

    return [one(*s) for s in settings]


def tip_f(x, y, t, settings, steps=20):
    alpha, beta = 1.0, 5.5

    def loss(keys):
        return cross_entropy(SCALE * x @ t.T + alpha * np.exp(-beta * (1 - x @ keys.T)) @ one_hot(y), y)

    def gradient(keys):
        a = np.exp(-beta * (1 - x @ keys.T))
        p = softmax(SCALE * x @ t.T + alpha * a @ one_hot(y))
        out = np.zeros_like(keys)
        for j in range(len(keys)):  # d loss / d key_j
            for i in range(len(x)):
                out[j] += (p[i, y[j]] - (y[i] == y[j])) / len(x) * alpha * beta * a[i, j] * x[i]
        return out

    check_gradient(loss, gradient, x)
    keys, m, v = x.copy(), np.zeros_like(x), np.zeros_like(x)
    for s in range(steps):
        g = gradient(keys)
        rate = 1e-3 * (1 + np.cos(np.pi * s / steps)) / 2
        m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g * g
        keys = keys - rate * 0.01 * keys
        keys = keys - rate * (m / (1 - 0.9 ** (s + 1))) / (np.sqrt(v / (1 - 0.999 ** (s + 1))) + 1e-4)
    return tip(x, y, t, settings, keys)


def lp_plus_plus(x, y, t, settings):
    n = len(x)
    ft = np.einsum("nd,kd->nk", x, t)

    def logits(w, alpha):
        return np.array([[x[i] @ (w[k] + alpha[k] * t[k]) for k in range(K)] for i in range(n)])

    def gradients(w, alpha):
        r = (softmax(logits(w, alpha)) - one_hot(y)) / n
        return np.stack([r[:, k] @ x for k in range(K)]), np.array([r[:, k] @ ft[:, k] for k in range(K)])

    w = np.stack([x[y == k].sum(0) for k in range(K)])
    alpha = np.full(K, 250 * np.mean([ft[y == k, k].mean() for k in range(K)]))
    check_gradient(lambda v: cross_entropy(logits(v, alpha), y), lambda v: gradients(v, alpha)[0], w)
    check_gradient(lambda a: cross_entropy(logits(w, a), y), lambda a: gradients(w, a)[1], alpha)
    lipschitz_w = np.linalg.eigvalsh(x.T @ x)[-1] / (4 * n)
    lipschitz_a = max((ft[:, k] ** 2).sum() / (4 * n) for k in range(K))
    velocity, at = np.zeros_like(w), {}
    for step in range(1, max(settings) + 1):
        gw, ga = gradients(w, alpha)
        velocity = 0.9 * velocity + gw
        w = w - velocity / lipschitz_w
        if step % 10 == 0:
            alpha = alpha - ga / lipschitz_a
        at[step] = w + alpha[:, None] * t
    return [lambda q, v=at[s]: q @ v.T for s in settings]


def clap(x, y, t, settings):
    p = softmax(SCALE * x @ t.T)
    lam = np.array([p[y == k, k].mean() for k in range(K)])

    def loss(w):
        return cross_entropy(SCALE * x @ unit(w).T, y) + np.mean(lam * ((w - t) ** 2).sum(1))

    def gradient(w):
        r = (softmax(SCALE * x @ unit(w).T) - one_hot(y)) / len(x)
        out = np.zeros_like(w)
        for k in range(K):
            length = np.linalg.norm(w[k])
            jacobian = (np.eye(D) - np.outer(w[k], w[k]) / length**2) / length
            out[k] = jacobian @ (SCALE * r[:, k] @ x) + 2 * lam[k] * (w[k] - t[k]) / K
        return out

    check_gradient(loss, gradient, t + 0.1)
    w, velocity = t.copy(), np.zeros_like(t)
    for s in range(300):
        velocity = 0.9 * velocity + gradient(w)
        w = w - 0.1 * (1 + np.cos(np.pi * s / 300)) / 2 * velocity
    return [lambda q: SCALE * q @ unit(w).T for _ in settings]


def proker(x, y, t, settings):
    def one(beta, lam):
        a = np.linalg.inv(kernel(x, x, beta) + lam * np.eye(len(x))) @ (one_hot(y) - x @ t.T)
        return lambda q: q @ t.T + kernel(q, x, beta) @ a

    return [one(*s) for s in settings]


def check_gradient(loss, gradient, at, h=1e-5):
    g, flat = gradient(at).ravel(), at.ravel()
    for i in range(0, flat.size, 3):
        d = np.zeros_like(flat)
        d[i] = h
        slope = (loss((flat + d).reshape(at.shape)) - loss((flat - d).reshape(at.shape))) / (2 * h)
        assert abs(slope - g[i]) < 1e-7, (slope, g[i])


# ---- the choice


def choose(fit, x, y, t, settings):
    if len(settings) == 1:
        return 0, fit(x, y, t, settings)[0]
    seen, fold = {}, np.zeros(len(y), int)
    parts = min(4, max(np.bincount(y)))
    for i, k in enumerate(y):
        fold[i] = seen.get(k, 0) % parts
        seen[k] = seen.get(k, 0) + 1
    held = [np.zeros((len(y), K)) for _ in settings]
    for f in range(parts):
        a, b = fold != f, fold == f
        for logits, function in zip(held, fit(x[a], y[a], t, settings)):
            logits[b] = function(x[b])
    score = [[cross_entropy(l * 2.0**p, y) for p in range(-6, 9)] for l in held]
    best = min(range(len(settings)), key=lambda i: min(score[i]))
    factor = 2.0 ** (int(np.argmin(score[best])) - 6)
    chosen = fit(x, y, t, [settings[best]])[0]
    return best, lambda q: factor * chosen(q)


def grid(first, a, b):
    return [first] + [(i, j) for i in a for j in b]


TIP = grid((1.0, 5.5), (0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0, 300.0), (1.0, 2.5, 5.5, 11.0, 22.0, 44.0))
HEADS = {
    "lp-plus-plus": (lp_plus_plus, [300, 3, 10, 30, 100]),
    "gda": (gda, [1.0, 1e-4, 1e-3, 1e-2, 0.1, 10.0, 100.0]),
    "tip-adapter": (tip, TIP),
    "tip-adapter-f": (tip_f, TIP),
    "clap": (clap, [()]),
    "proker": (proker, grid((5.0, 0.1), (0.5, 1.0, 2.0, 5.0, 10.0, 20.0), (0.003, 0.01, 0.03, 0.1, 0.3, 1.0))),
}
SAVED = 3  # settings whose scores are saved, from the first


def main(folder):
    rng = np.random.default_rng(7)
    y = np.concatenate([[k] * n for k, n in enumerate(CLIPS)])
    rng.shuffle(y)
    centre = rng.normal(size=(K, D))
    raw = 1.0 * centre[y] + rng.normal(size=(len(y), D)) * 1.3 + 0.5
    text = 0.6 * centre + rng.normal(size=(K, D))
    test = centre[np.arange(6) % K] + rng.normal(size=(6, D)) + 0.5
    out = dict(features=raw, classes=y.astype(np.int64), text=text, test=test)
    x, t, q = unit(raw), unit(text), unit(test)
    for name, (fit, settings) in HEADS.items():
        for i, function in enumerate(fit(x, y, t, settings[:SAVED])):
            out[f"{name}.setting.{i}"] = function(q)
        index, function = choose(fit, x, y, t, settings)
        out[f"{name}.index"] = np.array([index], dtype=np.int64)
        out[f"{name}.chosen"] = function(q)
        print(name, index, settings[index])
    # One clip of each class: no scatter within classes.
    single = [list(y).index(k) for k in range(K)]
    out["gda.single"] = gda(x[single], y[single], t, [1.0])[0](q)
    save_file({k: np.ascontiguousarray(v) for k, v in out.items()}, f"{folder}/heads.safetensors")


main(sys.argv[1] if len(sys.argv) > 1 else ".")
