"""Samples and encoders that are made up, for measures to be worked by hand."""

from types import SimpleNamespace

import numpy as np

from curate.scores.measures import MEASURES, Samples


def samples(n=2, *, labels=None, align=None, relative=None, public=()):
    return Samples(
        keys=np.arange(n, dtype=np.uint64),
        labels=np.zeros(n, dtype=np.int64) if labels is None else np.array(labels),
        classes=2,
        align=np.zeros(n) if align is None else np.array(align),
        relative=None if relative is None else np.array(relative),
        public_keys=np.arange(100, 100 + len(public), dtype=np.uint64),
        public_labels=np.array(public, dtype=np.int64),
    )


def said(kind, inside, **what):
    """Return a measure of three encoders that say ``what`` of two samples each."""
    measure = MEASURES[kind](samples())
    for e, members in enumerate(inside):
        told = {name: values[e] for name, values in what.items()}
        take(measure, SimpleNamespace(inside=np.array(members), **told))
    return measure.values()


def take(measure, look):
    """Have a measure take in what an encoder says, as the stage does."""
    measure.take(measure.says(look), look.inside)


INSIDE = [[True, False], [True, False], [False, False]]
