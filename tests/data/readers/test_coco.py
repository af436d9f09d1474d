"""COCO as videos of one frame: what the official loader gives, and files that are wrong."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ctsdk.data.datasets import VideoDataset
from ctsdk.data.readers.coco import open_coco
from ctsdk.errors import ConfigError, DataError
from tests.helpers.fixtures import expected, jpeg, level_of, pack_lmdb, write, write_fixture

ANNOTATIONS = "annotations/instances_train2017.json"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return write_fixture(tmp_path, "coco")


def change(root: Path, edit: Callable[[dict[str, Any]], object]) -> None:
    content = json.loads((root / ANNOTATIONS).read_text())
    edit(content)
    (root / ANNOTATIONS).write_text(json.dumps(content))


def assert_as_official(dataset: VideoDataset) -> None:
    official = expected("OSTrack MSCOCOSeq(2017)[0]")
    assert len(dataset) == official["n"]
    video = dataset[0]
    assert len(video) == 1
    assert video.boxes_xywh_px.tolist() == official["bbox"]
    assert video.about["object_class"] == official["class_name"] == official["meta"]["object_class_name"]
    assert video.about["supercategory"] == official["meta"]["major_class"]
    assert list(video.frame(0).shape) == official["frame_shape"]
    assert video.frame_size_px(0) == (64, 48)
    assert abs(level_of(video.frame(0)) - official["frame_grey"][0]) <= 1


def test_objects_are_read_as_officially(root: Path) -> None:
    dataset = open_coco(root)
    assert_as_official(dataset)
    assert (str(dataset), dataset.names) == ("coco train", ("101",))
    assert dataset.find("101").name == "101"


def test_photographs_may_lie_in_the_root(root: Path) -> None:
    (root / "images" / "train2017").rename(root / "train2017")
    assert_as_official(open_coco(root))


def test_an_lmdb_is_read_like_a_folder(root: Path, tmp_path: Path) -> None:
    assert_as_official(open_coco(pack_lmdb(root, tmp_path / "coco_lmdb")))


def test_a_data_set_goes_to_other_processes(root: Path) -> None:
    assert_as_official(pickle.loads(pickle.dumps(open_coco(root))))


def test_small_targets_count_unless_one_asks(root: Path) -> None:
    official = expected("OSTrack MSCOCOSeq(2017)[0]")
    assert open_coco(root)[0].visible.tolist() == [True]
    assert open_coco(root, side_above_px="50")[0].visible.tolist() == official["visible"] == official["valid"] == [0]
    # The box is 40 x 24 px; both sides have to be longer.
    assert open_coco(root, side_above_px="23.9")[0].visible.tolist() == [True]
    assert open_coco(root, side_above_px="24")[0].visible.tolist() == [False]


def test_each_object_is_a_video_in_the_order_of_the_file(root: Path) -> None:
    def add(content: dict[str, Any]) -> None:
        first = content["annotations"][0]
        content["annotations"] += [
            {**first, "id": 900100002299, "category_id": 18, "bbox": [0, 0, 5, 0]},
            {**first, "id": 7, "image_id": 12},
        ]
        content["images"].insert(0, {"id": 12, "file_name": "second.jpg", "width": 30, "height": 20})

    change(root, add)
    write(root / "images/train2017/second.jpg", jpeg(200, 30, 20))
    dataset = open_coco(root)
    assert dataset.names == ("101", "900100002299", "7")
    assert [video.about["object_class"] for video in dataset] == ["person", "dog", "person"]
    assert [video.usable.tolist() for video in dataset] == [[True], [False], [True]]
    assert [level_of(video.frame(0)) // 10 for video in dataset] == [3, 3, 20]


def test_the_other_split(root: Path) -> None:
    write(root / "annotations/instances_val2017.json", (root / ANNOTATIONS).read_bytes())
    with pytest.raises(DataError, match=r"neither .*images/val2017 nor .*coco/val2017; expected COCO's photographs"):
        open_coco(root, split="val")
    write(root / "val2017/000000000009.jpg", jpeg(37))
    assert str(open_coco(root, split="val")) == "coco val"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"split": "test"}, "split is 'test'; expected 'train' or 'val'"),
        ({"side_above_px": "small"}, "side_above_px is 'small'"),
        ({"side_above_px": "nan"}, "side_above_px is 'nan'"),
        ({"side_above_px": "-1"}, "side_above_px is '-1'"),
    ],
)
def test_wrong_options_are_refused(root: Path, options: dict[str, str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        open_coco(root, **options)


@pytest.mark.parametrize(
    ("keys", "value", "message"),
    [
        (("annotations",), None, "has no list called 'annotations'"),
        (("annotations",), [], "annotates no single object"),
        (("annotations", 0), 5, "entry 0 of 'annotations' is 5; expected an object"),
        (("annotations", 0, "id"), None, "entry 0 of 'annotations' has id = None; expected a whole number"),
        (("annotations", 0, "id"), 102, "id 102 of 'annotations' is there twice"),
        (("annotations", 0, "bbox"), None, "id 101 of 'annotations' has bbox = None; expected four finite numbers"),
        (("annotations", 0, "bbox"), [1, 2, 3], "has bbox = .1, 2, 3.; expected four"),
        (("annotations", 0, "bbox"), [1, 2, 3, float("nan")], "has bbox = .1, 2, 3, nan."),
        (("annotations", 0, "bbox"), [1, 2, 3, float("inf")], "has bbox = .1, 2, 3, inf."),
        (("annotations", 0, "bbox"), [1, 2, 3, True], "has bbox = .1, 2, 3, True."),
        (("annotations", 0, "bbox"), [1, 2, 3, 10**400], "has bbox = .1, 2, 3, 10"),
        (("annotations", 0, "bbox"), ["1", 2, 3, 4], "has bbox = .'1', 2, 3, 4."),
        (("annotations", 0, "image_id"), 8, "id 101 of 'annotations' has image_id = 8; expected an id that"),
        (("annotations", 0, "image_id"), [8], "id 101 of 'annotations' has image_id = .8.; expected a whole number"),
        (("annotations", 0, "category_id"), 2, "id 101 of 'annotations' has category_id = 2; expected an id that"),
        (("annotations", 0, "iscrowd"), None, "id 101 of 'annotations' has iscrowd = None"),
        (("images",), {}, "has no list called 'images'"),
        (("images", 0, "file_name"), 9, "id 9 of 'images' has file_name = 9; expected text"),
        (("images", 0, "width"), "64", "id 9 of 'images' has width = '64'"),
        (("images", 0, "height"), 2**70, "id 9 of 'images' has height = "),
        (("categories", 1, "name"), None, "id 18 of 'categories' has name = None"),
    ],
)
def test_a_wrong_entry_is_named(root: Path, keys: tuple[Any, ...], value: object, message: str) -> None:
    def put(content: dict[str, Any]) -> None:
        target: Any = content
        for key in keys[:-1]:
            target = target[key]
        target[keys[-1]] = value

    change(root, put)
    with pytest.raises(DataError, match=rf"instances_train2017\.json.*{message}"):
        open_coco(root)


def test_a_missing_key_is_named(root: Path) -> None:
    change(root, lambda content: content["annotations"][0].pop("image_id"))
    with pytest.raises(DataError, match="id 101 of 'annotations' has image_id = None"):
        open_coco(root)


def test_files_that_are_missing_or_cut_are_named(root: Path) -> None:
    text = (root / ANNOTATIONS).read_text()
    (root / ANNOTATIONS).write_text(text[: len(text) // 2])
    with pytest.raises(DataError, match=r"instances_train2017\.json is no JSON: .*line 1 column"):
        open_coco(root)
    (root / ANNOTATIONS).unlink()
    with pytest.raises(DataError, match=r"instances_train2017\.json cannot be read: No such file"):
        open_coco(root)
    with pytest.raises(DataError, match="does not exist"):
        open_coco(root / "nowhere")


def test_a_photograph_that_is_missing_or_of_another_size_is_named(root: Path) -> None:
    video = open_coco(root)[0]
    photograph = root / "images/train2017/000000000009.jpg"
    photograph.write_bytes(jpeg(37, 48, 64))
    with pytest.raises(DataError, match="'101' is 48 x 64 px; expected the video's 64 x 48"):
        video.frame(0)
    photograph.unlink()
    with pytest.raises(DataError, match=r"000000000009\.jpg cannot be read"):
        video.frame(0)


def test_arrays_hold_the_official_numbers(root: Path) -> None:
    change(root, lambda content: content["annotations"][0].update(bbox=[0.1, 479.99, 12.34, 1e-2]))
    np.testing.assert_array_equal(open_coco(root)[0].boxes_xywh_px, [[0.1, 479.99, 12.34, 1e-2]])
