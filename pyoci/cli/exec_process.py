# SPDX-License-Identifier: Apache-2.0
"""Changes the process document of ``exec`` according to its flags."""

from __future__ import annotations

from pyoci.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyoci.cli.flags import Parsed
    from pyoci.config.documents import Capabilities, Process, User

# user_namespaces(7), setuid(2): 2^32-1 is "no id"
_ID_MAX = 2**32 - 2


def change(process: Process, parsed: Parsed) -> None:
    """Applies the flags to a process document, in place. Raises UsageError for a value that is not allowed."""
    if parsed.given("tty"):
        process["terminal"] = parsed.flag("tty")
    if parsed.given("no-new-privs"):
        process["noNewPrivileges"] = parsed.flag("no-new-privs")
    if parsed.text("cwd") and not parsed.text("cwd").startswith("/"):
        raise UsageError(f"exec: flag --cwd: {parsed.text('cwd')!r} is not an absolute path")
    process["cwd"] = parsed.text("cwd") or process["cwd"]
    if parsed.text("apparmor"):
        process["apparmorProfile"] = parsed.text("apparmor")
    if parsed.text("process-label"):
        process["selinuxLabel"] = parsed.text("process-label")
    if parsed.given("env"):
        process["env"] = _with_variables(process.get("env", []), parsed.all("env"))
    user: User = {**process["user"]}
    if parsed.given("user"):
        uid, colon, gid = parsed.text("user").partition(":")
        user["uid"] = _number(uid, "user")
        if colon:
            user["gid"] = _number(gid, "user")
    if parsed.given("additional-gids"):
        added = [_number(gid, "additional-gids") for gid in parsed.all("additional-gids")]
        user["additionalGids"] = [*user.get("additionalGids", []), *added]
    process["user"] = user
    if parsed.given("cap"):
        process["capabilities"] = _with_capabilities(process.get("capabilities") or {}, parsed.all("cap"))


def _with_variables(old: list[str], added: list[str]) -> list[str]:
    """Returns the environment with variables added. They replace those of the same name: getenv(3) takes the first."""
    new = {line.partition("=")[0]: line for line in added}
    for name, line in new.items():
        if not name or "=" not in line:
            raise UsageError(f"exec: flag --env: {line!r} is not NAME=VALUE")
    return [line for line in old if line.partition("=")[0] not in new] + list(new.values())


def _with_capabilities(sets: Capabilities, added: list[str]) -> Capabilities:
    """Returns the sets with capabilities added to bounding, effective and permitted.

    The inheritable set stays as configured, because a program with file capabilities would gain its members
    (CVE-2022-24769). The ambient set may only hold inheritable capabilities (capabilities(7)), so it gets only those.
    """
    names = ["CAP_" + name.upper().removeprefix("CAP_") for name in added]
    inheritable = sets.get("inheritable", [])
    return {
        **sets,
        "bounding": _union(sets.get("bounding", []), names),
        "effective": _union(sets.get("effective", []), names),
        "permitted": _union(sets.get("permitted", []), names),
        "ambient": _union(sets.get("ambient", []), [name for name in names if name in inheritable]),
    }


def _union(old: list[str], more: list[str]) -> list[str]:
    return [*old, *[name for name in more if name not in old]]


def _number(text: str, flag: str) -> int:
    """Returns a user or group ID. Only digits are accepted; names are not looked up. Raises UsageError."""
    if not (text.isascii() and text.isdigit() and len(text) <= 10 and int(text) <= _ID_MAX):
        raise UsageError(f"exec: flag --{flag}: {text!r} is not an ID (a decimal number from 0 to {_ID_MAX})")
    return int(text)
