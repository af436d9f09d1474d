"""Networks whose forward is not ours, through the adapter that is made of functions."""

from __future__ import annotations

import inspect
import pickle
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import ctsdk
from ctsdk.boxes import xywh_to_cxcywh
from ctsdk.engine.module_adapter import OptionalMethods
from ctsdk.testing import check_adapter

# -- a classifier in the layout of timm's vision transformers ---------------------------------------------------------


class PatchEmbed(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(3, width, 8, stride=8)

    def forward(self, x: Tensor) -> Tensor:
        return self.proj(x).flatten(2).transpose(1, 2)


class Block(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attn = nn.MultiheadAttention(width, 4, batch_first=True)
        self.mlp = nn.Sequential(nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width))

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm1(x)
        x = x + self.attn(y, y, y, need_weights=False)[0]
        return x + self.mlp(self.norm2(x))


class VisionTransformer(nn.Module):
    def __init__(self, width: int = 16, depth: int = 4, num_classes: int = 3) -> None:
        super().__init__()
        self.patch_embed = PatchEmbed(width)
        self.cls_token = nn.Parameter(torch.zeros(1, 1, width))
        self.pos_embed = nn.Parameter(0.02 * torch.randn(1, 17, width))
        self.blocks = nn.Sequential(*(Block(width) for _ in range(depth)))
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, num_classes)

    def forward_features(self, x: Tensor) -> Tensor:
        x = self.patch_embed(x)
        x = torch.cat([self.cls_token.expand(len(x), -1, -1), x], dim=1) + self.pos_embed
        return self.norm(self.blocks(x))

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.forward_features(x)[:, 0])


def classify(network: nn.Module, batch: ctsdk.Batch) -> Tensor:
    return network(batch.searches[0])


def cross_entropy(prediction: ctsdk.Prediction, batch: ctsdk.Batch) -> Tensor:
    return F.cross_entropy(prediction.outputs["output"], batch.extra["labels"])


