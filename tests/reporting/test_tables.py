from tuna.reporting.tables import EMPTY, Cell, Table, figure_cell, latex, number
from tuna.stats import Estimate

TABLE = Table(
    "table-1", "Systems & scores", "Means: 50% of all", ["system", "score_a"],
    [[Cell("Tuna_c"), Cell("0.512", 0.512, ("[0.4, 0.6]", "Δ -0.1"), strong=True)], [Cell("[bare]|x"), EMPTY]],
    ["a note with\na line"],
)  # fmt: skip


def test_markdown_is_whole_and_escaped() -> None:
    lines = TABLE.markdown().splitlines()
    assert lines[0] == "# Systems & scores" and lines[2] == "Means: 50% of all"
    assert lines[4:8] == [
        r"| system | score\_a |",
        "|---|---:|",
        r"| Tuna\_c | **0.512** <br>\[0.4, 0.6\] <br>Δ -0.1 |",
        r"| \[bare\]\|x | - |",
    ]
    assert lines[-1] == "- a note with a line"


def test_latex_is_whole_and_escaped() -> None:
    text = TABLE.latex()
    assert text.startswith("% \\usepackage{booktabs}\n% a note with\n% a line\n\\begin{table}")
    assert r"\caption{Systems \& scores. Means: 50\% of all}" in text
    assert r"Tuna$_{c}$ & \textbf{0.512} {\scriptsize [0.4, 0.6]} {\scriptsize $\Delta$ $-$0.1} \\" in text
    assert r"{}[bare]\textbar{}x & - \\" in text  # or LaTeX would take [bare] for an argument
    assert text.count(r"\begin") == text.count(r"\end") == 2


def test_every_special_character_of_latex() -> None:
    found = latex(r"\{}$&%#_~^<>|" + '"\n\t')
    assert found == (
        r"\textbackslash{}\{\}\$\&\%\#\_\textasciitilde{}\textasciicircum{}\textless{}\textgreater{}\textbar{}"
        r"\textquotedbl{}  "
    )


def test_a_minus_is_no_hyphen() -> None:
    assert latex("-0.5 and PRM-3B, 13K-39K") == "$-$0.5 and PRM-3B, 13K-39K"
    assert latex("mix-Tuna-52K") == "mix-Tuna-52K" and latex("Tuna_cp-39K") == "Tuna$_{cp}$-39K"


def test_numbers() -> None:
    assert [number(x) for x in (0.5, 9.9999, 23.0764, 1234.5, -0.00001, float("nan"))] == [
        "0.500", "10.000", "23.08", "1,234", "0.000", "-",
    ]  # fmt: skip
    assert number(2.4861, sign=True, like=31.0) == "+2.49"


def test_a_cell_has_interval_difference_and_sign() -> None:
    better, worse = Estimate(2.0, 1.0, 3.0), Estimate(-2.0, -3.0, -1.0)
    cell = figure_cell(Estimate(31.4, 30.0, 32.8), better, strong=True)
    assert cell == Cell("31.40", 31.4, ("[30.00, 32.80]", "Δ +2.00 [+1.00, +3.00]"), True, 1)
    assert figure_cell(Estimate(1.0), better, lower_is_better=True).sign == -1
    assert figure_cell(Estimate(1.0), worse, lower_is_better=True).sign == 1
    assert figure_cell(Estimate(1.0), Estimate(0.5)) == Cell("1.000", 1.0, ("Δ +0.500",), False, 0)
    assert figure_cell(None) is EMPTY
