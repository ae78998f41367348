# SPDX-License-Identifier: Apache-2.0
"""Generates Python checks and types from the JSON Schemas of this directory.

    python3 schema/generate.py DIRECTORY

writes two modules there. ``checks.py`` has one function for each document (process, config, state). It takes a
document, as returned by jsontext.loads, and returns None, or ``(path, allowed)`` for the first fault: the path as a
tuple of property names and indexes, and a text that says what is allowed there. It imports nothing.
``documents.pyi`` has the documents as TypedDicts (typeddicts.py), so that mypy finds a misspelt property.

Supported is the part of JSON Schema (draft 2020-12) that the schemas here use. Anything else is an error at build time.
There is one difference from the standard: 1.0 is not an integer, as in Go's decoders.
"""

from __future__ import annotations

import os
import sys
from typing import Any

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HERE, os.path.dirname(HERE)]

import typeddicts  # noqa: E402 - both are found through the path above

from pyoci.config import schemas  # noqa: E402

Schema = dict[str, Any]

HEADER = '''\
# SPDX-License-Identifier: Apache-2.0
# Written by schema/generate.py from the JSON Schemas; changes here are lost.
"""Checks of documents. Each function returns None, or the path of the first fault and what is allowed there."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    Fault = tuple[tuple[str | int, ...], str]

LOWER = "abcdefghijklmnopqrstuvwxyz"
DIGITS = "0123456789"
WORD = LOWER + LOWER.upper() + DIGITS
'''

# The patterns of the schemas, each with the function that checks it, and words. A test compares the first two.
SUFFIX = "(-[0-9A-Za-z.-]+)?(\\+[0-9A-Za-z.-]+)?$"
NUMBER = "(0|[1-9][0-9]*)"
PATTERNS = {
    "^[^\\u0000]*$": ("is_text", "a text without NUL"),
    "^/[^\\u0000]*$": ("is_absolute", "an absolute path"),
    "^(/[^\\u0000]*)?$": ("is_absolute_or_empty", "an absolute path, or an empty text"),
    "^[^\\u0000\\n]*$": ("is_line", "a text in one line"),
    "^[^=\\u0000]+=[^\\u0000]*$": ("is_variable", "NAME=VALUE"),
    "^MB:[^\\u0000\\n]*$": ("is_bandwidth", "MB: and the rest, in one line"),
    f"^1\\.{NUMBER}\\.{NUMBER}{SUFFIX}": ("is_known_version", "1.MINOR.PATCH, such as 1.3.0"),
    "^[0-9, -]*$": ("is_list", "numbers and ranges, such as 0-3,7"),
    "^[rwm]*$": ("is_access", "a text of the letters r, w, m"),
    "^[A-Za-z0-9_]+$": ("is_syscall", "a name of letters, digits and _"),
    "^[A-Za-z0-9_-]+(\\.[A-Za-z0-9_-]+)+$": ("is_cgroup_file", "a name such as memory.high"),
    "^[A-Za-z0-9_:@-]+([./][A-Za-z0-9_:@-]+)+$": ("is_parameter", "a name such as net.ipv4.ip_forward"),
    "^(?!\\.{1,2}$)[A-Za-z0-9_+.-]+$": ("is_id", "letters, digits and _ + - ."),
    "^(?!\\.{1,2}$)[^/:\\u0000-\\u0020]*$": ("is_interface", "a text without / : and space"),
    "^[1-9][0-9]*[KMG]B$": ("is_page_size", "a size such as 2MB"),
    "^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\\.[0-9]+)?Z$": (
        "is_time",
        "a time such as 2026-01-02T03:04:05Z",
    ),
}

# Functions that check all texts of an array at once.
TOGETHER = {"is_syscall": "are_syscalls"}

