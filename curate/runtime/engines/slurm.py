"""Units as arrays of Slurm, through submitit; they go on when whoever asked for them is gone."""

from __future__ import annotations

import contextlib
import hashlib
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from curate.errors import DataError, ResourceError
from curate.runtime.engines.base import GRACE, Unit, attempt, obeying
from curate.runtime.files import read_json, write_json
from curate.runtime.options import option
from curate.runtime.progress import Together
from curate.runtime.settings import Positive, Section
from curate.runtime.signals import Stopped

PREEMPTED = signal.SIGUSR1
"""What Slurm sends some time before it takes a job away, or before its time is up."""
LARGEST = 1000
"""Jobs in an array: Slurm's own limit is 1,001 where nobody has set another."""
POLL = 1.0
"""Seconds between two looks at what units report."""
STOP = "stop"
"""A file in the engine's folder: whoever asked for the units does not want them any more."""
JOBS = "jobs.json"


class Settings(Section):
    """What a job is given, and what ``sbatch`` is told besides."""

    partition: str | None = None
    account: str | None = None
    qos: str | None = None
    constraint: str | None = None
    time: Positive = 240
    """Minutes, after which a job stores how far it is and waits for its turn again."""
    mem: Positive | None = None
    """GiB; None takes the partition's default."""
    cpus: Positive | None = None
    """Cores; None takes as many as a unit has threads."""
    parallel: Positive = 256
    """Jobs of an array that run at a time."""
    notice: Positive = 90
    """Seconds before its end at which a job is told; storing a state has to fit."""
    requeues: int = Field(default=10, ge=0)
    """How often a job goes on after its time was up; that it was preempted does not count."""
    setup: str | None = None
    """A line of shell that a job begins with, such as ``module load cuda``."""
    cluster: Literal["slurm", "local", "debug"] = "slurm"
    """``local`` and ``debug`` are submitit's own, without Slurm: to try how units go."""


@dataclass(frozen=True)
class Slurm:
    """The cluster that this machine can submit to; the folder of runs is seen by all its nodes.

    Attributes:
        settings: What a job is given.
    """

    settings: Settings

    def __post_init__(self) -> None:
        """Check that submitit is there before anything else is done.

        Raises:
            ResourceError: If it is not.
        """
        _library()

    def run(self, units: Sequence[Unit], report: Together, folder: Path) -> None:
        """Do units as jobs; those that an earlier run submitted and that still work are waited for.

        Args:
            units: What to do.
            report: Takes in what they report.
            folder: Gets what goes to the jobs and comes from them, and their output.

        Raises:
            CurateError: The first error of a unit; the others are cancelled.
            ResourceError: If nothing can be submitted, or a job ended without a word.
        """
        if not units:
            return
        home = (folder / "slurm").absolute()
        home.mkdir(parents=True, exist_ok=True)
        (home / STOP).unlink(missing_ok=True)
        pending = self._submitted(units, home)
        try:
            while pending:
                for name, job in list(pending.items()):
                    if told := _told(home, name):
                        report.tell(name, *told)
                    if job.done():
                        if (error := _outcome(name, job)) is not None:
                            raise error
                        del pending[name]
                        report.finish(name)
                        # What it was asked and what it said; of one that failed it tells why.
                        shutil.rmtree(job.paths.folder, ignore_errors=True)
                if pending:
                    time.sleep(POLL)
        finally:
            self._stop(list(pending.values()), home)

    def script(self, units: Sequence[Unit], folder: Path) -> str:
        """Return the script that ``sbatch`` would get for units, of which there is one at least."""
        _library()
        from submitit.slurm import slurm

        home = (folder / "slurm").absolute()
        command = f"{shlex.quote(sys.executable)} -u -m submitit.core._submit"
        lines = self._lines(units)
        if len(units) > 1:
            lines["map_count"] = min(len(units), LARGEST)
        text: str = slurm._make_sbatch_string(
            f"{command} {shlex.quote(str(home / '%j'))}",
            home / "%j",
            **lines,
        )
        return text

    def _lines(self, units: Sequence[Unit]) -> dict[str, Any]:
        """Return what submitit makes a script of."""
        asked = self.settings
        cpus = asked.cpus or max(unit.cpus for unit in units)
        setup = [f"export {_SIGNAL}={PREEMPTED.name.removeprefix('SIG')}"]
        given = {
            "job_name": "curate",
            "partition": asked.partition,
            "account": asked.account,
            "qos": asked.qos,
            "constraint": asked.constraint,
            "time": asked.time,
            "mem": f"{asked.mem}GB" if asked.mem else None,
            "cpus_per_task": cpus,
            "gpus_per_node": max(unit.gpus for unit in units) or None,
            "ntasks_per_node": 1,
            "array_parallelism": asked.parallel,
            "signal_delay_s": asked.notice,
            "setup": [*setup, asked.setup] if asked.setup else setup,
            # Since Slurm 22.05 a step does not get its job's cores unasked.
            "srun_args": [f"--cpus-per-task={cpus}"],
            "additional_parameters": {"requeue": True},
        }
        return {key: value for key, value in given.items() if value is not None} | {"wckey": None}

    def _executor(self, units: Sequence[Unit], home: Path) -> Any:
        """Return what submits.

        Raises:
            ResourceError: If this machine cannot.
        """
        submitit = _library()
        if self.settings.cluster == "debug":
            return submitit.DebugExecutor(home)
        if self.settings.cluster == "local":
            executor = submitit.LocalExecutor(home / "%j", self.settings.requeues)
            executor.update_parameters(
                timeout_min=self.settings.time, signal_delay_s=self.settings.notice
            )
            return executor
        try:
            executor = submitit.SlurmExecutor(home / "%j", self.settings.requeues)
        except RuntimeError as error:
            raise ResourceError(
                "there is no Slurm on this machine (no srun); type the command on a login node."
            ) from error
        executor.update_parameters(**self._lines(units))
        return executor

    def _submitted(self, units: Sequence[Unit], home: Path) -> dict[str, Any]:
        """Return the job of each unit, by its name: one that still works, or a new one.

        Raises:
            ResourceError: If Slurm refuses.
        """
        submitit = _library()
        known = _jobs(home)
        jobs: dict[str, Any] = {}
        if self.settings.cluster == "slurm":
            for unit in units:
                if unit.key and known.get(unit.name, {}).get("key") == unit.key:
                    job = submitit.SlurmJob(home / "%j", known[unit.name]["job"])
                    if not job.done(force_check=True):
                        jobs[unit.name] = job
        fresh = [unit for unit in units if unit.name not in jobs]
        for unit in fresh:
            _progress(home, unit.name).unlink(missing_ok=True)
        for start in range(0, len(fresh), LARGEST):
            some = fresh[start : start + LARGEST]
            executor = self._executor(some, home)
            try:
                with executor.batch():
                    new = [executor.submit(Task(home), unit.anywhere()) for unit in some]
            except (submitit.core.utils.FailedJobError, OSError, subprocess.SubprocessError) as no:
                raise ResourceError(f"Slurm takes no job: {_line(no)}") from no
            jobs |= {unit.name: job for unit, job in zip(some, new, strict=True)}
            known |= {
                unit.name: {"job": job.job_id, "key": unit.key}
                for unit, job in zip(some, new, strict=True)
            }
            write_json(home / JOBS, known)
        return jobs

    def _stop(self, jobs: Sequence[Any], home: Path) -> None:
        """Cancel jobs, and give them time to store how far they are."""
        if not jobs:
            return
        # First: a job that is told to end cannot know whether it is to come back.
        (home / STOP).touch()
        if self.settings.cluster == "slurm":
            arrays = {job.job_id.partition("_")[0] for job in jobs}
            subprocess.call(["scancel", *sorted(arrays)])
        for job in jobs:
            if self.settings.cluster == "local":
                with contextlib.suppress(ProcessLookupError):
                    os.kill(int(job.job_id), signal.SIGTERM)
            elif self.settings.cluster == "debug":
                job.cancel()
        if self.settings.cluster != "debug":
            until = time.monotonic() + GRACE
            while not all(job.done() for job in jobs) and time.monotonic() < until:
                time.sleep(POLL)


