# SPDX-License-Identifier: Apache-2.0
"""The operations of a launch plan, as Python objects: one class for each ``enum plan_kind`` of csrc/plan.h.

An operation holds its arguments under their own names, puts them where plan.h wants them (``path``, ``data``,
``more``, ``num``), and describes itself in one line for ``pyoci plan``. ``where`` is the JSON pointer of the property
that asked for it. Nothing here has an effect.
"""

from __future__ import annotations

from pyoci.native import lib

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    Data = str | bytes | list[str]


class Op:
    """One operation; subclasses give ``kind`` and the meaning of the arguments."""

    __slots__ = ("where", "path", "data", "more", "num")
    kind = lib.PLAN_NONE
    name = ""

    def __init__(
        self, where: str = "", path: str = "", data: Data = "", more: Data = "", num: Sequence[int] = ()
    ) -> None:
        self.where = where
        self.path = path
        self.data = data
        self.more = more
        self.num = num

    def details(self) -> str:
        """The arguments, for people."""
        return " ".join(part for part in (self.path, _words(self.data)) if part)

    def describe(self) -> str:
        """One line: the operation, its arguments, where it comes from."""
        line = f"{self.name} {self.details()}".rstrip()
        return f"{line}  # {self.where}" if self.where else line


def _words(data: Data) -> str:
    if isinstance(data, bytes):
        return f"({len(data)} bytes)"
    return (
        " ".join(repr(item) if not item or " " in item else item for item in data) if isinstance(data, list) else data
    )


def _bits(value: int, names: Sequence[tuple[int, str]]) -> str:
    return "|".join(name for bit, name in names if value & bit)


CLONE_NAMES = (
    (0x00020000, "mount"),
    (0x02000000, "cgroup"),
    (0x04000000, "uts"),
    (0x08000000, "ipc"),
    (0x10000000, "user"),
    (0x20000000, "pid"),
    (0x40000000, "network"),
    (0x00000080, "time"),
)
ATTR_NAMES = (
    *((1, "ro"), (2, "nosuid"), (4, "nodev"), (8, "noexec"), (0x10, "noatime"), (0x20, "strictatime")),
    *((0x80, "nodiratime"), (0x200000, "nosymfollow")),
)
PROPAGATION_NAMES = ((1 << 17, "unbindable"), (1 << 18, "private"), (1 << 19, "slave"), (1 << 20, "shared"))


class SetNs(Op):
    """Enter a namespace by descriptor; ``path`` is for people."""

    kind, name = lib.PLAN_SETNS, "setns"

    def __init__(self, descriptor: int, flags: int, path: str, where: str = "") -> None:
        super().__init__(where, path, num=(descriptor, flags))

    def details(self) -> str:
        return f"{_bits(self.num[1], CLONE_NAMES)} {self.path}"


class Unshare(Op):
    """Make new namespaces and enter them."""

    kind, name = lib.PLAN_UNSHARE, "unshare"

    def __init__(self, flags: int, where: str = "") -> None:
        super().__init__(where, num=(flags,))

    def details(self) -> str:
        return _bits(self.num[0], CLONE_NAMES)


class TimeOffsets(Op):
    """Make and enter a time namespace whose clocks are off by ``offsets``."""

    kind, name = lib.PLAN_TIME_OFFSETS, "time_offsets"


class Clone(Op):
    """Go on in a child, which is the first to be in the joined (or new) PID namespace."""

    kind, name = lib.PLAN_CLONE, "clone3"

    def __init__(self, flags: int = 0) -> None:
        super().__init__(num=(flags,))

    def details(self) -> str:
        return _bits(self.num[0], CLONE_NAMES)


class Sync(Op):
    """Tell the runtime and wait for its answer."""

    kind, name = lib.PLAN_SYNC, "sync"

    def __init__(self, message: int) -> None:
        super().__init__(num=(message,))

    def details(self) -> str:
        if self.num[0] == lib.SYNC_MOUNTED:
            return "mounted: the runtime runs prestart and createRuntime hooks"
        return "starting: the runtime watches for execve"


class BecomeRoot(Op):
    """Take uid and gid 0 of the user namespace."""

    kind, name = lib.PLAN_BECOME_ROOT, "become_root"

    def __init__(self, clear_groups: bool) -> None:
        super().__init__(num=(int(clear_groups),))


class SetSid(Op):
    """setsid(2)."""

    kind, name = lib.PLAN_SETSID, "setsid"


class Loopback(Op):
    """Bring lo up."""

    kind, name = lib.PLAN_LOOPBACK, "loopback up"


class Propagation(Op):
    """Set the propagation of a mount (mount_namespaces(7))."""

    kind, name = lib.PLAN_PROPAGATION, "propagation"

    def __init__(self, path: str, propagation: int, recursive: bool, where: str = "") -> None:
        super().__init__(where, path, num=(propagation, int(recursive)))

    def details(self) -> str:
        return f"{self.path} {'r' if self.num[1] else ''}{_bits(self.num[0], PROPAGATION_NAMES)}"


