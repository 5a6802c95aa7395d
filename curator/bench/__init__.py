"""What this machine can do with a run's own settings: each stage alone, the whole pipeline, and what starves it."""
