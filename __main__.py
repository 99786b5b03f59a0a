"""`python -m unmelt` is the program `unmelt`."""

from .commands import main

if __name__ == "__main__":
    main()
