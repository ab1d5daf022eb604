"""The reference itself, against a loop that a reader can check by eye."""

import torch

from tests.models.architectures import CONFIGS, VOCAB, build
from tests.models.packing import packed, random_lists
from tuna.models.scorer import PlainScorer, unpack


def test_unpack_gives_back_what_was_packed() -> None:
    lists = random_lists(5, VOCAB, groups=3)
    prompts, responses, scored = unpack(packed(lists, [[0], [1, 2]], extra=4))
    wanted = [(list(prompt), list(response)) for prompt, own in lists for response in own]
    assert [(p.tolist(), r.tolist()) for p, r in zip(prompts, responses, strict=True)] == wanted
    assert all(mask.all() and len(mask) == len(r) for mask, r in zip(scored, responses, strict=True))


def test_equals_one_unpadded_sequence_at_a_time() -> None:
    model = build(CONFIGS["opt"])
    lists = random_lists(6, VOCAB, groups=3)
    got = PlainScorer(model)(packed(lists, [[0, 1, 2]]))
    wanted = []
    for prompt, responses in lists:
        for response in responses:
            ids = torch.tensor([[*prompt, *response]])
            logprobs = model(ids).logits[0].log_softmax(-1)
            wanted.append(sum(logprobs[len(prompt) + t - 1, token] for t, token in enumerate(response)))
    torch.testing.assert_close(got, torch.stack(wanted), rtol=1e-5, atol=0)
