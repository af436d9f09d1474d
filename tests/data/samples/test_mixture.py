from __future__ import annotations

import pickle
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from ctsdk.data.datasets import VideoDataset
from ctsdk.data.samples import mixture as module
from ctsdk.data.samples.mixture import Mixture
from ctsdk.data.samples.sampling import FrameSampling
from ctsdk.data.samples.unreadable import UnreadableError
from ctsdk.data.videos import Video
from ctsdk.engine.batch import TrackerSpec
from ctsdk.errors import ConfigError, DataError
from tests.helpers.counted_videos import Reads, as_dataset, make_video

SAMPLING = FrameSampling.of(TrackerSpec(template_size=32, search_size=64))


def make_videos(count: int, name: str) -> list[Video]:
    return [make_video([True] * 20, name=f"{name}-{number}") for number in range(count)]


def drawn(mixture: Mixture, count: int, seed: int = 0) -> list[str]:
    rng = np.random.default_rng(seed)
    return [mixture.draw(SAMPLING, rng).name for _ in range(count)]


def asked(dataset: VideoDataset) -> list[int]:
    assert isinstance(dataset.read, Reads)
    return dataset.read.asked


@pytest.mark.parametrize(
    ("ratios", "shares"), [((1, 1, 1), (1 / 3,) * 3), ((4, 2, 2), (0.5, 0.25, 0.25)), (None, (0.1, 0.3, 0.6))]
)
def test_data_sets_are_drawn_by_their_ratios(ratios: tuple[float, ...] | None, shares: tuple[float, ...]) -> None:
    sets = [make_videos(1, "a"), as_dataset(make_videos(3, "b")), make_videos(6, "c")]

    seen = Counter(name[0] for name in drawn(Mixture(tuple(sets), ratios), 2000))

    wanted = [2000 * share for share in shares]
    # The chi-square of 2 degrees of freedom exceeds 13.8 once in a thousand times.
    assert sum((seen[name] - number) ** 2 / number for name, number in zip("abc", wanted, strict=True)) < 13.8


def test_videos_of_a_data_set_are_drawn_uniformly() -> None:
    seen = Counter(drawn(Mixture((make_videos(5, "a"), make_videos(2, "b")), (1, 9)), 2000))

    assert all(800 < seen[f"b-{number}"] < 1000 for number in range(2))
    assert all(20 < seen[f"a-{number}"] < 65 for number in range(5))


def test_one_data_set_takes_one_number_per_video() -> None:
    """Samples of synthetic videos are what they were before there were mixtures."""
    rng, numbers = np.random.default_rng(3), np.random.default_rng(3)
    mixture = Mixture((make_videos(7, "a"),))

    assert [mixture.draw(SAMPLING, rng).name for _ in range(9)] == [f"a-{numbers.integers(7)}" for _ in range(9)]


def test_a_video_that_is_not_accepted_gives_way_to_another_of_its_data_set() -> None:
    short, hidden = make_video([True] * 19, name="short"), make_video([False] * 40, name="hidden")
    sets = ([short, hidden, *make_videos(1, "a")], make_videos(1, "b"))

    seen = Counter(drawn(Mixture(sets, (1, 1)), 400))

    assert set(seen) == {"a-0", "b-0"}
    assert 150 < seen["a-0"] < 250


def test_a_data_set_with_nothing_usable_is_named() -> None:
    mixture = Mixture(
        (make_videos(3, "a"), as_dataset([make_video([False] * 40, name="hidden")], name="lasot")), (1, 1)
    )

    with pytest.raises(DataError, match=r"1000 videos.* from lasot train .*'hidden' with 40 frames; expected at least"):
        drawn(mixture, 50)
    with pytest.raises(DataError, match="from a list of 1 videos"):
        drawn(Mixture(([make_video([True] * 10)],)), 1)


def test_videos_with_their_first_box_only_are_refused() -> None:
    boxes = np.array([[1.0, 2.0, 3.0, 4.0]])
    test = Video("GOT-10k_Test_000001", boxes, np.ones(1, dtype=bool), None, lambda _: boxes, num_frames=90)  # type: ignore[arg-type, return-value]

    with pytest.raises(DataError, match="got10k train has only the first box of video 'GOT-10k_Test_000001'") as info:
        drawn(Mixture((as_dataset([test], name="got10k"),)), 1)
    assert not isinstance(info.value, UnreadableError)


def test_annotations_are_read_when_drawn_and_kept() -> None:
    dataset = as_dataset(make_videos(50, "a"))
    mixture = Mixture((dataset,))
    assert asked(dataset) == []

    first = drawn(mixture, 10)
    num_read = len(asked(dataset))

    assert num_read == len(set(first))
    assert drawn(mixture, 10) == first
    assert len(asked(dataset)) == num_read


def test_what_is_kept_is_bounded_and_the_oldest_goes_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_MAX_CACHED_FRAMES", 3 * (20 + module._EXTRA_FRAMES))
    dataset = as_dataset(make_videos(30, "a"))
    mixture = Mixture((dataset,))

    names = drawn(mixture, 100)

    # A video is read again unless it is among the last three different ones that were drawn.
    recent: list[str] = []
    wanted = []
    for name in names:
        if name in recent:
            recent.remove(name)
        else:
            wanted.append(int(name.partition("-")[2]))
        recent = [*recent, name][-3:]
    assert asked(dataset) == wanted


def test_an_annotation_that_cannot_be_read_says_so() -> None:
    mixture = Mixture((as_dataset(make_videos(1, "a"), broken=[0]),))

    with pytest.raises(UnreadableError, match=r"0/groundtruth\.txt is missing"):
        drawn(mixture, 1)


def test_a_copy_in_another_process_draws_the_same() -> None:
    mixture = Mixture((as_dataset(make_videos(9, "a")), make_videos(3, "b")), (2, 1))
    names = drawn(mixture, 20)

    copy = pickle.loads(pickle.dumps(mixture))

    assert drawn(copy, 20) == names
    assert len(pickle.dumps(mixture)) == len(pickle.dumps(Mixture(mixture.datasets, (2, 1))))


def test_more_crops_ask_more_of_a_video() -> None:
    video = make_video(number < 8 for number in range(30))
    more = replace(SAMPLING, num_searches=3)

    assert Mixture(([video],)).draw(SAMPLING, np.random.default_rng(0)) is video
    with pytest.raises(DataError, match="in at least 9 of them"):
        Mixture(([video],)).draw(more, np.random.default_rng(0))


@pytest.mark.parametrize("ratios", [(1.0,), (1.0, 0.0), (1.0, -1.0), (1.0, float("nan"))])
def test_ratios_that_do_not_fit_are_refused(ratios: tuple[float, ...]) -> None:
    with pytest.raises(ConfigError, match="2 data sets have the ratios"):
        Mixture((make_videos(1, "a"), make_videos(1, "b")), ratios)


@pytest.mark.parametrize(("sets", "says"), [((), "no data sets"), (([],), "a list of 0 videos")])
def test_nothing_to_draw_from_is_refused(sets: tuple[Sequence[Video], ...], says: str) -> None:
    with pytest.raises(DataError, match=f"nothing to train on in {says}"):
        Mixture(sets)
