import json
from pathlib import Path

import pytest

from tests.reporting.make import example, make_ranking, make_result, make_run, report
from tests.reporting.test_compare import compare, measure
from tuna.reporting.claims import Verdict, check_claims
from tuna.reporting.sweeps import find_sweeps
from tuna.stats import crossed


def claims(folder: Path) -> dict[str, Verdict]:
    comparison, _ = compare(folder)
    return {claim.id: claim for claim in check_claims(comparison, find_sweeps(comparison))}


@pytest.mark.parametrize(
    ("gains", "verdict"),
    [([0.10, 0.11, 0.12], "holds"), ([-0.10, -0.11, -0.12], "does not hold"), ([0.3, -0.1, 0.1], "not decided")],
)
def test_more(gains: list[float], verdict: str, tmp_path: Path) -> None:
    for seed, gain in enumerate(gains):
        measure(tmp_path, "Alpaca", seed, 0.5)
        measure(tmp_path, "Tuna_c", seed, 0.5 + gain)
    found = claims(tmp_path)["tuna_c"]
    assert found.verdict == verdict and found.summary == f"{verdict} on 1 of 1 columns"
    assert "(paired by seed, n = 3)" in found.evidence[0].text
    assert claims(tmp_path)["tuna_p"].summary == "there is no Tuna_p"


def test_one_seed_decides_nothing_and_three_say_what_would(tmp_path: Path) -> None:
    for seed in range(3):
        for label, right in (("Alpaca", (1, 2, 3)), ("Tuna_c", (1, 2, 3, 4, 5 + seed))):
            rows = [example(n, "text", float(n in right)) for n in range(40)]
            measure(tmp_path, label, seed, len(right) / 40, examples=rows)
        verdict = claims(tmp_path)["tuna_c"].evidence[0]
        if seed < 2:
            assert verdict.text.endswith(f"3 seeds are the fewest that decide, there {'are 2' if seed else 'is 1'}")
    assert (
        "over seeds and questions, n = 3); p 0." in verdict.text
        and "by Holm; a difference of this size" in verdict.text
    )
    assert verdict.text.endswith(" questions")


def test_p_values_are_corrected_over_all_claims(tmp_path: Path) -> None:
    for seed, gain in enumerate([0.10, 0.11, 0.15]):
        measure(tmp_path, "Alpaca", seed, 0.5)
        measure(tmp_path, "Tuna_c", seed, 0.5 + gain)
    assert claims(tmp_path)["tuna_c"].verdict == "holds"  # p 0.016
    for seed, gain in enumerate([0.10, -0.11, 0.05]):
        for label in ("Tuna_p", "Tuna"):
            measure(tmp_path, label, seed, 0.5 + gain)
    found = claims(tmp_path)
    assert found["tuna_c"].verdict == "not decided" and "p 0.063 by Holm" in found["tuna_c"].evidence[0].text


def test_what_goes_beyond_the_paper_is_asked_where_it_was_measured(tmp_path: Path) -> None:
    for seed in range(3):
        for label, base in (("Alpaca", 0.5), ("Tuna_c", 0.6 + seed / 100)):
            measure(tmp_path, label, seed, base)
    assert not {"same_questions", "best_answers", "two_epochs"} & claims(tmp_path).keys()
    for seed in range(3):
        measure(tmp_path, "SFT on the same questions", seed, 0.7 + seed / 100)
    found = claims(tmp_path)
    assert found["same_questions"].verdict == "does not hold" and "best_answers" not in found


def test_one_measurement_counts_once(tmp_path: Path) -> None:
    for seed, gain in enumerate([0.10, 0.11, 0.12]):
        for label, base in (("Alpaca", 0.5), ("Tuna_c", 0.5 + gain)):
            rows = [example(n, "text", base) for n in range(4)]
            measure(tmp_path, label, seed, base, "vicuna_qa", examples=rows)
            measure(tmp_path, label, seed, base, "elementary", examples=rows)
    assert [e.column for e in claims(tmp_path)["tuna_c"].evidence] == ["Vicuna QA"]


