#!/usr/bin/env python3
# SPDX-License-Identifier: BSL-1.0
"""Skips the tests of a library that this build does not have, with the reason. missing_backend.py NAME"""
import os
import sys

print(f"skip everything: no {sys.argv[1]} in this build", os.environ.get(f"WG_NO_{sys.argv[1].upper()}", ""))
sys.exit(77)
