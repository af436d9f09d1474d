"""The small trackers that ship with ctsdk track, and their students learn."""

from __future__ import annotations

import pytest

import ctsdk
from ctsdk.demo import demo_config, held_out_videos
from ctsdk.engine.stages import plan_stages
from ctsdk.engine.student import trunk_depths

pytest.importorskip("cv2")
pytest.importorskip("skimage")


@pytest.mark.parametrize(
    ("name", "stages"),
    [("ostrack", {"backbone": 4}), ("mixformerv2", {"backbone": 4}), ("seqtrack", {"encoder": 4, "decoder": 1})],
)
def test_the_demo_keeps_a_third_of_each_trunk(name: str, stages: dict[str, int]) -> None:
    config = demo_config(ctsdk.load_adapter(name, variant="tiny"), seed=5)
    assert (config.stages, config.seed, config.adapter.name, config.adapter.variant) == (stages, 5, name, "tiny")


@pytest.mark.parametrize("name", ["ostrack", "mixformerv2", "seqtrack"])
def test_shipped_teachers_track_what_they_have_never_seen(name: str) -> None:
    adapter = ctsdk.load_adapter(name, variant="tiny")
    assert ctsdk.evaluate(adapter, adapter.teacher, held_out_videos(4)).auc > 0.5


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("name", ["ostrack", "mixformerv2", "seqtrack"])
def test_students_track_better_than_untrained_ones(name: str) -> None:
    adapter = ctsdk.load_adapter(name, variant="tiny")
    config = demo_config(adapter).to_mapping()
    short = ctsdk.CompressionConfig.from_mapping({**config, "training": {**config["training"], "steps": 200}})
    student = ctsdk.compress(adapter, short).student
    untrained = ctsdk.build_student(adapter, plan_stages(trunk_depths(adapter), short.stages)).eval()
    videos = held_out_videos(8)
    assert ctsdk.evaluate(adapter, student, videos).auc > ctsdk.evaluate(adapter, untrained, videos).auc + 0.1