def test_less_is_more_where_the_benchmark_says_so(tmp_path: Path) -> None:
    for seed, gain in enumerate([0.10, 0.11, 0.12]):
        measure(tmp_path, "Alpaca", seed, 0.5, "perplexity", lower_is_better=["accuracy"])
        measure(tmp_path, "Tuna_c", seed, 0.5 + gain, "perplexity", lower_is_better=["accuracy"])
    assert claims(tmp_path)["tuna_c"].verdict == "does not hold"


def test_columns_that_disagree_are_said_to(tmp_path: Path) -> None:
    for seed in range(3):
        for benchmark, gain in (("lmentry", 0.1), ("super_ni", -0.1), ("nll", 0.1)):
            measure(tmp_path, "Alpaca", seed, 0.5 + seed / 10, benchmark)
            measure(tmp_path, "Tuna_c", seed, 0.5 + gain + seed / 10 + seed / 1000, benchmark)
    found = claims(tmp_path)["tuna_c"]
    assert found.verdict == "does not hold"
    assert found.summary == "mixed: holds on 1, does not hold on 1 of 2 columns"  # nll is of no claim


def test_no_less_needs_an_interval(tmp_path: Path) -> None:
    measure(tmp_path, "Tuna", 0, 0.9)
    measure(tmp_path, "Tuna_p", 0, 0.5)
    found = claims(tmp_path)["tuna_tuna_p"]
    assert found.verdict == "not decided"
    told = "Tuna 0.900, Tuna_p 0.500: difference +0.400, no interval (one seed each)"
    assert found.evidence[0].text == f"{told}; 3 seeds are the fewest that decide, there is 1"


def test_equal_figures_are_no_less(tmp_path: Path) -> None:
    for seed in range(3):
        measure(tmp_path, "Tuna", seed, 0.5)
        measure(tmp_path, "Tuna_c", seed, 0.5)
    assert claims(tmp_path)["tuna_tuna_c"].verdict == "holds"
    assert claims(tmp_path)["prm"].summary == "there is no Tuna_c (PRM)"


def sweep(folder: Path, table: str, scores: dict[float, list[float]]) -> None:
    stage, key = ("tuna_p", "first") if table == "figure3" else ("tuna_c", "lambda")
    number = 0
    for x, values in scores.items():
        for seed, score in enumerate(values):
            place = {"datamodule": {key: x}} if table == "figure3" else {"loss": {key: x}}
            run = make_run(
                folder / "runs", f"{table}/{number}", system="Tuna_x", tables=[table], stage=stage, seed=seed,
                lists=int(x), **place,  # type: ignore[arg-type]
            )  # fmt: skip
            make_result(folder / "results", "lmentry", f"{table}-{number}", score, run=run)
            number += 1


@pytest.mark.parametrize(
    ("ends", "verdict"),
    [([2.0, 2.1, 2.2], "holds"), ([1.0, 1.1, 0.9], "not decided"), ([0.1, 0.2, 0.4], "does not hold")],
)
def test_rises(ends: list[float], verdict: str, tmp_path: Path) -> None:
    sweep(tmp_path, "figure2", {0: [1.0, 1.1, 1.2], 1: [1.5, 1.5, 1.5], 10: ends})
    found = claims(tmp_path)["lambda"]
    assert found.verdict == verdict
    assert found.evidence[0].text.startswith("0: 1.100, 1: 1.500, 10:")


