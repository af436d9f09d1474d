"""Weights in and out of files: official layouts are read, code in files never runs, writes are whole or not at all."""

from __future__ import annotations

import argparse
import builtins
import collections
import importlib
import json
import os
import pickle
import shutil
import subprocess
import sys
import types
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from ctsdk.errors import CheckpointError, OutputError
from ctsdk.storage.atomic import atomic_write, write_json
from ctsdk.weights import check_same_keys, read_safetensors, read_tensors, write_safetensors

WEIGHTS = {"backbone.weight": torch.arange(6.0).reshape(2, 3), "head.bias": torch.tensor([1, 2])}


def assert_same(seen: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    assert list(seen) == list(expected)
    for name, tensor in expected.items():
        assert type(seen[name]) is Tensor
        assert seen[name].device.type == "cpu"
        assert not seen[name].requires_grad
        assert seen[name].dtype == tensor.dtype
        torch.testing.assert_close(seen[name], tensor.detach(), rtol=0, atol=0)


def refuse(path: Path, match: str) -> str:
    with pytest.raises(CheckpointError, match=match) as raised:
        read_tensors(path)
    assert str(path) in str(raised.value)
    return str(raised.value)


@contextmanager
def foreign_modules(**modules: dict[str, type]) -> Iterator[dict[str, type]]:
    """Let classes pretend to live in modules that exist only inside the context, as on the machine of the authors."""
    classes: dict[str, type] = {}
    with pytest.MonkeyPatch.context() as patch:
        for key, members in modules.items():
            path = key.split("__")
            for end in range(len(path)):
                name = ".".join(path[: end + 1])
                patch.setitem(sys.modules, name, sys.modules.get(name, types.ModuleType(name)))
            for name, base in members.items():
                classes[name] = type(name, (base,), {"__module__": ".".join(path), "__qualname__": name})
                setattr(sys.modules[".".join(path)], name, classes[name])
        yield classes


def official_file(path: Path, *, legacy: bool = False) -> None:
    """Write what the trainers of the official repositories write, with everything that they pickle next to "net"."""
    with foreign_modules(
        lib__train__admin__stats={"AverageMeter": object, "StatValue": object},
        lib__train__admin__settings={"Settings": object},
        lib__train__admin__local={"EnvironmentSettings": object},
        easydict={"EasyDict": dict},
    ) as made:
        meter, value = made["AverageMeter"](), made["StatValue"]()
        vars(meter).update(avg=np.float64(0.5), count=np.int64(3), history=[np.float32(1.5)])
        vars(value).update(val=0.1, history=collections.deque([1.0, 2.0], maxlen=9))
        environment, settings, options = made["EnvironmentSettings"](), made["Settings"](), made["EasyDict"](lr=0.1)
        vars(environment).update(lasot_dir="/data/lasot", place=Path("/data"))
        options.lr = 0.2
        vars(settings).update(env=environment, cfg=options, args=argparse.Namespace(seed=1), mean=np.ones(3))
        content = {
            "epoch": 300,
            "actor_type": "OSTrackActor",
            "net_type": "OSTrack",
            "net": collections.OrderedDict(WEIGHTS),
            "net_info": None,
            "constructor": None,
            "optimizer": {"state": {0: {"exp_avg": torch.zeros(3)}}, "param_groups": [{"lr": 1e-4}]},
            "stats": collections.OrderedDict(train=collections.OrderedDict({"Loss/total": meter, "IoU": value})),
            "counts": collections.defaultdict(list, {"a": [1]}),
            "settings": settings,
        }
        torch.save(content, path, _use_new_zipfile_serialization=not legacy)


def edit_pickle(path: Path, edit: Callable[[bytes], bytes]) -> None:
    """Change the pickle inside a torch file."""
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in members.items():
            archive.writestr(name, edit(data) if name.endswith("/data.pkl") else data)


class TestFormats:
    def test_safetensors(self, tmp_path: Path) -> None:
        write_safetensors(tmp_path / "x.safetensors", WEIGHTS)
        assert_same(read_tensors(str(tmp_path / "x.safetensors")), WEIGHTS)

    def test_safetensors_is_known_by_its_content(self, tmp_path: Path) -> None:
        write_safetensors(tmp_path / "x.pth", WEIGHTS)
        assert_same(read_tensors(tmp_path / "x.pth"), WEIGHTS)

    @pytest.mark.parametrize("legacy", [False, True])
    def test_plain_state_dict(self, tmp_path: Path, legacy: bool) -> None:
        torch.save(WEIGHTS, tmp_path / "x.pth", _use_new_zipfile_serialization=not legacy)
        assert_same(read_tensors(tmp_path / "x.pth"), WEIGHTS)

    def test_parameters_come_as_tensors(self, tmp_path: Path) -> None:
        parameters = {name: nn.Parameter(tensor.float()) for name, tensor in WEIGHTS.items()}
        torch.save(parameters, tmp_path / "x.pth")
        assert_same(read_tensors(tmp_path / "x.pth"), {name: tensor.float() for name, tensor in WEIGHTS.items()})

    @pytest.mark.parametrize("key", ["net", "model", "state_dict", "model_state_dict"])
    def test_wrapper(self, tmp_path: Path, key: str) -> None:
        torch.save({"epoch": 3, "ema": torch.zeros(1), key: WEIGHTS}, tmp_path / "x.pth")
        assert_same(read_tensors(tmp_path / "x.pth"), WEIGHTS)

    def test_a_tensor_that_is_called_like_a_wrapper_stays(self, tmp_path: Path) -> None:
        weights = {"net": torch.zeros(2), "model.weight": torch.ones(1)}
        torch.save(weights, tmp_path / "x.pth")
        assert_same(read_tensors(tmp_path / "x.pth"), weights)

    def test_prefix_of_parallel_training(self, tmp_path: Path) -> None:
        torch.save({"net": {f"module.{name}": tensor for name, tensor in WEIGHTS.items()}}, tmp_path / "x.pth")
        assert_same(read_tensors(tmp_path / "x.pth"), WEIGHTS)

    def test_prefix_that_not_all_share_is_a_name(self, tmp_path: Path) -> None:
        weights = {"module.weight": torch.zeros(2), "head.weight": torch.ones(1)}
        torch.save(weights, tmp_path / "x.pth")
        assert_same(read_tensors(tmp_path / "x.pth"), weights)

    @pytest.mark.parametrize("numpy_core", [b"numpy.core", b"numpy._core"])
    def test_official_wrapper_of_a_missing_repository(self, tmp_path: Path, numpy_core: bytes) -> None:
        path = tmp_path / "OSTrack_ep0300.pth.tar"
        official_file(path)

        def with_core(data: bytes) -> bytes:
            assert b"numpy" in data
            return data.replace(b"cnumpy._core.", b"cnumpy.core.").replace(b"cnumpy.core.", b"c" + numpy_core + b".")

        edit_pickle(path, with_core)
        assert "lib.train.admin.settings" not in sys.modules
        assert_same(read_tensors(path), WEIGHTS)

    def test_official_wrapper_of_an_old_torch(self, tmp_path: Path) -> None:
        official_file(tmp_path / "x.pth", legacy=True)
        assert_same(read_tensors(tmp_path / "x.pth"), WEIGHTS)


class Payload:
    """Makes a pickle call `function` with `arguments` when it is loaded by a reader that trusts it."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.call = (function, arguments)

    def __reduce__(self) -> Any:
        return self.call


def payloads(victim: Path) -> dict[str, Payload]:
    text = str(victim)
    return {
        "os.system": Payload(os.system, f"touch {text}"),
        "builtins.eval": Payload(eval, f"open({text!r}, 'w')"),
        "builtins.exec": Payload(exec, f"open({text!r}, 'w')"),
        "builtins.open": Payload(open, text, "w"),
        "builtins.getattr": Payload(getattr, Payload(builtins.__import__, "os"), "system"),
        "subprocess.Popen": Payload(subprocess.Popen, ["touch", text]),
        "subprocess.call": Payload(subprocess.call, ["touch", text]),
        "importlib.import_module": Payload(importlib.import_module, "this"),
        "shutil.copy": Payload(shutil.copy, __file__, text),
    }


def write_torch(content: object, path: Path) -> None:
    torch.save(content, path)


def write_torch_new_protocol(content: object, path: Path) -> None:
    torch.save(content, path, pickle_protocol=4)


def write_legacy(content: object, path: Path) -> None:
    torch.save(content, path, _use_new_zipfile_serialization=False)


def write_pickle(content: object, path: Path) -> None:
    path.write_bytes(pickle.dumps(content))


def write_old_pickle(content: object, path: Path) -> None:
    path.write_bytes(pickle.dumps(content, protocol=0))


class TestCodeInFiles:
    def test_the_payload_works_on_a_reader_that_trusts_it(self, tmp_path: Path) -> None:
        torch.save(payloads(tmp_path / "ran")["os.system"], tmp_path / "x.pth")
        torch.load(tmp_path / "x.pth", weights_only=False)
        assert (tmp_path / "ran").exists()

    @pytest.mark.parametrize(
        "write", [write_torch, write_torch_new_protocol, write_legacy, write_pickle, write_old_pickle]
    )
    @pytest.mark.parametrize("kind", sorted(payloads(Path())))
    def test_is_refused_and_did_not_run(self, tmp_path: Path, write: Callable[[object, Path], None], kind: str) -> None:
        path, victim = tmp_path / "x.pth", tmp_path / "ran"
        write({"net": dict(WEIGHTS), "stats": payloads(victim)[kind]}, path)

        message = refuse(path, "tries to run code")

        assert not victim.exists()
        assert kind.replace("os.", "").partition(".")[2] in message
        assert "it was not run" in message
        assert "safetensors" in message

    @pytest.mark.parametrize("write", [write_torch, write_legacy])
    @pytest.mark.parametrize("kind", sorted(payloads(Path())))
    def test_does_not_run_even_where_it_is_not_recognised(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, write: Callable[[object, Path], None], kind: str
    ) -> None:
        monkeypatch.setattr("ctsdk.storage.torch_files.unsafe_names", lambda _: [])
        path, victim = tmp_path / "x.pth", tmp_path / "ran"
        write({"net": dict(WEIGHTS), "stats": payloads(victim)[kind]}, path)
        with suppress(CheckpointError):
            assert_same(read_tensors(path), WEIGHTS)
        assert not victim.exists()
        assert "this" not in sys.modules

    def test_is_found_under_the_names_of_python_2(self, tmp_path: Path) -> None:
        path = tmp_path / "x.pth"
        torch.save({"net": WEIGHTS, "stats": Payload(eval, "1")}, path)
        edit_pickle(path, lambda data: data.replace(b"cbuiltins\neval\n", b"c__builtin__\neval\n"))
        refuse(path, "tries to run code")

    def test_in_the_place_of_the_state_dict(self, tmp_path: Path) -> None:
        torch.save(payloads(tmp_path / "ran")["os.system"], tmp_path / "x.pth")
        refuse(tmp_path / "x.pth", "tries to run code")
        assert not (tmp_path / "ran").exists()

    @pytest.mark.parametrize("allowed", [False, True])
    def test_of_foreign_modules_is_left_out_even_if_they_are_installed(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, allowed: bool
    ) -> None:
        calls: list[object] = []

        class Restored:
            def __setstate__(self, state: object) -> None:
                calls.append(state)

        def act(*arguments: object) -> None:
            calls.append(arguments)

        module = types.ModuleType("lib_of_somebody")
        for thing in (act, Restored):
            thing.__module__, thing.__qualname__ = "lib_of_somebody", thing.__name__
            setattr(module, thing.__name__, thing)
        monkeypatch.setitem(sys.modules, "lib_of_somebody", module)
        restored = Restored()
        vars(restored).update(epoch=3)
        torch.save({"net": WEIGHTS, "stats": Payload(act, 1), "settings": restored}, tmp_path / "x.pth")
        before = torch.serialization.get_safe_globals()
        torch.serialization.add_safe_globals([act, Restored] if allowed else [])
        during = set(torch.serialization.get_safe_globals())
        try:
            assert_same(read_tensors(tmp_path / "x.pth"), WEIGHTS)
            assert set(torch.serialization.get_safe_globals()) == during
        finally:
            torch.serialization.clear_safe_globals()
            torch.serialization.add_safe_globals(before)
        assert calls == []


class TestNoWeights:
    def test_missing(self, tmp_path: Path) -> None:
        refuse(tmp_path / "x.pth", "does not exist")
        refuse(tmp_path / "x.safetensors", "does not exist")

    def test_folder(self, tmp_path: Path) -> None:
        refuse(tmp_path, "is a folder")

    @pytest.mark.parametrize("name", ["x.pth", "x.safetensors"])
    def test_empty(self, tmp_path: Path, name: str) -> None:
        (tmp_path / name).touch()
        refuse(tmp_path / name, "is empty")

    @pytest.mark.parametrize("share", [0.1, 0.5, 0.99])
    @pytest.mark.parametrize("kind", ["safetensors", "torch", "legacy"])
    def test_truncated(self, tmp_path: Path, kind: str, share: float) -> None:
        path = tmp_path / "x"
        weights = {"weight": torch.zeros(1000)}
        if kind == "safetensors":
            write_safetensors(path, weights)
        else:
            torch.save(weights, path, _use_new_zipfile_serialization=kind == "torch")
        data = path.read_bytes()
        path.write_bytes(data[: int(len(data) * share)])
        refuse(path, "damaged")

    def test_damaged_inside(self, tmp_path: Path) -> None:
        torch.save(WEIGHTS, tmp_path / "x.pth")
        edit_pickle(tmp_path / "x.pth", lambda data: data[: len(data) // 2])
        refuse(tmp_path / "x.pth", "damaged")

    @pytest.mark.parametrize(
        ("data", "match"),
        [
            (b"not weights at all", "no weights file"),
            (b"\x00\x01\x02" * 100, "no weights file"),
            (b"<!DOCTYPE html><html><body>Sign in", "a web page"),
            (b"version https://git-lfs.github.com/spec/v1\noid sha256:0", "Git LFS"),
            (b"\x1f\x8b\x08\x00" * 20, "compressed archive"),
        ],
    )
    def test_other_files(self, tmp_path: Path, data: bytes, match: str) -> None:
        (tmp_path / "x.pth").write_bytes(data)
        refuse(tmp_path / "x.pth", match)
        (tmp_path / "x.safetensors").write_bytes(data)
        refuse(tmp_path / "x.safetensors", "damaged")

    def test_zip_archive(self, tmp_path: Path) -> None:
        with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
            archive.writestr("weights.pth", b"...")
        refuse(tmp_path / "x.zip", "zip archive")

    @pytest.mark.filterwarnings("ignore:.*torch.jit:Warning")
    def test_program(self, tmp_path: Path) -> None:
        torch.jit.save(torch.jit.script(nn.Linear(2, 2)), tmp_path / "x.pt")
        refuse(tmp_path / "x.pt", "TorchScript")

    @pytest.mark.parametrize(
        ("content", "match"),
        [
            ({"net": {}, "epoch": 3}, "no tensors"),
            ({"epoch": 3, "lr": 0.1}, "no tensors.*epoch; lr"),
            ({"student": WEIGHTS}, "no tensors.*student"),
            ([torch.zeros(2)], "a list"),
            (torch.zeros(2), "a Tensor"),
        ],
    )
    def test_no_tensors(self, tmp_path: Path, content: object, match: str) -> None:
        torch.save(content, tmp_path / "x.pth")
        refuse(tmp_path / "x.pth", match)

    def test_whole_model(self, tmp_path: Path) -> None:
        torch.save(nn.Linear(2, 2), tmp_path / "x.pth")
        refuse(tmp_path / "x.pth", r"whole pickled model.*state_dict\(\)")

    def test_no_tensors_in_safetensors(self, tmp_path: Path) -> None:
        write_safetensors(tmp_path / "x.safetensors", {})
        refuse(tmp_path / "x.safetensors", "no tensors")


class TestSafetensors:
    def test_round_trip_with_metadata(self, tmp_path: Path) -> None:
        path, metadata = tmp_path / "deep" / "x.safetensors", {"config": '{"a": "ü"}', "b": ""}
        weights = WEIGHTS | {"half": torch.ones(3, dtype=torch.bfloat16), "scalar": torch.tensor(2.5)}
        write_safetensors(path, weights, metadata)
        tensors, seen = read_safetensors(path)
        assert_same(dict(sorted(tensors.items())), dict(sorted(weights.items())))
        assert seen == metadata

    def test_without_metadata(self, tmp_path: Path) -> None:
        write_safetensors(tmp_path / "x", WEIGHTS)
        assert read_safetensors(tmp_path / "x")[1] == {}

    def test_tied_and_strided_tensors_and_parameters(self, tmp_path: Path) -> None:
        base = nn.Parameter(torch.arange(12.0).reshape(3, 4))
        weights = {"base": base, "tied": base, "transposed": base.T, "row": base[1], "wide": base[:, :1].expand(3, 5)}
        write_safetensors(tmp_path / "x", weights)
        assert_same(dict(sorted(read_tensors(tmp_path / "x").items())), dict(sorted(weights.items())))

    def test_equal_content_is_equal_bytes(self, tmp_path: Path) -> None:
        metadata = {letter: letter for letter in "abcdefghijkl"}
        write_safetensors(tmp_path / "x", WEIGHTS, metadata)
        write_safetensors(tmp_path / "y", WEIGHTS, dict(reversed(metadata.items())))
        assert (tmp_path / "x").read_bytes() == (tmp_path / "y").read_bytes()

    def test_tensors_outlive_their_file(self, tmp_path: Path) -> None:
        write_safetensors(tmp_path / "x", {"weight": torch.ones(5000)})
        weight = read_tensors(tmp_path / "x")["weight"]
        (tmp_path / "x").write_bytes(b"\0" * 30000)
        assert weight.sum() == 5000
        assert weight.untyped_storage().nbytes() == 20000

    def test_what_it_cannot_hold(self, tmp_path: Path) -> None:
        with pytest.raises(OutputError, match="dense"):
            write_safetensors(tmp_path / "x", {"weight": torch.eye(3).to_sparse()})
        with pytest.raises(OutputError, match="strings"):
            write_safetensors(tmp_path / "x", WEIGHTS, {"epoch": 3})  # type: ignore[dict-item]
        assert list(tmp_path.iterdir()) == []


class TestAtomicWrite:
    def test_a_failure_leaves_the_old_file_and_no_other(self, tmp_path: Path) -> None:
        path = tmp_path / "x"
        path.write_text("old")

        def write() -> None:
            with atomic_write(path) as temporary:
                temporary.write_text("half of the n")
                raise RuntimeError("midway")

        with pytest.raises(RuntimeError, match="midway"):
            write()
        assert path.read_text() == "old"
        assert list(tmp_path.iterdir()) == [path]

    def test_the_old_file_stays_until_the_end(self, tmp_path: Path) -> None:
        path = tmp_path / "x"
        path.write_text("old")
        with atomic_write(path) as temporary:
            assert temporary.parent == path.parent
            temporary.write_text("new")
            assert path.read_text() == "old"
        assert path.read_text() == "new"
        assert list(tmp_path.iterdir()) == [path]

    def test_the_file_gets_ordinary_permissions(self, tmp_path: Path) -> None:
        (tmp_path / "ordinary").touch()
        write_json(tmp_path / "x", {})
        assert (tmp_path / "x").stat().st_mode == (tmp_path / "ordinary").stat().st_mode

    def test_a_place_that_cannot_be_written(self, tmp_path: Path) -> None:
        (tmp_path / "file").touch()
        with pytest.raises(OutputError, match="cannot write"):
            write_json(tmp_path / "file" / "x.json", {})
        with pytest.raises(OutputError, match="cannot write"):
            write_safetensors(tmp_path / "file" / "x", WEIGHTS)
        (tmp_path / "folder").mkdir()
        with pytest.raises(OutputError, match="cannot write"):
            write_json(tmp_path / "folder", {})
        assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "folder"]

    def test_json(self, tmp_path: Path) -> None:
        data = {"name": "Zürich", "values": [1, 2.5, None]}
        write_json(tmp_path / "x.json", data)
        text = (tmp_path / "x.json").read_text(encoding="utf-8")
        assert json.loads(text) == data
        assert text.startswith('{\n  "name": "Zürich"')
        assert text.endswith("\n")

    def test_json_that_cannot_be_written_leaves_the_old_file(self, tmp_path: Path) -> None:
        write_json(tmp_path / "x.json", 1)
        with pytest.raises(TypeError):
            write_json(tmp_path / "x.json", {"value": object()})
        assert (tmp_path / "x.json").read_text() == "1\n"


class TestCheckSameKeys:
    def test_equal_is_fine_whatever_the_order(self) -> None:
        check_same_keys(dict(reversed(WEIGHTS.items())), WEIGHTS, "x.pth for OSTrack")

    def test_each_fault_is_told_with_its_shape(self) -> None:
        seen = {"a": torch.zeros(2), "b": torch.zeros(3, 1), "extra": torch.zeros(7)}
        expected = {"a": torch.zeros(2), "b": torch.zeros(3), "lost": torch.zeros(4, 5)}
        with pytest.raises(CheckpointError) as raised:
            check_same_keys(seen, expected, "x.pth for OSTrack")
        message = str(raised.value)
        assert message.startswith("x.pth for OSTrack")
        assert "1 missing: lost (4, 5)" in message
        assert "1 unexpected: extra (7,)" in message
        assert "1 of another shape: b is (3, 1), expected (3,)" in message

    def test_long_lists_are_cut(self) -> None:
        many = {f"weight{index}": torch.zeros(1) for index in range(8)}
        with pytest.raises(CheckpointError, match=r"8 missing: .*weight4 \(1,\) and 3 more") as raised:
            check_same_keys({}, many, "x.pth")
        assert "weight5" not in str(raised.value)
