# SPDX-License-Identifier: Apache-2.0
"""The command ``pyoci``: parses the global flags, calls the verb, and reports errors.

A verb ``V`` is the module ``pyoci.cli.V``. It has

    TABLE: flags.Table                                    its flags
    USAGE: str                                            what follows the verb, for --help
    STOP_AFTER: int                                       optional: see flags.parse
    run(settings: Settings, parsed: Parsed) -> int        calls one function and prints; returns the exit status
"""

from __future__ import annotations

import os

from pyoci import report
from pyoci.cli import flags
from pyoci.cli.settings import TABLE, Settings
from pyoci.errors import PyociError, UsageError, reason

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyoci.cli.log import Log

VERBS = (
    ("create", "create a container from a bundle; its program does not run yet"),
    ("start", "run the program of a created container"),
    ("state", "print the state of a container as JSON"),
    ("kill", "send a signal to a container"),
    ("delete", "delete a container"),
    ("run", "create a container, start it, wait for its end, and delete it"),
    ("exec", "run another program in a container"),
    ("pause", "freeze all processes of a container"),
    ("resume", "let the processes of a paused container go on"),
    ("update", "change limits of a container"),
    ("ps", "show the processes of a container"),
    ("events", "print what a container uses, and when it runs out of memory"),
    ("list", "list containers"),
    ("spec", "write a config.json to start from"),
    ("features", "print what this runtime supports, as JSON"),
    ("plan", "print what create would do, one operation per line"),
    ("pod", "run a pod from a manifest, without an engine"),
)
# Known by name, so that the error is plain. Podman calls the help of the first two.
UNSUPPORTED = ("checkpoint", "restore", "mounts")


def main(argv: list[str]) -> int:
    """Runs one command line (without the program's name). Returns the exit status."""
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
        log = _open_log(parsed)
        debug = log.debugging
        report.listen(log.tell, debug)
        status = _verb(Settings(parsed), parsed.words)
        if debug:
            report.debug(f"{' '.join(parsed.words)}: status {status}")
        log.close()
        return status
    except PyociError as error:
        return _fail(str(error), log, error if debug else None, error.lines)
    except OSError as error:
        return _fail(_told(error), log, error if debug else None)
    except KeyboardInterrupt as error:
        return _fail("interrupted", log, error if debug else None)
    except Exception as error:
        words = f"internal error: {type(error).__name__}: {error}; please report it with the output of --debug"
        return _fail(words, log, error if debug else None)


def _fill_standard_descriptors() -> None:
    """Opens the null device for each of 0-2 that the caller has closed, so that no other file takes the number."""
    for number in (0, 1, 2):
        try:
            os.get_inheritable(number)
        except OSError:
            os.set_inheritable(os.open("/dev/null", os.O_RDWR), True)


def _verb(settings: Settings, words: list[str]) -> int:
    """Imports the module of the verb, parses its flags and runs it. Returns the exit status."""
    if not words:
        raise UsageError("a verb is missing; try 'pyoci --help'")
    verb, rest = words[0], words[1:]
    if verb == "help":
        if not rest:
            return _help()
        verb, rest = rest[0], [*rest[1:], "--help"]  # 'help VERB' is 'VERB --help'
    if verb in UNSUPPORTED:
        from pyoci.cli import unsupported

        return unsupported.run(verb, rest)
    if verb not in [name for name, _ in VERBS]:
        from pyoci.cli.help import near

        meant = near(verb, [name for name, _ in VERBS])
        suggestion = f" (did you mean {meant}?)" if meant else ""
        raise UsageError(f"unknown verb {verb!r}{suggestion}; try 'pyoci --help'")
    module = __import__(f"pyoci.cli.{verb}", fromlist=["run"])
    parsed = flags.parse(module.TABLE, rest, verb, getattr(module, "STOP_AFTER", -1))
    if parsed.flag("help"):
        from pyoci.cli.help import show_verb

        return show_verb(verb, module.USAGE, dict(VERBS)[verb], module.TABLE)
    status: int = module.run(settings, parsed)
    return status


def _help() -> int:
    from pyoci.cli.help import show_all

    return show_all(VERBS, TABLE)


def _open_log(parsed: flags.Parsed) -> Log:
    """Opens the log that the flags name. Raises UsageError, and OSError if the file cannot be opened."""
    from pyoci.cli.log import Log

    level = "debug" if parsed.flag("debug") else parsed.text("log-level", "warning").lower()
    return Log(parsed.text("log"), parsed.text("log-format", "text"), level)


def _told(error: OSError) -> str:
    """Returns one line for an error of a system call that was not caught earlier."""
    names = " -> ".join(str(name) for name in (error.filename, error.filename2) if name is not None)
    about = f"{getattr(error, 'step', '')} {names}".strip()  # native.NativeError says which step it was
    return f"{about}: {reason(error)}" if about else reason(error)


def _fail(message: str, log: Log | None, error: BaseException | None, lines: tuple[str, ...] = ()) -> int:
    """Reports the error on stderr and in the log. Returns 1.

    error: the exception if its traceback is wanted (--debug); lines: what stderr gets instead of the message.
    """
    if log is None:
        from pyoci.cli.log import Log

        log = Log("", "text", "error" if error is None else "debug")  # the flags that name the log are at fault
    if error is not None:
        for line in _trace(error):
            log.tell(report.DEBUG, line)
    log.error(message, lines)
    return 1


def _trace(error: BaseException) -> list[str]:
    """Returns the traceback of an error, innermost last, one line per call, then the errors that caused it."""
    lines = []
    step = error.__traceback__
    while step is not None:
        code = step.tb_frame.f_code
        lines.append(f"at {code.co_filename}:{step.tb_lineno} {code.co_name}")
        step = step.tb_next
    lines.append(f"{type(error).__name__}: {error}")
    cause = _cause(error)
    while cause is not None:
        lines.append(f"caused by {type(cause).__name__}: {cause}")
        cause = _cause(cause)
    return lines


def _cause(error: BaseException) -> BaseException | None:
    """Returns the exception that caused this one (``raise ... from``, or raised while handling it), or None."""
    return error.__cause__ or (None if error.__suppress_context__ else error.__context__)
