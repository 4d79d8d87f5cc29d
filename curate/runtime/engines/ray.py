"""Units on a Ray cluster: one of this machine's own, or one that is there."""

from __future__ import annotations

import logging
import os
import signal
import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import Field

from curate.errors import ResourceError
from curate.runtime import signals
from curate.runtime.engines.base import GRACE, Unit, attempt, main_thread, obeying
from curate.runtime.options import option
from curate.runtime.progress import Together
from curate.runtime.settings import Positive, Section
from curate.runtime.signals import Stopped

log = logging.getLogger("curate")

SCHEME = "ray://"
POLL = 0.5
"""Seconds between two looks at what units report."""


class Settings(Section):
    """What a unit gets of a cluster."""

    gpus: float = Field(default=1.0, gt=0, le=1)
    """Share of a card that a unit on CUDA takes: 0.5 puts two on each."""
    cpus: Positive | None = None
    """Cores that a unit takes; None takes as many as it has threads."""
    retries: int = Field(default=3, ge=0)
    """How often a unit is begun again whose worker or node was lost."""


class Board:
    """What units report: an actor of Ray, beside whoever asked for them."""

    def __init__(self) -> None:
        self._told: dict[str, tuple[int, int]] = {}

    def tell(self, unit: str, done: int, total: int) -> None:
        """Take in how far a unit is."""
        self._told[unit] = done, total

    def told(self) -> dict[str, tuple[int, int]]:
        """Return what was told since the last time."""
        told, self._told = self._told, {}
        return told


@dataclass(frozen=True)
class Ray:
    """A cluster; curate and the folder of runs are at the same place on all its nodes.

    Attributes:
        address: ``ray://HOST:PORT`` of its client server; None takes the cluster that this machine
            belongs to (or ``RAY_ADDRESS``), and where there is none begins one of this machine.
        settings: What a unit gets.
    """

    address: str | None
    settings: Settings

    def __post_init__(self) -> None:
        """Check that Ray is there before anything else is done.

        Raises:
            ResourceError: If it is not.
        """
        _library()

    def run(self, units: Sequence[Unit], report: Together, folder: Path) -> None:
        """Do units as tasks, spread over the nodes; nothing is kept in ``folder``.

        Raises:
            CurateError: The first error of a unit; the others are stopped.
            ResourceError: If there is no cluster, or a unit lost its worker too often.
        """
        if not units:
            return
        ray = _connected(self.address)
        board, task = _beside_us(ray), ray.remote(_task)
        options = self._options(ray, units)
        pending: dict[Any, str] = {}
        left = {unit.name for unit in units}
        # What a signal raises within Ray's own code comes out of it as an error of Python.
        with signals.held("what the cluster is at") as work:
            try:
                for unit, of_unit in zip(units, options, strict=True):
                    begun = task.options(name=unit.name, **of_unit).remote(unit.anywhere(), board)
                    pending[begun] = unit.name
                while pending and work.wanted is None:
                    ended, _ = ray.wait(list(pending), timeout=POLL)
                    for name, (done, total) in _told(ray, board).items():
                        if name in left:
                            report.tell(name, done, total)
                    for one in ended:
                        name = pending.pop(one)
                        if (error := self._outcome(ray, one, name)) is not None:
                            raise error
                        left.remove(name)
                        report.finish(name)
            finally:
                _stop(ray, list(pending))
                ray.kill(board)

    def _options(self, ray: Any, units: Sequence[Unit]) -> list[dict[str, Any]]:
        """Return what each unit asks of the cluster."""
        nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
        # A unit that asks for more cores than any node has would wait for ever.
        most = max((node.get("CPU", 0.0) for node in nodes), default=0.0)
        if any(unit.gpus for unit in units) and not any(node.get("GPU") for node in nodes):
            log.warning("no node of the Ray cluster has a card yet: the units wait for one.")
        return [
            {
                "num_cpus": min(self.settings.cpus or unit.cpus, most) if most else 1,
                "num_gpus": unit.gpus * self.settings.gpus,
                "max_retries": self.settings.retries,
                "retry_exceptions": False,
                "scheduling_strategy": "SPREAD",
            }
            for unit in units
        ]

    def _outcome(self, ray: Any, task: Any, unit: str) -> Exception | None:
        """Return the error of a unit that has ended; None for none."""
        try:
            error: Exception | None = ray.get(task)
        except ray.exceptions.RayTaskError as lost:
            return RuntimeError(f"{unit}: {lost}")
        except ray.exceptions.RayError as lost:
            why = (str(lost).splitlines() or [type(lost).__name__])[0][:200]
            return ResourceError(
                f"{unit} lost its worker or its node {self.settings.retries + 1} times, perhaps "
                f"for want of memory ({why}); see the cluster's logs, and type the same command "
                "again."
            )
        return error


