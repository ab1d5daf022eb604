"""The pages that people read, as text: links, anchors, code blocks and command lines; by Python's own tools alone."""

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[2]
SITE = ROOT / "docs"
PAGES = [*sorted(ROOT.glob("*.md")), *sorted(SITE.rglob("*.md"))]
HISTORY = ROOT / "CHANGELOG.md"  # names commands of before
_FENCE = re.compile(r"^( *)(```+|~~~+) *([\w+-]*).*?^\1\2 *$", re.M | re.S)
_STARTS = re.compile(
    r"(\$ )?([A-Z_]+=\S+ )*(\.venv/bin/\S+ |(python|tuna|make|torchrun|srun|vllm|wandb|pip) [\w.~'\"$/-])"
)


@dataclass(frozen=True, slots=True)
class Command:
    """A command line of a page, its continued lines joined."""

    page: str
    text: str

    def __str__(self) -> str:
        return f"{self.page}: {self.text}"


def name(page: Path) -> str:
    """A page's path from the root."""
    return page.relative_to(ROOT).as_posix()


@cache
def prose(page: Path) -> str:
    """A page without its fenced code."""
    return _FENCE.sub("", page.read_text(encoding="utf-8"))


def links(page: Path) -> list[str]:
    """The targets of a page's links and pictures."""
    text = re.sub(r"`[^`\n]*`", "", prose(page))
    return [*re.findall(r"\]\(([^)\s]+)\)", text), *re.findall(r"^\[[^\]]+\]: (\S+)", text, re.M)]


@cache
def anchors(page: Path) -> frozenset[str]:
    """The anchors that GitHub, and mkdocs with its rule, give a page's headings."""
    found: list[str] = []
    seen: Counter[str] = Counter()
    for title in re.findall(r"^#{1,6} +(.+?) *#*$", prose(page), re.M):
        plain = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", title)
        slug = re.sub(r"[^\w\- ]", "", plain.lower()).replace(" ", "-")
        found.append(f"{slug}-{seen[slug]}" if seen[slug] else slug)
        seen[slug] += 1
    return frozenset([*found, *re.findall(r"<a (?:id|name)=\"([^\"]+)\"", prose(page))])


def commands(page: Path) -> list[Command]:
    """The command lines of a page: each line of a ``bash`` block; elsewhere, also between backticks, what begins as
    a command does."""
    text = page.read_text(encoding="utf-8")
    blocks = [(found[3], found[0].split("\n", 1)[1].rsplit("\n", 1)[0]) for found in _FENCE.finditer(text)]
    rest = prose(page)
    indented = "\n".join(line for line in rest.splitlines() if line.startswith("    "))
    spans = [" ".join(span.split()) for span in re.findall(r"(?<!`)`([^`]+)`(?!`)", rest)]
    lines = [line for kind, block in blocks if kind == "bash" for line in _joined(block) if not line.startswith("#")]
    others = [line for kind, block in blocks if kind in ("", "text") for line in _joined(block)]
    lines += [line for line in (*others, *_joined(indented), *spans) if _STARTS.match(line)]
    return [Command(name(page), line) for line in dict.fromkeys(lines)]


def _joined(block: str) -> Iterator[str]:
    """The lines that are not empty, continued ones in one."""
    for line in re.sub(r"\\\n\s*", " ", block).splitlines():
        if line.strip():
            yield line.strip()
