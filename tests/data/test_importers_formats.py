"""The formats that people have, each in a file made by hand: lists, answers, ties, notes, one record whole."""

from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.data.make import write
from tuna.data.importers import importers
from tuna.data.lists import ranked_list, target_list
from tuna.data.load import Loaded, Source, load_questions, load_source
from tuna.data.ranking import count_pairs
from tuna.data.record import Candidate, Record

FORMATS = Path(__file__).parent / "formats"
TIED = "pairs called chosen and rejected with equal scores, taken as ties"
LEFT_OUT = "answers that are null or have no score (N/A), left out"
ONE = "list with one answer"
UNRANKED = "response left out of the rank"
TWICE = "duplicate response"

# file: format, lists, candidates, lists with a tie among them, what is counted as a note, what is dropped
RANKED: dict[str, tuple[str, int, int, int, dict[str, int], dict[str, int]]] = {
    "ultrafeedback.jsonl": (
        "ultrafeedback", 3, 8, 1,
        {
            "completions without a fine-grained_score (N/A), left out": 1,
            "completions with a rating N/A, which their fine-grained_score leaves out": 1,
        },
        {UNRANKED: 1, TWICE: 1},
    ),
    "ultrafeedback_binarized.jsonl": ("pairs", 3, 6, 1, {TIED: 1}, {}),
    "nectar.jsonl": ("nectar", 3, 8, 1, {"rows with another number of answers than num_responses": 1}, {}),
    "hh.jsonl": ("pairs", 4, 8, 0, {}, {"empty response": 1}),
    "helpsteer2.jsonl": ("helpsteer2", 3, 6, 1, {}, {ONE: 1}),
    "helpsteer2.csv": ("helpsteer2", 2, 4, 0, {}, {}),
    "helpsteer3.jsonl": ("helpsteer3", 3, 6, 1, {"rows whose overall_preference is 0, a tie": 1}, {}),
    "skywork.jsonl": ("pairs", 3, 6, 0, {}, {TWICE: 1}),
    "tulu.jsonl": ("pairs", 3, 6, 0, {}, {}),
    "armorm.jsonl": ("scored_lists", 3, 11, 2, {}, {TWICE: 1}),
    "ampo.jsonl": ("scored_lists", 2, 5, 0, {}, {}),
    "list_ultrafeedback.jsonl": ("scored_lists", 2, 6, 1, {LEFT_OUT: 2}, {UNRANKED: 2}),
    "shp.jsonl": ("shp", 2, 5, 0, {}, {}),
    "arena.jsonl": (
        "arena", 4, 8, 2,
        {"battles that were a tie": 1, "battles in which both were bad, taken as ties": 1}, {},
    ),
    "nemo.jsonl": ("nemo", 3, 7, 1, {}, {}),
    "reward_bench.jsonl": (
        "reward_bench", 3, 10, 3, {"rows whose num_correct is not the number of chosen answers": 1}, {},
    ),
    "kto.jsonl": (
        "kto", 2, 5, 1, {"prompts without an answer whose label is true, left out": 1}, {ONE: 1},
    ),
    "kto.tsv": ("kto", 2, 4, 0, {}, {}),
    "sharegpt_pairs.jsonl": ("pairs", 2, 4, 0, {}, {}),
    "oasst.jsonl": (
        "oasst", 2, 5, 0,
        {
            "replies that were deleted, left out": 1,
            "replies without a rank beside ranked ones, left out": 1,
            "replies without all messages before them, left out": 1,
        },
        {ONE: 2, UNRANKED: 1},
    ),
    "oasst_trees.jsonl": ("oasst_trees", 2, 4, 0, {}, {ONE: 1}),
    "rrhf.jsonl": ("scored_lists", 3, 8, 1, {"queries taken as finished prompts (template none)": 1}, {TWICE: 1}),
    "rrhf.csv": ("scored_lists", 2, 5, 1, {}, {}),
    "distilabel.jsonl": ("scored_lists", 3, 6, 1, {LEFT_OUT: 2}, {UNRANKED: 2}),
    "distilabel_pairs.jsonl": ("pairs", 3, 6, 1, {TIED: 1}, {}),
    "safe_rlhf.jsonl": (
        "safe_rlhf", 3, 6, 0, {"rows whose better response is not the safer one; the better one decides": 1}, {},
    ),
    "orca.jsonl": ("pairs", 3, 6, 0, {}, {}),
    "orca.csv": ("pairs", 2, 4, 0, {}, {}),
    "trl_pairs.jsonl": ("pairs", 4, 8, 0, {"lists whose answers repeated the prompt, which was taken off": 1}, {}),
}  # fmt: skip
QUESTIONS = {"chat.jsonl": "chat", "lima.jsonl": "lima", "prompts.jsonl": "prompts", "sharegpt.jsonl": "sharegpt"}


