"""The command ``demo``: the whole job on data made by code."""

from __future__ import annotations

from ctsdk.cli.options import FolderToWrite

__all__ = ["demo"]


def demo(*, out: FolderToWrite, adapter: str = "ostrack", seed: int = 0) -> None:
    """Compress a tiny tracker that ships with ctsdk, compare the student with its teacher, and draw both.

    Args:
        out: folder for the student, the table, the curves and the clip.
        adapter: which tracker: `ostrack`, `mixformerv2` or `seqtrack`.
        seed: seed of everything random.
    """
    from ctsdk.demo import run_demo

    run_demo(out, adapter=adapter, seed=seed)
