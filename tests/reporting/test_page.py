"""The page in a real browser, and what it is made of."""

import re
from pathlib import Path

import pytest

from tests.reporting.browser import CHROMIUM, browser
from tests.reporting.make import example, make_ranking, make_result, make_run, report

EVIL = '<script>document.title = "owned"</script><img src=x onerror="console.error(1)">'
WIDTHS = (1280, 390)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two systems of two seeds, a sweep with figures, a ranking, answers that try to be markup, a failed run."""
    folder = tmp_path_factory.mktemp("page")
    runs, results = folder / "runs", folder / "results"
    for label, score in (("Alpaca", 0.4), ("Tuna_c", 0.6), ("Tuna_p", 0.5)):
        for seed in range(2):
            name = f"{label}-{seed}".lower()
            run = make_run(runs, name, system=label, tables=[1], seed=seed, stage=label)
            rows = [example(n, EVIL if n == 0 else f"{label} {n}\n  two", 1.0) for n in range(3)]
            make_result(results, "elementary", name, score + seed / 100, run=run, examples=rows)
            make_result(results, "lmentry", name, 20 * score, run=run, examples=rows)
    for n, weight in enumerate([0, 1, 5]):
        run = make_run(runs, f"l/{n}", system="Tuna_c", tables=["figure2"], loss={"lambda": weight}, stage="Tuna_c")
        make_result(results, "elementary", f"l{n}", n / 10, run=run)
    make_run(runs, EVIL.replace("/", ""), system=f"Bad{EVIL}", stage="x", status="failed")
    make_ranking(folder / "rankings", "judged")
    report(folder, f"title='A & B {EVIL}'")
    return folder


def test_it_is_one_file_that_asks_for_nothing(folder: Path) -> None:
    page = (folder / "report" / "report.html").read_text()
    assert not re.findall(r"https?://|//[a-z]+\.[a-z]", page)
    assert set(re.findall(r'(?:src|href)="([^#"][^:"]*:)', page)) == {"data:"}
    assert page.count("data:image/png;base64,") == 3  # the systems, a sweep, lengths


def test_nothing_of_the_data_becomes_markup(folder: Path) -> None:
    page = (folder / "report" / "report.html").read_text()
    assert EVIL not in page and page.count("<script>") == 1 and "onerror=&#34;" in page
    for table in (folder / "report" / "tables").glob("*.md"):
        assert "<script" not in table.read_text()


@pytest.mark.skipif(CHROMIUM is None, reason="there is no chromium here to open the page with")
def test_in_a_browser(folder: Path, tmp_path: Path) -> None:
    page = folder / "report" / "report.html"
    with browser(tmp_path) as tab:
        for width in WIDTHS:
            tab.open(page, width)
            assert tab.run("document.title") == f"A & B {EVIL}"
            assert tab.run("document.documentElement.scrollWidth") <= width  # only tables scroll, in their own boxes
            images = tab.run(
                "[...document.images].map(i => [i.complete, i.naturalWidth, i.getBoundingClientRect().left, "
                "i.getBoundingClientRect().right])"
            )
            assert len(images) == 3  # scores of the systems, the sweep, lengths by rank
            for complete, natural, left, right in images:
                assert complete and natural > 300 and left >= 0 and right <= width and right - left > 250
            _sorts(tab)
            _picks(tab)
        assert tab.errors == []
        assert {url for url in tab.requests if not url.startswith("data:")} == {page.resolve().as_uri()}


def _sorts(tab) -> None:  # type: ignore[no-untyped-def]
    column = "[...document.querySelectorAll('#table-1 tbody tr')].map(r => r.children[0].innerText)"
    head = "document.querySelectorAll('#table-1 thead th')"
    tab.run(f"{head}[2].querySelector('button').click()")
    assert tab.run(f"{head}[2].ariaSort") == "descending" and tab.run(column) == ["Tunac", "Tunap", "Alpaca"]
    tab.run(f"{head}[2].querySelector('button').click()")
    assert tab.run(f"{head}[2].ariaSort") == "ascending" and tab.run(column) == ["Alpaca", "Tunap", "Tunac"]
    tab.run(f"{head}[0].querySelector('button').click()")
    assert tab.run(f"[...{head}].map(h => h.ariaSort)") == ["ascending", *["none"] * 3]


def _picks(tab) -> None:  # type: ignore[no-untyped-def]
    seen = "[...document.querySelectorAll('.question:not([hidden])')].map(q => [q.dataset.sheet, q.dataset.title])"
    assert tab.run(seen) == [["0", "plural · q0"]]
    assert tab.run("document.querySelector('.question:not([hidden]) .answer .text').innerText") == EVIL
    tab.run("document.getElementById('next').click()")
    assert tab.run(seen) == [["0", "plural · q1"]]
    answers = tab.run("[...document.querySelectorAll('.question:not([hidden]) .answer .text')].map(a => a.innerText)")
    assert answers == [f"{label} 1\n  two" for label in ("Alpaca", "Tuna_p", "Tuna_c")]
    tab.run("document.getElementById('previous').click(); document.getElementById('previous').click()")
    assert tab.run(seen) == [["0", "plural · q2"]]
    tab.run("s = document.getElementById('sheet'); s.value = '1'; s.dispatchEvent(new Event('change'))")
    assert tab.run(seen) == [["1", "plural · q0"]]
    before = tab.run("getComputedStyle(document.body).backgroundColor")
    tab.run("document.getElementById('theme').click()")
    assert tab.run("getComputedStyle(document.body).backgroundColor") != before
