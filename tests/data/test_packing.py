"""Packing against its definition, token by token, and against concatenated ids."""

import math

import numpy as np
import pytest
import torch

from tests.data.make import random_groups
from tuna.data.batch import Group, Totals
from tuna.data.packing import Sharing, assign_rows, count_totals, filler, in_columns, pack, token_ratio


def _ids(*values: int) -> np.ndarray:
    return np.array(values, np.int32)


def test_hand_worked_batch() -> None:
    one = Group("a", _ids(5, 6), (_ids(7, 2), _ids(8)), (1.0, 0.0), (False, True))
    two = Group("b", _ids(9), (_ids(3, 4, 2),), (math.nan,), (True,))
    batch = pack([one, two], row_tokens=9)
    assert batch.input_ids.tolist() == [[5, 6, 7, 2, 8, 9, 3, 4, 2]]
    assert batch.position_ids.tolist() == [[0, 1, 2, 3, 2, 0, 1, 2, 3]]
    assert batch.group_ids.tolist() == [[0, 0, 0, 0, 0, 1, 1, 1, 1]]
    assert batch.response_ids.tolist() == [[0, 0, 1, 1, 2, 0, 1, 1, 1]]
    assert batch.predict_at.tolist() == [1, 2, 1, 5, 6, 7]
    assert batch.target_ids.tolist() == [7, 2, 8, 3, 4, 2]
    assert batch.target_response.tolist() == [0, 0, 1, 2, 2, 2]
    assert batch.lengths.tolist() == [2, 1, 3]
    assert batch.response_group.tolist() == [0, 0, 1]
    assert batch.targets.tolist() == [False, True, True]
    assert batch.totals == Totals(groups=2, targets=2, candidate_tokens=3)
    assert (batch.real_tokens, batch.plain_tokens) == (9, 3 * 4)


def test_hand_worked_batch_with_a_prompt_for_each_response() -> None:
    one = Group("a", _ids(5, 6), (_ids(7, 2), _ids(8)), (1.0, 0.0), (False, True))
    two = Group("b", _ids(9), (_ids(3, 4, 2),), (math.nan,), (True,))
    batch = pack([one, two], row_tokens=7, share=False)
    assert batch.input_ids.tolist() == [[5, 6, 7, 2, 5, 6, 8], [9, 3, 4, 2, 0, 0, 0]]
    assert batch.position_ids.tolist() == [[0, 1, 2, 3, 0, 1, 2], [0, 1, 2, 3, 0, 0, 0]]
    assert batch.group_ids.tolist() == [[0] * 7, [1] * 4 + [-1] * 3]
    assert batch.response_ids.tolist() == [[1, 1, 1, 1, 2, 2, 2], [1, 1, 1, 1, 0, 0, 0]]
    assert batch.scored.int().tolist() == [[0, 0, 1, 1, 0, 0, 1], [0, 1, 1, 1, 0, 0, 0]]
    assert batch.predict_at.tolist() == [1, 2, 5, 7, 8, 9]
    assert batch.segments is not None and batch.segments.tolist() == [0, 4, 7, 11, 14]
    assert (batch.longest_segment, batch.most_ranked, batch.real_tokens, batch.shared) == (4, 2, 11, False)


def test_prompts_are_shared_where_that_pays() -> None:
    groups = [Group("a", _ids(*range(n)), (_ids(1, 2), _ids(3, 4)), (0.0, 1.0), (True,) * 2) for n in (1, 3)]
    assert [token_ratio([group]) for group in groups] == [6 / 5, 10 / 7]
    assert [Sharing("auto", on_gpu=True)([group]) for group in groups] == [False, True]
    assert not Sharing("auto", on_gpu=True)(groups[:1] * 9 + groups[1:])  # by the batch, not the group
    assert Sharing("auto", on_gpu=False)(groups) and Sharing(True, on_gpu=True)(groups)
    assert not Sharing(False)(groups)


def test_padding_is_marked_and_only_as_long_as_needed() -> None:
    groups = [Group("a", _ids(5), (_ids(6, 7),), (0.0,), (True,)), Group("b", _ids(5), (_ids(6),), (0.0,), (True,))]
    batch = pack(groups, row_tokens=4, pad_id=1)
    assert batch.input_ids.tolist() == [[5, 6, 7], [5, 6, 1]]
    assert batch.group_ids.tolist() == [[0, 0, 0], [1, 1, -1]]
    assert batch.position_ids.tolist() == [[0, 1, 2], [0, 1, 0]]


@pytest.mark.parametrize("seed", range(20))
def test_what_each_target_sees_is_its_prompt_and_its_response(seed: int) -> None:
    """Rebuild, through the visibility rule alone, the ids that each predicting token sees: the plain way's row."""
    rng = np.random.default_rng(seed)
    groups = random_groups(rng, int(rng.integers(1, 12)))
    row_tokens = int(rng.integers(8, 400))
    batch = pack(groups, row_tokens=row_tokens)
    ids, where = batch.input_ids.numpy(), batch.position_ids.numpy()
    group_of, response_of = batch.group_ids.numpy(), batch.response_ids.numpy()
    width = ids.shape[1]
    flat = [(g, k) for g, group in enumerate(groups) for k in range(len(group.responses))]
    step = 0
    for r, (g, k) in enumerate(flat):
        plain = np.concatenate([groups[g].prompt, groups[g].responses[k]])
        for t in range(len(groups[g].responses[k])):
            row, column = divmod(int(batch.predict_at[step]), width)
            own = k + 1 if t else response_of[row, column]
            seen = [
                j
                for j in range(column + 1)
                if group_of[row, j] == group_of[row, column] == g and response_of[row, j] in (0, own)
            ]
            end = len(groups[g].prompt) + t
            assert ids[row, seen].tolist() == plain[:end].tolist()
            assert where[row, seen].tolist() == list(range(end))
            assert int(batch.target_ids[step]) == plain[end]
            assert int(batch.target_response[step]) == r
            step += 1
    assert step == len(batch.predict_at)
    assert batch.real_tokens == int((group_of >= 0).sum()) == sum(group.num_tokens for group in groups)
    assert width <= max(row_tokens, max(group.num_tokens for group in groups))
    assert (group_of >= 0).any(axis=0).all(), "a column that is padding in every row"