@dataclass(frozen=True)
class Task:
    """What a job does: a unit, which is stored and begun again when the job is preempted.

    Attributes:
        home: The engine's folder.
    """

    home: Path

    def __call__(self, unit: Unit) -> Exception | None:
        """Do a unit; returns its error, None for none."""
        requeue = signal.getsignal(PREEMPTED)

        def tell(done: int, total: int) -> None:
            write_json(_progress(self.home, unit.name), {"done": done, "total": total})

        def wanted(number: int) -> bool:
            # Before it preempts a job Slurm sends SIGTERM as well, and that is not its end yet.
            return number == PREEMPTED or (self.home / STOP).exists()

        try:
            with obeying(PREEMPTED, signal.SIGTERM, when=wanted):
                return attempt(unit, tell)
        except Stopped as stopped:
            if stopped.number == PREEMPTED and callable(requeue):
                # submitit's, which asks Slurm to begin the job again and ends this process.
                requeue(PREEMPTED, None)
            # Not as a result, or the unit would be taken for done.
            raise

    def checkpoint(self, unit: Unit) -> Any:
        """Return what a job does that begins again: the unit, from the state that it stored."""
        return _library().helpers.DelayedSubmission(self, unit)


_SIGNAL = "SUBMITIT_PREEMPT_SIGNAL"


def _library() -> Any:
    name = PREEMPTED.name.removeprefix("SIG")
    # submitit reads this once, when it is imported: whoever was first here, and in the jobs.
    os.environ.setdefault(_SIGNAL, name)
    try:
        import submitit
    except ImportError as error:
        raise ResourceError(
            f"submitit is not installed, which {option(engine='slurm')} needs: "
            "pip install 'curate[slurm]'."
        ) from error
    submitit.JobEnvironment.USR_SIG = name
    return submitit


def _jobs(home: Path) -> dict[str, Any]:
    """Return the jobs that were submitted, by the name of their unit."""
    try:
        return read_json(home / JOBS)
    except DataError:
        return {}


def _progress(home: Path, unit: str) -> Path:
    """Return the file in which a unit says how far it is."""
    return home / "progress" / f"{hashlib.sha256(unit.encode()).hexdigest()[:16]}.json"


def _told(home: Path, unit: str) -> tuple[int, int] | None:
    """Return the steps done and the steps in all of a unit; None where it has not said yet."""
    try:
        told = read_json(_progress(home, unit))
        return int(told["done"]), int(told["total"])
    except (DataError, KeyError):
        return None


def _outcome(unit: str, job: Any) -> Exception | None:
    """Return the error of a unit whose job has ended; None for none."""
    submitit = _library()
    try:
        error: Exception | None = job.result()
    except (submitit.core.utils.UncompletedJobError, submitit.core.utils.FailedJobError) as lost:
        return ResourceError(
            f"{unit}: job {job.job_id} ended without a result ({_line(lost)}); its output is in "
            f"{job.paths.stderr}. Type the same command again."
        )
    return error


def _line(error: Exception) -> str:
    """Return the last line of an error that says something."""
    lines: Iterator[str] = (line.strip(" -") for line in reversed(str(error).splitlines()))
    return next((line for line in lines if line), type(error).__name__)[:200]