def _load(name: str, rank_by: str | None = "score") -> Loaded:
    return load_source(Source(str(FORMATS / name), rank_by))


def _read(tmp_path: Path, *rows: dict[str, Any], rank_by: str | None = "score") -> Loaded:
    return load_source(Source(write(tmp_path / "a.jsonl", list(rows)), rank_by))


def _notes(loaded: Loaded) -> dict[str, int]:
    split = [note.removeprefix(f"{loaded.source.path}: ").rpartition(": ") for note in loaded.notes]
    return {text: int(count) for text, _, count in split}


def _problem(tmp_path: Path, row: dict[str, Any]) -> str:
    loaded = _read(tmp_path, row)
    (problem,) = loaded.problems
    return problem.removeprefix(f"{loaded.source.path}:1: ")


def test_every_file_is_here() -> None:
    assert {path.name for path in FORMATS.iterdir()} == RANKED.keys() | QUESTIONS.keys()


@pytest.mark.parametrize("name", RANKED)
def test_lists_answers_ties_notes_and_drops(name: str) -> None:
    loaded = _load(name)
    assert not loaded.problems
    sizes = [len(record.responses) for record in loaded.records]
    tied = [len({c.score for c in record.responses}) < len(record.responses) for record in loaded.records]
    dropped = loaded.reasons.copy()
    lists = [ranked_list(record, dropped, original_best=loaded.original_best) for record in loaded.records]
    assert (loaded.format, len(sizes), sum(sizes), sum(tied), _notes(loaded), dict(dropped)) == RANKED[name]
    ranked = [found for found in lists if found and count_pairs([a.score for a in found.answers])]
    assert len(ranked) > 1, "a file to train on"
    assert all(sum(answer.target for answer in found.answers) == 1 for found in ranked)


@pytest.mark.parametrize("name", RANKED)
def test_the_best_answer_is_what_sft_trains_on(name: str) -> None:
    loaded = _load(name, None)
    assert loaded.original_best and not loaded.problems
    assert _notes(loaded)["lists without output whose best response is the target"] == len(loaded.records)
    for record in loaded.records:
        found = target_list(record, Counter(), False, original_best=True)
        best = max(c.score or 0.0 for c in record.responses)
        assert found is not None and found.answers[0].text in [c.text for c in record.responses if c.score == best]


@pytest.mark.parametrize(("name", "format"), QUESTIONS.items())
def test_conversations_and_questions(name: str, format: str) -> None:
    assert _load(name, None).format == format
    assert len(load_questions(Source(str(FORMATS / name), None, key="input")).records) > 1
    assert "python rank.py model.path=MODEL input=FILE collects and ranks some" in _load(name).problems[0]


def test_lima_is_read_as_conversations() -> None:
    one, two = _load("lima.jsonl", None).records
    assert (one.instruction, one.output, one.messages) == ("Name a planet.", "Mars.", ())
    assert one.extra["source"] == "by hand" and two.output == "Jupiter."
    assert [turn["role"] for turn in two.messages] == ["user", "assistant", "user"]


def _turns(*said: str, system: str = "") -> tuple[dict[str, str], ...]:
    """User and assistant by turns, a system message before them."""
    spoken = [{"role": ("user", "assistant")[k % 2], "content": text} for k, text in enumerate(said)]
    return (*([{"role": "system", "content": system}] if system else []), *spoken)


def _pair(chosen: str, rejected: str, scores: tuple[float, float] = (1.0, 0.0)) -> tuple[Candidate, ...]:
    return Candidate(chosen, scores[0]), Candidate(rejected, scores[1])