class Rootfs(Op):
    """Make the root file system a mount of its own; all that follows is inside."""

    kind, name = lib.PLAN_ROOTFS, "rootfs"

    def __init__(self, path: str, parent_private: bool, where: str = "/root/path") -> None:
        super().__init__(where, path, num=(int(parent_private),))


class OpenTree(Op):
    """Clone a mount tree of the host's view into a slot."""

    kind, name = lib.PLAN_OPEN_TREE, "open_tree"

    def __init__(self, source: str, slot: int, recursive: bool, nofollow: bool = False, where: str = "") -> None:
        super().__init__(where, source, num=(slot, int(recursive), int(nofollow)))

    def details(self) -> str:
        return f"{self.path} -> slot {self.num[0]}{' recursive' if self.num[1] else ''}"


class _Mounted(Op):
    """What the operations share that end with a mount at ``path``."""

    __slots__ = ()

    def attributes(self) -> str:
        """Set, cleared, propagation."""
        _, flags, attr_set, attr_clear, propagation = self.num
        words = [_bits(attr_set, ATTR_NAMES).replace("|", " ")]
        cleared = _bits(attr_clear, ATTR_NAMES)
        words += [f"not {cleared}" if cleared else ""]
        words += ["recursive" if flags & lib.PLAN_MOUNT_RECURSIVE_ATTR else ""]
        words += [_bits(propagation, PROPAGATION_NAMES)]
        return " ".join(word for word in words if word)


class Bind(_Mounted):
    """Attach the tree of a slot at ``path`` in the root."""

    kind, name = lib.PLAN_BIND, "bind"

    def __init__(self, path: str, num: Sequence[int], where: str = "") -> None:
        super().__init__(where, path, num=num)

    def details(self) -> str:
        return f"slot {self.num[0]} at {self.path} {self.attributes()}".rstrip()


class Mount(_Mounted):
    """A new mount of a file system at ``path`` in the root."""

    kind, name = lib.PLAN_MOUNT, "mount"

    def __init__(self, path: str, fs_type: str, options: list[str], num: Sequence[int], where: str = "") -> None:
        super().__init__(where, path, fs_type, options, num)

    def details(self) -> str:
        return f"{_words(self.data)} at {self.path} {self.attributes()} [{_words(self.more)}]"


class SetAttr(_Mounted):
    """Change the attributes of a mount in the root."""

    kind, name = lib.PLAN_SET_ATTR, "mount_setattr"

    def __init__(self, path: str, num: Sequence[int], where: str = "") -> None:
        super().__init__(where, path, num=num)

    def details(self) -> str:
        return f"{self.path} {self.attributes()}"


class MkNod(Op):
    """A device node, or a FIFO."""

    kind, name = lib.PLAN_MKNOD, "mknod"

    def __init__(self, path: str, mode: int, device: int, uid: int = 0, gid: int = 0, where: str = "") -> None:
        super().__init__(where, path, num=(mode, device, uid, gid))

    def details(self) -> str:
        mode, device, uid, gid = self.num
        kind = {0o020000: "c", 0o060000: "b", 0o010000: "p"}.get(mode & 0o170000, "?")
        major, minor = (device >> 8) & 0xFFF, (device & 0xFF) | ((device >> 12) & 0xFFF00)
        return f"{self.path} {kind} {major}:{minor} {mode & 0o7777:o} {uid}:{gid}"


class Symlink(Op):
    """A symlink at ``path`` to ``data``."""

    kind, name = lib.PLAN_SYMLINK, "symlink"

    def details(self) -> str:
        return f"{self.path} -> {_words(self.data)}"


class MkDir(Op):
    """A directory and its parents."""

    kind, name = lib.PLAN_MKDIR, "mkdir"


class PivotRoot(Op):
    """pivot_root(2), or with --no-pivot a move and chroot(2)."""

    kind, name = lib.PLAN_PIVOT_ROOT, "pivot_root"

    def __init__(self, no_pivot: bool = False) -> None:
        super().__init__(num=(int(no_pivot),))

    def details(self) -> str:
        return "by MS_MOVE and chroot" if self.num[0] else ""


class Mask(Op):
    """Hide a path."""

    kind, name = lib.PLAN_MASK, "mask"


class ReadOnly(Op):
    """Make a path read-only, with all below it."""

    kind, name = lib.PLAN_READONLY, "readonly"


class ProcWrite(Op):
    """Write below a private procfs."""

    kind, name = lib.PLAN_PROC_WRITE, "proc_write"


class HostName(Op):
    """sethostname(2)."""

    kind, name = lib.PLAN_HOSTNAME, "sethostname"


class DomainName(Op):
    """setdomainname(2)."""

    kind, name = lib.PLAN_DOMAINNAME, "setdomainname"


class Hook(Op):
    """Run a hook in the container's namespaces; ``timeout`` in ms, 0 for none."""

    kind, name = lib.PLAN_HOOK, "hook"

    def __init__(self, path: str, args: list[str], env: list[str], timeout: int, where: str = "") -> None:
        super().__init__(where, path, args, env, (timeout,))


