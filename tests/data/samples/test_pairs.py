from __future__ import annotations

import pickle
import re
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import pytest
import torch

from ctsdk.config import DataConfig
from ctsdk.crops import crop_square, normalise
from ctsdk.data.samples.mixture import Mixture
from ctsdk.data.samples.pairs import PairDataset, batches
from ctsdk.data.samples.sampling import FrameSampling
from ctsdk.data.synthetic.motion import SyntheticConfig
from ctsdk.data.synthetic.photographs import procedural_textures
from ctsdk.data.synthetic.videos import synthetic_videos
from ctsdk.data.videos import Video
from ctsdk.engine.batch import Batch, TrackerSpec
from ctsdk.errors import ConfigError, DataError
from tests.helpers.counted_videos import SIZE_PX, Counted, as_dataset, augment_only, frames_read, make_video

SPEC = TrackerSpec(template_size=32, search_size=64)
STILL = replace(SPEC, search_centre_jitter=0.0, search_scale_jitter=0.0)

# A worker more than there are processors, and threads at a fork, are what this machine has, not what is tested.
ignore_worker_warnings = pytest.mark.filterwarnings(
    "ignore:This DataLoader will create:UserWarning", "ignore:.*use of fork:DeprecationWarning"
)


def grey_levels(crops: torch.Tensor) -> list[int]:
    """The level of the background of each crop: what Counted drew, so which frame it was."""
    pixels = crops * torch.tensor(SPEC.std).view(3, 1, 1) + torch.tensor(SPEC.mean).view(3, 1, 1)
    return [round(float(crop[0, -1, -1] * 255)) - 1 for crop in pixels]


class Sample(NamedTuple):
    """A batch of one sample, without its axis B."""

    templates: torch.Tensor
    searches: torch.Tensor
    template_boxes: torch.Tensor
    search_boxes: torch.Tensor


def draw(dataset: PairDataset, index: int) -> Sample:
    batch = dataset.batch([index])
    return Sample(batch.templates[:, 0], batch.searches[:, 0], batch.template_boxes[:, 0], batch.search_boxes[:, 0])


def equal(first: Batch | Sample, second: Batch | Sample) -> bool:
    names = ("templates", "searches", "template_boxes", "search_boxes")
    return all(torch.equal(getattr(first, name), getattr(second, name)) for name in names)


@pytest.fixture(scope="module")
def synthetic() -> list[Video]:
    config = SyntheticConfig(frame_size_px=(128, 96), num_frames=20, target_size_px=(16.0, 30.0))
    return synthetic_videos(6, seed=3, images=procedural_textures(0, 4, (160, 120)), config=config)


def test_sample_has_the_shapes_of_the_spec(synthetic: list[Video]) -> None:
    spec = replace(SPEC, num_templates=2, num_searches=3)

    sample = draw(PairDataset(synthetic, spec, seed=0, length=4), 1)

    assert sample.templates.shape == (2, 3, 32, 32)
    assert sample.searches.shape == (3, 3, 64, 64)
    assert (sample.template_boxes.shape, sample.search_boxes.shape) == ((2, 4), (3, 4))
    dtypes = {sample.templates.dtype, sample.searches.dtype, sample.template_boxes.dtype, sample.search_boxes.dtype}
    assert dtypes == {torch.float32}


def test_sample_depends_on_seed_and_index_alone(synthetic: list[Video]) -> None:
    forwards = PairDataset(synthetic, SPEC, seed=5, length=None)
    backwards = PairDataset(synthetic, SPEC, seed=5, length=100)
    other = PairDataset(synthetic, SPEC, seed=6, length=100)
    seen = [draw(forwards, index) for index in range(6)]
    np.random.seed(0)  # noqa: NPY002 - the global state must not matter
    torch.manual_seed(0)

    again = [draw(backwards, index) for index in reversed(range(6))][::-1]

    assert all(equal(first, second) for first, second in zip(seen, again, strict=True))
    assert not any(equal(seen[0], sample) for sample in [*seen[1:], draw(other, 0)])


