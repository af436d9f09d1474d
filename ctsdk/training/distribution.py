"""Training steps over several processes: gradients averaged by torch, batch norm over the whole batch.

A step of N processes equals a step of one process with the same batch; each process holds a part of it in memory.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.parallel import DistributedDataParallel

from ctsdk.ranks import Ranks

__all__ = ["average_gradients", "batch_norm_over_ranks"]

# Buffers need not be sent: the statistics of batch norm are those of the whole batch in every process. The argument was
# renamed in torch 2.14.
_is_new = "forward_sync_buffers" in inspect.signature(DistributedDataParallel).parameters
_buffers_stay: dict[str, Any] = {"forward_sync_buffers" if _is_new else "broadcast_buffers": False}


def average_gradients(module: nn.Module, ranks: Ranks) -> nn.Module:
    """Return a module that runs `module` and averages the gradients of its parameters over all ranks.

    A parameter that no rank has used keeps no gradient, so that the optimiser leaves it alone.
    """
    if ranks.group is None:
        return module
    return DistributedDataParallel(
        module,
        # All ranks draw the same mix, so a student block that is unused on one rank is unused on all.
        find_unused_parameters=True,
        **_buffers_stay,
    )


@contextmanager
def batch_norm_over_ranks(module: nn.Module, ranks: Ranks) -> Iterator[None]:
    """Let the batch norms of `module` that are in training mode normalise by the parts of all ranks together.

    Unlike torch's SyncBatchNorm, this works on CPUs and leaves the module as it is.
    """
    norms = [norm for norm in module.modules() if isinstance(norm, _BatchNorm)] if ranks.group else []
    for norm in norms:
        norm.forward = partial(_normalise, norm)  # type: ignore[method-assign]
    try:
        yield
    finally:
        for norm in norms:
            del norm.forward


def _normalise(norm: _BatchNorm, x: Tensor) -> Tensor:
    """Return what `norm` gives for the part `x`, (B, C, ...), of a batch."""
    if not norm.training:
        return type(norm).forward(norm, x)
    dims, shape = [0, *range(2, x.ndim)], (1, -1, *[1] * (x.ndim - 2))
    values = x.to(torch.promote_types(x.dtype, torch.float32))
    num_here = values.new_full((1,), x.numel() / x.shape[1])
    sums = _sum_over_ranks(torch.cat([values.sum(dims), num_here]))
    num = sums[-1]
    mean = sums[:-1] / num  # (C,)
    deviations = values - mean.view(shape)
    # In two passes, because the difference of two large sums would lose what a small variance is.
    variance = _sum_over_ranks(deviations.square().sum(dims)) / num  # (C,)
    _track(norm, mean.detach(), (variance * num / (num - 1)).detach())
    result = deviations * (variance + norm.eps).rsqrt().view(shape)
    if norm.affine:
        result = result * norm.weight.view(shape) + norm.bias.view(shape)
    normalised: Tensor = result.to(x.dtype)
    return normalised


def _track(norm: _BatchNorm, mean: Tensor, variance: Tensor) -> None:
    """Move the running statistics, as torch does."""
    if norm.running_mean is None or norm.running_var is None or norm.num_batches_tracked is None:
        return
    norm.num_batches_tracked.add_(1)
    share = 1.0 / float(norm.num_batches_tracked) if norm.momentum is None else norm.momentum
    norm.running_mean.lerp_(mean.to(norm.running_mean.dtype), share)
    norm.running_var.lerp_(variance.to(norm.running_var.dtype), share)


class _SumOverRanks(torch.autograd.Function):
    """A sum over ranks for all of them, through which every rank's loss has a gradient with respect to each part."""

    @staticmethod
    def forward(ctx: Any, part: Tensor) -> Tensor:  # noqa: ANN401, ARG004 - torch's own
        return _all_reduce(part)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:  # noqa: ANN401, ARG004 - torch's own
        return _all_reduce(gradients[0])


def _sum_over_ranks(part: Tensor) -> Tensor:
    total: Tensor = _SumOverRanks.apply(part)
    return total


def _all_reduce(part: Tensor) -> Tensor:
    total = part.contiguous().clone()
    dist.all_reduce(total)
    return total
