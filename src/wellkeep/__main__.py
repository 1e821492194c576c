"""`python -m wellkeep` is the command line."""

from wellkeep.cli.main import main

if __name__ == "__main__":
    main()
