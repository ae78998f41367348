# SPDX-License-Identifier: Apache-2.0
"""Makes an OCI image archive from the directory of a root file system, with the same bytes each time.

    python3 bundles/image.py --rootfs DIR --name localhost/NAME:TAG --output FILE.tar [--user U] [--entrypoint ARG]...

The archive is an OCI image layout (image-spec: image-layout.md) in a tar file: `podman load -i FILE` and
`ctr images import FILE` accept it. It contains one image with one layer for one platform. The layer is not
compressed, because the output of a compressor may differ between its versions.

The type, permissions, content and links of each file are kept. The owner becomes root and the time becomes
SOURCE_DATE_EPOCH (0 if unset), so that the image does not show who built it. Extended attributes are dropped.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import io
import json
import os
import platform
import sys
import tarfile
import tempfile
from typing import IO, Any

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"
CONFIG = "application/vnd.oci.image.config.v1+json"
LAYER = "application/vnd.oci.image.layer.v1.tar"
# image-spec names platforms as Go does.
ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}


class ImageError(Exception):
    """An image that cannot be made. The text is one line."""


def digest(data: bytes) -> str:
    """Returns the digest of a blob, in the form of image-spec."""
    return "sha256:" + hashlib.sha256(data).hexdigest()


def blob_path(name: str) -> str:
    """Returns where the layout keeps the blob of a digest."""
    return "blobs/" + name.replace(":", "/")


def walk(rootfs: str) -> list[str]:
    """Returns all paths below `rootfs`, relative to it, sorted; links are named, not followed."""
    found = []
    for directory, directories, files in os.walk(rootfs, onerror=_refuse):
        found += [os.path.relpath(os.path.join(directory, name), rootfs) for name in directories + files]
    return sorted(found)


def _refuse(error: OSError) -> None:
    raise error


def _add(tar: tarfile.TarFile, rootfs: str, name: str, epoch: int) -> None:
    path = os.path.join(rootfs, name)
    info = tar.gettarinfo(path, name)
    # gettarinfo returns None for a socket, which tar cannot hold, whatever its annotation says.
    if not isinstance(info, tarfile.TarInfo):
        raise ImageError(f"read {path}: a socket cannot be in an image; remove it")
    info.uid = info.gid = 0
    info.uname = info.gname = ""
    info.mtime = epoch
    if info.isreg():
        with open(path, "rb") as content:
            tar.addfile(info, content)
    else:
        tar.addfile(info)


def write_layer(rootfs: str, out: IO[bytes], epoch: int) -> None:
    """Writes the files below `rootfs` as a tar file to `out`."""
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for name in walk(rootfs):
            _add(tar, rootfs, name, epoch)


def config_document(diff_id: str, architecture: str, created: str, process: dict[str, Any]) -> dict[str, Any]:
    """Returns the image configuration (image-spec: config.md)."""
    return {
        "created": created,
        "architecture": architecture,
        "os": "linux",
        "config": process,
        "rootfs": {"type": "layers", "diff_ids": [diff_id]},
        "history": [{"created": created, "created_by": "pyoci bundles/image.py"}],
    }


def descriptor(media_type: str, name: str, size: int, **more: Any) -> dict[str, Any]:
    """Returns a content descriptor (image-spec: descriptor.md)."""
    return {"mediaType": media_type, "digest": name, "size": size, **more}


def index_document(manifest: bytes, architecture: str, name: str) -> dict[str, Any]:
    """Returns index.json of the layout. podman takes the image's name from the first annotation, containerd from the
    second."""
    annotations = {"org.opencontainers.image.ref.name": name, "io.containerd.image.name": name}
    entry = descriptor(
        MANIFEST,
        digest(manifest),
        len(manifest),
        platform={"architecture": architecture, "os": "linux"},
        annotations=annotations,
    )
    return {"schemaVersion": 2, "mediaType": INDEX, "manifests": [entry]}


def encode(document: dict[str, Any]) -> bytes:
    """Returns JSON in a canonical form, so that equal documents have equal digests."""
    return json.dumps(document, sort_keys=True, separators=(",", ":")).encode()


def write_archive(
    out: IO[bytes], layer: io.BufferedRandom, name: str, architecture: str, process: dict[str, Any]
) -> None:
    """Writes the whole layout to `out`, its times all 0. The layer's own times are what `layer` holds."""
    layer.seek(0)
    layer_digest = "sha256:" + hashlib.file_digest(layer, "sha256").hexdigest()
    layer_size = layer.tell()
    config = encode(config_document(layer_digest, architecture, created_text(), process))
    manifest = encode(
        {
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": descriptor(CONFIG, digest(config), len(config)),
            "layers": [descriptor(LAYER, layer_digest, layer_size)],
        }
    )
    texts = {blob_path(digest(blob)): blob for blob in (config, manifest)}
    texts["index.json"] = encode(index_document(manifest, architecture, name))
    texts["oci-layout"] = encode({"imageLayoutVersion": "1.0.0"})
    members: dict[str, tuple[IO[bytes], int]] = {path: (io.BytesIO(text), len(text)) for path, text in texts.items()}
    layer.seek(0)
    members[blob_path(layer_digest)] = (layer, layer_size)
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for path in ("blobs", "blobs/sha256"):
            folder = tarfile.TarInfo(path)
            folder.type, folder.mode = tarfile.DIRTYPE, 0o755
            tar.addfile(folder)
        for path, (content, size) in sorted(members.items()):
            info = tarfile.TarInfo(path)
            info.size = size
            tar.addfile(info, content)


