"""Alignments on disk: a file a shard, in which each encoder that was measured on it has columns.

The record of a file names the key (``units.align``) of each encoder's columns, so that encoders
that come later are put beside those that are there, whoever measures them and in which order: the
same encoders make the same file. Runs that are older have a file for each encoder
(``alignment/E/SHARD.parquet``), which is read as it is.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from curate.runs import units
from curate.runs.attempts import attempting
from curate.runs.run import Run
from curate.runtime.files import write_table

COLUMNS = {"align": pa.float64(), "se": pa.float64(), "leave_one_out": pa.list_(pa.float32())}
"""What each encoder has, ``E/align`` and so on, beside the uid and the number of views."""
SHARED = ("uid", "n_views")


@dataclass(frozen=True)
class OnShard:
    """What the encoders of a plan are measured to be on the samples of a shard.

    Attributes:
        run: The run.
        stem: Of the file: the shard's, or that of further views (``more_views.further``).
        keys: What shapes the columns of each encoder, by its name, in the order of the plan.
        place: What names of a snapshot begin with; nothing for the end of the training.
    """

    run: Run
    stem: str
    keys: Mapping[str, str]
    place: str = ""

    @property
    def unit(self) -> units.Unit:
        """The unit of work of the whole file."""
        return self._unit(self.keys)

    def _unit(self, keys: Mapping[str, str]) -> units.Unit:
        return units.Unit(self.run, f"{self.place}align/{self.stem}", {"columns": dict(keys)})

    def missing(self) -> list[str]:
        """Return the encoders that are still to be measured."""
        stored = self._held()
        return [e for e in self.keys if e not in stored and self._alone(e) is None]

    def records(self) -> Iterator[dict[str, Any]]:
        """Yield the records of what holds."""
        if self._held() and (record := self.run.record(self.unit.name)):
            yield record
        yield from (record for e in self.keys if (record := self._alone(e)))

    def forget(self) -> None:
        """Delete what holds no more, before it is measured again."""
        if not self._held():
            self.run.record_path(self.unit.name).unlink(missing_ok=True)
        for e in self.keys:
            if self._alone(e) is None:
                unit, file = _alone(self.place, e, self.stem)
                self.run.record_path(unit).unlink(missing_ok=True)
                (self.run.path / file).unlink(missing_ok=True)

    def add(self, found: Mapping[str, pa.Table], device: str) -> None:
        """Put what some encoders were measured to be beside what others were.

        Args:
            found: By encoder: uid, align, se, n_views and leave_one_out of the same samples.
            device: ``cpu`` or ``cuda``.
        """
        with attempting(self.unit) as attempt, attempt.alone():
            stored = self._held()
            tables = {e: table for e, table in found.items() if e not in stored}
            if not tables:
                return  # Another attempt was there first.
            path = self.run.path / _file(self.place, self.stem)
            first = next(iter(tables.values()))
            if stored:
                there = pq.read_table(path, columns=_columns(list(stored)))
                tables |= {e: _of(there, e) for e in stored}
            columns = {name: first[name] for name in SHARED}
            keys = {e: key for e, key in self.keys.items() if e in tables}
            for e in keys:
                columns |= {f"{e}/{name}": tables[e][name].cast(COLUMNS[name]) for name in COLUMNS}
            # In one piece, so that bytes do not tell what was there before.
            table = pa.table(columns).combine_chunks()
            write_table(attempt.folder / _file(self.place, self.stem), table)
            # What was recorded is no more of the file that takes its place.
            self.run.record_path(self.unit.name).unlink(missing_ok=True)
            own_attempt = replace(attempt, unit=self._unit(keys))
            own_attempt.put(device, keep=len(keys) == len(self.keys), n=table.num_rows)

    def _held(self) -> dict[str, str]:
        """Return the keys of the encoders that the file has columns of, by name."""
        record = self.run.record(self.unit.name)
        columns = record["parts"].get("columns", {}) if record else {}
        stored = {e: key for e, key in self.keys.items() if columns.get(e) == key}
        return stored if stored and record and units.whole(self.run, record) else {}

    def _alone(self, e: str) -> dict[str, Any] | None:
        """Return the record of an encoder's own file, where there is one that holds."""
        record = self.run.record(_alone(self.place, e, self.stem)[0])
        if record is None or record["key"] != self.keys[e] or not units.whole(self.run, record):
            return None
        return record


def where(run: Run, encoder: str, stem: str, place: str = "") -> tuple[str, str]:
    """Return the unit that has the alignments of an encoder on a shard, and the file."""
    alone = _alone(place, encoder, stem)
    if (run.path / alone[1]).is_file():
        return alone
    return f"{place}align/{stem}", _file(place, stem)


def read(
    run: Run, encoders: Collection[str], stem: str, place: str = "", *, uid: str | None = None
) -> dict[str, pa.Table]:
    """Return uid, n_views, align, se and leave_one_out of some encoders on a shard, by encoder.

    Args:
        run: The run.
        encoders: Their names.
        stem: Of the shard, or of its further views.
        place: What names of a snapshot begin with.
        uid: The sample that is read; None for all.

    Raises:
        OSError: If an encoder was not measured there.
    """
    some = None if uid is None else [("uid", "=", uid)]
    path = run.path / _file(place, stem)
    names = set(pq.read_schema(path).names) if path.is_file() else set()
    together = [e for e in encoders if names.issuperset(_columns([e]))]
    table = pq.read_table(path, columns=_columns(together), filters=some) if together else None
    return {
        e: _of(table, e)
        if e in together
        else pq.read_table(run.path / _alone(place, e, stem)[1], filters=some)
        for e in encoders
    }


def _alone(place: str, encoder: str, stem: str) -> tuple[str, str]:
    """Return the unit and the file of an encoder that has one of its own."""
    return f"{place}align/{encoder}/{stem}", f"{place}alignment/{encoder}/{stem}.parquet"


def _file(place: str, stem: str) -> str:
    return f"{place}alignment/{stem}.parquet"


def _columns(encoders: Sequence[str]) -> list[str]:
    return [*SHARED, *(f"{e}/{column}" for e in encoders for column in COLUMNS)]


def _of(table: pa.Table, encoder: str) -> pa.Table:
    """Return the columns of an encoder by their own names, beside those that all share."""
    names = [*SHARED, *(f"{encoder}/{column}" for column in COLUMNS)]
    return table.select(names).rename_columns([*SHARED, *COLUMNS])