@pytest.mark.parametrize(
    ("ends", "verdict"),
    [
        ([2.0, 2.1, 1.9], "holds"),
        ([2.2, 2.21, 2.22], "holds"),  # more is gained, but most of it came first
        ([2.9, 3.0, 3.1], "not decided"),  # as much again
        ([4.0, 4.1, 4.2], "does not hold"),
    ],
)
def test_saturates(ends: list[float], verdict: str, tmp_path: Path) -> None:
    for seed in range(3):
        measure(tmp_path, "Alpaca", seed, 1.0 + seed / 100, "lmentry")
    sweep(tmp_path, "figure3", {13: [2.0, 2.0, 2.0], 24: [2.0, 2.0, 2.0], 52: ends})
    found = claims(tmp_path)["data"]
    assert found.verdict == verdict
    assert "to 13 lists: difference +0.990" in found.evidence[0].text
    lead = found.evidence[0].found  # 2 * 2 - Alpaca - all
    assert lead is not None and lead.mean == pytest.approx(4.0 - 1.01 - sum(ends) / 3)


@pytest.mark.parametrize(("ends", "verdict"), [([2.0, 2.1, 1.9], "holds"), ([1.0, 1.1, 0.8], "does not hold")])
def test_lowest(ends: list[float], verdict: str, tmp_path: Path) -> None:
    number = 0
    for beta, values in {1.0: [1.9, 2.0, 2.1], 1.3: [1.5, 1.51, 1.52], 1.4: ends}.items():
        for seed, score in enumerate(values):
            run = make_run(
                tmp_path / "runs", f"5/{number}", system="Tuna_x", tables=[5], stage="tuna_p", seed=seed,
                datamodule={"beta": beta},
            )  # fmt: skip
            make_result(
                tmp_path / "results", "nll", f"m{number}", score, run=run, primary="nll", lower_is_better=["nll"]
            )
            number += 1
    found = claims(tmp_path)["beta"]
    assert found.verdict == verdict and found.evidence[0].text.startswith("1: 2.000, 1.3: 1.510, 1.4:")


def test_a_first_part_that_harms_does_not_saturate(tmp_path: Path) -> None:
    for seed in range(3):
        measure(tmp_path, "Alpaca", seed, 3.0 + seed / 100, "lmentry")
    sweep(tmp_path, "figure3", {13: [2.0, 2.0, 2.0], 24: [2.0, 2.0, 2.0], 52: [0.0, 0.0, 0.0]})
    assert claims(tmp_path)["data"].verdict == "does not hold"  # though the rest harms more


def test_nothing_measured_is_said(tmp_path: Path) -> None:
    make_run(tmp_path / "runs", "c", system="Tuna_c")
    make_run(tmp_path / "runs", "a", system="Alpaca", stage="sft")
    found = claims(tmp_path)
    assert {claim.verdict for claim in found.values()} == {"not measured"}
    assert found["tuna_c"].summary == "no benchmark has measured both Tuna_c and Alpaca"
    assert found["lambda"].summary == "there is no sweep over loss.lambda (weight of cross-entropy, lambda)"


def judged_by(tmp_path: Path, judge: str) -> dict[str, Verdict]:
    """Tuna_c on lists that the checker ranked, Tuna_p on a teacher's; their answers compared by ``judge``."""
    teacher = {"source": {"ranker": "probabilistic", "model": "t" * 64}, "ranking": {"beta": 1.3}}
    checker = {"source": {"ranker": "contextual", "model": "a" * 64}, "ranking": {"judge": "checker"}}
    for seed, gain in enumerate([0.10, 0.11, 0.12]):
        alpaca = make_run(tmp_path / "runs", f"a{seed}", system="Alpaca", stage="sft", seed=seed)
        runs = {alpaca: 0.0}
        for label, identity in (("Tuna_p", teacher), ("Tuna_c", checker)):
            name = f"{label}{seed}"
            lists = make_ranking(tmp_path / "rankings", name, seed=seed, teacher={"path": "models/big"})
            content = json.loads(lists.read_text()) | {"identity": identity}
            lists.write_text(json.dumps(content))
            data = str(lists.with_name(f"{name}.jsonl"))
            runs[make_run(tmp_path / "runs", name, system=label, seed=seed, start=str(alpaca), data=data)] = gain
        for run, figure in runs.items():
            rows = [example(n, "text", 0.5 + figure) for n in range(4)]
            place = make_result(
                tmp_path / "results", "vicuna_qa", run.name, 0.5 + figure, run=run, examples=rows,
                config={"judge": {"path": "models/big"}},
            )  # fmt: skip
            content = json.loads(place.read_text())
            content["settings"]["judge"] = {"judge": "likelihood", "model": judge}
            place.write_text(json.dumps(content))
    claims = report(tmp_path)["claims"]
    return {each["id"]: Verdict(**each) for each in claims}


