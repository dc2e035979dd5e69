"""python -m finegrain: the same as finegrain."""

from finegrain.cli import main

if __name__ == "__main__":
    main()
