# SPDX-License-Identifier: LGPL-2.1-or-later
"""A private sshd on loopback, and real clients."""
