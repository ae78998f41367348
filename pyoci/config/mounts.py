# SPDX-License-Identifier: Apache-2.0
"""An entry of ``mounts``, normalised: its target, its kind, and its options sorted by purpose.

Sources: config.md "Mounts" of the specification, mount(8), mount_setattr(2).
"""

from __future__ import annotations

from pyoci.kernel.mounts import ATIME, ATTRIBUTES, IGNORED, PROPAGATION, RECURSIVE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyoci.config import documents

    Bits = tuple[int, int]  # attributes to set, and to clear

# The kinds of mounts. A remount changes the attributes of an existing mount. cgroup is that of the container's groups.
BIND, REMOUNT, CGROUP, FILE_SYSTEM = "bind", "remount", "cgroup", "file system"


class MountConfig:
    """A mount.

    where: JSON pointer of the entry; target: absolute and clean; kind: one of the four above; fs_type, source: as
    written, "" for none; recursive: whether a bind includes the mounts below its source; attr, recursive_attr: (to set,
    to clear); propagation: MS_* or 0; data: all other options, for the file system.
    """

    __slots__ = (
        "attr",
        "copy_up",
        "data",
        "fs_type",
        "kind",
        "propagation",
        "propagation_recursive",
        "recursive",
        "recursive_attr",
        "source",
        "target",
        "where",
    )

    def __init__(self, mount: documents.Mount, where: str) -> None:
        self.where = where
        self.target = clean(mount["destination"])
        self.fs_type = mount.get("type", "")
        self.source = mount.get("source", "")
        self.attr: Bits = (0, 0)
        self.recursive_attr: Bits = (0, 0)
        self.propagation = 0
        self.propagation_recursive = False
        self.data: list[str] = []
        self.copy_up = False
        self.recursive = self.fs_type == "rbind"
        self.kind = FILE_SYSTEM
        if self.fs_type in ("bind", "rbind"):  # as engines write it; in the specification only the options say so
            self.kind = BIND
        elif self.fs_type in ("cgroup", "cgroup2"):
            self.kind = CGROUP
        for option in mount.get("options", ()):
            if "," in option:  # several in one text, as mount(8) accepts them
                for part in option.split(","):
                    self._take(part)
            else:
                self._take(option)

    def _take(self, option: str) -> None:
        if option in ATTRIBUTES:
            self.attr = _merged(self.attr, ATTRIBUTES[option])
        elif option in RECURSIVE:
            self.recursive_attr = _merged(self.recursive_attr, RECURSIVE[option])
        elif option in PROPAGATION:
            self.propagation, self.propagation_recursive = PROPAGATION[option], False
        elif option[:1] == "r" and option[1:] in PROPAGATION:
            self.propagation, self.propagation_recursive = PROPAGATION[option[1:]], True
        elif option in ("bind", "rbind"):
            self.recursive = option == "rbind"
            if self.kind != REMOUNT:
                self.kind = BIND
        elif option == "remount":
            self.kind = REMOUNT
        elif option == "tmpcopyup":
            self.copy_up = True
        elif option not in IGNORED and option:
            self.data.append(option)


def clean(path: str) -> str:
    """Returns a path in the container: absolute, without ``.``, ``..`` and doubled slashes.

    Symlinks are not resolved.
    """
    if path[:1] == "/" and "//" not in path and "/." not in path and (path[-1] != "/" or path == "/"):
        return path
    parts: list[str] = []
    for part in path.split("/"):
        if part == "..":
            del parts[-1:]
        elif part not in ("", "."):
            parts.append(part)
    return "/" + "/".join(parts)


def _merged(old: Bits, new: Bits) -> Bits:
    """Returns the attributes with new ones applied: later options win, bit by bit. atime is a field of several bits."""
    set_, clear = new
    if set_ & ATIME or clear & ATIME:
        old = (old[0] & ~ATIME, old[1] & ~ATIME)
    return (old[0] & ~clear) | set_, (old[1] & ~set_) | clear
