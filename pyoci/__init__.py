# SPDX-License-Identifier: Apache-2.0
"""pyoci: an OCI container runtime; docs/design.md describes its packages."""

VERSION = "0.1.0"
SPEC_VERSION = "1.3.0"