def _library() -> Any:
    try:
        import ray
    except ImportError as error:
        raise ResourceError(
            f"Ray is not installed, which {option(engine='ray')} needs: pip install 'curate[ray]'."
        ) from error
    return ray


def _said(data: Mapping[str, Any], ignore_prefix: bool = False) -> None:
    """Say in a line what a node has to tell, such as that a worker died."""
    for text in data["lines"]:
        log.info("Ray: %s", (text.strip().splitlines() or [""])[0][:160])


def _connected(address: str | None) -> Any:
    """Return the library, connected to a cluster, as it stays until this process ends.

    Raises:
        ResourceError: If there is none at the address, or it refuses us.
    """
    ray = _library()
    # Ray prints such things to stdout, pages of them, where results go and nothing else.
    ray._private.worker.print_to_stdstream = _said
    if ray.is_initialized():
        return ray
    # Nobody was asked whether Ray may report how it is used.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    before = {n: signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)}
    try:
        ray.init(address, logging_level=logging.ERROR, log_to_driver=False)
    except Exception as error:
        # Ray's own, gRPC's and those of whatever opened the connection have no base in common.
        why = (str(error).strip().splitlines() or [type(error).__name__])[0][:160].rstrip(".")
        where = address or os.environ.get("RAY_ADDRESS") or "this machine"
        raise ResourceError(
            f"no Ray cluster at {where}: {why}. Both sides need the same version of Ray and of "
            "Python, and the same token (RAY_AUTH_MODE=token): docs/scale.md tells."
        ) from error
    finally:
        if main_thread():
            # Ray takes SIGTERM for itself, and whoever asked for units saves before it goes.
            for number, handler in before.items():
                signal.signal(number, handler)
    return ray


def _beside_us(ray: Any) -> Any:
    """Return a board on the node that we are on, which is lost with us and not with a worker."""
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=True)
    actor = ray.remote(num_cpus=0, max_restarts=-1)(Board)
    return actor.options(scheduling_strategy=here).remote()


def _told(ray: Any, board: Any) -> Mapping[str, tuple[int, int]]:
    """Return what units have reported; nothing where the board is not there at the moment."""
    try:
        told: Mapping[str, tuple[int, int]] = ray.get(board.told.remote(), timeout=10 * POLL)
    except ray.exceptions.RayError as error:
        log.debug("the units' progress is not to be had: %s", error)
        return {}
    return told


def _stop(ray: Any, tasks: list[Any]) -> None:
    """Stop units, and give them time to store how far they are."""
    if not tasks:
        return
    for task in tasks:
        ray.cancel(task, force=False)
    _, deaf = ray.wait(tasks, num_returns=len(tasks), timeout=GRACE)
    for task in deaf:
        ray.cancel(task, force=True)


def _task(unit: Unit, board: Any) -> Exception | None:
    """Do a unit on a node of the cluster; returns its error, None for none."""
    log.debug("%s is done on %s", unit.name, socket.gethostname())

    def tell(done: int, total: int) -> None:
        told = board.tell.remote(unit.name, done, total)
        if done == total:  # The last word, which is to arrive before the end of the task does.
            _library().get(told, timeout=10 * POLL)

    try:
        # Ray says so when a task is cancelled; a node that goes away, and its worker, are told so.
        with obeying(signal.SIGINT, signal.SIGTERM):
            return attempt(unit, tell)
    except Stopped as stopped:
        if stopped.number == signal.SIGTERM:
            # The worker ends as Ray has it, and the unit is begun again elsewhere.
            os.kill(os.getpid(), signal.SIGTERM)
        raise KeyboardInterrupt from stopped
