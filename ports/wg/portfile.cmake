# SPDX-License-Identifier: BSL-1.0
# An overlay port: it installs the tree that it stands in, so it needs no download and no hash.
#
#     vcpkg install wg --overlay-ports=path/to/wg/ports
#
# A program then uses find_package(wg CONFIG REQUIRED) and links wg::wg.
get_filename_component(SOURCE_PATH "${CMAKE_CURRENT_LIST_DIR}/../.." ABSOLUTE)
set(VCPKG_BUILD_TYPE release) # headers are the same in debug and release builds

vcpkg_cmake_configure(SOURCE_PATH "${SOURCE_PATH}")
vcpkg_cmake_install()
vcpkg_cmake_config_fixup(PACKAGE_NAME wg CONFIG_PATH share/cmake/wg)
vcpkg_fixup_pkgconfig()

file(REMOVE_RECURSE "${CURRENT_PACKAGES_DIR}/lib" "${CURRENT_PACKAGES_DIR}/debug")
vcpkg_install_copyright(FILE_LIST "${SOURCE_PATH}/LICENSE")
