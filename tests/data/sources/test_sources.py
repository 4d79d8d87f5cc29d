"""A SOURCE as it is typed: the right kind, at the right place, or an error that helps."""

import subprocess
import sys

import pytest

from curate.data.sources import SOURCES, open_source
from curate.errors import UsageError
from tests.rendered import mixed


def test_every_kind_is_named():
    assert list(SOURCES) == ["digits", "folder", "idx", "torchvision", "hf", "wds"]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("digit", "unknown source 'digit'. Did you mean 'digits'?"),
        ("flder:/tmp", "unknown source 'flder'. Did you mean 'folder'?"),
        ("torchvison:MNIST", "Did you mean 'torchvision'?"),
        ("./nowhere", "source './nowhere': there is no such folder."),
        ("/no/such/folder", "there is no such folder."),
        ("", "unknown source ''."),
        ("torchvision:CIFAR", "unknown torchvision data set 'CIFAR'. Did you mean 'CIFAR10'?"),
        ("torchvision", "unknown torchvision data set ''."),
        ("folder", "source folder needs a folder: write folder:DIR, or give data='DIR'."),
        ("idx", "source idx needs a folder: write idx:DIR, or give data='DIR'."),
        ("hf", "source hf needs a hub id or a path: write hf:NAME, or give data='PATH'."),
        ("wds", "source wds needs tars: write wds:GLOB, or give data='FOLDER'."),
        ("folder:/no/such", "source folder: there is no folder /no/such."),
        ("idx:/no/such", "source idx: there is no folder /no/such."),
        ("wds:/no/such/*.tar", "source wds: no tar file at /no/such/*.tar."),
        ("hf:/no/such", "source hf: there is nothing at /no/such."),
        ("hf:./no", "source hf: there is nothing at ./no."),
        ("hf:no-*.parquet", "source hf: there is nothing at no-*.parquet."),
        ("wds:pipe:touch canary", "source wds: no tar file at pipe:touch canary."),
    ],
)
def test_what_cannot_be_opened_says_what_to_do(name, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError) as caught:
        open_source(name, split="train")
    assert message in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_a_path_is_a_folder_and_data_replaces_it(tmp_path):
    for name in ("here", "there"):
        (tmp_path / name).mkdir()
        (tmp_path / name / f"{name}.jpg").write_bytes(next(iter(mixed(1)))[1])
    assert list(open_source(str(tmp_path / "here"), split="train").paths()) == ["here.jpg"]
    for name in ("folder", "folder:gone", f"folder:{tmp_path / 'here'}", str(tmp_path / "here")):
        source = open_source(name, split="train", data=tmp_path / "there")
        assert list(source.paths()) == ["there.jpg"]


def test_a_tilde_is_the_home_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.jpg").write_bytes(next(iter(mixed(1)))[1])
    assert list(open_source("folder:~/in", split="train").paths()) == ["a.jpg"]


@pytest.mark.parametrize("name", ["digits", "torchvision:CIFAR10"])
def test_an_unknown_split_names_those_there_are(name):
    with pytest.raises(UsageError, match="has no split 'tset'; it has: train"):
        open_source(name, split="tset")


def test_importing_the_shelf_imports_nothing_heavy():
    code = (
        "import sys, curate.data.sources as s\n"
        "heavy = {'torch', 'torchvision', 'datasets', 'webdataset', 'sklearn'}\n"
        "sys.exit(str(heavy & set(sys.modules)) if heavy & set(sys.modules) else 0)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
