"""What is shipped: sdist and wheel carry what they should, and neither needs Node to be installed or used."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import nbformat
import pytest
import yaml
from captures import make_capture
from packaging.requirements import Requirement
from savednotebook import saved_notebook

import attnwidget as aw

ROOT = Path(__file__).parents[1]
BUNDLE = "attnwidget/widget/static/widget.js"
CHECK = str(ROOT / "scripts" / "check_release.py")
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))


def without_node(tmp_path_factory):
    """The environment of a machine that has no Node: a PATH on which only our Python is found."""
    folder = tmp_path_factory.mktemp("path")
    (folder / "python").symlink_to(sys.executable)
    return {**os.environ, "PATH": str(folder)}


def build(source, kind, out, env=None):
    command = [sys.executable, "-m", "build", "--no-isolation", f"--{kind}", "--outdir", str(out), str(source)]
    done = subprocess.run(command, capture_output=True, text=True, env=env, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def check(folder, *words):
    done = subprocess.run([sys.executable, CHECK, str(folder), *words], capture_output=True, text=True, check=False)
    return done.returncode, done.stdout + done.stderr


@pytest.fixture(scope="module")
def dist(tmp_path_factory):
    """An sdist, and the wheel that is built from it on a machine without Node."""
    out, unpacked = tmp_path_factory.mktemp("dist"), tmp_path_factory.mktemp("unpacked")
    build(ROOT, "sdist", out)
    (sdist,) = out.iterdir()
    with tarfile.open(sdist) as archive:
        archive.extractall(unpacked, filter="data")
    (source,) = unpacked.iterdir()
    build(source, "wheel", out, without_node(tmp_path_factory))
    return out


@pytest.fixture(scope="module")
def installed(dist, tmp_path_factory):
    """The environment of a Python that has the wheel before any other attnwidget, and no Node."""
    (wheel,) = dist.glob("*.whl")
    folder, environment = tmp_path_factory.mktemp("installed"), without_node(tmp_path_factory)
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(folder), str(wheel)]
    subprocess.run(pip, check=True, env=environment)
    return {**environment, "PYTHONPATH": str(folder)}


def test_sdist_and_wheel_carry_what_belongs_in_them(dist):
    code, said = check(dist)
    assert code == 0, said
    assert f"version {aw.__version__}, with all that belongs to it" in said


def test_what_does_not_belong_or_is_missing_is_found(dist, tmp_path):
    (wheel,) = dist.glob("*.whl")
    (sdist,) = dist.glob("*.tar.gz")
    with zipfile.ZipFile(wheel) as whole, zipfile.ZipFile(tmp_path / wheel.name, "w") as changed:
        for name in whole.namelist():
            if name != "attnwidget/py.typed" and not name.endswith("entry_points.txt"):
                changed.writestr(name, b"other" if name == BUNDLE else whole.read(name))
        changed.writestr("tests/test_something.py", "")
    code, said = check(tmp_path)
    assert code == 1
    for line in (
        f"{tmp_path} holds ['{wheel.name}']; expected ['{wheel.name}', '{sdist.name}']",
        f"{wheel.name} lacks attnwidget/py.typed",
        f"{wheel.name} carries tests/test_something.py",
        f"{wheel.name} carries a {BUNDLE} that is not the one built here",
        f"{wheel.name} declares no attnwidget = attnwidget.cli:main",
    ):
        assert line in said.splitlines()


def test_a_tag_is_that_of_the_version(dist):
    code, said = check(dist, "--tag", "v9.9.9")
    assert code == 1
    version = aw.__version__
    assert f"the tag is v9.9.9, and pyproject.toml has version {version}: expected the tag v{version}" in said
    _, said = check(dist, "--tag", f"v{version}")
    assert "the tag is" not in said
    unreleased = f"## {version} (unreleased)" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert ("expected a heading with its date" in said) == unreleased


def test_the_version_stands_in_one_place():
    (version,) = re.findall(r'^version = "(.+)"$', (ROOT / "pyproject.toml").read_text(encoding="utf-8"), re.MULTILINE)
    assert aw.__version__ == version, "run `make install`"
    for name in ("package.json", "package-lock.json"):
        said = json.loads((ROOT / name).read_text(encoding="utf-8"))
        assert "version" not in said
        assert "version" not in said.get("packages", {}).get("", {})
    literal = re.compile(rf"""["']{re.escape(version)}["']""")
    sources = [*(ROOT / "attnwidget").rglob("*.py"), *(ROOT / "js" / "src").rglob("*.ts")]
    assert not [path for path in sources if literal.search(path.read_text(encoding="utf-8"))]


def test_the_installed_wheel_does_what_a_person_does(installed, tmp_path):
    script = shutil.copy(ROOT / "scripts" / "smoke.py", tmp_path)
    done = subprocess.run(
        [sys.executable, script], capture_output=True, text=True, env=installed, cwd=tmp_path, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.splitlines()[-1] == "it works"


def test_smoke_refuses_the_checkout(installed):
    environment = {**installed, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, str(ROOT / "scripts" / "smoke.py")]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 1
    assert "this is the checkout" in done.stderr


def test_nbconvert_finds_the_exporter_by_its_name(installed, tmp_path):
    view = make_capture().show()
    nbformat.write(saved_notebook([view]), tmp_path / "some.ipynb")
    command = [sys.executable, "-m", "nbconvert", "--to", "attnwidget_html", "some.ipynb"]
    done = subprocess.run(command, capture_output=True, text=True, env=installed, cwd=tmp_path, check=False)
    assert done.returncode == 0, done.stderr
    assert 'data-attnwidget="view0"' in (tmp_path / "some.html").read_text(encoding="utf-8")


def commands(workflow):
    """Every line that a workflow runs."""
    jobs = yaml.safe_load(workflow.read_text(encoding="utf-8"))["jobs"].values()
    return [line for job in jobs for step in job["steps"] for line in step.get("run", "").splitlines()]


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda path: path.name)
def test_a_workflow_runs_what_there_is(workflow):
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = re.search(r"^\.PHONY: (.*)$", makefile, re.MULTILINE)[1].split()
    lines = commands(workflow)
    assert lines
    for line in lines:
        first, *words = line.split()
        if first == "make":
            assert words[0] in targets, line
            assert re.search(rf"^{words[0]}:", makefile, re.MULTILINE), line
        elif first == ".venv/bin/python":
            assert (ROOT / words[0]).is_file(), line
        else:
            assert os.access(ROOT / first, os.X_OK), line
    text = workflow.read_text(encoding="utf-8")
    used = re.findall(r"uses: (\S+)", text)
    assert used
    assert not [each for each in used if not re.fullmatch(r"[\w/-]+@v\d+\.\d+\.\d+", each)]


def test_only_what_was_tried_is_published_and_only_the_last_job_may():
    release = yaml.safe_load((ROOT / ".github" / "workflows" / "release.yml").read_text(encoding="utf-8"))
    assert release[True] == {"push": {"tags": ["v*"]}}, "YAML reads `on` as true"
    jobs = release["jobs"]
    assert [job.get("needs") for job in jobs.values()] == [None, "build", "smoke"]
    assert list(jobs) == ["build", "smoke", "publish"]
    assert release["permissions"] == {"contents": "read"}
    assert [job.get("permissions") for job in jobs.values()] == [None, None, {"id-token": "write"}]
    assert jobs["publish"]["environment"] == "pypi"
    built = [step.get("run", "") for step in jobs["build"]["steps"]]
    assert built.index("make dist") < built.index(
        '.venv/bin/python scripts/check_release.py dist --tag "$GITHUB_REF_NAME"'
    )


def test_the_bundle_is_small_and_can_be_inlined():
    bundle, module = ((ROOT / BUNDLE).with_name(name).read_text("utf-8") for name in ("widget.js", "kernel.js"))
    assert len(bundle.encode()) <= 60_000
    assert "</script" not in (bundle + module).lower()


def test_what_colab_and_old_environments_bring_is_kept(dist):
    (wheel,) = dist.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        (name,) = [name for name in archive.namelist() if name.endswith(".dist-info/METADATA")]
        lines = archive.read(name).decode().split("\n\n", 1)[0].splitlines()
    needs = [Requirement(line.partition(": ")[2]) for line in lines if line.startswith("Requires-Dist: ")]
    always = {need.name: need.specifier for need in needs if need.marker is None}
    for there in ("torch 2.4.0", "torch 2.6.0+cu124", "torch 2.13.0+cpu", "ipywidgets 7.7.1", "numpy 1.26.4"):
        package, found = there.split()
        assert always[package].contains(found), f"{there} would be replaced: {always[package]}"
