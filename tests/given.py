"""A source of images that a test makes up."""

from typing import ClassVar

from curate.data.sample import Entry


class Given:
    """Yields entries as they are given: ``Entry``, (path, bytes), or (path, reason) to reject."""

    split = "train"
    splits = ("train",)
    chosen: ClassVar = {}

    def __init__(self, items, *, classes=(), name="given"):
        self.name, self.classes, self.rejected = name, tuple(classes), []
        self.left_out = []
        self.items = [item if isinstance(item, Entry) else tuple(item) for item in items]

    def paths(self):
        return [item.path if isinstance(item, Entry) else item[0] for item in self.items]

    def entries(self, select=None):
        for path, item in zip(self.paths(), self.items, strict=True):
            if select is not None and not select(path):
                continue
            if isinstance(item, Entry):
                yield item
            elif isinstance(item[1], str):
                self.rejected.append(item)
            else:
                yield Entry(*item)
