"""`attndsl COMMAND ...`: parses the command line, runs the command, turns errors into exit codes.

Exit codes: 0 fine; 1 the spec is wrong or a check failed; 2 the command line is wrong; 3 an internal error.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from importlib import import_module

from attndsl import __version__

FINE, WRONG_SPEC, WRONG_USAGE, INTERNAL = 0, 1, 2, 3
COMMANDS = {
    "compile": "write the program as one readable, self-contained Python file",
    "check": "compare the generated code with the exact definition, forward and backward",
    "simulate": "predict the speed on a device, and where the rest is lost",
    "reach": "show the receptive field of a stack of layers, layer by layer",
    "show": "draw the mask, its tiles and a query's keys",
    "explain": "explain an error code, or what the compiler found out about a spec",
    "bench": "time the module beside dense attention and FlexAttention on this machine",
    "devices": "list the devices that the simulator knows",
    "calibrate": "measure this machine's CPU and write a device file for the simulator",
    "list": "list the installed examples and the standard patterns",
}


def build_parser(command: str | None = None) -> argparse.ArgumentParser:
    """The parser; only the options of `command` are loaded, because commands import what they need."""
    parser = argparse.ArgumentParser(
        prog="attndsl",
        description="A small declarative language for attention.",
        epilog="`attndsl COMMAND --help` shows a command's options.",
    )
    parser.add_argument("--version", action="version", version=f"attndsl {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for name, summary in COMMANDS.items():
        sub = commands.add_parser(name, help=summary, description=summary[0].upper() + summary[1:] + ".")
        if name == command:
            import_module(f"attndsl.cli.{name}").add_arguments(sub)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command line and returns the exit code."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    command = next((word for word in arguments if word in COMMANDS), None)
    try:
        args = build_parser(command).parse_args(arguments)
    except SystemExit as stop:
        return stop.code if isinstance(stop.code, int) else WRONG_USAGE
    try:
        return import_module(f"attndsl.cli.{args.command}").main(args)
    except BrokenPipeError:
        # The reader (`| head`) has gone; Python must not complain again when it flushes at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FINE
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    except Exception as error:
        return _report(error, args)


def _report(error: Exception, args: argparse.Namespace) -> int:
    from attndsl.diagnostics import AttnError

    if isinstance(error, AttnError):
        from attndsl.cli.errors import print_error

        print_error(error, getattr(args, "json", False))
        return WRONG_SPEC
    from attndsl.cli.errors import print_internal

    print_internal(error)
    return INTERNAL


if __name__ == "__main__":
    raise SystemExit(main())
