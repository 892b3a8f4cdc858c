/* SPDX-License-Identifier: ISC */
#include "common/util.h"

#include "unit/unit.h"

static void numbers_are_digits_up_to_a_limit(void **state)
{
    static const struct {
        const char *text;
        uint64_t max;
        uint64_t number;
    } good[] = {{"0", 0, 0},
                {"007", 7, 7},
                {"65535", 65535, 65535},
                {"18446744073709551615", UINT64_MAX, UINT64_MAX}};
    static const struct {
        const char *text;
        uint64_t max;
    } bad[] = {{"", 9},
               {"-1", 9},
               {"+1", 9},
               {" 1", 9},
               {"1 ", 9},
               {"1.0", 9},
               {"0x1", 9},
               {"a", 9},
               {"65536", 65535},
               {"18446744073709551616", UINT64_MAX},
               {"99999999999999999999", UINT64_MAX}};
    uint64_t number = 0;

    (void)state;
    for (size_t i = 0; i < COUNT(good); i++) {
        assert_true(parse_number(good[i].text, good[i].max, &number));
        assert_true(number == good[i].number);
    }
    number = 42;
    for (size_t i = 0; i < COUNT(bad); i++)
        assert_false(parse_number(bad[i].text, bad[i].max, &number));
    assert_true(number == 42);
}

static void control_messages_follow_one_another(void **state)
{
    _Alignas(struct cmsghdr) char room[CMSG_SPACE(sizeof(int)) + CMSG_SPACE(1)];
    struct msghdr message = {.msg_control = room};
    const struct cmsghdr *c;
    int value = 7;

    (void)state;
    add_control_message(&message, SOL_IP, IP_TOS, &value, sizeof value);
    add_control_message(&message, SOL_IPV6, IPV6_TCLASS, "x", 1);
    assert_int_equal(message.msg_controllen, sizeof room);
    c = next_control_message(&message, NULL);
    assert_int_equal(c->cmsg_type, IP_TOS);
    assert_memory_equal(CMSG_DATA(c), &value, sizeof value);
    c = next_control_message(&message, c);
    assert_int_equal(c->cmsg_level, SOL_IPV6);
    assert_memory_equal(CMSG_DATA(c), "x", 1);
    assert_null(next_control_message(&message, c));
    message.msg_controllen = CMSG_LEN(sizeof(int)) - 1;
    assert_null(next_control_message(&message, NULL));
    message.msg_controllen = 0;
    assert_null(next_control_message(&message, NULL));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(numbers_are_digits_up_to_a_limit),
        cmocka_unit_test(control_messages_follow_one_another),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