def test_samples_are_those_of_the_first_release(synthetic: list[Video]) -> None:
    """Figures in the documentation were measured on these draws."""
    batch = PairDataset(synthetic, SPEC, seed=7, length=None).batch(range(4))

    templates = [
        [0.2723325788974762, 0.2366379052400589, 0.48658487200737, 0.4954741895198822],
        [0.23773133754730225, 0.2345234602689743, 0.4932873249053955, 0.4997030794620514],
        [0.28320249915122986, 0.21833975613117218, 0.46484503149986267, 0.5320704579353333],
        [0.3032361567020416, 0.20286639034748077, 0.42477768659591675, 0.5630172491073608],
    ]
    searches = [
        [0.49689191579818726, 0.5138514637947083, 0.28349387645721436, 0.2861666679382324],
        [0.16775837540626526, 0.6869462132453918, 0.30169621109962463, 0.30489253997802734],
        [0.6081246733665466, 0.33425000309944153, 0.24451014399528503, 0.2730802297592163],
        [0.04523486644029617, 0.4722558856010437, 0.21978247165679932, 0.2919125258922577],
    ]
    torch.testing.assert_close(batch.template_boxes[0], torch.tensor(templates), rtol=0, atol=1e-6)
    torch.testing.assert_close(batch.search_boxes[0], torch.tensor(searches), rtol=0, atol=1e-6)
    # Of the pixels the means only: OpenCV's rounding may change.
    template_means = torch.tensor([-0.68384, -0.38612, -0.10115, -0.31918])
    search_means = torch.tensor([-1.34398, -1.19489, -0.72083, -1.40708])
    torch.testing.assert_close(batch.templates.mean((0, 2, 3, 4)), template_means, rtol=0, atol=0.01)
    torch.testing.assert_close(batch.searches.mean((0, 2, 3, 4)), search_means, rtol=0, atol=0.01)


def test_sample_of_a_million_is_drawn_directly(synthetic: list[Video]) -> None:
    dataset = PairDataset(synthetic, SPEC, seed=5, length=None)

    assert equal(draw(dataset, 1_000_000), draw(dataset, 1_000_000))


def test_unvaried_crops_are_bit_for_bit_those_of_test_time(synthetic: list[Video]) -> None:
    single = synthetic[0]
    first = Video("one", single.boxes_xywh_px[:1], single.visible[:1], single.size_px, single.read_frame)

    sample = draw(PairDataset([first], STILL, seed=0, length=1, augmentation=augment_only()), 0)

    for crops, factor, size in ((sample.templates, 2.0, 32), (sample.searches, 4.0, 64)):
        pixels = crop_square(single.frame(0), tuple(single.boxes_xywh_px[0]), factor, size).pixels
        assert torch.equal(crops[0], normalise(pixels, SPEC.mean, SPEC.std))


def test_box_of_an_unjittered_crop_is_centred(synthetic: list[Video]) -> None:
    sample = draw(PairDataset(synthetic, STILL, seed=0, length=1, augmentation=augment_only()), 0)

    for boxes, size in ((sample.template_boxes, 32), (sample.search_boxes, 64)):
        centre = boxes[0, :2] + 0.5 * boxes[0, 2:]
        torch.testing.assert_close(centre, torch.full((2,), 0.5 - 0.5 / size))


@pytest.mark.parametrize("flips", [{}, {"joint_flip": 1.0}, {"flip": 1.0}])
def test_box_stays_on_the_target(flips: dict[str, float]) -> None:
    boxes = np.tile([[30.0, 20.0, 20.0, 12.0], [70.0, 50.0, 16.0, 24.0], [20.0, 40.0, 30.0, 16.0]], (7, 1))
    moving = Video("moving", boxes, np.ones(21, dtype=bool), SIZE_PX, Counted(boxes))
    dataset = PairDataset([moving], SPEC, seed=0, length=12, augmentation=DataConfig(greyscale=0.0, **flips))

    for index in range(12):
        sample = draw(dataset, index)
        x, y, width, height = (64 * sample.search_boxes[0]).tolist()
        white = (sample.searches[0, 0] > sample.searches[0, 0].max() - 0.5).float()
        inside = white[max(0, round(y)) : max(0, round(y + height)), max(0, round(x)) : max(0, round(x + width))]
        # The label is half a pixel of the crop off, and the mirror of the frame is one pixel of the frame off.
        assert inside.sum() >= 0.75 * white.sum()
        assert inside.numel() == 0 or inside.mean() >= 0.6


