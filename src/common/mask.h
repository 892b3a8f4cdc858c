/* SPDX-License-Identifier: ISC */
#ifndef ECHOD_COMMON_MASK_H
#define ECHOD_COMMON_MASK_H

#include <stddef.h>
#include <stdio.h>

/* Text that comes from a command line, a file or the network, made fit for one line on a terminal.
 * Printable UTF-8 stays as it is. Each octet of anything else is written as "\x1b": of control
 * characters, of characters that turn the direction of writing or end a line (Unicode 9.5, UAX 9),
 * of what is not UTF-8, and of the ASCII characters in `also`. */

void print_masked(FILE *out, const void *octets, size_t size, const char *also);

/* The same of a string, with nothing else masked. */
void print_masked_text(FILE *out, const char *text);

#endif
