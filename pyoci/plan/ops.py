# SPDX-License-Identifier: Apache-2.0
"""The operations of a launch plan as Python objects: one class for each line of csrc/operations.def.

records.py gives a class its fields, constructor and encoding. The classes here say what they do, and how ``pyoci plan``
shows them. Nothing here has an effect.
"""

from __future__ import annotations

from pyoci import protocol
from pyoci.kernel.devices import KINDS
from pyoci.plan import records
from pyoci.plan.operation import ATTR_NAMES as ATTR_NAMES
from pyoci.plan.operation import CAPABILITY_NAMES, CLEARED_NAMES, PROPAGATION_NAMES, bits, hook_text, words
from pyoci.plan.operation import CLONE_NAMES as CLONE_NAMES
from pyoci.plan.operation import Op as Op
from pyoci.plan.operation import errnos as errnos

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

NODES = {kind: letter for letter, kind in KINDS.items() if letter != "u"}


def device_numbers(device: int) -> tuple[int, int]:
    """Returns the major and minor numbers of a dev_t of Linux, on any host."""
    return (device >> 8) & 0xFFF, (device & 0xFF) | ((device >> 12) & 0xFFF00)


class EnterCgroup(records.EnterCgroup):
    """Enter the v1 cgroups by the descriptors of their ``tasks``. path: only for text."""

    __slots__ = ()

    def details(self) -> str:
        return f"{self.path} ({self.count} hierarchies)"


class Setns(records.Setns):
    """Enter a namespace by descriptor. path: only for text; deferred: errnos for which the next setns of the same
    descriptor tries again, which otherwise does nothing."""

    __slots__ = ()

    def details(self) -> str:
        later = " (or later)" if self.deferred else ""
        return f"{'|'.join(bits(self.namespaces, CLONE_NAMES))} {self.path}{later}"


class Unshare(records.Unshare):
    """Create namespaces and enter them."""

    __slots__ = ()

    def details(self) -> str:
        return "|".join(bits(self.namespaces, CLONE_NAMES))


class ProcfsOf(records.ProcfsOf):
    """Mount proc for the PID namespace of this descriptor from here on. init is not a member of it yet."""

    __slots__ = ()

    def details(self) -> str:
        return "the joined PID namespace"


class TimeOffsets(records.TimeOffsets):
    """Create and enter a time namespace with clock offsets."""

    __slots__ = ()


class Clone3(records.Clone3):
    """Continue in a child, which is in these new namespaces, in the joined PID namespace, and in a v2 cgroup."""

    __slots__ = ()

    def details(self) -> str:
        into = " into the cgroup" if self.cgroup >= 0 else ""
        return f"{'|'.join(bits(self.namespaces, CLONE_NAMES))}{into}".strip()


SYNC_TEXTS = {
    protocol.SYNC_ATTACH: "attach: the runtime has the manager of cgroups put init into its group",
    protocol.SYNC_MAPS: "maps: the runtime writes the id maps",
    protocol.SYNC_MOUNTED: "mounted: the runtime runs prestart and createRuntime hooks",
    protocol.SYNC_STARTING: "starting: the runtime watches for execve",
}


class Sync(records.Sync):
    """Tell the runtime and wait for its answer."""

    __slots__ = ()

    def details(self) -> str:
        return SYNC_TEXTS.get(self.message, str(self.message))


class BecomeRoot(records.BecomeRoot):
    """Take uid and gid 0 of the user namespace."""

    __slots__ = ()

    def details(self) -> str:
        return "without other groups" if self.clear_groups else ""


class Setsid(records.Setsid):
    """setsid(2), and the controlling terminal."""

    __slots__ = ()

    def details(self) -> str:
        return "with the terminal" if self.terminal else ""


class Loopback(records.Loopback):
    """Bring lo up."""

    __slots__ = ()


class Propagation(records.Propagation):
    """Set the propagation of a mount (mount_namespaces(7))."""

    __slots__ = ()

    def details(self) -> str:
        return f"{self.path} {'r' if self.recursive else ''}{words(bits(self.propagation, PROPAGATION_NAMES))}"