def epoch_seconds() -> int:
    """SOURCE_DATE_EPOCH (reproducible-builds.org), seconds since 1970; 0 if unset."""
    text = os.environ.get("SOURCE_DATE_EPOCH", "0")
    if not text.isdecimal():
        raise ImageError(f"SOURCE_DATE_EPOCH: {text!r} is not a number of seconds")
    return int(text)


def created_text() -> str:
    """Returns the time of creation in the form of RFC 3339."""
    from datetime import UTC, datetime

    return datetime.fromtimestamp(epoch_seconds(), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def make(rootfs: str, name: str, output: str, process: dict[str, Any], architecture: str) -> None:
    """Makes the archive at `output` of the directory `rootfs`, by rename. Raises ImageError and OSError."""
    if not os.path.isdir(rootfs):
        raise ImageError(f"read {rootfs}: not a directory; make the root file system first")
    folder = os.path.dirname(os.path.abspath(output))
    partial = tempfile.NamedTemporaryFile(dir=folder, prefix=".image-", delete=False)
    try:
        with partial, tempfile.TemporaryFile(dir=folder) as layer:
            write_layer(rootfs, layer, epoch_seconds())
            write_archive(partial, layer, name, architecture, process)
        os.chmod(partial.name, 0o644)
        os.rename(partial.name, output)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(partial.name)
        raise


def arguments() -> argparse.Namespace:
    """Returns the parser of the command line."""
    parser = argparse.ArgumentParser(description="Make an OCI image archive of a root file system directory.")
    parser.add_argument("--rootfs", required=True, help="directory with the image's files")
    parser.add_argument("--name", required=True, help="name of the image, such as localhost/pyoci-pause:0.1")
    parser.add_argument("--output", required=True, help="tar file to write")
    parser.add_argument("--entrypoint", action="append", metavar="ARG", help="one argument of the entry point")
    parser.add_argument("--command", action="append", metavar="ARG", help="one argument of the default command")
    parser.add_argument("--env", action="append", metavar="NAME=VALUE", help="one variable of the environment")
    parser.add_argument("--user", help="user, or user:group")
    machine = platform.machine()
    parser.add_argument("--architecture", default=ARCHITECTURES.get(machine, machine), help="as Go names it")
    return parser.parse_args()


def main() -> int:
    """Parses the command line and makes the archive."""
    given = arguments()
    wanted = {"Entrypoint": given.entrypoint, "Cmd": given.command, "Env": given.env, "User": given.user}
    process = {key: value for key, value in wanted.items() if value}
    try:
        make(given.rootfs, given.name, given.output, process, given.architecture)
    except ImageError as error:
        print(f"image: {error}", file=sys.stderr)
        return 1
    except OSError as error:
        reason = error.strerror or str(error)
        print(f"image: make {given.output}: {error.filename or given.rootfs}: {reason.lower()}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
