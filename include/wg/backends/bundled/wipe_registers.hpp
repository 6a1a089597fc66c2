// SPDX-License-Identifier: BSL-1.0
// Clears the registers of the baseline instruction set, which may hold secrets. Folder: backends/bundled; pure.
#ifndef WG_BACKENDS_BUNDLED_WIPE_REGISTERS_HPP
#define WG_BACKENDS_BUNDLED_WIPE_REGISTERS_HPP

#include "../../base/abi.hpp"

namespace wg { inline namespace WG_ABI { namespace bundled {

/// Clears the registers that a function may change without saving them. A kernel that uses wider registers than the
/// program's baseline clears those itself.
[[gnu::always_inline]] inline void wipe_baseline_registers() noexcept {
#if defined(__x86_64__)
    asm volatile(".irp r,eax,ecx,edx,esi,edi,r8d,r9d,r10d,r11d\n\txor %%\\r, %%\\r\n\t.endr\n\t"
#ifdef __AVX512F__
                 ".irp n,16,17,18,19,20,21,22,23,24,25,26,27,28,29,30,31\n\t"
                 "vpxorq %%zmm\\n, %%zmm\\n, %%zmm\\n\n\t.endr\n\t"
#endif
#ifdef __AVX__
                 "vzeroall"
#else
                 ".irp n,0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15\n\tpxor %%xmm\\n, %%xmm\\n\n\t.endr"
#endif
                 :
                 :
                 : "rax", "rcx", "rdx", "rsi", "rdi", "r8", "r9", "r10", "r11", "xmm0", "xmm1", "xmm2", "xmm3", "xmm4",
                   "xmm5", "xmm6", "xmm7", "xmm8", "xmm9", "xmm10", "xmm11", "xmm12", "xmm13", "xmm14", "xmm15",
#ifdef __AVX512F__
                   "xmm16", "xmm17", "xmm18", "xmm19", "xmm20", "xmm21", "xmm22", "xmm23", "xmm24", "xmm25", "xmm26",
                   "xmm27", "xmm28", "xmm29", "xmm30", "xmm31",
#endif
                   "cc");
#elif defined(__aarch64__)
    asm volatile(".irp n,0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17\n\tmov x\\n, xzr\n\t.endr\n\t"
                 ".irp n,0,1,2,3,4,5,6,7,16,17,18,19,20,21,22,23,24,25,26,27,28,29,30,31\n\tmovi v\\n\\().2d, #0\n\t"
                 ".endr"
                 :
                 :
                 : "x0", "x1", "x2", "x3", "x4", "x5", "x6", "x7", "x8", "x9", "x10", "x11", "x12", "x13", "x14", "x15",
                   "x16", "x17", "v0", "v1", "v2", "v3", "v4", "v5", "v6", "v7", "v16", "v17", "v18", "v19", "v20",
                   "v21", "v22", "v23", "v24", "v25", "v26", "v27", "v28", "v29", "v30", "v31");
#endif
}

}}} // namespace wg::WG_ABI::bundled

#endif