class Rootfs(records.Rootfs):
    """Make the root file system a mount of its own. All later paths are inside it."""

    __slots__ = ()

    def details(self) -> str:
        return self.path


class OpenTree(records.OpenTree):
    """Clone a mount tree of the host into a slot."""

    __slots__ = ()

    def details(self) -> str:
        words = [" recursive" if self.recursive else "", " inside the root" if self.inside else ""]
        return f"{self.path} -> slot {self.slot}{''.join(words)}"


class OpenNode(records.OpenNode):
    """Clone a device node of the host into a slot, because none can be created."""

    __slots__ = ()

    def shown(self) -> dict[str, Any]:
        major, minor = device_numbers(self.device)
        return {
            "path": self.path,
            "otherwise": self.otherwise,
            "slot": self.slot,
            "type": NODES.get(self.type, "?"),
            "major": major,
            "minor": minor,
        }

    def details(self) -> str:
        return "{path} {type} {major}:{minor} -> slot {slot}".format_map(self.shown())


class Fsmount(records.Fsmount):
    """Create a mount of a file system in a slot."""

    __slots__ = ()

    def details(self) -> str:
        return f"{self.type} -> slot {self.slot} {words(bits(self.attr_set, ATTR_NAMES))} [{words(self.options)}]"


def _attributes(op: records.Bind | records.Mount | records.MountSetattr) -> str:
    """Returns the attributes of a mount as text: set, cleared, propagation."""
    cleared = "|".join(bits(op.attr_clear, CLEARED_NAMES))
    parts = [
        *bits(op.attr_set, ATTR_NAMES),
        f"not {cleared}" if cleared else "",
        "recursive" if op.flags & protocol.PLAN_MOUNT_RECURSIVE_ATTR else "",
        *bits(op.propagation, PROPAGATION_NAMES),
    ]
    return " ".join(part for part in parts if part)


class Bind(records.Bind):
    """Attach the tree of a slot at ``path`` in the root."""

    __slots__ = ()

    def details(self) -> str:
        return f"slot {self.slot} at {self.path} {_attributes(self)}".rstrip()


class Mount(records.Mount):
    """Create a mount of a file system at ``path`` in the root."""

    __slots__ = ()

    def details(self) -> str:
        return f"{self.type} at {self.path} {_attributes(self)} [{words(self.options)}]"


class MountSetattr(records.MountSetattr):
    """Change the attributes of a mount in the root."""

    __slots__ = ()

    def details(self) -> str:
        return f"{self.path} {_attributes(self)}"


class Mknod(records.Mknod):
    """Create a device node or a FIFO."""

    __slots__ = ()

    def shown(self) -> dict[str, Any]:
        major, minor = device_numbers(self.device)
        return {
            "path": self.path,
            "type": NODES.get(self.mode & 0o170000, "?"),
            "major": major,
            "minor": minor,
            "mode": f"{self.mode & 0o7777:o}",
            "uid": self.uid,
            "gid": self.gid,
        }

    def details(self) -> str:
        return "{path} {type} {major}:{minor} {mode} {uid}:{gid}".format_map(self.shown())


class Symlink(records.Symlink):
    """Create a symlink at ``path`` to ``target``."""

    __slots__ = ()

    def details(self) -> str:
        return f"{self.path} -> {self.target}"


class Mkdir(records.Mkdir):
    """Create a directory and its parents."""

    __slots__ = ()


class PivotRoot(records.PivotRoot):
    """pivot_root(2), or with --no-pivot MS_MOVE and chroot(2)."""

    __slots__ = ()

    def details(self) -> str:
        return "by MS_MOVE and chroot" if self.no_pivot else ""


class Mask(records.Mask):
    """Cover a file with the null device, or a directory with the mount of a slot."""

    __slots__ = ()

    def details(self) -> str:
        return self.path


class Readonly(records.Readonly):
    """Make a path read-only, with everything below it."""

    __slots__ = ()

    def details(self) -> str:
        return self.path


class ProcWrite(records.ProcWrite):
    """Write to a file in a private procfs."""

    __slots__ = ()


class Sethostname(records.Sethostname):
    """sethostname(2)."""

    __slots__ = ()


class Setdomainname(records.Setdomainname):
    """setdomainname(2)."""

    __slots__ = ()


