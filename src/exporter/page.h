/* SPDX-License-Identifier: ISC */
#ifndef ECHOD_EXPORTER_PAGE_H
#define ECHOD_EXPORTER_PAGE_H

/* The page at "/" for people: an HTML document without scripts, styles or images. */
extern const char page_html[];

/* Content-Security-Policy of it. */
extern const char page_policy[];

#endif
