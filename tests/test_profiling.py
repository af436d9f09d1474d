from __future__ import annotations

import torch
from torch import nn

import ctsdk
from ctsdk.profiling import count_macs, measure_trackers
from tests.helpers.toy import ToyAdapter, toy_adapter


def test_params_and_macs_are_those_of_the_layers() -> None:
    adapter = toy_adapter()
    costs = ctsdk.profile(adapter, adapter.teacher, num_rounds=2)
    assert costs.params == sum(p.numel() for p in adapter.teacher.parameters())
    tokens, width = 4 + 16, 16
    embed = tokens * 3 * 64 * width
    block = tokens * width * 3 * width + 2 * tokens * tokens * width + tokens * width * width
    assert costs.macs == embed + 6 * block + width * 4
    assert costs.latency_ms > 0
    assert costs.device == "cpu"
    assert costs.num_blocks == 6


class Prompted(ToyAdapter):
    """Runs only half of the tracker where the truth helps."""

    def predict(self, tracker: nn.Module, batch: ctsdk.Batch) -> ctsdk.Prediction:
        return ctsdk.Prediction(batch.search_boxes[0] + 0 * tracker.head.weight.sum())

    def locate(self, tracker: nn.Module, batch: ctsdk.Batch) -> ctsdk.Prediction:
        return super().predict(tracker, batch)


def test_what_is_measured_is_tracking_and_not_a_prompted_prediction() -> None:
    adapter = Prompted(toy_adapter().teacher)
    assert count_macs(adapter, adapter.teacher) == count_macs(toy_adapter(), adapter.teacher) > 0


def test_fewer_blocks_cost_less() -> None:
    adapter = toy_adapter()
    student = ctsdk.build_student(adapter, {"layers": ctsdk.StagePlan.divide(6, 2)})
    costs = measure_trackers(adapter, {"teacher": adapter.teacher, "student": student}, num_rounds=3)
    assert costs["student"].macs < costs["teacher"].macs
    assert [profile.num_blocks for profile in costs.values()] == [6, 2]


def test_encoder_layers_of_torch_are_counted_in_full() -> None:
    width, tokens = 8, 4 + 16

    class Encoder(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embed = nn.Conv2d(3, width, 8, stride=8)
            self.layers = nn.ModuleList([nn.TransformerEncoderLayer(width, 2, 16, batch_first=True)])

        def forward(self, template: torch.Tensor, search: torch.Tensor) -> torch.Tensor:
            x = torch.cat([self.embed(crop).flatten(2).mT for crop in (template, search)], dim=1)
            return self.layers[0](x).mean(dim=1)[:, :4]

    adapter = ToyAdapter(Encoder())
    layer = tokens * width * (3 * width + width + 2 * 16) + 2 * tokens * tokens * width
    assert count_macs(adapter, adapter.teacher) == tokens * 3 * 64 * width + layer
