"""`python -m tensorgrad.cli`, the same as `tensorgrad`."""

from tensorgrad.cli import main

if __name__ == "__main__":
    main()
