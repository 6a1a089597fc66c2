// SPDX-License-Identifier: BSL-1.0
// Records every instruction that the program executes between start() and stop(): its address, and the values of the
// general registers and of the AVX-512 mask registers before it. While the trap flag is set, the processor traps after
// each instruction, so the recording covers every instruction set. x86-64 Linux.
#ifndef WG_TESTS_CONSTANT_TIME_RECORDING_HPP
#define WG_TESTS_CONSTANT_TIME_RECORDING_HPP

#include <cpuid.h>
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <iterator>

#include <fcntl.h>
#include <ucontext.h>
#include <unistd.h>

namespace recording {

struct step {
    std::uint64_t at;
    std::uint64_t registers[16]; ///< in the order of their numbers: rax rcx rdx rbx rsp rbp rsi rdi r8-r15
    std::uint64_t masks[8];      ///< k0-k7
};

inline int file = -1;
inline step steps[4096];
inline std::size_t held = 0;

inline void flush() {
    char const* from = reinterpret_cast<char const*>(steps);
    for (std::size_t left = held * sizeof(step); left > 0;) {
        ssize_t const now = write(file, from, left);
        if (now <= 0) std::abort();
        from += now, left -= static_cast<std::size_t>(now);
    }
    held = 0;
}

/// The offset of the mask registers in the XSAVE area of a signal frame; 0 if the processor has none.
inline std::size_t masks_at = 0;

inline void on_step(int, siginfo_t*, void* context) {
    constexpr int order[] = {REG_RAX, REG_RCX, REG_RDX, REG_RBX, REG_RSP, REG_RBP, REG_RSI, REG_RDI,
                             REG_R8,  REG_R9,  REG_R10, REG_R11, REG_R12, REG_R13, REG_R14, REG_R15};
    auto const& now = static_cast<ucontext_t const*>(context)->uc_mcontext.gregs;
    if (held == std::size(steps)) flush();
    step& s = steps[held++];
    s.at = static_cast<std::uint64_t>(now[REG_RIP]);
    for (std::size_t i = 0; i < 16; ++i) s.registers[i] = static_cast<std::uint64_t>(now[order[i]]);
    auto const* const saved =
        reinterpret_cast<unsigned char const*>(static_cast<ucontext_t const*>(context)->uc_mcontext.fpregs);
    std::uint64_t components = 0; // the components that the frame has; the others are zero
    std::memcpy(&components, saved + 512, sizeof components);
    std::memset(s.masks, 0, sizeof s.masks);
    if (masks_at != 0 && (components >> 5 & 1) != 0) std::memcpy(s.masks, saved + masks_at, sizeof s.masks);
}

inline void open(char const* path) {
    file = ::open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (file < 0) std::abort();
    unsigned a = 0, b = 0, c = 0, d = 0;
    if (__get_cpuid_count(0xd, 5, &a, &b, &c, &d) && a == sizeof step::masks) masks_at = b;
    static char stack[256 * 1024]; // a signal frame includes the vector registers, with AVX-512 more than 2 KiB
    stack_t where{};
    where.ss_sp = stack;
    where.ss_size = sizeof stack;
    struct sigaction action {};
    action.sa_sigaction = on_step;
    action.sa_flags = SA_SIGINFO | SA_ONSTACK;
    if (sigaltstack(&where, nullptr) != 0 || sigaction(SIGTRAP, &action, nullptr) != 0) std::abort();
}

[[gnu::noinline]] inline void start() {
    if (file < 0) return;
    asm volatile("sub $128, %%rsp\n\tpushfq\n\torq $0x100, (%%rsp)\n\tpopfq\n\tadd $128, %%rsp" : : : "memory", "cc");
}
[[gnu::noinline]] inline void stop() {
    if (file < 0) return;
    asm volatile("sub $128, %%rsp\n\tpushfq\n\tandq $~0x100, (%%rsp)\n\tpopfq\n\tadd $128, %%rsp" : : : "memory", "cc");
    flush();
}

} // namespace recording

#endif