def test_search_follows_the_template_within_the_gap() -> None:
    video = make_video([True] * 60)
    dataset = PairDataset([video], replace(STILL, max_gap=5, num_searches=2), 0, 60, augmentation=augment_only())

    gaps = set()
    for index in range(60):
        sample = draw(dataset, index)
        (template,) = grey_levels(sample.templates)
        gaps |= {search - template for search in grey_levels(sample.searches)}
    assert gaps == {1, 2, 3, 4}


def test_further_templates_precede_the_first() -> None:
    dataset = PairDataset(
        [make_video([True] * 60)], replace(STILL, max_gap=5, num_templates=3), 0, 40, augmentation=augment_only()
    )

    gaps = set()
    for index in range(40):
        first, *more = grey_levels(draw(dataset, index).templates)
        gaps |= {first - template for template in more}
    assert gaps == {1, 2, 3, 4, 5}


def test_only_visible_frames_are_used() -> None:
    video = make_video(number % 7 == 3 for number in range(50))
    dataset = PairDataset([video], replace(SPEC, max_gap=10), 0, 40)

    for index in range(40):
        draw(dataset, index)
    assert set(frames_read(video)) == set(range(3, 50, 7))


def test_one_frame_is_its_own_pair_and_is_read_once() -> None:
    video = make_video([True])
    spec = replace(SPEC, num_templates=2, num_searches=2)

    draw(PairDataset([video], spec, seed=0, length=1), 0)

    assert frames_read(video) == [0]


def test_videos_are_drawn_uniformly_whatever_their_length() -> None:
    long, short = make_video([True] * 100, name="long"), make_video([True] * 20, name="short")
    dataset = PairDataset([long, short], SPEC, seed=0, length=200)

    for index in range(200):
        draw(dataset, index)
    assert 150 <= len(frames_read(short)) <= 250
    assert len(frames_read(short)) + len(frames_read(long)) == 400


def test_boxes_that_never_fit_end_in_an_error() -> None:
    video = make_video([True] * 20, (500, 30, 16, 16), name="broken")

    with pytest.raises(DataError, match=r"100 drawings gave no usable pair.*'broken'"):
        draw(PairDataset([video], SPEC, seed=0, length=1), 0)
    assert frames_read(video) == []


def test_a_single_image_without_a_box_is_drawn_again() -> None:
    empty, lost, seen = (
        make_video([True], (40, 30, 0, 16)),
        make_video([True], (40, float("nan"), 9, 9)),
        make_video([True]),
    )
    dataset = PairDataset([empty, lost, seen], SPEC, seed=0, length=20)

    for index in range(20):
        draw(dataset, index)
    assert (frames_read(empty), frames_read(lost), len(frames_read(seen))) == ([], [], 20)


@pytest.mark.parametrize("column", [0, 2])
def test_frames_without_a_box_are_not_used(column: int) -> None:
    video = make_video([True] * 30)
    video.boxes_xywh_px[2:28, column] = np.nan if column == 0 else 0.0
    video.boxes_xywh_px[10:12] = (40, 30, 16, 16)
    dataset = PairDataset([video], SPEC, seed=0, length=40)

    for index in range(40):
        draw(dataset, index)
    assert set(frames_read(video)) == {0, 1, 10, 11, 28, 29}


def test_jitter_has_the_spread_of_the_spec() -> None:
    dataset = PairDataset([make_video([True] * 20)], SPEC, seed=0, length=400, augmentation=augment_only())

    boxes = torch.cat([draw(dataset, index).search_boxes for index in range(400)])

    # The target is 16 px and the crop ceil(4 * sqrt(w' h')): its share is 16 / side, it strays by 1.5 / 4 of a side.
    shifts = boxes[:, :2] + 0.5 * boxes[:, 2:] - 0.5
    assert 0.36 < shifts.abs().max() < 0.39
    assert shifts.std() == pytest.approx(0.75 / 12**0.5, abs=0.02)
    # Width and height vary by 0.25 each, and the side by the mean of both.
    assert torch.log(0.25 / boxes[:, 2]).std() == pytest.approx(0.25 / 2**0.5, abs=0.02)


def test_templates_are_jittered_where_the_spec_says_so() -> None:
    spec = replace(SPEC, template_centre_jitter=1.0, template_scale_jitter=0.1)
    dataset = PairDataset([make_video([True] * 20)], spec, seed=0, length=20)

    boxes = torch.cat([draw(dataset, index).template_boxes for index in range(20)])
    centres = boxes[:, :2] + 0.5 * boxes[:, 2:]
    assert 0.05 < centres.std() < 0.25
    assert len(set(boxes[:, 2].tolist())) > 4


