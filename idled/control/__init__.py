# SPDX-License-Identifier: LGPL-2.1-or-later
"""The control interface: a varlink service (varlink.org) and its client. Nothing here knows the daemon."""
