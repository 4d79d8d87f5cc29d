"""Write the list of leaks of a data set with a training and a test split, from found copies.

    curate copies DIR --out COPIES            # DIR/{train,test}/CLASS/INDEX.png
    python docs/benchmarks/leaks.py COPIES --out cifar10-leaks.parquet [--list cifair10.csv]
        [--judged docs/benchmarks/judged.csv]

A row for each pair of a test and a training image, by test index: uids and indices of both,
similarity and evidence, what was done, whether the list that was published (ciFAIR's columns
TestID, TrainID, Distance, Judgment; 1 is a near-duplicate) has the pair, and what somebody who
looked at it said.
"""

# ruff: noqa: T201 (a script talks on stdout)
from __future__ import annotations

import argparse
import csv
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from curate.runtime.files import write_table

KINDS = ("exact", "mirrored", "cropped", "recoloured")


def published(path: Path | None) -> set[tuple[int, int]]:
    """Return the pairs (test, training index) of a published list."""
    if path is None:
        return set()
    with path.open() as stream:
        rows = [row for row in csv.reader(stream) if row and row[0].isdigit()]
    return {(int(row[0]), int(row[1])) for row in rows if row[3] == "1"}


def judgments(path: Path | None) -> dict[tuple[int, int], str]:
    """Return what was said of pairs (test, training index), in the last round that had them.

    ``doubtful`` where its judges did not agree.
    """
    if path is None:
        return {}
    said: dict[tuple[int, int], dict[int, set[str]]] = {}
    with path.open() as stream:
        for row in csv.DictReader(stream):
            rounds = said.setdefault((int(row["test"]), int(row["train"])), {})
            rounds.setdefault(int(row["round"]), set()).add(row["judgment"])
    last = {pair: rounds[max(rounds)] for pair, rounds in said.items()}
    return {pair: words.pop() if len(words) == 1 else "doubtful" for pair, words in last.items()}


def index(path: str) -> int:
    """Return the index in the original order, which a path ends with."""
    return int("".join(c for c in Path(path).stem if c.isdigit()))


def main() -> None:
    """Write the list."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("copies", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--list", type=Path)
    parser.add_argument("--judged", type=Path)
    options = parser.parse_args()
    known, said = published(options.list), judgments(options.judged)
    rows = []
    for pair in pq.read_table(options.copies / "pairs.parquet").to_pylist():
        ends = {pair["split"]: ("uid", "path"), pair["other_split"]: ("other_uid", "other_path")}
        if not pair["leak"] or set(ends) != {"train", "test"}:
            continue
        test, train = (index(pair[ends[split][1]]) for split in ("test", "train"))
        row = {
            "test_uid": pair[ends["test"][0]],
            "test_index": test,
            "train_uid": pair[ends["train"][0]],
            "train_index": train,
            **{name: pair[name] for name in ("similarity", "evidence", *KINDS)},
            "judgment": said.get((test, train)),
        }
        if options.list:
            row["cifair"] = (test, train) in known
        rows.append(row)
    rows.sort(key=lambda row: (row["test_index"], row["train_index"]))
    table = pa.Table.from_pylist(rows)
    write_table(options.out, table)
    tests = set(table["test_index"].to_pylist())
    print(f"{len(rows):,} pairs of {len(tests):,} test images; the published list has {len(known)}")


if __name__ == "__main__":
    main()
