/* SPDX-License-Identifier: ISC */
#ifndef ECHOD_PROBE_PAYLOAD_H
#define ECHOD_PROBE_PAYLOAD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* What a probe carries: 64-bit words, least significant octet first, cut off at `size` octets. Word
 * 0 is the sequence number, word 1 the run's nonce, and the others follow from both, so that every
 * octet of a reply can be verified and a reply to another run is recognised. Users may choose the
 * octets after these two words (`fill`), or all octets (`bare`). */
#define PAYLOAD_HEADER 16
struct payload {
    uint64_t nonce;
    size_t size;
    const uint8_t *fill; /* repeated after the first two words; NULL: none */
    size_t fill_size;    /* octets of `fill`, at least 1 */
    bool bare;           /* the payload is `fill` alone */
};

enum payload_verdict {
    PAYLOAD_GOOD,
    PAYLOAD_TRUNCATED, /* good as far as it goes, but shorter than what was sent */
    PAYLOAD_CORRUPT,   /* ours, with wrong octets or with octets added */
    PAYLOAD_FOREIGN    /* no answer to a probe of this run */
};

/* The result of payload_identify(). */
struct payload_identity {
    enum payload_verdict verdict;
    uint64_t seq; /* number of the probe; 0: not known */
    size_t wrong; /* PAYLOAD_CORRUPT: index of the first wrong octet */
};

/* Write the octets `offset` to `offset + len - 1` of the payload of probe `seq`, regardless of
 * `size`. */
void payload_fill(const struct payload *payload, uint64_t seq, size_t offset, uint8_t *octets,
                  size_t len);

/* Compare with what payload_fill() would write: the index of the first octet that differs, or len.
 */
size_t payload_compare(const struct payload *payload, uint64_t seq, size_t offset,
                       const uint8_t *octets, size_t len);

/* Find out what a whole datagram is. Probes up to `newest` were sent, and the `oldest` still waits
 * for its reply (0: none does). Payloads that are too short for sequence number and nonce are
 * matched by what they have: up to 8 octets by the low-order octets of the sequence number; empty
 * and bare payloads in the order they were sent. */
struct payload_identity payload_identify(const struct payload *payload, const uint8_t *octets,
                                         size_t len, uint64_t oldest, uint64_t newest);

#endif
