# The pages in the tree read as they are; those installed name the configuration's real place.
pages = man/echod.8 man/echod.conf.5 man/echo-probe.1 man/check_echo.1 man/echoping.1
EXTRA_DIST += $(pages) man/echo-exporter.8
man_MANS = man/installed/echod.8 man/installed/echod.conf.5 man/installed/echo-probe.1 man/installed/check_echo.1 \
    man/installed/echoping.1
if EXPORTER
man_MANS += man/installed/echo-exporter.8
endif
CLEANFILES += $(man_MANS)

man/installed/echod.8: man/echod.8
man/installed/echod.conf.5: man/echod.conf.5
man/installed/echo-probe.1: man/echo-probe.1
man/installed/check_echo.1: man/check_echo.1
man/installed/echoping.1: man/echoping.1
man/installed/echo-exporter.8: man/echo-exporter.8
$(man_MANS): Makefile
	$(AM_V_GEN)$(MKDIR_P) man/installed && \
	$(SED) -e 's|/etc/\(echod\|echo-exporter\)\.conf|$(sysconfdir)/\1.conf|g' -e 's|/usr/share/echod|$(datadir)/echod|g' '$(srcdir)/man/$(@F)' >$@.tmp && mv $@.tmp $@
