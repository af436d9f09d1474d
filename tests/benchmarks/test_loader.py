"""How fast training pairs come from image files, and how long training waits for them.

    pytest -m benchmark tests/benchmarks/test_loader.py

The files are made by code: 8 videos of 60 frames, 1280 x 720 JPEG, in the layout of GOT-10k.
"""

from __future__ import annotations

import itertools
import platform
import statistics
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

import ctsdk
from ctsdk.config import CompressionConfig
from ctsdk.crops import import_cv2
from ctsdk.data.samples.sources import training_batches
from ctsdk.data.synthetic.motion import SyntheticConfig
from ctsdk.data.synthetic.photographs import procedural_textures
from ctsdk.data.synthetic.videos import synthetic_videos
from ctsdk.engine.batch import Batch

pytestmark = [
    pytest.mark.benchmark,
    pytest.mark.timeout(1200),
    # A worker more than there are processors, and threads at a fork, belong to what is measured.
    pytest.mark.filterwarnings("ignore:This DataLoader will create:UserWarning"),
    pytest.mark.filterwarnings("ignore:.*use of fork:DeprecationWarning"),
]

NUM_WORKERS = (0, 1, 2)
NUM_ROUNDS = 3
BATCH_SIZE = 32
NUM_BATCHES = 8
NUM_STEPS = 12
FULL_SIZE = ctsdk.TrackerSpec(template_size=128, search_size=256)


@pytest.fixture(scope="module")
def spec_of_files(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A data set on disk, and what to write into ``data.train`` for it."""
    root = tmp_path_factory.mktemp("got10k")
    config = SyntheticConfig(frame_size_px=(1280, 720), num_frames=60, target_size_px=(60.0, 240.0))
    videos = synthetic_videos(8, 5, procedural_textures(0, 4, (1600, 1000)), config)
    cv2 = import_cv2()
    for video in videos:
        folder = root / "train" / video.name
        folder.mkdir(parents=True)
        for number in range(len(video)):
            encoded = cv2.imencode(".jpg", video.frame(number)[:, :, ::-1], [cv2.IMWRITE_JPEG_QUALITY, 90])[1]
            (folder / f"{number + 1:08d}.jpg").write_bytes(encoded.tobytes())
        np.savetxt(folder / "groundtruth.txt", video.boxes_xywh_px, fmt="%.4f", delimiter=",")
        np.savetxt(folder / "absence.label", ~video.visible, fmt="%d")
        np.savetxt(folder / "cover.label", 8 * video.visible, fmt="%d")
    (root / "train" / "list.txt").write_text("\n".join(video.name for video in videos))
    return f"got10k:{root}?split=train"


@pytest.fixture
def show(capsys: pytest.CaptureFixture[str]) -> Callable[[str], None]:
    """Print a line past pytest, after one that says where."""

    def line(text: str) -> None:
        with capsys.disabled():
            print(text)  # noqa: T201 - a benchmark is there to print

    versions = f"torch {torch.__version__}, OpenCV {import_cv2().__version__}, NumPy {np.__version__}"
    line(f"\n{time.strftime('%Y-%m-%d')}, {_processor()}, {versions}")
    return line


def test_pairs_per_second(spec_of_files: str, show: Callable[[str], None]) -> None:
    """256 px searches and 128 px templates, in batches of 32; workers in turn, so that all see the same load."""
    rates: dict[int, list[float]] = {num_workers: [] for num_workers in NUM_WORKERS}
    for _, num_workers in itertools.product(range(NUM_ROUNDS), NUM_WORKERS):
        batches = training_batches(_config(spec_of_files, num_workers), FULL_SIZE, start=0)
        for _ in range(1 + num_workers):  # start of the processes, first read of the files
            next(batches)
        begin = time.perf_counter()
        for _ in range(NUM_BATCHES):
            next(batches)
        rates[num_workers].append(NUM_BATCHES * BATCH_SIZE / (time.perf_counter() - begin))
        del batches

    plain = statistics.median(rates[0])
    for num_workers, figures in rates.items():
        rate = statistics.median(figures)
        show(f"workers {num_workers}: {rate:6.1f} pairs/s, {rate / plain:.2f} times the plain path")
    assert plain > 0


def test_share_of_a_step_spent_waiting(spec_of_files: str, show: Callable[[str], None]) -> None:
    """Training steps of the tiny OSTrack, compressed to 4 blocks, with 96 px searches and 48 px templates."""
    adapter = ctsdk.load_adapter("ostrack", variant="tiny")
    timed: dict[int, list[_Timed]] = {num_workers: [] for num_workers in NUM_WORKERS}
    for _, num_workers in itertools.product(range(NUM_ROUNDS), NUM_WORKERS):
        config = _config(spec_of_files, num_workers)
        batches = _Timed(training_batches(config, adapter.spec, start=0))
        ctsdk.compress(adapter, config, batches=batches, show_progress=False)
        timed[num_workers].append(batches)

    for num_workers, runs in timed.items():
        # Medians, because somebody else's process may take the processor for a while.
        waiting = statistics.median(wait for run in runs for wait in run.waits[2:])
        working = statistics.median(work for run in runs for work in run.works[2:])
        show(
            f"workers {num_workers}: {1e3 * waiting:4.0f} ms of waiting and {1e3 * working:4.0f} ms of work a step of "
            f"{BATCH_SIZE} samples: {waiting / (waiting + working):.0%} waiting"
        )
        assert all(len(run.waits) == NUM_STEPS for run in runs)


class _Timed:
    """Batches, how long each was waited for, and how long the work on each took."""

    def __init__(self, batches: Iterator[Batch]) -> None:
        self.batches = batches
        self.waits, self.works = list[float](), list[float]()

    def __iter__(self) -> Iterator[Batch]:
        while True:
            begin = time.perf_counter()
            batch = next(self.batches)
            come = time.perf_counter()
            self.waits.append(come - begin)
            yield batch
            self.works.append(time.perf_counter() - come)


def _config(spec_of_files: str, num_workers: int) -> CompressionConfig:
    return CompressionConfig.from_mapping(
        {
            "training": {"batch_size": BATCH_SIZE, "steps": NUM_STEPS, "device": "cpu"},
            "data": {"train": [spec_of_files], "num_workers": num_workers},
        }
    )


def _processor() -> str:
    """The name of the processor and the number of cores that this process may use."""
    information = Path("/proc/cpuinfo")
    lines = information.read_text().splitlines() if information.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return f"{names[0] if names else platform.processor()}, {torch.get_num_threads()} threads"
