from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest

from ctsdk.data.readers.vot import open_vot
from ctsdk.data.videos import Video
from ctsdk.errors import ConfigError, DataError
from tests.helpers.fixtures import grey, jpeg, level_of, write


def write_video(root: Path, regions: list[str], *, frames: str = "color/{:08d}.jpg") -> Path:
    """Write the only video of a data set."""
    write(root / "list.txt", b"ants1\n\n")
    write(root / "ants1/groundtruth.txt", "".join(f"{region}\n" for region in regions).encode())
    for index in range(len(regions)):
        write(root / "ants1" / frames.format(index + 1), jpeg(grey(index)))
    return root / "ants1"


def read_video(root: Path, **options: str) -> Video:
    return pickle.loads(pickle.dumps(open_vot(root, **options))).find("ants1")


def test_rectangles_are_read_in_the_order_of_the_list(tmp_path: Path) -> None:
    write_video(tmp_path, ["10.5,20,30,40", "11,20,30,40"])
    write(tmp_path / "list.txt", b"zebrafish1\nants1\nbag")
    dataset = open_vot(tmp_path)
    assert (dataset.name, dataset.split, dataset.names) == ("vot", "", ("zebrafish1", "ants1", "bag"))
    video = read_video(tmp_path)
    assert video.boxes_xywh_px.tolist() == [[10.5, 20, 30, 40], [11, 20, 30, 40]]
    assert [level_of(video.frame(index)) for index in (0, 1)] == pytest.approx([grey(0), grey(1)], abs=1)
    assert (video.visible.tolist(), video.labels) == ([True, True], {})
    with pytest.raises(DataError, match=r"zebrafish1/groundtruth\.txt cannot be read"):
        dataset[0]
    assert open_vot(tmp_path, present="only").names == ("ants1",)


def test_a_polygon_becomes_the_rectangle_around_it_or_one_of_its_area(tmp_path: Path) -> None:
    # A square of side 10 * sqrt(2), turned by 45 degrees around (20, 30).
    write_video(tmp_path, ["20,20,30,30,20,40,10,30"])
    assert read_video(tmp_path).boxes_xywh_px.tolist() == [[10, 20, 20, 20]]
    side = 10 * np.sqrt(2) + 1
    expected = [20 - side / 2, 30 - side / 2, side, side]
    assert read_video(tmp_path, polygon="area").boxes_xywh_px[0] == pytest.approx(expected)
    with pytest.raises(ConfigError, match=r"polygon is 'union'; expected 'bounds' or 'area'"):
        open_vot(tmp_path, polygon="union")


def test_polygons_without_area_or_with_other_corners_have_bounds_only(tmp_path: Path) -> None:
    write_video(tmp_path, ["0,0,4,0,0,3", "5,5,9,5,9,5,5,5"])
    assert read_video(tmp_path).boxes_xywh_px.tolist() == [[0, 0, 4, 3], [5, 5, 4, 0]]
    with pytest.raises(DataError, match=r"line 1: .*takes polygons of four corners; use polygon=bounds"):
        read_video(tmp_path, polygon="area")
    write_video(tmp_path, ["5,5,9,5,9,5,5,5"])
    with pytest.raises(DataError, match=r"line 1: .*expected a polygon with an area"):
        read_video(tmp_path, polygon="area")


def test_special_rows_have_no_box_and_show_no_target(tmp_path: Path) -> None:
    write_video(tmp_path, ["1,2,3,4", "0", "nan,nan,nan,nan", "1,2,3,nan", "m0,0,0,0,0", "m3,4,2,2,4"])
    video = read_video(tmp_path)
    assert video.visible.tolist() == [True, False, False, False, False, False]
    assert np.isnan(video.boxes_xywh_px[1:]).all()


def test_a_mask_becomes_the_rectangle_around_its_pixels(tmp_path: Path) -> None:
    # Row by row, from (100, 50): "..#." and ".##."; then a mask that fills its window, without its last run of zeros.
    write_video(tmp_path, ["m100,50,4,2,2,1,2,2,1", "m7,8,3,2,0,6", "m7,8,3,2,4,1"])
    assert read_video(tmp_path).boxes_xywh_px.tolist() == [[101, 50, 2, 2], [7, 8, 3, 2], [8, 9, 1, 1]]


def test_masks_are_never_made_of_pixels(tmp_path: Path) -> None:
    write_video(tmp_path, ["m3,4,900000000,900000000,5,1", "m0,0,2000000,2000000,0,4000000000000"])
    with pytest.raises(DataError, match="line 2"):
        read_video(tmp_path)
    write_video(tmp_path, ["m3,4,900000000,900000000,5,1", "m0,0,20000,20000,0,400000000"])
    assert read_video(tmp_path).boxes_xywh_px.tolist() == [[8, 4, 1, 1], [0, 0, 20000, 20000]]


def test_masks_of_any_runs_have_the_bounds_of_their_pixels(tmp_path: Path) -> None:
    generator, lines, expected = np.random.default_rng(0), [], []
    for _ in range(200):
        width, height = generator.integers(1, 7, 2)
        pixels = generator.random(width * height) < generator.random()
        changes = np.flatnonzero(np.diff(np.concatenate([[False], pixels, [not pixels[-1]]]).astype(int)))
        lines.append(",".join(map(str, ["m2", 3, width, height, *np.diff([0, *changes])])))
        rows, columns = np.nonzero(pixels.reshape(height, width))
        bounds = (
            [2 + columns.min(), 3 + rows.min(), np.ptp(columns) + 1, np.ptp(rows) + 1] if len(rows) else [np.nan] * 4
        )
        expected.append(bounds)
    write_video(tmp_path, lines)
    np.testing.assert_array_equal(read_video(tmp_path).boxes_xywh_px, expected)


