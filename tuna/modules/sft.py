"""Instruction tuning: the scorer under Eq. 2."""

from tuna.modules.scoring import Schedule, ScoringModule


class SFT(ScoringModule):
    """Supervised fine-tuning on the target responses (stages sft and alpaca_mul). Arguments: see ScoringModule."""

    def __init__(
        self,
        *,
        lr: float = 2e-5,
        weight_decay: float = 0.0,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        schedule: Schedule = "cosine",
        warmup_steps: int = 2,
        min_lr_ratio: float = 0.0,
    ) -> None:
        super().__init__(
            lr=lr,
            weight_decay=weight_decay,
            betas=betas,
            eps=eps,
            schedule=schedule,
            warmup_steps=warmup_steps,
            min_lr_ratio=min_lr_ratio,
        )