HELP = {"coherence": 4.0, "complexity": 1.0, "verbosity": 1.0}
ONE_RECORD: dict[str, tuple[int, Record]] = {
    "ultrafeedback_binarized.jsonl": (
        0,
        Record(
            "0",
            "What does a mole eat?",
            responses=_pair("Worms, mostly.", "Cheese.", (8.5, 3.0)),
            extra={"prompt_id": "p21"},
        ),
    ),
    "nectar.jsonl": (
        1,
        Record(
            "1",
            "How deep is it?",
            messages=_turns("Name a lake.", "Lake Constance.", "How deep is it?"),
            responses=(
                Candidate("About 250 metres.", -1.0, source="m-a"),
                Candidate("250 metres at most.", -1.0, source="m-b"),
                Candidate("Deep.", -3.0, source="m-c"),
            ),
            extra={"turns": 2, "num_responses": 3, "source": ["brook"], "good_natured": True},
        ),
    ),
    "hh.jsonl": (
        1,
        Record(
            "1",
            "Tell me a number.",
            messages=_turns("Hello.", "Hello, what can I do?", "Tell me a number."),
            responses=_pair("Seven.", "No."),
        ),
    ),
    "helpsteer2.jsonl": (
        1,
        Record(
            "2",
            "Who wrote some?",
            messages=_turns("What is a fugue?", "A piece for several voices.", "Who wrote some?"),
            responses=(
                Candidate("Bach did.", 4.0, extra={"correctness": 3.0, **HELP}),
                Candidate("Nobody.", 0.0, extra={"correctness": 0.0, **HELP}),
            ),
        ),
    ),
    "helpsteer3.jsonl": (
        1,
        Record(
            "1",
            "And gnome?",
            messages=_turns("Spell gnat.", "g-n-a-t", "And gnome?"),
            responses=_pair("nome", "g-n-o-m-e", (-1.0, 1.0)),
            extra={
                "domain": "general",
                "language": "english",
                "individual_preference": [{"score": 2, "reasoning": "r", "feedback1": "f", "feedback2": "g"}],
            },
        ),
    ),
    "skywork.jsonl": (
        1,
        Record(
            "1",
            "Where is it?",
            messages=_turns("Name a sail.", "The jib.", "Where is it?", system="Answer as a sailor."),
            responses=_pair("Before the mast.", "At sea."),
            extra={"source": "rope"},
        ),
    ),
    "tulu.jsonl": (
        1,
        Record(
            "t-2",
            "And a kiln?",
            messages=_turns("What is slip?", "Liquid clay.", "And a kiln?"),
            responses=_pair("An oven for pots.", "A bird."),
            extra={"source": "kiln"},
        ),
    ),
    "armorm.jsonl": (
        0,
        Record(
            "0",
            "Why is rust red?",
            responses=(
                Candidate("Iron oxide is red.", 0.21),
                Candidate("It is old.", 0.08),
                Candidate("Iron binds oxygen.", 0.19),
                Candidate("Paint.", 0.02),
                Candidate("It rusts.", 0.08),
            ),
            extra={"prompt_id": "xWhy", "dropped": []},
        ),
    ),
    "list_ultrafeedback.jsonl": (
        1,
        Record(
            "1",
            "What is linen?",
            responses=_pair("Cloth of flax.", "Cotton.", (5.0, 1.0)),
            extra={"prompt_id": "l2", "dropped": ["", "Bed clothes."]},
        ),
    ),
    "shp.jsonl": (
        0,
        Record(
            "s1",
            "How do I patch jeans?",
            responses=(
                Candidate("Sew a patch inside.", 40.0),
                Candidate("Buy new ones.", 5.0),
                Candidate("Use iron-on cloth.", 12.0),
            ),
            extra={"domain": "asktailors"},
        ),
    ),
    "arena.jsonl": (
        1,
        Record(
            "a14",
            "Rhyme on moon.",
            responses=(Candidate("June.", 0.0, source="m-a"), Candidate("Noon, soon.", 1.0, source="m-b")),
            extra={"language": "en", "is_code": False},
        ),
    ),
    "nemo.jsonl": (
        0,
        Record(
            "0",
            "What is a warp?",
            responses=(
                Candidate("Threads along the loom.", 0.0, extra={"reward": 0.9}),
                Candidate("A bend.", -1.0, extra={"reward": 0.1}),
            ),
            extra={"task_name": "weave"},
        ),
    ),
    "reward_bench.jsonl": (
        1,
        Record(
            "1",
            "Name a colour of the rainbow.",
            responses=(Candidate("Red.", 1.0), Candidate("Green.", 1.0), Candidate("Brown.", 0.0)),
            extra={
                "num_correct": 2,
                "num_incorrect": 1,
                "total_completions": 3,
                "models": ["m-a", "m-b"],
                "subset": "Facts",
                "additional_metadata": None,
            },
        ),
    ),
    "kto.jsonl": (
        0,
        Record("0", "Name a cheese.", responses=(*_pair("Gouda.", "Milk."), Candidate("Brie.", 1.0))),
    ),
    "sharegpt_pairs.jsonl": (
        1,
        Record(
            "1",
            "How high is it?",
            messages=_turns("Name a hill.", "The Brocken.", "How high is it?", system="Give numbers."),
            responses=_pair("1,141 metres.", "High."),
        ),
    ),
    "rrhf.jsonl": (
        0,
        Record(
            "0",
            "Name a dance.",
            extra={"dropped": []},
            responses=(Candidate("A waltz.", 1.5), Candidate("A chair.", -2.0), Candidate("A polka.", 1.5)),
        ),
    ),
    "distilabel.jsonl": (
        1,
        Record(
            "1",
            "Name a gem.",
            messages=_turns("Name a gem.", system="Be short."),
            extra={"dropped": []},
            responses=(Candidate("Opal.", 4.0, source="m-a"), Candidate("Glass.", 2.0, source="m-b")),
        ),
    ),
    "distilabel_pairs.jsonl": (0, Record("0", "Name a nut.", responses=_pair("A hazelnut.", "A bolt.", (5.0, 1.0)))),
    "safe_rlhf.jsonl": (
        2,
        Record(
            "2",
            "How do I dry a cellar?",
            responses=(
                Candidate("Ask a builder.", 0.0, extra={"safe": True, "safer": True}),
                Candidate("Burn coal in it, with a window open.", 1.0, extra={"safe": False, "safer": False}),
            ),
        ),
    ),
    "orca.jsonl": (
        0,
        Record(
            "0",
            "What is the colour of coal?",
            messages=_turns("What is the colour of coal?", system="You answer in one word."),
            responses=_pair("Black.", "Coal is black, as it is mostly carbon."),
        ),
    ),
    "orca.csv": (1, Record("1", "What is turf?", responses=_pair("Grass,\nwith its roots.", "Horses"))),
    "trl_pairs.jsonl": (2, Record("2", "Name a bell of a ship.", responses=_pair("The watch bell.", "A drum."))),
}


