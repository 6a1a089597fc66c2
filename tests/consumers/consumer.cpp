// SPDX-License-Identifier: BSL-1.0
// A user's program: proves that the build system found the headers.
#include <wg/wg.hpp>

#include <cstdio>

int main() { std::printf("%s\n", wg::name_of(wg::status::no_endpoint)); }
