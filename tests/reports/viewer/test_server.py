"""The server of ``curate view``: who may ask, what is answered, and what marks become."""

import contextlib
import http.client
import io
import json
import os
import signal
import socket
import subprocess
import sys
import threading
from urllib.parse import urlsplit

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

import curate
from curate.errors import DataError, UsageError
from curate.reports.viewer.server import CONNECTIONS, View
from curate.runs.recipe import digest
from curate.runs.run import Run
from curate.selection.manifest import Manifest


@contextlib.contextmanager
def viewed(runs):
    """Serve the tiny run in a thread."""
    server = View(Run.open(runs / "tiny"), 0)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture
def server(tiny_runs):
    with viewed(tiny_runs) as made:
        yield made


def ask(server, path, body=None, *, token=True, **headers):
    """Return status, headers and content of an answer."""
    connection = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=30)
    place = f"/{server.token}/{path}" if token else path
    if body is not None:
        headers = {"Content-Type": "application/json"} | headers
        body = body if isinstance(body, bytes) else json.dumps(body).encode()
    connection.request("GET" if body is None else "POST", place, body, headers)
    answer = connection.getresponse()
    data = answer.read()
    connection.close()
    kind = answer.headers.get_content_type()
    return answer.status, answer.headers, json.loads(data) if kind == "application/json" else data


def scores(server):
    return pq.read_table(server.run.path / "scores.parquet").sort_by("rank").to_pylist()


def test_only_this_machine_is_listened_to_and_the_address_has_a_secret(server):
    assert server.server_address[0] == "127.0.0.1"
    address = urlsplit(server.url)
    assert address.hostname == "127.0.0.1" and len(address.path) > 20
    for path in ("/", "/facts", "/x/facts", f"/{server.token}", "//facts", "/.."):
        assert ask(server, path, token=False)[0] == 404, path


def test_a_foreign_host_or_page_gets_nothing(server):
    assert ask(server, "facts", Host="evil.example")[0] == 403
    assert ask(server, "facts", Host=f"127.0.0.1:{server.server_port + 1}")[0] == 403
    assert ask(server, "facts", Host=f"localhost:{server.server_port}")[0] == 200
    mark = {"uids": [scores(server)[0]["uid"]], "mark": "drop"}
    assert ask(server, "marks", mark, Origin="http://evil.example")[0] == 403
    assert ask(server, "marks", mark, Origin="null")[0] == 403
    assert server.marks.read() == {}
    assert ask(server, "marks", mark, Origin=server.url[: server.url.index("/", 7)])[0] == 200


@pytest.mark.parametrize("path", ["", "view.js", "view.css", "facts", "nothing"])
def test_every_answer_forbids_what_it_does_not_need(server, path):
    _, headers, _ = ask(server, path)
    policy = headers["Content-Security-Policy"]
    assert policy.startswith("default-src 'none'; script-src 'self';") and "unsafe" not in policy
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Referrer-Policy"] == "no-referrer"


@pytest.mark.parametrize(
    "body",
    [b"", b"[]", b"{", b"[" * 100_000, {"uids": "all"}, {"uids": ["../x"], "mark": "keep"},
     {"uids": [], "mark": "burn"}, {"uids": [7], "mark": "keep"}, {"mark": "keep"}],
)  # fmt: skip
def test_what_is_no_mark_is_refused(server, body):
    status, _, content = ask(server, "marks", body)
    assert status == 400 and content["error"]
    assert server.marks.read() == {}
    assert ask(server, "marks", {"uids": []}, **{"Content-Type": "text/plain"})[0] == 400


def test_an_image_is_that_of_the_sample_and_nothing_else_is_served(server):
    uid = scores(server)[0]["uid"]
    status, headers, data = ask(server, f"image/small/{uid}")
    assert (status, headers["Content-Type"]) == (200, "image/png")
    assert (np.asarray(Image.open(io.BytesIO(data))) == server.run.image(uid)[0]).all()
    for path in ("image/small/../../run.json", "image/small/", "image/huge/" + uid, "image/small/x",
                 "../run.json", "%2e%2e/run.json"):  # fmt: skip
        assert ask(server, path)[0] == 404, path


