// SPDX-License-Identifier: BSL-1.0
// The version of wg, for `#if` and for messages. Folder: base; macros only.
// What a change of each number means: docs/compatibility.md. tests/version.py compares the numbers with meson.build.
#ifndef WG_BASE_VERSION_HPP
#define WG_BASE_VERSION_HPP

/// Grows when a program that uses the API may have to change.
#define WG_VERSION_MAJOR 0
/// Grows when the API gets something new. While the major version is 0, a program may have to change as well.
#define WG_VERSION_MINOR 1
/// Grows when something was mended.
#define WG_VERSION_PATCH 0

/// The version as one number that `#if` can compare: 1.2.3 is 10203.
#define WG_VERSION (WG_VERSION_MAJOR * 10000 + WG_VERSION_MINOR * 100 + WG_VERSION_PATCH)

/// For `WG_VERSION_STRING` only: makes three tokens a string.
#define WG_VERSION_QUOTE(major, minor, patch) #major "." #minor "." #patch
/// For `WG_VERSION_STRING` only: expands three macros and makes a string of them.
#define WG_VERSION_TEXT(major, minor, patch) WG_VERSION_QUOTE(major, minor, patch)
/// The version as a string literal: "1.2.3".
#define WG_VERSION_STRING WG_VERSION_TEXT(WG_VERSION_MAJOR, WG_VERSION_MINOR, WG_VERSION_PATCH)

#endif