def labelled_images(batch_size: int = 1) -> ctsdk.Batch:
    """Return images of one colour each, labelled with its channel."""
    labels = torch.arange(batch_size) % 3
    noise = 0.1 * torch.randn(batch_size, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    return ctsdk.Batch.of_images(noise + F.one_hot(labels, 3)[..., None, None], labels=labels)


def classifier_adapter(depth: int = 4) -> ctsdk.ModuleAdapter:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        teacher = VisionTransformer(depth=depth)
    return ctsdk.ModuleAdapter(
        teacher.eval(),
        trunks="blocks",
        predict=classify,
        task_loss=cross_entropy,
        spec=ctsdk.TrackerSpec(template_size=1, search_size=32),
        name="vit",
        capabilities=(),
        example_batch=labelled_images,
    )


# -- a tracker as official repositories write them --------------------------------------------------------------------


class Backbone(nn.Module):
    def __init__(self, width: int, depth: int) -> None:
        super().__init__()
        self.embed_dim = width
        self.patch_embed = PatchEmbed(width)
        self.pos_embed_z = nn.Parameter(0.02 * torch.randn(1, 4, width))
        self.pos_embed_x = nn.Parameter(0.02 * torch.randn(1, 16, width))
        self.blocks = nn.ModuleList([Block(width) for _ in range(depth)])
        self.norm = nn.LayerNorm(width)

    def forward_features(self, z: Tensor, x: Tensor) -> tuple[Tensor, dict[str, object]]:
        z = self.patch_embed(z) + self.pos_embed_z
        x = self.patch_embed(x) + self.pos_embed_x
        x = torch.cat([z, x], dim=1)
        for i, blk in enumerate(self.blocks):  # noqa: B007 - as such code is
            x = blk(x)
        return self.norm(x), {"attn": None}

    def forward(self, z: Tensor, x: Tensor) -> tuple[Tensor, dict[str, object]]:
        return self.forward_features(z, x)


class BoxHead(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.score, self.size = nn.Conv2d(width, 1, 1), nn.Conv2d(width, 2, 1)
        self.norm = nn.BatchNorm2d(width)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        x = self.norm(x)
        score, size = self.score(x).sigmoid(), self.size(x).sigmoid()
        weights = score.flatten(2).softmax(-1)  # (B, 1, 16)
        centres = (torch.arange(4, device=x.device) + 0.5) / 4
        grid = torch.stack(torch.meshgrid(centres, centres, indexing="xy")).flatten(1)  # (2, 16)
        centre = (weights * grid).sum(-1)
        return torch.cat([centre, (weights * size.flatten(2)).sum(-1)], dim=1)[:, None], score


class OfficialTracker(nn.Module):
    def __init__(self, transformer: Backbone, box_head: BoxHead) -> None:
        super().__init__()
        self.backbone = transformer
        self.box_head = box_head

    def forward(self, template: Tensor, search: Tensor) -> dict[str, object]:
        x, aux_dict = self.backbone(z=template, x=search)
        feat = x[:, -16:].permute(0, 2, 1).reshape(len(x), -1, 4, 4)
        pred_boxes, score_map = self.box_head(feat)
        return {"pred_boxes": pred_boxes, "score_map": score_map, **aux_dict}


def look(tracker: nn.Module, batch: ctsdk.Batch) -> Tensor:
    return tracker(template=batch.templates[0], search=batch.searches[0])["pred_boxes"][:, 0]


def look_closer(tracker: nn.Module, batch: ctsdk.Batch) -> ctsdk.Prediction:
    found = tracker(template=batch.templates[0], search=batch.searches[0])
    return ctsdk.Prediction(found["pred_boxes"][:, 0], {"score_map": found["score_map"]})


def distance(prediction: ctsdk.Prediction, batch: ctsdk.Batch) -> dict[str, Tensor]:
    return {"l1": F.l1_loss(prediction.boxes, xywh_to_cxcywh(batch.search_boxes[0]))}


def tracker_adapter(predict: object = look, **more: object) -> ctsdk.ModuleAdapter:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        teacher = OfficialTracker(Backbone(16, 4), BoxHead(16))
    return ctsdk.ModuleAdapter(
        teacher.eval(),
        trunks="backbone.blocks",
        predict=predict,
        task_loss=distance,
        spec=ctsdk.TrackerSpec(template_size=16, search_size=32),
        name="official",
        **more,
    )


def config(stages: int = 2, **training: object) -> ctsdk.CompressionConfig:
    steps = {"steps": 4, "batch_size": 6, "learning_rate": 1e-3, "device": "cpu"} | training
    return ctsdk.CompressionConfig.from_mapping({"stages": stages, "training": steps})


def failed(adapter: ctsdk.TrackerAdapter) -> list[str]:
    results = check_adapter(adapter, on_fail="collect")
    return [f"{result.name}: {result.message}" for result in results if result.status == "failed"]


# -- what they can do -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("predict", [look, look_closer])
def test_a_tracker_keeps_every_promise(predict: object) -> None:
    assert failed(tracker_adapter(predict)) == []


def test_a_classifier_keeps_every_promise_but_that_it_tracks() -> None:
    assert [told for told in failed(classifier_adapter()) if "session" not in told] == []


def test_a_tracker_is_compressed_and_follows_a_target(tmp_path: Path) -> None:
    adapter = tracker_adapter()
    result = ctsdk.compress(adapter, config(), batches=[adapter.example_batch(6)], show_progress=False)
    student = result.student
    assert isinstance(student, OfficialTracker)
    assert len(student.backbone.blocks) == 2
    assert {"task/l1", "guidance/giou", "imitation"} <= set(result.history[0])
    session = adapter.session(student)
    frames = np.random.default_rng(0).integers(0, 256, (2, 60, 80, 3), dtype=np.uint8)
    session.start(frames[0], (30.0, 20.0, 16.0, 16.0))
    assert session.update(frames[1]).box_xywh_px[2] > 0
    result.save(tmp_path)
    assert ctsdk.load_result(tmp_path, adapter).adapter_name == "official"


def accuracy(network: nn.Module, batch: ctsdk.Batch) -> float:
    with torch.no_grad():
        return (classify(network, batch).argmax(-1) == batch.extra["labels"]).float().mean().item()


def test_a_classifier_is_compressed_and_still_classifies() -> None:
    adapter, batch = classifier_adapter(), labelled_images(24)
    optimizer = torch.optim.AdamW(adapter.teacher.parameters(), lr=3e-3)
    for _ in range(40):
        optimizer.zero_grad()
        cross_entropy(adapter.predict(adapter.teacher, batch), batch).backward()
        optimizer.step()
    assert accuracy(adapter.teacher, batch) == 1.0
    settings = config(steps=30, batch_size=24, learning_rate=3e-3, validate_every=30)
    result = ctsdk.compress(adapter, settings, batches=[batch], validation=[batch], show_progress=False)
    assert isinstance(result.student, VisionTransformer)
    assert isinstance(result.student.blocks, nn.Sequential)
    assert len(result.student.blocks) == 2
    assert accuracy(result.student, batch) == 1.0
    rows = result.history
    assert {"task/loss", "guidance/output", "imitation"} <= set(rows[0])
    # It gives no boxes, so no overlap of boxes is told.
    assert [set(row) for row in rows if "validation/loss" in row] == [{"step", "validation/loss"}]
    costs = [ctsdk.profile(adapter, network, num_rounds=1).macs for network in (adapter.teacher, result.student)]
    assert costs[1] < costs[0]


def test_guidance_of_a_network_without_boxes_compares_each_output() -> None:
    adapter, batch = classifier_adapter(), labelled_images(2)
    one, other = (ctsdk.Prediction(torch.zeros(2, 4), {"a": torch.full((2, 3), level)}) for level in (1.0, 3.0))
    assert {name: loss.item() for name, loss in adapter.guidance_loss(one, other, batch).items()} == {"a": 4.0}
    assert torch.equal(adapter.predict(adapter.teacher, batch).boxes, torch.zeros(2, 4))


def test_methods_of_the_contract_may_be_given_by_name() -> None:
    def halves(trunk: str, output: object, batch: ctsdk.Batch) -> Sequence[Tensor]:
        assert isinstance(output, Tensor)
        return output[:, :4], output[:, 4:]

    adapter = tracker_adapter(stage_tokens=halves)
    assert [tuple(part.shape) for part in adapter.stage_tokens("blocks", torch.zeros(1, 20, 8), None)] == [
        (1, 4, 8),
        (1, 16, 8),
    ]
    with pytest.raises(ctsdk.AdapterContractError, match=r"'stage_token'. Did you mean 'stage_tokens'\?"):
        tracker_adapter(stage_token=halves)


def test_the_optional_methods_are_those_of_the_contract_with_their_signatures() -> None:
    def written(function: Callable[..., object]) -> str:
        signature = inspect.signature(function)
        kinds = [str(parameter.annotation) for name, parameter in signature.parameters.items() if name != "self"]
        return f"Callable[[{', '.join(kinds)}], {signature.return_annotation}]"

    methods = {name: method for name, method in vars(ctsdk.TrackerAdapter).items() if inspect.isfunction(method)}
    optional = methods.keys() - ctsdk.TrackerAdapter.__abstractmethods__ - {"__init__"}
    told = {name: kind.__forward_arg__ for name, kind in OptionalMethods.__annotations__.items()}
    assert told == {name: written(methods[name]) for name in optional}
    assert isinstance(inspect.getattr_static(ctsdk.TrackerAdapter, "load"), classmethod)


def test_trunks_may_be_several_and_may_have_names() -> None:
    assert list(tracker_adapter().trunks()) == ["blocks"]
    adapter = tracker_adapter()
    two = ctsdk.ModuleAdapter(
        adapter.teacher,
        trunks={"first": ctsdk.Trunk("backbone.blocks", stop=-2), "last": ctsdk.Trunk("backbone.blocks", start=2)},
        predict=look,
        task_loss=distance,
        spec=adapter.spec,
    )
    assert {name: len(trunk.blocks(two.teacher)) for name, trunk in two.trunks().items()} == {"first": 2, "last": 2}


@pytest.mark.parametrize("capabilities", ["session", ("sesion",)])
def test_capabilities_that_name_nothing_are_refused(capabilities: Iterable[str]) -> None:
    with pytest.raises(ctsdk.AdapterContractError, match=r"expected a tuple or set of some of 'official', 'session'"):
        tracker_adapter(capabilities=capabilities)


@pytest.mark.parametrize("trunks", [["backbone.blocks"], ctsdk.Trunk("backbone.blocks")])
def test_trunks_without_names_are_refused(trunks: Any) -> None:
    adapter = tracker_adapter()
    with pytest.raises(ctsdk.AdapterContractError, match="expected the path of one list of blocks"):
        ctsdk.ModuleAdapter(adapter.teacher, trunks=trunks, predict=look, task_loss=distance, spec=adapter.spec)


def test_a_loss_that_is_no_tensor_is_explained() -> None:
    adapter = tracker_adapter()
    adapter._task_loss = lambda prediction, batch: 3.0
    with pytest.raises(ctsdk.AdapterContractError, match="gave 'loss' of type float; expected a scalar tensor"):
        ctsdk.compress(adapter, config(), batches=[adapter.example_batch()])


def test_what_cannot_work_is_refused() -> None:
    with pytest.raises(ctsdk.AdapterContractError, match="has no 'layers' there"):
        ctsdk.ModuleAdapter(
            VisionTransformer(),
            trunks="layers",
            predict=classify,
            task_loss=cross_entropy,
            spec=ctsdk.TrackerSpec(template_size=1, search_size=32),
        )
    adapter = tracker_adapter(lambda tracker, batch: {"boxes": look(tracker, batch)})
    with pytest.raises(ctsdk.AdapterContractError, match=r"returned a dict; expected boxes .* pass capabilities=\(\)"):
        adapter.predict(adapter.teacher, adapter.example_batch())
    nothing = classifier_adapter()
    nothing._predict = lambda network, batch: None
    with pytest.raises(ctsdk.AdapterContractError, match="returned a NoneType; expected a tensor"):
        nothing.predict(nothing.teacher, labelled_images())
    with pytest.raises(ctsdk.AdapterContractError, match="'vit' follows no target"):
        classifier_adapter().session(nothing.teacher)


def test_an_adapter_of_functions_of_a_module_reaches_worker_processes() -> None:
    adapter = pickle.loads(pickle.dumps(tracker_adapter()))
    assert (adapter.name, adapter.capabilities) == ("official", {"session"})


def test_images_make_a_batch() -> None:
    batch = labelled_images(2)
    assert batch.searches.shape == (1, 2, 3, 32, 32)
    assert batch.templates.shape == (1, 2, 3, 1, 1)
    assert batch.size == 2
    assert batch.extra["labels"].tolist() == [0, 1]
