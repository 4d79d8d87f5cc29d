"""Writer: sources to WebDataset tars with an index, the same bytes for the same input."""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
from collections import Counter
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, TextIO

import filelock
import pyarrow as pa
import pyarrow.parquet as pq

from curate.data.account import LIMIT, Account, kind_of
from curate.data.decoding import Checked, check, quiet
from curate.data.sample import INDEX_SCHEMA, Entry, uid_of
from curate.data.shards.before import THERE, Before, row_digest
from curate.data.shards.repeats import Uids
from curate.data.shards.tar import Tar
from curate.data.sources.base import Source, chosen_by_hash
from curate.errors import DataError, InUseError, ResourceError, UsageError
from curate.runtime.files import (
    WrittenBack,
    file_sha256,
    read_json,
    replacing,
    sealed,
    write_json,
)
from curate.runtime.options import option
from curate.runtime.progress import Progress, silent
from curate.runtime.text import visible
from curate.runtime.threads import in_order

SHARD_SAMPLES = 5_000
SHARD_BYTES = 2**28
"""A shard is closed at this many samples or bytes, whichever comes first."""
NAMED = 3
"""Reasons, and samples of each, that a message names."""
UNFINISHED = ".unfinished"
"""Marks a folder that a writer has begun and not finished, and is locked while it works."""
OURS = re.compile(r"\d{5,}\.tar|index\.parquet|dataset\.json|rejected\.jsonl|\..*\.tmp")
"""What a writer leaves in its folder."""
NO_LABEL = -1
"""Content of the ``.cls`` of a sample without label where others have one: readers of tars infer
the members of every sample from the first, and lose those that come up later."""


class Found(NamedTuple):
    """A sample of a source; decoded if ``checked`` is set, refused if ``reason`` is.

    What is no sample has ``left_out``, the reason why.
    """

    path: str
    role: str
    entry: Entry | None = None
    checked: Checked | None = None
    sha256: str = ""
    reason: str = ""
    left_out: str = ""


@dataclass
class Tally:
    """What has been written and rejected so far, and what every sample of the dataset shares."""

    labelled: bool
    uids: Uids
    extension: str = ""
    written: Counter[str] = field(default_factory=Counter)
    rejected: Counter[str] = field(default_factory=Counter)
    reasons: dict[str, tuple[str, list[str]]] = field(default_factory=dict)
    """For ``NAMED`` kinds of reasons, the first one and the first paths."""
    accounts: dict[str, Account] = field(default_factory=dict)
    digests: int = 0
    """Sum of the sha256s of uid, label and split of each sample, for the fingerprint."""
    before: Before | None = None
    shards: dict[str, dict[str, Any]] = field(default_factory=dict)


