"""The clock of timers does not advance while a run is suspended."""

from mprun.clock import Clock


def test_a_pause_takes_no_time():
    clock = Clock()
    clock.pause(10.0, 15.0)
    clock.pause(20.0, 21.0)
    assert [clock.timed(reading) for reading in (9, 10, 15, 16, 20, 21, 30)] == [9, 10, 10, 11, 15, 15, 24]


def test_a_reading_during_a_pause_counts_as_its_beginning():
    clock = Clock()
    clock.pause(10.0, 15.0)
    assert [clock.timed(reading) for reading in (11.0, 14.5)] == [10.0, 10.0]
