from __future__ import annotations

import itertools
import multiprocessing
import os
import signal
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

import ctsdk
from ctsdk.config import CompressionConfig
from ctsdk.crops import import_cv2
from ctsdk.data.samples.sources import training_batches, validation_batches
from ctsdk.data.synthetic.photographs import procedural_textures
from ctsdk.engine.batch import Batch, TrackerSpec
from ctsdk.errors import ConfigError, DataError
from ctsdk.training.states import States
from tests.helpers.toy import toy_adapter

SPEC = TrackerSpec(template_size=16, search_size=32)
NUM_FRAMES = 24

# A worker more than there are processors, and threads at a fork, are what this machine has, not what is tested.
ignore_worker_warnings = pytest.mark.filterwarnings(
    "ignore:This DataLoader will create:UserWarning", "ignore:.*use of fork:DeprecationWarning"
)


def write_got10k(root: Path, num_videos: int, colour: tuple[int, int, int], split: str = "train") -> Path:
    """Videos of one colour with a white square that moves; frames become smaller half-way, some targets are hidden."""
    for number in range(num_videos):
        folder = root / split / f"GOT-10k_{split.title()}_{number + 1:06d}"
        folder.mkdir(parents=True)
        boxes = np.array([[20.0 + frame, 12.0 + number, 16.0, 12.0] for frame in range(NUM_FRAMES)])
        for frame, (x, y, width, height) in enumerate(boxes.astype(int)):
            pixels = np.full((60, 96 if frame < NUM_FRAMES // 2 else 80, 3), colour, dtype=np.uint8)
            pixels[y : y + height, x : x + width] = 255
            _write_jpeg(folder / f"{frame + 1:08d}.jpg", pixels)
        np.savetxt(folder / "groundtruth.txt", boxes, fmt="%.4f", delimiter=",")
        np.savetxt(folder / "absence.label", np.arange(NUM_FRAMES) % 6 == 5, fmt="%d")
        np.savetxt(folder / "cover.label", np.full(NUM_FRAMES, 8), fmt="%d")
    names = sorted(folder.name for folder in (root / split).iterdir())
    (root / split / "list.txt").write_text("\n".join(names))
    return root


def _write_jpeg(path: Path, pixels: NDArray[np.uint8]) -> None:
    path.write_bytes(import_cv2().imencode(".jpg", pixels[..., ::-1])[1].tobytes())


@pytest.fixture(scope="module")
def sets(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Data sets on disk by the colour of their videos; files of the green ones are damaged and missing."""
    roots = {
        name: write_got10k(tmp_path_factory.mktemp(name), num_videos, colour)
        for name, num_videos, colour in (("red", 2, (200, 0, 0)), ("blue", 4, (0, 0, 200)), ("green", 4, (0, 200, 0)))
    }
    damaged = roots["green"] / "train" / "GOT-10k_Train_000002" / "00000004.jpg"
    damaged.write_bytes(damaged.read_bytes()[:40])
    (roots["green"] / "train" / "GOT-10k_Train_000004" / "groundtruth.txt").unlink()
    return {name: f"got10k:{root}?split=train" for name, root in roots.items()}


@pytest.fixture(scope="module")
def photographs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("photographs")
    for number, image in enumerate(procedural_textures(0, 3, (400, 300))):
        _write_jpeg(folder / f"{number}.jpg", image)
    return folder


def config(data: Mapping[str, Any], **training: Any) -> CompressionConfig:
    return CompressionConfig.from_mapping(
        {"stages": 3, "training": {"batch_size": 4, "steps": 6, "device": "cpu", **training}, "data": data}
    )


def equal(first: Batch, second: Batch) -> bool:
    names = ("templates", "searches", "template_boxes", "search_boxes")
    return all(torch.equal(getattr(first, name), getattr(second, name)) for name in names)


@pytest.mark.parametrize(("ratios", "share"), [((3, 1), 0.75), ((1, 3), 0.25), ((None, None), 1 / 3)])
def test_ratios_are_those_of_the_configuration(
    sets: dict[str, str], ratios: tuple[float | None, float | None], share: float
) -> None:
    """The colour of the background tells the data set; without ratios, the numbers of videos count."""
    train = [{"source": sets[name], "ratio": ratio} for name, ratio in zip(("red", "blue"), ratios, strict=True)]
    spec = TrackerSpec(16, 32, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))
    batches = training_batches(config({"train": train, "greyscale": 0.0}), spec, 0)

    searches = torch.cat([batch.searches[0] for batch in itertools.islice(batches, 50)])

    assert ((searches[:, 0] - searches[:, 2]).mean((1, 2)) > 0).sum() / 200 == pytest.approx(share, abs=0.09)


@ignore_worker_warnings
@pytest.mark.parametrize("num_workers", [0, 2])
def test_batches_go_on_where_they_stopped(sets: dict[str, str], num_workers: int) -> None:
    data = {"train": list(sets.values()), "max_unreadable": 1.0}
    whole = list(itertools.islice(training_batches(config(data), SPEC, 0), 8))

    rest = training_batches(config({**data, "num_workers": num_workers}), SPEC, 5)

    assert all(equal(batch, next(rest)) for batch in whole[5:])


@ignore_worker_warnings
def test_a_run_that_is_resumed_gives_the_same_student(sets: dict[str, str], tmp_path: Path) -> None:
    data = {"train": list(sets.values()), "max_unreadable": 1.0}
    adapter = toy_adapter()
    whole = ctsdk.compress(adapter, config({**data, "num_workers": 2}, save_every=4), show_progress=False)

    settings = config(data, save_every=4)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("ctsdk.training.stepper.Stepper.take", _breaking_after(4))
        with pytest.raises(RuntimeError, match="the power went away"):
            ctsdk.compress(adapter, settings, run_dir=tmp_path, show_progress=False)
    resumed = ctsdk.compress(adapter, settings, run_dir=tmp_path, resume=True, show_progress=False)

    assert [row["step"] for row in resumed.history] == list(range(6))
    pairs = zip(whole.student.state_dict().values(), resumed.student.state_dict().values(), strict=True)
    assert all(torch.equal(first, second) for first, second in pairs)


def _breaking_after(num_steps: int) -> Any:
    from ctsdk.training.stepper import Stepper

    take = Stepper.take

    def break_(stepper: Stepper, step: int, *args: Any) -> dict[str, float]:
        if step == num_steps:
            raise RuntimeError("the power went away")
        return take(stepper, step, *args)

    return break_


def test_files_that_cannot_be_read_are_named(sets: dict[str, str], caplog: pytest.LogCaptureFixture) -> None:
    batches = training_batches(config({"train": [sets["green"]], "max_unreadable": 0.02}), SPEC, 0)

    with pytest.raises(DataError, match=r"times in \d+ samples something could not be read") as caught:
        list(itertools.islice(batches, 100))

    messages = [record.getMessage() for record in caplog.records if record.name == "ctsdk.data.samples.unreadable"]
    assert sum("GOT-10k_Train_000004/groundtruth.txt" in message for message in messages) == 1
    assert sum("GOT-10k_Train_000002/00000004.jpg" in message for message in messages) <= 1
    assert "GOT-10k_Train_000004/groundtruth.txt" in str(caught.value)


def test_a_test_set_is_refused(tmp_path: Path) -> None:
    root = write_got10k(tmp_path, 1, (0, 200, 0), split="test")
    truth = root / "test" / "GOT-10k_Test_000001" / "groundtruth.txt"
    truth.write_text(truth.read_text().splitlines()[0])

    with pytest.raises(DataError, match="got10k test has only the first box of video 'GOT-10k_Test_000001'"):
        next(training_batches(config({"train": [f"got10k:{root}?split=test"]}), SPEC, 0))


def test_the_options_reach_the_samples(sets: dict[str, str]) -> None:
    """Each option changes some batch, and only as it should."""
    data = {"train": [sets["red"]]}
    first = next(training_batches(config(data), SPEC, 0))

    exact = next(training_batches(config({**data, "label_shift_px": 0.0}), SPEC, 0))
    # A crop that is mirrored on its own moves its label the other way.
    shifts = (exact.search_boxes - first.search_boxes).abs()
    torch.testing.assert_close(shifts, torch.tensor([0.5 / 32, 0.5 / 32, 0.0, 0.0]).expand_as(shifts))
    assert torch.equal(exact.searches, first.searches)

    for option in ({"sampling": "trident"}, {"max_gap": 2}, {"mirror_shift_px": 0.0}, {"joint_flip": 0.0}):
        assert not equal(next(training_batches(config({**data, **option}), SPEC, 0)), first)
    for option in ({"greyscale": 1.0}, {"brightness": 0.0}, {"flip": 0.0}):
        other = next(training_batches(config({**data, **option}), SPEC, 0))
        assert not torch.equal(other.searches, first.searches)
        assert torch.equal(other.search_boxes[..., 2:], first.search_boxes[..., 2:])


def test_gaps_must_fit_the_tracker(sets: dict[str, str]) -> None:
    data = {"train": [sets["red"]], "sampling": "trident", "max_gap": [50, 100]}

    with pytest.raises(ConfigError, match=r"max_gap is \[50, 100\] for 1 templates"):
        training_batches(config(data), SPEC, 0)


def test_validation_keeps_jitter_and_what_crops_have_in_common(sets: dict[str, str]) -> None:
    data = {"train": [sets["blue"]], "validation": [sets["red"]]}
    settings = config(data, validate_every=2, validation_batches=8)
    spec = TrackerSpec(16, 32, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))

    batches = validation_batches(settings, spec)

    assert [batch.size for batch in batches] == [4] * 8
    assert all(equal(*pair) for pair in zip(batches, validation_batches(settings, spec), strict=True))
    reds = torch.cat([batch.templates[0, :, 0, 0, 0] for batch in batches])
    # The background, as JPEG keeps it: red or, where the colour is lost, grey, but never brighter or darker.
    assert set(np.round(reds.numpy() * 255 / 10).tolist()) <= {20.0, 6.0}
    boxes = torch.cat([batch.search_boxes[0] for batch in batches])
    assert boxes[:, 0].std() > 0.1
    plain = validation_batches(config({**data, "joint_flip": 0.0}, validate_every=2, validation_batches=8), spec)
    assert not all(equal(*pair) for pair in zip(batches, plain, strict=True))


def test_a_run_on_data_sets_that_validates_needs_some_to_validate_on(sets: dict[str, str]) -> None:
    with pytest.raises(ConfigError, match=r"validate_every is 2.*name data\.validation"):
        ctsdk.compress(toy_adapter(), config({"train": [sets["red"]]}, validate_every=2))


def test_synthetic_videos_are_the_default(photographs: Path, sets: dict[str, str]) -> None:
    data = {"photographs": str(photographs), "num_videos": 4}
    settings = config(data, validate_every=2, validation_batches=1)

    (validation,) = validation_batches(settings, SPEC)
    training = next(training_batches(settings, SPEC, 0))
    (real,) = validation_batches(
        config({**data, "validation": [sets["red"]]}, validate_every=2, validation_batches=1), SPEC
    )

    assert not equal(validation, training)
    assert not equal(validation, real)


def test_an_unknown_format_is_a_configuration_error() -> None:
    with pytest.raises(ConfigError, match="got11k"):
        training_batches(config({"train": ["got11k:/data"]}), SPEC, 0)


def test_overrides_name_data_sets() -> None:
    values = {"training": {"steps": 1}}
    texts = CompressionConfig.from_mapping(values, ['data.train=["got10k:/data/got10k?split=train"]'])
    sections = CompressionConfig.from_mapping(
        values, ["data.train=[{source: 'got10k:/data/got10k?split=train'}]", "data.max_gap=[3, 4]"]
    )

    assert texts.data.train == sections.data.train
    assert sections.data.max_gap == (3, 4)
    assert CompressionConfig.from_mapping(sections.to_mapping()) == sections


@pytest.mark.parametrize(
    ("data", "says"),
    [
        ({"train": ["a:b"], "seed": 3, "num_videos": 9}, "num_videos, seed is for synthetic videos"),
        ({"train": ["a:b"], "photographs": "here"}, "photographs is for synthetic videos"),
        ({"train": ["a:b", {"source": "c:d", "ratio": 2}]}, "some data sets of train have a ratio"),
        ({"validation": [{"source": "a:b", "ratio": 2}, "c:d"]}, "some data sets of validation have a ratio"),
        ({"train": [{"source": "a:b", "ratio": 0}]}, r"data\.train\.0\.ratio should be greater than 0"),
        ({"train": [{"ratio": 1}]}, r"data\.train\.0\.source is missing"),
        ({"max_gap": 0}, "max_gap is 0; expected positive"),
        ({"max_gap": [3, -1]}, r"max_gap is \(3, -1\); expected positive"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(data: Mapping[str, Any], says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        config(data)


@ignore_worker_warnings
def test_a_worker_that_is_killed_ends_the_run_and_leaves_its_states(
    sets: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ctsdk.training.stepper import Stepper

    take = Stepper.take

    def kill(stepper: Stepper, step: int, *args: Any) -> dict[str, float]:
        if step == 3:
            (worker,) = multiprocessing.active_children()
            assert worker.pid is not None
            os.kill(worker.pid, signal.SIGKILL)
        return take(stepper, step, *args)

    data = {"train": list(sets.values()), "max_unreadable": 1.0}
    monkeypatch.setattr(Stepper, "take", kill)
    settings = config({**data, "num_workers": 1}, save_every=2, steps=60)
    with pytest.raises(
        DataError, match=r"a process that makes batches ended: .*(exited unexpectedly|killed while).*resume"
    ):
        ctsdk.compress(toy_adapter(), settings, run_dir=tmp_path, show_progress=False)

    latest = States(tmp_path).latest()
    assert latest is not None
    assert torch.load(latest, weights_only=True)["step"] == int(latest.stem.partition("-")[2]) >= 2
