"""Files are whole or absent; arrays may lie in files without a name."""

import errno
import os
import resource
import signal
import stat
import subprocess
import sys

import numpy as np
import pytest

from curate.errors import DataError, ResourceError
from curate.runtime.files import (
    ABANDONED,
    beside,
    on_disk,
    read_json,
    replacing,
    stale,
    sweep,
    write_json,
    write_text,
)


def test_an_array_on_disk_is_an_array_of_zeros(tmp_path):
    folder = tmp_path / "new"
    found = on_disk((1000, 300), np.float64, folder)
    assert type(found) is np.ndarray and found.shape == (1000, 300) and not found.any()
    found[:] = np.arange(300)
    assert found.sum() == 1000 * 299 * 150
    assert on_disk(0, bool, folder).shape == (0,)
    assert list(folder.iterdir()) == []


def test_no_room_is_told_and_kills_nothing(tmp_path):
    code = (
        "import sys, pathlib, numpy as np\n"
        "from curate.errors import ResourceError\n"
        "from curate.runtime.files import on_disk\n"
        "try:\n"
        "    on_disk(10_000_000, np.uint8, pathlib.Path(sys.argv[1]))\n"
        "except ResourceError as error:\n"
        "    print(error)\n"
    )

    def limit():
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (2**20, 2**20))

    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)],
        capture_output=True,
        text=True,
        preexec_fn=limit,
        check=True,
    )
    assert done.stdout.startswith("cannot write 10,000,000 bytes of working space in ")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_cannot_be_written_is_told(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(ResourceError, match="cannot write"):
        on_disk(10, bool, tmp_path)


def test_a_file_is_the_old_one_until_the_new_one_is_whole(tmp_path):
    path = tmp_path / "deep" / "file"
    write_text(path, "old")
    with pytest.raises(ValueError, match="half"), replacing(path) as temporary:
        temporary.write_text("new, half")
        raise ValueError("half")
    assert path.read_text() == "old"
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS, errno.EACCES])
def test_a_disk_that_refuses_is_a_resource_error(tmp_path, number):
    with (
        pytest.raises(ResourceError, match=f"cannot write .*file: {os.strerror(number)}"),
        replacing(tmp_path / "file"),
    ):
        raise OSError(number, "refused")
    assert list(tmp_path.iterdir()) == []


def test_files_are_as_private_as_the_umask_says(tmp_path):
    before = os.umask(0o077)
    try:
        write_text(tmp_path / "mine", "x")
        os.umask(0o022)
        write_text(tmp_path / "ours", "x")
    finally:
        os.umask(before)
    assert (tmp_path / "mine").stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "ours").stat().st_mode & 0o777 == 0o644


def test_equal_content_is_equal_bytes_and_nan_is_no_json(tmp_path):
    write_json(tmp_path / "a", {"x": 1, "y": 2})
    write_json(tmp_path / "b", {"y": 2, "x": 1})
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(tmp_path / "a", {"x": float("nan")})
    for text in ("[1]", "{", ""):
        (tmp_path / "c").write_text(text)
        with pytest.raises(DataError, match="c"):
            read_json(tmp_path / "c")


@pytest.mark.parametrize("number", [errno.EINVAL, errno.ENOSYS, errno.ENOTSUP, errno.EIO])
def test_a_file_system_that_syncs_no_folders_is_not_our_failure(tmp_path, monkeypatch, number):
    sync = os.fsync

    def refusing(handle):
        if stat.S_ISDIR(os.fstat(handle).st_mode):
            raise OSError(number, os.strerror(number))
        sync(handle)

    monkeypatch.setattr(os, "fsync", refusing)
    if number == errno.EIO:  # a disk that fails is told
        with pytest.raises(ResourceError, match="Input/output error"):
            write_text(tmp_path / "file", "x")
        return
    write_text(tmp_path / "file", "x")
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


LEAVE = """
import os, sys, pathlib
from curate.runtime.files import beside
beside(pathlib.Path(sys.argv[1])).mkdir()
"""


def test_what_is_left_is_told_from_what_is_being_written(tmp_path):
    mine, folder = beside(tmp_path / "a"), beside(tmp_path / "b")
    mine.touch()
    folder.mkdir()
    (folder / "inside").touch()
    subprocess.run([sys.executable, "-c", LEAVE, tmp_path / "dead"], check=True)
    remote = tmp_path / ".c.01234567-1-89abcdef.tmp"
    remote.touch()
    assert {p.name.split(".")[1]: stale(p) for p in tmp_path.iterdir()} == {
        "a": False, "b": False, "dead": True, "c": False,
    }  # fmt: skip
    sweep(tmp_path.iterdir())
    assert set(tmp_path.iterdir()) == {mine, folder, remote}
    old = remote.stat().st_mtime - ABANDONED - 60
    for path in (mine, folder, remote):
        os.utime(path, (old, old))
    sweep(tmp_path.iterdir())
    assert list(tmp_path.iterdir()) == []
    assert not stale(tmp_path / "gone.tmp")


def test_a_process_of_another_container_is_not_taken_for_a_dead_one_of_this(tmp_path):
    other = ["unshare", "--pid", "--fork"]
    code = [sys.executable, "-c", LEAVE, tmp_path / "file"]
    if subprocess.run([*other, "true"], capture_output=True).returncode:
        pytest.skip("needs root, and unshare")
    subprocess.run([*other, *code], check=True)
    (left,) = tmp_path.iterdir()
    sweep([left])
    assert left.exists()
