"""Files of stores: fetched whole or not at all, told when cut, held against digests, in bounds."""

import logging
import os
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from curate.data import addresses, remote, shards, stores
from curate.data.sources import open_source
from curate.errors import DataError, ResourceError, UsageError
from tests.command import curate
from tests.data.sources.test_webdataset import IMAGES, pack
from tests.rendered import mixed
from tests.stores import served

NAMED = list(mixed(40))
pytest.importorskip("aiohttp", reason="addresses need fsspec and aiohttp")


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """A cache of the test's own, and no time to wait."""
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("CURATE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(stores, "WAITS", (0.0, 0.0, 0.0))
    monkeypatch.setattr(remote, "BLOCK", 50_000)
    remote.forget()
    return tmp_path / "cache"


@pytest.fixture
def home(tmp_path):
    """A folder that is served: tars, parquet files and images."""
    folder = tmp_path / "served"
    (folder / "tars").mkdir(parents=True)
    for n in range(3):
        members = [(f"{i}.jpg", IMAGES[i]) for i in range(10 * n, 10 * n + 10)]
        members += [(f"{i}.cls", str(i % 2)) for i in range(10 * n, 10 * n + 10)]
        pack(folder / "tars" / f"0{n}.tar", members)
    for kind in ("cat", "dog"):
        (folder / "images" / kind).mkdir(parents=True)
    for i, (name, data) in enumerate(NAMED):
        path = folder / "images" / ("cat", "dog")[i % 2] / name.replace("/", "-")
        path.with_suffix(path.suffix or ".jpg").write_bytes(data)
    table = pa.table({"image": IMAGES[:12], "label": [i % 3 for i in range(12)]})
    (folder / "rows").mkdir()
    pq.write_table(table, folder / "rows" / "train.parquet")
    return folder


def entries(source):
    return [(e.path, e.data, e.label) for e in source.entries()]


def held(cache):
    return sorted(p.name for p in (cache / "files").rglob("*") if p.is_file())


@pytest.mark.parametrize(
    ("where", "here"),
    [
        ("tars/{00..02}.tar", "wds:{}/tars/{{00..02}}.tar"),
        ("wds:tars", "wds:{}/tars"),
        ("tars", "{}/tars"),
        ("tars/01.tar", "{}/tars/01.tar"),
        ("wds:tars/0[12].t*", "wds:{}/tars/0[12].t*"),
        ("wds:**/*2.tar", "wds:{}/**/*2.tar"),
        ("rows/train.parquet", "{}/rows/train.parquet"),
        ("hf:rows", "hf:{}/rows"),
        ("images", "{}/images"),
        ("folder:images", "folder:{}/images"),
    ],
)
def test_a_source_on_a_web_server_is_what_it_is_here(home, where, here):
    with served(home) as server:
        kind, colon, place = where.rpartition(":")
        source = open_source(f"{kind}{colon}{server.url}/{place}")
        there = open_source(here.format(home))
        assert entries(source) == entries(there)
        assert (source.classes, source.splits) == (there.classes, there.splits)
        assert source.name.partition(":")[2] == f"{server.url}/{place}"


def test_a_cut_connection_is_named_and_tried_again_where_it_was_cut(home, caplog, monkeypatch):
    monkeypatch.setattr(remote, "BLOCK", 2_000)
    whole = (home / "tars" / "01.tar").read_bytes()
    with served(home, cuts=2) as server, caplog.at_level(logging.WARNING):
        url = f"{server.url}/tars/01.tar"
        with remote.opened(addresses.place(url)) as stream:
            assert stream.read() == whole
        said = [r.getMessage() for r in caplog.records]
        size = f"{len(whole):,}"
        assert len(said) == 2
        assert all(
            t.startswith(f"{url}: the connection failed at byte 0 of {size} (") for t in said
        )
        gets = [bounds for kind, _, bounds in server.asked if kind == "GET"]
        assert gets[:3] == ["bytes=0-1999"] * 3
        assert gets[3] == "bytes=2000-3999"


def test_a_connection_that_stays_cut_leaves_nothing_half_written(home, cache, tmp_path):
    with served(home, cuts=1000) as server:
        result = curate("shard", f"{server.url}/tars/01.tar", "--out", tmp_path / "out")
    assert result.code == 3
    assert "the connection failed at byte 0 of" in result.err and "4 times" in result.err
    assert [p for p in cache.rglob("*") if p.is_file() and p.name != ".lock"] == []
    assert not (tmp_path / "out").exists()
    # The server is gone altogether.
    result = curate("shard", f"{server.url}/tars/01.tar", "--out", tmp_path / "out")
    assert result.code == 3 and "4 times" in result.err


def test_a_server_without_parts_is_read_whole(home, caplog):
    with served(home, ranges=False, cuts=1) as server, caplog.at_level(logging.WARNING):
        path = addresses.place(f"{server.url}/tars/01.tar")
        with remote.opened(path) as stream:
            assert stream.read() == (home / "tars" / "01.tar").read_bytes()
    assert "the connection failed" in caplog.text


@pytest.mark.parametrize(("number", "says"), [(403, "refuses access"), (500, "4 times")])
def test_what_a_server_refuses_is_told(home, number, says):
    with served(home, refuse=number) as server, pytest.raises(DataError, match=says):
        open_source(f"{server.url}/tars/01.tar")


def test_what_is_not_there_is_told(home):
    with served(home) as server:
        with pytest.raises(UsageError, match="there is nothing"):
            open_source(f"{server.url}/nowhere")
        with pytest.raises(UsageError, match="no tar file at"):
            open_source(f"wds:{server.url}/nowhere.tar")
        with pytest.raises(UsageError, match=r"stands for .*/tars/03\.tar, which is not there"):
            open_source(f"{server.url}/tars/{{01..07}}.tar")
        with pytest.raises(UsageError, match="no tar file at"):
            open_source(f"wds:{server.url}/tars/9*.tar")


def test_what_is_in_the_cache_is_held_against_its_digest_and_the_store(home, cache, caplog):
    with served(home) as server:
        url = f"{server.url}/tars/01.tar"
        path = addresses.place(url)
        remote.bring(path)
        asked = len(server.asked)
        # Another process finds it, and gets nothing anew but what the server says of it.
        code = "import sys; from curate.data import addresses, remote; "
        code += "remote.bring(addresses.place(sys.argv[1]))"
        again = [sys.executable, "-c", code, url]
        subprocess.run(again, check=True, env={**os.environ, "CURATE_CACHE": str(cache)})
        assert {kind for kind, *_ in server.asked[asked:]} == {"HEAD"}
        # A byte of it rots.
        data = bytearray(path.read_bytes())
        data[3000] ^= 1
        path.write_bytes(data)
        done = subprocess.run(again, check=True, capture_output=True, text=True)
        assert path.read_bytes() == (home / "tars" / "01.tar").read_bytes()
        # The store has another file of the name.
        pack(home / "tars" / "01.tar", [("x.jpg", IMAGES[0])])
        assert len(entries(open_source(url))) == 1
        assert done.returncode == 0


def test_the_cache_stays_in_its_bounds_and_what_was_used_last_stays(home, cache, monkeypatch):
    size = (home / "tars" / "00.tar").stat().st_size
    sizes = [p.stat().st_size for p in (home / "tars").iterdir()]
    monkeypatch.setenv("CURATE_CACHE_GIB", str((sum(sizes) - min(sizes) / 2) / 2**30))
    with served(home) as server:
        place = [addresses.place(f"{server.url}/tars/0{n}.tar") for n in range(3)]
        remote.bring(place[0])
        remote.bring(place[1])
        with remote.opened(place[0]) as first:  # used last
            remote.bring(place[2])
            assert held(cache) == ["00.tar", "02.tar"]
            # All of it is read through two files' room, and what is open is whole.
            source = open_source(f"{server.url}/tars")
            assert entries(source) == entries(open_source(str(home / "tars")))
            assert len(held(cache)) == 2
            assert len(first.read()) == size
        other = next(path for path in place if not path.exists())
        monkeypatch.setenv("CURATE_CACHE_GIB", str(1000 / 2**30))
        with pytest.raises(ResourceError, match="do not fit into the cache"):
            remote.bring(other)
        with pytest.raises(ResourceError, match="which must all be there at once"):
            open_source(f"{server.url}/images")
        monkeypatch.setenv("CURATE_CACHE_GIB", "much")
        with pytest.raises(UsageError, match="CURATE_CACHE_GIB=much"):
            remote.bring(other)


def test_a_folder_that_is_read_is_not_emptied_and_follows_its_store(home, cache, monkeypatch):
    images = sum(p.stat().st_size for p in (home / "images").rglob("*") if p.is_file())
    with served(home) as server:
        open_source(f"{server.url}/images")
        monkeypatch.setenv("CURATE_CACHE_GIB", str((images + 10) / 2**30))
        with pytest.raises(ResourceError, match="is full of what is being read"):
            remote.bring(addresses.place(f"{server.url}/tars/00.tar"))
        gone = next((home / "images" / "cat").iterdir())
        gone.unlink()
        source = open_source(f"{server.url}/images")
        assert f"cat/{gone.name}" not in set(source.paths())
        assert entries(source) == entries(open_source(str(home / "images")))


@pytest.mark.parametrize(
    "text",
    [
        "https://me:secret@host/x.tar",
        "wds:https://host/x.tar?X-Amz-Signature=secret",
        "s3://AKIASECRET:secret@bucket/x.tar",
        "https://host/x#secret",
    ],
)
def test_an_address_with_a_secret_is_refused_before_it_is_recorded(tmp_path, text):
    runs = tmp_path / "runs"
    for command in (
        ("run", text, "--runs", runs),
        ("run", "digits", "--data", text, "--runs", runs),
        ("run", "digits", "--set", f"data.source={text}", "--runs", runs),
        ("shard", text, "--out", tmp_path / "out"),
        ("shard", "wds", "--data", text, "--out", tmp_path / "out"),
        ("init", text),
    ):
        result = curate(*command)
        assert result.code == 2, command
        assert "without user, password" in result.err
        assert "secret" not in (result.err + result.out).lower()
    assert not runs.exists() or not list(runs.rglob("*.json"))
    assert not (tmp_path / "out").exists()


def test_messages_hold_no_credentials(monkeypatch):
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "verysecret")
    text = "no: https://me:pw@host/x?sig=1 and verysecret, s3://a:b@c/d"
    assert addresses.redacted(text) == "no: https://host/x and ***, s3://c/d"


def test_an_address_and_its_place_name_each_other(cache):
    for url in ("s3://bucket/a b/0.tar", "https://host:8080/x", "hf://datasets/org/name@main/x"):
        assert addresses.address(addresses.place(url)) == url
        assert addresses.lasting(url) == addresses.lasting(addresses.place(url)) == url
        assert addresses.in_words(f"no {addresses.place(url)}.") == f"no {url}."
    assert addresses.address(Path("/elsewhere")) is None
    for odd in ("s3://", "s3:///x", "s3://b/../x", "s3://b//x"):
        with pytest.raises(UsageError, match="write the address in full"):
            addresses.place(odd)


def test_a_run_of_an_address_is_gone_on_with_and_names_it(home, tmp_path):
    with served(home) as server:
        url = f"{server.url}/tars/{{00..02}}.tar"
        out = tmp_path / "shards"
        result = curate("shard", "wds", "--data", url, "--out", out)
        assert result.code == 0, result.err
    shards.write([(open_source(f"wds:{home}/tars/{{00..02}}.tar"), "train")], tmp_path / "here")
    for path in (tmp_path / "here").glob("[0-9i]*"):
        assert path.read_bytes() == (out / path.name).read_bytes()
