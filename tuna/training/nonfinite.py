"""What ``trainer.nonfinite`` makes of a NaN or infinite loss, gradient or weight: stop, or leave the step out."""

import logging
import math
from collections.abc import Sequence
from itertools import chain
from typing import Any, Literal

from torch import nn

from tuna.data.record import Record
from tuna.datamodules.base import RecordDataModule
from tuna.errors import RunError
from tuna.models.weights import first_of, not_finite
from tuna.modules.meter import Fault
from tuna.modules.scoring import ScoringModule
from tuna.runs import RunFolder, steps_in
from tuna.training import distributed

log = logging.getLogger("tuna")
SHOWN = 5  # records named in a message
LIMIT = 20  # one in this many steps of a run may be left out


class NonFinite:
    """Called by the module with a step's fault: raises, or returns where the step is to be left out.

    skipped: steps left out so far, from 1; run.json holds them as skipped_steps. limit: how many a run may leave out.
    """

    def __init__(
        self, mode: Literal["stop", "skip"], data: RecordDataModule, target: RunFolder, *, start: int, total: int
    ) -> None:
        self.skips, self.data, self.target, self.total = mode == "skip", data, target, total
        self.limit = min(max(1, total // LIMIT), total - 1)
        written = target.read().get("skipped_steps", []) if distributed.rank() == 0 else []
        self.skipped: list[int] = distributed.agree([step for step in written if step <= start])

    def step(self, module: ScoringModule, fault: Fault) -> None:
        """A step whose loss or gradient is not finite; RunError where the run stops here."""
        done, lr = module.trainer.global_step, module.trainer.optimizers[0].param_groups[0]["lr"]
        if _scaled(module.trainer, fault):
            return
        check_scorer(module.scorer, f"step {done + 1}/{self.total}: {fault}, since")
        records = _named(self.data.records_at(done), fault.groups)
        told = f"step {done + 1}/{self.total}: {fault} (learning rate {lr:.3g}; {records})"
        if self.skips and len(self.skipped) < self.limit:
            self.skipped.append(done + 1)
            if distributed.rank() == 0:
                self.target.update(skipped_steps=self.skipped)
                log.warning(f"{told}; skipped, {len(self.skipped)} of at most {self.limit}")
            return
        lower = f"the same command with module.lr={module.lr / 10:g} and another name=..."
        if self.skips:
            raise RunError(
                f"{told}\nsteps skipped before: {self.limit}; trainer.nonfinite=skip skips 1 in {LIMIT} of the "
                f"{self.total} steps at most, one at least; {self._kept()}\n"
                f"next: leave these records out of the data, or {lower}"
            )
        raise RunError(
            f"{told}\nnothing of this step was applied; {self._kept()}\nnext: {lower}; or with resume=auto "
            "trainer.nonfinite=skip, which leaves such steps out; or leave these records out of the data"
        )

    def held_out(self, module: ScoringModule, loss: float, groups: Sequence[tuple[int, int]]) -> None:
        """A held-out loss that is not finite: always a RunError."""
        when = f"step {module.trainer.global_step}/{self.total}: " if module.trainer.state.fn == "fit" else ""
        told = f"{when}the held-out loss is {loss}"
        check_scorer(module.scorer, f"{told}, since")
        raise RunError(
            f"{told} ({_named(self.data.held_out_records(), groups)}); {self._kept()}\n"
            "next: leave these records out of the data, or the same command with "
            f"trainer.precision=32-true or module.lr={module.lr / 10:g} and another name=..."
        )

    def _kept(self) -> str:
        steps = steps_in(self.target.checkpoints)
        return f"the checkpoint of step {steps[-1][0]} is kept" if steps else "no checkpoint was saved before"


def check_scorer(scorer: nn.Module, why: str) -> None:
    """Refuse (RunError) trained weights that are NaN or infinite; every process calls it. why: begins the message."""
    if bad := not_finite((n, p) for n, p in scorer.named_parameters() if p.requires_grad):
        raise RunError(
            f"{why} the weights hold NaN or infinity ({first_of(bad)}): an optimizer step made them so, the learning "
            "rate is too high; nothing was saved of them, and the checkpoints before are kept\n"
            "next: the same command with a lower module.lr and another name=..."
        )


def _scaled(trainer: Any, fault: Fault) -> bool:
    """Whether it is an ordinary overflow of 16-mixed, whose loss scale falls by half and whose step is left out."""
    scaler = getattr(trainer.precision_plugin, "scaler", None)
    return scaler is not None and math.isfinite(fault.loss) and scaler.get_scale() >= 1.0


def _named(batches: Sequence[Sequence[Record]], groups: Sequence[tuple[int, int]]) -> str:
    """The records of these groups, (batch, number in it), over all processes; all records, where no one is at fault."""
    mine = [batches[at][group] for at, group in groups if group < len(batches[at])]  # after them stand fillers
    records = list(chain(*distributed.gather(mine))) or list(chain(*distributed.gather(list(chain(*batches)))))
    return f"records: {first_of([f'{r.where} (id {r.id})' if r.where else f'id {r.id}' for r in records], SHOWN)}"
