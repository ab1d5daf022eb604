"""The human study from pages to points: blind pages, filled in by a browser, exported, scored; wrong sheets."""

import html
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.inference.make import read_rows, write_rows
from tuna.config import checks
from tuna.config.compose import compose
from tuna.data.record import Record
from tuna.entry import main
from tuna.errors import ConfigError, DataError
from tuna.evaluation.human_study.benchmark import HumanStudy
from tuna.evaluation.human_study.pages import read_sheets, write_study
from tuna.evaluation.questions import Question
from tuna.evaluation.run import run
from tuna.programs import EVALUATE

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome", "chrome"))), None)
NASTY = '</script><script>document.title = "broken"</script><!-- <script> %%STUDY%% & \u2028 "quoted" \\u003c'
SYSTEMS = ("Zebra-7B", "Yak-PPO", "Walrus")
LABELS = ("A", "B", "C")

# Ranks the answers by length (SIGN -1: the longest first), looks at every question, exports, and shows what it saw.
DRIVER = """<script>
const byId = (id) => document.getElementById(id);
const saw = {title: document.title, at: byId("where").textContent, texts: []};
saw.wide = document.documentElement.scrollWidth - window.innerWidth;
HTMLAnchorElement.prototype.click = function () { saw.file = this.download; };
URL.createObjectURL = (blob) => { blob.text().then((text) => {
  saw.sheet = JSON.parse(text); saw.status = byId("status").textContent;
  saw.kept = localStorage.getItem(Object.keys(localStorage)[0]);
  const out = document.createElement("pre"); out.id = "saw"; out.textContent = JSON.stringify(saw);
  document.body.append(out);
}); return "blob:none"; };
const cards = () => [...document.querySelectorAll("fieldset")];
const text = (card) => card.querySelector(".text").textContent;
const key = (k) => new KeyboardEvent("keydown", {key: String(k + 1), bubbles: true});
for (let at = 0; at < byId("jump").options.length; at += 1) {
  byId("jump").value = at; byId("jump").dispatchEvent(new Event("change"));
  saw.texts.push(cards().map(text));
  if (SIGN === 0) continue;
  const sorted = cards().sort((a, b) => SIGN * (text(a).length - text(b).length));
  [...sorted].reverse().forEach((card) => card.querySelector("input").click());  // each takes the first place
  sorted.forEach((card, k) => card.querySelector("input").dispatchEvent(key(k)));
}
byId("export").click();
</script></body>"""


def words(count: int, name: str) -> str:
    return f"{name} says " + "word " * count


def answers(count: int = 4) -> dict[str, dict[str, str]]:
    """Zebra's answers are the longest, Walrus's the shortest; question 0 holds what could break a page."""
    found = {
        system: {f"q{n}": words(3 * (3 - k), "it") + "." * n for n in range(count)} for k, system in enumerate(SYSTEMS)
    }
    found["Zebra-7B"]["q0"] = NASTY + "x" * 300
    return found


def study(folder: Path, count: int = 4, texts: Any = None, seed: int = 0) -> tuple[dict[str, Any], list[Path]]:
    """What unblinds a study that is written into the folder, and the pages of two people."""
    questions = [Question(f"q{n}", Record(f"q{n}", f"Question {n} <b>?"), "generic") for n in range(count)]
    pages = write_study(questions, texts or answers(count), 2, seed, folder)
    return json.loads((folder / "unblinding.json").read_text()), pages


def asked(page: Path) -> list[dict[str, Any]]:
    """The questions on a page."""
    found: list[dict[str, Any]] = json.loads(re.search(r'json">(.*)</script>', page.read_text())[1])["questions"]  # type: ignore[index]
    return found


def fill(made: dict[str, Any], folder: Path, orders: Sequence[Sequence[str]]) -> list[str]:
    """Sheets of people who put the systems in these orders, best first, on every question."""
    paths = []
    for who, order in enumerate(orders, start=1):
        places = {
            question: {label: order.index(systems[0]) + 1 for label, systems in labels.items()}
            for question, labels in made["annotators"][str(who)].items()
        }
        sheet = {"schema_version": 1, "study": made["study"], "annotator": str(who), "places": places}
        paths.append(str(folder / f"sheet{who}.json"))
        Path(paths[-1]).write_text(json.dumps(sheet))
    return paths


