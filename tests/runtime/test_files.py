"""Arrays in files without a name."""

import os
import resource
import signal
import subprocess
import sys

import numpy as np
import pytest

from curate.errors import ResourceError
from curate.runtime.files import on_disk


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
