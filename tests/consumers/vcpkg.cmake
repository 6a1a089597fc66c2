# SPDX-License-Identifier: BSL-1.0
# Runs ports/wg/portfile.cmake without vcpkg: defines the few functions that the port calls, with the same effect.
#
#     cmake -DPORT=PORTFILE -DCURRENT_BUILDTREES_DIR=DIR -DCURRENT_PACKAGES_DIR=DIR -P vcpkg.cmake
set(PORT_NAME wg)

function(run)
    execute_process(COMMAND ${ARGN} COMMAND_ERROR_IS_FATAL ANY OUTPUT_QUIET)
endfunction()

function(vcpkg_cmake_configure)
    cmake_parse_arguments(PARSE_ARGV 0 arg "" "SOURCE_PATH" "OPTIONS")
    if(arg_UNPARSED_ARGUMENTS OR NOT EXISTS "${arg_SOURCE_PATH}/CMakeLists.txt")
        message(FATAL_ERROR "vcpkg_cmake_configure(${ARGN})")
    endif()
    run("${CMAKE_COMMAND}" -G Ninja -S "${arg_SOURCE_PATH}" -B "${CURRENT_BUILDTREES_DIR}"
        "-DCMAKE_INSTALL_PREFIX=${CURRENT_PACKAGES_DIR}" ${arg_OPTIONS})
endfunction()

function(vcpkg_cmake_install)
    run("${CMAKE_COMMAND}" --build "${CURRENT_BUILDTREES_DIR}" --target install)
endfunction()

# Like vcpkg, moves the package's CMake files to share/PACKAGE_NAME and adapts the relative path to the prefix.
function(vcpkg_cmake_config_fixup)
    cmake_parse_arguments(PARSE_ARGV 0 arg "" "PACKAGE_NAME;CONFIG_PATH" "")
    set(from "${CURRENT_PACKAGES_DIR}/${arg_CONFIG_PATH}")
    if(arg_UNPARSED_ARGUMENTS OR NOT EXISTS "${from}")
        message(FATAL_ERROR "vcpkg_cmake_config_fixup(${ARGN}): there is no ${from}")
    endif()
    file(RENAME "${from}" "${CURRENT_PACKAGES_DIR}/moved")
    file(REMOVE_RECURSE "${CURRENT_PACKAGES_DIR}/share/cmake")
    set(to "${CURRENT_PACKAGES_DIR}/share/${arg_PACKAGE_NAME}")
    file(RENAME "${CURRENT_PACKAGES_DIR}/moved" "${to}")
    set(up "get_filename_component\\(_IMPORT_PREFIX \"\\\${_IMPORT_PREFIX}\" PATH\\)\n")
    file(READ "${to}/wg-targets.cmake" contents)
    string(REGEX REPLACE "(${up})${up}" "\\1" contents "${contents}")
    file(WRITE "${to}/wg-targets.cmake" "${contents}")
endfunction()

# Like vcpkg, checks that a file for pkg-config is there; ours names its folders relative to itself already.
function(vcpkg_fixup_pkgconfig)
    if(NOT EXISTS "${CURRENT_PACKAGES_DIR}/share/pkgconfig/wg.pc")
        message(FATAL_ERROR "vcpkg_fixup_pkgconfig(${ARGN}): there is no wg.pc")
    endif()
endfunction()

function(vcpkg_install_copyright)
    cmake_parse_arguments(PARSE_ARGV 0 arg "" "" "FILE_LIST")
    file(COPY_FILE "${arg_FILE_LIST}" "${CURRENT_PACKAGES_DIR}/share/${PORT_NAME}/copyright")
endfunction()

include("${PORT}")
