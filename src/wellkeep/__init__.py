"""wellkeep: the self-hosted security core for health software that proves itself."""
