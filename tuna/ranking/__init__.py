"""Collecting ranked answers: teachers, judges, the sampler, the store that never loses an answer, cost."""

# The tools of rank.py, which come first on its line, and how each is typed; here, since this imports nothing.
TOOLS = {
    "compare": "python rank.py compare A.jsonl B.jsonl [REPORT.json]",
    "merge": "python rank.py merge OUT.jsonl SHARD.jsonl SHARD.jsonl ...",
    "best": "python rank.py best LISTS.jsonl OUT.jsonl",
    "clear": "python rank.py clear LISTS.jsonl OUT.jsonl",
}
