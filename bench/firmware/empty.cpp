// SPDX-License-Identifier: BSL-1.0
// A program that does nothing. Its size is subtracted from that of image.cpp.
int main() {
    for (;;) {}
}
