"""Kill a run at random moments, resume it each time, and see that its student is the same to the byte.

    python tools/kill_and_resume.py --kills 20

A small OSTrack is compressed by ``ctsdk compress``, once without a break and then with kills (SIGKILL, which nothing
can catch) at moments drawn over the whole life of the process: while it starts, trains, saves and writes its result. A
run whose steps are all done is finished and compared, and another one is begun. The exit code is 0 if every student is
the same.
"""

from __future__ import annotations

import argparse
import hashlib
import itertools
import json
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import cv2

from ctsdk.data.synthetic.photographs import procedural_textures
from ctsdk.training.states import States

PROGRAM = [sys.executable, "-c", "import sys; from ctsdk.cli import main; sys.exit(main())", "compress"]


def command(folder: Path, photographs: Path, num_steps: int) -> list[str]:
    """Return what starts a run in `folder`, or goes on with it if it has a state."""
    values = (
        *(f"training.steps={num_steps}", "training.batch_size=2", "training.device=cpu", "training.save_every=5"),
        *("data.num_videos=8", f"data.photographs={photographs}"),
    )
    settings = [word for value in values for word in ("--set", value)]
    resume = ["--resume"] if States(folder).latest() else []
    tracker = ["--adapter", "ostrack", "--variant", "tiny", "--weights", "random"]
    return [*PROGRAM, *tracker, "--out", str(folder), *settings, *resume]


def finish(folder: Path, photographs: Path, num_steps: int) -> tuple[str, float]:
    """Run to the end, and return the hash of the student and of the figures of every step, and the seconds."""
    begin = time.monotonic()
    done = subprocess.run(command(folder, photographs, num_steps), capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"the run in {folder} failed with exit code {done.returncode}:\n{done.stderr}")
    return fingerprint(folder), time.monotonic() - begin


def fingerprint(folder: Path) -> str:
    """Return the hash of a finished run: its student, and the figures of every step."""
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    steps = json.dumps([row for row in rows if "loss" in row]).encode()
    return hashlib.sha256((folder / "student.safetensors").read_bytes() + steps).hexdigest()


def kill_after(seconds: float, folder: Path, photographs: Path, num_steps: int) -> bool:
    """Start or resume a run and kill it after so many seconds; return False if it ended before."""
    run = subprocess.Popen(
        command(folder, photographs, num_steps), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )
    try:
        _, said = run.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        run.kill()
        run.communicate()
        return True
    if run.returncode:
        raise SystemExit(f"the run in {folder} failed with exit code {run.returncode}:\n{said}")
    return False


def main() -> int:
    """Run, and return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    options = parser.parse_args()
    moments = random.Random(options.seed)
    with tempfile.TemporaryDirectory(prefix="ctsdk-kills-") as name:
        home = Path(name)
        photographs = home / "photographs"
        photographs.mkdir()
        for number, texture in enumerate(procedural_textures(0, 3, (120, 90))):
            cv2.imwrite(str(photographs / f"{number}.png"), texture)
        expected, duration = finish(home / "whole", photographs, options.steps)
        print(f"without a break: {duration:.1f} s, {expected[:16]}")
        num_kills, results = 0, []
        for folder in (home / f"run-{number}" for number in itertools.count()):
            while num_kills < options.kills:
                seconds = moments.uniform(0, duration)
                if not kill_after(seconds, folder, photographs, options.steps):
                    break
                num_kills += 1
                latest = States(folder).latest()
                print(f"kill {num_kills} after {seconds:.1f} s: {latest.name if latest else 'no state yet'}")
                if latest and latest.stem.endswith(f"-{options.steps:08d}"):
                    break  # all steps are done; there is more to kill in a new run
            results.append(finish(folder, photographs, options.steps)[0])
            print(f"{folder.name}: {results[-1][:16]}")
            if num_kills == options.kills:
                break
    same = results.count(expected)
    print(f"{num_kills} kills in {len(results)} runs; {same} of {len(results)} students and records are the same")
    return 0 if same == len(results) else 1


if __name__ == "__main__":
    sys.exit(main())
