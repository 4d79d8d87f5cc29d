"""Object stores, on a server of the tests' own that speaks S3 over HTTP."""

import base64
import hashlib
import logging

import pytest

from curate.data import addresses, remote, stores
from curate.data.sources import open_source
from curate.errors import DataError, ResourceError, UsageError
from curate.runs.opening import open_run
from curate.runs.recipe import load_recipe
from curate.runtime.progress import silent
from curate.stages.context import Context
from curate.stages.shard import shard_run
from tests.command import curate
from tests.data.sources.test_webdataset import IMAGES, pack
from tests.rendered import mixed
from tests.stores import cutting

s3fs = pytest.importorskip("s3fs", reason="s3:// needs s3fs: pip install 'curate[cloud]'")
server = pytest.importorskip("moto.server", reason="needs moto: pip install 'moto[s3,server]'")
SECRET = "notverysecretbutsaid"


@pytest.fixture(scope="module")
def s3():
    """The port of a server of S3."""
    made = server.ThreadedMotoServer(port=0, verbose=False)
    made.start()
    yield made.get_host_and_port()[1]
    made.stop()


@pytest.fixture
def bucket(s3, tmp_path, monkeypatch, request):
    """A new bucket: ``bucket.put(key, data)``; ``bucket.server.cuts`` connections will be cut."""
    import boto3

    with cutting(s3, after=20_000) as before:
        url = f"http://127.0.0.1:{before.server_address[1]}"
        for name, value in {
            "CURATE_CACHE": str(tmp_path / "cache"), "AWS_ENDPOINT_URL": url,
            "AWS_ACCESS_KEY_ID": "AKIATEST", "AWS_SECRET_ACCESS_KEY": SECRET,
            "AWS_DEFAULT_REGION": "us-east-1", "AWS_EC2_METADATA_DISABLED": "true",
        }.items():  # fmt: skip
            monkeypatch.setenv(name, value)
        for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setattr(stores, "WAITS", (0.0, 0.0, 0.0))
        monkeypatch.setattr(remote, "BLOCK", 30_000)
        s3fs.S3FileSystem.clear_instance_cache()
        remote.forget()
        made = boto3.resource("s3", endpoint_url=f"http://127.0.0.1:{s3}").create_bucket(
            Bucket=f"b{abs(hash(request.node.name)) % 10**9}"
        )
        made.before = before
        yield made


def put_tars(bucket, tmp_path):
    """Put three tars of ten images; returns the folder that holds the same."""
    folder = tmp_path / "here"
    folder.mkdir()
    for n in range(3):
        members = [(f"{i}.jpg", IMAGES[i]) for i in range(10 * n, 10 * n + 10)]
        path = pack(folder / f"0{n}.tar", members)
        bucket.put_object(Key=f"train/0{n}.tar", Body=path.read_bytes())
    return folder


def shards_of(folder):
    return {p.name: p.read_bytes() for p in folder.iterdir() if p.name != "dataset.json"}


@pytest.mark.parametrize(
    "where", ["s3://{}/train", "wds:s3://{}/train/{{00..02}}.tar", "wds:s3://{}/tr*n/0?.tar"]
)
def test_tars_of_a_bucket_are_those_of_a_folder(bucket, tmp_path, where, monkeypatch):
    folder = put_tars(bucket, tmp_path)
    for source, out in ((where.format(bucket.name), "a"), (f"wds:{folder}", "b")):
        result = curate("shard", source, "--out", tmp_path / out, "--json")
        assert result.code == 0, result.err
    assert shards_of(tmp_path / "a") == shards_of(tmp_path / "b")


def test_images_of_a_bucket_are_those_of_a_folder_and_data_may_be_an_address(bucket, tmp_path):
    for i, (name, data) in enumerate(mixed(12)):
        key = f"{('cat', 'dog')[i % 2]}/{name}"
        bucket.put_object(Key=f"images/{key}", Body=data)
        (tmp_path / "images" / key).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "images" / key).write_bytes(data)
    bucket.put_object(Key="images/", Body=b"")  # as some tools mark a folder
    url = f"s3://{bucket.name}/images"
    for source, out in ((url, "a"), (str(tmp_path / "images"), "b")):
        assert curate("shard", source, "--out", tmp_path / out).code == 0
    for source in ("folder", str(tmp_path / "images"), "/gone/since"):
        out = tmp_path / f"c{len(source)}"
        assert curate("shard", source, "--data", url, "--out", out).code == 0
        assert shards_of(out) == shards_of(tmp_path / "b")
    assert shards_of(tmp_path / "a") == shards_of(tmp_path / "b")
    # What was at an address may lie here now.
    here = ("shard", url, "--data", tmp_path / "images", "--out", tmp_path / "d")
    assert curate(*here).code == 0
    assert shards_of(tmp_path / "d") == shards_of(tmp_path / "b")


