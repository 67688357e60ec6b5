"""Records commands in a terminal of 88 x 26 and draws docs/animation.gif from what they print.

    pip install pillow pyte
    python docs/animation.py TRAINER

TRAINER is the built program. Runs in an empty folder with clips of the built-in experiment. Waiting
is cut short, nothing else is changed.
"""

import fcntl, os, pathlib, pty, select, struct, subprocess, sys, tempfile, termios, time
import pyte
from PIL import Image, ImageDraw, ImageFont

COLUMNS, ROWS, SIZE = 88, 26, 14
COMMANDS = [
    "ls mine",
    "trainer fit mine --weights backbone --quiet",
    "trainer predict clips/test/growing/000.avi --checkpoint runs/mine --top 3",
]
PAPER, INK, DIM, BLOCK = "#14181c", "#d8dee4", "#7d8a96", "#57b894"
font = ImageFont.truetype("DejaVuSansMono.ttf", SIZE)
CELL = font.getlength("M")


def picture(screen):
    image = Image.new("RGB", (round(COLUMNS * CELL) + 24, ROWS * (SIZE + 4) + 20), PAPER)
    draw = ImageDraw.Draw(image)
    for y, line in enumerate(screen.display):
        colour = INK if line.startswith("$") else DIM if line.startswith("note") else INK
        for x, mark in enumerate(line):
            if mark != " ":
                place = (12 + x * CELL, 10 + y * (SIZE + 4))
                draw.text(place, mark, BLOCK if "\u2580" <= mark <= "\u259f" else colour, font)
    return image.quantize(16)


def main(trainer):
    work = pathlib.Path(tempfile.mkdtemp())
    root = pathlib.Path(__file__).resolve().parent.parent
    (work / "backbone").symlink_to(root / "datasets/demo/backbone")
    (work / "bin").mkdir()
    (work / "bin/trainer").symlink_to(pathlib.Path(trainer).resolve())
    path = f"{work}/bin:{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path, "TERM": "dumb", "COLUMNS": str(COLUMNS)}
    ready = """trainer demo --videos clips --shots 5 --test-clips 2 --steps 2 --out demo &&
        mkdir mine && cp -r clips/train/{growing,shrinking,"moving left","moving right"} mine"""
    subprocess.run(["bash", "-c", ready], cwd=work, env=environment, check=True, capture_output=True)

    screen = pyte.Screen(COLUMNS, ROWS)
    stream = pyte.ByteStream(screen)
    frames, times = [], []

    def show(milliseconds):
        frames.append(picture(screen))
        times.append(milliseconds)

    for command in COMMANDS:
        stream.feed(b"$ ")
        for start in range(0, len(command), 6):
            stream.feed(command[start : start + 6].encode())
            show(120)
        stream.feed(b"\r\n")
        child, terminal = pty.fork()
        if child == 0:
            os.chdir(work)
            os.execvpe("bash", ["bash", "-c", command], environment)
        fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, COLUMNS, 0, 0))
        last = 0
        while True:
            select.select([terminal], [], [])
            try:
                stream.feed(os.read(terminal, 65536))
            except OSError:  # The end, on Linux.
                break
            if time.monotonic() - last > 0.2:
                show(200)
                last = time.monotonic()
        os.waitpid(child, 0)
        show(1500)
    times[-1] = 5000
    out = root / "docs/animation.gif"
    frames[0].save(out, save_all=True, append_images=frames[1:], duration=times, loop=0, optimize=True)
    print(f"{out}: {out.stat().st_size / 1000:.0f} kB, {len(frames)} frames")


main(sys.argv[1])