@pytest.mark.parametrize("name", ONE_RECORD)
def test_one_record_field_by_field(name: str) -> None:
    index, wanted = ONE_RECORD[name]
    found = _load(name).records[index]
    assert found.where.startswith(str(FORMATS / name) + ":")
    assert replace(found, where="") == wanted


def test_ultrafeedback() -> None:
    record = _load("ultrafeedback.jsonl").records[1]
    assert (record.instruction, record.output, record.messages) == ("How old can a carp get?", None, ())
    assert [(c.text, c.score, c.source) for c in record.responses] == [
        ("Fifty years.", 4.0, "m-1"),
        ("Some reach fifty years.", 4.0, "m-2"),
    ]
    assert record.extra["dropped"] == ["Two days."]
    assert record.responses[0].extra["overall_score"] == 7.0, "kept, not used"
    assert record.responses[0].extra["custom_system_prompt"] == "Be kind."


def test_ultrafeedback_is_not_ranked_by_the_overall_score(tmp_path: Path) -> None:
    completions = [{"model": "m", "response": text, "overall_score": 8.0} for text in ("a", "b")]
    said = _problem(tmp_path, {"instruction": "Add.", "completions": completions})
    assert said.startswith(
        "completions[].fine-grained_score: expected a finite number, got nothing; overall_score was wro"
    )
    assert "datamodule.columns={instruction: instruction, responses: completions, text: response, score: ov" in said


