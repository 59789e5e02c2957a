"""The checks that other tests rely on notice what they must notice. Needs no service."""

import types

import pytest

from oracle import BLOCK, Write, block_content, check_nothing_lost, check_point_in_time, sequence_of


def history(*writes):
    """A writer's history from (block, issued, acknowledged or None)."""
    made = []
    for number, (index, issued, acknowledged) in enumerate(writes, 1):
        pending = types.SimpleNamespace(issued=issued, acknowledged=acknowledged, error=None)
        made.append(Write(number, index, pending))
    return types.SimpleNamespace(history=made)


# Blocks 0 and 1: written before the call at 10, again around it, and once after the answer at 20.
WRITES = history((0, 1, 2), (1, 3, 4), (0, 9, 12), (1, 13, 14), (0, 21, 22))


@pytest.mark.parametrize("found", [[1, 2], [3, 2], [3, 4]])
def test_right_states_pass(found):
    check_point_in_time(WRITES, found, called=10, answered=20)


@pytest.mark.parametrize(
    ("found", "why"),
    [
        ([0, 2], "acknowledged before the call"),
        ([5, 4], "issued after"),
        ([1, 4], "before a write that is in the snapshot"),
        ([9, 2], "never issued"),
    ],
)
def test_wrong_states_fail(found, why):
    with pytest.raises(AssertionError, match=why):
        check_point_in_time(WRITES, found, called=10, answered=20)


def test_a_lost_acknowledged_write_fails():
    writes = history((0, 1, 2), (0, 3, None))
    assert check_nothing_lost(writes, [1]) == 1
    assert check_nothing_lost(writes, [2]) == 1
    with pytest.raises(AssertionError, match="is lost"):
        check_nothing_lost(writes, [0])


def test_foreign_and_torn_blocks_fail():
    block = block_content(3, 5)
    assert sequence_of(block, 5) == 3 and sequence_of(bytes(BLOCK), 5) == 0
    with pytest.raises(AssertionError, match="foreign"):
        sequence_of(block, 6)
    with pytest.raises(AssertionError, match="mixture"):
        sequence_of(block[:2048] + block_content(4, 5)[2048:], 5)