@pytest.mark.parametrize("seed", range(30))
def test_rows_hold_every_group_once_within_the_limit(seed: int) -> None:
    rng = np.random.default_rng(seed)
    lengths = rng.integers(1, 60, int(rng.integers(1, 40))).tolist()
    limit = int(rng.integers(10, 200))
    rows = assign_rows(lengths, limit)
    assert sorted(i for row in rows for i in row) == list(range(len(lengths)))
    assert all(sum(lengths[i] for i in row) <= max(limit, *lengths) for row in rows)
    # First-fit-decreasing is within 11/9 of the fewest rows (plus one); the padding may buy a few rows more.
    assert len(rows) <= 2 * (11 / 9 * math.ceil(sum(lengths) / max(limit, *lengths)) + 1) + 2


@pytest.mark.parametrize(
    ("lengths", "limit", "rows"),
    [
        ([3, 5, 2, 4], 7, [[1, 2], [3, 0]]),  # the longest first: no row is padded
        ([5, 5, 5], 10, [[0], [1], [2]]),  # 3 rows x 5 tokens against 2 x 10
        ([1] * 7, 4, [[0, 1, 2, 3], [4, 5, 6]]),  # 4 rows of 2 are a draw; 7 of 1 are less, but too many rows
    ],
)
def test_hand_worked_rows(lengths: list[int], limit: int, rows: list[list[int]]) -> None:
    assert assign_rows(lengths, limit) == rows


def test_padding_of_like_lengths_is_little() -> None:
    rng = np.random.default_rng(0)
    lengths = rng.integers(80, 120, 64).tolist()
    rows = assign_rows(lengths, 1024)
    longest = max(sum(lengths[i] for i in row) for row in rows)
    assert sum(lengths) / (longest * len(rows)) > 0.95


def test_filler_counts_nothing() -> None:
    group = Group("a", _ids(5, 6), (_ids(7, 2), _ids(8)), (1.0, 0.0), (False, True))
    batch = pack([group, filler(group)], row_tokens=64, weights=[1.0, 0.0])
    assert batch.totals == count_totals([group]) == Totals(groups=1, targets=1, candidate_tokens=3)
    assert batch.weights.tolist() == [1.0, 0.0]
    assert batch.lengths.tolist() == [2, 1, 1, 1]


def test_a_filler_is_as_short_as_can_be() -> None:
    group = Group("a", _ids(5, 6), (_ids(7, 2), _ids(8)), (1.0, 0.0), (False, True), reference=(-3.0, -4.0))
    short = filler(group)
    assert (short.id, short.tokens(True), short.reference) == ("a#filler", 3, (0.0, 0.0))


def test_types_and_what_stands_beside_the_tokens() -> None:
    group = Group("a", _ids(5, 6), (_ids(7, 2), _ids(8)), (0.25, math.nan), (False, True), reference=(-3.5, -4.0))
    batch = pack([group, group], row_tokens=10, weights=[1, 0])
    assert batch.reference is not None and batch.reference.tolist() == [-3.5, -4.0] * 2
    assert batch.scores.nan_to_num(9).tolist() == [0.25, 9] * 2
    assert batch.scores.dtype == batch.weights.dtype == torch.float32 and batch.targets.dtype == torch.bool
    assert batch.input_ids.dtype == batch.target_ids.dtype == batch.predict_at.dtype == torch.int64
    assert batch.segments is not None and batch.segments.dtype == torch.int32


@pytest.mark.parametrize(("score", "targets"), [(math.nan, True), (1.0, False)])
def test_one_group_without_a_reference(score: float, targets: bool) -> None:
    batch = pack([Group("a", _ids(5), (_ids(6),), (score,), (targets,))], row_tokens=8)
    assert (batch.most_ranked, batch.weights.tolist(), batch.reference) == (1, [1.0], None)
    assert batch.targets.dtype == torch.bool and batch.scores.dtype == torch.float32


def test_rows_are_cut_and_padded_to_other_columns() -> None:
    groups = [Group("a", _ids(5), (_ids(6, 7),), (0.0,), (True,)), Group("b", _ids(8), (_ids(9),), (0.0,), (True,))]
    batch = pack(groups, row_tokens=4, pad_id=1)
    wide, narrow = in_columns(batch, slice(None), 4), in_columns(batch, slice(1, 2), 2)
    assert wide.input_ids.tolist() == [[5, 6, 7, 0], [8, 9, 1, 0]]
    assert wide.position_ids.tolist() == [[0, 1, 2, 0], [0, 1, 0, 0]]
    assert wide.group_ids.tolist() == [[0, 0, 0, -1], [1, 1, -1, -1]]
    assert wide.response_ids.tolist() == [[0, 1, 1, 0], [0, 1, 0, 0]]
    assert (narrow.input_ids.tolist(), narrow.group_ids.tolist()) == ([[8, 9]], [[1, 1]])
    assert narrow.predict_at is batch.predict_at


def test_nothing_to_pack_is_refused() -> None:
    with pytest.raises(ValueError, match=r"^pack: expected one group or more"):
        pack([], row_tokens=8)
    with pytest.raises(ValueError, match=r"of one token or more$"):
        pack([Group("a", _ids(5), (_ids(),), (0.0,), (True,))], row_tokens=8)
