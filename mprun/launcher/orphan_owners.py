"""Finds the attempts whose an orphan may be that has lost the tag of its task."""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from mprun.launcher.attempt import Attempt
    from mprun.launcher.process_identity import ProcessIdentity


def find_owner(orphan: ProcessIdentity, ended: Attempt, attempts: Iterable[Attempt]) -> Attempt:
    """The attempt that left an orphan: `ended`, unless another one that has ended too provably did."""
    run_id = os.environ["MPRUN_RUN_ID"]
    return next((other for other in attempts if other.has_left(orphan, run_id)), ended)


def find_owners(
    orphan: ProcessIdentity, leaders: Iterable[int], attempts: Iterable[Attempt]
) -> frozenset[int]:
    """The running processes whose an orphan without a tag may be: of one attempt, if that is proven.

    `leaders` are the pids of all, and of `attempts` the launcher knows more.
    """
    run_id = os.environ.get("MPRUN_RUN_ID", "")
    if orphan.session in leaders:
        return frozenset((orphan.session,))
    for attempt in attempts:
        # A probe of the attempt, which has the same variables, ends before it.
        if attempt.has_left(orphan, run_id):
            return frozenset((attempt.handle.pid,))
    # With the variables of an attempt that has ended it is of no running one.
    return frozenset(() if orphan.is_of_run(run_id) else leaders)
