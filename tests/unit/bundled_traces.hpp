// SPDX-License-Identifier: BSL-1.0
// Captures the registers directly after an operation returns, and the stack on which it ran.
#ifndef WG_TESTS_UNIT_BUNDLED_TRACES_HPP
#define WG_TESTS_UNIT_BUNDLED_TRACES_HPP

#include "bundled_stack.hpp"

#if defined(WG_TESTS_CAN_SEARCH_STACK) && defined(__x86_64__)
#define WG_TESTS_CAN_SEARCH_REGISTERS

#include "wg/backends/bundled/cpu.hpp"

#include <map>
#include <set>
#include <string>

namespace wg_tests {

/// The vector registers and the caller-saved general registers, directly after a function returns.
struct register_image {
    alignas(64) wg::byte vectors[32 * 64] = {};
    std::uint64_t general[9] = {};
};

/// The bytes of a vector register that code for `set` can address.
inline std::size_t register_bytes(wg::bundled::cpu set) {
    return has(set, wg::bundled::cpu::avx512) ? 64 : has(set, wg::bundled::cpu::avx2) ? 32 : 16;
}

/// Clears the registers, calls `function(argument)` and stores the registers in `image` with a few moves. Of the vector
/// registers it stores only the bytes that code for `set` can address.
[[gnu::noinline]] inline void call_and_capture(void (*function)(void*), void* argument, wg::bundled::cpu set,
                                               register_image& image) {
    std::size_t const cleared = register_bytes(wg::bundled::detect_cpu()), width = register_bytes(set);
    asm volatile("mov %%rsp, %%rbx\n\t" // the red zone of this frame may be in use
                 "and $-64, %%rsp\n\t"
                 "sub $192, %%rsp\n\t"
                 "cmp $32, %[cleared]\n\t"
                 "ja 5f\n\t"
                 "je 4f\n\t"
                 ".irp n,0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15\n\t"
                 "pxor %%xmm\\n, %%xmm\\n\n\t"
                 ".endr\n\t"
                 "jmp 6f\n"
                 "5:\n\t"
                 ".irp n,16,17,18,19,20,21,22,23,24,25,26,27,28,29,30,31\n\t"
                 "vpxorq %%zmm\\n, %%zmm\\n, %%zmm\\n\n\t"
                 ".endr\n"
                 "4:\n\t"
                 "vzeroall\n"
                 "6:\n\t"
                 "xor %%eax, %%eax\n\t"
                 "xor %%ecx, %%ecx\n\t"
                 "xor %%edx, %%edx\n\t"
                 "xor %%esi, %%esi\n\t"
                 "xor %%r8d, %%r8d\n\t"
                 "xor %%r9d, %%r9d\n\t"
                 "xor %%r10d, %%r10d\n\t"
                 "xor %%r11d, %%r11d\n\t"
                 "call *%[function]\n\t"
                 "mov %%rbx, %%rsp\n\t"
                 "mov %%rax, 2048(%[image])\n\t"
                 "mov %%rcx, 2056(%[image])\n\t"
                 "mov %%rdx, 2064(%[image])\n\t"
                 "mov %%rsi, 2072(%[image])\n\t"
                 "mov %%rdi, 2080(%[image])\n\t"
                 "mov %%r8, 2088(%[image])\n\t"
                 "mov %%r9, 2096(%[image])\n\t"
                 "mov %%r10, 2104(%[image])\n\t"
                 "mov %%r11, 2112(%[image])\n\t"
                 "cmp $32, %[width]\n\t"
                 "ja 2f\n\t"
                 "je 1f\n\t"
                 ".irp n,0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15\n\t"
                 "movdqu %%xmm\\n, \\n*64(%[image])\n\t"
                 ".endr\n\t"
                 "jmp 3f\n"
                 "1:\n\t"
                 ".irp n,0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15\n\t"
                 "vmovdqu %%ymm\\n, \\n*64(%[image])\n\t"
                 ".endr\n\t"
                 "jmp 3f\n"
                 "2:\n\t"
                 ".irp n,0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23,24,25,26,27,28,29,30,31\n\t"
                 "vmovdqu64 %%zmm\\n, \\n*64(%[image])\n\t"
                 ".endr\n"
                 "3:"
                 : "+D"(argument)
                 : [function] "r"(function), [image] "r"(&image), [width] "r"(width), [cleared] "r"(cleared)
                 : "rax", "rbx", "rcx", "rdx", "rsi", "r8", "r9", "r10", "r11", "xmm0", "xmm1", "xmm2", "xmm3", "xmm4",
                   "xmm5", "xmm6", "xmm7", "xmm8", "xmm9", "xmm10", "xmm11", "xmm12", "xmm13", "xmm14", "xmm15",
                   "memory", "cc");
}
static_assert(offsetof(register_image, general) == 2048);

/// Secret words to search for, each with a name for the report.
class secrets {
public:
    /// Adds aligned words of four bytes. One match is reported.
    void add(std::string const& what, wg::bytes_view bytes) {
        for (std::size_t i = 0; i + 4 <= bytes.size(); i += 4) words_.emplace(wg::load_le32(&bytes[i]), what);
    }
    /// Adds a limb, which occupies a word of four or eight bytes. A report needs two different limbs of one name: a
    /// single limb may match by chance.
    void add_limb(std::string const& what, std::uint64_t limb) {
        if (limb >> 20 == 0) return;
        limbs_.emplace(limb, what);
    }

