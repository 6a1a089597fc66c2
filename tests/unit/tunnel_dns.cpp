// SPDX-License-Identifier: BSL-1.0
#include <boost/test/unit_test.hpp>

#include <wg/control/text.hpp>
#include <wg/tunnel/dns.hpp>

#include <random>
#include <set>
#include <string>
#include <vector>

BOOST_AUTO_TEST_SUITE(tunnel_dns)

namespace {

namespace dns = wg::dns;
using dns::outcome, dns::record;
using wg::byte;

struct generator {
    std::mt19937 engine{7};
    bool fill(wg::bytes to) noexcept {
        for (byte& b : to) b = static_cast<byte>(engine());
        return true;
    }
};

dns::name name_of(std::string_view text) {
    auto const made = dns::name::from_text(text);
    BOOST_TEST_REQUIRE(bool(made), text);
    return *made;
}

std::string print(dns::name const& of) {
    std::string text;
    for (std::size_t at = 0; of.wire()[at] != 0; at += 1u + of.wire()[at])
        text += std::string(reinterpret_cast<char const*>(&of.wire()[at + 1]), of.wire()[at]) + ".";
    return text;
}

/// Builds an answer by parts.
struct message {
    std::string bytes;

    message& u8(unsigned value) {
        bytes.push_back(static_cast<char>(value));
        return *this;
    }
    message& u16(unsigned value) { return u8(value >> 8 & 255).u8(value & 255); }
    message& u32(unsigned value) { return u16(value >> 16).u16(value & 0xffff); }
    message& text(std::string_view raw) {
        bytes += raw;
        return *this;
    }
    /// `a.b`, without compression.
    message& host(std::string_view from) {
        auto const made = name_of(from);
        bytes.append(reinterpret_cast<char const*>(made.wire().data()), made.wire().size());
        return *this;
    }
    message& pointer(unsigned at) { return u16(0xc000 | at); }
    message& head(unsigned type, unsigned ttl, unsigned size) { return u16(type).u16(1).u32(ttl).u16(size); }
    /// An A record whose name is the question's.
    message& a(unsigned address, unsigned ttl = 300) { return pointer(12).head(1, ttl, 4).u32(address); }

    wg::bytes_view view() const { return {reinterpret_cast<byte const*>(bytes.data()), bytes.size()}; }
};

struct asked {
    generator random;
    dns::question question;

    explicit asked(std::string_view host = "db.example.com", record type = record::a)
        : question(*dns::question::create(name_of(host), type, random)) {}

    /// An answer without records: a header with these counts, and the question.
    message reply(unsigned answers, unsigned flags = 0x8180, unsigned authority = 0, unsigned additional = 0) const {
        message m;
        auto const ours = question.message();
        m.text({reinterpret_cast<char const*>(ours.data()), 2}).u16(flags).u16(1);
        m.u16(answers).u16(authority).u16(additional);
        m.text({reinterpret_cast<char const*>(ours.data()) + 12, question.host().wire().size() + 4});
        return m;
    }
    dns::answer parse(message const& m, bool stream = false) const { return dns::parse(m.view(), question, stream); }
};

std::string addresses(dns::answer const& of) {
    std::string all;
    for (auto const& address : of.addresses()) all += std::string(wg::text::print(address).view()) + " ";
    return all;
}

} // namespace

BOOST_AUTO_TEST_CASE(names_keep_the_limits_of_rfc_1035) {
    BOOST_TEST(print(name_of("DB_1.Example-2.com")) == "db_1.example-2.com.");
    BOOST_TEST(print(name_of("com.")) == "com.");
    std::string const label(63, 'a');
    std::string const longest = label + "." + label + "." + label + "." + std::string(61, 'b'); // 253 characters
    BOOST_TEST(name_of(longest).wire().size() == 255u);
    BOOST_TEST(name_of(longest + ".").wire().size() == 255u);
    for (std::string const& bad : {std::string(), std::string("."), std::string(".."), std::string("a..b"),
                                   std::string(".a"), std::string("a b"), std::string("h\xc3\xb6st"), label + "a",
                                   longest + "b", std::string("a\0b", 3), std::string("a*")})
        BOOST_TEST(!dns::name::from_text(bad), bad);
}

