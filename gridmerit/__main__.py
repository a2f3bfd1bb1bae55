"""`python -m gridmerit` is `gridmerit`."""

from gridmerit.main import main

if __name__ == "__main__":
    main()