    /// The names of the secrets in `memory`, separated by commas.
    std::string found_in(wg::bytes_view memory) const {
        std::set<std::string> names;
        std::map<std::string, std::set<std::uint64_t>> limbs;
        for (std::size_t at = 0; at + 8 <= memory.size(); at += 4) {
            std::uint32_t const word = wg::load_le32(&memory[at]);
            if (word == 0) continue;
            if (auto const it = words_.find(word); it != words_.end()) names.insert(it->second);
            for (std::uint64_t const limb : {std::uint64_t{word}, wg::load_le64(&memory[at])})
                if (auto const it = limbs_.find(limb); it != limbs_.end()) limbs[it->second].insert(limb);
        }
        for (auto const& [name, values] : limbs)
            if (values.size() > 1) names.insert(name);
        std::string text;
        for (auto const& name : names) text += (text.empty() ? "" : ", ") + name;
        return text;
    }

private:
    std::map<std::uint32_t, std::string> words_;
    std::map<std::uint64_t, std::string> limbs_;
};

/// Runs a function on a separate stack. Returns: the names of the secrets that it left in registers and on the stack,
/// as in "registers: key; stack: scalar".
template <class Function> std::string left_by(wg::bundled::cpu set, Function const& function, secrets const& of) {
    static register_image image;
    image = {};
    // With AVX-512, glibc copies memory through ymm16 and up, which baseline code cannot clear. The test that checks
    // these registers disables this through GLIBC_TUNABLES.
    char const* const tunables = std::getenv("GLIBC_TUNABLES");
    bool const all_are_ours = tunables != nullptr && std::strstr(tunables, "-AVX512VL") != nullptr;
    auto const call = [](void* what) { (*static_cast<Function const*>(what))(); };
    auto const stack = search_stack_after(
        [&] { call_and_capture(call, const_cast<void*>(static_cast<void const*>(&function)), set, image); });
    if (!all_are_ours) std::memset(image.vectors + 16 * 64, 0, 16 * 64);
    std::string text;
    if (auto const found = of.found_in({reinterpret_cast<wg::byte const*>(&image), sizeof image}); !found.empty())
        text += "registers: " + found;
    if (auto const found = of.found_in({stack.data(), stack_image::size_bytes}); !found.empty())
        text += (text.empty() ? "" : "; ") + std::string("stack: ") + found;
    return text;
}

} // namespace wg_tests

#endif

#endif
