// SPDX-License-Identifier: BSL-1.0
// A user's program that is linked with kernels of another object: proves that the build system compiled them.
#include <wg/wg.hpp>

#include <cstdio>

int main() {
    wg::secret<wg::key_bytes> own_key; // Alice's key of RFC 7748, section 6.1
    if (!wg::text::parse_base64_key("dwdtCnMYpX08FsFyUbJmRd9ML4frwJkqsXf7pR25LCo=", own_key.expose())) return 1;
    std::printf("%s\n", wg::text::print_base64_key(wg::public_key_of(own_key)).c_str());
}
