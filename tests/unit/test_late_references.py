"""Tasks whose references are resolved during the run: how many of them in one turn."""

from mprun.engine.late_references import MAX_RESOLVED_PER_TURN, ResolveQueue


def test_a_large_group_is_resolved_over_several_turns_in_order():
    queue = ResolveQueue()
    asked = range(2 * MAX_RESOLVED_PER_TURN + 10)
    turns = [[number for number in asked if queue.admits(number)]]
    while queue.is_waiting:
        turns.append(queue.begin_turn())
    assert list(map(len, turns)) == [MAX_RESOLVED_PER_TURN, MAX_RESOLVED_PER_TURN, 10]
    assert [number for turn in turns for number in turn] == list(asked)
    assert queue.admits(0), "there is room in this turn"
