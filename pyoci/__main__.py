# SPDX-License-Identifier: Apache-2.0
"""``python3 -m pyoci``: the same program as the installed command."""

from __future__ import annotations

import sys

from pyoci.cli.main import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
