"""A packer of the tests' own, written from PackedBatch's field comments and nothing else."""

from collections.abc import Sequence

import torch

from tuna.data.batch import PackedBatch, Totals

Lists = Sequence[tuple[Sequence[int], Sequence[Sequence[int]]]]  # (prompt, responses) a group


def random_lists(seed: int, vocab: int, groups: int = 5, longest: int = 12, most: int = 8) -> Lists:
    """Seeded random groups: prompts of 1..longest tokens, 2..most responses of 1..longest tokens."""
    generator = torch.Generator().manual_seed(seed)

    def draw(low: int, high: int) -> int:
        return int(torch.randint(low, high + 1, (1,), generator=generator))

    def tokens(count: int) -> list[int]:
        return torch.randint(0, vocab, (count,), generator=generator).tolist()

    lists = []
    for group in range(groups):
        prompt = tokens(1 if group == 0 else draw(1, longest))
        lists.append((prompt, [tokens(draw(1, longest)) for _ in range(draw(2, most))]))
    return lists


def packed(lists: Lists, rows: Sequence[Sequence[int]], pad: int = 0, extra: int = 0) -> PackedBatch:
    """Put the groups into ``rows`` (group indices a row; groups in rising order), ``extra`` padding columns more."""
    spans = [len(prompt) + sum(map(len, responses)) for prompt, responses in lists]
    width = max(sum(spans[g] for g in row) for row in rows) + extra
    shape = (len(rows), width)
    ids, positions = torch.full(shape, pad), torch.zeros(shape, dtype=torch.long)
    group_ids = torch.full(shape, -1, dtype=torch.int32)
    response_ids = torch.zeros(shape, dtype=torch.int32)
    at: list[int] = []
    targets: list[int] = []
    owner: list[int] = []
    lengths: list[int] = []
    groups: list[int] = []
    for r, row in enumerate(rows):
        column = 0
        for g in row:
            prompt, responses = lists[g]
            last_of_prompt = column + len(prompt) - 1
            for k, part in enumerate([prompt, *responses]):
                start = 0 if k == 0 else len(prompt)
                for offset, token in enumerate(part):
                    ids[r, column], positions[r, column] = token, start + offset
                    group_ids[r, column], response_ids[r, column] = g, k
                    if k > 0:
                        at.append(r * width + (last_of_prompt if offset == 0 else column - 1))
                        targets.append(token)
                        owner.append(len(lengths))
                    column += 1
                if k > 0:
                    lengths.append(len(part))
                    groups.append(g)
    longest = max(len(p) + max(map(len, rs)) for p, rs in lists)
    responses_in_all = len(lengths)
    return PackedBatch(
        input_ids=ids, position_ids=positions, group_ids=group_ids, response_ids=response_ids,
        scored=response_ids > 0, predict_at=torch.tensor(at), target_ids=torch.tensor(targets),
        target_response=torch.tensor(owner),
        lengths=torch.tensor(lengths), scores=torch.zeros(responses_in_all),
        targets=torch.zeros(responses_in_all, dtype=torch.bool), response_group=torch.tensor(groups),
        weights=torch.ones(len(lists)), totals=Totals(len(lists), 0, sum(lengths)),
        real_tokens=sum(spans), plain_tokens=responses_in_all * longest,
    )  # fmt: skip
