"""Rules of the house that a program can check."""

from __future__ import annotations

import ast
import importlib
import re
import subprocess
import sys
from pathlib import Path

import pytest

import ctsdk

ROOT = Path(__file__).parents[1]
SOURCES = sorted([*(ROOT / "ctsdk").rglob("*.py"), *(ROOT / "adapters").rglob("*.py")])

PUBLIC = {
    "AdapterContractError",
    "AdapterNotFoundError",
    "AdapterPlugin",
    "Batch",
    "CheckpointError",
    "CompressionConfig",
    "CompressionResult",
    "ConfigError",
    "CtsdkError",
    "DataError",
    "DatasetPlugin",
    "ExportMismatchError",
    "ModuleAdapter",
    "OutputError",
    "Prediction",
    "TrackerAdapter",
    "TrackerSpec",
    "TrainingConfig",
    "TrainingError",
    "TrainingInterruptedError",
    "Trunk",
    "VideoDataset",
    "Video",
    "compress",
    "evaluate",
    "hookimpl",
    "list_adapters",
    "list_dataset_formats",
    "load_adapter",
    "load_result",
    "open_dataset",
    "profile",
    "register_adapter",
    "register_dataset_format",
    "testing",
}


def test_public_names_are_these() -> None:
    assert set(ctsdk.__all__) == PUBLIC
    assert ctsdk.__all__ == sorted(ctsdk.__all__)
    assert all(getattr(ctsdk, name).__doc__ for name in PUBLIC)


@pytest.mark.parametrize(
    ("name", "module"),
    [
        ("PluginInfo", "ctsdk.plugins"),
        ("StagePlan", "ctsdk.engine"),
        ("TrackResult", "ctsdk.tracking"),
        ("TrackingSession", "ctsdk.tracking"),
        ("build_student", "ctsdk.engine"),
    ],
)
def test_names_that_moved_are_still_here(name: str, module: str) -> None:
    # Warnings are errors in these tests.
    assert getattr(ctsdk, name) is getattr(importlib.import_module(module), name)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("AdapterInfo", "ctsdk.PluginInfo"),
        ("DatasetInfo", "ctsdk.PluginInfo"),
        ("VideoSequence", "ctsdk.Video"),
        ("list_datasets", "ctsdk.list_dataset_formats"),
        ("register_dataset", "ctsdk.register_dataset_format"),
    ],
)
def test_names_that_changed_warn(old: str, new: str) -> None:
    module, _, name = new.rpartition(".")
    with pytest.warns(DeprecationWarning, match=rf"^ctsdk\.{old} is now {new}$") as warned:
        assert getattr(ctsdk, old) is getattr(importlib.import_module(module), name)
    assert warned[0].filename == __file__


def test_other_names_are_not_here() -> None:
    with pytest.raises(AttributeError, match="module 'ctsdk' has no attribute 'compres'"):
        ctsdk.compres  # type: ignore[attr-defined] # noqa: B018


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_module_says_what_it_is_and_names_what_it_offers(path: Path) -> None:
    tree = ast.parse(path.read_text())
    assert ast.get_docstring(tree)
    named = [ast.literal_eval(node.value) for node in tree.body if is_all(node) and isinstance(node, ast.Assign)]
    offered = {
        node.name
        for node in tree.body
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_")
    }
    # The parts of a network are named as in the official code, and are nobody else's.
    if path.name not in ("__init__.py", "model.py"):
        assert offered <= set(named[0])


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_function_fits_on_a_screen(path: Path) -> None:
    functions = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.FunctionDef)]
    assert {function.name: length for function in functions if (length := num_code_lines(function)) > 50} == {}


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_habits_of_the_field(path: Path) -> None:
    banned = (
        r"sys\.path\.(append|insert)|\.cuda\(|load_state_dict\(.*strict=False|\bimport \*|except:|(?<![.\w])print\("
    )
    # A module that is named by its file has to find what lies beside it, as a script does.
    allowed = ["sys.path.append(folder)"] if path.name == "own_modules.py" else []
    found = [line.strip() for line in path.read_text().splitlines() if re.search(banned, line)]
    assert found == allowed


HEAVY = {"cv2", "timm", "torchvision", "skimage", "matplotlib", "ctsdk_ostrack", "tensorboard", "triton", "setuptools"}


def is_all(node: ast.stmt) -> bool:
    return isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__"


def num_code_lines(function: ast.FunctionDef) -> int:
    """The lines of a function but for its docstring."""
    first = function.body[0]
    documented = isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant)
    num_documented = (first.end_lineno or 0) - first.lineno + 1 if documented else 0
    return (function.end_lineno or 0) - function.lineno + 1 - num_documented


def run(code: str) -> str:
    return subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.strip()


@pytest.mark.parametrize("module", ["ctsdk", "ctsdk.cli"])
def test_import_brings_no_adapter_no_image_library_and_changes_nothing(module: str) -> None:
    code = f"""
import os, sys, torch
before = dict(os.environ), torch.get_num_threads(), torch.get_rng_state().sum().item(), torch.get_default_dtype()
import {module}
after = dict(os.environ), torch.get_num_threads(), torch.get_rng_state().sum().item(), torch.get_default_dtype()
print(sorted({HEAVY} & {{name.partition(".")[0] for name in sys.modules}}), before == after)
"""
    assert run(code) == "[] True"
