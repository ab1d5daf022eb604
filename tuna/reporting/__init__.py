"""Tables, figures and one page from runs, rankings and results on disk."""