def test_greyscale_takes_the_colour_of_every_crop(synthetic: list[Video]) -> None:
    spec = replace(SPEC, num_searches=2, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))
    grey = augment_only(greyscale=1.0)

    sample = draw(PairDataset(synthetic, spec, seed=0, length=1, augmentation=grey), 0)

    for crops in (sample.templates, sample.searches):
        assert torch.equal(crops[:, 0], crops[:, 1])
        assert torch.equal(crops[:, 0], crops[:, 2])


def test_flip_is_drawn_per_crop_and_mirrors_the_box(synthetic: list[Video]) -> None:
    plain = draw(PairDataset(synthetic, SPEC, seed=0, length=1, augmentation=augment_only()), 0)
    flipped = draw(PairDataset(synthetic, SPEC, seed=0, length=1, augmentation=augment_only(flip=1.0)), 0)

    torch.testing.assert_close(flipped.searches, plain.searches.flip(-1), rtol=0, atol=0)
    x, y, width, height = plain.search_boxes[0]
    torch.testing.assert_close(flipped.search_boxes[0], torch.stack([1 - x - width, y, width, height]))

    dataset = PairDataset(synthetic, SPEC, seed=0, length=40, augmentation=augment_only(flip=0.5))
    unvaried = PairDataset(synthetic, SPEC, seed=0, length=40, augmentation=augment_only())
    ways = {
        (
            torch.equal(draw(dataset, index).templates, draw(unvaried, index).templates),
            torch.equal(draw(dataset, index).searches, draw(unvaried, index).searches),
        )
        for index in range(40)
    }
    assert len(ways) == 4


def test_brightness_is_drawn_per_crop_and_clamped() -> None:
    spec = replace(STILL, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))
    whites, ratios = [], []
    for index in range(60):
        dark = draw(
            PairDataset([make_video([True] * 20)], spec, 0, 60, augmentation=augment_only(brightness=0.2)), index
        )
        whites.append(float(dark.searches.max()))
        ratios.append(whites[-1] / float(dark.templates.max()))

    assert max(whites) == 1.0
    assert 0.8 <= min(whites) < 0.85
    assert min(ratios) < 0.9 < 1.1 < max(ratios)


def test_length_and_indices() -> None:
    dataset = PairDataset([make_video([True] * 20)], SPEC, seed=0, length=3)

    for index in (-1, 3):
        with pytest.raises(IndexError):
            dataset.batch([index])
    for seed, length in ((-1, 3), (0, -3)):
        with pytest.raises(ConfigError, match="expected 0 or positive"):
            PairDataset([make_video([True] * 20)], SPEC, seed=seed, length=length)


def test_batch_holds_the_samples_along_the_second_axis(synthetic: list[Video]) -> None:
    dataset = PairDataset(synthetic, replace(SPEC, num_templates=2), seed=0, length=3)

    batch = dataset.batch(range(3))

    assert batch.size == 3
    assert batch.templates.shape == (2, 3, 3, 32, 32)
    for number, sample in enumerate(draw(dataset, index) for index in range(3)):
        for name in ("templates", "searches", "template_boxes", "search_boxes"):
            assert torch.equal(getattr(batch, name)[:, number], getattr(sample, name))


def test_a_batch_of_nothing_is_refused() -> None:
    with pytest.raises(DataError, match="no samples"):
        PairDataset([make_video([True] * 20)], SPEC, seed=0, length=1).batch([])


@ignore_worker_warnings
@pytest.mark.parametrize("num_workers", [0, 2])
def test_batches_resume_where_they_stopped(synthetic: list[Video], num_workers: int) -> None:
    dataset = PairDataset(synthetic, SPEC, seed=0, length=None)
    wanted = [dataset.batch(range(3 * number, 3 * number + 3)) for number in range(4)]

    whole = batches(dataset, 3, num_workers=num_workers)
    rest = batches(dataset, 3, start=2, num_workers=num_workers)

    assert all(equal(next(whole), batch) for batch in wanted)
    assert all(equal(next(rest), batch) for batch in wanted[2:])


