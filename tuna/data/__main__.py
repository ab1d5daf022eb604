"""``python -m tuna.data FILE``: what a data file is taken for. The work is done above this room, in tuna.preview."""

if __name__ == "__main__":
    from tuna.signals import begin

    begin()
    from tuna.preview import main

    main()
