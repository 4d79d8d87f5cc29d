"""fiftyone: the kept images and a labels.json, FiftyOne's format for image classification.

``fiftyone.Dataset.from_dir(OUT, dataset_type=fiftyone.types.FiftyOneImageClassificationDataset)``
gives a ``ground_truth`` whose attributes are what curate knows: ``ground_truth.memorization``.
"""

from __future__ import annotations

from pathlib import Path, PurePosixPath
from typing import Any

from curate.data.shards import Reader
from curate.runtime.files import write_json
from curate.runtime.progress import Progress
from curate.selection.exports.subset import built, described, kept_rows, write_classes, write_images
from curate.selection.manifest import Manifest

UNLABELLED = "unlabelled"
"""Label of a sample without one: FiftyOne keeps attributes of labels alone."""


def write(manifest: Manifest, shards: Path, out: Path, progress: Progress) -> int:
    """Write ``out/data/CLASS/NAME`` and ``out/labels.json``; returns how many.

    The names in ``labels.json`` are the files' below ``data``, without their endings.
    """
    reader = Reader(shards)
    rows = kept_rows(manifest, reader)
    with built(out) as folder:
        places = write_images(reader, rows, folder / "data", progress)
        (folder / "data").mkdir(exist_ok=True)
        write_classes(reader, folder)
        table = described(manifest, reader, rows)
        labels = {}
        for start in range(0, len(rows), 4096):
            batch = table.slice(start, 4096).to_pylist()
            for place, sample in zip(places[start : start + 4096], batch, strict=True):
                labels[str(PurePosixPath(place).with_suffix(""))] = _label(sample)
        # Names, not numbers: with numbers FiftyOne would look them up in a list of its own.
        write_json(folder / "labels.json", {"classes": None, "labels": labels})
    return len(rows)


def _label(sample: dict[str, Any]) -> dict[str, Any]:
    name, number = sample.pop("class"), sample.pop("label")
    if name is None:
        name = UNLABELLED if number is None else str(number)
    known = {key: value for key, value in sample.items() if value is not None}
    return {"label": name, "attributes": known}