def test_a_judge_does_not_confirm_the_lists_that_it_made(tmp_path: Path) -> None:
    found = judged_by(tmp_path, "t" * 64)
    assert found["tuna_c"].verdict == "holds" and found["tuna_c"].summary == "holds on 1 of 1 columns"
    assert found["tuna_p"].verdict == "not measured"
    assert found["tuna_p"].summary == "Vicuna QA does not count: big judged it and made lists of Tuna_p"
    table = (tmp_path / "report" / "tables" / "columns.md").read_text()
    assert r"| Vicuna QA | accuracy | the embedded questions (4) | big | Tuna\_p |" in table


def test_another_judges_word_counts(tmp_path: Path) -> None:
    found = judged_by(tmp_path, "x" * 64)
    assert found["tuna_p"].verdict == found["tuna_c"].verdict == "holds"


@pytest.mark.parametrize(("base", "verdict"), [(0.7, "holds"), (0.79, "not decided"), (0.95, "does not hold")])
def test_a_win_rate_between_bounds(base: float, verdict: str, tmp_path: Path) -> None:
    for seed in range(3):
        measure(tmp_path, "Alpaca", seed, 0.5, "vicuna_qa")
        measure(tmp_path, "Tuna_c", seed, base + (seed - 1) / 100, "vicuna_qa")
    found = claims(tmp_path)["rate_c"]
    assert found.verdict == verdict and f"win rate {base:.3f} [" in found.evidence[0].text


def test_the_control_stands_beside_every_claim(tmp_path: Path) -> None:
    for seed in range(3):
        for label, score in (("Alpaca", 0.5), ("Alpaca-Mul", 0.7), ("Tuna_p", 0.75), ("Tuna", 0.8)):
            measure(tmp_path, label, seed, score + seed / 100)
    found = claims(tmp_path)
    told = "; the control Alpaca-Mul (the teacher's answers, not ranked) 0.710, Tuna_p less it: difference +0.050"
    assert told in found["tuna_p"].evidence[0].text
    assert "control" in found["tuna_tuna_p"].evidence[0].text
    assert "control" not in found["alpaca_mul"].evidence[0].text  # it is what that one is about


def test_lengths_by_rank_are_tested(tmp_path: Path) -> None:
    longer = {0: [3, 2], 1: [2, 3]}  # words of the best less those of the worst, by seed and list
    for seed, counts in longer.items():
        place = make_ranking(tmp_path / "rankings", f"s{seed}-lists", seed=seed)
        answers = [[("w " * (1 + n), 0.0), ("w w", -1.0), ("w", -2.0)] for n in counts]
        rows = [
            {"id": k, "responses": [{"text": text, "score": score} for text, score in each]}
            for k, each in enumerate(answers)
        ]
        tied = {"id": "tied", "responses": [{"text": "w w w", "score": 0.0}, {"text": "w", "score": 0.0}]}
        lines = "".join(json.dumps(row) + "\n" for row in [*rows, tied])
        place.with_name(f"s{seed}-lists.jsonl").write_text(lines)
    found = {each["id"]: each for each in report(tmp_path)["claims"]}
    (evidence,) = found["length_judge"]["evidence"]
    expected = crossed([*longer.values()])
    assert [evidence["found"][end] for end in ("mean", "low", "high")] == [expected.mean, expected.low, expected.high]
    assert evidence["column"] == "s0-lists" and found["length_judge"]["verdict"] == "not decided"  # two seeds
    assert found["length_prm"]["summary"] == "there are no lists of ranker=proxy"
