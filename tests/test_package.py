"""What is shipped: the bundle is in the sdist and the wheel, and neither needs Node to be installed."""

import json
import os
import subprocess
import sys
import tarfile
import zipfile
from importlib.metadata import version
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
BUNDLE = "attnwidget/widget/static/widget.js"
KERNEL_MODULE = "attnwidget/widget/static/kernel.js"


def without_node(tmp_path_factory):
    """The environment of a machine that has no Node: a PATH on which only our Python is found."""
    folder = tmp_path_factory.mktemp("path")
    (folder / "python").symlink_to(sys.executable)
    return {**os.environ, "PATH": str(folder)}


def build(source, kind, out, env=None):
    command = [sys.executable, "-m", "build", "--no-isolation", f"--{kind}", "--outdir", str(out), str(source)]
    done = subprocess.run(command, capture_output=True, text=True, env=env, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    (artefact,) = out.glob("*.tar.gz" if kind == "sdist" else "*.whl")
    return artefact


@pytest.fixture(scope="module")
def sdist(tmp_path_factory):
    return build(ROOT, "sdist", tmp_path_factory.mktemp("sdist"))


@pytest.fixture(scope="module")
def wheel(sdist, tmp_path_factory):
    """A wheel built from the sdist on a machine without Node."""
    unpacked = tmp_path_factory.mktemp("unpacked")
    with tarfile.open(sdist) as archive:
        archive.extractall(unpacked, filter="data")
    (source,) = unpacked.iterdir()
    return build(source, "wheel", tmp_path_factory.mktemp("wheel"), without_node(tmp_path_factory))


def test_the_sdist_carries_bundle_and_sources(sdist):
    with tarfile.open(sdist) as archive:
        names = {name.split("/", 1)[-1] for name in archive.getnames()}
    for name in (
        BUNDLE,
        KERNEL_MODULE,
        "js/src/index.ts",
        "package.json",
        "hatch_build.py",
        "LICENSE",
        "README.md",
        "attnwidget/py.typed",
    ):
        assert name in names
    assert not [name for name in names if "node_modules" in name or ".venv" in name]


def test_the_wheel_carries_the_bundle_and_the_types(wheel):
    names = zipfile.ZipFile(wheel).namelist()
    assert {BUNDLE, KERNEL_MODULE} <= set(names)
    assert "attnwidget/py.typed" in names
    assert not [name for name in names if not name.startswith(("attnwidget/", "attnwidget-"))]
    assert zipfile.ZipFile(wheel).read(BUNDLE) == (ROOT / BUNDLE).read_bytes()


def test_the_installed_wheel_shows_a_capture(wheel, tmp_path, tmp_path_factory):
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(tmp_path), str(wheel)]
    subprocess.run(pip, check=True, env=without_node(tmp_path_factory))
    code = (
        "import attnwidget, numpy as np\n"
        f"assert attnwidget.__file__.startswith({str(tmp_path)!r}), attnwidget.__file__\n"
        "capture = attnwidget.AttentionCapture.from_weights(np.full((1, 1, 2, 2), 0.5, dtype='f4'), ['a', 'b'])\n"
        "print(len(capture.show()._esm))"
    )
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=environment, cwd=tmp_path, check=False
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 1000


def test_the_bundle_is_small_and_can_be_inlined():
    bundle, module = ((ROOT / name).read_text() for name in (BUNDLE, KERNEL_MODULE))
    assert len(bundle.encode()) <= 60_000
    assert "</script" not in (bundle + module).lower()


def test_one_version_for_python_and_the_front_end():
    package = json.loads((ROOT / "package.json").read_text())
    assert package.get("version", version("attnwidget")) == version("attnwidget")