def write(
    parts: Sequence[tuple[Source, str]],
    folder: Path,
    *,
    limit: int | None = None,
    max_bad: float = 0.01,
    onto: Path | None = None,
    progress: Progress = silent,
) -> dict[str, Any]:
    """Write sources to ``folder`` as shards.

    A sample ``KEY`` has the members ``KEY.EXT``, its image as the source has it; ``KEY.cls``, its
    label, where the dataset has labels; and ``KEY.json`` with uid, path, split, width, height and
    metadata. ``EXT`` is that of the dataset's first image, for every sample: readers tell formats
    by content, and take another name for another field. Every image is checked, so that what is
    written can be decoded (``decoding.check``). A folder that an interrupted writer left is begun
    again.

    Args:
        parts: Sources, each with its role (``train``, ``extra`` or ``test``), the index's split.
        folder: New or empty.
        limit: Take this many samples of each part, chosen by a hash of their paths.
        max_bad: Largest share of samples that may be rejected, in [0, 1].
        onto: Shards that are there: the new ones come behind them, with those of their images that
            these do not hold. ``folder`` then has the index and the facts of all, and the new tars.
        progress: Progress callback.

    Returns:
        What ``dataset.json`` holds (``fingerprint``, ``classes``, ``splits``, ``account``,
        ``shards``, ``index``), and ``written`` and ``rejected`` over all splits. ``account`` has
        what became of everything that the sources hold, by role: in = written + rejected + left
        out; what a limit leaves out is counted alone, all else is listed in ``rejected.jsonl``.

    Raises:
        UsageError: If ``folder`` holds something else.
        InUseError: If another process writes to it.
        DataError: If nothing could be read, or more than ``max_bad`` was rejected; the reasons are
            in ``rejected.jsonl``.
        ResourceError: If there is no space or no permission.
    """
    with _claimed(folder):
        before = Before.of(onto, folder) if onto is not None else None
        classes = _classes(parts) if before is None else tuple(before.facts["classes"])
        tally = Tally(labelled=bool(classes), uids=Uids(folder), before=before)
        tally.accounts = {role: Account() for _, role in parts}
        if before is not None:
            tally.written.update(before.written)
            tally.shards.update(before.facts["shards"])
            tally.extension, tally.labelled = before.extension, before.labelled
            tally.digests = before.digests
        index = folder / ".index.tmp"
        with (
            replacing(folder / "rejected.jsonl") as listing,
            listing.open("w", encoding="utf-8") as rejected,
            pq.ParquetWriter(
                index,
                INDEX_SCHEMA,
                compression="zstd",
                use_dictionary=["shard", "split"],
                write_statistics=False,
            ) as rows,
            contextlib.closing(_samples(parts, limit, len(classes), tally, progress)) as found,
            quiet(),
        ):
            good = _accepted(found, rejected, tally)
            if before is not None:
                before.copy_index(rows)
                rejected.write(before.rejected())
            for number, first in enumerate(good, len(tally.shards)):
                name = f"{number:05d}.tar"
                with (
                    replacing(folder / name) as temporary,
                    temporary.open("wb") as plain,
                    WrittenBack(plain) as stream,
                ):
                    rows.write_table(_fill(stream, name, first, good, tally))
        _judge(parts, folder, tally, max_bad)
        facts = {
            "fingerprint": _fingerprint(tally),
            "classes": list(classes),
            "splits": _splits(parts, tally),
            "account": _accounts(parts, tally),
            "shards": tally.shards,
            "index": {"sha256": file_sha256(index), "size": index.stat().st_size},
        }
        write_json(folder / "dataset.json", sealed(facts))
        with replacing(folder / "index.parquet") as temporary:  # last: it says that all is there
            index.replace(temporary)
        return _counted(facts)


def _splits(parts: Sequence[tuple[Source, str]], tally: Tally) -> dict[str, dict[str, int]]:
    """Return how many samples each role has, of these parts and of what was there."""
    before = tally.before.facts["splits"] if tally.before else {}
    roles = dict.fromkeys([*before, *(role for _, role in parts)])
    rejected = {role: before.get(role, {}).get("rejected", 0) for role in roles}
    return {
        role: {"written": tally.written[role], "rejected": rejected[role] + tally.rejected[role]}
        for role in roles
    }


def _accounts(parts: Sequence[tuple[Source, str]], tally: Tally) -> dict[str, Any]:
    """Return what became of all that the sources hold; of what came later under its own name."""
    before = tally.before.facts["account"] if tally.before else {}
    later = f" +{1 + sum(' +' in name for name in before)}" if tally.before else ""
    return before | {
        f"{role}{later}": {
            **tally.accounts[role].to_json(),
            "split": source.split,
            "chosen": dict(source.chosen),
        }
        for source, role in parts
    }


def finished(folder: Path) -> dict[str, Any] | None:
    """Return what ``write`` returned for a folder that it finished, or None."""
    if not (folder / "index.parquet").is_file() or (folder / UNFINISHED).exists():
        return None
    return _counted(read_json(folder / "dataset.json"))


def _counted(facts: dict[str, Any]) -> dict[str, Any]:
    splits = facts["splits"].values()
    return {**facts, **{k: sum(split[k] for split in splits) for k in ("written", "rejected")}}


@contextlib.contextmanager
def _claimed(folder: Path) -> Iterator[None]:
    """Hold the folder, emptied of what an interrupted writer left, until it is finished."""
    marker = folder / UNFINISHED
    try:
        folder.mkdir(parents=True, exist_ok=True)
        names = sorted(path.name for path in folder.iterdir())
    except (FileExistsError, NotADirectoryError) as error:
        raise UsageError(f"{folder} is no folder; choose a new one for the shards.") from error
    except OSError as error:
        raise ResourceError(f"cannot write {folder}: {error.strerror}.") from error
    if names and UNFINISHED not in names:
        raise UsageError(f"{folder} is not empty (it holds {names[0]}); choose a new folder.")
    lock = filelock.FileLock(marker, timeout=0)
    try:
        lock.acquire()
    except filelock.Timeout as error:
        raise InUseError(f"another process writes shards to {folder}; wait for it.") from error
    except OSError as error:
        raise ResourceError(f"cannot write {marker}: {error.strerror}.") from error
    try:
        _empty(folder, names)
        yield
        marker.unlink()
    finally:
        lock.release()


