# SPDX-License-Identifier: Apache-2.0
"""The command line: one module a verb, which parses flags, calls one function of ``container/`` and prints."""
