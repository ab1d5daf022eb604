from tuna.sweeps.table import table


def test_the_optimized_figure_stands_first_and_an_error_in_place_of_figures() -> None:
    metrics = {"before/loss": 2.0, "val/loss": 1.0, "val/pair_accuracy": 0.75, "perf/tokens": 9}
    rows = [
        {"job": 0, "swept": ["a=1", "b=2"], "status": "finished", "metrics": metrics},
        {"job": 11, "swept": [], "status": "failed", "metrics": None, "error": "no\nmore"},
    ]
    assert table(rows, "perf/tokens") == [
        "job  settings  status    perf/tokens  val/pair_accuracy  val/loss",
        "  0  a=1 b=2   finished  9            0.7500             1.0000",
        " 11  -         failed    no",
    ]


def test_figures_of_any_other_program() -> None:
    rows = [{"job": 0, "swept": ["x=1"], "status": "finished", "metrics": {"lists": 3, "spent": None}}]
    assert table(rows, "absent") == ["job  settings  status    lists  spent", "  0  x=1       finished  3"]
