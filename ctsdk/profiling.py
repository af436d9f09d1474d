"""What a tracker costs: parameters, multiply-adds, latency.

Multiply-adds are what papers of this field call FLOPs. Latency is of the network alone, batch 1: it includes neither
reading frames nor cropping them.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from ctsdk.engine.adapter import TrackerAdapter

__all__ = ["Profile", "count_macs", "measure_latencies_ms", "measure_trackers", "profile"]


@dataclass(frozen=True)
class Profile:
    """The costs of one tracker.

    Attributes:
        params: number of parameters.
        macs: multiply-adds of a forward pass with one sample.
        latency_ms: median duration of such a pass, milliseconds, on the tracker's device.
        device: the device's name.
        num_blocks: blocks of all its trunks together.
    """

    params: int
    macs: int
    latency_ms: float
    device: str
    num_blocks: int


def profile(adapter: TrackerAdapter, tracker: nn.Module, *, num_rounds: int = 30) -> Profile:
    """Measure one tracker.

    To compare several, pass all of them to :func:`measure_trackers`: it times them in turn.

    Args:
        adapter: runs the tracker.
        tracker: put into eval mode.
        num_rounds: timed passes, after a tenth as many untimed ones.
    """
    return measure_trackers(adapter, {"": tracker}, num_rounds=num_rounds)[""]


def measure_trackers(
    adapter: TrackerAdapter, trackers: Mapping[str, nn.Module], *, num_rounds: int = 30
) -> dict[str, Profile]:
    """Measure trackers of one family, their latencies in turn.

    Args:
        adapter: runs them.
        trackers: by label; put into eval mode.
        num_rounds: timed passes of each.
    """
    latencies_ms = measure_latencies_ms(adapter, list(trackers.values()), num_rounds=num_rounds)
    return {
        label: Profile(
            params=sum(parameter.numel() for parameter in tracker.parameters()),
            macs=count_macs(adapter, tracker),
            latency_ms=latency_ms,
            device=str(next(tracker.parameters()).device),
            num_blocks=sum(len(trunk.blocks(tracker)) for trunk in adapter.trunks().values()),
        )
        for (label, tracker), latency_ms in zip(trackers.items(), latencies_ms, strict=True)
    }


def count_macs(adapter: TrackerAdapter, tracker: nn.Module) -> int:
    """Return the multiply-adds of one forward pass with one sample: matrix products and convolutions."""
    # Imported here, because it imports a compiler, which doubles the time of `import ctsdk`.
    from torch.utils.flop_counter import FlopCounterMode

    batch = adapter.example_batch().to(next(tracker.parameters()).device)
    with _plain_kernels(), torch.no_grad(), FlopCounterMode(display=False) as counter:
        adapter.locate(tracker.eval(), batch)
    return int(counter.get_total_flops()) // 2


@contextmanager
def _plain_kernels() -> Iterator[None]:
    """Run attention and encoder layers unfused: fused kernels hide multiply-adds from the counter."""
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

    The trackers take turns, so that a busy moment of the machine slows all of them.
    """
    # Imported here for the same reason as the counter in count_macs.
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