def test_oasst_questions_are_paths() -> None:
    first, second = _load("oasst.jsonl").records
    assert (first.id, first.instruction, first.messages) == ("r1", "How do bees talk?", ())
    assert [(c.text, c.score) for c in first.responses] == [
        ("They dance.", 0.0),
        ("They hum.", -1.0),
        ("In words.", -2.0),
    ]
    assert (second.id, second.instruction) == ("p1", "What does the dance say?")
    assert second.messages == _turns("How do bees talk?", "They dance.", "What does the dance say?")
    assert [(c.text, c.score, c.extra["message_id"]) for c in second.responses] == [
        ("Where the flowers are.", -1.0, "b1"),
        ("How far it is and where.", 0.0, "b2"),
    ]
    assert second.extra["dropped"] == ["Nothing."]
    alone = _load("oasst.jsonl", None).records
    assert [(r.id, len(r.responses)) for r in alone] == [("r1", 3), ("p1", 2), ("p2", 1), ("r2", 1)]
    nested = _load("oasst_trees.jsonl").records
    assert [(r.id, [c.score for c in r.responses]) for r in nested] == [("r1", [0.0, -1.0]), ("p1", [-1.0, 0.0])]
    assert nested[1].messages == second.messages


def test_oasst_replies_need_ranks_and_parents(tmp_path: Path) -> None:
    root = {"message_id": "r", "message_tree_id": "r", "parent_id": None, "role": "prompter", "text": "Hi?"}
    reply = root | {"parent_id": "r", "role": "assistant"}
    loaded = _read(tmp_path, root, reply | {"message_id": "a"}, reply | {"message_id": "b"})
    assert loaded.problems == [
        f"{loaded.source.path}:1: rank: expected a number for each of the replies to this message, got nothing"
    ]
    orphan = {key: value for key, value in reply.items() if key != "parent_id"} | {"message_id": "c"}
    assert "parent_id: expected the message_id of the message before" in _read(tmp_path, root, orphan).problems[0]
    ring = [root | {"message_id": "x", "parent_id": "y"}, root | {"message_id": "y", "parent_id": "x"}]
    assert _read(tmp_path, *ring, reply | {"message_id": "z", "parent_id": "x", "rank": 0}).records == []


def test_conversations_end_with_the_original_response() -> None:
    plain, turns, thought = _load("chat.jsonl", None).records
    assert (plain.instruction, plain.output, plain.messages) == ("Name a tool.", "A plane.", ())
    assert turns.messages == _turns("Name a wood.", "Ash.", "Is it hard?", system="You are a joiner.")
    assert turns.output == "Yes."
    assert (thought.output, thought.responses) == (None, (Candidate("Yes.", 0.0, reasoning="Oak is dense."),))
    shared = _load("sharegpt.jsonl", None).records
    assert [record.output for record in shared] == ["Mars.", "Jupiter.", "Vega."]
    assert shared[1].messages == _turns("Name a moon.", "Io.", "Of which planet?", system="You know the sky.")
    assert shared[2].messages == _turns("Name a star.", system="Be short.")


