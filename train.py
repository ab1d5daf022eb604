"""Tune a model: ``python train.py stage=tuna_c loss.lambda=5``. Explains itself with ``--help``."""

if __name__ == "__main__":
    from tuna.signals import begin

    begin()
    from tuna.programs import start

    start("train")
