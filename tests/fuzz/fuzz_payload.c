/* SPDX-License-Identifier: ISC */
/* Any datagram as a probe's reply: what is taken for good has every octet right. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "probe/payload.h"

#define MUST(condition) ((condition) ? (void)0 : abort())

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct payload payload = {.nonce = 0x0123456789abcdef};
    struct payload_identity identity;
    uint64_t oldest, newest, seq;
    uint8_t *reply;

    /* How large probes are, which were sent, which of them the reply begins as. */
    if (size < 4)
        return 0;
    payload.size = data[0];
    newest = 1 + data[1] * UINT64_C(97);
    oldest = data[2] ? 1 + data[2] % newest : 0;
    seq = 1 + data[3] % newest;
    data += 4;
    size -= 4;

    /* What follows is the reply, as its difference from that probe. */
    reply = malloc(size ? size : 1);
    MUST(reply);
    payload_fill(&payload, seq, 0, reply, size);
    for (size_t i = 0; i < size; i++)
        reply[i] ^= data[i];

    identity = payload_identify(&payload, reply, size, oldest, newest);
    MUST(identity.seq <= newest);
    switch (identity.verdict) {
    case PAYLOAD_GOOD:
        MUST(size == payload.size);
        MUST(identity.seq == 0 || payload_compare(&payload, identity.seq, 0, reply, size) == size);
        break;
    case PAYLOAD_TRUNCATED:
        MUST(size < payload.size);
        MUST(identity.seq == 0 || payload_compare(&payload, identity.seq, 0, reply, size) == size);
        break;
    case PAYLOAD_CORRUPT:
        MUST(identity.wrong < size || size > payload.size);
        break;
    case PAYLOAD_FOREIGN:
        break;
    }
    free(reply);
    return 0;
}