def test_batches_end_with_the_dataset(synthetic: list[Video]) -> None:
    dataset = PairDataset(synthetic, SPEC, seed=0, length=7)

    assert [batch.size for batch in batches(dataset, 3)] == [3, 3, 1]
    assert [batch.size for batch in batches(dataset, 3, start=2)] == [1]
    assert list(batches(dataset, 3, start=3)) == []


def test_batches_leave_the_global_random_state_alone(synthetic: list[Video]) -> None:
    before = torch.get_rng_state()

    next(batches(PairDataset(synthetic, SPEC, seed=0, length=None), 2))

    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("wrong", [{"batch_size": 0}, {"start": -1}, {"num_workers": -1}])
def test_batches_out_of_range_are_refused(wrong: dict[str, int]) -> None:
    dataset = PairDataset([make_video([True] * 20)], SPEC, seed=0, length=3)

    with pytest.raises(ConfigError, match=next(iter(wrong))):
        batches(dataset, **{"batch_size": 2, **wrong})


def test_dataset_can_be_sent_to_another_process(synthetic: list[Video]) -> None:
    mixture = Mixture((synthetic, as_dataset([make_video([True] * 20), make_video([True])])), (1, 1))
    dataset = PairDataset(mixture, SPEC, seed=0, length=5)

    before = draw(pickle.loads(pickle.dumps(dataset)), 4)

    assert equal(before, draw(dataset, 4))
    assert equal(draw(pickle.loads(pickle.dumps(dataset)), 4), before)


def test_a_mixture_draws_samples_of_all_its_data_sets() -> None:
    long, image = make_video([True] * 20), make_video([True])
    dataset = PairDataset(Mixture(([long], as_dataset([image])), (3, 1)), SPEC, seed=0, length=200)

    for index in range(200):
        draw(dataset, index)
    assert 120 <= len(frames_read(long)) / 2 <= 175
    assert len(frames_read(long)) / 2 + len(frames_read(image)) == 200


def test_frames_of_changing_size_are_cut_by_their_own_size() -> None:
    """A mirrored box lies on its target whichever size the frame has."""
    video = make_video([True] * 40, smaller_from=20)
    exact = augment_only(joint_flip=1.0, mirror_shift_px=0.0)
    dataset = PairDataset([video], STILL, seed=0, length=20, augmentation=exact)

    for index in range(20):
        sample = draw(dataset, index)
        for crop, (x, y, width, height) in ((sample.searches[0, 0], 64 * sample.search_boxes[0]),):
            columns = (crop > crop.max() - 0.5).any(dim=0).nonzero()
            assert columns.min().item() == pytest.approx(x.item() + 0.5, abs=1)
            assert columns.max().item() == pytest.approx((x + width).item() - 0.5, abs=1)
            assert (crop > crop.max() - 0.5).sum() == pytest.approx((width * height).item(), rel=0.1)
            assert y > 0
    assert {number >= 20 for number in frames_read(video)} == {False, True}


def test_an_unknown_size_changes_no_sample() -> None:
    known = make_video([True] * 30, (2, 60, 20, 30))
    unknown = replace(known, size_px=None)

    samples = [PairDataset([video], SPEC, seed=0, length=10) for video in (known, unknown)]

    assert all(equal(draw(samples[0], index), draw(samples[1], index)) for index in range(10))


def test_what_cannot_be_read_is_said_once_and_drawn_again(caplog: pytest.LogCaptureFixture) -> None:
    fine, damaged = make_video([True] * 20, name="fine"), make_video([True] * 20, name="damaged", broken=range(2, 20))
    lost = as_dataset([fine, damaged, *[fine] * 6], broken=[2])
    dataset = PairDataset(lost, STILL, 0, 150, augmentation=augment_only(), max_unreadable=1.0)
    again = PairDataset(lost, STILL, 0, 150, augmentation=augment_only(), max_unreadable=1.0)

    samples = [draw(dataset, index) for index in range(150)]

    assert all(equal(sample, draw(again, index)) for index, sample in enumerate(samples))
    assert dataset.unreadable.num_samples == 150
    assert dataset.unreadable.num_errors > len(dataset.unreadable.messages) >= 10
    messages = [record.getMessage() for record in caplog.records if record.name == "ctsdk.data.samples.unreadable"]
    assert len(messages) == 2 * len(dataset.unreadable.messages)  # of both data sets
    assert any("2/groundtruth.txt is missing" in message for message in messages)
    assert any(".jpg is damaged" in message for message in messages)


