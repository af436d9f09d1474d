"""Check an installed wheel from outside the repository: files, entry points, formats, templates, shipped teachers."""

import importlib.metadata
import pathlib
import sys
import tempfile

import ctsdk
from ctsdk.plugins.skeleton import write_adapter_package

home = pathlib.Path(ctsdk.__file__).resolve()
if not home.is_relative_to(pathlib.Path(sys.prefix).resolve()):
    sys.exit(f"ctsdk was imported from {home}, not from the wheel in {sys.prefix}")
names = {file.name for file in importlib.metadata.files("ctsdk") or ()}
missing = {"py.typed", "tiny.safetensors", "trackingnet_classes.txt.gz", "adapter.py.template", "LICENSE"} - names
if missing:
    sys.exit(f"the wheel lacks {sorted(missing)}")
unusable = [
    info.detail for info in (*ctsdk.list_adapters(), *ctsdk.list_dataset_formats()) if info.status != "available"
]
if unusable:
    sys.exit("\n".join(unusable))
with tempfile.TemporaryDirectory() as folder:
    package = write_adapter_package("wheel_check", pathlib.Path(folder) / "package")
    if not (package / "ctsdk_wheel_check" / "adapter.py").is_file():
        sys.exit("the wheel writes no adapter package")
for name in ("mixformerv2", "ostrack", "seqtrack"):
    adapter = ctsdk.load_adapter(name, variant="tiny")  # with the weights that the wheel ships
    boxes = adapter.predict(adapter.teacher, adapter.example_batch()).boxes
    print(f"{name}: tiny predicts {boxes.tolist()}")
