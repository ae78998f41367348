# SPDX-License-Identifier: Apache-2.0
"""The command ``pyoci``: global flags, then a verb; the one place where errors are caught and told.

A verb ``V`` is the module ``pyoci.cli.V`` (``V_`` where V is also a built-in of Python). It has

    TABLE: flags.Table                                    its flags
    USAGE: str                                            what follows the verb, for --help
    STOP_AFTER: int                                       optional: see flags.parse
    run(settings: Settings, parsed: Parsed) -> int        calls one function, prints; gives the exit status
"""

from __future__ import annotations

import errno
import os
import time

from pyoci.cli import flags, output
from pyoci.cli.settings import TABLE, Settings
from pyoci.errors import PyociError, UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyoci.cli.log import Log

VERBS = (
    ("create", "make a container from a bundle, up to but not including its program"),
    ("start", "run the program of a created container"),
    ("state", "print the state of a container as JSON"),
    ("kill", "send a signal to a container"),
    ("delete", "remove what is left of a container"),
    ("run", "create, start, wait, delete"),
    ("exec", "run one more program in a container"),
    ("list", "list the containers"),
    ("spec", "write a config.json to start from"),
    ("features", "print what this runtime can do, as JSON"),
    ("plan", "print what create would do, one line an operation"),
    ("pod", "run a pod from a manifest, without an engine"),
)
# Known by name, so that a caller is told plainly; podman probes the help of the first two.
UNBUILT = ("checkpoint", "restore", "pause", "resume", "ps", "update", "events", "mounts")

_BUILTINS = ("exec", "list")


def main(argv: list[str]) -> int:
    """Runs one command line (without the program's name); gives the exit status."""
    log: Log | None = None
    debug = "--debug" in argv
    try:
        _fill_standard_descriptors()
        parsed = flags.parse(TABLE, argv, "", stop_after=1)
        if parsed.flag("version"):
            from pyoci.cli import version

            return version.show()
        if parsed.flag("help"):
            return _help()
        settings = Settings(parsed)
        debug = settings.debug
        if parsed.given("log"):
            log = _open_log(parsed)
        started = time.monotonic()
        status = _verb(settings, parsed.words)
        if debug:
            _tell_time(parsed.words, status, started)
        return status
    except PyociError as error:
        return _fail(str(error), log, error if debug else None)
    except OSError as error:
        return _fail(_told(error), log, error if debug else None)
    except KeyboardInterrupt as error:
        return _fail("interrupted", log, error if debug else None)
    except Exception as error:
        words = f"internal error: {type(error).__name__}: {error}; please report it with the output of --debug"
        return _fail(words, log, error if debug else None)


def _fill_standard_descriptors() -> None:
    """Puts the null device where the caller closed one of 0-2, lest a file of ours takes the number."""
    for number in (0, 1, 2):
        try:
            os.get_inheritable(number)
        except OSError:
            os.set_inheritable(os.open("/dev/null", os.O_RDWR), True)


def _verb(settings: Settings, words: list[str]) -> int:
    """Imports the module of the verb, parses its flags and runs it."""
    if not words:
        raise UsageError("a verb is missing; try 'pyoci --help'")
    verb, rest = words[0], words[1:]
    if verb == "help":
        return _help()
    if verb in UNBUILT:
        from pyoci.cli import unbuilt

        return unbuilt.run(verb, rest)
    if verb not in [name for name, _ in VERBS]:
        from pyoci.cli.help import near

        hint = near(verb, [name for name, _ in VERBS]).replace("--", "")
        raise UsageError(f"unknown verb {verb!r}{hint}; try 'pyoci --help'")
    name = f"pyoci.cli.{verb}_" if verb in _BUILTINS else f"pyoci.cli.{verb}"
    module = __import__(name, fromlist=["run"])
    parsed = flags.parse(module.TABLE, rest, verb, getattr(module, "STOP_AFTER", -1))
    if parsed.flag("help"):
        from pyoci.cli.help import show_verb

        return show_verb(verb, module.USAGE, dict(VERBS)[verb], module.TABLE)
    status: int = module.run(settings, parsed)
    return status


def _tell_time(words: list[str], status: int, started: float) -> None:
    spent = (time.monotonic() - started) * 1000
    output.write(f"pyoci: debug: {' '.join(words)}: status {status} after {spent:.1f} ms\n", output.STDERR)


def _help() -> int:
    from pyoci.cli.help import show_all

    return show_all(VERBS, TABLE)


def _open_log(parsed: flags.Parsed) -> Log:
    from pyoci.cli.log import Log

    return Log(parsed.text("log"), parsed.text("log-format", "text"))


def _told(error: OSError) -> str:
    """One line for an error of a system call that nobody gave better words.

    Engines take "No such file or directory" for a missing program, so ENOENT is said in other words.
    """
    if error.errno is None:
        return str(error)
    reason = "not found" if error.errno == errno.ENOENT else os.strerror(error.errno)
    names = " -> ".join(str(name) for name in (error.filename, error.filename2) if name is not None)
    about = f"{getattr(error, 'step', '')} {names}".strip()  # native.NativeError says which step it was
    return f"{about}: {reason}" if about else reason


def _fail(message: str, log: Log | None, error: BaseException | None) -> int:
    """Tells the error on stderr and to the log; 1. error: given in debug mode, to show where it came from."""
    message = output.one_line(message)
    text = f"pyoci: {message}\n"
    if error is not None:
        text += _trace(error)
    try:
        output.write(text, output.STDERR)
    except OSError:
        pass  # stderr may be closed; the log and the exit status remain
    if log is not None:
        log.error(message)
    return 1


def _trace(error: BaseException) -> str:
    """Where an error came from, innermost last: file, line, function."""
    lines = []
    step = error.__traceback__
    while step is not None:
        code = step.tb_frame.f_code
        lines.append(f"  {code.co_filename}:{step.tb_lineno} {code.co_name}\n")
        step = step.tb_next
    return "".join(lines) + f"  {type(error).__name__}: {output.one_line(str(error))}\n"