BOOST_AUTO_TEST_CASE(a_question_has_the_format_of_rfc_1035_and_6891) {
    asked const q("a.bc", record::aaaa);
    auto const m = q.question.message();
    std::string lower(reinterpret_cast<char const*>(m.data()) + 2, m.size() - 2); // without the id
    for (char& c : lower) c = static_cast<char>(dns::name::lower(static_cast<byte>(c)));
    message expected;
    expected.u16(0x0100).u16(1).u16(0).u16(0).u16(1).host("a.bc").u16(28).u16(1);
    expected.u8(0).u16(41).u16(1232).u32(0).u16(0);
    BOOST_TEST(lower == expected.bytes);
    BOOST_TEST(q.question.stream_message().size() == m.size() + 2);
    BOOST_TEST(wg::load_be16(q.question.stream_message().data()) == m.size());
}

BOOST_AUTO_TEST_CASE(a_question_leaves_out_edns_if_asked) {
    asked q;
    std::size_t const before = q.question.message().size();
    BOOST_TEST(q.question.has_edns());
    q.question.omit_edns();
    q.question.omit_edns();
    BOOST_TEST(!q.question.has_edns());
    BOOST_TEST(q.question.message().size() == before - 11);
    BOOST_TEST(wg::load_be16(q.question.message().data() + 10) == 0);
    BOOST_TEST(wg::load_be16(q.question.stream_message().data()) == before - 11);
    BOOST_TEST(addresses(q.parse(q.reply(1).a(0x0a000001))) == "10.0.0.1 ");
}

BOOST_AUTO_TEST_CASE(ids_and_letters_are_random) {
    generator random;
    std::set<unsigned> ids;
    std::set<std::string> spellings;
    for (int i = 0; i < 100; ++i) {
        auto const q = *dns::question::create(name_of("abcdefgh.example.com"), record::a, random);
        ids.insert(wg::load_be16(q.message().data()));
        spellings.emplace(reinterpret_cast<char const*>(q.message().data()) + 12, 22);
    }
    BOOST_TEST(ids.size() > 95u);
    BOOST_TEST(spellings.size() > 95u);
    struct {
        bool fill(wg::bytes) noexcept { return false; }
    } broken;
    BOOST_TEST((dns::question::create(name_of("a"), record::a, broken).why() == wg::status::no_random));
}

BOOST_AUTO_TEST_CASE(reads_addresses) {
    asked const q;
    auto const got = q.parse(q.reply(2).a(0x0a000001, 300).a(0x0a000002, 60));
    BOOST_TEST((got.what == outcome::found));
    BOOST_TEST(addresses(got) == "10.0.0.1 10.0.0.2 ");
    BOOST_TEST((got.ttl == wg::seconds(60)));
    asked const six("db.example.com", record::aaaa);
    message m = six.reply(1);
    m.host("DB.Example.COM").head(28, 5, 16).u32(0x20010db8).u32(0).u32(0).u32(1);
    BOOST_TEST(addresses(six.parse(m)) == "2001:db8::1 ");
}

BOOST_AUTO_TEST_CASE(keeps_as_many_addresses_as_there_is_room_for) {
    asked const q;
    message m = q.reply(40);
    for (unsigned i = 0; i < 40; ++i) m.a(i);
    BOOST_TEST(q.parse(m).addresses().size() == dns::most_addresses);
}

BOOST_AUTO_TEST_CASE(follows_aliases_in_any_order) {
    asked const q;
    message m = q.reply(4);
    m.host("c.example.com").head(1, 50, 4).u32(0x0a000001);
    m.host("b.example.com").head(5, 40, 2).pointer(12 + 16 + 4); // to c.example.com, the owner of the first record
    m.host("other.example.com").head(1, 1, 4).u32(0x0a000009);
    m.pointer(12).head(5, 30, 15).host("b.example.com");
    auto const got = q.parse(m);
    BOOST_TEST(addresses(got) == "10.0.0.1 ");
    BOOST_TEST((got.ttl == wg::seconds(30)));
    message lone = q.reply(1);
    lone.pointer(12).head(5, 30, 15).host("b.example.com");
    BOOST_TEST((q.parse(lone).what == outcome::no_data));
}