def test_a_cut_connection_is_named_and_tried_again(bucket, tmp_path, caplog):
    put_tars(bucket, tmp_path)
    bucket.before.cuts = 2
    with caplog.at_level(logging.WARNING):
        result = curate("shard", f"s3://{bucket.name}/train", "--out", tmp_path / "out")
    assert result.code == 0, result.err
    said = [r.getMessage() for r in caplog.records if "connection failed" in r.getMessage()]
    assert len(said) == 2
    assert said[0].startswith(
        f"s3://{bucket.name}/train/00.tar: the connection failed at byte 0 of"
    )
    assert SECRET not in caplog.text


def test_a_connection_that_stays_cut_leaves_nothing_half_written(bucket, tmp_path):
    put_tars(bucket, tmp_path)
    bucket.before.cuts = 10**6
    result = curate("shard", f"s3://{bucket.name}/train", "--out", tmp_path / "out")
    assert result.code == 3
    assert "the connection failed at byte 0 of" in result.err and "4 times" in result.err
    assert SECRET not in result.err and "Traceback" not in result.err
    cache = tmp_path / "cache"
    assert [p for p in cache.rglob("*") if p.is_file() and p.name != ".lock"] == []
    assert not (tmp_path / "out").exists()
    bucket.before.cuts = 0
    assert curate("shard", f"s3://{bucket.name}/train", "--out", tmp_path / "out").code == 0


def test_what_a_store_says_of_the_bytes_is_held_against_what_came(bucket, tmp_path, monkeypatch):
    put_tars(bucket, tmp_path)
    path = addresses.place(f"s3://{bucket.name}/train/00.tar")
    system = stores.system_of(f"s3://{bucket.name}")
    real = system.cat_file

    def rotten(*args, **options):
        data = bytearray(real(*args, **options))
        data[100] ^= 1
        return bytes(data)

    monkeypatch.setattr(system, "cat_file", rotten)
    with pytest.raises(DataError, match="came with another MD5 than its store says, twice"):
        remote.bring(path)
    assert not path.exists()


def test_what_is_encrypted_by_a_key_has_no_md5_and_is_taken(bucket, tmp_path):
    path = pack(tmp_path / "x.tar", [("0.jpg", IMAGES[0])])
    bucket.put_object(
        Key="x.tar", Body=path.read_bytes(), ServerSideEncryption="aws:kms", SSEKMSKeyId="k"
    )
    with remote.opened(addresses.place(f"s3://{bucket.name}/x.tar")) as stream:
        assert stream.read() == path.read_bytes()


def test_what_is_not_there_or_not_installed_is_told(bucket, monkeypatch):
    with pytest.raises(UsageError, match="there is nothing there"):
        open_source(f"s3://{bucket.name}/nowhere")
    with pytest.raises(UsageError, match="there is nothing there"):
        open_source("s3://no-such-bucket-of-ours/x")
    with pytest.raises(ResourceError, match=r"needs gcsfs.*pip install 'curate\[cloud\]' gcsfs"):
        monkeypatch.setitem(__import__("sys").modules, "gcsfs", None)
        open_source("gs://bucket/x.tar")


def test_a_run_of_a_bucket_records_its_address_and_no_credentials(bucket, tmp_path):
    for i, (name, data) in enumerate(mixed(24)):
        bucket.put_object(Key=f"im/{('cat', 'dog')[i % 2]}/{name}", Body=data)
    url = f"s3://{bucket.name}/im"
    by_data = load_recipe("images", {"data.source": "folder"})
    for name, data in ((url, None), (by_data, url)):
        run = open_run(name, runs=tmp_path / "runs", data=data)
        shard_run(run, Context.of(run, None, "cpu", 1, silent))
        facts = (run.path / "run.json").read_text()
        assert url in facts and SECRET not in facts and str(tmp_path / "cache") not in facts
        assert (run.path / "shards" / "index.parquet").is_file()


def test_what_stores_say_of_a_file_is_understood():
    md5, sha256 = hashlib.md5(b"x"), "a" * 64
    google = {"size": 1, "md5Hash": base64.b64encode(md5.digest()).decode(), "etag": "CJ"}
    assert remote.About.of(google) == remote.About(1, "CJ", md5.hexdigest(), None, True)
    hub = {"size": 1, "blob_id": "b", "lfs": {"sha256": sha256, "size": 1}}
    assert remote.About.of(hub) == remote.About(1, "b", None, sha256, True)
    in_parts = {"size": 1, "ETag": '"0123456789abcdef0123456789abcdef-2"', "StorageClass": "S"}
    assert remote.About.of(in_parts).md5 is None
    assert remote.About.of({"size": None, "partial": False}) == remote.About(
        None, "", None, None, False
    )
