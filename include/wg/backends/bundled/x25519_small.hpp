// SPDX-License-Identifier: BSL-1.0
// The Montgomery ladder of X25519 (RFC 7748, section 5) in the least code, for WG_SMALL builds.
// Folder: backends/bundled; any thread.
#ifndef WG_BACKENDS_BUNDLED_X25519_SMALL_HPP
#define WG_BACKENDS_BUNDLED_X25519_SMALL_HPP

#include "field25519.hpp"

namespace wg { inline namespace WG_ABI { namespace bundled { namespace x25519_detail {

/// A step of the ladder as a table of instructions, which is smaller than its calls. An operand is the index of an
/// element in small_points.
namespace program {

enum element : byte { x3, z3, a, b, c, d, x1, x2, z2, k };
enum operation : byte { plus, minus, times };
struct instruction { // all[to] = all[left] what all[right]
    byte what : 4, to : 4, left : 4, right : 4;
};
inline constexpr instruction step[] = {
    {plus, a, x2, z2},   {minus, b, x2, z2}, {plus, c, x3, z3}, {minus, d, x3, z3},  {times, d, d, a},
    {times, c, c, b},    {plus, x3, d, c},   {minus, z3, d, c}, {times, x3, x3, x3}, {times, z3, z3, z3},
    {times, z3, z3, x1}, {times, a, a, a},   {times, b, b, b},  {times, x2, a, b},   {minus, b, a, b},
    {times, c, b, k},    {plus, c, c, a},    {times, z2, b, c}};

} // namespace program

/// The same as `points` of x25519.hpp, in small code.
template <class Field> struct small_points : field25519_scratch<Field> {
    Field x1, x2, z2;
    Field k; ///< (486662 - 2) / 4

    ~small_points() { wipe(static_cast<void*>(this), sizeof *this); }

    /// Sets x2:z2 to the neutral point and z3 to 1.
    void start() noexcept {
        std::memset(static_cast<void*>(this), 0, sizeof *this);
        x2.v[0] = this->z3.v[0] = 1;
        k.v[0] = 121665;
    }

    /// Doubles x2:z2 and adds the old x2:z2 to x3:z3.
    [[gnu::noinline]] static void step(small_points& w) noexcept {
        static_assert(sizeof(small_points) == 10 * sizeof(Field)); // the elements are an array
        Field* const all = &w.x3;
        for (program::instruction const now : program::step) {
            Field &to = all[now.to], &left = all[now.left], &right = all[now.right];
            if (now.what == program::times) Field::multiply(to, left, right);
            else if (now.what == program::plus) Field::add(to, left, right);
            else Field::subtract(to, left, right);
        }
    }
};

}}}} // namespace wg::WG_ABI::bundled::x25519_detail

#endif
