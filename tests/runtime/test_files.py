"""Files are whole or absent; arrays may lie in files without a name."""

import errno
import os
import resource
import signal
import subprocess
import sys

import numpy as np
import pytest

from curate.errors import DataError, ResourceError
from curate.runtime.files import on_disk, read_json, replacing, write_json, write_text


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
