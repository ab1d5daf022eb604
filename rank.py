"""Collect ranked answers: ``python rank.py ranker=contextual judge=openai``. Explains itself with ``--help``."""

if __name__ == "__main__":
    from tuna.signals import begin

    begin()
    from tuna.programs import start

    start("rank")
