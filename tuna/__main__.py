"""``python -m tuna COMMAND ...``: what the console command ``tuna`` does."""

from tuna.programs import console

if __name__ == "__main__":
    console()