class Hook(records.Hook):
    """Run a hook in the container's namespaces. timeout: in ms, 0 for none; inherit: with the env of the process."""

    __slots__ = ()

    def details(self) -> str:
        filtered = " under the filter" if self.filtered else ""
        return hook_text(self.path, self.args, None if self.inherit else self.env, self.timeout) + filtered


class Console(records.Console):
    """Create a terminal on the container's devpts, and send its master through the console socket."""

    __slots__ = ()

    def details(self) -> str:
        return f"{self.columns}x{self.rows} for uid {self.uid}{', bound on /dev/console' if self.bind else ''}"


class StdioOwner(records.StdioOwner):
    """Give descriptors 0-2 to the user."""

    __slots__ = ()

    def details(self) -> str:
        return str(self.uid)


class Keyring(records.Keyring):
    """Join a session keyring of this name."""

    __slots__ = ()

    def details(self) -> str:
        return self.keyring


class Setrlimit(records.Setrlimit):
    """setrlimit(2), or only the hard limit, to raise it."""

    __slots__ = ()

    def details(self) -> str:
        return f"{self.label} {f'up to {self.hard}' if self.upwards else f'{self.soft} {self.hard}'}"


class Environment(records.Environment):
    """Set the environment of the process."""

    __slots__ = ()


class Home(records.Home):
    """Set HOME from the container's passwd, if the environment lacks it."""

    __slots__ = ()

    def details(self) -> str:
        return f"of uid {self.uid}"


class Program(records.Program):
    """Set the arguments, and look argv[0] up."""

    __slots__ = ()


class Chdir(records.Chdir):
    """chdir(2), proved to be inside the root. deferred: errnos for which the next chdir tries again."""

    __slots__ = ()

    def details(self) -> str:
        return self.path + (" (or later, as the user)" if self.deferred else " (if not yet)")


class Bounding(records.Bounding):
    """Drop all but these capabilities from the bounding set."""

    __slots__ = ()

    def details(self) -> str:
        return words(bits(self.keep, CAPABILITY_NAMES)) or "none"


class User(records.User):
    """setgroups, setresgid, setresuid, umask. Capabilities are kept until Capset."""

    __slots__ = ()

    def shown(self) -> dict[str, Any]:
        return {**super().shown(), "umask": f"{self.umask:o}" if self.umask >= 0 else None}

    def details(self) -> str:
        return f"{self.uid}:{self.gid} groups [{words(self.groups)}] umask {self.umask:o}"


class CloseRange(records.CloseRange):
    """Close all descriptors but those of the process and those to the runtime."""

    __slots__ = ()


class Created(records.Created):
    """Report that the container is created, and wait for start."""

    __slots__ = ()

    def details(self) -> str:
        return "wait for start"


class SchedSetattr(records.SchedSetattr):
    """sched_setattr(2)."""

    __slots__ = ()

    def shown(self) -> dict[str, Any]:
        return {field: getattr(self, field) for field in self.fields}


class IoprioSet(records.IoprioSet):
    """ioprio_set(2)."""

    __slots__ = ()


class Personality(records.Personality):
    """personality(2)."""

    __slots__ = ()


class NoNewPrivs(records.NoNewPrivs):
    """prctl(2) PR_SET_NO_NEW_PRIVS."""

    __slots__ = ()


class Seccomp(records.Seccomp):
    """seccomp(2) with a compiled filter."""

    __slots__ = ()

    def shown(self) -> dict[str, Any]:
        flags = ((1, "TSYNC"), (2, "LOG"), (4, "SPEC_ALLOW"), (8, "NEW_LISTENER"), (32, "WAIT_KILLABLE_RECV"))
        return {"instructions": len(self.program) // 8, "flags": bits(self.flags, flags)}

    def details(self) -> str:
        return "{instructions} instructions".format_map(self.shown())


class Capset(records.Capset):
    """capset(2) and the ambient set."""

    __slots__ = ()

    def details(self) -> str:
        return ", ".join(f"{name} {words(names) or 'none'}" for name, names in self.shown().items())


class Execve(records.Execve):
    """execve(2) of the program."""

    __slots__ = ()
