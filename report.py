"""Tables, figures and one page from what is on disk: ``python report.py``. Explains itself with ``--help``."""

if __name__ == "__main__":
    from tuna.signals import begin

    begin()
    from tuna.programs import start

    start("report")