BOOST_AUTO_TEST_CASE(refuses_loops_of_aliases_and_long_chains) {
    asked const q;
    message loop = q.reply(2);
    loop.pointer(12).head(5, 30, 15).host("b.example.com");
    loop.host("b.example.com").head(5, 30, 2).pointer(12);
    BOOST_TEST((q.parse(loop).what == outcome::malformed));
    for (unsigned const length : {dns::most_aliases, dns::most_aliases + 1}) {
        message chain = q.reply(length + 1);
        for (unsigned i = 0; i < length; ++i) {
            if (i == 0) chain.pointer(12);
            else chain.host("n" + std::to_string(i) + ".x");
            auto const target = "n" + std::to_string(i + 1) + ".x";
            chain.head(5, 30, static_cast<unsigned>(name_of(target).wire().size())).host(target);
        }
        chain.host("n" + std::to_string(length) + ".x").head(1, 30, 4).u32(1);
        BOOST_TEST((q.parse(chain).what == (length <= dns::most_aliases ? outcome::found : outcome::malformed)));
    }
}

BOOST_AUTO_TEST_CASE(refuses_pointers_that_do_not_lead_back) {
    asked const q;
    std::size_t const here = q.reply(1).bytes.size();
    for (std::size_t const target : {here, here + 2, here + 100, std::size_t{0x3fff}}) {
        message m = q.reply(1);
        m.pointer(static_cast<unsigned>(target)).head(1, 1, 4).u32(1);
        BOOST_TEST((q.parse(m).what == outcome::malformed));
    }
    message mutual = q.reply(1); // a label and a pointer back to the label
    mutual.u8(1).text("a").pointer(static_cast<unsigned>(here)).head(1, 1, 4).u32(1);
    BOOST_TEST((q.parse(mutual).what == outcome::malformed));
    for (unsigned const kind : {0x40u, 0x80u}) {
        message m = q.reply(1);
        m.u8(kind).u8(0).head(1, 1, 4).u32(1);
        BOOST_TEST((q.parse(m).what == outcome::malformed));
    }
}

BOOST_AUTO_TEST_CASE(refuses_names_that_grow_beyond_255_bytes) {
    asked const q;
    message m = q.reply(6);
    std::size_t before = 12;
    for (int i = 0; i < 6; ++i) { // each name is a label of 63 characters and the name before it
        std::size_t const here = m.bytes.size();
        m.u8(63).text(std::string(63, 'a')).pointer(static_cast<unsigned>(before)).head(16, 1, 0);
        before = here;
    }
    BOOST_TEST((q.parse(m).what == outcome::malformed));
}

BOOST_AUTO_TEST_CASE(reports_what_the_server_says) {
    asked const q;
    BOOST_TEST((q.parse(q.reply(0)).what == outcome::no_data));
    BOOST_TEST((q.parse(q.reply(0, 0x8183)).what == outcome::no_such_name));
    BOOST_TEST((q.parse(q.reply(0, 0x8182)).what == outcome::server_failed));
    BOOST_TEST((q.parse(q.reply(0, 0x8185)).what == outcome::refused));
    BOOST_TEST((q.parse(q.reply(1, 0x8182).a(1)).what == outcome::server_failed));
    BOOST_TEST(q.parse(q.reply(1, 0x8182).a(1)).addresses().empty());
    BOOST_TEST((q.parse(q.reply(1, 0x8380).a(1)).what == outcome::truncated));
    BOOST_TEST(q.parse(q.reply(1, 0x8380).a(1)).needs_stream());
    BOOST_TEST((q.parse(q.reply(1, 0x8380).a(1), true).what == outcome::found));
}

