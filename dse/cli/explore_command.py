"""The whole job of a space: search, levers, page, recommendation."""

from __future__ import annotations

import argparse

from dse.catalog.catalog import load_catalog
from dse.cli.report_commands import _report
from dse.cli.run_commands import _say_front, _study, searched
from dse.core.errors import INTERRUPTED, OK
from dse.evaluator.loading import evaluator_source
from dse.run.folder import Folder
from dse.space.overrides import load_space


def explore(options: argparse.Namespace) -> int:
    """The whole job for each space."""
    for name in options.spaces or ["datacenter", "mobile"]:
        space = load_space(name)
        out = options.out / space.name
        done = searched(space, out, options, resume=bool(Folder(out).trials()))
        if done.interrupted:
            _say_front(done.run, out)
            return INTERRUPTED
        run = _study(done.run, out, options.lever_trials, options.seed)
        model = evaluator_source(options.evaluator).make(space, load_catalog())
        for text in _report(run, model, out, out):
            print(text)
    return OK
