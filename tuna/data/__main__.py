"""``python -m tuna.data FILE``: what a data file is taken for. The work is done above this room, in tuna.preview."""

from tuna.preview import main

if __name__ == "__main__":
    main()
