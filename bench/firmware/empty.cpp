// SPDX-License-Identifier: BSL-1.0
// What a program costs that does nothing.
int main() {
    for (;;) {}
}
