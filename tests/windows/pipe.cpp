// SPDX-License-Identifier: BSL-1.0
// A client of the configuration pipe for tests.
//
//     pipe NAME          sends standard input to the pipe of the interface NAME, and prints the reply
//     pipe --leave NAME  sends standard input, and leaves without reading the reply
//     pipe --own NAME    creates a pipe of this name, prints a line, and keeps it until standard input ends
//
// Before it sends anything it checks the pipe's owner and access list, as wg.exe checks the owner. The integrity label
// is not checked: Wine 8 does not keep it.
#include <windows.h>

#include <aclapi.h>
#include <sddl.h>

#include <cstdio>
#include <cstring>
#include <string>

namespace {

int failed(char const* what) {
    std::fprintf(stderr, "pipe: %s: error %lu\n", what, ::GetLastError());
    return 1;
}

std::string path_of(char const* name) {
    return std::string(R"(\\.\pipe\ProtectedPrefix\Administrators\WireGuard\)") + name;
}

std::string standard_input() {
    std::string all;
    char part[4096];
    for (std::size_t size; (size = std::fread(part, 1, sizeof part, stdin)) != 0;) all.append(part, size);
    return all;
}

/// Whether LocalSystem owns the pipe, and only LocalSystem and administrators may use it.
bool is_protected(HANDLE pipe) {
    PSECURITY_DESCRIPTOR found = nullptr;
    constexpr SECURITY_INFORMATION parts = OWNER_SECURITY_INFORMATION | DACL_SECURITY_INFORMATION;
    if (::GetSecurityInfo(pipe, SE_FILE_OBJECT, parts, nullptr, nullptr, nullptr, nullptr, &found) != ERROR_SUCCESS)
        return false;
    char* text = nullptr;
    bool const read =
        ::ConvertSecurityDescriptorToStringSecurityDescriptorA(found, SDDL_REVISION_1, parts, &text, nullptr) != 0;
    bool const good = read && std::strcmp(text, "O:SYD:P(A;;GA;;;SY)(A;;GA;;;BA)") == 0;
    if (!good) std::fprintf(stderr, "pipe: the security descriptor is %s\n", read ? text : "unreadable");
    ::LocalFree(text);
    ::LocalFree(found);
    return good;
}

int own(char const* name) {
    HANDLE const pipe =
        ::CreateNamedPipeA(path_of(name).c_str(), PIPE_ACCESS_DUPLEX, PIPE_TYPE_BYTE, 255, 0, 0, 0, nullptr);
    if (pipe == INVALID_HANDLE_VALUE) return failed("cannot create the pipe");
    std::puts("owned");
    std::fflush(stdout);
    (void)standard_input();
    return 0;
}

} // namespace

int main(int count, char** arguments) {
    if (count < 2) return std::fprintf(stderr, "pipe [--leave | --own] NAME\n"), 1;
    bool const leaves = std::strcmp(arguments[1], "--leave") == 0;
    if (std::strcmp(arguments[1], "--own") == 0) return own(arguments[2]);
    HANDLE const pipe = ::CreateFileA(path_of(arguments[leaves ? 2 : 1]).c_str(), GENERIC_READ | GENERIC_WRITE, 0,
                                      nullptr, OPEN_EXISTING, 0, nullptr);
    if (pipe == INVALID_HANDLE_VALUE) return failed("cannot open the pipe");
    if (!is_protected(pipe)) return 1;
    std::string const request = standard_input();
    DWORD done = 0;
    if (!request.empty() && !::WriteFile(pipe, request.data(), static_cast<DWORD>(request.size()), &done, nullptr))
        return failed("cannot write");
    if (leaves) return 0;
    std::string reply;
    char part[4096];
    while (!reply.ends_with("\n\n") && ::ReadFile(pipe, part, sizeof part, &done, nullptr) != 0)
        reply.append(part, done);
    std::fwrite(reply.data(), 1, reply.size(), stdout);
    return 0;
}