def test_models_answer_a_users_questions_without_one_more_that_is_measured(tmp_path: Path) -> None:
    questions = tmp_path / "q.jsonl"
    write_rows(questions, [{"instruction": "Name a colour."}])
    systems = "benchmark.systems={A b: tiny_base, PPO-sim: tiny}"
    words = ["benchmark=human_study", f"benchmark.questions={questions}", systems, "benchmark.max_tokens=4"]
    run(compose([*words, f"folder={tmp_path / 'r'}"], config_name="evaluate"))
    assert len([*(tmp_path / "r").glob("human_study/*/*.html")]) == 2


def test_a_page_names_no_system_and_loads_nothing(tmp_path: Path) -> None:
    for page in study(tmp_path)[1]:
        text = page.read_text()
        assert not any(system.lower() in text.lower() for system in SYSTEMS)
        assert not re.search(r"(?:src|href)\s*=\s*[\"']|https?:|@import|url\(", text)
        assert text.count("<script") == text.count("</script>") == 2  # NASTY opened and closed none


def test_a_conversation_is_shown_as_its_transcript(tmp_path: Path) -> None:
    turns = (
        {"role": "user", "content": "Hi."},
        {"role": "assistant", "content": "Yes?"},
        {"role": "user", "content": "Why?"},
    )
    question = Question("1", Record("1", "Why?", messages=turns))
    (page,) = write_study([question], {"a": {"1": "x"}, "b": {"1": "y"}}, 1, 0, tmp_path)
    key = json.loads((tmp_path / "unblinding.json").read_text())
    told = "User: Hi.\n\nAssistant: Yes?\n\nUser: Why?"
    assert asked(page)[0]["text"] == told and key["questions"][0]["instruction"] == told


def test_orders_differ_by_person_and_question_and_repeat_by_seed(tmp_path: Path) -> None:
    def seen(seed: int) -> list[list[str]]:
        by_person = study(tmp_path, 30, seed=seed)[0]["annotators"]
        return [[s[0] for s in labels.values()] for who in "12" for labels in by_person[who].values()]

    orders = seen(0)
    assert len({tuple(order) for order in orders}) == 6 and orders[:30] != orders[30:]
    assert orders == seen(0) != seen(1)
    first = [order[0] for order in orders]
    assert all(8 <= first.count(system) <= 32 for system in SYSTEMS)  # 20 expected


def test_the_unblinding_says_whose_answer_each_is_and_equal_ones_share_a_label(tmp_path: Path) -> None:
    texts = answers(2)
    texts["Walrus"]["q1"] = texts["Yak-PPO"]["q1"] + "\n"
    found, (page, _) = study(tmp_path, 2, texts)
    assert sorted(map(sorted, found["annotators"]["1"]["q1"].values())) == [["Walrus", "Yak-PPO"], ["Zebra-7B"]]
    for question in asked(page):
        whose = found["annotators"]["1"][question["id"]]
        for answer in question["answers"]:
            assert all(texts[name][question["id"]].strip() == answer["text"] for name in whose[answer["label"]])


def test_every_system_answers_every_question(tmp_path: Path) -> None:
    texts = answers(2)
    del texts["Walrus"]["q1"]
    with pytest.raises(DataError, match=r"systems\.Walrus: no answer to 1 questions: q1"):
        study(tmp_path, 2, texts)


def test_scores_by_hand(tmp_path: Path) -> None:
    made, _ = study(tmp_path)
    paths = fill(made, tmp_path, [SYSTEMS, (SYSTEMS[0], SYSTEMS[2], SYSTEMS[1])])
    found = read_sheets(paths, str(tmp_path / "unblinding.json"))
    assert found.systems == list(SYSTEMS) and found.annotators == ["1", "2"]
    assert found.points.shape == (4, 2, 3)
    assert found.points[0].tolist() == [[3, 2, 1], [3, 1, 2]]


