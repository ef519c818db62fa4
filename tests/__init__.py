# SPDX-License-Identifier: LGPL-2.1-or-later
"""The tests: unit tests mirror the package, guest tests run on booted Debian 12 and 13."""