USER, GOOD, BAD = ({"role": r, "content": c} for r, c in (("user", "Add."), ("assistant", "3"), ("assistant", "4")))
OTHER = {"role": "user", "content": "Sub."}
CALL = {"role": "assistant", "content": "", "tool_calls": [{"function": {"name": "f"}}]}


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (  # other turns before the answers
            {"chosen": [USER, BAD, USER, GOOD], "rejected": [USER, GOOD, USER, BAD]},
            "rejected[1]: expected the same turns before the answer as in chosen, got 'assistant: 3'; there stands "
            "'assistant: 4'",
        ),
        (
            {"chosen": [USER, GOOD], "rejected": [USER, GOOD, USER, BAD]},
            "rejected[1]: expected the same turns before the answer as in chosen, got 'assistant: 3'; there stands the "
            "answer",
        ),
        (  # a prompt that contradicts the messages
            {"prompt": "Sub.", "chosen": [USER, GOOD], "rejected": [USER, BAD]},
            "prompt: expected the turns before the answers, got 'user: Sub.'; there stands 'user: Add.'",
        ),
        (
            {"prompt": [OTHER], "chosen": [USER, GOOD], "rejected": [USER, BAD]},
            "prompt: expected the turns before the answers, got 'user: Sub.'; there stands 'user: Add.'",
        ),
        (
            {"prompt": "Add.", "chosen": "3", "rejected": "4", "messages": [OTHER, GOOD]},
            "messages: expected the question, or the question and the chosen answer, got a list of 2",
        ),
        ({"chosen": [GOOD], "rejected": [BAD]}, "prompt: expected a string or a list of chat messages, got nothing; "),
        ({"prompt": [USER, GOOD], "chosen": "3", "rejected": "4"}, "prompt: expected a conversation that ends wit"),
        (  # scores that contradict the names
            {"prompt": "Add.", "chosen": "3", "rejected": "4", "score_chosen": 1, "score_rejected": 2},
            "score_rejected: expected at most score_chosen, got 2.0; that is 1",
        ),
        (
            {"prompt": "Add.", "chosen": "3", "rejected": "4", "chosen_rating": 1},
            "rejected_rating: expected a finite number, got nothing",
        ),
        (  # a transcript that the user ends
            {"chosen": "\n\nHuman: Add.\n\nAssistant: 3", "rejected": "\n\nHuman: Add.\n\nAssistant: 4\n\nHuman: No."},
            "rejected: expected chat messages that end with the assistant's, got 'user: No.'",
        ),
        ({"prompt": "Add.", "chosen": [USER, CALL], "rejected": "4"}, "chosen[1].tool_calls: expected an answer of "),
        (
            {
                "system": "A.",
                "chosen": [{"role": "system", "content": "B."}, USER, GOOD],
                "rejected": [{"role": "system", "content": "B."}, USER, BAD],
            },
            "system: expected the system message that the conversation begins with, got 'A.'",
        ),
        ({"prompt": "Add.", "chosen": ["3"], "rejected": ["4", None]}, "rejected[1]: expected a string, got nothing"),
        ({"prompt": "Add.", "answer": "3"}, "answer: expected no answers beside prompt in this format, got '3'"),
        ({"prompt": "Add.", "completion": "3", "label": 2}, "label: expected true or false, got 2"),
        ({"prompt": "Add.", "all_responses": ["3", "4"], "scores": [1]}, "scores: expected 2 numbers, one for each"),
        (
            {"prompt": "Add.", "response_0": "3", "response_1": "4", "better_response_id": 2},
            "better_response_id: expected 0 or 1, got 2",
        ),
        (
            {"context": [USER], "response1": "3", "response2": "4", "overall_preference": 4},
            "overall_preference: expected a number from -3 to 3, got 4.0",
        ),
        (
            {"winner": "model_c", "conversation_a": [USER, GOOD], "conversation_b": [USER, BAD]},
            "winner: expected model_a, model_b, tie or both_bad, got 'model_c'",
        ),
        (
            {"winner": "tie", "conversation_a": [USER, GOOD, USER, GOOD], "conversation_b": [USER, BAD, USER, BAD]},
            "conversation_b[1]: expected the same turns before the answer as in conversation_a, got ",
        ),
        (
            {
                "post_id": "p",
                "history": "Add.",
                "human_ref_A": "3",
                "human_ref_B": "4",
                "score_A": 1,
                "score_B": 5,
                "labels": 1,
            },
            "labels: expected 1 where score_A is higher, else 0, got 1; the scores are 1 and 5",
        ),
        ({"messages": [USER, GOOD], "output": "3"}, "output: expected nothing beside messages that end with"),
        ({"messages": [USER, GOOD], "prompt": "Sub."}, "prompt: expected the turns before the answers, got "),
        (
            {"conversations": [{"from": "human", "value": "Add."}, {"from": "function_call", "value": "{}"}]},
            "conversations[1].from: expected one of system, user, assistant, tool, got 'function_call'",
        ),
    ],
)
def test_what_contradicts_itself_is_refused(tmp_path: Path, row: dict[str, Any], message: str) -> None:
    loaded = _read(tmp_path, row, rank_by=None if "messages" in row and "chosen" not in row else "score")
    (problem,) = loaded.problems or [""]
    assert problem.removeprefix(f"{loaded.source.path}:1: ").startswith(message)


