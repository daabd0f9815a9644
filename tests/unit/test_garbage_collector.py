"""How the collector is paused while a large record is read."""

import gc

from mprun.record import garbage_collector


def test_a_command_does_not_go_through_what_it_made_during_a_pause():
    try:
        with garbage_collector.paused(freezes=True):
            made = [[number] for number in range(20_000)]
        assert gc.isenabled()
        assert not any(one is made[0] for one in gc.get_objects())
    finally:
        gc.unfreeze()


def test_a_pause_within_a_pause_does_not_end_it():
    with garbage_collector.paused():
        with garbage_collector.paused():
            pass
        assert not gc.isenabled()
    assert gc.isenabled()