HELPERS = '''
def is_text(text: str) -> bool:
    return "\\0" not in text


def is_absolute(text: str) -> bool:
    return text[:1] == "/" and is_text(text)


def is_absolute_or_empty(text: str) -> bool:
    return not text or is_absolute(text)


def is_line(text: str) -> bool:
    return "\\n" not in text and is_text(text)


def is_variable(text: str) -> bool:
    return text.find("=") > 0 and is_text(text)


def is_bandwidth(text: str) -> bool:
    return text[:3] == "MB:" and is_line(text)


def is_word(text: str, letters: str) -> bool:
    """Returns whether the text is not empty and has only characters of ``letters``."""
    return text != "" and not text.strip(letters)


def is_number(text: str) -> bool:
    return text == "0" or (is_word(text, DIGITS) and text[0] != "0")


def is_version(text: str) -> bool:
    """Returns whether the text is a semantic version; the rules of its suffixes are not checked."""
    rest, plus, build = text.partition("+")
    core, minus, release = rest.partition("-")
    if (plus and not is_word(build, WORD + ".-")) or (minus and not is_word(release, WORD + ".-")):
        return False
    numbers = core.split(".")
    return len(numbers) == 3 and all(is_number(number) for number in numbers)


def is_known_version(text: str) -> bool:
    return text[:2] == "1." and is_version(text)


def is_list(text: str) -> bool:
    return not text or is_word(text, DIGITS + ", -")


def is_access(text: str) -> bool:
    return not text or is_word(text, "rwm")


def is_syscall(text: str) -> bool:
    return is_word(text, WORD + "_")


def are_syscalls(texts: list[Any]) -> bool:
    """Returns whether is_syscall holds for each."""
    try:
        return "" not in texts and is_syscall("".join(texts))
    except TypeError:
        return False


def is_cgroup_file(text: str) -> bool:
    parts = text.split(".")
    return len(parts) > 1 and all(is_word(part, WORD + "_-") for part in parts)


def is_parameter(text: str) -> bool:
    parts = text.replace("/", ".").split(".")
    return len(parts) > 1 and all(is_word(part, WORD + "_:@-") for part in parts)


def is_id(text: str) -> bool:
    return text not in (".", "..") and is_word(text, WORD + "_+.-")


def is_interface(text: str) -> bool:
    if text in (".", ".."):
        return False
    return not any(char in "/:" or char <= " " for char in text)


def is_page_size(text: str) -> bool:
    return text[-2:] in ("KB", "MB", "GB") and text[:1] != "0" and is_word(text[:-2], DIGITS)


def is_time(text: str) -> bool:
    date, _, clock = text.partition("T")
    clock, dot, fraction = clock[:-1].partition(".")
    shapes = [(date, "-", (4, 2, 2)), (clock, ":", (2, 2, 2))]
    if text[-1:] != "Z" or (dot and not is_word(fraction, DIGITS)):
        return False
    for part, mark, lengths in shapes:
        fields = part.split(mark)
        if [len(field) for field in fields] != list(lengths) or not all(is_word(field, DIGITS) for field in fields):
            return False
    return True
'''

KEYWORDS = {
    "title", "description", "type", "enum", "minimum", "maximum", "minLength", "maxLength",
    "minItems", "pattern", "properties", "required", "propertyNames", "additionalProperties", "items",
    "if", "then", "anyOf",
}  # fmt: skip
TYPES = {"string": "str", "integer": "int", "boolean": "bool"}
# Parts of config come first, so that their functions are called by their own names where config has them inside.
DOCUMENTS = ("resources", "process", "config", "state")


class Compiler:
    """Collects the functions of a module. An object of a schema becomes one function, and so does a shared one."""

    def __init__(self) -> None:
        self._functions: list[str] = []
        self._names: dict[str, str] = {}

    def function(self, schema: Schema, name: str) -> str:
        """Returns the name of the function that checks this schema. Equal schemas share one."""
        key = repr(schema)
        if key in self._names:
            return self._names[key]
        if name in self._names.values():
            raise SystemExit(f"generate.py: two functions would be called {name}")
        self._names[key] = name
        lines = [f"def {name}(value: Any) -> Fault | None:", *self._body(schema, name), "    return None"]
        self._functions.append("\n".join(lines))
        return name

    def text(self) -> str:
        """Returns the module."""
        return HEADER + "\n" + HELPERS + "\n\n" + "\n\n\n".join(self._functions) + "\n"

    def _body(self, schema: Schema, name: str) -> list[str]:
        """Returns lines that check ``value`` against an object schema."""
        unknown = set(schema) - KEYWORDS
        if unknown:
            raise SystemExit(f"generate.py: {name}: keywords {sorted(unknown)} are not compiled")
        lines = ["    if type(value) is not dict:", f"        return (), {allowed(schema)!r}"]
        for prop, child in schema.get("properties", {}).items():
            inner = self._value(child, "item", f"{prop!r},", f"_{name.lstrip('_')}_{prop.lower()}", 2)
            lines += [f"    if {prop!r} in value:", f"        item = value[{prop!r}]", *inner]
            if prop in schema.get("required", ()):
                lines += ["    else:", f"        return ({prop!r},), {allowed(child)!r}"]
        if "additionalProperties" in schema:
            lines += self._map(schema, name)
        if "if" in schema:
            lines += self._condition(schema)
        if "anyOf" in schema:
            names = [only["required"][0] for only in schema["anyOf"] if set(only) == {"required"}]
            absent = " and ".join(f"{prop!r} not in value" for prop in names)
            lines += [f"    if {absent}:", f"        return (), {allowed(schema)!r}"]
        return lines

    def _map(self, schema: Schema, name: str) -> list[str]:
        """Returns lines that check every property of an object that is a map."""
        if "properties" in schema:
            raise SystemExit(f"generate.py: {name}: properties beside additionalProperties are not compiled")
        lines = ["    for key, item in value.items():"]
        if "propertyNames" in schema:
            lines += self._value({"type": "string", **schema["propertyNames"]}, "key", "key,", "", 2)
        return lines + self._value(schema["additionalProperties"], "item", "key,", f"{name}_item", 2)

    def _condition(self, schema: Schema) -> list[str]:
        """Returns lines for ``if`` one property has one of some values, ``then`` others are required."""
        ((prop, test),) = schema["if"]["properties"].items()
        lines = [f"    if {prop!r} not in value or value[{prop!r}] in {tuple(test['enum'])!r}:"]
        for needed in schema["then"]["required"]:
            hint = allowed(schema["properties"][needed])
            lines += [f"        if {needed!r} not in value:", f"            return ({needed!r},), {hint!r}"]
        return lines

    def _value(self, schema: Schema, variable: str, path: str, name: str, level: int) -> list[str]:
        """Returns lines that check a value of any type. path: its path, as the source of a tuple without
        parentheses."""
        pad = "    " * level
        if schema.get("type") == "object":
            inner = self.function(schema, name)
            return [
                f"{pad}fault = {inner}({variable})",
                f"{pad}if fault is not None:",
                f"{pad}    return ({path} *fault[0]), fault[1]",
            ]
        if schema.get("type") == "array":
            return self._array(schema, variable, path, name, level)
        return [f"{pad}if {scalar_test(schema, variable)}:", f"{pad}    return ({path}), {allowed(schema)!r}"]

    def _array(self, schema: Schema, variable: str, path: str, name: str, level: int) -> list[str]:
        pad = "    " * level
        test = f"type({variable}) is not list"
        if "minItems" in schema:
            test += f" or len({variable}) < {schema['minItems']}"
        lines = [f"{pad}if {test}:", f"{pad}    return ({path}), {allowed(schema)!r}"]
        helper, _ = PATTERNS.get(schema["items"].get("pattern", ""), ("", ""))
        if helper in TOGETHER:  # most are right, and then the loop that finds the wrong one is spared
            lines.append(f"{pad}for index, entry in () if {TOGETHER[helper]}({variable}) else enumerate({variable}):")
        else:
            lines.append(f"{pad}for index, entry in enumerate({variable}):")
        return lines + self._value(schema["items"], "entry", f"{path} index,", f"{name}_item", level + 1)


