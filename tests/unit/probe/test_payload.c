/* SPDX-License-Identifier: ISC */
#include "probe/payload.h"

#include "unit/unit.h"

#define NEWEST 1000
#define ROOM   4096

static const uint64_t nonce = UINT64_C(0x0123456789abcdef);

static struct payload_identity identify(size_t size, const uint8_t *octets, size_t len)
{
    struct payload payload = {.nonce = nonce, .size = size};

    return payload_identify(&payload, octets, len, 0, NEWEST);
}

static void fill(uint64_t seq, size_t size, uint8_t *octets)
{
    struct payload payload = {.nonce = nonce, .size = size};

    payload_fill(&payload, seq, 0, octets, size);
}

static void assert_identity(struct payload_identity got, enum payload_verdict verdict, uint64_t seq,
                            size_t wrong)
{
    assert_int_equal(got.verdict, verdict);
    assert_int_equal(got.seq, seq);
    assert_int_equal(got.wrong, wrong);
}

static void header_is_sequence_and_nonce(void **state)
{
    static const uint8_t expected[] = {0x02, 0x01, 0,    0,    0,    0,    0,    0,
                                       0xef, 0xcd, 0xab, 0x89, 0x67, 0x45, 0x23, 0x01};
    uint8_t octets[PAYLOAD_HEADER];

    (void)state;
    fill(0x102, sizeof octets, octets);
    assert_memory_equal(octets, expected, sizeof octets);
}

static void any_part_is_the_same_as_in_the_whole(void **state)
{
    struct payload payload = {.nonce = nonce, .size = ROOM};
    uint8_t whole[200];
    uint8_t part[200];

    (void)state;
    payload_fill(&payload, 5, 0, whole, sizeof whole);
    for (size_t offset = 0; offset < 40; offset++)
        for (size_t len = 0; len < 40; len++) {
            memset(part, 0xaa, sizeof part);
            payload_fill(&payload, 5, offset, part, len);
            assert_memory_equal(part, whole + offset, len);
            assert_int_equal(part[len], 0xaa);
            assert_int_equal(payload_compare(&payload, 5, offset, part, len), len);
        }
}

static void pattern_differs_with_probe_run_and_place(void **state)
{
    struct payload one = {.nonce = nonce, .size = ROOM};
    struct payload other = {.nonce = nonce + 1, .size = ROOM};
    uint8_t a[64];
    uint8_t b[64];

    (void)state;
    payload_fill(&one, 5, 16, a, sizeof a);
    payload_fill(&one, 6, 16, b, sizeof b);
    assert_memory_not_equal(a, b, 8);
    payload_fill(&other, 5, 16, b, sizeof b);
    assert_memory_not_equal(a, b, 8);
    for (size_t i = 8; i < sizeof a; i += 8)
        assert_memory_not_equal(a, a + i, 8);
}

static void every_wrong_octet_is_found(void **state)
{
    struct payload payload = {.nonce = nonce, .size = ROOM};
    uint8_t octets[ROOM];

    (void)state;
    payload_fill(&payload, 9, 0, octets, sizeof octets);
    for (size_t i = 0; i < sizeof octets; i++) {
        octets[i] ^= 1;
        assert_int_equal(payload_compare(&payload, 9, 0, octets, sizeof octets), i);
        octets[i] ^= 1;
    }
}

static void good_replies_of_all_sizes_name_their_probe(void **state)
{
    uint8_t octets[ROOM];

    (void)state;
    for (size_t size = 1; size < 100; size++) {
        fill(NEWEST - 3, size, octets);
        assert_identity(identify(size, octets, size), PAYLOAD_GOOD, NEWEST - 3, 0);
    }
}

static void the_newest_is_ours_and_what_comes_after_it_is_not(void **state)
{
    uint8_t octets[ROOM];

    (void)state;
    fill(NEWEST, 8, octets);
    assert_identity(identify(8, octets, 8), PAYLOAD_GOOD, NEWEST, 0);
    fill(NEWEST + 1, 8, octets);
    assert_identity(identify(8, octets, 8), PAYLOAD_CORRUPT, 0, 0);
}

static void a_short_number_means_the_latest_that_ends_so(void **state)
{
    static const uint8_t five[] = {5};
    struct payload payload = {.nonce = nonce, .size = 1};

    (void)state;
    /* 1000 is 0x3e8. */
    assert_identity(payload_identify(&payload, five, 1, 1, 1000), PAYLOAD_GOOD, 0x305, 0);
    assert_identity(payload_identify(&payload, five, 1, 1, 5), PAYLOAD_GOOD, 5, 0);
    assert_identity(payload_identify(&payload, five, 1, 1, 4), PAYLOAD_CORRUPT, 0, 0);
    assert_identity(payload_identify(&payload, five, 1, 0, 0), PAYLOAD_CORRUPT, 0, 0);
}