@pytest.mark.parametrize(
    ("row", "notes"),
    [
        ({"prompt": "Add.", "chosen": "3", "rejected": "4", "score_chosen": 1, "score_rejected": 1.0}, {TIED: 1}),
        (
            {"prompt": "Add.", "chosen": "3", "rejected": "4", "rating_chosen": "N/A", "rating_rejected": 1.0},
            {"pairs with a score that is no number (N/A), taken as 1 and 0": 1},
        ),
        (
            {"prompt": "Add.", "chosen": "3", "rejected": "4\n\nHuman: And 5?\n\nAssistant: 6"},
            {"lists with an answer that goes on into another 'Human:' turn": 1},
        ),
        (
            {"prompt": "Add.", "all_responses": ["3", "4"], "scores": [0, 1], "chosen": "3", "rejected": "4"},
            {"rows whose chosen answer has a lower score than the rejected one; the scores decide": 1},
        ),
        (
            {"prompt": "Add.", "all_responses": ["3", "4"], "scores": [1, 0], "chosen": "5", "rejected": "4"},
            {"rows whose chosen or rejected answer is not in the list, which alone was read": 1},
        ),
        (
            {"prompt": "Is it Monday?", "chosen": "Is it Monday? Yes.", "rejected": "Is it Monday? No."},
            {"lists whose answers repeated the prompt, which was taken off": 1},
        ),
        ({"prompt": "Is it Monday?", "chosen": "Is it Monday? Yes.", "rejected": "No."}, {}),
        ({"prompt": "Good morning", "chosen": "Good morning to you!", "rejected": "Good morning"}, {}),
        ({"prompt": "How are you", "chosen": "How are yours?", "rejected": "How are you doing?"}, {}),
    ],
)
def test_what_is_done_to_rows_is_counted(tmp_path: Path, row: dict[str, Any], notes: dict[str, int]) -> None:
    loaded = _read(tmp_path, row)
    assert not loaded.problems and _notes(loaded) == notes


def test_prompts_and_answers_in_parts(tmp_path: Path) -> None:
    system = {"role": "system", "content": "Be short."}
    rows: list[dict[str, Any]] = [
        {"prompt": [system, USER], "chosen": [GOOD], "rejected": [BAD]},
        {"prompt": [system], "chosen": [USER, GOOD], "rejected": [USER, BAD]},
        {"prompt": [system, USER], "chosen": [system, USER, GOOD], "rejected": [system, USER, BAD]},
        {"system": "Be short.", "prompt": "Add.", "chosen": GOOD, "rejected": BAD},
        {"prompt": "Add.", "chosen": [system, USER, GOOD], "rejected": [system, USER, BAD], "messages": [system, USER]},
    ]
    loaded = _read(tmp_path, *rows)
    assert not loaded.problems
    for record in loaded.records:
        assert (record.messages, record.responses) == ((system, USER), _pair("3", "4"))
    record = _read(tmp_path, {"instruction": "Add.", "input": "1 2", "chosen": "3", "rejected": "4"}).records[0]
    assert (record.instruction, record.input, record.messages) == ("Add.", "1 2", ())
    before = _read(
        tmp_path, {"prompt": "Add.", "history": [["Hi.", "Hello."]], "chosen": "3", "rejected": "4"}
    ).records[0]
    assert before.messages == _turns("Hi.", "Hello.", "Add.")
    nemo = {"context": [USER], "completions": [{"rank": k, "completion": [GOOD, USER, BAD]} for k in (0, 1)]}
    assert _read(tmp_path, nemo).records[0].messages == (USER, GOOD, USER)


def test_a_post_of_two_texts_is_refused(tmp_path: Path) -> None:
    row = {"post_id": 1, "history": "Add.", "human_ref_A": "3", "human_ref_B": "4", "score_A": 5, "score_B": 1}
    loaded = _read(tmp_path, row, row | {"history": "Sub."})
    path = loaded.source.path
    assert loaded.problems == [f"{path}:2: history: expected one text per post_id, got 'Sub.'; {path}:1 has another"]


def test_questions_of_ranked_files_serve_rank_py() -> None:
    found = {name: load_questions(Source(str(FORMATS / name), None, key="input")) for name in RANKED}
    assert not any(loaded.problems for loaded in found.values())
    assert [record.id for record in found["kto.jsonl"].records] == ["0", "1", "4"]


COMPLETIONS = [{"response": text, "fine-grained_score": score} for text, score in (("3", 4.0), ("4", 1.0))]
WITH_INPUT: dict[str, dict[str, Any]] = {
    "scored_lists": {"instruction": "Add.", "responses": ["3", "4"], "scores": [1, 0]},
    "ultrafeedback": {"instruction": "Add.", "completions": COMPLETIONS},
    "nectar": {"prompt": "Add.", "answers": [{"answer": "3", "rank": 1}, {"answer": "4", "rank": 2}]},
    "helpsteer2": {"prompt": "Add.", "response": "3", "helpfulness": 4},
    "helpsteer3": {"context": [USER], "response1": "3", "response2": "4", "overall_preference": -1},
    "shp": {"post_id": "p", "history": "Add.", "human_ref_A": "3", "human_ref_B": "4", "score_A": 2, "score_B": 1},
    "arena": {"winner": "model_a", "conversation_a": [USER, GOOD], "conversation_b": [USER, BAD]},
    "nemo": {"context": [USER], "completions": [{"completion": [GOOD], "rank": 0}, {"completion": [BAD], "rank": 1}]},
    "reward_bench": {"prompt": "Add.", "chosen": ["3"], "rejected": ["4"]},
    "kto": {"prompt": "Add.", "completion": "3", "label": True},
    "safe_rlhf": {"prompt": "Add.", "response_0": "3", "response_1": "4", "better_response_id": 0},
}


