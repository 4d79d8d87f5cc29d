"""Members of tars of others: companions find their images, and nothing in a header is trusted."""

import gzip
import io
import tarfile

import pytest

from curate.data import members
from curate.errors import DataError
from tests.rendered import mixed

IMAGES = [data for _, data in mixed(4)]


def pack(path, pieces, mode="w", **options):
    with tarfile.open(path, mode, **options) as archive:
        for name, content in pieces:
            info = tarfile.TarInfo(name)
            data = content.encode() if isinstance(content, str) else content
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return path


def scanned(path, label=None, image=None):
    return members.scan([("t", path)], label=label, image=image)


def found(path, **options):
    return {m.path: m.label for m in scanned(path, **options).found if not m.left_out}


def left(path, **options):
    return {m.path: m.left_out for m in scanned(path, **options).found if m.left_out}


def test_companions_are_those_of_the_stem_and_then_of_the_key(tmp_path):
    path = pack(
        tmp_path / "a.tar",
        [("a.cls", "7"), ("a.v1.jpg", IMAGES[0]), ("a.v2.jpg", IMAGES[1]), ("a.v2.cls", "8"),
         ("b.jpg", IMAGES[2]), ("b.json", '{"label": "cat", "n": [1]}'), ("b.txt", "a cat"),
         ("c.jpg", IMAGES[3]), ("d.cls", "1")],
    )  # fmt: skip
    assert found(path) == {"t/a.v1.jpg": 7, "t/a.v2.jpg": 8, "t/b.jpg": "cat", "t/c.jpg": None}
    assert left(path) == {"t/d.cls": ".cls of no image"}
    about = {m.path: m.metadata for m in scanned(path).found}
    assert about["t/b.jpg"] == {"n": [1], "text": "a cat"}


@pytest.mark.parametrize(
    ("label", "want"), [(None, 1), ("cls", 1), (".lbl", "x"), ("y", 2), ("none", None)]
)
def test_labels_come_from_where_it_is_said(tmp_path, label, want):
    path = pack(
        tmp_path / "a.tar",
        [("a.jpg", IMAGES[0]), ("a.cls", "1"), ("a.lbl", "x"), ("a.json", '{"y": 2}')],
    )
    assert found(path, label=label) == {"t/a.jpg": want}


@pytest.mark.parametrize("image", ["jpg", ".left.jpg", "left.jpg"])
def test_images_are_those_of_the_ending_that_is_said(tmp_path, image):
    path = pack(tmp_path / "a.tar", [("a.left.jpg", IMAGES[0]), ("a.seg.png", IMAGES[1])])
    assert [*found(path, image=image)] == ["t/a.left.jpg"]
    assert "(data.image)" in left(path, image=image)["t/a.seg.png"]


@pytest.mark.parametrize("name", ["/a.jpg", "../a.jpg", "x/../../a.jpg"])
def test_names_that_lead_out_are_rejected(tmp_path, name):
    path = pack(tmp_path / "a.tar", [(name, IMAGES[0]), ("b.jpg", IMAGES[1])])
    reasons = {m.path: m.rejected for m in scanned(path).found}
    assert sorted(reasons.values()) == ["", "the name leads out of the tar"]


@pytest.mark.parametrize(
    "kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE]
)
def test_links_and_devices_are_rejected(tmp_path, kind):
    with tarfile.open(tmp_path / "a.tar", "w") as archive:
        info = tarfile.TarInfo("a.jpg")
        info.type, info.linkname = kind, "/etc/passwd"
        archive.addfile(info)
    (member,) = scanned(tmp_path / "a.tar").found
    assert member.rejected.startswith(("a link to /etc/passwd", "not a plain file"))


def test_zeros_without_end_and_global_headers_without_end_are_refused(tmp_path):
    path = tmp_path / "a.tar.gz"
    pack(tmp_path / "a.tar", [("a.jpg", IMAGES[0])])
    with gzip.open(path, "wb", compresslevel=1) as packed:
        packed.write((tmp_path / "a.tar").read_bytes())
        for _ in range(members.MAX_END // 2**20 + 1):
            packed.write(bytes(2**20))
    with pytest.raises(DataError, match="goes on for more than"):
        scanned(path)
    many = {f"k{i}": "v" for i in range(members.MAX_GLOBAL + 1)}
    pack(tmp_path / "b.tar", [("a.jpg", IMAGES[0])], format=tarfile.PAX_FORMAT, pax_headers=many)
    with pytest.raises(DataError, match="1,001 global PAX headers"):
        scanned(tmp_path / "b.tar")


def test_a_tar_cut_anywhere_is_refused_and_named(tmp_path):
    whole = pack(tmp_path / "a.tar", [(f"{i}.jpg", d) for i, d in enumerate(IMAGES)]).read_bytes()
    end = len(whole.rstrip(b"\0"))
    for cut in range(1, end + 512, 97):
        (tmp_path / "b.tar").write_bytes(whole[:cut])
        with pytest.raises(DataError, match=r"b.tar"):
            scanned(tmp_path / "b.tar")


def test_members_are_read_as_often_as_wanted_in_their_order(tmp_path):
    pieces = [(f"{i:03d}.jpg", IMAGES[i % 4]) for i in range(40)]
    looked = scanned(pack(tmp_path / "a.tar", pieces))
    paths = [f"t/{name}" for name, _ in pieces]
    assert [m.path for m in looked.found] == [m.path for m in looked.found] == paths
    with members.opened(tmp_path / "a.tar") as stream:
        for member, (_, data) in zip(looked.found, pieces, strict=True):
            assert members.at(stream, member.offset, member.size, tmp_path / "a.tar") == data
    assert looked.endings == {".jpg": 40}
