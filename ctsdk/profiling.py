"""What a tracker costs: parameters, multiply-adds, latency.

Multiply-adds are what papers of this field call FLOPs. Latency is of the network alone, batch 1: cropping and reading
frames are not in it.
"""

from __future__ import annotations

import statistics
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from torch import nn

    from ctsdk.engine.adapter import TrackerAdapter

__all__ = ["Profile", "count_macs", "measure_latencies_ms", "profile"]


@dataclass(frozen=True)
class Profile:
    """The costs of one tracker.

    Attributes:
        params: number of parameters.
        macs: multiply-adds of a forward pass with one sample.
        latency_ms: median duration of such a pass, milliseconds, on the tracker's device.
        device: the device's name.
    """

    params: int
    macs: int
    latency_ms: float
    device: str


def profile(adapter: TrackerAdapter, tracker: nn.Module, *, num_rounds: int = 30) -> Profile:
    """Measure one tracker.

    To compare two, pass both to :func:`measure_latencies_ms`: it times them in turn, so that both see the same machine.

    Args:
        adapter: runs the tracker.
        tracker: put into eval mode.
        num_rounds: timed passes, after as many untimed ones as a tenth.
    """
    device = next(tracker.parameters()).device
    return Profile(
        params=sum(parameter.numel() for parameter in tracker.parameters()),
        macs=count_macs(adapter, tracker),
        latency_ms=measure_latencies_ms(adapter, [tracker], num_rounds=num_rounds)[0],
        device=str(device),
    )


def count_macs(adapter: TrackerAdapter, tracker: nn.Module) -> int:
    """Return the multiply-adds of one forward pass with one sample: matrix products and convolutions."""
    # Imported here: it brings a compiler along, which doubles the time that `import ctsdk` takes.
    from torch.utils.flop_counter import FlopCounterMode

    batch = adapter.example_batch().to(next(tracker.parameters()).device)
    with _plain_kernels(), torch.no_grad(), FlopCounterMode(display=False) as counter:
        adapter.locate(tracker.eval(), batch)
    return int(counter.get_total_flops()) // 2


@contextmanager
def _plain_kernels() -> Iterator[None]:
    """Run attention and encoder layers step by step: their fused kernels hide multiply-adds from the counter."""
    is_enabled = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with sdpa_kernel(SDPBackend.MATH):
            yield
    finally:
        torch.backends.mha.set_fastpath_enabled(is_enabled)


def measure_latencies_ms(
    adapter: TrackerAdapter, trackers: Sequence[nn.Module], *, num_rounds: int = 30
) -> list[float]:
    """Return the median duration of a forward pass with one sample, by tracker, milliseconds.

    The trackers take turns, so that a busy moment of the machine meets all of them.
    """
    # Imported here for the same reason as the counter of multiply-adds.
    from torch.utils.benchmark import Timer

    timers = []
    for tracker in trackers:
        batch = adapter.example_batch().to(next(tracker.parameters()).device)
        names = {"locate": adapter.locate, "tracker": tracker.eval(), "batch": batch}
        timers.append(Timer("locate(tracker, batch)", globals=names, num_threads=torch.get_num_threads()))
    with torch.inference_mode():
        for timer in timers:
            timer.timeit(max(1, num_rounds // 10))
        rounds = [[timer.timeit(1).mean for timer in timers] for _ in range(num_rounds)]
    return [1000 * statistics.median(times) for times in zip(*rounds, strict=True)]