def _empty(folder: Path, names: list[str]) -> None:
    try:
        for name in names:
            if OURS.fullmatch(name):
                (folder / name).unlink()
    except OSError as error:
        raise ResourceError(f"cannot write {folder}: {error.strerror}.") from error


def _classes(parts: Sequence[tuple[Source, str]]) -> tuple[str, ...]:
    with_classes = [source for source, _ in parts if source.classes]
    for source in with_classes[1:]:
        if source.classes != with_classes[0].classes:
            raise DataError(f"{source.name} and {with_classes[0].name} differ in their classes.")
    return with_classes[0].classes if with_classes else ()


# Samples


def _samples(
    parts: Sequence[tuple[Source, str]],
    limit: int | None,
    classes: int,
    tally: Tally,
    progress: Progress,
) -> Generator[Found]:
    """Yield every sample of every part in order, decoded or with the reason why not."""
    selected, total = [], 0
    for source, role in parts:
        select, count, beyond = _selected(source, limit)
        selected.append((select, count))
        total += count
        if beyond:
            tally.accounts[role].leave(LIMIT, beyond)

    def listed() -> Iterator[Found]:
        for (source, role), (select, count) in zip(parts, selected, strict=True):
            reported = seen = 0
            for entry in source.entries(select):
                for path, reason in source.rejected[reported:]:
                    yield Found(path, role, reason=reason)
                if source.left_out:
                    yield from _left_out(source, role)
                seen += 1 + len(source.rejected) - reported
                reported = len(source.rejected)
                yield Found(entry.path, role, entry)
            yield from (Found(p, role, reason=r) for p, r in source.rejected[reported:])
            yield from _left_out(source, role)
            seen += len(source.rejected) - reported
            if select is None and seen != count:
                raise DataError(
                    f"{source.name} held {count:,} samples when it was opened and {seen:,} when it "
                    "was read; leave it alone while it is, and type the command again."
                )

    def decoded(found: Found) -> Found:
        if found.entry is None:
            return found
        try:
            _check_label(found.entry.label, classes)
            checked, digest = check(found.entry.data), hashlib.sha256(found.entry.data)
            return Found(found.path, found.role, found.entry, checked, digest.hexdigest())
        except DataError as error:
            return Found(found.path, found.role, reason=str(error))

    def size(found: Found) -> int:
        return len(found.entry.data) if found.entry else 0

    done = 0
    for found in in_order(decoded, listed(), size=size):
        yield found
        if not found.left_out:
            done += 1
            progress("shard", done, max(done, total))


def _left_out(source: Source, role: str) -> Iterator[Found]:
    """Yield what a source has come by that is no sample, and forget it there."""
    if source.left_out:
        found = list(source.left_out)
        source.left_out.clear()
        yield from (Found(path, role, left_out=reason) for path, reason in found)


def _selected(source: Source, limit: int | None) -> tuple[Callable[[str], bool] | None, int, int]:
    """Return which paths a limit leaves, how many, and how many it takes."""
    if limit is None:
        return None, sum(1 for _ in source.paths()), 0
    chosen, count = chosen_by_hash(source.paths(), limit)
    selected = frozenset(chosen)
    if len(selected) == len(chosen):
        return selected.__contains__, len(chosen), count - len(chosen)
    taken = sum(1 for path in source.paths() if path in selected)  # a tar may repeat a name
    return selected.__contains__, taken, count - taken


def _check_label(label: int | None, classes: int) -> None:
    if label is not None and not 0 <= label < (classes or 2**63):
        raise DataError(f"label {label} is none of the {classes} classes")


def _accepted(found: Iterator[Found], rejected: TextIO, tally: Tally) -> Iterator[Found]:
    """Yield the samples that decoded, and list the others, and what is no sample."""
    for sample in found:
        account = tally.accounts[sample.role]
        if sample.sha256 and tally.before is not None and tally.before.holds(sample.sha256):
            sample = Found(sample.path, sample.role, left_out=THERE)
        if not sample.reason and not sample.left_out:
            yield sample
            account.written += 1
            account.unlabelled += sample.entry is not None and sample.entry.label is None
            continue
        row: dict[str, Any] = {"path": sample.path, "split": sample.role, "reason": sample.reason}
        if sample.left_out:
            row |= {"reason": sample.left_out, "left_out": True}
        rejected.write(json.dumps(row) + "\n")
        if sample.left_out:
            account.leave(sample.left_out)
            continue
        account.reject(sample.reason)
        tally.rejected[sample.role] += 1
        _remember(tally.reasons, sample)


