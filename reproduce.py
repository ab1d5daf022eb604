"""The paper end to end: ``python reproduce.py``. Every step is an ordinary command. Explains itself with ``--help``."""

if __name__ == "__main__":
    from tuna.signals import begin

    begin()
    from tuna.programs import start

    start("reproduce")
