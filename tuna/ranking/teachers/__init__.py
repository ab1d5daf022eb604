"""Teachers: what answers instructions for probabilistic ranking. One file and one YAML each."""
