"""The networks of the adapters are built from timm's layers: what follows from that, and what must not."""

from __future__ import annotations

import copy
import pickle
import subprocess
import sys

import pytest
import torch
from timm import layers

import ctsdk

NAMES = ("mixformerv2", "ostrack", "seqtrack")


def blocks_of(adapter: ctsdk.TrackerAdapter) -> list[torch.nn.Module]:
    return list(next(iter(adapter.trunks().values())).blocks(adapter.teacher))


def test_listing_the_adapters_imports_no_network_and_no_timm() -> None:
    code = """
import sys, ctsdk
print(*(info.name for info in ctsdk.list_adapters() if info.distribution == "ctsdk"))
heavy = [name for name in sys.modules if name.partition(".")[0] in ("timm", "torchvision") or name.endswith(".adapter")]
print(sorted(set(heavy) - {"ctsdk.engine.adapter"}))
"""
    seen = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.splitlines()
    assert seen == ["mixformerv2 ostrack seqtrack", "[]"]


@pytest.mark.parametrize("name", NAMES)
def test_adapters_say_that_they_need_timm(name: str) -> None:
    (info,) = [info for info in ctsdk.list_adapters() if info.name == name]
    assert info.requires == ("cv2", "timm")


@pytest.mark.parametrize("name", NAMES)
def test_networks_are_of_timms_layers_and_change_none_of_its_switches(name: str) -> None:
    before = layers.use_fused_attn(), layers.is_exportable(), layers.is_scriptable()
    adapter = ctsdk.load_adapter(name, variant="tiny", weights="random")
    kinds = {type(module) for module in adapter.teacher.modules()}
    assert {layers.Mlp, layers.PatchEmbed} <= kinds
    assert (layers.use_fused_attn(), layers.is_exportable(), layers.is_scriptable()) == before


@pytest.mark.parametrize("name", NAMES)
def test_networks_are_copied_pickled_and_compiled(name: str) -> None:
    adapter = ctsdk.load_adapter(name, variant="tiny", weights="random")
    batch = adapter.example_batch()
    with torch.inference_mode():
        boxes = adapter.predict(adapter.teacher, batch).boxes
        for other in (copy.deepcopy(adapter.teacher), pickle.loads(pickle.dumps(adapter.teacher))):
            assert torch.equal(adapter.predict(other, batch).boxes, boxes)
    with torch.no_grad():
        for block in blocks_of(adapter):
            block.compile(backend="eager", fullgraph=True)
        torch.testing.assert_close(adapter.predict(adapter.teacher, batch).boxes, boxes.clone())
    torch.compiler.reset()


@pytest.mark.parametrize("name", ["ostrack", "seqtrack"])
def test_fused_attention_is_the_plain_one(name: str) -> None:
    adapter = ctsdk.load_adapter(name, variant="tiny")
    batch = adapter.example_batch()
    with torch.inference_mode():
        fused = adapter.predict(adapter.teacher, batch).boxes
        for module in adapter.teacher.modules():
            if isinstance(module, layers.Attention):
                assert module.fused_attn
                module.fused_attn = False
        torch.testing.assert_close(adapter.predict(adapter.teacher, batch).boxes, fused, atol=1e-5, rtol=0)
