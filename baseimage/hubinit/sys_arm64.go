// SPDX-License-Identifier: AGPL-3.0-or-later

package main

// sysMemfdCreate is memfd_create(2); package syscall does not name it everywhere.
const sysMemfdCreate = 279
