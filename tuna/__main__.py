"""``python -m tuna COMMAND ...``: what the console command ``tuna`` does."""

if __name__ == "__main__":
    from tuna.signals import begin

    begin()
    from tuna.programs import console

    console()
