"""The whole job of a space: search, levers, page, recommendation."""

from __future__ import annotations

import argparse

from dse.catalog.catalog import load_catalog
from dse.cli.report_commands import _report
from dse.cli.run_commands import _bar, _say_front, _study, sampler_name
from dse.core.errors import INTERRUPTED, OK
from dse.evaluator.loading import evaluator_source
from dse.run.folder import Folder
from dse.space.overrides import load_space
from dse.study import job


def explore(options: argparse.Namespace) -> int:
    """The whole job for each space."""
    sampler = sampler_name(options.sampler)
    for name in options.spaces or ["datacenter", "mobile"]:
        space = load_space(name)
        out = options.out / space.name
        resume = bool(Folder(out).trials())
        bar, watch = _bar(space.name, options.trials)
        with bar:
            done = job.search(
                space,
                out,
                trials=options.trials,
                sampler=sampler,
                seed=options.seed,
                resume=resume,
                command=options.command_line,
                watch=watch,
                evaluator=options.evaluator,
            )
        if done.interrupted:
            _say_front(done.run, out)
            return INTERRUPTED
        run = _study(done.run, out, options.lever_trials, options.seed)
        model = evaluator_source(options.evaluator).make(space, load_catalog())
        for text in _report(run, model, out, out):
            print(text)
    return OK