static void empty_ones_are_taken_in_order(void **state)
{
    struct payload payload = {.nonce = nonce, .size = 0};
    static const uint8_t one[] = {1};

    (void)state;
    assert_identity(payload_identify(&payload, one, 0, 7, 9), PAYLOAD_GOOD, 7, 0);
    /* Nothing waits any more: one too many, of the last. */
    assert_identity(payload_identify(&payload, one, 0, 0, 9), PAYLOAD_GOOD, 9, 0);
    assert_identity(payload_identify(&payload, one, 1, 7, 9), PAYLOAD_CORRUPT, 0, 0);
    payload.size = 56;
    assert_identity(payload_identify(&payload, one, 0, 7, 9), PAYLOAD_TRUNCATED, 7, 0);
    assert_identity(payload_identify(&payload, one, 0, 0, 9), PAYLOAD_FOREIGN, 0, 0);
}

static void truncated_at_any_length(void **state)
{
    uint8_t octets[ROOM];

    (void)state;
    fill(12, 56, octets);
    for (size_t len = 2; len < 56; len++)
        assert_identity(identify(56, octets, len), PAYLOAD_TRUNCATED, 12, 0);
}

static void too_long_is_corrupt_from_the_end_on(void **state)
{
    uint8_t octets[ROOM] = {0};

    (void)state;
    fill(12, 56, octets);
    assert_identity(identify(56, octets, 57), PAYLOAD_CORRUPT, 12, 56);
    fill(12, 4, octets);
    assert_identity(identify(4, octets, 10), PAYLOAD_CORRUPT, 12, 4);
}

static void a_wrong_octet_anywhere_is_corrupt(void **state)
{
    uint8_t octets[ROOM];

    (void)state;
    fill(12, 56, octets);
    for (size_t i = 8; i < 56; i++) {
        octets[i] ^= 0x80;
        assert_identity(identify(56, octets, 56), PAYLOAD_CORRUPT, 12, i);
        octets[i] ^= 0x80;
    }
}

static void a_wrong_sequence_number_is_corrupt_of_unknown_probe(void **state)
{
    uint8_t octets[ROOM];

    (void)state;
    fill(12, 56, octets);
    octets[7] = 1; /* never sent */
    assert_identity(identify(56, octets, 56), PAYLOAD_CORRUPT, 0, 0);
    fill(12, 56, octets);
    octets[0] = 13; /* sent, but not with this pattern */
    assert_identity(identify(56, octets, 56), PAYLOAD_CORRUPT, 0, 0);
    fill(0, 56, octets); /* there is no probe 0 */
    assert_identity(identify(56, octets, 56), PAYLOAD_CORRUPT, 0, 0);
}

static void of_a_damaged_reply_half_must_be_right(void **state)
{
    uint8_t octets[ROOM];

    (void)state;
    /* 48 octets depend on the nonce, which is among the wrong ones here. */
    fill(12, 56, octets);
    for (size_t i = 8; i < 8 + 24; i++)
        octets[i] ^= 1;
    assert_identity(identify(56, octets, 56), PAYLOAD_CORRUPT, 12, 8);
    octets[8 + 24] ^= 1;
    assert_identity(identify(56, octets, 56), PAYLOAD_FOREIGN, 0, 0);
}

static void the_nonce_alone_makes_it_ours(void **state)
{
    uint8_t octets[ROOM];

    (void)state;
    /* From 9 octets on there is some of it. */
    for (size_t size = 9; size <= 16; size++) {
        fill(NEWEST + 1, size, octets);
        assert_identity(identify(size, octets, size), PAYLOAD_CORRUPT, 0, 0);
        octets[8] ^= 1;
        assert_identity(identify(size, octets, size), PAYLOAD_FOREIGN, 0, 0);
    }
    /* One octet of it does not make a shorter reply ours. */
    fill(NEWEST + 1, 16, octets);
    assert_identity(identify(16, octets, 9), PAYLOAD_FOREIGN, 0, 0);
}

static void replies_to_others_are_foreign(void **state)
{
    struct payload other = {.nonce = nonce * 3, .size = 56};
    uint8_t octets[ROOM];

    (void)state;
    payload_fill(&other, 12, 0, octets, 56);
    assert_identity(identify(56, octets, 56), PAYLOAD_FOREIGN, 0, 0);
    memset(octets, 'x', sizeof octets);
    assert_identity(identify(56, octets, 56), PAYLOAD_FOREIGN, 0, 0);
    assert_identity(identify(56, octets, 3), PAYLOAD_FOREIGN, 0, 0);
    assert_identity(identify(56, octets, ROOM), PAYLOAD_FOREIGN, 0, 0);
    assert_identity(identify(12, octets, 12), PAYLOAD_FOREIGN, 0, 0);
}

/* ---- octets of the user's choice ---- */

static const uint8_t abc[] = {'a', 'b', 'c'};

