"""The files that GitHub reads: they parse, and say what the project says elsewhere."""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[1]
VERSION = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
JOBS = {
    f"{path.stem}: {name}": job
    for path in sorted((ROOT / ".github" / "workflows").glob("*.yml"))
    for name, job in yaml.safe_load(path.read_text())["jobs"].items()
}


def steps(job: dict[str, Any]) -> list[dict[str, Any]]:
    return job.get("steps", [])


def test_ci_runs_the_list_of_checks() -> None:
    assert [step["run"] for step in steps(JOBS["ci: checks"]) if "run" in step] == ["bash .ci/run"]


@pytest.mark.parametrize("name", JOBS)
def test_scripts_of_workflows_are_valid_and_name_files_that_exist(name: str) -> None:
    for step in steps(JOBS[name]):
        assert {"run", "uses"} & set(step)
        script = step.get("run", "")
        assert subprocess.run(["bash", "-n"], input=script, text=True, check=False).returncode == 0, script
        for word in script.replace('"', " ").split():
            if ".ci/" in word:
                assert (ROOT / ".ci" / word.rpartition("/")[2]).is_file(), word


@pytest.mark.parametrize(("tag", "code"), [(f"v{VERSION}", 0), (VERSION, 1), ("v0.0.0", 1)])
def test_a_release_needs_the_tag_of_its_version(tag: str, code: int) -> None:
    [script] = [step["run"] for step in steps(JOBS["release: build"]) if step.get("name") == "The tag is the version"]
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    environment = {**os.environ, "GITHUB_REF_NAME": tag, "PATH": path}
    done = subprocess.run(
        ["bash", "-e", "-c", script], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == code
    assert (f"expected v{VERSION}" in done.stderr) == (code == 1)


def test_nothing_is_published_before_all_checks_have_passed() -> None:
    assert JOBS["release: publish"]["needs"] == ["checks", "build"]
    publishing = [name for name, job in JOBS.items() if "id-token" in job.get("permissions", {})]
    assert publishing == ["release: publish"]


@pytest.mark.parametrize("name", ["bug", "adapter"])
def test_issue_forms_ask_for_what_is_installed(name: str) -> None:
    form = yaml.safe_load((ROOT / ".github" / "ISSUE_TEMPLATE" / f"{name}.yml").read_text())
    assert {"name", "description", "body"} <= set(form)
    questions = {item["id"]: item for item in form["body"]}
    assert len(questions) == len(form["body"])
    assert {item["type"] for item in form["body"]} <= {"input", "textarea"}
    assert "`ctsdk adapters --verbose`" in questions["adapters"]["attributes"]["label"]
    assert questions["adapters"]["validations"]["required"]


def test_the_citation_is_of_this_version_and_names_the_paper() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert (citation["cff-version"], citation["title"], citation["version"]) == ("1.2.0", "ctsdk", VERSION)
    [paper] = citation["references"]
    assert "2409.17564" in paper["url"]
    assert paper["title"] in (ROOT / "README.md").read_text()
