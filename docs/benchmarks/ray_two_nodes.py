"""Two Ray nodes in two network namespaces; one is killed in the middle of a training.

    sudo python docs/benchmarks/ray_two_nodes.py FOLDER

It needs root and ``ip`` of iproute2, ends no process outside its two namespaces, and takes about
two minutes. It prints one JSON object: whether encoders, alignment and scores are, byte for byte,
those of this machine's own processes, and which unit was lost.
"""

import contextlib
import json
import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

NODES = {"curate-a": "10.77.0.1", "curate-b": "10.77.0.2"}
HEAD, OTHER = NODES
PORT = 6390
RECIPE = """\
name: two-nodes
description: Two trainings that take long enough to be cut in the middle.
data: {source: digits, limit: 400, size: 8, channels: 1}
plan: {kind: folds, folds: 2}
encoder: {backbone: convnet, method: simclr}
train: {epochs: 150, warmup_epochs: 0, batch_size: 16, lr: 2e-3, threads: 1, save_every: 1}
views: {train: digits}
score: {views: 3}
"""


def ip(*words: str) -> None:
    """Call ``ip``."""
    subprocess.run(["ip", *words], check=True)


def within(node: str, *command: object, **options: Any) -> subprocess.Popen[bytes]:
    """Begin a command in a namespace."""
    return subprocess.Popen(["ip", "netns", "exec", node, *map(str, command)], **options)


def pids(node: str) -> list[int]:
    """Return the processes of a namespace."""
    listed = subprocess.run(["ip", "netns", "pids", node], capture_output=True, text=True)
    return [int(pid) for pid in listed.stdout.split()]


def name_of(pid: int) -> str:
    """Return the name of a process; nothing where it is gone."""
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/comm").read_text().strip()
    return ""


def made(run: Path) -> dict[str, bytes]:
    """Return the encoders, alignment and scores of a run."""
    kept = [path for path in run.rglob("*") if path.suffix in (".safetensors", ".parquet")]
    return {
        path.relative_to(run).as_posix(): path.read_bytes()
        for path in kept
        if path.relative_to(run).parts[0] in ("encoders", "alignment", "scores.parquet")
    }


def start(kept: str) -> None:
    """Make two namespaces with a cable between them, and begin a node of Ray in each.

    Args:
        kept: Where Ray keeps what it needs; a short path, since sockets lie in it.
    """
    for node in NODES:
        ip("netns", "add", node)
        ip("-n", node, "link", "set", "lo", "up")
    ip("link", "add", "curate-va", "netns", HEAD, "type", "veth",
       "peer", "name", "curate-vb", "netns", OTHER)  # fmt: skip
    for node, link in ((HEAD, "curate-va"), (OTHER, "curate-vb")):
        ip("-n", node, "addr", "add", f"{NODES[node]}/24", "dev", link)
        ip("-n", node, "link", "set", link, "up")
    ray = [sys.executable, "-m", "ray.scripts.scripts", "start", "--num-cpus=1"]
    small = ["--object-store-memory=80000000", "--disable-usage-stats"]
    for node, role in (
        (HEAD, ["--head", f"--port={PORT}", f"--temp-dir={kept}"]),
        (OTHER, [f"--address={NODES[HEAD]}:{PORT}"]),
    ):
        place = f"--node-ip-address={NODES[node]}"
        begun = within(node, *ray, *small, *role, place, stdout=sys.stderr)
        if begun.wait(timeout=120):
            sys.exit(f"Ray does not begin on {node}")


def stop() -> None:
    """End everything in the namespaces, and them."""
    for node in NODES:
        for pid in pids(node):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        subprocess.run(["ip", "netns", "del", node], check=False)


def lose_a_node(run: Path, driver: subprocess.Popen[bytes]) -> dict[str, Any]:
    """Kill the raylet of the other node once a training there has stored a state."""
    while driver.poll() is None:
        there = set(pids(OTHER))
        for state in run.glob("cache/states/train/*/*.json"):
            pid = int(state.stem.split("-")[-2])
            if pid in there:
                killed = [p for p in there if name_of(p) == "raylet"]
                for p in killed:
                    os.kill(p, signal.SIGKILL)
                return {
                    "unit": state.parent.name,
                    "at_step": int(state.stem[:9]),
                    "raylets_killed": len(killed),
                }
        time.sleep(0.05)
    sys.exit("the run ended before a training of the other node was cut")


def main(folder: Path) -> int:
    """Do the drill; returns 0 if the bytes are the same."""
    folder.mkdir(parents=True)
    token = folder / "token"
    token.write_text(secrets.token_hex(32))
    token.chmod(0o600)
    os.environ |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(token.absolute())}
    recipe = folder / "two-nodes.yaml"
    recipe.write_text(RECIPE)
    score = [sys.executable, "-m", "curate", "score", recipe, "--device", "cpu", "--runs"]
    here = [*map(str, score), str(folder / "local"), "--workers", "1"]
    subprocess.run(here, check=True, stdout=sys.stderr)
    kept = tempfile.mkdtemp(prefix="ray-")
    try:
        start(kept)
        began = time.monotonic()
        driver = within(
            HEAD, *score, folder / "ray", "--engine", "ray", stdout=sys.stderr,
            env={**os.environ, "RAY_ADDRESS": f"{NODES[HEAD]}:{PORT}"},
        )  # fmt: skip
        lost = lose_a_node(folder / "ray" / "two-nodes", driver)
        code = driver.wait(timeout=900)
        seconds = round(time.monotonic() - began, 1)
    finally:
        stop()
        shutil.rmtree(kept)
    local, ray = (made(folder / name / "two-nodes") for name in ("local", "ray"))
    result = {
        "exit_code": code,
        "seconds": seconds,
        "lost": lost,
        "files": len(local),
        "same_bytes": local == ray,
    }
    sys.stdout.write(json.dumps(result, indent=2) + "\n")
    return 0 if code == 0 and local == ray else 1


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
