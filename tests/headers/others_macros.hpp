// SPDX-License-Identifier: BSL-1.0
// Macros of other headers, which a program may include before wg. Each macro expands to text that is invalid in every
// declaration and call. The comments name the headers.
#ifndef TESTS_HEADERS_OTHERS_MACROS_HPP
#define TESTS_HEADERS_OTHERS_MACROS_HPP

#define WG_TESTS_WRONG ) this is a macro of another header (

// windows.h and its includes; compilers for 16-bit machines
#define near WG_TESTS_WRONG
#define far WG_TESTS_WRONG
#define huge WG_TESTS_WRONG
#define pascal WG_TESTS_WRONG
#define cdecl WG_TESTS_WRONG
#define small WG_TESTS_WRONG
#define hyper WG_TESTS_WRONG
#define interface WG_TESTS_WRONG
#define IN WG_TESTS_WRONG
#define OUT WG_TESTS_WRONG
#define OPTIONAL WG_TESTS_WRONG
#define CONST WG_TESTS_WRONG
#define VOID WG_TESTS_WRONG
#define ERROR WG_TESTS_WRONG
#define NO_ERROR WG_TESTS_WRONG
#define DELETE WG_TESTS_WRONG
#define IGNORE WG_TESTS_WRONG
#define INFINITE WG_TESTS_WRONG
#define STRICT WG_TESTS_WRONG
#define TRUE WG_TESTS_WRONG
#define FALSE WG_TESTS_WRONG
#define THIS WG_TESTS_WRONG
#define PURE WG_TESTS_WRONG
#define Yield WG_TESTS_WRONG
#define GetMessage WG_TESTS_WRONG
#define SendMessage WG_TESTS_WRONG
#define GetObject WG_TESTS_WRONG
#define CreateWindow WG_TESTS_WRONG
#define rad1 WG_TESTS_WRONG
#define min(a, b) WG_TESTS_WRONG
#define max(a, b) WG_TESTS_WRONG

// X11: Xlib.h, X.h, Xutil.h
#define None WG_TESTS_WRONG
#define Bool WG_TESTS_WRONG
#define Status WG_TESTS_WRONG
#define True WG_TESTS_WRONG
#define False WG_TESTS_WRONG
#define Always WG_TESTS_WRONG
#define Above WG_TESTS_WRONG
#define Below WG_TESTS_WRONG
#define Success WG_TESTS_WRONG
#define Complex WG_TESTS_WRONG
#define Unsorted WG_TESTS_WRONG
#define KeyPress WG_TESTS_WRONG

// Arduino.h; Qt; compilers in GNU mode; curses.h; complex.h; C libraries
#define constrain(a, b, c) WG_TESTS_WRONG
#define bit(b) WG_TESTS_WRONG
#define F(s) WG_TESTS_WRONG
#define HIGH WG_TESTS_WRONG
#define LOW WG_TESTS_WRONG
#define INPUT WG_TESTS_WRONG
#define OUTPUT WG_TESTS_WRONG
#define slots WG_TESTS_WRONG
#define signals WG_TESTS_WRONG
#define emit WG_TESTS_WRONG
#define foreach WG_TESTS_WRONG
#define forever WG_TESTS_WRONG
#define unix WG_TESTS_WRONG
#define linux WG_TESTS_WRONG
#define I WG_TESTS_WRONG
#define timeout(delay) WG_TESTS_WRONG
#define likely(x) WG_TESTS_WRONG
#define unlikely(x) WG_TESTS_WRONG
#define check(x) WG_TESTS_WRONG
#define verify(x) WG_TESTS_WRONG
#define require(x) WG_TESTS_WRONG
#define nil WG_TESTS_WRONG
#define YES WG_TESTS_WRONG
#define NO WG_TESTS_WRONG

// sys/sysmacros.h, sys/param.h, termios.h
#define major(d) WG_TESTS_WRONG
#define minor(d) WG_TESTS_WRONG
#define makedev(a, b) WG_TESTS_WRONG
#define MIN(a, b) WG_TESTS_WRONG
#define MAX(a, b) WG_TESTS_WRONG
#define howmany(x, y) WG_TESTS_WRONG
#define roundup(x, y) WG_TESTS_WRONG
#define setbit(a, i) WG_TESTS_WRONG
#define B0 WG_TESTS_WRONG
#define ECHO WG_TESTS_WRONG

#ifdef TESTS_AFTER_THE_LIBRARY // defined earlier, these break the standard library itself
#define abs(x) WG_TESTS_WRONG
#define round(x) WG_TESTS_WRONG
#define complex WG_TESTS_WRONG
#endif

#endif
