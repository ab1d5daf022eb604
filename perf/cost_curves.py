"""What a ranking step costs as one thing changes: lists, lengths, vocabulary, model; three ways of scoring, one figure.

    python perf/cost_curves.py [--out docs/figures/cost] [--repeats 1] [--only responses prompt]

Ways: packed (each prompt once), packed without sharing (each response a list of its own, prompt repeated) and padded
(one row per response). A point is the least processor time of forward and backward of one thread, all ways in turn in
one process, as a speed-up against padded; the dashed lines are what the counts of tokens predict. Log-probabilities
have to be equal. OUT.png is the figure, OUT.json its numbers.
"""

import argparse
import json
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import AutoModelForCausalLM, LlamaConfig

from tuna.data.batch import Group, PackedBatch
from tuna.data.packing import pack
from tuna.models.scorer import PlainScorer, ResponseScorer
from tuna.reporting.figures import panels, save

WAYS = {"packed": "#2563a8", "packed, not shared": "#c2571a", "padded": "#5f6b7a"}


@dataclass(frozen=True)
class Setting:
    """Two lists and a model. prompt, answer: median tokens; a length is within half and twice of it."""

    responses: int = 4
    prompt: int = 64
    answer: int = 48
    vocabulary: int = 8192
    hidden: int = 192

    @property
    def layers(self) -> int:
        """Growing with the width, as in families of models."""
        return max(2, self.hidden // 64)


SWEEPS: dict[str, list[int]] = {
    "responses": [2, 4, 8, 16],
    "prompt": [16, 64, 256, 512],
    "answer": [16, 48, 128],
    "vocabulary": [2048, 16384, 131072],
    "hidden": [128, 256, 384],
}
TITLES = {
    "responses": "responses per list (K)", "prompt": "prompt tokens", "answer": "tokens per response",
    "vocabulary": "vocabulary", "hidden": "model width",
}  # fmt: skip


def lists(setting: Setting, count: int = 2) -> list[Group]:
    """Random tokens; the same lengths, as multiples of the median, wherever K is the same."""
    draw = np.random.default_rng(0)

    def tokens(median: int) -> np.ndarray:
        size = round(median * float(np.clip(np.exp(0.5 * draw.standard_normal()), 0.5, 2)))
        return np.random.default_rng(size).integers(0, 2048, max(1, size)).astype(np.int32)

    return [
        Group(
            str(n), tokens(setting.prompt), tuple(tokens(setting.answer) for _ in range(setting.responses)),
            tuple(map(float, range(setting.responses))), (False,) * setting.responses,
        )
        for n in range(count)
    ]  # fmt: skip


def alone(group: Group) -> Iterator[Group]:
    """Each response as a list of its own."""
    for response, score in zip(group.responses, group.scores, strict=True):
        yield Group(group.id, group.prompt, (response,), (score,), (False,))


def measure(setting: Setting, repeats: int) -> dict[str, dict[str, float]]:
    """Of each way: tokens, and the processor seconds of one forward and backward pass."""
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=setting.vocabulary, hidden_size=setting.hidden, intermediate_size=setting.hidden * 8 // 3,
        num_hidden_layers=setting.layers, num_attention_heads=setting.hidden // 64, max_position_embeddings=4096,
    )  # fmt: skip
    auto: Any = AutoModelForCausalLM
    model = auto.from_config(config)
    groups = lists(setting)
    whole, apart = pack(groups, row_tokens=1024), pack([g for each in groups for g in alone(each)], row_tokens=1024)
    shared, plain = ResponseScorer(model), PlainScorer(model)
    ways: dict[str, tuple[Any, PackedBatch, int]] = {
        "packed": (shared, whole, whole.real_tokens),
        "packed, not shared": (shared, apart, apart.real_tokens),
        "padded": (plain, whole, whole.plain_tokens),
    }
    weights = torch.linspace(-1, 1, len(whole.lengths)) / whole.lengths
    seconds: dict[str, list[float]] = {way: [] for way in ways}
    values = {}
    for _ in range(repeats + 1):
        for way, (scorer, batch, _) in ways.items():
            model.set_attn_implementation("sdpa")
            model.zero_grad(set_to_none=True)
            begin = time.process_time()
            values[way] = scorer(batch)
            (values[way] * weights).sum().backward()
            seconds[way].append(time.process_time() - begin)
    for way in ways:
        torch.testing.assert_close(values[way], values["padded"], rtol=1e-4, atol=1e-4)
    return {way: {"tokens": tokens, "seconds": min(seconds[way][1:])} for way, (_, _, tokens) in ways.items()}


def draw(found: dict[str, list[dict[str, Any]]], path: Path) -> None:
    """A panel per sweep: speed-up measured (points) and predicted by tokens (dashed)."""
    figure, shown = panels(len(found), (3.2 * len(found), 3.4))
    for panel, (name, points) in zip(shown, found.items(), strict=True):
        at = [point["value"] for point in points]
        panel.axhline(1, color=WAYS["padded"], linewidth=1)
        for way, color in list(WAYS.items())[:2]:
            for key, style in (("seconds", "o-"), ("tokens", "--")):
                ratios = [point["padded"][key] / point[way][key] for point in points]
                label = f"{way}, {'measured' if key == 'seconds' else 'by tokens'}"
                panel.plot(at, ratios, style, color=color, markersize=4, linewidth=1.2, label=label)
        panel.set_xscale("log", base=2)
        panel.set_xticks(at, [f"{value:,}" for value in at], fontsize=8)
        panel.minorticks_off()
        panel.set_xlabel(TITLES[name], fontsize=9)
        panel.set_ylim(bottom=0)
    shown[0].set_ylabel("times as fast as padded", fontsize=9)
    shown[-1].legend(fontsize=6, loc="lower left")
    save(figure, path)


def main(arguments: list[str] | None = None) -> None:
    """Measure, print, draw."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("docs/figures/cost"))
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("--only", nargs="+", choices=list(SWEEPS), default=list(SWEEPS))
    asked = parser.parse_args(arguments)
    torch.set_num_threads(1)
    found: dict[str, list[dict[str, Any]]] = {}
    print("| | | packed x padded: tokens | measured | not shared x padded: tokens | measured |\n" + "|---" * 6 + "|")
    for name in asked.only:
        found[name] = []
        for value in SWEEPS[name]:
            point = measure(replace(Setting(), **{name: value}), asked.repeats)
            found[name].append({"value": value, **point})
            ratios = [point["padded"][key] / point[way][key] for way in list(WAYS)[:2] for key in ("tokens", "seconds")]
            print(f"| {TITLES[name]} | {value} | " + " | ".join(f"{ratio:.2f}" for ratio in ratios) + " |", flush=True)
    about = {"torch": torch.__version__, "setting": vars(Setting()) | {"layers": Setting().layers}, "sweeps": found}
    asked.out.parent.mkdir(parents=True, exist_ok=True)
    asked.out.with_suffix(".json").write_text(json.dumps(about, indent=1) + "\n", encoding="utf-8")
    draw(found, asked.out.with_suffix(".png"))


if __name__ == "__main__":
    main()
