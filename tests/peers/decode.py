"""One contender of the decoding comparison: 8 uniform frames of every video of a list, as RGB,
short side 224, centre crop, with one decoding thread. Works whenever a line comes in on stdin
and answers with the seconds of processor time that it took, of all its threads.

    python decode.py (opencv|decord|pyav|torchcodec) LIST
    python decode.py (opencv|decord|pyav|torchcodec) LIST check

A line of LIST is a path, a tab, and the number of frames that decode. With `check` it prints how
many of the frames it takes are not those that the same library gives when it decodes the whole
video in order, and of how many.

All resize with OpenCV's cubic filter. It is not antialiased, and does less than PIL's, with
which CLIP was trained.
"""

import sys
import time

import cv2
import numpy as np

SIDE = 224
FRAMES = 8


def uniform(count):
    return [(2 * i + 1) * count // (2 * FRAMES) for i in range(FRAMES)]


def view(rgb):
    height, width = rgb.shape[:2]
    scale = SIDE / min(height, width)
    width, height = max(SIDE, int(width * scale)), max(SIDE, int(height * scale))
    rgb = cv2.resize(rgb, (width, height), interpolation=cv2.INTER_CUBIC)
    left, top = (width - SIDE) // 2, (height - SIDE) // 2
    return rgb[top : top + SIDE, left : left + SIDE]


class OpenCv:
    def frames(self, path, wanted):
        capture = cv2.VideoCapture(path)
        capture.set(cv2.CAP_PROP_N_THREADS, 1)
        wanted, index = list(wanted), 0
        while wanted and capture.grab():
            if index == wanted[0]:
                rgb = cv2.cvtColor(capture.retrieve()[1], cv2.COLOR_BGR2RGB)
                while wanted and index == wanted[0]:
                    wanted.pop(0)
                    yield rgb
            index += 1

    def all(self, path):
        capture = cv2.VideoCapture(path)
        while True:
            there, bgr = capture.read()
            if not there:
                return
            yield cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB)


class Decord:
    def __init__(self):
        import decord

        decord.logging.set_level(decord.logging.QUIET)
        self.reader = lambda path: decord.VideoReader(path, num_threads=1)

    def frames(self, path, wanted):
        return self.reader(path).get_batch(list(wanted)).asnumpy()

    def all(self, path):
        for frame in self.reader(path):
            yield frame.asnumpy()


class PyAv:
    def __init__(self):
        import av

        self.open = av.open

    def frames(self, path, wanted):
        wanted = list(wanted)
        for index, rgb in enumerate(self.decode(path, wanted)):
            if not wanted:
                return
            while wanted and index == wanted[0]:
                wanted.pop(0)
                yield rgb

    def decode(self, path, wanted=None):
        with self.open(path) as container:
            stream = container.streams.video[0]
            stream.codec_context.thread_count = 1
            for index, frame in enumerate(container.decode(stream)):
                if wanted is None or index in wanted:
                    yield frame.to_ndarray(format="rgb24")
                elif wanted:
                    yield None
                else:
                    return

    def all(self, path):
        return self.decode(path)


class TorchCodec:
    def __init__(self):
        from torchcodec.decoders import VideoDecoder

        self.decoder = lambda path: VideoDecoder(
            path, dimension_order="NHWC", num_ffmpeg_threads=1
        )

    def frames(self, path, wanted):
        return self.decoder(path).get_frames_at(list(wanted)).data.numpy()

    def all(self, path):
        for frame in self.decoder(path):
            yield frame.numpy()


def work(library, videos):
    for path, count in videos:
        for rgb in library.frames(path, uniform(count)):
            view(rgb)


def check(library, videos):
    wrong = 0
    for path, count in videos:
        wanted = uniform(count)
        try:
            got = [np.array(rgb) for rgb in library.frames(path, wanted)]
        except Exception as error:
            print(f"{path}: {error}", file=sys.stderr)
            got = []
        expected = {i: np.array(rgb) for i, rgb in enumerate(library.all(path)) if i in wanted}
        wrong += len(wanted) - sum(
            i in expected and np.array_equal(rgb, expected[i]) for i, rgb in zip(wanted, got)
        )
    print(wrong, len(videos) * FRAMES)


def main():
    cv2.setNumThreads(1)
    name, list_path = sys.argv[1:3]
    libraries = {"opencv": OpenCv, "decord": Decord, "pyav": PyAv, "torchcodec": TorchCodec}
    library = libraries[name]()
    with open(list_path, encoding="utf-8") as lines:
        rows = [line.rstrip("\n").split("\t") for line in lines]
    videos = [(path, int(count)) for path, count in rows]
    if sys.argv[3:] == ["check"]:
        return check(library, videos)
    work(library, videos)
    print("ready", flush=True)
    for _ in sys.stdin:
        start = time.process_time()
        work(library, videos)
        print(time.process_time() - start, flush=True)


main()
