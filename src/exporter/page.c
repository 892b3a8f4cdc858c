/* SPDX-License-Identifier: ISC */
#include "config.h"

#include "exporter/page.h"

const char page_policy[] =
    "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

const char page_html[] =
    "<!DOCTYPE html>\n"
    "<html lang=\"en\">\n"
    "<head>\n"
    "<meta charset=\"utf-8\">\n"
    "<meta name=\"viewport\" content=\"width=device-width\">\n"
    "<meta name=\"color-scheme\" content=\"light dark\">\n"
    "<title>echo-exporter</title>\n"
    "</head>\n"
    "<body>\n"
    "<h1>echo-exporter</h1>\n"
    "<p>This is echo-exporter " PACKAGE_VERSION " of echod, the echo service (RFC 862).</p>\n"
    "<ul>\n"
    "<li><a href=\"/metrics\">/metrics</a>: the metrics of echod, for "
    "Prometheus</li>\n"
    "</ul>\n"
    "<p>The manual page echo-exporter(8) explains the rest.</p>\n"
    "</body>\n"
    "</html>\n";