def _remember(reasons: dict[str, tuple[str, list[str]]], sample: Found) -> None:
    kind = kind_of(sample.reason)
    if kind in reasons or len(reasons) < NAMED:
        _, paths = reasons.setdefault(kind, (sample.reason, []))
        if len(paths) < NAMED:
            paths.append(sample.path)


def _told(reasons: dict[str, tuple[str, list[str]]]) -> str:
    """Return why samples were rejected, each reason with the first of them."""
    return "; ".join(
        f"{', '.join(map(visible, paths))}: {visible(why)}" for why, paths in reasons.values()
    )


# Shards


def _fill(
    stream: WrittenBack, name: str, first: Found, good: Iterator[Found], tally: Tally
) -> pa.Table:
    """Write one shard; returns its rows of the index."""
    tar, rows = Tar(stream), []
    sample: Found | None = first
    while sample is not None:
        rows.append({"shard": name, **_add(tar, sample, tally)})
        full = len(rows) >= SHARD_SAMPLES or tar.size >= SHARD_BYTES
        sample = None if full else next(good, None)
    end = tar.size
    tar.close()
    tally.shards[name] = {
        "sha256": tar.sha256,
        "size": tar.size,
        "end": end,
        "samples": len(rows),
    }
    return pa.Table.from_pylist(rows, INDEX_SCHEMA)


def _add(tar: Tar, sample: Found, tally: Tally) -> dict[str, Any]:
    """Append the members of one sample; returns its row of the index, but for the shard."""
    entry, checked, number = sample.entry, sample.checked, tally.written.total()
    assert entry is not None and checked is not None
    if number == 0:
        tally.extension = checked.extension
        tally.labelled |= entry.label is not None
    base = uid_of(sample.sha256)
    uid = tally.uids.take(base, entry.uid)
    key = f"{number:08d}-{base[:8]}"
    facts = {
        "uid": uid,
        "path": entry.path,
        "split": sample.role,
        "width": checked.width,
        "height": checked.height,
    }
    extras = {"metadata": entry.metadata} if entry.metadata else {}
    described = json.dumps(facts | extras, sort_keys=True, allow_nan=False).encode()
    members = [(f"{key}.{tally.extension}", entry.data)]
    if tally.labelled:
        members.append((f"{key}.cls", b"%d" % (NO_LABEL if entry.label is None else entry.label)))
    members.append((f"{key}.json", described))
    offset, crc32 = tar.add(members)
    tally.written[sample.role] += 1
    tally.digests += row_digest(uid, entry.label, sample.role)
    return facts | {
        "key": key,
        "offset": offset,
        "size": len(entry.data),
        "sha256": sample.sha256,
        "crc32": crc32,
        "label": entry.label,
    }


def _judge(parts: Sequence[tuple[Source, str]], folder: Path, tally: Tally, max_bad: float) -> None:
    """Refuse a dataset that is empty, or that has more bad samples than are allowed."""
    before = tally.before.written.total() if tally.before else 0
    written, bad = tally.written.total() - before, tally.rejected.total()
    names = ", ".join(dict.fromkeys(source.name for source, _ in parts))
    known = sum(account.left_out[THERE] for account in tally.accounts.values())
    if known and not written and not bad:
        raise DataError(f"{names}: all of its {known:,} images are {THERE}; there is none to add.")
    if not written and not bad:
        left = sum(account.left_out.total() for account in tally.accounts.values())
        listed = f" {left:,} files are no images: {folder / 'rejected.jsonl'}." if left else ""
        raise DataError(f"{names}: no images found; check the place and what is in it.{listed}")
    if not written or bad > max_bad * (written + bad):
        raise DataError(
            f"{names}: {bad} of {written + bad} samples rejected, {max_bad:.2%} are allowed "
            f"(shard {option(max_bad=...)}, or else {option(overrides={'data.max_bad': ...})}); "
            f"such as {_told(tally.reasons)}. All are in {folder / 'rejected.jsonl'}."
        )


def _fingerprint(tally: Tally) -> str:
    """Return the dataset's fingerprint: the sha256 over number and sum of its samples' sha256s.

    Equal for equal samples in any order, in no memory. It guards against accidents, not against
    someone who looks for samples whose sha256s add up to the same.
    """
    total = tally.digests % 2**256
    return hashlib.sha256(f"{tally.written.total()}:{total}".encode()).hexdigest()