def test_neighbours_are_those_of_the_inspection(server):
    uid = scores(server)[0]["uid"]
    want = curate.inspect(server.run, sample=uid).neighbours
    ask(server, "marks", {"uids": [want[0].uid], "mark": "keep"})
    found = ask(server, f"neighbours/{uid}")[2]["neighbours"]
    assert [(s["uid"], s["distance"], s["rank"]) for s in found] == [
        (s.uid, s.distance, s.rank) for s in want
    ]
    assert len(found) == 3 and [s["mark"] for s in found] == ["keep", None, None]
    for wrong in ("x", "", "../run.json"):
        assert ask(server, f"neighbours/{wrong}")[0] == 404, wrong
    (server.run.path / "inspect_neighbours.parquet").unlink()
    assert ask(server, f"neighbours/{uid}")[2] == {"neighbours": None}


@pytest.mark.parametrize(
    ("query", "fits"),
    [
        ("", lambda r: True),
        ("first=3&last=9", lambda r: 3 <= r["rank"] <= 9),
        ("low=0", lambda r: r["memorization"] >= 0),
        ("high=-0.01", lambda r: r["memorization"] <= -0.01),
        ("label=7", lambda r: r["label"] == 7),
        ("text=DIGITS/07", lambda r: r["path"].startswith("digits/07")),
        ("label=7&low=0", lambda r: r["label"] == 7 and r["memorization"] >= 0),
    ],
)
def test_samples_are_filtered_and_in_order(server, query, fits):
    want = [row["uid"] for row in scores(server) if fits(row)]
    _, _, found = ask(server, f"samples?{query}")
    assert found["total"] == len(want) and found["pages"] == -(-len(want) // 60)
    assert [s["uid"] for s in found["samples"]] == want[:60]
    _, _, found = ask(server, f"samples?{query}&order=least")
    assert [s["uid"] for s in found["samples"]] == want[::-1][:60]


def test_pages_hold_every_sample_once(server):
    pages = [ask(server, f"samples?page={k}")[2]["samples"] for k in range(3)]
    assert [s["uid"] for page in pages for s in page] == [row["uid"] for row in scores(server)]
    assert [len(page) for page in pages] == [60, 20, 0]


@pytest.mark.parametrize("query", ["low=x", "low=nan", "page=x", "order=y", "manifest=../../x"])
def test_a_filter_that_cannot_be_is_refused(server, query):
    assert ask(server, f"samples?{query}")[0] == 400


def test_decisions_triage_text_and_marks_filter(server):
    (name,) = ask(server, "facts")[2]["manifests"]
    made = server.run.manifest(name).to_pylist()
    kept = {row["uid"] for row in made if row["decision"] == "keep"}
    _, _, found = ask(server, f"samples?manifest={name}&decision=keep")
    assert {s["uid"] for s in found["samples"]} == kept and found["total"] == len(kept)
    assert {s["decision"] for s in found["samples"]} == {"keep"}
    first, second = (row["uid"] for row in scores(server)[:2])
    ask(server, "marks", {"uids": [first], "mark": "unsure"})
    ask(server, "marks", {"uids": [second], "mark": "drop"})
    assert [s["uid"] for s in ask(server, "samples?mark=unsure")[2]["samples"]] == [first]
    assert ask(server, "samples?mark=none")[2]["total"] == len(made) - 2
    assert [s["uid"] for s in ask(server, f"samples?text={second.upper()}")[2]["samples"]] == [
        second
    ]


def test_marks_become_a_manifest_that_says_by_hand(server):
    (base,) = ask(server, "facts")[2]["manifests"]
    before = {row["uid"]: row for row in server.run.manifest(base).to_pylist()}
    kept = [uid for uid, row in before.items() if row["decision"] == "keep"]
    dropped = [uid for uid, row in before.items() if row["decision"] == "drop"]
    for uids, mark in ((kept[:2], "drop"), (dropped[:1], "keep"), (kept[2:3], "unsure")):
        ask(server, "marks", {"uids": uids, "mark": mark})
    status, _, made = ask(server, "manifest", {"name": "mine", "base": base})
    assert status == 200 and made["by_hand"] == 3 and made["kept"] == len(kept) - 1
    found = Manifest.read(server.run.path / "manifests" / "mine.parquet")
    found.check_dataset(server.run.facts()["dataset_fingerprint"])
    assert found.facts["strategy"] == "hand"
    marked = digest(server.marks.read(), digits=32)
    assert found.facts["parameters"] == {"base": base, "marked": 3, "marks": marked}
    assert set(found.facts["seeds"]) == {"plan", "train", "score"}
    after = {row["uid"]: row for row in found.table.to_pylist()}
    by_hand = {"keep": "kept by hand", "drop": "dropped by hand"}
    for uid, row in after.items():
        mark = server.marks.read().get(uid)
        reason = before[uid]["reason"]
        want = (mark, by_hand[mark]) if mark in by_hand else (
            before[uid]["decision"],
            f"unsure by hand; {reason}" if mark else f"not marked; {reason}",
        )  # fmt: skip
        assert (row["decision"], row["reason"]) == want
    assert ask(server, "manifest", {"name": "mine", "base": None})[0] == 200
    status, _, refused = ask(server, "manifest", {"name": base, "base": None})
    assert status == 400 and "not made by hand" in refused["error"]
    assert ask(server, "manifest", {"name": "../x", "base": None})[0] == 400
    assert ask(server, "manifest", {"name": "y", "base": "../x"})[0] == 400
    with server.run.lock():
        assert ask(server, "manifest", {"name": "z", "base": None})[0] == 409


def test_a_manifest_by_hand_is_one_like_any_other(server, tmp_path):
    ask(server, "marks", {"uids": [scores(server)[0]["uid"]], "mark": "drop"})
    made = ask(server, "manifest", {"name": "mine", "base": None})[2]
    assert curate.verify(made["path"]).ok
    curate.export(made["path"], to="paths", out=tmp_path / "kept.txt")
    assert len((tmp_path / "kept.txt").read_text().splitlines()) == made["kept"] == 79
    assert "by hand" in curate.report(server.run).read_text(encoding="utf-8")


def test_a_run_without_scores_or_a_port_in_use_is_one_message(tiny_runs):
    run = Run.open(tiny_runs / "tiny")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(UsageError, match=f"port {port} is in use; choose another port"):
            curate.view(run, port=port)
    (run.path / "scores.parquet").unlink()
    with pytest.raises(DataError, match="missing or changed"):
        curate.view(run)


def command(runs):
    return subprocess.Popen(
        [sys.executable, "-c", "from curate.cli.app import main; main()", "view", "tiny", "--runs",
              str(runs), "--json"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip


def address(process):
    lines = []
    while not lines or lines[-1] != "}\n":
        lines.append(process.stdout.readline())
        assert lines[-1], process.stderr.read()
    return urlsplit(json.loads("".join(lines))["url"])


def post(url, path):
    connection = http.client.HTTPConnection(url.hostname, url.port, timeout=30)
    connection.request("POST", url.path + path, b"{}", {"Content-Type": "application/json"})
    return connection.getresponse().status


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_and_its_button_does(tiny_runs, number):
    process = command(tiny_runs)
    url = address(process)
    # A connection that says nothing does not hold it up.
    with socket.create_connection((url.hostname, url.port)):
        process.send_signal(number)
        _, said = process.communicate(timeout=60)
    assert process.returncode == 128 + number
    assert said.splitlines()[-1].startswith("interrupted: what was finished is kept"), said
    if number == signal.SIGINT:
        process = command(tiny_runs)
        assert post(address(process), "close") == 200
        process.communicate(timeout=60)
        assert process.returncode == 0


def test_connections_that_say_nothing_hold_up_nobody(server):
    uid, before = scores(server)[0]["uid"], threading.active_count()
    with contextlib.ExitStack() as during:
        for i in range(3 * CONNECTIONS):
            silent = socket.create_connection(("127.0.0.1", server.server_port))
            during.enter_context(silent)
            if i % 3 == 1:
                silent.sendall(b"GET / HTTP/1.1\r\nHost")  # or begin, and do not go on
        for _ in range(5):
            assert ask(server, "facts")[0] == 200
            assert ask(server, f"image/small/{uid}")[0] == 200
        assert threading.active_count() <= before + CONNECTIONS


def test_what_cannot_be_read_is_said_and_the_rest_goes_on(server):
    uid, run = scores(server)[0]["uid"], server.run.path
    nearest = run / "inspect_neighbours.parquet"
    nearest.write_bytes(b"PAR1" + bytes(nearest.stat().st_size - 8) + b"PAR1")
    (run / "marks.jsonl").mkdir()
    (name,) = server.catalogue.manifests()
    (run / "manifests" / f"{name}.parquet").write_bytes(b"PAR1")
    asked = {
        f"neighbours/{uid}": None,
        "marks": {"uids": [uid], "mark": "keep"},
        f"samples?manifest={name}&decision=keep": None,
    }
    for path, body in asked.items():
        status, _, found = ask(server, path, body)
        assert status >= 400 and 0 < len(found["error"]) < 600, path
    assert ask(server, f"image/small/{uid}")[0] == ask(server, "samples")[0] == 200
