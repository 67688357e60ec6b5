"""A k-shot draw, written independently of the Rust code: 3 clips of each of two classes.

    python draw.py > draw_golden.in
"""
import contextlib
import io
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).parents[3] / "random/tests/reference"))

with contextlib.redirect_stdout(io.StringIO()):
    from stream import Stream

drawn = []
for c, size in enumerate((12, 20)):
    train = [n for n in range(size) if n // 2 != (size - 1) // 2]
    ids = sorted(f"{c}/v_g{n // 2:02}_{n}.avi" for n in train)
    drawn += Stream(5, ["few-shot", "made up", f"class {c}"]).shuffle(ids)[:3]
print("[" + ", ".join(f'"{i}"' for i in sorted(drawn)) + "]")