def scalar_test(schema: Schema, variable: str) -> str:
    """Returns a condition that holds if a text, a number, a truth value or a value of an enumeration is wrong."""
    unknown = set(schema) - KEYWORDS
    if unknown:
        raise SystemExit(f"generate.py: keywords {sorted(unknown)} are not compiled")
    if "enum" in schema:
        return f"type({variable}) is not str or {variable} not in {tuple(schema['enum'])!r}"
    test = f"type({variable}) is not {TYPES[schema['type']]}"
    if "minimum" in schema:
        test += f" or not {schema['minimum']} <= {variable} <= {schema['maximum']}"
    if "minLength" in schema:
        test += f" or len({variable}) < {schema['minLength']}"
    if "maxLength" in schema:
        test += f" or len({variable}) > {schema['maxLength']}"
    if "pattern" in schema:
        test += f" or not {PATTERNS[schema['pattern']][0]}({variable})"
    return test


def allowed(schema: Schema) -> str:
    """Returns what is allowed at a place, in a few words: ``an integer from 0 to 4294967294 (user id)``."""
    kind = schema.get("type", "string")
    words = {"object": "an object", "array": "an array", "string": "a text", "boolean": "true or false"}
    if "enum" in schema:
        form = "one of " + ", ".join(filter(None, schema["enum"]))
    elif kind == "integer":
        form = f"an integer from {schema['minimum']} to {schema['maximum']}"
    elif "pattern" in schema:
        form = PATTERNS[schema["pattern"]][1]
    else:
        form = words[kind]
    if "maxLength" in schema:
        form += f" of at most {schema['maxLength']} characters"
    if schema.get("minLength") or schema.get("minItems"):
        form += ", not empty"
    return f"{form} ({schema['description']})"


def main(directory: str) -> None:
    """Writes checks.py and documents.pyi to a directory, which is created if it is missing."""
    os.makedirs(directory, exist_ok=True)
    compiler = Compiler()
    for name in DOCUMENTS:
        compiler.function(schemas.load(name, HERE), name)
    write(os.path.join(directory, "checks.py"), compiler.text())
    types = typeddicts.Writer()
    for name in schemas.NAMES:
        types.add(schemas.load(name, HERE))
    write(os.path.join(directory, "documents.pyi"), types.text())


def write(output: str, text: str) -> None:
    """Writes a file in one step, so that an interrupted build leaves no partial file."""
    temporary = f"{output}.{os.getpid()}"
    with open(temporary, "w", encoding="ascii") as stream:
        stream.write(text)
    os.rename(temporary, output)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        raise SystemExit("usage: generate.py DIRECTORY")
    main(sys.argv[1])
