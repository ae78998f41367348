# SPDX-License-Identifier: Apache-2.0
"""Shows states and events as text. Pure functions. Every result ends with a newline."""

from __future__ import annotations

from collections.abc import Sequence
from time import localtime, strftime

from pyoci.cli.output import one_line
from pyoci.pod.inspection import NAMESPACES
from pyoci.pod.state import ContainerState, Event, Namespace, PodState, seconds


def pods(states: Sequence[PodState], now: float) -> str:
    """Returns the output of ``pod ps``: one line per pod."""
    rows = [("NAME", "STATUS", "READY", "RESTARTS", "AGE", "MANIFEST")]
    for state in states:
        containers = [one for one in state["containers"] if one["kind"] == "container"]
        ready = sum(one["status"] == "running" for one in containers) if state["phase"] != "Unknown" else 0
        restarts = sum(one["restarts"] for one in state["containers"])
        age = duration(now - seconds(state["created"])) if state["created"] else "-"
        count = f"{ready}/{len(containers)}"
        rows.append((state["name"], state["phase"], count, str(restarts), age, state["manifest"]))
    return columns(rows)


def inspection(state: PodState) -> str:
    """Returns the output of ``pod inspect``: the pod, its namespaces, network, containers and events."""
    parts = [_head(state), "\n" + matrix(state), "\n" + network(state), "\n" + containers(state), "\n" + history(state)]
    return "".join(parts)


def matrix(state: PodState) -> str:
    """Returns a row per running container and a column per namespace, with its inode and its owner.

    ``=`` marks the sandbox's namespace, and ``host`` the host's. A namespace without a mark is the container's own.
    """
    rows: list[tuple[str, ...]] = [("NAMESPACES", *(f"  {name}" for name in NAMESPACES))]
    for one in state["containers"]:
        found = one.get("namespaces")
        if found:
            cells = [_cell(one, found[name]) for name in NAMESPACES]
            rows.append((("pause" if one["kind"] == "sandbox" else one["name"]), *cells))
    if len(rows) == 1:
        return "NAMESPACES  none: nothing runs\n"
    return columns(rows) + "(= the same namespace as the sandbox's;  host: the machine's;  no mark: its own)\n"


def _cell(one: ContainerState, namespace: Namespace) -> str:
    if namespace["host"]:
        return "  host"
    mark = "= " if namespace["sandbox"] and one["kind"] != "sandbox" else "  "
    return f"{mark}{namespace['inode']}"


def network(state: PodState) -> str:
    """Returns the interfaces of the sandbox."""
    links = state.get("network")
    if state.get("networkError"):
        return f"NETWORK  unknown: {state['networkError']}\n"
    if not links:
        return "NETWORK  none\n"
    rows = [("NETWORK", "STATE", "MTU", "ADDRESSES")]
    for link in links:
        addresses = " ".join(link["addresses"]) or "-"
        rows.append((link["name"], "up" if link["up"] else "down", str(link["mtu"]), addresses))
    return columns(rows)


def containers(state: PodState) -> str:
    """Returns one line per container, in the order of their start."""
    rows = [("CONTAINERS", "KIND", "STATUS", "PID", "EXIT", "RESTARTS", "ID")]
    for one in state["containers"]:
        exit_code = "-" if one["code"] is None else str(one["code"])
        status = one["status"] + (f" ({one['reason']})" if one["reason"] else "")
        pid, restarts = str(one["pid"] or "-"), str(one["restarts"])
        rows.append((one["name"], one["kind"], status, pid, exit_code, restarts, one["id"]))
    return columns(rows)


def history(state: PodState) -> str:
    """Returns one line per event, with seconds since the start of the pod."""
    lines = ["EVENTS\n"]
    width = max((len(event["container"]) for event in state["events"]), default=0)
    lines += [event_line(event, seconds(state["created"]), width) for event in state["events"]]
    return "".join(lines)


def event_line(event: Event, begin: float | None, width: int) -> str:
    """Returns the line of an event. begin: the time that counts as 0, or None to show the time of day."""
    time = seconds(event["time"])
    when = clock(time) if begin is None else f"{time - begin:+10.3f} s"
    text = f"  {when}  {event['container'] or 'pod':<{max(width, 3)}}  {event['event']}"
    return text + (f": {one_line(event['detail'])}" if event["detail"] else "") + "\n"


def columns(rows: Sequence[Sequence[str]]) -> str:
    """Returns rows of cells as text, with aligned columns and two blanks between them."""
    rows = [[one_line(cell) for cell in row] for row in rows]
    widths = [max(len(cell) for cell in column) for column in zip(*rows, strict=True)]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    return "\n".join(lines) + "\n"


def duration(age: float) -> str:
    """Returns an age in its largest unit and the next one: 12s, 3m05s, 2h10m, 5d3h."""
    whole = max(0, int(age))
    if whole < 60:
        return f"{whole}s"
    if whole < 3600:
        return f"{whole // 60}m{whole % 60:02d}s"
    if whole < 86400:
        return f"{whole // 3600}h{whole % 3600 // 60:02d}m"
    return f"{whole // 86400}d{whole % 86400 // 3600}h"


def clock(time: float) -> str:
    """Returns the local time of day with milliseconds."""
    milliseconds = int(time * 1000) % 1000
    return strftime("%H:%M:%S", localtime(time)) + f".{milliseconds:03d}"


def _head(state: PodState) -> str:
    rows = [
        ("POD", state["name"]),
        ("status", state["phase"] + (f": {state['reason']}" if state["reason"] else "")),
        ("manifest", state["manifest"]),
        ("supervisor", f"pid {state['supervisor']}"),
        ("policy", f"restart {state['restartPolicy']}, grace period {state['grace']} s, "
                   f"pid namespace {'shared' if state['shareProcessNamespace'] else 'not shared'}"),
    ]  # fmt: skip
    if state["labels"]:
        rows.append(("labels", " ".join(f"{key}={value}" for key, value in state["labels"].items())))
    return columns(rows)
