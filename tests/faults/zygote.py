"""A process that has imported everything, and forks a child for each command that is drilled.

A drill then costs what its stage does, and not the import of torch. Requests come as lines of JSON
on stdin, answers go as lines of JSON to stdout; ``drilling.Zygote`` is the other end.
"""

import contextlib
import ctypes
import faulthandler
import fcntl
import importlib
import json
import os
import pkgutil
import resource
import select
import signal
import sys
import time
from pathlib import Path

HANG = 120.0
"""Seconds after which a command hangs: far more than any takes."""
DAC_OVERRIDE, DAC_READ_SEARCH = 1, 2
STOPPING = {signal.SIGINT, signal.SIGTERM}
WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC
CHANGES = ("os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.link", "os.symlink", "os.truncate")
"""What the interpreter tells its audit hooks of; writes of C++ lie between two of them."""


def main():
    """Answer requests until stdin ends."""
    _import_everything()
    # A thread would not be there in a child, and what it holds would be locked for ever. That of
    # Arrow's allocator sees to it itself.
    threads = [
        task.joinpath("comm").read_text().strip() for task in Path("/proc/self/task").iterdir()
    ]
    assert len([name for name in threads if name != "jemalloc_bg_thd"]) == 1, threads
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    _answer(answers, {"ready": os.getpid()})
    running, printed = None, {}
    for line in sys.stdin:
        request = json.loads(line)
        if "go_on" in request:
            os.kill(running, request["go_on"])
        else:
            _close(printed)
            printed = {name: _pipe() for name in ("out", "err")}
            running = _fork(request, printed)
        answer = _followed(running, request)
        _answer(answers, {**answer, **{name: _read(pipe) for name, pipe in printed.items()}})


def _import_everything():
    import curate

    for module in pkgutil.walk_packages(curate.__path__, "curate."):
        importlib.import_module(module.name)
    for name in (
        *("datasets", "faiss", "hypothesis", "matplotlib.backends.backend_agg", "scipy.stats"),
        *("sklearn.datasets", "sklearn.linear_model", "torch._dynamo", "webdataset"),
        *("pyarrow.csv", "pyarrow.parquet", "timm.optim", "filelock"),
    ):
        importlib.import_module(name)
    from PIL import Image

    from curate.runtime import versions as code

    Image.init()
    for stage in code.CODE:  # which remembers a digest of every stage
        code.of_stage(stage)


def _answer(stream, content):
    stream.write(json.dumps(content) + "\n")
    stream.flush()


# In the zygote


def _pipe():
    """Return a pipe that holds more than any command prints; no disk has to be there for it."""
    pipe = os.pipe()
    os.set_blocking(pipe[0], False)
    fcntl.fcntl(pipe[1], fcntl.F_SETPIPE_SZ, 2**20)
    return pipe


def _read(pipe):
    text = b""
    with contextlib.suppress(BlockingIOError):
        while some := os.read(pipe[0], 2**16):
            text += some
    return text.decode("utf-8", "replace")


def _close(printed):
    for pipe in printed.values():
        for end in pipe:
            os.close(end)


def _fork(request, printed):
    # Held back until the command line has its handlers, which for a user is when it starts.
    signal.pthread_sigmask(signal.SIG_BLOCK, STOPPING)
    pid = os.fork()
    if pid:
        return pid
    code = 70
    try:
        code = _child(request, printed)
    except SystemExit as end:
        code = end.code or 0
    finally:
        # What main would do on leaving belongs to the zygote.
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _followed(pid, request):
    """Wait for a child, send it the signal it is to get, and say how it ended."""
    started = time.monotonic()
    signals = list(request.get("signals", ()))
    until = started + request.get("hang", HANG)
    hung = False
    watched = os.pidfd_open(pid)
    try:
        while True:
            if request.get("stop_event"):
                done, status = os.waitpid(pid, os.WNOHANG | os.WUNTRACED)
                if done and os.WIFSTOPPED(status):
                    return {"stopped": True, "pid": pid}
                if done:
                    return _ended(status, started, None, hung)
                time.sleep(0.005)
                continue
            due = started + signals[0][0] if signals else until
            ready, _, _ = select.select([watched], [], [], max(0.0, due - time.monotonic()))
            if ready:
                _, status, used = os.wait4(pid, 0)
                return _ended(status, started, used, hung)
            if signals:
                os.kill(pid, signals.pop(0)[1])
            else:
                hung = True
                os.kill(pid, signal.SIGKILL)
                until = time.monotonic() + HANG
    finally:
        os.close(watched)


