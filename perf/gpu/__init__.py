"""What only a GPU can show, checked and measured by one command: python -m perf.gpu."""