def test_what_can_never_be_read_ends_in_an_error() -> None:
    dataset = PairDataset([make_video([True] * 20, broken=range(20))], SPEC, 0, 1, max_unreadable=1.0)

    with pytest.raises(DataError, match=r"(?s)100 times in 1 samples something could not be read.*jpg is damaged"):
        draw(dataset, 0)


@ignore_worker_warnings
def test_too_much_that_cannot_be_read_ends_the_batches_at_the_same_one() -> None:
    ends = []
    for num_workers in (0, 2):
        dataset = PairDataset([make_video([True] * 20, broken=[3, 4])], SPEC, 0, None, max_unreadable=0.01)
        with pytest.raises(DataError) as caught:
            list(batches(dataset, 4, num_workers=num_workers))
        ends.append((dataset.unreadable.num_samples, str(caught.value)))

    assert ends[0] == ends[1]
    assert re.match(r"1\d times in \d+ samples", ends[0][1])
    assert "- image 3.jpg is damaged" in ends[0][1]


@ignore_worker_warnings
@pytest.mark.parametrize("num_workers", [0, 2])
def test_errors_read_the_same_whatever_process_makes_the_samples(num_workers: int) -> None:
    dataset = PairDataset([make_video([True] * 20, (500, 30, 16, 16))], SPEC, 0, None)

    with pytest.raises(DataError, match=r"^sample 0 \(seed 0\): 100 drawings gave no usable pair"):
        next(batches(dataset, 2, num_workers=num_workers))


def test_a_sampling_of_another_spec_is_refused() -> None:
    with pytest.raises(ConfigError, match="does not draw the crops of"):
        PairDataset([make_video([True])], SPEC, 0, None, sampling=FrameSampling(2, 1, (5,)))


@ignore_worker_warnings
@pytest.mark.parametrize("num_workers", [1, 2])
def test_batches_of_a_mixture_do_not_depend_on_the_workers(synthetic: list[Video], num_workers: int) -> None:
    sets = (synthetic, as_dataset([make_video([True] * 20, broken=[3]), make_video([True])], broken=[1]))
    plain, with_workers = (PairDataset(Mixture(sets), SPEC, 0, 24, max_unreadable=1.0) for _ in range(2))

    pairs = zip(batches(plain, 4), batches(with_workers, 4, num_workers=num_workers), strict=True)

    assert all(equal(first, second) for first, second in pairs)
    assert plain.unreadable == with_workers.unreadable
    assert plain.unreadable.num_errors > 0


def test_video_checks_its_shapes_and_its_frames() -> None:
    boxes, visible = np.zeros((3, 4)), np.ones(3, dtype=bool)
    with pytest.raises(DataError, match=r"'v' has boxes of shape \(3, 4\) and visibility of shape \(2,\)"):
        Video("v", boxes, visible[:2], SIZE_PX, Counted(boxes))
    with pytest.raises(DataError, match="frames 0 to 2; frame 3"):
        Video("v", boxes, visible, SIZE_PX, Counted(boxes)).frame(3)
    with pytest.raises(DataError, match=r"is 120 x 90 px; expected the video's 121 x 90"):
        Video("v", boxes, visible, (121, 90), Counted(boxes)).frame(0)
    with pytest.raises(DataError, match="a frame is a NoneType"):
        Video("v", boxes, visible, SIZE_PX, lambda _: None).frame(0)  # type: ignore[arg-type, return-value]


def test_batches_can_be_pinned(synthetic: list[Video], monkeypatch: pytest.MonkeyPatch) -> None:
    # A DataLoader asks for it where there is a GPU; here nothing can be pinned.
    monkeypatch.setattr(torch.Tensor, "pin_memory", lambda tensor: tensor.clone())
    portion = PairDataset(synthetic, SPEC, seed=0, length=None)[[0, 1]]
    pinned = portion.pin_memory()
    assert isinstance(pinned.batch, Batch)
    assert isinstance(portion.batch, Batch)
    assert equal(pinned.batch, portion.batch)
    assert pinned.batch.searches.data_ptr() != portion.batch.searches.data_ptr()
    broken = replace(portion, batch=DataError("nothing"))
    assert broken.pin_memory() is broken