def _ended(status, started, used, hung):
    return {
        "code": os.waitstatus_to_exitcode(status),
        "seconds": time.monotonic() - started,
        "memory": used.ru_maxrss * 1024 if used else None,
        "hung": hung,
    }


# In a child


def _child(request, printed):
    """Type a command: what ``curate`` does from here on is what it does for a user."""
    here = request["cwd"]
    os.chdir(here)
    null = os.open(os.devnull, os.O_RDONLY)
    for number, target in enumerate((null, printed["out"][1], printed["err"][1])):
        os.dup2(target, number)
    _close(printed)
    sys.stdin = open(os.devnull, encoding="utf-8")  # noqa: SIM115, PTH123
    sys.stdout = os.fdopen(1, "w", encoding="utf-8")
    sys.stderr = os.fdopen(2, "w", encoding="utf-8")
    faulthandler.enable(2)
    os.environ.update(request.get("env", {}))
    for name, value in request.get("limits", {}).items():
        kind = getattr(resource, f"RLIMIT_{name}")
        resource.setrlimit(kind, (value, resource.getrlimit(kind)[1]))
    if request.get("obey_modes"):
        _obey_modes()
    for patch in request.get("patches", ()):
        _patch(*patch)
    _watch(Path(here).resolve(), request)
    sys.argv = ["curate", *request["arguments"]]
    from curate.cli import app as cli

    real = cli.app

    def app(*arguments, **options):
        signal.pthread_sigmask(signal.SIG_UNBLOCK, STOPPING)
        try:
            return real(*arguments, **options)
        finally:
            signal.pthread_sigmask(signal.SIG_BLOCK, STOPPING)

    cli.app = app
    cli.main()
    return 0


def _patch(module, name, value):
    """Put ``value`` in the place of what a name of a module holds, or of what it returns."""
    home = importlib.import_module(module)
    there = getattr(home, name)
    setattr(home, name, (lambda *_, **__: value) if callable(there) else value)


def _obey_modes():
    """Make the modes of files bind root as well, who else may write anything."""
    if os.geteuid():
        return
    header = (ctypes.c_uint32 * 2)(0x20080522, 0)
    data = (ctypes.c_uint32 * 6)()
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.capget(header, data):
        raise OSError(ctypes.get_errno(), "capget")
    for kind in range(3):
        data[kind] &= ~((1 << DAC_OVERRIDE) | (1 << DAC_READ_SEARCH))
    if libc.capset(header, data):
        raise OSError(ctypes.get_errno(), "capset")


def _watch(here, request):
    """Count what the command does to files below ``here``; die or stop just before one of them."""
    die, stop, count = (request.get(n) for n in ("die_event", "stop_event", "count"))
    if not (die or stop or count):
        return
    seen, parent = 0, os.getpid()

    def inside(path):
        if isinstance(path, int):
            return False
        return os.path.abspath(os.fsdecode(path)).startswith(f"{here}/")  # noqa: PTH100

    def event():
        nonlocal seen
        if os.getpid() != parent:
            return
        seen += 1
        if seen == die:
            os.kill(parent, signal.SIGKILL)
        if seen == stop:
            os.kill(parent, signal.SIGSTOP)

    def hook(name, arguments):
        if name == "open":
            path, mode, flags = arguments
            changes = (
                bool(flags & WRITES) if isinstance(flags, int) else set(mode or "") & set("wax+")
            )
            if changes and inside(path):
                event()
        elif name in CHANGES and inside(arguments[0]):
            event()

    real = os.fsync

    def fsync(handle):
        event()
        real(handle)

    os.fsync = fsync
    sys.addaudithook(hook)
    if count:
        leave = os._exit

        def tell(code):
            sys.stdout.flush()
            sys.stderr.flush()
            Path(count).write_text(str(seen), encoding="utf-8")
            leave(code)

        os._exit = tell


if __name__ == "__main__":
    main()
