# SPDX-License-Identifier: Apache-2.0
"""pyoci: an OCI container runtime; docs/design.md says which room holds what."""

VERSION = "0.1.0"
SPEC_VERSION = "1.3.0"
