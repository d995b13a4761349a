"""The whole job of a space: search with what its levers are worth, page, recommendation."""

from __future__ import annotations

import argparse

from dse.cli.console import note, say
from dse.cli.report_commands import write_reports
from dse.cli.run_commands import answered, say_chosen, say_front, searched, settings_of
from dse.core.errors import INTERRUPTED, OK
from dse.evaluator.loading import evaluator_source
from dse.run.folder import Folder
from dse.space.overrides import load_space
from dse.study.cluster import connected


def explore(options: argparse.Namespace) -> int:
    """The whole job for each space."""
    _ = settings_of(options).stopping, evaluator_source(options.evaluator)  # refused before a folder is moved
    with connected(options.workers, options.scheduler) as cluster:
        for name in options.spaces or ["datacenter", "mobile"]:
            space = load_space(name)
            out = options.out / space.name
            if Folder(out).holds_front_alone():
                note(
                    f"dse: note: {out} held a front without the designs that were judged for it; it is kept "
                    f"in {Folder(out).move_aside()}"
                )
            done = searched(space, out, options, cluster, resume=Folder(out).holds_run())
            say_front(done, out)
            if done.interrupted:
                return INTERRUPTED
            run, interrupted = answered(done.run, options, cluster)
            if interrupted:
                return INTERRUPTED
            say_chosen(run, done.evaluator, out)
            write_reports(run, done.evaluator, out)
            say(f"Next: open {out / 'dashboard.html'} in a browser")
    return OK
