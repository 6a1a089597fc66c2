// SPDX-License-Identifier: BSL-1.0
// All bundled primitives of the protocol. They need no cryptographic library.
// Folder: backends/bundled; any thread.
#ifndef WG_BACKENDS_BUNDLED_BUNDLED_HPP
#define WG_BACKENDS_BUNDLED_BUNDLED_HPP

#include "aead.hpp"
#include "blake2s.hpp"
#include "cpu.hpp"
#include "x25519.hpp"

#endif