class Console(Op):
    """A terminal of the container's devpts; its master goes over the console socket."""

    kind, name = lib.PLAN_CONSOLE, "console"

    def __init__(self, descriptor: int, rows: int, columns: int, uid: int, bind: bool) -> None:
        super().__init__("/process/terminal", num=(descriptor, rows, columns, uid, int(bind)))

    def details(self) -> str:
        return f"{self.num[2]}x{self.num[1]} for uid {self.num[3]}{', bound on /dev/console' if self.num[4] else ''}"


class StdioOwner(Op):
    """Give descriptors 0-2 to the user."""

    kind, name = lib.PLAN_STDIO_OWNER, "stdio_owner"

    def __init__(self, uid: int) -> None:
        super().__init__("/process/user/uid", num=(uid,))

    def details(self) -> str:
        return str(self.num[0])


class Keyring(Op):
    """Join a session keyring of this name."""

    kind, name = lib.PLAN_KEYRING, "keyring"


class RLimit(Op):
    """setrlimit(2)."""

    kind, name = lib.PLAN_RLIMIT, "setrlimit"

    def __init__(self, resource: int, soft: int, hard: int, where: str, label: str) -> None:
        super().__init__(where, label, num=(resource, soft, hard))

    def details(self) -> str:
        return f"{self.path} {self.num[1]} {self.num[2]}"


class Environment(Op):
    """The process's environment."""

    kind, name = lib.PLAN_ENVIRONMENT, "environment"


class Home(Op):
    """HOME from the container's passwd, where the environment lacks it."""

    kind, name = lib.PLAN_HOME, "home"

    def __init__(self, uid: int) -> None:
        super().__init__("/process/env", num=(uid,))

    def details(self) -> str:
        return f"of uid {self.num[0]}"


class Program(Op):
    """The arguments; finds argv[0]."""

    kind, name = lib.PLAN_PROGRAM, "program"


class Cwd(Op):
    """chdir(2), proved to be inside of the root."""

    kind, name = lib.PLAN_CWD, "chdir"

    def __init__(self, path: str, tolerant: bool) -> None:
        super().__init__("/process/cwd", path, num=(int(tolerant),))

    def details(self) -> str:
        return self.path + (" (or later, as the user)" if self.num[0] else " (if not yet)")


class Bounding(Op):
    """Drop all but these capabilities from the bounding set."""

    kind, name = lib.PLAN_BOUNDING, "bounding"

    def __init__(self, mask: int) -> None:
        super().__init__("/process/capabilities/bounding", num=(signed(mask),))

    def details(self) -> str:
        return f"{self.num[0] & MASK_64:#x}"


class User(Op):
    """setgroups, setresgid, setresuid, umask; capabilities are kept until Caps."""

    kind, name = lib.PLAN_USER, "user"

    def __init__(self, uid: int, gid: int, groups: list[str], umask: int, keep_groups: bool = False) -> None:
        super().__init__("/process/user", data=groups, num=(uid, gid, umask, int(keep_groups)))

    def details(self) -> str:
        uid, gid, umask, _ = self.num
        return f"{uid}:{gid} groups [{_words(self.data)}] umask {umask:o}"


class Created(Op):
    """Tell the runtime that the container is created, and wait for start."""

    kind, name = lib.PLAN_CREATED, "created: wait for start"


class Scheduler(Op):
    """sched_setattr(2)."""

    kind, name = lib.PLAN_SCHEDULER, "sched_setattr"


class IoPrio(Op):
    """ioprio_set(2)."""

    kind, name = lib.PLAN_IOPRIO, "ioprio_set"


class Personality(Op):
    """personality(2)."""

    kind, name = lib.PLAN_PERSONALITY, "personality"


class NoNewPrivs(Op):
    """prctl(2) PR_SET_NO_NEW_PRIVS."""

    kind, name = lib.PLAN_NO_NEW_PRIVS, "no_new_privs"


class Seccomp(Op):
    """seccomp(2) with a compiled filter."""

    kind, name = lib.PLAN_SECCOMP, "seccomp"

    def __init__(self, program: bytes, flags: int) -> None:
        super().__init__("/linux/seccomp", data=program, num=(len(program), flags))


class Caps(Op):
    """capset(2) and the ambient set."""

    kind, name = lib.PLAN_CAPS, "capset"

    def __init__(self, effective: int, permitted: int, inheritable: int, ambient: int) -> None:
        masks = tuple(signed(mask) for mask in (effective, permitted, inheritable, ambient))
        super().__init__("/process/capabilities", num=masks)

    def details(self) -> str:
        names = ("effective", "permitted", "inheritable", "ambient")
        return " ".join(f"{name} {mask & MASK_64:#x}" for name, mask in zip(names, self.num, strict=False))


class Exec(Op):
    """execve(2) of the program."""

    kind, name = lib.PLAN_EXEC, "execve"


MASK_64 = (1 << 64) - 1


def signed(value: int) -> int:
    """The same 64 bits as int64_t, which struct plan_op has."""
    return value - (1 << 64) if value >= 1 << 63 else value
