"""Measure a model: ``python evaluate.py benchmark=lmentry model.path=runs/a``. Explains itself with ``--help``."""

if __name__ == "__main__":
    from tuna.signals import begin

    begin()
    from tuna.programs import start

    start("evaluate")
