# SPDX-License-Identifier: LGPL-2.1-or-later
"""Tests in real, booted guests, and the harness that boots them."""