def test_tags_are_labels_and_short_ones_end_with_zeros(tmp_path: Path) -> None:
    folder = write_video(tmp_path, ["1,2,3,4"] * 4)
    write(folder / "occlusion.tag", b"0\n1\n")
    write(folder / "camera_motion.label", b"1\n1\n1\n1\n")
    write(folder / "empty.tag", b"")
    write(folder / "practical.value", b"0.5\n")
    labels = {name: values.tolist() for name, values in read_video(tmp_path).labels.items()}
    assert labels == {"camera_motion": [1, 1, 1, 1], "empty": [0, 0, 0, 0], "occlusion": [0, 1, 0, 0]}
    for text, message in (
        (b"0\n2\n", r"occlusion\.tag, line 2: '2'; expected 0 or 1"),
        (b"0\n" * 5, r"occlusion\.tag has 5 lines for 4 frames; expected at most as many"),
    ):
        write(folder / "occlusion.tag", text)
        with pytest.raises(DataError, match=message):
            read_video(tmp_path)


@pytest.mark.parametrize(
    ("pattern", "frames"),
    [
        ("color/%06d.png", "color/{:06d}.png"),
        ("rgb\\%08d.jpg", "rgb/{:08d}.jpg"),
        ("rgb/", "rgb/{:08d}.jpg"),
        ("frame%d.jpg", "frame{}.jpg"),
    ],
)
def test_the_sequence_file_says_where_the_frames_are(tmp_path: Path, pattern: str, frames: str) -> None:
    folder = write_video(tmp_path, ["1,2,3,4"] * 11, frames=frames)
    write(
        folder / "sequence", f"name=ants1\nfps=30\nchannels.color={pattern}\nchannels.depth=depth/%08d.png\n".encode()
    )
    assert level_of(read_video(tmp_path).frame(10)) == pytest.approx(grey(10), abs=1)


def test_a_pattern_without_one_number_is_refused_and_a_file_without_pattern_is_not(tmp_path: Path) -> None:
    folder = write_video(tmp_path, ["1,2,3,4"])
    write(folder / "sequence", b"fps=30\n")
    assert len(read_video(tmp_path)) == 1
    for pattern in ("color/%s.jpg", "%d/%08d.jpg", "color/%0200000000d.jpg"):
        write(folder / "sequence", f"channels.color={pattern}\n".encode())
        with pytest.raises(DataError, match=r"ants1/sequence says channels\.color=.*; expected a path with one number"):
            read_video(tmp_path)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("1;2;3;4", "expected numbers separated by commas"),
        ("", "expected numbers separated by commas"),
        ("1,2", "expected x,y,w,h, or the corners of a polygon"),
        ("1,2,3,4,5", "expected x,y,w,h, or the corners of a polygon"),
        ("1,2,inf,4", "expected x,y,w,h, or the corners of a polygon"),
        ("m1,2,3", "expected m followed by x0,y0,w,h and runs"),
        ("m1,2,3,x", "expected numbers separated by commas"),
        ("m1,2,2,2,0,5", "expected runs of a mask of 2 x 2 pixels"),
        ("m1,2,2,2,3,-1", "expected runs of a mask of 2 x 2 pixels"),
        ("m99999999999999999999,0,2,2,0,1", "expected runs of a mask of 2 x 2 pixels"),
        ("0,0,1e308,0,-1e308,1", "expected x,y,w,h, or the corners of a polygon"),
        ("1_0,2,3,4", "expected numbers separated by commas"),
    ],
)
def test_wrong_regions_are_refused_with_their_place(tmp_path: Path, line: str, message: str) -> None:
    write_video(tmp_path, ["1,2,3,4", line, "1,2,3,4"])
    with pytest.raises(DataError, match=rf"ants1/groundtruth\.txt, line 2: .*: {message}"):
        read_video(tmp_path)


def test_rows_and_frames_must_agree(tmp_path: Path) -> None:
    folder = write_video(tmp_path, ["1,2,3,4"] * 4)
    write(folder / "groundtruth.txt", b"1,2,3,4\n" * 3)
    with pytest.raises(DataError, match=r"groundtruth\.txt has 3 rows, but there is a frame ants1/color/00000004\.jpg"):
        read_video(tmp_path)
    write(folder / "groundtruth.txt", b"1,2,3,4\n" * 5)
    with pytest.raises(DataError, match=r"frame .*color/00000005\.jpg is missing; expected 5 frames"):
        read_video(tmp_path)
    write(folder / "groundtruth.txt", b"")
    with pytest.raises(DataError, match=r"groundtruth\.txt is empty"):
        read_video(tmp_path)


def test_missing_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"list\.txt does not exist; expected the names of the videos"):
        open_vot(tmp_path)
    folder = write_video(tmp_path, ["1,2,3,4"] * 3)
    (folder / "color/00000002.jpg").unlink()
    with pytest.raises(DataError, match=r"color/00000002\.jpg cannot be read"):
        read_video(tmp_path).frame(1)
    (folder / "groundtruth.txt").unlink()
    with pytest.raises(DataError, match=r"ants1/groundtruth\.txt cannot be read"):
        read_video(tmp_path)
    write(tmp_path / "list.txt", b"\n")
    with pytest.raises(DataError, match=r"list\.txt is empty"):
        open_vot(tmp_path)
