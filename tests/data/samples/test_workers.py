from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from ctsdk.data.samples.workers import _explain_broken_connections, worker_context
from ctsdk.errors import DataError


def test_a_worker_that_ends_while_it_hands_a_batch_over_is_explained() -> None:
    def portions() -> Iterator[Any]:
        yield "whole"
        raise ConnectionResetError(104, "Connection reset by peer")

    seen = _explain_broken_connections(portions())
    assert next(seen) == "whole"
    says = (
        "a process that makes batches ended: it was killed while it handed a batch over .*reset by peer.* Then resume"
    )
    with pytest.raises(DataError, match=says):
        next(seen)


FAILING = """
from torch.utils.data import DataLoader
from ctsdk.data.samples.workers import from_workers, start_worker

loader = DataLoader(range(1000), batch_size=None, num_workers=2, worker_init_fn=start_worker)
numbers = from_workers(loader)
print(next(numbers), flush=True)
raise RuntimeError("the program fails, and holds on to its loader")
"""


def test_a_program_that_fails_ends_although_its_workers_ignore_signals() -> None:
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", FAILING], capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stdout) == (1, "0\n")
    assert done.stderr.rstrip().endswith("RuntimeError: the program fails, and holds on to its loader")


def test_a_killed_worker_leaves_no_event_locked() -> None:
    event = worker_context().Event()
    assert not event.is_set()
    event.set()
    assert event.is_set()
    # multiprocessing's own has a lock, which a worker that is killed while it reads the event takes with it.
    assert not hasattr(event, "_cond")