BOOST_AUTO_TEST_CASE(a_negative_answer_holds_as_long_as_the_soa_says) {
    asked const q;
    auto const with_soa = [&](unsigned flags, unsigned ttl, unsigned minimum) {
        message m = q.reply(0, flags, 1);
        m.host("example.com").head(6, ttl, 2 + 2 + 20).pointer(15).pointer(15);
        return q.parse(m.u32(1).u32(2).u32(3).u32(4).u32(minimum));
    };
    BOOST_TEST((with_soa(0x8183, 60, 900).ttl == wg::seconds(60)));
    BOOST_TEST((with_soa(0x8180, 900, 60).ttl == wg::seconds(60)));
    BOOST_TEST((with_soa(0x8180, 900, 60).what == outcome::no_data));
    BOOST_TEST((with_soa(0x8183, 90000, 90000).ttl == dns::longest_negative_ttl));
    BOOST_TEST((with_soa(0x8182, 60, 60).ttl == wg::duration{}));
    BOOST_TEST((q.parse(q.reply(0, 0x8183)).ttl == wg::duration{}));
}

BOOST_AUTO_TEST_CASE(bounds_times) {
    asked const q;
    BOOST_TEST((q.parse(q.reply(1).a(1, 0x80000001)).ttl == wg::duration{}));
    BOOST_TEST((q.parse(q.reply(1).a(1, 0x7fffffff)).ttl == dns::longest_ttl));
}

BOOST_AUTO_TEST_CASE(asks_again_without_edns_if_the_server_does_not_know_it) {
    asked q;
    auto const opt = [](message m, unsigned high_code) {
        return m.u8(0).u16(41).u16(1232).u32(high_code << 24).u16(0);
    };
    BOOST_TEST((q.parse(q.reply(0, 0x8181)).what == outcome::no_edns));
    BOOST_TEST((q.parse(q.reply(0, 0x8184)).what == outcome::no_edns));
    BOOST_TEST((q.parse(opt(q.reply(0, 0x8181, 0, 1), 0)).what == outcome::server_failed));
    BOOST_TEST((q.parse(opt(q.reply(0, 0x8180, 0, 1), 1)).what == outcome::no_edns)); // BADVERS
    message bare;                                                                     // an error without the question
    auto const id = wg::load_be16(q.question.message().data());
    bare.u16(id).u16(0x8181).u16(0).u16(0).u16(0).u16(0);
    BOOST_TEST((q.parse(bare).what == outcome::no_edns));
    q.question.omit_edns();
    BOOST_TEST((q.parse(bare).what == outcome::server_failed));
    BOOST_TEST((q.parse(q.reply(0, 0x8181)).what == outcome::server_failed));
}

BOOST_AUTO_TEST_CASE(ignores_messages_that_answer_another_question) {
    asked const q;
    message const good = q.reply(1).a(1);
    BOOST_TEST((q.parse(good).what == outcome::found));
    auto const with = [&](std::size_t at, unsigned by) {
        message m = good;
        m.bytes[at] = static_cast<char>(m.bytes[at] ^ static_cast<char>(by));
        return q.parse(m).what;
    };
    BOOST_TEST((with(0, 1) == outcome::not_ours));    // id
    BOOST_TEST((with(2, 0x80) == outcome::not_ours)); // a question
    BOOST_TEST((with(2, 0x08) == outcome::not_ours)); // another operation
    BOOST_TEST((with(5, 3) == outcome::not_ours));    // two questions
    BOOST_TEST((with(13, 1) == outcome::not_ours));   // another name
    BOOST_TEST((with(13, 0x20) == outcome::case_changed));
    BOOST_TEST((with(12, 1) == outcome::not_ours));                                            // another label
    BOOST_TEST((with(12 + q.question.host().wire().size() + 1, 28 ^ 1) == outcome::not_ours)); // type
    BOOST_TEST((with(12 + q.question.host().wire().size() + 3, 2) == outcome::not_ours));      // class
    for (std::size_t size = 0; size < good.bytes.size(); ++size) {
        auto const got = dns::parse(good.view().first(size), q.question);
        bool const in_records = size >= 12 + q.question.host().wire().size() + 4;
        BOOST_TEST((got.what == (in_records ? outcome::malformed : outcome::not_ours)), size);
    }
    message upper = good;
    upper.bytes[13] = static_cast<char>(upper.bytes[13] ^ 0x20);
    BOOST_TEST(q.parse(upper).needs_stream());
    BOOST_TEST((q.parse(upper, true).what == outcome::found));
}