static void a_pattern_follows_the_header(void **state)
{
    struct payload payload = {nonce, 22, abc, sizeof abc, false};
    uint8_t plain[PAYLOAD_HEADER];
    uint8_t octets[22];

    (void)state;
    fill(5, sizeof plain, plain);
    payload_fill(&payload, 5, 0, octets, sizeof octets);
    assert_memory_equal(octets, plain, PAYLOAD_HEADER);
    assert_memory_equal(octets + PAYLOAD_HEADER, "abcabc", 6);
    assert_identity(payload_identify(&payload, octets, 22, 1, 9), PAYLOAD_GOOD, 5, 0);
    octets[20] ^= 1;
    assert_identity(payload_identify(&payload, octets, 22, 1, 9), PAYLOAD_CORRUPT, 5, 20);
    assert_identity(payload_identify(&payload, octets, 20, 1, 9), PAYLOAD_TRUNCATED, 5, 0);
    memset(octets, 'x', sizeof octets);
    assert_identity(payload_identify(&payload, octets, 22, 1, 9), PAYLOAD_FOREIGN, 0, 0);
}

static void any_part_of_a_pattern_is_the_same_as_in_the_whole(void **state)
{
    struct payload payloads[] = {{nonce, ROOM, abc, sizeof abc, false},
                                 {nonce, ROOM, abc, sizeof abc, true},
                                 {nonce, ROOM, abc, 1, true}};
    uint8_t whole[100];
    uint8_t part[100];

    (void)state;
    for (size_t i = 0; i < COUNT(payloads); i++) {
        payload_fill(&payloads[i], 5, 0, whole, sizeof whole);
        for (size_t offset = 0; offset < 40; offset++)
            for (size_t len = 0; len < 40; len++) {
                memset(part, 0xaa, sizeof part);
                payload_fill(&payloads[i], 5, offset, part, len);
                assert_memory_equal(part, whole + offset, len);
                assert_int_equal(part[len], 0xaa);
                assert_int_equal(payload_compare(&payloads[i], 5, offset, part, len), len);
            }
    }
}

static void a_bare_message_is_all_there_is(void **state)
{
    struct payload payload = {nonce, sizeof abc, abc, sizeof abc, true};
    uint8_t octets[3];

    (void)state;
    payload_fill(&payload, 5, 0, octets, sizeof octets);
    assert_memory_equal(octets, abc, sizeof abc);
}

static void bare_ones_are_taken_in_order(void **state)
{
    struct payload payload = {nonce, sizeof abc, abc, sizeof abc, true};

    (void)state;
    assert_identity(payload_identify(&payload, abc, 3, 7, 9), PAYLOAD_GOOD, 7, 0);
    /* Nothing waits any more: one too many, of the last. */
    assert_identity(payload_identify(&payload, abc, 3, 0, 9), PAYLOAD_GOOD, 9, 0);
    assert_identity(payload_identify(&payload, abc, 2, 7, 9), PAYLOAD_TRUNCATED, 7, 0);
    assert_identity(payload_identify(&payload, (const uint8_t *)"abX", 3, 7, 9), PAYLOAD_CORRUPT, 7,
                    2);
    assert_identity(payload_identify(&payload, (const uint8_t *)"X", 1, 7, 9), PAYLOAD_CORRUPT, 7,
                    0);
    assert_identity(payload_identify(&payload, (const uint8_t *)"abcd", 4, 7, 9), PAYLOAD_CORRUPT,
                    7, 3);
    assert_identity(payload_identify(&payload, abc, 0, 7, 9), PAYLOAD_TRUNCATED, 7, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(header_is_sequence_and_nonce),
        cmocka_unit_test(any_part_is_the_same_as_in_the_whole),
        cmocka_unit_test(pattern_differs_with_probe_run_and_place),
        cmocka_unit_test(every_wrong_octet_is_found),
        cmocka_unit_test(good_replies_of_all_sizes_name_their_probe),
        cmocka_unit_test(the_newest_is_ours_and_what_comes_after_it_is_not),
        cmocka_unit_test(a_short_number_means_the_latest_that_ends_so),
        cmocka_unit_test(empty_ones_are_taken_in_order),
        cmocka_unit_test(truncated_at_any_length),
        cmocka_unit_test(too_long_is_corrupt_from_the_end_on),
        cmocka_unit_test(a_wrong_octet_anywhere_is_corrupt),
        cmocka_unit_test(a_wrong_sequence_number_is_corrupt_of_unknown_probe),
        cmocka_unit_test(of_a_damaged_reply_half_must_be_right),
        cmocka_unit_test(the_nonce_alone_makes_it_ours),
        cmocka_unit_test(replies_to_others_are_foreign),
        cmocka_unit_test(a_pattern_follows_the_header),
        cmocka_unit_test(any_part_of_a_pattern_is_the_same_as_in_the_whole),
        cmocka_unit_test(a_bare_message_is_all_there_is),
        cmocka_unit_test(bare_ones_are_taken_in_order),
    };

    return cmocka_run_group_tests_name("payload", tests, NULL, NULL);
}
