# SPDX-License-Identifier: Apache-2.0
"""The command line. Each verb is a module that parses flags, calls one function of ``container/`` and prints."""
