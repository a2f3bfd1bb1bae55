"""`python -m node` is `gridmerit`."""

from node.cli import main

if __name__ == "__main__":
    main()
