"""A stand-in for Slurm's five commands, where there is none: jobs are processes of this machine.

``install`` puts them into a folder for PATH. What is submitted is run by bash as it stands, an
array all at once, with the variables that Slurm sets; ``scancel`` sends SIGTERM as Slurm does, and
``scontrol requeue`` begins a job again.
"""

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

NAMES = ("sbatch", "srun", "sacct", "scancel", "scontrol")


def install(folder):
    """Put the commands into a new folder."""
    folder.mkdir()
    for name in NAMES:
        command = folder / name
        command.write_text(f'#!/bin/sh\nexec {sys.executable} -S {__file__} {name} "$@"\n')
        command.chmod(0o755)
    return folder


def begin(state, job):
    """Begin a job of ``state`` (array, index, script), and note its process."""
    array, index, script = state[job]["array"], state[job]["index"], state[job]["script"]
    variables = {
        "SLURM_JOB_ID": str(1000 + int(array) * 10 + int(index or 0)),
        "SLURM_NTASKS": "1", "SLURM_JOB_NUM_NODES": "1", "SLURM_NODEID": "0",
        "SLURM_PROCID": "0", "SLURM_LOCALID": "0", "SLURM_JOB_NODELIST": "here",
    }  # fmt: skip
    if index is None:
        variables["SLURM_JOB_ID"] = array
    else:
        variables |= {"SLURM_ARRAY_JOB_ID": array, "SLURM_ARRAY_TASK_ID": index}
    process = subprocess.Popen(
        ["bash", script], env={**os.environ, **variables}, start_new_session=True,
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    state[job]["pids"] = [*state[job].get("pids", []), process.pid]


def alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def main(name, *arguments):
    home = Path(__file__) if "STAND_IN" not in os.environ else Path(os.environ["STAND_IN"])
    path = home / "jobs.json"
    state = json.loads(path.read_text()) if path.exists() else {}
    if name == "sbatch":
        script = arguments[-1]
        array = str(len(state) + 1)
        found = re.search(r"--array=0-(\d+)%", Path(script).read_text())
        kept = home / f"{array}.sh"
        kept.write_text(Path(script).read_text())
        for index in map(str, range(int(found[1]) + 1)) if found else [None]:
            job = array if index is None else f"{array}_{index}"
            state[job] = {"array": array, "index": index, "script": str(kept)}
            begin(state, job)
        sys.stdout.write(f"Submitted batch job {array}\n")
    elif name == "srun":
        options = [a for a in arguments if a.startswith("--")]
        assert "--unbuffered" in options
        out, error = (arguments[arguments.index(o) + 1] for o in ("--output", "--error"))
        command = arguments[max(arguments.index(a) for a in options) + 1 :]
        if options[-1] == "--error":
            command = command[1:]
        job = os.environ["SLURM_JOB_ID"]
        if "SLURM_ARRAY_JOB_ID" in os.environ:
            job = f"{os.environ['SLURM_ARRAY_JOB_ID']}_{os.environ['SLURM_ARRAY_TASK_ID']}"
        places = [re.sub("%A_%a|%j", job, place).replace("%t", "0") for place in (out, error)]
        for number, place in enumerate(places, 1):
            Path(place).parent.mkdir(parents=True, exist_ok=True)
            os.dup2(os.open(place, os.O_WRONLY | os.O_CREAT | os.O_APPEND), number)
        os.execvp(command[0], command)
    elif name == "sacct":
        sys.stdout.write("JobID|State|NodeList\n")
        for job, about in state.items():
            running = alive(about["pids"][-1])
            state_now = "RUNNING" if running else about.get("ended", "FAILED")
            sys.stdout.write(f"{job}|{state_now}|here\n")
    elif name == "scancel":
        for job, about in state.items():
            if about["array"] in arguments or job in arguments:
                about["ended"] = "CANCELLED"
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(about["pids"][-1], signal.SIGTERM)
    elif name == "scontrol":
        assert arguments[0] == "requeue"
        begin(state, arguments[1])
    if name in ("sbatch", "scancel", "scontrol"):
        path.write_text(json.dumps(state))


if __name__ == "__main__":
    main(*sys.argv[1:])