def scored(folder: Path, sheets: Sequence[str], unblinding_path: Path) -> dict[str, Any]:
    overrides = [
        "benchmark=human_study", f"benchmark.sheets=[{','.join(sheets)}]", f"benchmark.unblinding={unblinding_path}",
        f"folder={folder / 'results'}",
    ]  # fmt: skip
    cfg = compose(overrides, config_name="evaluate")
    checks.check(cfg)
    run(cfg)
    (place,) = (folder / "results" / "human_study").glob("*/results.json")
    found: dict[str, Any] = json.loads(place.read_text())
    return found


def test_a_study_from_files_is_written_and_scored(tmp_path: Path) -> None:
    write_rows(tmp_path / "q.jsonl", [{"question_id": n, "category": "c", "turns": [f"Q{n}?"]} for n in range(30)])
    for name in "abc":
        rows = [{"instruction": f"Q{n}?", "output": f"{name} {n}"} for n in range(30)]
        write_rows(tmp_path / f"{name}.jsonl", rows)
    systems = ", ".join(f"System-{name}: {tmp_path / name}.jsonl" for name in "abc")
    overrides = [
        "benchmark=human_study", f"benchmark.questions={tmp_path / 'q.jsonl'}", f"benchmark.systems={{{systems}}}",
        f"folder={tmp_path / 'pages'}",
    ]  # fmt: skip
    cfg = compose(overrides, config_name="evaluate")
    checks.check(cfg)
    assert run(cfg) == {"pages": 2}
    (folder,) = (tmp_path / "pages" / "human_study").iterdir()
    whose = json.loads((folder / "unblinding.json").read_text())
    sheets = []
    for who in ("1", "2"):  # a is always best; b and c alternate
        places = {
            str(n): {
                label: ["System-a", *(("System-b", "System-c") if n % 2 else ("System-c", "System-b"))].index(s[0]) + 1
                for label, s in whose["annotators"][who][str(n)].items()
            }
            for n in range(30)
        }
        sheets.append(str(tmp_path / f"{who}.json"))
        sheet = {"schema_version": 1, "study": whose["study"], "annotator": who, "places": places}
        Path(sheets[-1]).write_text(json.dumps(sheet))
    found = scored(tmp_path, sheets, folder / "unblinding.json")
    assert found["scores"] == {
        "points/System-a": 3, "points/System-b": 1.5, "points/System-c": 1.5, "kendall_w": 1, "kendall_tau": 1,
    }  # fmt: skip
    assert found["coverage"] == {"n": 30, "N": 30, "missing": []}
    assert [row["first"] for row in found["tables"]["by_system"]] == [1, 0, 0]
    pairs = {(row["better"], row["worse"]): row["significant"] for row in found["tables"]["by_pair"]}
    assert pairs == {("System-a", "System-b"): True, ("System-a", "System-c"): True, ("System-b", "System-c"): False}
    shown = read_rows(next((tmp_path / "results").rglob("examples.jsonl")))
    assert len(shown) == 30 and shown[0]["points"]["1"] == {"System-a": 3, "System-b": 1, "System-c": 2}


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (
            {"places": {"q0": {"A": 1, "B": 2}}},
            "question q0: expected a place for each of A, B, C, from 1 to 3 and each once, got {'A': 1, 'B': 2}",
        ),
        (
            {"places": {"q1": None}},
            "question q1: expected a place for each of A, B, C, from 1 to 3 and each once, got none",
        ),
        ({"places": {"q0": {"A": 1, "B": 2, "C": 2}}}, "and each once, got {'A': 1, 'B': 2, 'C': 2}"),
        ({"places": {"q0": {"A": 1, "B": 2, "C": 4}}}, "got {'A': 1, 'B': 2, 'C': 4}"),
        ({"places": {"q0": {"A": True, "B": 2, "C": 3}}}, "got {'A': True, 'B': 2, 'C': 3}"),
        ({"places": {"q0": {"A": 1, "B": 2, "C": 3, "D": 4}}}, "'D': 4}"),
        ({"places": {"q9": {"A": 1}}}, "expected the study's questions, got 'q9'"),
        ({"places": []}, "expected an exported sheet"),
        ({"study": "other"}, "study: expected"),
        ({"annotator": "7"}, "annotator: expected one of 1, 2, got '7'"),
        ({"annotator": "2"}, "annotator: 2 has filled in"),
        ({"schema_version": 2}, "schema_version: expected 1, got 2"),
    ],
)
def test_wrong_sheets_are_named_with_the_question(change: dict[str, Any], told: str, tmp_path: Path) -> None:
    made, _ = study(tmp_path, 2)
    second, first = fill(made, tmp_path, [SYSTEMS, SYSTEMS])  # the second is read last, so that a person comes twice
    sheet = json.loads(Path(second).read_text())
    if isinstance(change.get("places"), dict):
        change = {"places": sheet["places"] | change["places"]}
    Path(second).write_text(json.dumps(sheet | change))
    with pytest.raises(DataError) as error:
        read_sheets([first, second], str(tmp_path / "unblinding.json"))
    assert told in str(error.value) and str(error.value).startswith(f"{second}: ")


