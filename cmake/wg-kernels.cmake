# SPDX-License-Identifier: BSL-1.0
# Defines the target wg::kernels: wg::wg with the kernels in a static library that each build compiles once.
# Wants the target wg::wg, and the folder of the headers in `wg_INCLUDE_DIR`.
if(NOT TARGET wg::kernels)
  add_library(wg_kernels STATIC EXCLUDE_FROM_ALL "${wg_INCLUDE_DIR}/wg/kernels.cpp"
    "${wg_INCLUDE_DIR}/wg/kernels_post_quantum.cpp")
  target_compile_definitions(wg_kernels PUBLIC WG_SEPARATE_KERNELS)
  target_link_libraries(wg_kernels PUBLIC wg::wg)
  # g++ starts to collect its garbage earlier: a unit then takes a quarter less memory (docs/performance.md).
  target_compile_options(wg_kernels INTERFACE
    "$<$<COMPILE_LANG_AND_ID:CXX,GNU>:--param=ggc-min-expand=30;--param=ggc-min-heapsize=4096>")
  add_library(wg::kernels ALIAS wg_kernels)
endif()