BOOST_AUTO_TEST_CASE(refuses_addresses_of_a_wrong_size) {
    asked const q;
    message m = q.reply(1);
    m.pointer(12).head(1, 1, 16).u32(1).u32(2).u32(3).u32(4);
    BOOST_TEST((q.parse(m).what == outcome::malformed));
    message other_class = q.reply(1);
    other_class.pointer(12).u16(1).u16(3).u32(1).u16(4).u32(1);
    BOOST_TEST((q.parse(other_class).what == outcome::no_data));
}

namespace {
std::string searched(std::string_view host, std::vector<std::string> const& domains, unsigned ndots = 1) {
    std::string all;
    dns::name name;
    for (dns::search names(host, domains, ndots); names.next(name);) all += print(name) + " ";
    return all;
}
} // namespace

BOOST_AUTO_TEST_CASE(searches_names_as_resolv_conf_says) {
    std::vector<std::string> const domains{"corp.example", "example.", "bad domain", "."};
    BOOST_TEST(searched("db", domains) == "db.corp.example. db.example. db. ");
    BOOST_TEST(searched("db.eu", domains) == "db.eu. db.eu.corp.example. db.eu.example. ");
    BOOST_TEST(searched("db.eu", domains, 2) == "db.eu.corp.example. db.eu.example. db.eu. ");
    BOOST_TEST(searched("db.", domains) == "db. ");
    BOOST_TEST(searched("db", {}) == "db. ");
    BOOST_TEST(searched("d b", domains) == "");
    BOOST_TEST(searched("", domains) == "");
    std::string const label(60, 'a');
    std::string const host = label + "." + label + "." + label + "." + label; // with a domain it is too long
    BOOST_TEST(searched(host, domains) == host + ". " + host + ".example. ");
}

BOOST_AUTO_TEST_CASE(the_cache_forgets_by_time_and_bounds_its_size) {
    dns::cache<4> cache;
    wg::instant const start{1000};
    asked const q("db.example.com");
    BOOST_TEST((cache.find(q.question.host(), record::a, start).what == outcome::not_ours));
    cache.store(q.question, q.parse(q.reply(1).a(0x0a000001, 10)), start);
    auto const found = cache.find(name_of("DB.example.com"), record::a, start + wg::seconds(4));
    BOOST_TEST(addresses(found) == "10.0.0.1 ");
    BOOST_TEST((found.ttl == wg::seconds(6)));
    BOOST_TEST((cache.find(q.question.host(), record::aaaa, start).what == outcome::not_ours));
    BOOST_TEST((cache.find(q.question.host(), record::a, start + wg::seconds(10)).what == outcome::not_ours));

    cache.store(q.question, q.parse(q.reply(1).a(0x0a000002, 20)), start); // replaces
    BOOST_TEST(addresses(cache.find(q.question.host(), record::a, start)) == "10.0.0.2 ");
    for (unsigned i = 0; i < 4; ++i) {
        asked const other("n" + std::to_string(i) + ".x");
        cache.store(other.question, other.parse(other.reply(1).a(i, 100 + i)), start);
    }
    BOOST_TEST((cache.find(q.question.host(), record::a, start).what == outcome::not_ours)); // the shortest
    for (unsigned i = 0; i < 4; ++i)
        BOOST_TEST((cache.find(name_of("n" + std::to_string(i) + ".x"), record::a, start).what == outcome::found));
    cache.clear();
    BOOST_TEST((cache.find(name_of("n0.x"), record::a, start).what == outcome::not_ours));
}

BOOST_AUTO_TEST_CASE(the_cache_keeps_final_answers_only) {
    dns::cache<4> cache;
    asked const q;
    for (auto const& m : {q.reply(0, 0x8182), q.reply(1).a(1, 0), q.reply(0, 0x8183), q.reply(1, 0x8380).a(1)})
        cache.store(q.question, q.parse(m), {});
    BOOST_TEST((cache.find(q.question.host(), record::a, {}).what == outcome::not_ours));
    message m = q.reply(0, 0x8183, 1);
    m.host("example.com").head(6, 60, 2 + 2 + 20).pointer(15).pointer(15).u32(1).u32(2).u32(3).u32(4).u32(60);
    cache.store(q.question, q.parse(m), {});
    BOOST_TEST((cache.find(q.question.host(), record::a, {}).what == outcome::no_such_name));
}

BOOST_AUTO_TEST_SUITE_END()
