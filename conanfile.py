# SPDX-License-Identifier: BSL-1.0
"""Recipe for Conan 2: a header library.

    conan create .

A program requires "wg/VERSION", uses find_package(wg CONFIG REQUIRED) and links wg::wg.
"""
import os

from conan import ConanFile
from conan.tools.build import check_min_cppstd
from conan.tools.files import copy
from conan.tools.layout import basic_layout


class Wg(ConanFile):
    name = "wg"
    version = "0.1.0"
    description = "WireGuard as a header-only, policy-based C++20 library"
    license = "BSL-1.0"
    topics = ("wireguard", "vpn", "header-only")
    package_type = "header-library"
    settings = "os", "arch", "compiler", "build_type"
    exports_sources = "include/*", "LICENSE"
    no_copy_source = True

    def layout(self):
        basic_layout(self)

    def validate(self):
        check_min_cppstd(self, 20)

    def package(self):
        copy(self, "LICENSE", self.source_folder, os.path.join(self.package_folder, "licenses"))
        copy(self, "include/wg/*", self.source_folder, self.package_folder)

    def package_info(self):
        self.cpp_info.bindirs = []
        self.cpp_info.libdirs = []
        if self.settings.os == "Windows":
            self.cpp_info.system_libs = ["ws2_32", "bcrypt", "iphlpapi", "synchronization", "advapi32"]
        self.cpp_info.set_property("cmake_file_name", "wg")
        self.cpp_info.set_property("cmake_target_name", "wg::wg")
        self.cpp_info.set_property("pkg_config_name", "wg")

    def package_id(self):
        self.info.clear()
