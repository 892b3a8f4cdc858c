/* SPDX-License-Identifier: ISC */
#include "common/hash.h"

#include <sys/random.h>

#include "unit/unit.h"

WRAP_FAILING(ssize_t, getrandom, -1, (void *buf, size_t length, unsigned flags),
             (buf, length, flags))

/* SipHash-1-3 of the octets 00 01 ... 07 and 00 ... 0f under the key 00 01 ... 0f, as the test
 * vectors of the Linux kernel (lib/siphash_kunit.c, hsiphash of 64 bits) have them. */
static void known_answers(void **state)
{
    const uint64_t key[2] = {UINT64_C(0x0706050403020100), UINT64_C(0x0f0e0d0c0b0a0908)};
    const uint64_t words[2] = {UINT64_C(0x0706050403020100), UINT64_C(0x0f0e0d0c0b0a0908)};

    (void)state;
    assert_true(hash_words(key, words, 1) == UINT64_C(0x369095118d299a8e));
    assert_true(hash_words(key, words, 2) == UINT64_C(0xcc4fdd1a7d908b66));
}

static void a_kernel_without_randomness_is_no_obstacle(void **state)
{
    uint64_t key[2] = {0}, other[2] = {0};

    (void)state;
    hash_choose_key(key);
    hash_choose_key(other);
    assert_memory_not_equal(key, other, sizeof key);
    script_always(&getrandom_script, -EAGAIN);
    hash_choose_key(key);
    assert_true(key[0] != 0 && key[1] != 0);
    script_clear(&getrandom_script);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(known_answers),
        cmocka_unit_test(a_kernel_without_randomness_is_no_obstacle),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