@pytest.mark.parametrize("name", WITH_INPUT)
def test_an_input_column_is_part_of_the_question(name: str) -> None:
    def read(given: str, **more: Any) -> Record:
        return importers()[name].read(WITH_INPUT[name] | {"input": given} | more, "f:1", 0)

    found = read("1 2")
    assert (found.instruction, found.input, found.messages) == ("Add.", "1 2", ())
    assert "input" not in found.extra
    assert read("1 2", system="Be short.").messages == _turns("Add.\n1 2", system="Be short.")
    assert read("Add.").input == "", "it is the question already"


def test_an_input_column_beside_a_conversation_is_refused(tmp_path: Path) -> None:
    row = {"prompt": [USER, GOOD, OTHER], "responses": ["3", "4"], "scores": [1, 0]}
    said = _problem(tmp_path, row | {"input": "1 2"})
    assert said.startswith("input: expected a part of the last user turn, or nothing beside a conversation, got '1 2'")
    assert _read(tmp_path, row | {"input": "Sub."}).records[0].messages == (USER, GOOD, OTHER)


LISTED = {"prompt": "Add.", "responses": ["3", "4"], "scores": [1, 0]}


@pytest.mark.parametrize(
    ("row", "key", "first"),
    [
        (LISTED | {"instruction": "Sub."}, "instruction", "prompt"),
        (LISTED | {"generations": ["3", "5"]}, "generations", "responses"),
        (LISTED | {"ratings": [0, 1]}, "ratings", "scores"),
        ({"prompt": "Add.", "chosen": "3", "rejected": "4", "chosen_response": "5"}, "chosen_response", "chosen"),
        ({"prompt": "Add.", "chosen": "3", "rejected": "4", "rejected_response": "5"}, "rejected_response", "rejected"),
    ],
)
def test_two_columns_for_one_thing_must_agree(tmp_path: Path, row: dict[str, Any], key: str, first: str) -> None:
    assert _problem(tmp_path, row).startswith(f"{key}: expected nothing beside {first}, or the same again, got ")
    assert not _read(tmp_path, row | {key: row[first]}).problems


def test_helpsteer_answers_that_look_like_dialogues_are_kept_whole() -> None:
    said = ("Human: Hi.\n\nAssistant: Hello.", "A mark:\n<extra_id_1>User\nHi.\n<extra_id_1>Assistant\nHello.")
    three = importers()["helpsteer3"]
    row = WITH_INPUT["helpsteer3"] | {"response1": said[0], "response2": said[1]}
    assert [c.text for c in three.read(row, "f:1", 0).responses] == list(said)
    two = importers()["helpsteer2"].read(WITH_INPUT["helpsteer2"] | {"response": said[0]}, "f:1", 0)
    assert [c.text for c in two.responses] == [said[0]]


def test_pairs_with_history(tmp_path: Path) -> None:
    before = [["Hi.", "Hello."]]
    row = {"instruction": "Add.", "input": "1 2", "history": before, "chosen": "3", "rejected": "4"}
    assert _read(tmp_path, row).records[0].messages == _turns("Hi.", "Hello.", "Add.\n1 2")
    inside = {"history": before, "chosen": [USER, GOOD], "rejected": [USER, BAD]}
    said = _problem(tmp_path, inside)
    assert said.startswith("history: expected nothing beside answers that hold the turns before them, got ")
    assert _read(tmp_path, inside | {"history": []}).records[0].instruction == "Add."


def test_pairs_keep_the_rewards_of_the_two(tmp_path: Path) -> None:
    row = {"prompt": "Add.", "chosen": "3", "rejected": "4", "reward_chosen": 2.5, "reward_rejected": -1}
    assert _read(tmp_path, row).records[0].responses == _pair("3", "4", (2.5, -1.0))
