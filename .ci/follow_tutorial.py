"""Run every block of docs/tutorial/write-an-adapter.md in this Python environment; time them, and count their lines.

The blocks run from top to bottom in an empty folder. A block that names a file is written to it; Python and shell
blocks run in processes of their own, and the output that the page shows is compared. ctsdk is installed already; the
package that the page installs is removed again.
"""

import ast
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import time

PAGE = pathlib.Path(__file__).resolve().parents[1] / "docs" / "tutorial" / "write-an-adapter.md"
BLOCK = re.compile(
    r"^(?P<before><!-- done before -->\n\n)?```(?P<language>\w+)\n(?P<text>.*?)^```$|^% exit_code = (?P<code>\d)$",
    re.DOTALL | re.MULTILINE,
)
FILE = re.compile(r"# (\S+\.py)\n")
MOST_LINES = 40


def lines_of_code(text: str) -> int:
    """Count lines without comments, blank lines and docstrings."""
    tree = ast.parse(text)
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and ast.get_docstring(node):
            del node.body[0]
    return len([line for line in ast.unparse(tree).splitlines() if line])


def run(words: list[str], folder: pathlib.Path, exit_code: int = 0) -> float:
    """Run a command and return its seconds; print its output and exit if its exit code is another."""
    # The commands that this environment installed come first, and nothing on PYTHONPATH helps.
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    environment["PATH"] = os.pathsep.join([str(pathlib.Path(sys.executable).parent), environment["PATH"]])
    begin = time.monotonic()
    done = subprocess.run(
        words, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
    )
    if done.returncode != exit_code:
        sys.exit(f"{' '.join(words)}\nexited with {done.returncode}, expected {exit_code}:\n{done.stdout}")
    return time.monotonic() - begin


def follow(folder: pathlib.Path) -> None:
    """Run the blocks of the page in a folder."""
    exit_code, seconds, num_blocks = 0, 0.0, 0
    for block in BLOCK.finditer(PAGE.read_text(encoding="utf-8")):
        if block["code"]:
            exit_code = int(block["code"])
            continue
        if block["before"]:
            continue
        text, file = block["text"], FILE.match(block["text"])
        num_blocks += 1
        if file:
            (folder / file[1]).write_text(text, encoding="utf-8")
            if file[1].endswith("adapter.py"):
                count = lines_of_code(text)
                print(f"{file[1]}: {count} lines of code")
                if count > MOST_LINES:
                    sys.exit(f"the adapter has more than {MOST_LINES} lines of code")
            continue
        if block["language"] == "sh":
            commands = [["bash", "-euc", line] for line in re.sub(r"\\\n\s*", "", text).splitlines()]
        else:
            page = folder / "block.py"
            page.write_text(f'r"""\n{text}"""' if text.startswith(">>>") else text, encoding="utf-8")
            commands = [[sys.executable, *(["-m", "doctest"] if text.startswith(">>>") else []), "block.py"]]
        for words in commands:
            took = run(words, folder, exit_code)
            seconds += took
            print(f"{took:6.1f} s  {words[-1] if block['language'] == 'sh' else 'a Python block'}", flush=True)
    print(f"{num_blocks} blocks, {seconds:.0f} s")


with tempfile.TemporaryDirectory() as name:
    try:
        follow(pathlib.Path(name))
    finally:
        run([sys.executable, "-m", "pip", "uninstall", "--yes", "--quiet", "ctsdk-swift"], pathlib.Path(name))
