"""One encoder by several processes: rank 0 is the command itself, and tells the others what to do.

The others are started here (``--ranks``), or were started with it by torchrun or whatever sets
``RANK``, ``WORLD_SIZE``, ``MASTER_ADDR`` and ``MASTER_PORT``. They wait until rank 0 has read the
images and made the plan, train every encoder with it, and write nothing.
"""

from __future__ import annotations

import contextlib
import json
import logging
import multiprocessing as mp
import os
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.distributed as dist
from torch.distributed.rendezvous import rendezvous

from curate.encoders.config import TrainConfig
from curate.encoders.ranks import LostRankError, Ranks
from curate.errors import CurateError, ResourceError, UsageError
from curate.runtime import signals
from curate.runtime.engines.base import Unit, portable
from curate.runtime.engines.local import die_with
from curate.runtime.options import option
from curate.runtime.progress import Together
from curate.runtime.signals import Stopped

LAUNCHED = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
"""What a launcher tells each process that it starts."""
FAILED = "failed"
"""Key under which rank 0 says that its own error is told."""
PATIENCE = 10.0
"""Seconds in which a rank notices by itself that another one is gone; a card may not."""
LOOK = 0.2
"""Seconds between two looks at what rank 0 wants."""


def launched() -> Ranks:
    """Return which of how many processes this one is, as a launcher such as torchrun says."""
    if not all(name in os.environ for name in LAUNCHED):
        return Ranks()
    return Ranks(int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"]))


def size_of(asked: int | None, config: TrainConfig) -> int:
    """Return how many processes train an encoder of a recipe.

    Args:
        asked: What ``--ranks`` says; None for what a launcher has started, or one.
        config: The recipe's ``train``.

    Raises:
        UsageError: If the recipe cannot be trained by so many.
    """
    there = launched().size
    if asked is not None and there > 1 and asked != there:
        argument = option(ranks=asked)
        raise UsageError(f"{argument}: {there} were launched already; leave it out.")
    size = asked or there
    if size > 1 and config.dp is not None:
        raise UsageError("train.dp trains in one process; leave out the ranks.")
    if size > 1 and config.stack > 1:
        raise UsageError(
            "train.stack trains several encoders in one process; leave out the ranks, or use "
            f"{option(overrides={'train.stack': 1}, called='NEW')}."
        )
    if config.parts % size:
        raise UsageError(
            f"{size} ranks cannot share train.parts {config.parts}, the parts of a batch; use "
            f"{option(overrides={'train.parts': size}, called='NEW')}, since its encoders are "
            "others, or as many ranks as divide it."
        )
    if size > 1 and not dist.is_available():
        raise ResourceError("this build of PyTorch has no torch.distributed; leave out the ranks.")
    return size


@dataclass
class Lead:
    """Rank 0: does units of work together with the other ranks.

    Attributes:
        size: Ranks in all.
        follow: What a unit does; the function that the others call with its arguments.
        device: ``cpu`` or ``cuda``.
        cards: Which card each rank of a machine takes, where they are named; else its own number.
    """

    size: int
    follow: Callable[..., None]
    device: str = "cpu"
    cards: Sequence[int] = ()
    _store: Any = None
    _sent: int = 0
    _others: list[tuple[Any, Any]] = field(default_factory=list)
    _ended: threading.Event = field(default_factory=threading.Event)

    def run(self, units: Sequence[Unit], together: Together) -> None:
        """Do units one after the other, each with all ranks.

        Args:
            units: Their function is ``follow``; JSON holds their arguments.
            together: Is told how far they are.

        Raises:
            CurateError: The first error of a unit.
            ResourceError: If another rank was killed.
        """
        try:
            if self._others:
                _card(self.device, self.cards, self.size - 1)
            self._tell({"device": self.device, "cards": list(self.cards)})
            _take_card(self.device, self.cards, int(os.environ.get("LOCAL_RANK", 0)))
            _join(self._store, Ranks(0, self.size), self.device)
            for unit in units:
                self._tell(unit.arguments)

                def progress(what: str, done: int, total: int, name: str = unit.name) -> None:
                    together.tell(name, done, total)

                ranks = Ranks(0, self.size)
                self.follow(**unit.arguments, ranks=ranks, progress=progress)
                together.finish(unit.name)
        except LostRankError as error:
            raise (self._why() or error) from error
        except (Stopped, Exception):
            with contextlib.suppress(RuntimeError):
                self._store.set(FAILED, "")
            raise
        finally:
            if dist.is_initialized():
                dist.destroy_process_group()

    def begin(self, folder: str) -> None:
        """Reach the ranks that were launched, or launch them here: on this machine, below this.

        Args:
            folder: An empty one, where those that are launched here find each other.
        """
        if launched().size > 1:
            self._store = next(iter(rendezvous("env://")))[0]
            return
        if sys.platform == "linux":
            # What is on one machine need not be reached from another.
            os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
        place = f"{folder}/store"
        self._store = dist.FileStore(place, self.size)  # type: ignore[attr-defined]
        context = mp.get_context("spawn")
        for rank in range(1, self.size):
            reader, writer = context.Pipe(duplex=False)
            arguments = (place, Ranks(rank, self.size), os.getpid(), writer, self.follow)
            process = context.Process(target=_follow_here, args=arguments, daemon=True)
            with signals.starting():
                process.start()
            writer.close()
            self._others.append((process, reader))
        threading.Thread(target=self._watch, daemon=True).start()

    def end(self) -> None:
        """Let the other ranks go."""
        self._ended.set()
        if self._store is not None:
            with contextlib.suppress(RuntimeError):
                self._tell(None)
        for process, _ in self._others:
            # It has nothing to keep.
            process.kill()
            process.join()

    def _tell(self, what: dict[str, Any] | None) -> None:
        self._store.set(f"unit/{self._sent}", json.dumps(what))
        self._sent += 1

    def _dead(self) -> list[tuple[int, int]]:
        """Return the ranks that ended by an error or a signal, and how."""
        ends = [(rank, p.exitcode) for rank, (p, _) in enumerate(self._others, start=1)]
        return [(rank, code) for rank, code in ends if code]

    def _why(self) -> Exception | None:
        """Return what ended another rank; None where that is not known here."""
        until = time.monotonic() + (PATIENCE if self._others else 0)
        while time.monotonic() < until:
            dead = self._dead()
            for _, reader in self._others:
                with contextlib.suppress(EOFError):
                    if reader.poll():
                        error: Exception = reader.recv()
                        return error
            if dead:
                rank, code = dead[0]
                how = f"was killed by signal {-code}" if code < 0 else f"ended with code {code}"
                return ResourceError(
                    f"rank {rank} of {self.size} {how}, perhaps for want of memory; type the same "
                    "command again, which goes on from the last state."
                )
            time.sleep(LOOK)
        return None

    def _watch(self) -> None:
        """End this process where it waits for a rank that is gone, which a card does for long."""
        while not self._ended.wait(LOOK):
            if self._dead():
                if not self._ended.wait(PATIENCE):
                    os.write(2, f"error: {self._why()}\n".encode())
                    os._exit(ResourceError.exit_code)
                return


@contextlib.contextmanager
def leading(size: int, follow: Callable[..., None]) -> Iterator[Lead | None]:
    """Lead the ranks of a command while a block runs; None where there is one process alone."""
    if size == 1:
        yield None
        return
    with tempfile.TemporaryDirectory(prefix="curate-ranks-") as folder:
        lead = Lead(size, follow)
        try:
            lead.begin(folder)
            yield lead
        finally:
            lead.end()


def follow(function: Callable[..., None]) -> None:
    """Be a rank that a launcher started beside rank 0, until that has no more to do.

    Args:
        function: Gets the arguments of each unit, and ``ranks``.

    Raises:
        CurateError: If this rank cannot go on, and rank 0 does not say why.
    """
    store, rank, size = next(iter(rendezvous("env://")))
    with contextlib.suppress(Stopped):  # Rank 0 says so.
        _follow(store, Ranks(rank, size), int(os.environ.get("LOCAL_RANK", rank)), function)


def _follow_here(
    place: str, ranks: Ranks, parent: int, writer: Any, function: Callable[..., None]
) -> None:
    """Be a rank that rank 0 started."""
    # A signal may reach the whole group; rank 0 decides, after whose step all stop.
    signals.leave_it()
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    threading.Thread(target=die_with, args=(parent,), daemon=True).start()
    try:
        store = dist.FileStore(place, ranks.size)  # type: ignore[attr-defined]
        _follow(store, ranks, ranks.rank, function)
    except (Stopped, LostRankError):
        pass  # Rank 0 says so.
    except Exception as error:
        writer.send(portable(f"rank {ranks.rank}", error))
        os._exit(1)


def _follow(store: Any, ranks: Ranks, local: int, function: Callable[..., None]) -> None:
    # Rank 0 warns of what there is to warn of.
    logging.getLogger("curate").setLevel(logging.ERROR)
    try:
        about = _told(store, 0)
        if about is None:
            return
        _take_card(about["device"], about["cards"], local)
        _join(store, ranks, about["device"])
        number = 1
        while (arguments := _told(store, number)) is not None:
            function(**arguments, ranks=ranks)
            number += 1
    except CurateError:
        # What goes wrong on every rank is told by the first.
        until = time.monotonic() + PATIENCE / 2
        while time.monotonic() < until:
            with contextlib.suppress(RuntimeError):
                if store.check([FAILED]):
                    return
            time.sleep(LOOK)
        raise
    finally:
        if dist.is_initialized():
            dist.destroy_process_group()


def _told(store: Any, number: int) -> dict[str, Any] | None:
    """Return what rank 0 wants next, whenever it does."""
    key = f"unit/{number}"
    try:
        # Not by waiting there, where no signal is obeyed.
        while not store.check([key]):
            time.sleep(LOOK)
        task: dict[str, Any] | None = json.loads(store.get(key))
    except RuntimeError as error:
        raise LostRankError("rank 0 of this training cannot be reached any more.") from error
    return task


def _card(device: str, cards: Sequence[int], local: int) -> int | None:
    """Return the card of a machine's rank ``local``; None where ranks need none.

    Raises:
        UsageError: If it has none.
    """
    if device == "cpu":
        return None
    numbers = cards if cards else range(torch.cuda.device_count())
    if local >= len(numbers):
        raise UsageError(
            f"rank {local} of this machine has no card of its own: there are {len(numbers)}; start "
            "as many ranks."
        )
    return numbers[local]


def _take_card(device: str, cards: Sequence[int], local: int) -> None:
    card = _card(device, cards, local)
    if card is not None:
        torch.cuda.set_device(card)


def _join(store: Any, ranks: Ranks, device: str) -> None:
    """Make the group that tensors travel in; on a card, flags go past it."""
    backend = "gloo" if device == "cpu" else "cpu:gloo,cuda:nccl"
    try:
        # A name of its own in the store, which holds the units, too.
        own = dist.PrefixStore("group", store)  # type: ignore[attr-defined]
        dist.init_process_group(backend, store=own, rank=ranks.rank, world_size=ranks.size)
    except RuntimeError as error:
        raise LostRankError(
            "the ranks of this training do not reach each other "
            f"({str(error).splitlines()[0][:200]})."
        ) from error
