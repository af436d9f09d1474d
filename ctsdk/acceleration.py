"""What makes training steps faster without changing what they compute: precision, loss scaling, compiled blocks."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ctsdk.adapter import TrackerAdapter

__all__ = ["autocast", "compiled_blocks", "make_scaler"]


def autocast(precision: str, device: torch.device) -> contextlib.AbstractContextManager[Any]:
    """Return the context in which forward passes run.

    Args:
        precision: "float32", "bfloat16", "float16", or "auto": bfloat16 on GPUs that have it, else float32.
        device: on which they run.
    """
    if precision == "auto":
        is_capable = device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
        precision = "bfloat16" if is_capable else "float32"
    if precision == "float32":
        return contextlib.nullcontext()
    return torch.autocast(device.type, {"bfloat16": torch.bfloat16, "float16": torch.float16}[precision])


def make_scaler(precision: str, device: torch.device) -> torch.amp.GradScaler:
    """Return what keeps small gradients from vanishing in float16; in other precisions it does nothing."""
    return torch.amp.GradScaler(device.type, enabled=precision == "float16")


@contextlib.contextmanager
def compiled_blocks(adapter: TrackerAdapter, student: nn.Module, *, is_wanted: bool) -> Iterator[None]:
    """Let the blocks of teacher and student run compiled while the context is open.

    Each block is compiled on its own, so that a mix is put together from what is compiled already. Only a block's
    ``forward`` is, because imitation hooks blocks, other ones in each step, and hooks around the compiled part need no
    new one.
    """
    blocks = [
        block
        for trunk in adapter.trunks().values()
        for tracker in (adapter.teacher, student)
        for block in trunk.blocks(tracker)
        if is_wanted
    ]
    for block in blocks:
        block.forward = torch.compile(block.forward)
    try:
        yield
    finally:
        for block in blocks:
            del block.forward
