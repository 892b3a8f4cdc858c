/* SPDX-License-Identifier: ISC */
#include "tools/stream/stream_run.h"

#include "unit/unit.h"

static void a_ring_wraps(void **state)
{
    struct stream_ring *ring = test_calloc(1, sizeof *ring);
    uint8_t *octets = test_calloc(1, STREAM_RING);
    size_t len;

    (void)state;
    stream_ring_append(ring, octets, STREAM_RING);
    stream_ring_room(ring, &len);
    assert_int_equal(len, 0);
    stream_ring_append(ring, (const uint8_t *)"x", 1);
    assert_int_equal(ring->used, STREAM_RING);

    stream_ring_drop(ring, 10);
    stream_ring_append(ring, (const uint8_t *)"0123456789", 10);
    assert_int_equal(ring->used, STREAM_RING);
    stream_ring_head(ring, &len);
    assert_int_equal(len, STREAM_RING - 10);
    stream_ring_drop(ring, len - 1);
    assert_ptr_equal(stream_ring_head(ring, &len), ring->octets + STREAM_RING - 1);
    assert_int_equal(len, 1);
    stream_ring_drop(ring, 1);
    assert_memory_equal(stream_ring_head(ring, &len), "0123456789", 10);
    assert_int_equal(len, 10);

    stream_ring_drop(ring, 10);
    assert_ptr_equal(stream_ring_room(ring, &len), ring->octets);
    assert_int_equal(len, STREAM_RING);
    test_free(octets);
    test_free(ring);
}

static void a_digest_depends_on_octets_alone(void **state)
{
    uint8_t octets[100];
    struct stream_digest whole = {0};

    (void)state;
    for (size_t i = 0; i < sizeof octets; i++)
        octets[i] = (uint8_t)(i * 7);
    stream_digest_add(&whole, octets, sizeof octets);
    for (size_t piece = 1; piece < sizeof octets; piece++) {
        struct stream_digest pieces = {0};

        for (size_t at = 0; at < sizeof octets; at += piece)
            stream_digest_add(&pieces, octets + at,
                              piece < sizeof octets - at ? piece : sizeof octets - at);
        assert_true(stream_digest_equal(&whole, &pieces));
    }
    for (size_t i = 0; i < sizeof octets; i++) {
        struct stream_digest other = {0};

        octets[i] ^= 1;
        stream_digest_add(&other, octets, sizeof octets);
        assert_false(stream_digest_equal(&whole, &other));
        octets[i] ^= 1;
    }
    struct stream_digest shorter = {0};
    stream_digest_add(&shorter, octets, sizeof octets - 1);
    assert_false(stream_digest_equal(&whole, &shorter));
}

static void a_digest_tells_zeros_apart(void **state)
{
    static const uint8_t zeros[64];

    (void)state;
    for (size_t a = 0; a < sizeof zeros; a++)
        for (size_t b = 0; b < sizeof zeros; b++) {
            struct stream_digest one = {0};
            struct stream_digest other = {0};

            stream_digest_add(&one, zeros, a);
            stream_digest_add(&other, zeros, b);
            assert_int_equal(stream_digest_equal(&one, &other), a == b);
        }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_ring_wraps),
        cmocka_unit_test(a_digest_depends_on_octets_alone),
        cmocka_unit_test(a_digest_tells_zeros_apart),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