def test_all_that_is_wrong_is_said_at_once(tmp_path: Path) -> None:
    made, _ = study(tmp_path, 3)
    paths = fill(made, tmp_path, [SYSTEMS, SYSTEMS])
    for path in paths:
        sheet = json.loads(Path(path).read_text())
        del sheet["places"]["q0"], sheet["places"]["q2"]
        Path(path).write_text(json.dumps(sheet))
    with pytest.raises(DataError) as error:
        read_sheets(paths, str(tmp_path / "unblinding.json"))
    assert str(error.value).count("and each once, got none") == 4
    with pytest.raises(DataError, match="expected a JSON object"):
        read_sheets([str(tmp_path / "annotator-1.html")], str(tmp_path / "unblinding.json"))
    with pytest.raises(DataError, match=r"expected the unblinding\.json"):
        read_sheets(paths, paths[0])
    labels = {"1": {"q0": {"A": ["x"]}}}
    changes: list[dict[str, Any]] = [{"systems": 3}, {"annotators": labels}, {"questions": [{"id": []}]}]
    for change in changes:
        (tmp_path / "changed.json").write_text(json.dumps(made | change))
        with pytest.raises(DataError, match=r"changed\.json: expected the unblinding\.json"):
            read_sheets(paths, str(tmp_path / "changed.json"))


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"unblinding": "u.json"}, "sheets: missing"), ({"sheets": []}, "sheets: missing"),
        ({"questions": "q.jsonl"}, "systems: missing"), ({"systems": {"a": "a.jsonl"}}, "systems: expected 2 to 26"),
        ({"annotators": 0}, "annotators: expected 1 or more"), ({"max_tokens": 0}, "max_tokens: expected 1 or more"),
        ({"alpha": 2.0}, "alpha: expected above 0 and below 1"),
    ],
)  # fmt: skip
def test_values_out_of_range(settings: dict[str, Any], told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        HumanStudy(**settings)


@pytest.mark.parametrize(
    ("overrides", "told"),
    [
        (["benchmark.sheets=[a.json]"], "benchmark.unblinding: missing"),
        (["benchmark.sheets=[a.json]", "benchmark.unblinding=u.json"], "u.json: cannot be read"),
        (["benchmark.sheets=[a.json]", "benchmark.unblinding=u.json", "limit=3"], "limit: expected null"),
    ],
)
def test_wrong_settings_are_one_message(
    overrides: list[str], told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["evaluate.py"])
    with pytest.raises(SystemExit) as stopped:
        main(EVALUATE, ["benchmark=human_study", *overrides])
    said = capsys.readouterr().err
    assert stopped.value.code == 1 and told in said and "Traceback" not in said


def browse(place: Path, profile: Path, sign: int, kept: str | None = None) -> dict[str, Any]:
    """Open a copy of a page in which DRIVER is the person; gives what it saw. kept: what the browser remembers."""
    page_of = place.read_text().replace("</body>", DRIVER.replace("SIGN", str(sign)))
    if kept is not None:
        slot = "human-study-{study}-{annotator}".format(**json.loads(kept))
        before = f"<script>localStorage.setItem({json.dumps(slot)}, {json.dumps(kept)})</script><title>"
        page_of = page_of.replace("<title>", before)
    copy = place.with_suffix(".driven.html")
    copy.write_text(page_of)
    command = [
        str(CHROMIUM), "--headless=new", "--no-sandbox", "--disable-gpu", f"--user-data-dir={profile}",
        "--window-size=390,800", "--virtual-time-budget=5000", "--dump-dom", copy.as_uri(),
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    found = re.search(r'<pre id="saw">(.*?)</pre>', done.stdout, re.DOTALL)
    assert found is not None, done.stderr[-2000:]
    seen: dict[str, Any] = json.loads(html.unescape(found[1]))
    return seen


@pytest.mark.skipif(CHROMIUM is None, reason="no chromium on this machine")
def test_a_page_is_filled_in_exported_and_scored(tmp_path: Path) -> None:
    made, pages = study(tmp_path)
    sheets = []
    for who, (place, sign) in enumerate(zip(pages, (-1, 1), strict=True), start=1):
        saw = browse(place, tmp_path / f"profile{who}", sign)
        assert saw["title"] == "Annotation sheet" and saw["wide"] <= 0  # NASTY ran nothing; a phone scrolls one way
        assert saw["at"] == "Question 1 of 4, 0 ranked" and "All 4 questions are ranked" in saw["status"]
        assert saw["file"] == f"sheet-{made['study']}-{who}.json"
        for (question, labels), texts in zip(made["annotators"][str(who)].items(), saw["texts"], strict=True):
            assert texts == [answers()[systems[0]][question].strip() for systems in labels.values()]
        assert json.loads(saw["kept"])["places"] == saw["sheet"]["places"]
        sheets.append(str(tmp_path / saw["file"]))
        Path(sheets[-1]).write_text(json.dumps(saw["sheet"]))
    found = scored(tmp_path, sheets, tmp_path / "unblinding.json")
    # the first person likes length, the second brevity: everybody gets (3 + 1) / 2 or 2
    assert found["scores"] == {f"points/{system}": 2 for system in SYSTEMS} | {"kendall_w": 0, "kendall_tau": -1}
    alone = read_sheets(sheets[:1], str(tmp_path / "unblinding.json"))
    assert alone.points[:, 0].tolist() == [[3, 2, 1]] * 4


@pytest.mark.skipif(CHROMIUM is None, reason="no chromium on this machine")
def test_a_page_goes_on_where_it_was_left_and_says_what_is_missing(tmp_path: Path) -> None:
    made, (place, _) = study(tmp_path, 3)
    (full, _) = fill(made, tmp_path, [SYSTEMS, SYSTEMS])
    kept = json.loads(Path(full).read_text())
    kept["places"]["q2"] = {"A": 1, "B": 1, "C": 7}  # not as the page would write it: two on one place, one nowhere
    saw = browse(place, tmp_path / "profile", 0, json.dumps(kept | {"at": 1}))
    assert saw["at"] == "Question 2 of 3, 2 ranked" and "not finished: question 3 needs" in saw["status"]
    assert saw["sheet"]["places"] == {**kept["places"], "q2": {"A": 1}}
    sheet = tmp_path / "sheet.json"
    sheet.write_text(json.dumps(saw["sheet"]))
    with pytest.raises(
        DataError, match=r"question q2: expected a place for each of A, B, C, from 1 to 3 and each once, got \{'A': 1\}"
    ):
        read_sheets([str(sheet)], str(tmp_path / "unblinding.json"))
