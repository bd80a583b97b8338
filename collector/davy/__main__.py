"""The ``davy`` command: errors are one line on stderr and exit code 2."""

import sys
from importlib.metadata import version


def main() -> int:
    """Run the command line; without its extra, say how to get it. The version is told without any."""
    try:
        from davy.cli import run_app
    except ImportError as error:
        from davy.requirements import needs

        if sys.argv[1:] == ["--version"]:
            sys.stdout.write(f"davy {version('davy')}\n")
            return 0

        sys.stderr.write(f"davy: the command line {needs(error.name or 'more', extras='server')}\n")
        return 2
    return run_app()


if __name__ == "__main__":
    sys.exit(main())
