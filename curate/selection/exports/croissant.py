"""croissant: the kept images with a description in Croissant 1.1, for whoever publishes them.

``mlcroissant.Dataset(jsonld=OUT/croissant.json)`` reads the record set ``images``. Dataset search
engines and hubs read the same file. Format: https://docs.mlcommons.org/croissant/docs/croissant-spec-1.1.html
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa

from curate.data.shards import Reader
from curate.runtime.files import file_sha256, write_json
from curate.runtime.progress import Progress
from curate.selection.exports.subset import built, kept_rows, write_described
from curate.selection.manifest import Manifest
from curate.selection.selection import described

MIME = {"jpg": "jpeg", "tif": "tiff", "ppm": "x-portable-pixmap"}
CONFORMS_TO = "http://mlcommons.org/croissant/1.1"
TYPES = {
    pa.string(): "sc:Text",
    pa.int64(): "sc:Integer",
    pa.float64(): "sc:Float",
    pa.bool_(): "sc:Boolean",
}
CONTEXT = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "citeAs": "cr:citeAs",
    "column": "cr:column",
    "conformsTo": "dct:conformsTo",
    "containedIn": "cr:containedIn",
    "cr": "http://mlcommons.org/croissant/",
    "rai": "http://mlcommons.org/croissant/RAI/",
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "dct": "http://purl.org/dc/terms/",
    "equivalentProperty": "cr:equivalentProperty",
    "examples": {"@id": "cr:examples", "@type": "@json"},
    "extract": "cr:extract",
    "field": "cr:field",
    "fileProperty": "cr:fileProperty",
    "fileObject": "cr:fileObject",
    "fileSet": "cr:fileSet",
    "format": "cr:format",
    "includes": "cr:includes",
    "isLiveDataset": "cr:isLiveDataset",
    "jsonPath": "cr:jsonPath",
    "key": "cr:key",
    "md5": "cr:md5",
    "parentField": "cr:parentField",
    "path": "cr:path",
    "recordSet": "cr:recordSet",
    "references": "cr:references",
    "regex": "cr:regex",
    "repeated": "cr:repeated",
    "replace": "cr:replace",
    "samplingRate": "cr:samplingRate",
    "sc": "https://schema.org/",
    "separator": "cr:separator",
    "source": "cr:source",
    "subField": "cr:subField",
    "transform": "cr:transform",
}
"""The context that the specification asks for word by word."""
IMAGE = [
    {
        "@type": "cr:Field",
        "@id": "images/file",
        "name": "file",
        "description": "The name of the image without its folder, by which it is found.",
        "dataType": "sc:Text",
        "source": {
            "fileObject": {"@id": "metadata"},
            "extract": {"column": "file_name"},
            "transform": {"regex": ".*/([^/]+)$"},
        },
        "references": {
            "fileSet": {"@id": "image-files"},
            "extract": {"fileProperty": "filename"},
        },
    },
    {
        "@type": "cr:Field",
        "@id": "images/image",
        "name": "image",
        "description": "The image itself.",
        "dataType": "sc:ImageObject",
        "source": {"fileSet": {"@id": "image-files"}, "extract": {"fileProperty": "content"}},
    },
]


def write(manifest: Manifest, shards: Path, out: Path, progress: Progress) -> int:
    """Write images, ``metadata.parquet`` and ``croissant.json`` into ``out``; returns how many."""
    reader = Reader(shards)
    rows = kept_rows(manifest, reader)
    with built(out) as folder:
        table = write_described(manifest, reader, rows, folder, progress, found_by_name=True)
        write_json(folder / "croissant.json", _described(manifest, table, folder, out.name))
    return len(rows)


def _described(manifest: Manifest, table: pa.Table, folder: Path, name: str) -> dict[str, Any]:
    """Return the JSON-LD of a folder of images and their table."""
    endings = {Path(name).suffix[1:] for name in table["file_name"].to_pylist()}
    formats = [f"image/{MIME.get(ending, ending)}" for ending in sorted(endings)]
    metadata = folder / "metadata.parquet"
    return {
        "@context": CONTEXT,
        "@type": "sc:Dataset",
        "conformsTo": CONFORMS_TO,
        "name": name,
        "description": _words(manifest, table.num_rows),
        "distribution": [
            {
                "@type": "cr:FileObject",
                "@id": "metadata",
                "name": "metadata",
                "description": "What is known of each image.",
                "contentUrl": "metadata.parquet",
                "contentSize": f"{metadata.stat().st_size} B",
                "encodingFormat": "application/x-parquet",
                "sha256": file_sha256(metadata),
            },
            {
                "@type": "cr:FileSet",
                "@id": "image-files",
                "name": "image-files",
                "description": "The images, as they were in the dataset.",
                "encodingFormat": formats,
                "includes": "images/**/*",
            },
        ],
        "recordSet": [
            {
                "@type": "cr:RecordSet",
                "@id": "images",
                "name": "images",
                "description": "A record for each image that is kept.",
                "key": {"@id": "images/uid"},
                "field": [*(_field(column) for column in table.schema), *IMAGE],
            }
        ],
    }


def _field(column: pa.Field) -> dict[str, Any]:
    return {
        "@type": "cr:Field",
        "@id": f"images/{column.name}",
        "name": column.name,
        "description": f"Column {column.name} of metadata.parquet.",
        "dataType": TYPES[column.type],
        "source": {"fileObject": {"@id": "metadata"}, "extract": {"column": column.name}},
    }


def _words(manifest: Manifest, kept: int) -> str:
    """Return what a selection is, in a sentence."""
    facts = manifest.facts
    return (
        f"{kept:,} images that curate {facts.get('versions', {}).get('curate', '')} kept of a "
        f"dataset of {len(manifest.table):,}: {described(facts)}; dataset fingerprint "
        f"{facts.get('dataset_fingerprint', 'unknown')}."
    )
